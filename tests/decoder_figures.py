"""What decoding costs: `python -m tests.decoder_figures [ELF FILE]`. Figures, no verdicts.

Warm is nanoseconds an instruction with all keys known; cold is the first time, learning included.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from random import Random

import numpy as np
from elftools.elf.elffile import ELFFile

from emu.engines.native.decode_tables import ASK, EMPTY, Stop
from emu.engines.native.decoder import BulkDecoder, Description, native
from isa.definition import TruncatedError
from isa.x86.decode import BAD, decode
from isa.x86.limits import MAX_LENGTH
from isa.x86.mode import FLAT_USER

GENERATED = 1_000_000


def with_all_fields() -> BulkDecoder:
    """A decoder whose records hold every field, so that no trace is needed."""
    return BulkDecoder(lambda form, fields: Description(fields))


def generated(instructions: int, kinds: int, seed: int = 1) -> bytes:
    """Valid instructions, of so many different ones, in random order."""
    random = Random(seed)
    known: list[bytes] = []
    while len(known) < kinds:
        code = random.randbytes(MAX_LENGTH)
        try:
            found = decode(code, FLAT_USER)
        except TruncatedError:
            continue
        if found.form.mnemonic != BAD:  # type: ignore[attr-defined]
            known.append(code[: found.length])
    return b"".join(random.choices(known, k=instructions))


def text(path: Path) -> bytes:
    """The program text of an ELF file."""
    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".text")
        assert section, f"{path} has no .text"
        return bytes(section.data())


def sweep(decoder: BulkDecoder, code: bytes) -> tuple[int, float]:
    """Decode all of `code` in one go: instructions and seconds."""
    start = time.perf_counter()
    found = decoder.decode(code, room=len(code), stop=0)
    seconds = time.perf_counter() - start
    assert found.stop == Stop.SHORT, found.stop
    return len(found.records), seconds


def figures(name: str, code: bytes) -> None:
    """Print what decoding `code` costs, cold and warm."""
    decoder = with_all_fields()
    count, cold = sweep(decoder, code)
    warm = sorted(sweep(decoder, code)[1] for _ in range(5))[2]
    tables = decoder.tables[FLAT_USER]
    entries = tables.entries[tables.entries["key"] != EMPTY]
    asked = int(np.count_nonzero(entries["form"] == ASK))
    print(
        f"{name}: {count} instructions, {len(entries)} keys ({asked} ask the decoder),"
        f" {len(decoder.forms)} forms; cold {cold:.3f} s ="
        f" {(cold - warm) / len(entries) * 1e6:.0f} µs a key;"
        f" warm {warm / count * 1e9:.1f} ns an instruction"
    )


def calls(code: bytes) -> None:
    """Print what one call costs that decodes a block of a few instructions."""
    decoder = with_all_fields()
    sweep(decoder, code)
    array = np.frombuffer(code, np.uint8)
    offset, seconds = 0, []
    for _ in range(10_000):
        start = time.perf_counter()
        offset += decoder.decode(array, offset, room=5).size
        seconds.append(time.perf_counter() - start)
    print(f"a call for a block of 5 instructions: {sorted(seconds)[5000] * 1e6:.1f} µs")


def main() -> None:
    """Print all figures."""
    start = time.perf_counter()
    native()
    print(f"compiling the decoder: {(time.perf_counter() - start) * 1e3:.0f} ms")
    for path in sys.argv[1:]:
        figures(path, text(Path(path)))
    code = generated(GENERATED, 20_000)
    figures("generated", code)
    calls(code)


if __name__ == "__main__":
    main()
