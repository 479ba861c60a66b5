"""A whole virtual PC as a file: what the destination keeps before it says that it is prepared."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from emu.errors import GuestFileError
from vmm.migration.errors import MigrationError
from vmm.migration.image import Shape, shape_from
from vmm.migration.protocol import pack_pages, unpack_pages
from vmm.migration.records import write_durably
from vmm.migration.values import DamagedError, decode, encode

MAGIC: Final = b"POPEKIM1"
_SIZE: Final = struct.Struct("<I")
_SEAL: Final = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class Stored:
    """What such a file holds."""

    guest: str
    shape: Shape
    digest: str
    state: Any
    pages: list[tuple[int, bytes]]


def store(
    path: Path, guest: str, shape: Shape, digest: str, state: bytes,
    pages: Iterable[tuple[int, bytes]],
) -> None:  # fmt: skip
    """Write it; it is on the disk when this returns. Raises OSError."""
    head = encode({"guest": guest, "shape": shape.plain(), "digest": digest, "state": state})
    body = MAGIC + _SIZE.pack(len(head)) + head + pack_pages(pages)
    write_durably(path, body + hashlib.sha256(body).digest())


def load(path: Path) -> Stored:
    """Read it. Raises GuestFileError if it is not there or damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GuestFileError(f"{path} cannot be read", why=error.strerror or "") from None
    body = data[:-_SEAL]
    if body[:8] != MAGIC or hashlib.sha256(body).digest() != data[-_SEAL:]:
        raise GuestFileError(f"{path} is no virtual machine, or damaged")
    start = len(MAGIC) + _SIZE.size
    end = start + _SIZE.unpack_from(body, len(MAGIC))[0]
    try:
        head = decode(body[start:end])
        shape = shape_from(head["shape"])
        pages = list(unpack_pages(body[end:], shape.frames))
        return Stored(head["guest"], shape, head["digest"], decode(head["state"]), pages)
    except (DamagedError, KeyError, TypeError, MigrationError) as error:
        raise GuestFileError(f"{path} is damaged", why=str(error)) from None
