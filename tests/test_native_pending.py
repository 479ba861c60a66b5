"""Flags that stitched code leaves pending, and branches of stencils that lead elsewhere."""

from __future__ import annotations

import ctypes

import capstone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import DATA, NO_CACHE, agrees, arena_of, x86_machine

from emu.engines.native import executable
from emu.engines.native.branches import straight
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.native.handler_store import HandlerStore, handlers_of
from emu.engines.native.kinds import FlagFacts
from emu.engines.native.layout import Word
from emu.engines.native.pending import flag_facts, pending_of
from isa.x86.decode import decode
from isa.x86.machine import X86
from isa.x86.registers import STATUS_FLAGS

pytestmark = pytest.mark.skipif(executable.arena() is None, reason="code cannot be moved here")
ALL = (1 << len(STATUS_FLAGS)) - 1


def code(text):
    return bytes.fromhex(text)


@pytest.fixture(scope="module")
def engine():
    return Native(hot=1 << 30, wait=True, cache=NO_CACHE, stitch=0)


def pending(text):
    """What an instruction leaves pending, and what stitching knows of it."""
    state = x86_machine(code("90"))
    trace = state.isa.trace(decode(code(text), state.isa.mode(state.values)).form)
    found = pending_of(trace, STATUS_FLAGS)
    return found, flag_facts(trace, found, STATUS_FLAGS, lambda field: 5)


# -- what is pending ----------------------------------------------------------------------------


@pytest.mark.parametrize("others", [("01c8", "0308", "83c005", "050500ff00"), ("39c8", "29c8")])
def test_forms_with_the_same_flags_share_a_kind(others):
    """add r, r/m/imm; cmp and sub."""
    assert len({pending(text)[1].kind for text in others}) == 1
    assert pending("01c8")[1].kind != pending("39c8")[1].kind


def test_widths_are_different_kinds():
    assert len({pending(text)[1].kind for text in ("00c8", "6601c8", "01c8")}) == 3


@pytest.mark.parametrize(
    ("text", "needs"),
    [("01c8", ""), ("40", "cf"), ("11c8", "cf"), ("d3e0", "cf pf af zf sf of"), ("c1e003", ""),
     ("7400", "zf"), ("7e00", "zf sf of"), ("9f", "cf pf af zf sf"), ("89c8", "")],
)  # fmt: skip
def test_what_must_be_there_before(text, needs):
    """What is read, and what a form that leaves flags pending does not change."""
    facts = pending(text)[1]
    found = facts.needs | facts.keeps
    assert [f.name for n, f in enumerate(STATUS_FLAGS) if found >> n & 1] == needs.split()


def test_old_flags_are_operands_if_there_are_few():
    """adc computes flags from the old carry; shifts may leave all as they are."""
    assert not pending("11c8")[0].cut.olds
    assert pending("11c8")[0].code(STATUS_FLAGS)[1]
    assert pending("d3e0")[0].cut.olds == set(STATUS_FLAGS)
    assert not pending("d3e0")[0].code(STATUS_FLAGS)[1]


@pytest.mark.parametrize("text", ["c1e003", "d1e8", "0fa4c805", "6bc003"])
def test_a_count_that_is_in_the_instruction_is_not_zero(text):
    """Or else its block is left to the handlers. That of imul is a factor."""
    found, facts = pending(text)
    assert (facts.word, facts.mask) == ((0, 0) if text == "6bc003" else (5, 31))
    assert not found.cut.olds


# -- what programs see --------------------------------------------------------------------------

INSTRUCTIONS = [
    "01c8", "29d1", "39c8", "38d1", "85c9", "21d8", "6601ca", "0502000080",  # add ... and: all
    "40", "49", "fec2", "11c8", "19d9", "d1c0", "d1d9", "66d1ca", "0fa3c8",  # some, or by some
    "c1e003", "c1e900", "d3e8", "d2e1", "0fa4c805", "c0f907",  # shifts, by 0 as well
    "f7e1", "0fafc1", "f7db", "0fbcc8", "f8", "f9", "f5", "9e",  # mul ... neg; clc, stc, cmc, sahf
    "9f", "0f94c2", "0f9cc1", "0f97c0", "0f4fc2", "0f4ac8", "d6", "27",  # lahf, setcc, cmov, daa
    "c1c80d", "66c1c003",  # rotations by more
    "9c59", "fc", "89c2", "8d0408", "8b0e", "890e", "010e", "390e", "ff06",  # pushf; memory
    "7400", "7c00", "7600", "7a00", "eb00",  # to the next block
]  # fmt: skip
LISTS = st.lists(st.sampled_from(INSTRUCTIONS), min_size=1, max_size=12)
VALUES = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x8000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])


