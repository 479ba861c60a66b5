"""`emu asm`: source to program."""

from __future__ import annotations

import sys
from pathlib import Path

from emu.errors import GuestFileError, unwritable
from emu.guests import read_file, source_text, toy_program
from isa.hints import TYPE_CHECKING
from isa.toy.assembler import machine_named

if TYPE_CHECKING:
    from emu.assembler import Assembled

MOST_SHOWN = 32  # bytes in a line of a listing


def assemble_file(
    source: Path, output: Path | None, *, listing: bool, flat: bool, isa: str | None
) -> int:
    """Assemble a file; returns the exit code."""
    text = source_text(source, read_file(source))
    if text is None:
        raise GuestFileError(f"{source} is no assembly source", advice="Name a .asm or .s file")
    configuration = isa or machine_named(text)
    if configuration is None:
        data, lines = _x86(text, source, flat)
    elif configuration.startswith("pc/"):
        data, lines = _pc(text, source)
    else:
        data, lines = _toy(text, source, configuration)
    if output is not None:
        _write(output, data, executable=configuration is None and not flat)
    if listing or output is None:
        print("\n".join(lines))
    return 0


def _toy(text: str, source: Path, configuration: str) -> tuple[bytes, list[str]]:
    isa, program = toy_program(text, source, configuration)
    words = [w.to_bytes(4, "little") for w in program.image]
    lines = [
        f"{address:6x}  {program.image[address]:08x}  {isa.text(words[address], address):<28} "
        f"; {line.place}"
        for address, line in sorted(program.lines.items())
    ]
    return b"".join(words), lines


def _x86(text: str, source: Path, flat: bool) -> tuple[bytes, list[str]]:
    from emu import assembler

    if flat:
        data = assembler.flat(text, str(source))
        return data, [data.hex(" ")]
    return _with_listing(assembler.assemble(text, str(source)))


def _pc(text: str, source: Path) -> tuple[bytes, list[str]]:
    from emu.pc.choose import assembled_program

    return _with_listing(assembled_program(text, source))


def _with_listing(assembled: Assembled) -> tuple[bytes, list[str]]:
    """Beside the image: address, bytes and source line of everything that it put into memory."""
    return assembled.image, [
        f"{row.address:8x}  {row.shown(MOST_SHOWN):<32} {row.text}".rstrip()
        for row in assembled.listing
    ]


def _write(output: Path, data: bytes, *, executable: bool) -> None:
    try:
        output.write_bytes(data)
        if executable:
            output.chmod(output.stat().st_mode | 0o111)
    except OSError as error:
        raise unwritable(output, error) from None
    print(f"{len(data)} bytes written to {output}", file=sys.stderr)
