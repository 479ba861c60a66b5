"""The native engine's own promises: tiers, exact counts, changed code, caches, limits, Ctrl-C."""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from machines import CODE, DATA, NO_CACHE, PAGE, agrees, picture, x86_machine

from emu import private
from emu.engines import make_engine
from emu.engines.native import cache as cache_module
from emu.engines.native import regions as regions_module
from emu.engines.native import warmth as warmth_module
from emu.engines.native.build import RegionBuilder
from emu.engines.native.cache import DiskCache
from emu.engines.native.compiler import Compiler, borrowed
from emu.engines.native.engine import Native
from emu.engines.native.executable import ROOM, Arena, arena
from emu.engines.native.handler_store import handlers_of
from emu.engines.native.jumps import JumpCache
from emu.engines.native.kept import PREFIX
from emu.engines.native.layout import BEST, JUMPS, QUICK
from emu.engines.native.linking import linker
from emu.engines.native.region import RegionCompiler, perfect_hash
from emu.engines.native.regions import Job
from emu.engines.native.spaces import PagedSpace
from emu.engines.native.warmth import Place, Warmth
from emu.engines.native.worker import PATIENCE, Worker
from emu.engines.python import MOST_SESSIONS
from emu.engines.reference import Reference
from emu.memory import AddressSpace, PhysicalMemory
from emu.toy.machine import ToyMachine
from emu.toy.run import load_program
from isa.toy import Toy
from tests.soak import resident, settle

FUNCTION = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)


def native(**options):
    """An engine that compiles at once and keeps nothing."""
    return Native(**{"hot": 0, "wait": True, "cache": NO_CACHE} | options)


def code(text):
    return bytes.fromhex(text)


LOOP = code(
    "31c0 b9e8030000 01c8 83d000 49 75f8 cd80"
)  # xor eax,eax; mov ecx,1000; add adc dec jne
"""EAX := 1000 + 999 + … + 1."""


@pytest.mark.parametrize("level", [QUICK, BEST])
def test_a_loop_runs_in_native_code(level):
    engine, state = native(level=level), x86_machine(LOOP)
    stop = engine.run(state, 1 << 40)
    assert (stop.reason, state["eax"], state["ecx"]) == ("interrupt", 500500, 0)
    assert any(engine._session_of(state).regions.tables.values())


@pytest.mark.parametrize("hot", [0, 3, 1 << 30])
def test_every_until_is_exact(hot):
    """Whatever tier the count runs out in, the state there is the reference's."""
    for until in (*range(1, 40), 500, 1501, 3999):
        expected, state = x86_machine(LOOP), x86_machine(LOOP)
        wanted = Reference().run(expected, until)
        assert picture(state, native(hot=hot).run(state, until)) == picture(expected, wanted)


CLOCK = code("b928000000 90 0f31 01c3 11d6 0f31 0fafd8 49 75f1 cd80")
"""1: nop; rdtsc; add ebx, eax; adc esi, edx; rdtsc; imul ebx, eax; dec ecx; jnz 1b; 40 times."""


@pytest.mark.parametrize("hot", [0, 3, 1 << 30])
def test_the_time_stamp_counter_is_read_in_native_code(hot):
    for until in (*range(1, 12), 200, 1 << 40):
        expected, state = x86_machine(CLOCK), x86_machine(CLOCK)
        expected.count = state.count = (1 << 32) - 20
        wanted = Reference().run(expected, expected.count + until)
        engine = native(hot=hot)
        found = engine.run(state, state.count + until)
        assert picture(state, found) == picture(expected, wanted)
    (form,) = (f for f in engine._session_of(state)._native_forms if f.mnemonic == "rdtsc")
    assert engine._session_of(state).is_native(form)


def test_an_old_flag_survives_its_own_replacement():
    """SBB alone in its block: its flags follow from the carry that it replaces."""
    loop = code("b80700ffff b905000000 39f7 1901 b8feffffff 49 75f4 cd80".replace("1901", "1b06"))
    for until in range(1, 30):
        given = {"esi": DATA + 16, "edi": DATA + 3}
        expected, state = x86_machine(loop, given), x86_machine(loop, given)
        wanted = Reference().run(expected, until)
        assert picture(state, native(longest=1).run(state, until)) == picture(expected, wanted)


