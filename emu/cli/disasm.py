"""`emu disasm`: code as text."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

from emu.errors import GuestFileError
from emu.guests import image_of, read_file, source_text, toy_program
from isa.definition import TruncatedError
from isa.toy.assembler import machine_named

Row = tuple[int, bytes, str]
HEX_ORIGIN = 0


def disassemble(
    guest: str,
    hexadecimal: bool,
    start: str | None,
    count: int | None,
    isa: str | None,
    as_json: bool,
) -> int:
    """Print the instructions of a file or of bytes; returns the exit code."""
    first = None if start is None else number(start)
    rows = _of_bytes(guest, first, isa) if hexadecimal else _of_file(Path(guest), first, isa)
    for done, row in enumerate(rows):
        if count is not None and done >= count:
            break
        print(_json(row) if as_json else _plain(row))
    return 0


def number(text: str) -> int:
    """An address in C's spelling."""
    try:
        return int(text, 0)
    except ValueError:
        raise GuestFileError(f"{text!r} is not an address", advice="Write 0x8048000") from None


def hex_bytes(text: str) -> bytes:
    """Bytes from hexadecimal, spaces allowed."""
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise GuestFileError(f"{text!r} is not hexadecimal", why=str(error)) from None
    if not data:
        raise GuestFileError("there are no bytes to disassemble")
    return data


def _plain(row: Row) -> str:
    address, code, text = row
    return f"{address:8x}:  {code.hex(' '):<32} {text}"


def _json(row: Row) -> str:
    address, code, text = row
    return json.dumps({"address": address, "bytes": code.hex(), "text": text})


def _of_bytes(text: str, first: int | None, isa: str | None) -> Iterator[Row]:
    data = hex_bytes(text)
    if isa is not None:
        return _toy_rows(isa, data, first or 0)
    return x86_rows(data, HEX_ORIGIN if first is None else first)


def _of_file(path: Path, first: int | None, isa: str | None) -> Iterator[Row]:
    data = read_file(path)
    text = source_text(path, data)
    configuration = isa or (None if text is None else machine_named(text))
    if configuration is not None and text is not None:
        _, program = toy_program(text, path, configuration)
        words = b"".join(w.to_bytes(4, "little") for w in program.image)
        return _toy_rows(configuration, words[4 * (first or 0) :], first or 0)
    if configuration is not None:
        return _toy_rows(configuration, data, first or 0)
    if text is not None:
        from emu.assembler import assemble

        data = assemble(text, str(path)).image
    return _elf_rows(bytes(image_of(path, data)), first)


def _elf_rows(image: bytes, first: int | None) -> Iterator[Row]:
    """The executable segments of a program, from `first` on."""
    from emu.memory import EXECUTE
    from emu.process import elf

    for segment in elf.parse(image).segments:
        if not segment.permissions & EXECUTE:
            continue
        skipped = _headers(segment.data) if first is None else first - segment.address
        if 0 <= skipped < len(segment.data):
            yield from x86_rows(segment.data[skipped:], segment.address + skipped)


def _headers(data: bytes) -> int:
    """The size of the ELF and program headers at the start of a segment, if they are there."""
    if not data.startswith(b"\x7fELF"):
        return 0
    start, size, count = struct.unpack_from("<28xI10xHH", data)  # e_phoff, e_phentsize, e_phnum
    return int(start + size * count)


def x86_rows(data: bytes, address: int) -> Iterator[Row]:
    """Instructions one after the other; a byte that starts none stands for itself."""
    from isa.x86.machine import X86
    from isa.x86.mode import FLAT_USER

    isa, offset = X86(), 0
    while offset < len(data):
        code = data[offset : offset + isa.max_length]
        try:
            length = isa.decode(code, FLAT_USER).length
        except TruncatedError:
            length = len(code)
        yield address + offset, code[:length], isa.text(code, address + offset)
        offset += length


def _toy_rows(configuration: str, data: bytes, address: int) -> Iterator[Row]:
    from isa.toy import Toy

    isa = Toy(configuration)
    for offset in range(0, len(data) - 3, 4):
        word = data[offset : offset + 4]
        yield address + offset // 4, word, isa.text(word, address + offset // 4)