@settings(max_examples=40, deadline=None)
@given(LISTS, st.tuples(VALUES, VALUES, VALUES, VALUES), st.integers(0, 2), st.integers(1, 40))
def test_flags_are_exact_wherever_it_stops(engine, texts, values, carry, until):
    """Twice the same, the second time linked."""
    program = code("bd02000000" + "".join(texts) * 2) + code("4d0f85")
    program += (5 - len(program) - 4).to_bytes(4, "little", signed=True) + code("cd80")
    given = dict(zip(("eax", "ecx", "edx", "ebx"), values, strict=True))
    given |= {"esi": DATA, "cf": carry & 1, "esp": DATA + 0x800}
    agrees(program, engine, given, until)
    agrees(program, engine, given)


@pytest.mark.parametrize("writer", ["01c8", "39c8", "c1e002", "40", "11c8", "84c0"])
@pytest.mark.parametrize("access", ["8b07", "0107", "c707ff000000", "ff37"])
def test_a_fault_finds_all_flags_settled(engine, writer, access):
    """Of an instruction before the access, in the same block and in the one before."""
    for between in ("", "eb00", "c1c80d", "c1c80d01d2", "49"):
        program = code(writer + between + access + "cd80")
        agrees(program, engine, {"eax": 0x80, "ecx": 0x7FFFFF80, "edi": 0x70000000})


def stitched_code(text, engine, monkeypatch):
    """What becomes of a program's blocks."""
    take = executable.Arena.take

    def clean(arena, length):  # or other tests' code is found between blocks
        start, size = take(arena, length)
        ctypes.memset(arena.address + start, 0, size)
        return start, size

    monkeypatch.setattr(executable.Arena, "take", clean)
    state = agrees(code(text + "cd80"), engine, {"edi": DATA})
    mail, placed = engine._session_of(state).mail, arena_of(engine, state)._code[-1]
    start = placed.addresses["code"]
    return ctypes.string_at(start, mail[Word.CODE] - start)


@pytest.mark.parametrize(
    ("text", "settles"),
    [("01c8 c1c80d 01c8", 0), ("01c8 c1c80d 89c2 01c8", 0), ("01c8 c1c80d", 1),
     ("01c8 c1c80d 8b07 01c8", 1), ("01c8 c1c80d c1c80d 8b07", 1), ("01c8 40 01c8", 0)],
)  # fmt: skip
def test_flags_that_nobody_reads_are_not_computed(text, settles, monkeypatch):
    """A rotation leaves most as they are; what follows writes them, or something may fault."""
    engine = Native(hot=1 << 30, wait=True, cache=NO_CACHE, stitch=0)
    made = stitched_code(text + "eb00", engine, monkeypatch)
    call = b"\x41\xff\x94\x24" + (8 * Word.SETTLE).to_bytes(4, "little")  # call [r12 + …]
    assert made.count(call) == settles


CONDITIONS = range(0x70, 0x80)  # jo ... jg
WRITERS = ["01c8", "39c8", "38d1", "85c9", "21d8", "6601ca", "40", "fec2", "c1e003", "11c8", "f7e1"]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("between", ["", "89c2"])  # mov
def test_jumps_decide_by_what_flags_follow_from(engine, writer, between):
    """Each condition behind each kind, taken and not: what is passed over counts in edi."""
    steps = (f"{writer} {between} {condition:x}03 8d7f01" for condition in CONDITIONS)
    program = code("".join(steps) + "cd80")
    for eax, ecx in [(0, 0), (1, 2), (0x80000000, 1), (0x7F, 0xFFFFFF80), (0xFFFFFFFF, 0xFFFFFFFF)]:
        agrees(program, engine, {"eax": eax, "ecx": ecx, "edx": ecx, "ebx": eax, "cf": ecx & 1})