@pytest.mark.parametrize("hot", [0, 1 << 30])
def test_changed_code_is_met_at_the_next_instruction(hot):
    """The loop replaces the immediate of an instruction ahead of it each time round."""
    loop = code("b90a000000 880d0c00a000 b000 00c3 49 75f3 cd80")  # mov [imm], cl; mov al, imm; add
    loop = loop[:7] + (CODE + 12).to_bytes(4, "little") + loop[11:]
    expected, state = x86_machine(loop), x86_machine(loop)
    wanted = Reference().run(expected, 1 << 20)
    assert picture(state, native(hot=hot).run(state, 1 << 20)) == picture(expected, wanted)


OVERWRITING = code("bf0010a000 ffd7 b900040000 89548ffc 49 75f9 c707404040c3 ffd7 cd80").ljust(
    PAGE, b"\x90"
) + code("40" * 199 + "c3")
"""mov edi, CODE + PAGE; call edi; mov ecx, 1024; 1: mov [edi + 4*ecx - 4], edx; dec ecx; jnz 1b;
mov dword [edi], 3 INC and a RET; call edi; int 80h."""


@pytest.mark.parametrize("hot", [0, 1 << 30])
def test_a_page_whose_code_is_overwritten_is_data(hot):
    """Its function is called, stores fill the page, and a shorter function is put there."""
    expected, state, engine = x86_machine(OVERWRITING), x86_machine(OVERWRITING), native(hot=hot)
    space = state.memory["linear"]
    for until in (203, 203 + 3 * 1024, 1 << 20):
        wanted, found = Reference().run(expected, until), engine.run(state, until)
        assert picture(state, found) == picture(expected, wanted)
        is_data = space.frames[CODE // PAGE + 1] not in space.physical.code_frames
        assert is_data == (until == 203 + 3 * 1024)
    assert state["eax"] == 199 + 3


@pytest.mark.parametrize("hot", [0, 1 << 30])
def test_a_breakpoint_set_now_holds_at_once(hot):
    engine, state = native(hot=hot), x86_machine(LOOP)
    assert engine.run(state, 301).reason == "until"
    state.breakpoints = {CODE + 12}  # DEC
    for _ in range(3):
        assert engine.run(state, 1 << 40).reason == "breakpoint"
        assert state.pc == CODE + 12
    state.breakpoints = set()
    assert engine.run(state, 1 << 40).reason == "interrupt"
    assert state["eax"] == 500500


def test_a_breakpoint_holds_in_a_region_from_the_disk(tmp_path):
    """It was compiled when there was no breakpoint."""
    loop = code("31c0 b9e8030000 01c8 eb00 49 75f9 cd80")  # add; jmp to dec; jne
    engines = [native(cache=DiskCache(tmp_path), level=BEST) for _ in range(2)]
    assert engines[0].run(x86_machine(loop), 1 << 40).reason == "interrupt"
    state = x86_machine(loop)
    state.breakpoints = {CODE + 11}  # DEC
    for _ in range(3):
        assert engines[1].run(state, 1 << 40).reason == "breakpoint"
        assert state.pc == CODE + 11


@pytest.mark.parametrize("offset", [7, 9, 12, 15])  # 15: where a block of its own begins
def test_a_breakpoint_holds_in_code_that_an_earlier_run_compiled(tmp_path, offset):
    """What comes from the disk, or from a thread at work, was compiled without it."""
    cache = DiskCache(tmp_path / "cache")

    earlier, before = native(cache=cache, hot=4), x86_machine(LOOP)
    for _ in range(8):  # until all that the program does is in one region
        before.pc = CODE
        earlier.run(before, 1 << 40)
    state, expected = x86_machine(LOOP), x86_machine(LOOP)
    state.breakpoints = expected.breakpoints = {CODE + offset}
    wanted = Reference().run(expected, 1 << 20)
    assert wanted.reason == "breakpoint"
    assert picture(state, native(cache=cache).run(state, 1 << 20)) == picture(expected, wanted)


@pytest.mark.parametrize("when", range(1, 4))
def test_what_is_forgotten_while_a_block_is_met_is_not_run_later(when):
    """Everything is forgotten just after a block was decoded: its code is no longer watched, so
    nobody may find it again. The block is changed each time round."""
    loop = code("b90a000000 fe0500000000 b001 49 75f5 cd80")  # mov ecx; inc [imm of mov al]; mov al
    loop = loop[:7] + (CODE + 12).to_bytes(4, "little") + loop[11:]
    engine, state, expected = native(hot=1 << 30), x86_machine(loop), x86_machine(loop)
    session = engine._session_of(state)
    meet, calls = session.tier1.meet, []

    def forgetful(mode, pc):
        met = meet(mode, pc)
        calls.append(None)
        if len(calls) == when:
            session.forget()
        return met

    session.tier1.meet = forgetful
    wanted = Reference().run(expected, 1 << 20)
    assert picture(state, engine.run(state, 1 << 20)) == picture(expected, wanted)
    assert len(calls) >= when


def test_a_fault_in_the_middle_of_a_region_is_precise():
    """Stores walk off the end of the data; what the flags are there is not forgotten."""
    walk = code("b900100000 890f 83c704 39f9 49 75f6 cd80")
    for hot in (0, 1 << 30):
        given = {"edi": DATA + PAGE}
        expected, state = x86_machine(walk, given), x86_machine(walk, given)
        wanted = Reference().run(expected, 1 << 20)
        assert wanted.reason == "fault"
        assert picture(state, native(hot=hot).run(state, 1 << 20)) == picture(expected, wanted)


def test_a_register_that_a_block_puts_back_is_right_in_between():
    """XCHG, an access that faults the second time, XCHG: the exit has to swap them."""
    loop = code("93 8b0a 93 81c200001000 ebf4")  # xchg; mov ecx, [edx]; xchg; add edx, 1M; jmp
    given = {"eax": 1, "ebx": 2, "edx": DATA}
    expected, state = x86_machine(loop, given), x86_machine(loop, given)
    wanted = Reference().run(expected, 1 << 20)
    assert picture(state, native().run(state, 1 << 20)) == picture(expected, wanted)
    assert (state["eax"], state["ebx"]) == (2, 1)


def regions_of(engine, state):
    return set(engine._session_of(state).regions._installed_at.values())


def test_blocks_of_a_region_get_no_region_of_their_own():
    """Two loops, one inside of the other: all blocks are hot, and one region is enough."""
    nest = code("31c0 be64000000 b90a000000 01c8 49 75fb 4e 75f3 cd80")
    engine, state = native(hot=20), x86_machine(nest)
    assert engine.run(state, 1 << 40).reason == "interrupt"
    assert state["eax"] == 100 * 55
    assert len(regions_of(engine, state)) == 1


def test_a_target_that_turns_up_late_becomes_part_of_the_region():
    """JMP through a table of which one entry after the other comes to be used."""
    loop = code("b9ff030000 89c8 c1e807 8b048500000000 ffe0 49 75ef cd80")
    loop = loop[:13] + (CODE + 0x100).to_bytes(4, "little") + loop[17:]
    bodies = [bytes([0x83, 0xC3, n, 0xEB, 0xCE - 8 * n, 0, 0, 0]) for n in range(8)]
    table = b"".join((CODE + 0x40 + 8 * n).to_bytes(4, "little") for n in range(8))
    program = loop.ljust(0x40, b"\x90") + b"".join(bodies)
    program = program.ljust(0x100, b"\x90") + table
    expected, state, engine = x86_machine(program), x86_machine(program), native(hot=20)
    wanted = Reference().run(expected, 1 << 20)
    assert wanted.reason == "interrupt"
    assert picture(state, engine.run(state, 1 << 20)) == picture(expected, wanted)
    assert len(regions_of(engine, state)) == 1


def test_machines_take_turns():
    """One engine, several machines: each goes on where it was."""
    engine = native()
    machines = [x86_machine(LOOP) for _ in range(3)]
    for until in range(100, 5000, 100):
        for state in machines:
            engine.run(state, until)
    assert [state["eax"] for state in machines] == [500500] * 3


def test_a_region_may_be_compiled_while_another_one_is_dropped():
    """The compiler's thread notes blocks in the middle of whatever the guest's thread does: here
    where Python looks for garbage, which is where threads take turns in the middle of a copy."""
    engine, state = native(hot=4), x86_machine(LOOP)
    engine.run(state, 1 << 40)
    regions = engine._session_of(state).regions
    (mode, head), compiled = next(iter(regions._whole.items()))
    others = itertools.count(4)  # names of modes that there are not

    def elsewhere(phase, info):
        regions._house(Job(mode._replace(cpl=next(others)), head), compiled)

    threshold = gc.get_threshold()
    gc.callbacks.append(elsewhere)
    try:
        gc.set_threshold(1)
        for _ in range(100):
            regions._house(Job(mode, head), compiled)
            regions._unhouse(mode, head)
    finally:
        gc.callbacks.remove(elsewhere)
        gc.set_threshold(*threshold)
    assert next(others) > 100
    assert not [key for key in regions.homes if key[0] == mode]


@pytest.mark.parametrize("pc", [0, 1, 2, JUMPS, JUMPS + 1, 0xFFFFFFFF])
def test_a_jump_cache_has_what_was_entered(pc):
    """Program counter 0, which empty entries may not be taken for, too."""
    jumps = JumpCache()
    for _ in range(2):
        assert not jumps.has(pc)
        jumps.enter(pc, 4096, 1)
        jumps.enter(pc ^ JUMPS, 8192, 2)
        assert jumps.has(pc)
        jumps.remove(pc, 8192)
        assert jumps.has(pc)
        jumps.remove(pc, 4096)
        assert not jumps.has(pc)
        assert jumps.has(pc ^ JUMPS)
        jumps.enter(pc, 4096, 1)
        jumps.clear()


# -- the disk ---------------------------------------------------------------------------------


def run_with(cache, level=BEST):
    engine, state = native(cache=cache, level=level), x86_machine(LOOP)
    engine.run(state, 1 << 40)
    return state["eax"]


def test_regions_of_one_level_are_not_taken_for_those_of_another(tmp_path):
    kept = []
    for level in (QUICK, BEST, BEST):
        cache = DiskCache(tmp_path / "cache")
        assert run_with(cache, level) == 500500
        kept.append(sum(name.startswith(PREFIX) for name in cache.names()))
    assert kept == [kept[0], 2 * kept[0], 2 * kept[0]]
    assert kept[0]


def test_only_blocks_that_the_disk_may_have_are_looked_for_there(tmp_path, monkeypatch):
    """Others do not leave native code for it; one that is forgotten and met again is found."""
    looked = []
    recall = regions_module.Regions.recall

    def look(regions, mode, key, *rest):
        looked.append(key)
        recall(regions, mode, key, *rest)

    monkeypatch.setattr(regions_module.Regions, "recall", look)
    cache = DiskCache(tmp_path / "cache")
    engine, state = native(cache=cache, hot=100), x86_machine(LOOP)
    engine.run(state, 1 << 40)
    regions = engine._session_of(state).regions
    heads = [head for _, head in regions._installed_at]
    assert heads
    assert not looked
    engine._session_of(state).forget()
    state.pc = CODE
    engine.run(state, 1 << 40)
    assert looked == heads
    assert [head for _, head in regions._installed_at] == heads
    run_with(cache)
    assert looked == heads * 2


WARM = code("31c0 b988130000 01c8 49 75fb cd80")  # xor; mov ecx, 5000; add; dec; jne; int
WARM_LOOP = CODE + 7


def warm_run(cache, hot):
    """Where regions may be entered after a run of 5,000 rounds; half of `hot` is warm."""
    engine, state = native(cache=cache, hot=hot), x86_machine(WARM)
    assert engine.run(state, 1 << 40).reason == "interrupt"
    session = engine._session_of(state)
    session.close()
    return session.regions.served


def test_what_was_warm_in_a_run_becomes_a_region_in_the_next(tmp_path):
    """What has a region is remembered no more."""
    cache = DiskCache(tmp_path / "cache")
    assert warm_run(cache, 8_000) == set()
    assert list(Warmth(cache).pcs) == [WARM_LOOP]
    assert warm_run(cache, 8_000) == {WARM_LOOP}
    assert not Warmth(cache).pcs


def test_entries_of_many_runs_are_not_added_up(tmp_path):
    """Else every block of every program would be worth a region one day."""
    cache = DiskCache(tmp_path / "cache")
    assert [warm_run(cache, 12_000) for _ in range(4)] == [set()] * 4
    assert not cache.has("warmth")


def test_only_what_was_entered_most_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(warmth_module, "MOST", 2)
    cache = DiskCache(tmp_path / "cache")
    found = {Place(pc, pc << 40): 10 * pc for pc in range(1, 5)}
    Warmth(cache).keep(found, needless={3}, inside={3})
    again = Warmth(cache)
    assert sorted(again.pcs) == [2, 4]
    assert [again.of(Place(pc, pc << 40)) for pc in range(1, 5)] == [0, 20, 0, 40]
    assert again.of(Place(4, 5)) == 0


def test_blocks_inside_of_regions_are_warm_only_if_they_are_so_beside_them(tmp_path):
    cache = DiskCache(tmp_path / "cache")
    places = [Place(pc, pc) for pc in range(3)]
    Warmth(cache).keep(dict.fromkeys(places, 7), needless=set(), inside=set())
    Warmth(cache).keep({places[1]: 8}, needless=set(), inside={0, 1})
    assert [Warmth(cache).of(place) for place in places] == [0, 8, 7]


def test_no_columns_are_no_warmth(tmp_path):
    cache = DiskCache(tmp_path / "cache")
    cache.save("warmth", {}, b"x" * 17)
    assert not Warmth(cache).pcs


ODD = code(
    "b9e8030000 f6c101 7401 43 42 49 75f6 cd80"
)  # test cl, 1; jz; inc ebx; inc edx; dec; jnz
IF_ODD, AFTERWARDS = CODE + 10, CODE + 11


def test_a_region_that_is_made_again_keeps_its_entries(tmp_path):
    """Who asked for one in an earlier run would ask in each run."""
    cache = DiskCache(tmp_path / "cache")
    for asked in (IF_ODD, AFTERWARDS):
        engine, state = native(cache=cache, hot=6), x86_machine(ODD)
        engine.run(state, 1 << 40)
        regions = engine._session_of(state).regions
        mode = state.isa.mode(state.values)
        head = regions.homes[mode, asked].head
        before = regions._installed_at[mode, head].entries.keys()
        assert asked not in before
        regions._ask_entry(mode, asked, head)
        regions.install()
        assert regions._installed_at[mode, head].entries.keys() == before | {asked}
    assert {IF_ODD, AFTERWARDS} <= regions._installed_at[mode, head].entries.keys()


def test_a_region_of_words_is_made_again_from_what_is_known_of_it():
    """Its blocks are read again if the python engine has forgotten them: units, not bytes."""
    path = Path(__file__).parents[1] / "programs" / "toy" / "primes.asm"
    program = load_program(path)
    isa = Toy("toy/clean")
    machine = ToyMachine(isa, program.image, engine=native(hot=50), entry=program.entry)
    assert machine.run(1 << 30).reason == "halt"
    session = machine.engine._session_of(machine.state)
    regions = session.regions
    (mode, head), whole = max(regions._whole.items(), key=lambda item: len(item[1].blocks))
    session.tables.clear()
    with borrowed(QUICK) as compiler:
        again = RegionBuilder(session, mode, head, whole).compile(compiler)
    assert len(again.blocks) > 2
    assert {*again.code_ranges} == {*whole.code_ranges}
    assert regions._fits(mode, again)


def test_what_is_read_again_for_a_region_is_a_block():
    """Compilers look a block's size up while code is patched and blocks are forgotten: what has
    that size now may go on behind a jump."""
    state = x86_machine(code("40eb0040cd80"))  # inc eax; jmp +0; inc eax; int 80h
    session = native().session(state)
    builder = RegionBuilder(session, state.isa.mode(state.values), CODE)
    assert builder._read(CODE, CODE, 2) is None
    assert builder._read(CODE, CODE, 3).length == 2
    assert builder._read(CODE, CODE, 4) is None


def test_a_block_that_is_no_longer_in_a_region_is_not_thought_to_be(tmp_path):
    """Else the region would be made again for it, for ever."""
    engine, state = native(hot=4), x86_machine(ODD)
    engine.run(state, 1 << 40)
    regions, mode = engine._session_of(state).regions, state.isa.mode(state.values)
    head = regions.homes[mode, IF_ODD].head
    whole = regions._whole[mode, head]
    fewer = [n for n, (pc, _) in enumerate(whole.blocks) if pc != IF_ODD]
    kept = {name: [getattr(whole, name)[n] for n in fewer] for name in ("blocks", "code_ranges")}
    regions._house(Job(mode, head), whole._replace(**kept))
    assert (mode, IF_ODD) not in regions.homes
    assert (mode, AFTERWARDS) in regions.homes


def test_a_guest_need_not_wait_long_for_the_compiler():
    """Python lets a thread that wants the interpreter's lock wait, by default for 5 ms."""
    before, begun = sys.getswitchinterval(), threading.Event()

    def work(job):
        begun.set()
        return sys.getswitchinterval()

    worker = Worker(work, lambda job: 0, wait=False)
    worker.submit(1)
    assert begun.wait(60)
    worker.close()
    assert worker.take() == (1, pytest.approx(PATIENCE))
    assert sys.getswitchinterval() == before


def test_names_of_what_is_kept_may_be_gone_through_while_more_is_saved(tmp_path):
    """Compilers of other machines save in the middle of that."""
    cache = DiskCache(tmp_path / "cache")
    cache.save("first", {}, b"")
    names = cache.names()
    for name in names:
        cache.save(f"{name} again", {}, b"")
    assert names == {"first"}
    assert cache.names() == {"first", "first again"}


def test_what_was_compiled_is_loaded(tmp_path):
    directory = tmp_path / "cache"
    assert run_with(DiskCache(directory)) == 500500
    files = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert files
    assert directory.stat().st_mode & 0o777 == 0o700
    assert run_with(DiskCache(directory)) == 500500
    assert {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}.keys() == files.keys()


def test_engines_share_the_handlers_of_a_directory(tmp_path):
    """Each has a cache of its own: copies would fill the room for code."""
    one, other = (DiskCache(tmp_path / "cache") for _ in range(2))
    assert handlers_of(one) is handlers_of(other)
    unkept = [DiskCache(None) for _ in range(2)]
    assert handlers_of(unkept[0]) is handlers_of(unkept[0]) is not handlers_of(unkept[1])


def test_too_many_handlers_go_with_the_last_machine_that_uses_them(tmp_path, monkeypatch):
    """Guests that come one after the other ask for handlers of ever more forms."""
    monkeypatch.setattr("emu.engines.native.handler_store.MOST", 3)
    engine = native(hot=1 << 30, cache=DiskCache(tmp_path / "cache"))
    stores = weakref.WeakSet()
    for _ in range(2 * MOST_SESSIONS):
        state = x86_machine(LOOP)
        engine.run(state, 1 << 40)
        assert state["eax"] == 500500
        stores.add(engine._session_of(state).tier1._store)
    gc.collect()
    assert 1 < len(stores) <= MOST_SESSIONS


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "noise"])
def test_a_damaged_file_is_as_good_as_none(tmp_path, damage):
    directory = tmp_path / "cache"
    run_with(DiskCache(directory))
    for path in [p for p in directory.rglob("*") if p.is_file()]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        changed = {"flip": content, "cut": content[:-7], "empty": b"", "noise": os.urandom(5000)}
        path.write_bytes(changed[damage])
    assert run_with(DiskCache(directory)) == 500500


