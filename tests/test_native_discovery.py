"""Tier 1 discovers blocks without Python: what it finds, forgets, and must never pass over."""

from __future__ import annotations

import random

import numpy as np
import pytest
from machines import CODE, NO_CACHE, PAGE, agrees, arena_of, picture, x86_machine

from emu.bench.images import cold_program
from emu.engines.native import learned
from emu.engines.native.arena import Arena
from emu.engines.native.cache import DiskCache
from emu.engines.native.decoder import BulkDecoder, Description
from emu.engines.native.engine import Native
from emu.engines.native.layout import Word
from emu.engines.python import Python
from emu.engines.reference import Reference
from isa.x86.decode import decode
from isa.x86.mode import FLAT_USER

NEVER = (1 << 31) - 1


def code(text):
    return bytes.fromhex(text)


def cold(**options):
    """An engine that keeps everything with the handlers."""
    return Native(**{"hot": 1 << 30, "wait": True, "cache": NO_CACHE, "stitch": NEVER} | options)


def jump_to(at, target):
    """JMP rel32."""
    return b"\xe9" + (target - at - 5 & 0xFFFFFFFF).to_bytes(4, "little")


def blocks_of(engine, state):
    """The blocks that tier 1 knows: program counters and sizes."""
    arena = arena_of(engine, state)
    mode = state.isa.mode(state.values)
    found = (arena.block(mode, pc) for pc in range(CODE, CODE + 2 * PAGE))
    return {block.pc: block.size for block in found if block is not None}


# eax += 1, jumping from page to page and back, ecx times
LOOP = code("b914000000 40 eb00 49 75fa cd80")  # mov ecx,20; inc eax; jmp +0; dec ecx; jne; int


def straight(count, seed):
    """Straight-line code that touches registers only, and an exit."""
    source = random.Random(seed)
    body = b""
    for _ in range(count):
        register = source.choice((0, 1, 2, 3, 6, 7))
        kinds = (
            bytes([0x40 + register]),
            bytes([0x81, 0xC0 | register]) + source.randbytes(4),
            bytes([0xB8 | register]) + source.randbytes(4),
            bytes([0x89, 0xC0 | register]),
            b"\xeb\x00",
            b"\x74\x00",
        )
        body += source.choice(kinds)
    return body + code("cd80")


@pytest.mark.parametrize("seed", range(4))
def test_blocks_are_what_the_decoder_says(seed):
    """Each block holds whole instructions, up to one that ends it, the page, or sixty."""
    program = straight(1900, seed)
    engine = cold()
    state = agrees(program, engine)
    found = blocks_of(engine, state)
    starts = sorted(found)
    at = 0
    boundaries = set()
    while at < len(program):
        boundaries.add(CODE + at)
        at += decode(program[at : at + 15], FLAT_USER).length
    assert set(starts) <= boundaries
    assert max(pc for pc in starts if pc < CODE + PAGE) > CODE + PAGE - 200
    for pc, size in found.items():
        assert pc + size in boundaries | {CODE + at}
        assert pc + size in found or pc + size == CODE + at or pc + size == starts[-1]


@pytest.mark.parametrize("ready", [False, True], ids=["page unknown", "page ready"])
@pytest.mark.parametrize("room", range(1, 5))
def test_an_instruction_across_pages_is_a_block(monkeypatch, ready, room):
    """It is dropped when its second half changes. Native code finds it if both pages are ready."""
    start, elsewhere = CODE + PAGE - room, CODE + PAGE + 0x100
    first = code("b801000000")  # mov eax, 1: so that the decoder knows it
    jump = jump_to(CODE + 5, elsewhere if ready else start)
    body = code("b878563412 cd80").ljust(0x100 + room, b"\x90")  # mov eax, 12345678h
    program = (first + jump).ljust(PAGE - room, b"\x90") + body + jump_to(elsewhere, start)
    added = []
    add = Arena.add
    monkeypatch.setattr(Arena, "add", lambda *all: (added.append(all[2]), add(*all)))
    engine = cold()
    state = agrees(program, engine)
    assert blocks_of(engine, state)[start] == 5
    assert (start in added) != ready
    state.memory["linear"].write(CODE + PAGE + 5 - room, b"\xcd")
    assert start in blocks_of(engine, state)
    state.memory["linear"].write(CODE + PAGE + 4 - room, b"\x99")
    assert start not in blocks_of(engine, state)
    state.pc = CODE
    engine.run(state, state.count + 3 + ready)
    assert state["eax"] == 0x99345678


