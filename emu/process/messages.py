"""What is under way between sockets: bytes, who sent them, and the open files beside them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from emu.process.addresses import UNNAMED, Address
from emu.process.files import OpenFile
from emu.process.namespace import Supply
from isa.record import NamedTuple

OVERHEAD = 256  # bytes that a message counts for, beside its own


class Credentials(NamedTuple):
    """Who made a connection or sent something (struct ucred); nobody, unless told."""

    pid: int = 0
    user: int = -1
    group: int = -1


NOBODY = Credentials()


class Message:
    """A datagram, or bytes of a stream that were sent by one sender and have no others' between.

    `rights` are open files that are sent with it, before its first byte.
    """

    __slots__ = "credentials", "data", "rights", "sender"

    def __init__(
        self,
        data: bytearray,
        sender: Address = UNNAMED,
        credentials: Credentials = NOBODY,
        rights: Sequence[OpenFile] = (),
    ) -> None:
        self.data = data
        self.sender = sender
        self.credentials = credentials
        self.rights = list(rights)

    @property
    def cost(self) -> int:
        """What it takes of the memory there is for messages."""
        return len(self.data) + OVERHEAD


class Received(NamedTuple):
    """What a call receives: some of a message's bytes, of how many, and what came with them."""

    data: bytes = b""
    length: int = 0
    sender: Address = UNNAMED
    credentials: Credentials = NOBODY
    rights: Sequence[OpenFile] = ()


class Queue:
    """The messages that a socket has been sent and has not received, oldest first.

    `size` is how many bytes they have. What they take comes from a `supply`.
    """

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self.messages: deque[Message] = deque()
        self.size = 0

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def cost(self) -> int:
        """What it takes of the supply."""
        return self.size + OVERHEAD * len(self.messages)

    def add(self, message: Message) -> None:
        """Take in a message; ENOBUFS."""
        self._supply.take(message.cost)
        self.messages.append(message)
        self.size += len(message.data)

    def extend(self, message: Message) -> None:
        """Take in bytes of a stream: with those before them, if the same has sent those."""
        last = self.messages[-1] if self.messages else None
        alike = last is not None and last.credentials == message.credentials
        if last is None or not alike or message.rights or last.rights:
            self.add(message)
            return
        self._supply.take(len(message.data))
        last.data += message.data
        self.size += len(message.data)

    def take(self, size: int, *, peek: bool = False) -> Received:
        """Receive the oldest message: what does not fit is lost. With `peek` it stays."""
        message = self.messages[0]
        if not peek:
            self._remove()
        data, length = bytes(message.data[:size]), len(message.data)
        return Received(data, length, message.sender, message.credentials, list(message.rights))

    def take_bytes(self, size: int, *, peek: bool = False) -> Received:
        """Receive bytes of a stream: up to and with a message that has files beside it, or up to
        one of another sender."""
        first, data, rights, at = self.messages[0], bytearray(), list[OpenFile](), 0
        while at < len(self.messages) and len(data) < size and not rights:
            message = self.messages[at]
            if message.credentials != first.credentials:
                break
            rights += message.rights
            piece = message.data[: size - len(data)]
            data += piece
            if peek or len(piece) < len(message.data):
                at += 1
            if not peek:
                self._cut(message, len(piece))
        return Received(bytes(data), len(data), first.sender, first.credentials, rights)

    def _cut(self, message: Message, size: int) -> None:
        """The first bytes of the oldest message have been received."""
        if size == len(message.data):
            self._remove()
            return
        del message.data[:size]
        message.rights = []
        self.size -= size
        self._supply.give_back(size)

    def _remove(self) -> Message:
        message = self.messages.popleft()
        self.size -= len(message.data)
        self._supply.give_back(message.cost)
        return message

    def clear(self) -> list[OpenFile]:
        """Drop everything; returns the files that were under way."""
        found: list[OpenFile] = []
        while self.messages:
            found += self._remove().rights
        return found