def test_a_directory_that_others_may_write_is_not_used(tmp_path):
    directory = tmp_path / "cache"
    directory.mkdir()
    directory.chmod(0o777)
    assert run_with(DiskCache(directory)) == 500500
    assert not list(directory.rglob("*.*"))


def test_other_sources_have_another_directory(tmp_path, monkeypatch):
    cache = DiskCache(tmp_path / "cache")
    cache.save("key", {"fact": 1}, b"code")
    assert cache.load("key") == ({"fact": 1}, b"code")
    monkeypatch.setattr(cache_module, "version", lambda directory: "another")
    assert DiskCache(tmp_path / "cache").load("key") is None


def test_the_directory_has_a_limit(tmp_path):
    cache = DiskCache(tmp_path / "cache", limit=100_000)
    for number in range(3 * cache_module.CHECK_EVERY):
        cache.save(f"{number:04}", {}, bytes(1000))
    total = sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*") if p.is_file())
    assert total <= 100_000 + cache_module.CHECK_EVERY * 1100


def test_names_of_files_that_went_are_forgotten(tmp_path):
    """Every region that is compiled has one: they would pile up for as long as an engine lives."""
    one, other = (DiskCache(tmp_path / "cache", limit=100_000) for _ in range(2))
    assert one.names() == other.names() == frozenset()
    for number in range(6 * cache_module.CHECK_EVERY):
        one.save(f"one {number:04}", {}, bytes(1000))
        other.save(f"other {number:04}", {}, bytes(1000))
    for cache in (one, other):
        assert len(cache.names()) < 3 * cache_module.CHECK_EVERY
        assert cache.has(max(cache.names()))