def test_the_second_page_may_go_away():
    """Half an instruction is left: that is a fault of the page behind it."""
    jump = jump_to(CODE, CODE + PAGE - 2)
    engine, state = cold(), x86_machine(jump.ljust(PAGE - 2, b"\x90") + code("b878563412 cd80"))
    engine.run(state, 2)
    assert state["eax"] == 0x12345678
    state.memory["linear"].unmap(CODE + PAGE, PAGE)
    state.pc = CODE
    stop = engine.run(state, 10)
    assert (stop.reason, stop.fault.address) == ("fault", CODE + PAGE)


@pytest.mark.parametrize("room", [8, 16, 70, 200])
def test_a_small_arena_is_emptied_again_and_again(monkeypatch, room):
    monkeypatch.setattr("emu.engines.native.arena.ARENA", room)
    engine = cold()
    state = agrees(straight(600, room), engine)
    assert engine._session_of(state).mail[Word.USED] <= room


def test_who_asks_for_a_block_makes_no_tables():
    """Compilers do in their threads, also right after everything was forgotten: tables of theirs
    would take the place of those that native code was told of just now."""
    state, engine = x86_machine(LOOP), cold()
    engine.run(state, 20)
    arena, mode = arena_of(engine, state), state.isa.mode(state.values)
    assert arena.block(mode, CODE) is not None
    arena._pages.clear()
    assert arena.block(mode, CODE) is None
    assert not arena._pages


def test_few_pages_are_ready_at_a_time(monkeypatch):
    """Two slots, of which one is nobody's: each page pushes the other one out."""
    monkeypatch.setattr("emu.engines.native.arena.MOST_PAGES", 2)
    there = (PAGE - 10).to_bytes(4, "little")
    back = (4 - PAGE & 0xFFFFFFFF).to_bytes(4, "little")
    program = code("b914000000 e9") + there + code("49 75f8 cd80")
    program = program.ljust(PAGE, b"\x90") + code("40 e9") + back
    assert agrees(program, cold())["eax"] == 20


@pytest.mark.parametrize("hot", [0, 1 << 30])
def test_code_segments_with_a_base_are_not_looked_up_by_program_counter(hot):
    """The same program counters, once flat and once with a base, are different code."""
    engine, state = cold(hot=hot), x86_machine(LOOP + bytes(100))
    state.memory["linear"].poke(CODE + PAGE, LOOP.replace(b"\x40", b"\x43"))  # inc ebx
    for base, counted in ((0, "eax"), (PAGE, "ebx"), (0, "eax"), (PAGE, "ebx")):
        state.pc, state["cs_base"], state[counted] = CODE, base, 0
        assert engine.run(state, state.count + 1000).reason == "interrupt"
        assert state[counted] == 20


# -- changes ----------------------------------------------------------------------------------


def test_data_beside_code_does_not_forget_code():
    """A loop counts in a word of its own page: nothing is decoded twice."""
    loop = code("b914000000 ff0500000000 49 75f7 cd80")
    place = CODE + 0x100
    loop = loop[:7] + place.to_bytes(4, "little") + loop[11:]
    engine = cold()
    state = agrees(loop, engine)
    assert state.memory["linear"].load(place, 4) == 20
    used = engine._session_of(state).mail[Word.USED]
    state.pc, state["ecx"] = CODE, 0
    engine.run(state, state.count + 60)
    assert engine._session_of(state).mail[Word.USED] == used


