"""Stitched blocks: warm code of tier 1, copied from stencils and linked to each other."""

from __future__ import annotations

import pytest
from machines import CODE, DATA, NO_CACHE, PAGE, agrees, arena_of, x86_machine

from emu.coverage import Coverage
from emu.engines.native import arena as arena_module
from emu.engines.native import engine as engine_module
from emu.engines.native import executable
from emu.engines.native import regions as regions_module
from emu.engines.native.build import RegionBuilder
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native, NativeSession
from emu.engines.native.layout import BEST, BLOCK, CONVENTION, REGION, STITCHED, Header
from emu.engines.native.site import LINKS, PARAMETERS, go_on
from emu.engines.native.stencil_code import Stencil, stencils_of
from emu.engines.native.stencils import joined_module
from emu.engines.native.stitch import STENCIL
from emu.engines.reference import Reference

pytestmark = pytest.mark.skipif(executable.arena() is None, reason="code cannot be moved here")
NEVER = (1 << 31) - 1


def code(text):
    return bytes.fromhex(text)


def stitching(**options):
    """An engine that stitches each block when it is entered first, and makes no regions."""
    return Native(**{"hot": 1 << 30, "wait": True, "cache": NO_CACHE, "stitch": 0} | options)


def kinds(engine, state):
    """What is done at program counters: kinds of headers."""
    arena, mode = arena_of(engine, state), state.isa.mode(state.values)
    headers = ((pc, arena._header(mode, pc)) for pc in range(CODE, CODE + PAGE))
    return {pc: arena._word(header, Header.KIND) for pc, header in headers if header}


def links_of(engine, state):
    """Which program counters' stitched code is linked to, and from how many places."""
    arena, mode = arena_of(engine, state), state.isa.mode(state.values)
    arena._take_notes()
    by_header = {arena._stitched(arena._header(mode, pc)): pc for pc in kinds(engine, state)}
    return {by_header.get(header): len(links) for header, links in arena._links.items()}


# eax += ecx, 100 times; there and back between two blocks
LOOP = code("b964000000 01c8 eb00 49 75f9 cd80")  # mov ecx; add; jmp; dec; jne; int
ADD, DEC, END = CODE + 5, CODE + 9, CODE + 12


def test_what_is_entered_often_is_stitched():
    """Not what is entered once; the system call has no stencil and stays with the handlers."""
    engine = stitching(stitch=7)
    state = agrees(LOOP, engine)
    assert kinds(engine, state) == {CODE: BLOCK, ADD: STITCHED, DEC: STITCHED, END: BLOCK}
    early = x86_machine(LOOP)
    engine.run(early, 20)
    assert STITCHED not in kinds(engine, early).values()


def test_stitched_blocks_are_linked():
    """The loop goes round without looking anything up; nobody is linked to handlers."""
    engine = stitching()
    state = agrees(LOOP, engine)
    assert kinds(engine, state) == {CODE: STITCHED, ADD: STITCHED, DEC: STITCHED, END: BLOCK}
    assert links_of(engine, state) == {ADD: 1, DEC: 1}  # what is entered first is not linked yet


@pytest.mark.parametrize("until", [*range(1, 14), 40, 41])
def test_any_count_is_exact(until):
    """A block of which not all may be done is left to the handlers."""
    assert agrees(LOOP, stitching(), until=until).count == until


# the same with blocks of eight instructions each, which are usual ones
EVEN = code("b964000000 01c8 909090909090 eb00 49 909090909090 75ed cd80")


def asked(monkeypatch, stitch, count, program=EVEN):
    """At which counts a block asks for a region."""
    counts = []
    ask = regions_module.Regions.ask

    def note(regions, mode, key):
        counts.append((regions._session.state.count, key))
        ask(regions, mode, key)

    with monkeypatch.context() as patch:
        patch.setattr(regions_module.Regions, "ask", note)
        patch.setattr(engine_module, "FAMILIAR", 1)  # nobody notes before that it is warm
        engine = stitching(hot=count, stitch=stitch, level=BEST)
        agrees(program, engine)
    return counts