# -- limits and interruptions -----------------------------------------------------------------


def test_too_many_regions_are_forgotten(monkeypatch):
    monkeypatch.setattr("emu.engines.native.regions.MOST_REGIONS", 0)
    state = x86_machine(LOOP)
    assert native().run(state, 1 << 40).reason == "interrupt"
    assert state["eax"] == 500500


def test_a_full_arena_is_emptied(monkeypatch):
    monkeypatch.setattr("emu.engines.native.arena.ARENA", 16)
    state = x86_machine(LOOP)
    assert native(hot=1 << 30).run(state, 1 << 40).reason == "interrupt"
    assert state["eax"] == 500500


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for its memory")
def test_page_tables_cost_only_what_is_used():
    """24 MiB for each address space, of which a machine touches a few KiB, also if malloc has had
    such sizes before and would take and clear them."""
    np.ones(30 << 20, np.uint8)  # from now on malloc keeps smaller ones
    used = [(np.ones(25 << 20, np.uint8), bytearray(200_000)) for _ in range(6)]
    pins = [pin for _, pin in used]
    del used
    ctypes.CDLL(None).malloc_trim(0)
    before = resident()
    spaces = [PagedSpace(n, AddressSpace(PhysicalMemory(PAGE))) for n in range(6)]
    assert resident() - before < 16 << 20
    assert len(spaces) == len(pins)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for its memory")