def test_only_the_blocks_that_changed_are_forgotten():
    engine, state = cold(), x86_machine(straight(200, 1))
    engine.run(state, 1 << 20)
    before = blocks_of(engine, state)
    pc, size = sorted(before.items())[len(before) // 2]
    last = state.memory["linear"].read(pc + size - 1, 1)
    state.memory["linear"].write(pc + size - 1, last)
    after = blocks_of(engine, state)
    gone = before.keys() - after.keys()
    assert pc in gone
    assert all(start <= pc + size - 1 < start + before[start] for start in gone)


@pytest.mark.parametrize("engine", [Python(), cold(), cold(hot=0)], ids=["python", "cold", "hot"])
def test_code_in_a_frame_that_had_code_before(engine):
    """A page of code goes away; its frame comes back as data, is written, and is code again."""
    new = CODE + 16 * PAGE
    state = x86_machine(code("40 cd80"))
    space = state.memory["linear"]
    engine.run(state, 10)
    frame = space.frames[CODE // PAGE]
    space.unmap(CODE, PAGE)
    space.map(new, PAGE, 7)
    store = b"\xc6\x05" + (new + 8).to_bytes(4, "little") + b"\x07"  # of the immediate behind it
    space.poke(new, store + code("b000 cd80"))
    assert space.frames[new // PAGE] == frame
    jump = b"\xe9" + (new - CODE - PAGE - 12).to_bytes(4, "little")
    space.poke(CODE + PAGE, b"\xc6\x05" + (new + 99).to_bytes(4, "little") + b"\x07" + jump)
    state.pc = CODE + PAGE
    assert engine.run(state, 100).reason == "interrupt"
    assert state["eax"] & 255 == 7


# -- breakpoints ------------------------------------------------------------------------------


@pytest.mark.parametrize("hot", [0, 3, 1 << 30])
@pytest.mark.parametrize("offset", [5, 6, 8, 9, 11])
def test_breakpoints_hold_in_tier_1(hot, offset):
    """Every one stops each time it is met, wherever in a block it is."""
    engine, state = cold(hot=hot), x86_machine(LOOP)
    expected = x86_machine(LOOP)
    state.breakpoints = expected.breakpoints = {CODE + offset}
    reference = Reference()
    stop = None
    while stop is None or stop.reason == "breakpoint":
        stop, wanted = engine.run(state, 1 << 20), reference.run(expected, 1 << 20)
        assert picture(state, stop) == picture(expected, wanted)


def test_code_with_breakpoints_elsewhere_stays_native():
    """Blocks beside a breakpoint, in its page too, are blocks of tier 1."""
    engine, state = cold(), x86_machine(LOOP)
    state.breakpoints = {CODE + 11, CODE + PAGE}
    assert engine.run(state, 1 << 20).reason == "breakpoint"
    assert blocks_of(engine, state).keys() == {CODE, CODE + 5, CODE + 8}
    assert not engine._session_of(state).tables.get(state.isa.mode(state.values))


def test_a_region_from_the_disk_does_not_pass_over_a_breakpoint(tmp_path):
    """What was compiled without breakpoints is not used where there are some."""
    for breakpoints, count in ((set(), 1), ({CODE + 8}, 20)):
        engine = cold(hot=0, cache=DiskCache(tmp_path / "cache"))
        state = x86_machine(LOOP)
        state.breakpoints = breakpoints
        stops = 0
        while engine.run(state, 1 << 20).reason == "breakpoint":
            stops += 1
        assert stops == (count if breakpoints else 0)


# -- what was learned -------------------------------------------------------------------------


def learned_decoder():
    decoder = BulkDecoder(lambda form, fields: Description(fields))
    for seed in range(3):
        decoder.decode(straight(300, seed), room=1000, stop=0)
    program = cold_program(3000, 1)
    decoder.decode(program[0x80:], room=4000, stop=0)
    decoder.decode(code("0fb6c0 c8100002 0f22c0"), mode=FLAT_USER._replace(code_size=16))
    return decoder


def test_what_was_learned_comes_back(tmp_path):
    cache = DiskCache(tmp_path / "cache")
    decoder, again = learned_decoder(), BulkDecoder(lambda form, fields: pytest.fail("asked"))
    learned.save(cache, "name", decoder)
    learned.load(cache, "name", again)
    assert (again.forms, again.descriptions) == (decoder.forms, decoder.descriptions)
    assert again.tables.keys() == decoder.tables.keys()
    assert learned.amount(again) == learned.amount(decoder) > 50
    program = straight(300, 1)
    ours, theirs = (d.decode(program, room=400, stop=0) for d in (decoder, again))
    assert np.array_equal(ours.records, theirs.records)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_file_is_ignored(tmp_path, damage):
    cache = DiskCache(tmp_path / "cache")
    learned.save(cache, "name", learned_decoder())
    (path,) = (tmp_path / "cache").rglob("name")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "other":
        cache.save(
            "name", {"modes": [[1]], "forms": [["x"]], "descriptions": [], "tables": []}, b""
        )
    else:
        path.write_bytes({"flip": content, "cut": content[:-99], "empty": b""}[damage])
    decoder = BulkDecoder(lambda form, fields: Description(fields))
    learned.load(cache, "name", decoder)
    assert learned.amount(decoder) == 0
    assert len(decoder.decode(LOOP, room=9, stop=0).records) == 6


def test_a_session_keeps_what_it_learned(tmp_path, monkeypatch):
    """The second one asks nobody about the same code."""
    for _ in range(2):
        engine = cold(cache=DiskCache(tmp_path / "cache"))
        state = agrees(LOOP, engine)
        engine._session_of(state).close()
        monkeypatch.setattr(BulkDecoder, "_learn", lambda *_: pytest.fail("learned again"))