def test_loading_the_compiler_has_to_be_worth_it(monkeypatch, tmp_path):
    """A short run compiles nothing, the next one what was warm in that, and a long one the rest."""
    monkeypatch.setattr(engine_module, "RECALL", 10)
    monkeypatch.setattr(engine_module, "HOT", 60)
    asked = []
    monkeypatch.setattr(regions_module.Regions, "ask", lambda self, mode, key: asked.append(key))

    def run(worth, program):
        asked.clear()
        monkeypatch.setattr(engine_module, "WORTH", worth)
        engine = Native(wait=True, cache=DiskCache(tmp_path), stitch=0)
        state = agrees(program, engine)
        engine._session_of(state).tier1.keep()
        return set(asked)

    assert not run(1 << 40, EVEN)
    assert run(1 << 40, EVEN)
    assert run(0, b"\xba" + EVEN[1:5] + EVEN)


# two loops one behind the other, of two blocks of eight instructions each and of two of four
UNEVEN = code(
    "b960090000 ba60090000 01c8 909090909090 eb00 49 909090909090 75ed"
    "01d0 90 eb00 4a 9090 75f6 cd80"
)  # mov ecx; mov edx; 1: add eax, ecx; jmp; dec ecx; jne 1b; 2: add eax, edx; jmp; dec edx; jne 2b
FIRST, SECOND = {CODE + 10, CODE + 20}, {CODE + 29, CODE + 34}
BEHIND = 2 + 16 * 0x960


@pytest.mark.parametrize("stitch", [0, 7])
def test_blocks_are_hot_after_as_many_instructions(monkeypatch, stitch):
    """Whether they are long or short: each does half of what 200 entries of usual ones are. Samples
    tell, which are few here."""
    found = asked(monkeypatch, stitch, 200, UNEVEN)
    assert {pc for _, pc in found} == FIRST | SECOND
    for count, pc in found:
        begun = 0 if pc in FIRST else BEHIND
        assert 200 * 8 * 2 / 3 <= count - begun <= 200 * 8 * 2 * 3


def test_what_runs_seldom_is_not_hot(monkeypatch):
    """Nor does a sample ask if it is not the last one that is missing."""
    assert not asked(monkeypatch, 0, 1 << 20, EVEN)
    assert not asked(monkeypatch, 0, 600, LOOP)


# LOOP 5,000 times
LONGER = b"\xb9\x88\x13" + LOOP[3:]


def test_a_region_takes_the_place_of_a_stitched_block():
    """No link leads past it; when it is gone, the stitched code is there again."""
    engine = stitching(hot=10, level=BEST)
    state = agrees(LONGER, engine)
    found = kinds(engine, state)
    head = next(pc for pc, kind in found.items() if kind == REGION)
    assert links_of(engine, state).get(head, 0) == 0
    regions = engine._session_of(state).regions
    for region in list(regions._installed_at.values()):
        regions._drop(region)
    assert kinds(engine, state)[head] == STITCHED
    state.pc, state["eax"] = CODE, 0
    assert engine.run(state, 1 << 30).reason == "interrupt"
    assert state["eax"] == 5_000 * 5_001 // 2


# twenty times 200 rounds: mov edx; outer: mov ecx; inner: add; dec; jne inner; dec; jne outer
INNER = CODE + 10
NESTED = code("ba14000000 b9c8000000 01c8 49 75fb 4a 75f3 cd80")