@pytest.mark.parametrize("condition", CONDITIONS)
def test_jumps_evaluate_no_flags(condition, monkeypatch):
    """Not a slot of theirs is read or written, whatever the processor computes."""
    engine = Native(hot=1 << 30, wait=True, cache=NO_CACHE, stitch=0)
    made = stitched_code(f"39c8 {condition:x}00", engine, monkeypatch)
    slots = {f"[r14 + {8 * flag.slot:#x}]" for flag in STATUS_FLAGS}
    lines = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm_lite(made, 0)
    found = [text for _, _, _, text in lines]
    assert any("[r14" in text for text in found)
    assert not [text for text in found if any(slot in text for slot in slots)]


def saved(text, cache):
    """The handlers of a program that has run, which are on the disk."""
    engine = Native(hot=1 << 30, wait=True, cache=cache, stitch=0)
    engine.run(x86_machine(code(text)), 100)
    store = handlers_of(cache)
    store.save()
    return store


def test_what_reads_pending_flags_is_kept(tmp_path):
    """Another process finds it for the same pairs."""
    cache = DiskCache(tmp_path)
    store = saved("01c8 7400 39c8 7c00 cd80", cache)
    pairs = [n for n, place in enumerate(store.stencils._table) if place]
    again = HandlerStore(cache).stencils
    assert len(pairs) == 4 and pairs == [n for n, place in enumerate(again._table) if place]
    for pair in pairs:
        first, second = (
            some._room.view[some._table[pair] :][:64] for some in (store.stencils, again)
        )
        assert first == second


def test_stencils_without_what_settles_flags_are_not_used(tmp_path):
    """The file of the handlers is gone: that of the stencils says too much."""
    cache = DiskCache(tmp_path)
    saved("01c8 7400 cd80", cache)
    whole = HandlerStore(cache).stencils
    assert whole._kinds and whole._places
    for path in tmp_path.rglob("handlers*"):
        path.unlink()
    assert not HandlerStore(cache).stencils._places


def test_facts_are_packed():
    assert FlagFacts(0b101, True, "x").packed(7) == 7 << 32 | 1 << 8 | 0b101
    assert FlagFacts(keeps=0b11).packed(7) == 0b11 << 48 | 7 << 32
    assert FlagFacts(ALL, is_reader=True).packed(0, 0xFF) == 0xFF << 56 | ALL


def test_status_flags_are_those_of_the_manual():
    assert {f.name for f in X86().status_flags} == {"cf", "pf", "af", "zf", "sf", "of"}


# -- branches -----------------------------------------------------------------------------------


def test_branches_to_the_last_jump_go_where_it_goes():
    """test; jne last; inc; jmp next; last: jmp again"""
    found = straight(code("85c0 7507 ffc0 e900000000 e900000000"), frozenset({7, 12}))
    assert found is not None
    assert found.code == code("85c0 0f8500000000 ffc0 e900000000")
    assert found.away == [4]
    assert found.moved[7] == 11


def test_branches_inside_are_moved():
    """jne in; jne last; in: je in; jmp next; last: jmp again"""
    found = straight(code("7502 7507 74fe e900000000 e900000000"), frozenset({7, 12}))
    assert found is not None
    assert found.code == code("7506 0f8500000000 74fe e900000000")


@pytest.mark.parametrize(
    "text",
    [
        "85c0 7502 ffc0 e900000000",  # what stands before goes on into the jump
        "e305 e900000000 e900000000",  # jrcxz has no longer distance
        "7505 90 " + "0f1f00" * 20 + "e900000000 c3",  # no jump at the end
        "757f " + "7500" * 0 + "90" * 122 + "e900000000 7580 e900000000",  # falls into it
    ],
)
def test_what_cannot_be_straightened(text):
    unknown = frozenset({len(code(text)) - 4})
    assert straight(code(text), unknown) is None


def test_a_short_branch_that_would_be_too_long_stays():
    """jne far, over so many branches to the end that they would not fit."""
    count = 31
    body = b"".join(bytes([0x75, 2 * (count - n - 1) + 64 + 5]) for n in range(count))
    text = bytes([0x75, len(body) + 62]) + body + b"\x90" * 64 + code("e900000000 e900000000")
    assert straight(text, frozenset({len(text) - 4, len(text) - 9})) is None


@pytest.mark.parametrize("text", ["0fe9c1dbf10fe9c1cd80", "660fab0b0fe9c1dbf10fe9c1cd80"])
def test_flags_of_what_has_eighty_bits(text):
    """fcomi of a register that psubsw has just made: a region leaves what they follow from."""
    regions = Native(hot=0, wait=True, cache=NO_CACHE)
    agrees(code(text), regions, {"ebx": DATA})
