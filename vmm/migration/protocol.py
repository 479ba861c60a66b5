"""What the two sides say to one another, and when.

    destination          source
    STATUS        ->               what it holds already: nothing, a prepared guest, a running one
                  <-     OFFER     identifier, shape, devices by identifier
    ACCEPT        ->
                  <-     PAGES …   batches, while the guest runs
                  <-     ROUND     the end of a round
    ROUND         ->               all of it has arrived
                  <-     PAGES …   the guest has stopped: the rest
                  <-     STATE …
                  <-     FINAL     count and digest of the whole machine
    PREPARED      ->               kept durably, and its digest is the same
                  <-     COMMIT    the certificate: the source will never run it again
    RUNNING       ->
                  <-     DONE

Either may say REFUSE with a reason instead, and the source ABORT until it says COMMIT. After a cut
in the hand-over whoever had connected connects again; STATUS tells then where the destination is,
and the source answers with COMMIT, ABORT or DONE. A destination that is prepared heeds nothing but
COMMIT and ABORT with its guest's identifier.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any, Final

from emu.memory import PAGE_SIZE
from vmm.migration.channel import LARGEST, Channel
from vmm.migration.errors import ProtocolError, RefusedError
from vmm.migration.values import DamagedError, decode, encode

BATCH: Final = 16  # pages of a message
MOST_STATE: Final = 1 << 28  # bytes of a machine's state: devices, with what was written to disks
PIECE: Final = LARGEST // 2
SHOWN: Final = 200  # characters of what the other side says that are shown
_PAGE: Final = struct.Struct("<IB")


class Kind(IntEnum):
    """Of messages."""

    STATUS = 1
    OFFER = 2
    ACCEPT = 3
    PAGES = 4
    ROUND = 5
    STATE = 6
    FINAL = 7
    PREPARED = 8
    COMMIT = 9
    RUNNING = 10
    DONE = 11
    ABORT = 12
    REFUSE = 13


def tell(channel: Channel, kind: Kind, value: Any = None) -> None:
    """Send a message with a plain value. Raises MigrationError."""
    channel.send(kind, encode(value))


def refuse(channel: Channel, why: str) -> None:
    """Say no, if anybody still listens."""
    try:
        tell(channel, Kind.REFUSE, {"why": why})
    except Exception:
        channel.close()


def hear(channel: Channel, *kinds: Kind) -> tuple[Kind, Any]:
    """The next message, which must be of such a kind; its value (of PAGES and STATE: the bytes).

    Raises RefusedError if the other side says no, else MigrationError.
    """
    number, body = channel.receive()
    try:
        kind = Kind(number)
        value = body if kind in (Kind.PAGES, Kind.STATE) else decode(body)
    except ValueError as error:
        raise ProtocolError("a message has no sense", why=str(error)) from None
    if kind in (Kind.REFUSE, Kind.ABORT) and kind not in kinds:
        (why,) = text_of(value, "why")
        raise RefusedError(f"the other side refuses: {printable(why)}")
    if kind not in kinds:
        wanted = " or ".join(one.name for one in kinds)
        raise ProtocolError(f"{kind.name} came where {wanted} should")
    return kind, value


def printable(value: object) -> str:
    """What the other side says, for the terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(value)[:SHOWN])


def text_of(value: Any, *names: str) -> list[str]:
    """Texts of a message's value. Raises ProtocolError."""
    if not isinstance(value, dict) or any(not isinstance(value.get(n), str) for n in names):
        raise ProtocolError(f"a message lacks {' or '.join(names)}")
    return [value[name] for name in names]


# -- pages -----------------------------------------------------------------------------------


def pack_pages(pages: Iterable[tuple[int, bytes]]) -> bytes:
    """At most BATCH pages, each with its number; those of zeros have no content."""
    return b"".join(_PAGE.pack(number, bool(data)) + data for number, data in pages)


def unpack_pages(body: bytes, frames: int) -> Iterator[tuple[int, bytes]]:
    """The pages of a message. Raises ProtocolError if one lies outside of so many, or is cut."""
    at = 0
    while at < len(body):
        if at + _PAGE.size > len(body):
            raise ProtocolError("a message with pages ends in the middle")
        number, full = _PAGE.unpack_from(body, at)
        at += _PAGE.size
        data = body[at : at + PAGE_SIZE] if full else b""
        if number >= frames or full > 1 or len(data) != PAGE_SIZE * full:
            raise ProtocolError(f"page {number} is none of this machine, or not whole")
        at += len(data)
        yield number, data


def pieces(data: bytes) -> Iterator[bytes]:
    """State in messages."""
    for at in range(0, len(data), PIECE):
        yield data[at : at + PIECE]


def state_from(data: bytes) -> Any:
    """What the state's bytes say. Raises ProtocolError."""
    try:
        return decode(data)
    except DamagedError as error:
        raise ProtocolError("the state is damaged", why=str(error)) from None