def test_regions_are_linked_to_until_they_are_gone(monkeypatch):
    """The outer loop was stitched before the inner one became a region, without the outer one."""
    monkeypatch.setattr(RegionBuilder, "_following", lambda builder, planned: {INNER})
    monkeypatch.setattr(engine_module, "SLICE", 1_000)  # after which new regions are used
    engine = stitching(hot=10, level=BEST)
    state = agrees(NESTED, engine)
    arena, mode = arena_of(engine, state), state.isa.mode(state.values)
    arena._take_notes()
    heads = [pc for pc, kind in kinds(engine, state).items() if kind == REGION]
    headers = [arena._header(mode, pc) for pc in heads]
    assert heads
    assert any(arena._links.get(header) for header in headers)
    regions = engine._session_of(state).regions
    for region in list(regions._installed_at.values()):
        regions._drop(region)
    assert not any(arena._links.get(header) for header in headers)
    state.pc, state["eax"] = CODE, 0
    assert engine.run(state, 1 << 30).reason == "interrupt"
    assert state["eax"] == 20 * 20_100


@pytest.mark.parametrize("until", range(100, 12_000, 777))
def test_counts_are_exact_with_links_to_regions(until):
    assert agrees(NESTED, stitching(hot=10, level=BEST), until=until).count == until


# twice 40 rounds of: add eax, 1 in a block of its own; then that becomes add eax, 3
CHANGES = code(
    "ba02000000 b928000000 eb00 83c001 eb00 49 75f6 "  # mov edx; 1: mov ecx; jmp; 2: add; jmp; dec
    f"c605 {(CODE + 14).to_bytes(4, 'little').hex()} 03 4a 75e7 cd80"  # mov [2b + 2], 3; dec; jne
)
CHANGED = CODE + 12


@pytest.mark.parametrize("stitch", [0, 1, 31])
def test_code_that_is_changed_is_linked_to_no_more(stitch):
    engine = stitching(stitch=stitch)
    state = agrees(CHANGES, engine)
    assert state["eax"] == 40 + 3 * 40


def test_code_that_handlers_change_is_linked_to_no_more():
    """What a device or a system call writes counts, too."""
    engine, state = stitching(), x86_machine(LOOP)
    engine.run(state, 1 << 30)
    assert links_of(engine, state)[ADD] == 1
    state.memory["linear"].write(ADD, b"\x29")  # sub eax, ecx
    assert ADD not in kinds(engine, state)
    state.pc, state["eax"] = CODE, 0
    engine.run(state, 1 << 30)
    assert state["eax"] == -5050 & 0xFFFFFFFF


# 64 stores of four bytes each, 61 bytes apart from esi on: some in two pages
CROSSING = code("b940000000 890e 0306 83c63d 49 75f6 cd80")


@pytest.mark.parametrize("first", [DATA, DATA + PAGE - 2, DATA + 2 * PAGE - 61 * 20])
def test_what_misses_goes_on_in_the_handlers(first):
    """Page crossings, and faults where no page is: exact, after the same count."""
    for _ in range(2):
        agrees(CROSSING, stitching(), {"esi": first})


def test_faults_in_the_middle_are_precise():
    """div by zero in the fifth round, after other instructions of its block."""
    program = code("b905000000 40 49 31d2 89c8 f7f1 83c701 ebf4")  # ...; div ecx; add edi, 1; jmp
    engine = stitching()
    state = agrees(program, engine)
    assert state["ecx"] == 0


@pytest.mark.parametrize("notes", [1, 2])
def test_links_that_no_note_has_room_for_wait(monkeypatch, notes):
    monkeypatch.setattr(arena_module, "NOTES", notes)
    engine = stitching()
    state = agrees(CHANGES, engine)
    assert state["eax"] == 40 + 3 * 40


def test_room_for_code_is_limited(monkeypatch):
    """Then everything is forgotten, and goes on."""
    monkeypatch.setattr(arena_module, "MOST_CODE", 1)
    monkeypatch.setattr(arena_module, "CODE", 1024)
    forgotten = []
    forget = NativeSession.forget
    monkeypatch.setattr(NativeSession, "forget", lambda s: (forgotten.append(s), forget(s)))
    body = code("83c001 eb00") * 40  # forty blocks
    program = (
        code("b906000000")
        + body
        + code("49 0f85")
        + (-len(body) - 7).to_bytes(4, "little", signed=True)
    )
    state = agrees(program + code("cd80"), stitching())
    assert state["eax"] == 240
    assert forgotten


