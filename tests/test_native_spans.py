"""Accesses that share a look at the page tables: pages that end in the middle, faults, code."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import CODE, DATA, NO_CACHE, PAGE, picture, x86_machine

from emu.engines.native.engine import Native
from emu.engines.native.layout import BEST
from emu.engines.native.spans import WIDEST, spans_of
from emu.engines.reference import Reference
from isa.bits import Bits, leaf
from isa.x86.registers import EBX, ESI

NEAR = [
    "8B46",
    "8B4E",
    "894E",
    "0156",
    "2B46",
    "668B46",
    "884E",
    "0FB656",
    "0F4446",
    "8746",
    "FF46",
]
"""MOV, ADD, SUB, MOVZX, CMOVZ, XCHG and INC with [ESI + a byte]."""
PLAIN = ["50", "5A", "51", "59", "01C8", "D1E2", "DD4610", "DB7E20", "DD5E08", "FF7610", "8F4618"]
"""PUSH, POP, ADD, SHL; FLD and FSTP of 64 and 80 bits, PUSH and POP of memory."""
EDGES = (DATA + PAGE, DATA + 2 * PAGE, DATA + 3 * PAGE, CODE + PAGE, CODE, DATA)
near = st.builds(
    lambda code, distance: bytes.fromhex(code) + bytes([distance & 0xFF]),
    st.sampled_from(NEAR),
    st.integers(-40, 40),
)
instructions = st.lists(near | st.sampled_from(PLAIN).map(bytes.fromhex), min_size=2, max_size=12)


def load(root: Bits | int, offset: int, op: str = "load", width: int = 32) -> Bits:
    """An access of `linear`, of a distance from something."""
    address = Bits.of(root, 32) if isinstance(root, int) else root
    address = address - -offset if offset < 0 else address + offset
    more = (Bits.of(0, width),) if op == "store" else ()
    return Bits(op, 0 if more else width, (address, *more), ("linear", width))


programs = given(
    instructions,
    st.sampled_from(EDGES),
    st.integers(-60, 60),
    st.integers(-32, 32),
    st.integers(1, 60),
)
"""A loop's body, the edge that it begins near, how near, how far it moves, when to stop."""


def compare(body: list[bytes], edge: int, start: int, stride: int, until: int) -> None:
    """A loop over a page's end, read-only or missing pages, or its own code."""
    code = b"".join(body) + bytes([0x83, 0xC6, stride & 0xFF, 0x4F])
    code += bytes([0x75, -len(code) - 2 & 0xFF]) + b"\xcd\x80"
    registers = {"esi": edge + start, "edi": 5, "eax": 7, "ecx": 0x11223344, "fcw": 0x37F}
    engine = Native(hot=0, wait=True, level=BEST, cache=NO_CACHE)
    for count in (until, 400):
        expected, state = x86_machine(code, registers), x86_machine(code, registers)
        wanted = Reference().run(expected, count)
        assert picture(state, engine.run(state, count)) == picture(expected, wanted)


@settings(max_examples=6)
@programs
def test_pages_end_anywhere(
    body: list[bytes], edge: int, start: int, stride: int, until: int
) -> None:
    """A few programs."""
    compare(body, edge, start, stride, until)


@pytest.mark.heavy
@settings(max_examples=60)
@programs
def test_pages_end_anywhere_at_length(
    body: list[bytes], edge: int, start: int, stride: int, until: int
) -> None:
    """Many programs."""
    compare(body, edge, start, stride, until)


def test_which_accesses_are_a_span() -> None:
    """Those of one root, not too far apart; the first is never one that may be left out."""
    esi, ebx = (leaf("get", 32, (register, 32)) for register in (ESI, EBX))
    a, b, c = load(esi, 4), load(ebx, 4), load(esi, -4, "store")
    far, alone, near_alone = load(esi, WIDEST), load(0x1000, 0), load(0x1004, 0, width=8)
    spans = spans_of([a, b, c, far, alone, near_alone], {"linear": 8})
    assert set(spans) == {id(a), id(c), id(alone), id(near_alone)}
    assert (spans[id(a)].first, spans[id(a)].end, spans[id(a)].writes) == (-4, 8, True)
    assert (spans[id(alone)].first, spans[id(alone)].end) == (0x1000, 0x1005)
    assert not spans[id(alone)].writes
    assert not spans_of([a, c], {"physical": 8})
