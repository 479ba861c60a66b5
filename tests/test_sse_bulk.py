"""SSE's arithmetic by the hundred thousand: against the processor, exceptions included."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from emu.engines import Engine
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.native.layout import QUICK
from emu.engines.python import Python
from emu.engines.reference import Reference
from tests.needs import missing
from tests.silicon.native import Silicon
from tests.silicon.packed import AFTER, FAULT, Packed, pool

RECORDS, FEW_RECORDS = 2_100, 60
SIMD = 19
REGISTERS, MEMORY = b"\xc1", b"\x46\x20"  # XMM0 or MM0 or EAX; XMM1, MM0 or EAX, or [ESI + 32]
FROM_FIRST = b"\xc0"  # XMM0, from MM0 or EAX


def codes(size: int) -> Iterator[bytes]:
    """Every instruction of numbers of so many bytes."""
    packed, scalar = (b"", b"\xf3") if size == 4 else (b"\x66", b"\xf2")
    for prefix in (packed, scalar):
        for opcode in (0x51, 0x58, 0x59, 0x5A, 0x5C, 0x5D, 0x5E, 0x5F):
            yield from both(prefix, opcode)
        for predicate in range(8):
            yield prefix + b"\x0f\xc2" + REGISTERS + bytes([predicate])
        yield prefix + b"\x0f\xc2" + MEMORY + b"\xf9"
        yield from both(prefix, 0x2A, FROM_FIRST)
        for opcode in (0x2C, 0x2D):
            yield from both(prefix, opcode)
    for opcode in (0x2E, 0x2F):
        yield from both(packed, opcode)
    for prefix in (b"\x66", b"\xf3", b"" if size == 4 else b"\xf2"):
        yield from both(prefix, 0x5B if size == 4 else 0xE6)


def both(prefix: bytes, opcode: int, registers: bytes = REGISTERS) -> Iterator[bytes]:
    """An instruction of registers and one of memory."""
    for modrm in (registers, MEMORY):
        yield prefix + bytes([0x0F, opcode]) + modrm


def threaded() -> Native:
    """Native code for each instruction, none for whole loops."""
    return Native(hot=1 << 30, wait=True, cache=DiskCache(None))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    reason = Silicon.available()
    return tmp_path if reason is None else missing(reason)


def different(bulk: Packed, theirs: np.ndarray, ours: np.ndarray) -> list[str]:
    """The first difference of each instruction."""
    wrong = []
    for number, code in enumerate(bulk.codes):
        differing = (theirs[number] != ours[number]).any(axis=1)
        if differing.any():
            first = int(differing.argmax())
            wrong.append(bulk.told(code, first, theirs[number], ours[number]))
    return wrong


@pytest.mark.heavy
@pytest.mark.parametrize("size", [4, 8])
def test_the_processor_agrees(
    directory: Path, size: int, record_property: Callable[[str, object], None]
) -> None:
    """Results, MXCSR and #XM in all modes, bit for bit; one record in ten unmasks exceptions."""
    bulk = Packed(list(codes(size)), pool(random.Random(size), RECORDS, size, unmasked=0.1))
    theirs = bulk.host(directory)
    wrong = different(bulk, theirs, bulk.engine(threaded()))
    faults = int((theirs[:, :, FAULT] == SIMD).sum())
    compared = len(bulk.codes) * RECORDS
    record_property("measured", f"{compared} of {len(bulk.codes)} instructions, {faults} #XM")
    assert not wrong, "\n".join(wrong)
    assert compared >= 150_000 and faults >= 3_000


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["reference", "python", "regions"])
def test_other_engines(directory: Path, name: str) -> None:
    """The same, with many exceptions; loops compiled whole among them."""
    engine: Engine = Reference()
    if name == "python":
        engine = Python(hot=0)
    elif name == "regions":
        engine = Native(hot=0, wait=True, levels=(QUICK,), cache=DiskCache(None))
    for size in (4, 8):
        chosen = list(codes(size))[len(name) % 5 :: 5]
        bulk = Packed(chosen, pool(random.Random(name), FEW_RECORDS, size, unmasked=0.4))
        assert not (wrong := different(bulk, bulk.host(directory), bulk.engine(engine))), wrong


APPROXIMATE = {"rcpps": ("0f53c1", -1.0), "rsqrtps": ("0f52c1", -0.5)}
WITHIN = 1.5 * 2**-12
BEYOND = 2.0**126  # from here on a reciprocal may be too small


@pytest.mark.heavy
@pytest.mark.parametrize("name", APPROXIMATE)
def test_approximations(
    directory: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Both are within what the manual promises, and equal where nothing is left open."""
    code, power = APPROXIMATE[name]
    bulk = Packed([bytes.fromhex(code)], pool(random.Random(name), 3_000, 4))
    theirs, ours = bulk.host(directory)[0], bulk.engine(threaded())[0]
    assert (theirs[:, AFTER:] == ours[:, AFTER:]).all()  # MXCSR
    given, *found = (np.ascontiguousarray(x).view("<f4") for x in (
        theirs[:, 32:48], theirs[:, 16:32], ours[:, 16:32]))  # fmt: skip
    ordinary = np.isfinite(found[0]) & (np.abs(given) < BEYOND) & (found[0] != 0)
    with np.errstate(all="ignore"):
        exact = np.abs(given.astype(float)) ** power * np.sign(given)
        errors = [np.abs(x.astype(float) / exact - 1)[ordinary].max() for x in found]
    silicon, here = (error * 2**12 for error in errors)
    record_property("measured", f"relative errors × 2^12: silicon {silicon:.3f}, here {here:.3f}")
    assert max(errors) <= WITHIN
    others = ~ordinary & ~(np.abs(given) >= BEYOND)
    assert (found[0].view("<u4")[others] == found[1].view("<u4")[others]).all()
    assert others.sum() > 1_000
