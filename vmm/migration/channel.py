"""One authenticated connection: who is there is proved both ways, and so is every message.

1. The side that connects says HELLO, the side that listens answers with its own: magic, version,
   role, 32 random bytes.
2. The side that connects proves that it knows the secret, by an HMAC over both HELLOs and its role;
   only then does the other one. Neither can be played back, or reflected: roles and random bytes
   differ.
3. Each message has an HMAC by a key of this connection and this direction, over its number too.

What is sent can be read on the way; where that matters, go through a tunnel.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import time
from enum import IntEnum
from typing import Final, Protocol

from vmm.migration.errors import ClosedError, CutError, ProtocolError, StrangerError
from vmm.migration.secret import PROOF_SIZE, Secret

MAGIC: Final = b"POPEKMIG"
VERSION: Final = 1
LARGEST: Final = 1 << 20  # bytes of a message
_HELLO: Final = struct.Struct("<8sHB32s")
_HEAD: Final = struct.Struct("<IB")
_NUMBER: Final = struct.Struct("<QB")


class Role(IntEnum):
    """What a side does, whoever of them has connected."""

    SOURCE = 0
    DESTINATION = 1


class Stream(Protocol):
    """What is needed of a socket."""

    def settimeout(self, seconds: float | None, /) -> None:
        """How long the next operation may take."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of it."""

    def recv(self, size: int, /) -> bytes:
        """What is there, at most so much; nothing at the end."""

    def close(self) -> None:
        """Give it up."""


class Channel:
    """A connection after the handshake. Every error closes it."""

    def __init__(
        self, stream: Stream, secret: Secret, role: Role, *, connected: bool, timeout: float
    ) -> None:
        """`connected`: this side has connected. `timeout`: seconds for each whole message.

        Raises CutError, ProtocolError or StrangerError.
        """
        self._stream = stream
        self._timeout = timeout
        self.role = role
        self.sent = 0  # bytes
        try:
            mine, its = self._greet(role, connected)
            self._authenticate(secret, mine + its if connected else its + mine, connected)
            self._keys = {
                one: secret.proof(b"key", bytes([one]), min(mine, its), max(mine, its))
                for one in Role
            }
        except BaseException:
            self.close()
            raise
        self._numbers = dict.fromkeys(Role, 0)

    # -- the handshake -----------------------------------------------------------------------

    def _greet(self, role: Role, connected: bool) -> tuple[bytes, bytes]:
        mine = _HELLO.pack(MAGIC, VERSION, role, os.urandom(32))
        if connected:
            self._send(mine)
        its = self._receive(_HELLO.size)
        magic, version, other, _ = _HELLO.unpack(its)
        if magic != MAGIC:
            raise ProtocolError("the other side does not speak of migrations")
        if not connected:
            self._send(mine)  # whatever its version: so it can tell its user
        if version != VERSION:
            raise ProtocolError(
                f"the other side speaks version {version} of the protocol, this one {VERSION}",
                advice="Use the same version of vmm on both sides",
            )
        if other != 1 - role:
            raise ProtocolError("both sides want to send a guest, or both to receive one")
        return mine, its

    def _authenticate(self, secret: Secret, hellos: bytes, connected: bool) -> None:
        mine, its = (b"proof", bytes([self.role]), hellos), (
            b"proof", bytes([1 - self.role]), hellos,
        )  # fmt: skip
        if connected:
            self._send(secret.proof(*mine))
        try:
            given = self._receive(PROOF_SIZE)
        except ClosedError:
            if not connected:
                raise
            raise StrangerError(
                "the other side has hung up when it heard our proof",
                advice="Give both sides the same secret",
            ) from None
        if not secret.proves(given, *its):
            raise StrangerError(
                "the other side does not know the secret", advice="Give both sides the same secret"
            )
        if not connected:
            self._send(secret.proof(*mine))

    # -- messages ----------------------------------------------------------------------------

    def send(self, kind: int, body: bytes = b"") -> None:
        """One message. Raises CutError."""
        assert len(body) <= LARGEST
        self._send(_HEAD.pack(len(body), kind) + body + self._tag(self.role, kind, body))

    def receive(self) -> tuple[int, bytes]:
        """The next message. Raises CutError or ProtocolError."""
        deadline = time.monotonic() + self._timeout
        size, kind = _HEAD.unpack(self._receive(_HEAD.size, deadline))
        if size > LARGEST:
            self.close()
            raise ProtocolError(f"a message should have {size} bytes, and has {LARGEST} at most")
        body = self._receive(size, deadline)
        tag = self._receive(PROOF_SIZE, deadline)
        if not hmac.compare_digest(tag, self._tag(Role(1 - self.role), kind, body)):
            self.close()
            raise ProtocolError("a message has been damaged or forged on its way")
        return kind, body

    def _tag(self, sender: Role, kind: int, body: bytes) -> bytes:
        number, self._numbers[sender] = self._numbers[sender], self._numbers[sender] + 1
        head = _NUMBER.pack(number, kind)
        return hmac.new(self._keys[sender], head + body, hashlib.sha256).digest()

    # -- bytes -------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        try:
            self._stream.settimeout(self._timeout)
            self._stream.sendall(data)
        except OSError as error:
            self.close()
            raise self._cut(error) from None
        self.sent += len(data)

    def _receive(self, size: int, deadline: float | None = None) -> bytes:
        """So many bytes before the deadline, however slowly they trickle."""
        deadline = time.monotonic() + self._timeout if deadline is None else deadline
        found = bytearray()
        while len(found) < size:
            try:
                self._stream.settimeout(max(deadline - time.monotonic(), 1e-6))
                data = self._stream.recv(size - len(found))
            except OSError as error:
                self.close()
                raise self._cut(error) from None
            if not data:
                self.close()
                raise ClosedError("the other side has closed the connection")
            found += data
        return bytes(found)

    def _cut(self, error: OSError) -> CutError:
        if isinstance(error, TimeoutError):
            return CutError(f"the other side has said nothing for {self._timeout:g} seconds")
        if isinstance(error, ConnectionError):
            return ClosedError("the connection was cut", why=error.strerror or "")
        return CutError("the connection was cut", why=error.strerror or str(error))

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