@pytest.mark.parametrize("is_object", [False, True], ids=["ours", "LLVM's"])
def test_code_that_was_dropped_costs_nothing(monkeypatch, is_object):
    """LLVM keeps some KiB for each library that a linker ever had, so its linkers are replaced."""
    monkeypatch.setattr("emu.engines.native.linking.MOST_LINKED", 100)
    if is_object:
        monkeypatch.setattr("emu.engines.native.compiler.arena", lambda: None)
    image = Compiler(QUICK).region("define i64 @region(ptr %m, i64 %w) {\n ret i64 %w\n}\n")
    assert image.is_object == is_object
    sizes = []
    for number in range(1_600):
        library = linker().link(image)  # kept while it is called
        assert FUNCTION(library.addresses["region"])(None, number) == number
        if number in (400, 1_599):
            gc.collect()
            sizes.append(resident())
    assert sizes[1] - sizes[0] < 4 << 20


def test_a_compiler_does_not_keep_what_it_has_met():
    """LLVM's contexts keep every constant: some fifty kilobytes of a region."""
    compiler, sizes = Compiler(QUICK), []
    for number in range(500):
        constants = range(number << 20, (number << 20) + 400)
        sums = "".join(f"  %{n + 1} = add i64 %{n}, {c}\n" for n, c in enumerate(constants))
        compiler.region(f"define i64 @region(i64 %0) {{\nentry:\n{sums}  ret i64 %400\n}}\n")
        if number in (100, 499):
            settle()
            sizes.append(resident())
    assert sizes[1] - sizes[0] < 3 << 20


