"""Native code that goes on by itself when an instruction has changed the mode."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

import pytest

from emu.engines import Engine
from emu.engines.native.engine import Native, NativeSession
from emu.engines.native.layout import BEST, QUICK, Left
from emu.engines.native.modes import ROWS, Modes, Places
from emu.engines.reference import Reference
from emu.pc.choose import assembled
from emu.pc.loaders.multiboot import load_multiboot
from tests.machines import NO_CACHE
from tests.pc_machines import TestPc
from vmm.pc.systems.generator import System, generate, image
from vmm.pc.systems.laboratory import LIMIT, Bench, new_bare

ENGINES = {
    "tier 1": lambda: Native(hot=1 << 30, wait=True, cache=NO_CACHE),
    "stitched": lambda: Native(hot=1 << 30, wait=True, stitch=0, cache=NO_CACHE),
    "tier 2": lambda: Native(hot=0, wait=True, level=QUICK, cache=NO_CACHE),
    "both": lambda: Native(hot=3, wait=True, level=BEST, cache=NO_CACHE),
}


@cache
def bench(name: str) -> Bench:
    made: Engine = ENGINES[name]() if name in ENGINES else Reference()
    return Bench(new_bare(made))


def passed(name: str, system: System, seed: int) -> Iterator[object]:
    """What there is to see of a system at some counts, and at its end."""
    rng, here = Random(seed), bench(name)
    machine = here.set_back(system, image(system))
    until, stop = 0, None
    while until < LIMIT and (stop is None or stop.reason == "until"):
        until += rng.choice((1, 3, 40, 200))
        stop = machine.run(until)
        yield machine.state.count, stop, machine.state.registers()
    yield machine.digest(), bytes(here.output)


def agree(name: str, seed: int) -> None:
    system = generate(Random(seed))
    expected = passed("reference", system, seed)
    for ours, theirs in zip(passed(name, system, seed), expected, strict=True):
        assert ours == theirs, f"{name}, system {seed}"


@pytest.mark.parametrize("name", ENGINES)
def test_generated_systems_pass_through_the_reference_engines_states(name: str) -> None:
    for seed in range(3):
        agree(name, seed)


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "systems"), [("tier 1", 200), ("tier 2", 40), ("both", 60)])
def test_many_systems_pass_through_the_reference_engines_states(name: str, systems: int) -> None:
    for seed in range(1000, 1000 + systems):
        agree(name, seed)


KERNEL = """
.machine pc/kernel
header:
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long header, header, 0, 0, start
start:
    mov ecx, 1000
again:
    sti                     # and for one instruction no interrupt yet
    nop
    cli
    mov eax, ds
    mov es, eax             # as it was
    dec ecx
    jnz again
    hlt
"""
"""Interrupts are allowed a thousand times. None comes: the controllers have them masked."""


def test_modes_that_are_known_need_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is asked once for each, not each time that an instruction changes the mode."""
    asked: list[object] = []
    native = NativeSession._native

    def entered(session: NativeSession, function: int, number: int, until: int) -> object:
        left = native(session, function, number, until)
        if left is Left.LOOK:
            asked.append(left)
        return left

    monkeypatch.setattr(NativeSession, "_native", entered)
    counts, ends = [], []
    for switches in (False, True):
        monkeypatch.setattr(NativeSession, "switches", switches)
        asked.clear()
        pc = TestPc(ENGINES["tier 1"](), {})
        load_multiboot(pc.machine, assembled(KERNEL, Path("kernel.asm")), "", [])
        pc.machine.run(20_000)
        counts.append(len(asked))
        ends.append(pc.machine.digest())
    assert ends[0] == ends[1]
    assert counts[0] > 2_000
    assert counts[1] < 20, counts


def test_rows_are_found_by_all_that_decides() -> None:
    """Whoever shares a row with others is noted anew, in their place."""
    slots = (1, 4)
    modes = Modes(slots)
    places = [Places(3 * n + 1, 3 * n + 2, 3 * n + 3) for n in range(3 * ROWS)]
    for n, place in enumerate(places):
        values = [0, n, 7, 9, 1 << 40]
        modes.note(b"%d" % n, values, place)
        row = modes._words[modes._row([n, 1 << 40]) * modes._size :][: modes._size].tolist()
        assert row == [1, *place, n, 1 << 40]
    modes.clear()
    assert not any(modes._words)
