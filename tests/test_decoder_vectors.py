"""Decoding against the vectors of another decoder: lengths, registers and memory operands.

The vectors (icedland/iced, MIT) lie beside the project, not in it; POPEK_VECTORS says where.
"""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from isa.x86.decode import BAD, TOO_LONG, UNIMPLEMENTED, decode
from isa.x86.form import Form, Mem, Reg
from isa.x86.mode import FLAT_USER, Mode
from isa.x86.registers import GENERAL_NAMES
from isa.x86.tracing import trace
from isa.x86.vectors import INVALID_OPCODE
from tests.needs import missing

BESIDE = Path(__file__).parents[2] / "shared" / "vectors"
VECTORS = Path(os.environ.get("POPEK_VECTORS", BESIDE)) / "iced_decoder"
FILES = "DecoderTest", "DecoderTestMisc"
MODES = {32: FLAT_USER, 16: FLAT_USER._replace(code_size=16)}

NAMES = {
    name: (Reg(width, high), number)
    for width, high, names in (
        (32, False, GENERAL_NAMES),
        (16, False, [n[1:] for n in GENERAL_NAMES]),
        (8, False, ["al", "cl", "dl", "bl"]),
        (8, True, ["ah", "ch", "dh", "bh"]),
    )
    for number, name in enumerate(names)
}
SELECTORS = {"lldt", "ltr", "verr", "verw", "lmsw", "arpl"}  # they read 16 bits, however named
OTHER_READINGS = {
    "ud0", "ud1",  # without ModRM on the processors that capstone follows
    "nop",  # which newer processors have made other instructions of
}  # fmt: skip


def vectors(size: int) -> Iterator[tuple[str, bytes, str, dict[int, list[str]]]]:
    """(line, bytes, code name, operands by number)."""
    for name in FILES:
        found = gzip.decompress((VECTORS / f"{name}{size}.txt.gz").read_bytes())
        for line in found.decode().split("\n"):
            parts = [p.strip() for p in line.split(",")]
            if line.startswith("#") or len(parts) < 5 or "decopt" in line or "err=" in line:
                continue
            words = [w.split("=", 1) for w in parts[4].split() if w.startswith("op")]
            operands = {int(k[2:]): v.split(";") for k, v in words if k[2:].isdigit()}
            yield line.strip(), bytes.fromhex(parts[0].replace(" ", "")), parts[1], operands


def mistake(code: bytes, mode: Mode, name: str, operands: dict[int, list[str]]) -> str | None:
    """What we decode otherwise than the vector says, or None."""
    found = decode(code.ljust(15, b"\0"), mode)
    form = found.form
    assert isinstance(form, Form)
    if form.mnemonic in (BAD, TOO_LONG, UNIMPLEMENTED, *OTHER_READINGS):
        return None
    if name == "INVALID":
        last = trace(form).region.effects[-1]
        return None if (last.op, last.attribute[0]) == ("fault", INVALID_OPCODE) else "accepted"
    if found.length != len(code):
        return f"length {found.length}"
    for number, shape in enumerate(form.shapes):
        told = operands.get(number, ["?"])
        if isinstance(shape, Reg) and told[0] == "r" and form.mnemonic not in SELECTORS:
            if NAMES[told[1]] != (shape, found.fields[f"reg{number}"]):
                return f"register {shape}"
        elif isinstance(shape, Mem) and told[0] == "m" and not _same(shape, number, found, told):
            return f"memory {shape}"
    return None


def _same(shape: Mem, number: int, found: object, told: list[str]) -> bool:
    _, segment, base, index, scale, displacement = told[:6]
    fields = found.fields  # type: ignore[attr-defined]
    numbers = [NAMES[r][1] if r else None for r in (base, index)]
    mine = [fields.get(f"base{number}"), fields.get(f"index{number}")]
    wide = fields[f"disp{number}"] - int(displacement, 0)
    return (
        shape.segment in (segment, "")
        and mine == numbers
        and (shape.scale == int(scale) or not shape.has_index)
        and wide & 0xFFFF == 0
    )


@pytest.mark.heavy
@pytest.mark.parametrize("size", MODES)
def test_the_vectors_decode_as_they_say(size: int) -> None:
    """Every vector of an instruction that `isa` has; most of the others are newer than the i686."""
    if not VECTORS.exists():
        missing(f"there are no decoder vectors at {VECTORS}")
    wrong, checked = Counter(), 0
    for line, code, name, operands in vectors(size):
        found = mistake(code, MODES[size], name, operands) if code else None
        checked += 1
        if found:
            wrong[f"{found}: {line}"] += 1
    assert checked > 19_000
    assert not wrong, "\n".join(list(wrong)[:20])


def addresses(size: int) -> Iterator[tuple[str, bytes, list[str]]]:
    """(line, bytes, memory operand as `_same` wants it) of all forms of addresses."""
    found = gzip.decompress((VECTORS / f"MemoryTest{size}.txt.gz").read_bytes())
    for line in found.decode().split("\n"):
        parts = [p.strip() for p in line.split(",")]
        if line.startswith("#") or len(parts) < 9:
            continue
        _, _, _, _, segment, *registers, scale, displacement = parts[:9]
        names = ["" if register == "none" else register for register in registers]
        told = ["m", segment, *names, str(1 << int(scale)), displacement]
        yield line, bytes.fromhex(parts[0].replace(" ", "")), told


@pytest.mark.parametrize("size", MODES)
def test_addresses_decode_as_the_vectors_say(size: int) -> None:
    """Base, index, scale, displacement and segment of every form of address."""
    if not VECTORS.exists():
        missing(f"there are no decoder vectors at {VECTORS}")
    wrong, checked = [], 0
    for line, code, told in addresses(size):
        instruction = decode(code.ljust(15, b"\0"), MODES[size])
        form = instruction.form
        assert isinstance(form, Form)
        places = [(s, n) for n, s in enumerate(form.shapes) if isinstance(s, Mem)]
        checked += bool(places)
        wrong += [line for s, n in places if not _same(s, n, instruction, told)]
    assert checked > 200
    assert not wrong, "\n".join(wrong[:20])