@pytest.mark.parametrize("hot", [0, 1 << 30])
def test_control_c_is_heard(hot):
    """An endless loop in native code: the signal's handler runs soon, at an exact state."""
    state = x86_machine(code("40ebfd"))
    engine = native(hot=hot)
    engine.run(state, 1000)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        engine.run(state, 1 << 60)
    timer.join()
    assert state.count > 1000
    assert state["eax"] == (state.count + (state.pc != CODE)) // 2 & 0xFFFFFFFF


def test_a_hash_keeps_its_values_apart():
    values = [0x8048000 + 37 * n * n for n in range(60)]
    factor, bits = perfect_hash(values, 32)
    assert len({(v * factor & 0xFFFFFFFF) >> 32 - bits for v in values}) == len(values)


def test_auto_goes_native_only_after_a_while(tmp_path, monkeypatch):
    """But at once where an earlier run has left what it compiled; nothing was compiled before."""
    monkeypatch.setenv(private.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(cache_module.PREPARED, "")
    for begins in ("python", "native"):
        engine, state = make_engine("auto"), x86_machine(code("b940420f00 4975fd cd80"))
        engine.run(state, 1000)
        assert engine.name == begins
        assert engine.run(state, 1 << 40).reason == "interrupt"
        assert (engine.name, state["ecx"]) == ("native", 0)
        engine._engine._session_of(state).close()


def test_hosts_without_llvm_use_python(tmp_path):
    """And say so once."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['llvmlite'] = None\n")
    program = Path(__file__).parents[1] / "programs" / "toy" / "hello.asm"
    done = subprocess.run(
        [sys.executable, "-m", "emu", "run", "--engine", "native", str(program)],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout == program.with_suffix(".out").read_text()
    assert done.stderr.count("no native code here") == 1


# -- where code lies --------------------------------------------------------------------------


def test_the_arena_takes_back_what_it_gave():
    arena = Arena(1 << 16)
    pieces = [arena.put(bytes(100 + n)) for n in range(200)]
    assert len({start for start, _ in pieces}) == len(pieces)
    with pytest.raises(MemoryError):
        arena.put(bytes(1 << 16))
    for start, size in pieces[::2] + pieces[1::2]:
        arena.free(start, size)
    assert arena.put(bytes(1 << 16)) == (0, 1 << 16)


def test_a_piece_may_be_given_back_in_the_middle_of_taking_another():
    """Python's collector may free code wherever it likes: neither a wait for ever nor a loss."""
    arena = Arena(1 << 16)
    pieces = [arena.put(b"code") for _ in range(4)]
    with arena._lock:
        arena.free(*pieces[1])
    assert arena.put(b"more") == pieces[1]


def test_without_room_for_code_the_guest_goes_on(monkeypatch):
    """Regions are forgotten, handlers and the python engine do the rest."""
    state, engine = x86_machine(LOOP), native()
    session = engine._session_of(state)
    monkeypatch.setattr(regions_module, "linker", lambda: NoRoom())
    assert engine.run(state, 1 << 40).reason == "interrupt"
    assert state["eax"] == 500500
    assert not any(session.regions.tables.values())


class NoRoom:
    def link(self, image):
        raise MemoryError


def test_dropped_regions_give_their_room_back():
    place = arena()
    if place is None:
        pytest.skip("LLVM's linker has its own memory")
    engine = native(level=BEST)
    used = []
    for _ in range(6):
        state = x86_machine(LOOP)
        engine.run(state, 1 << 40)
        engine._sessions.clear()
        del state
        gc.collect()
        used.append(ROOM - place.room)
    assert used[-1] <= used[1]


ORC = """
from emu.engines.native import executable as module
def refused():
    raise OSError("memory that is written and executed")
module.Arena = refused
from tests.test_native import LOOP, native, x86_machine
from emu.engines.native.linking import arena
assert arena() is None
for hot in (0, 1 << 30):
    state = x86_machine(LOOP)
    assert native(hot=hot).run(state, 1 << 40).reason == "interrupt"
    assert state["eax"] == 500500
"""


def test_llvms_linker_serves_where_ours_does_not(tmp_path):
    subprocess.run(
        [sys.executable, "-c", ORC], check=True, cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONPATH": "tests", "POPEK_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip


@pytest.mark.parametrize("where", [DATA, 0], ids=["whole", "fault"])
def test_registers_that_few_blocks_touch_stay_in_memory(monkeypatch, where):
    """fld1; then a loop with branches over inc, and one with fld1; faddp; mov eax, [ebx] in it,
    which may fault behind the sums of its block."""
    program = bytes.fromhex(
        "d9e8 b932000000 f6c101740140 f6c102740140 f6c1047406 d9e8dec18b03 49 75e6 cd80"
    )
    found, real = [], RegionCompiler._rarely_touched
    monkeypatch.setattr(
        RegionCompiler, "_rarely_touched", lambda self: found.append(real(self)) or found[-1]
    )
    engine = native(hot=0, level=BEST)
    agrees(program, engine, {"ebx": where})
    assert any(register.name == "st0" for registers in found for register in registers)
    assert not any(register.width == 32 for registers in found for register in registers)