def test_without_room_for_code_nothing_is_stitched(monkeypatch):
    def full(self, length):
        raise MemoryError

    stitching().run(x86_machine(LOOP), 1 << 30)  # what all sessions share has its room
    engine, state = stitching(), x86_machine(LOOP)
    engine._session_of(state)
    monkeypatch.setattr(executable.Arena, "take", full)
    assert engine.run(state, 1 << 30).reason == "interrupt"
    assert state["eax"] == 5050
    assert set(kinds(engine, state).values()) == {BLOCK}


def test_what_is_counted_is_not_stitched():
    """Counts begin in the middle of a run, and are those of the reference."""
    counts = []
    for engine in (Reference(), stitching()):
        state = x86_machine(LOOP)
        engine.run(state, 50)
        state.coverage = Coverage(1 << 32)
        engine.run(state, 1 << 30)
        counts.append(list(state.coverage.ranges()))
    assert counts[0] == counts[1]


def test_rounds_with_many_targets():
    """A return that leads to more places than a site has links."""
    call = code("e8") + (0).to_bytes(4, "little")
    calls = [CODE + 5 + 5 * n for n in range(LINKS + 3)]
    function = calls[-1] + 5 + 5
    program = code("b90a000000")
    for at in calls:
        program += code("e8") + (function - at - 5).to_bytes(4, "little")
    program += code("49 75") + bytes([-(len(program) - 5) - 3 & 0xFF]) + code("cd80")
    assert len(call) == 5
    assert CODE + len(program) == function
    engine = stitching()
    state = agrees(program + code("40 c3"), engine)
    assert state["eax"] == 10 * len(calls)


# -- from object code ---------------------------------------------------------------------------


def stencils(body, holes=(), more=()):
    from emu.engines.native.compiler import borrowed

    text = f"define {CONVENTION} i64 @made({PARAMETERS}) {{\n{body}\n}}"
    with borrowed(BEST) as compiler:
        return stencils_of(compiler.object_code(joined_module([text], more, holes), ["made"]))


NEXT = "\n".join(go_on("next"))


def test_a_jump_to_what_stands_behind_is_left_out():
    assert stencils(NEXT) == {"made": Stencil(bytes(STENCIL.size))}


def test_calls_are_numbered_by_who_keeps_the_stencil():
    text = "  call void @other()\n  call void @another()\n  call void @other()" + NEXT
    more = ["declare void @other()", "declare void @another()"]
    stencil = stencils(text, more=more)["made"]
    assert sorted(symbol for _, symbol in stencil.names) == ["another", "other", "other"]
    asked = []
    content = stencil.numbered(lambda symbol: (asked.append(symbol), 0x1234)[1])
    assert asked == [symbol for _, symbol in stencil.names]
    assert content.count(b"\x34\x12\0\0") == 3


def test_what_has_constants_elsewhere_is_no_stencil():
    text = """
  %n = and i64 %number, 3
  %p = getelementptr i64, ptr @table, i64 %n
  %v = load i64, ptr %p
  store i64 %v, ptr %registers"""
    table = "@table = private constant [4 x i64] [i64 5, i64 99, i64 7, i64 1]"
    assert not stencils(text + NEXT, more=[table])


def test_what_makes_64_bits_of_a_number_with_a_sign_is_no_stencil():
    """Such a hole would be filled with 32 bits of which the processor makes negative numbers."""
    text = '  %p = ptrtoint ptr @"{0}" to i64\n  store i64 %p, ptr %registers'
    assert stencils(text.format("index") + NEXT, holes=["index"])
    wide = stencils(text.format("field.1") + NEXT, holes=["field.1"])
    assert not wide or b"\x48\xc7" not in wide["made"].content
