"""INVLPG and pages of 4 MiB, on every engine: what a TLB still knows, and what it has forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from emu.assembler import flat
from emu.exit import Exit
from emu.pc.loaders import flat_mode
from emu.pc.machine import PcMachine
from tests.machines import engines

ENGINES: dict[str, Any] = engines()
MEGA = 1 << 20
DIRECTORY, CODE, TABLE = 0x1000, 0x3000, 0x8000
PRESENT, WRITABLE, LARGE, GLOBAL = 1, 2, 0x80, 0x100
OLD, NEW, OTHER = 8 * MEGA, 12 * MEGA, 16 * MEGA
FIRST = 0x400000  # linear, a page of 4 MiB; the next follows it

SOME = ("reference", "python")

PROGRAM = """
    mov eax, [0x402000]         # three parts of one page, and one of another
    mov dword ptr [0x5fe000], 1
    mov eax, [0x7ff000]
    mov eax, [0x800000]
    mov dword ptr [0x1004], NEW
    mov dword ptr [0x1008], NEW
    mov eax, [0x402000]
    invlpg [FORGOTTEN]
    mov ebx, [0x402000]
    mov ecx, [0x7ff000]
    mov dword ptr [0x5fe000], 2
    mov edx, [0x800000]
    mov ebp, cr3
    mov cr3, ebp
    mov esi, [0x402000]
    mov edi, [0x800000]
    cli
    hlt
"""


def ran(engine: str, forgotten: int, kind: int = 0) -> PcMachine:
    """A machine after the program: 4 MiB lie where they are, then a page at OLD, one at OTHER."""
    machine = PcMachine(ENGINES[engine], memory=24 * MEGA)
    for frame in (OLD, NEW, OTHER):
        for offset in (0, 0x2000, 0x1FE000, 0x3FF000):  # words that tell their addresses
            machine.memory.store(frame + offset, 4, frame + offset)
    rights = PRESENT | WRITABLE | LARGE | kind
    for number, frame in enumerate((0, OLD, OTHER)):
        machine.memory.store(DIRECTORY + 4 * number, 4, frame | rights)
    text = PROGRAM.replace("NEW", hex(NEW | rights)).replace("FORGOTTEN", hex(forgotten))
    machine.memory.write(CODE, flat(text, "source", CODE))
    registers = {"cr3": DIRECTORY, "pse": 1, "pge": 1, "pg": 1}
    flat_mode.enter(machine, CODE, TABLE, 8, 16, registers)
    assert machine.run(1000) == Exit("halt")
    return machine


@pytest.mark.parametrize("engine", ENGINES)
def test_invlpg_forgets_all_of_a_global_large_page(engine: str) -> None:
    """All of it, by an address that was never used; a load of CR3 forgets none of the other."""
    machine = ran(engine, FIRST, GLOBAL)
    state = machine.state
    assert state["eax"] == OLD + 0x2000
    assert (state["ebx"], state["ecx"]) == (NEW + 0x2000, NEW + 0x3FF000)
    assert machine.memory.load(OLD + 0x1FE000, 4) == 1
    assert machine.memory.load(NEW + 0x1FE000, 4) == 2
    assert (state["edx"], state["edi"]) == (OTHER, OTHER)


@pytest.mark.parametrize("forgotten", [FIRST, 0x402000, 0x7FFFFF])
@pytest.mark.parametrize("engine", SOME)
def test_invlpg_forgets_nothing_else(engine: str, forgotten: int) -> None:
    """Whichever of a page's addresses is named; the other page is known until CR3 is loaded."""
    state = ran(engine, forgotten).state
    assert (state["ebx"], state["ecx"]) == (NEW + 0x2000, NEW + 0x3FF000)
    assert (state["edx"], state["edi"]) == (OTHER, NEW)


@pytest.mark.parametrize("engine", SOME)
def test_invlpg_elsewhere_forgets_nothing_here(engine: str) -> None:
    """A page's neighbour."""
    state = ran(engine, FIRST - 0x1000).state
    assert (state["ebx"], state["ecx"], state["edx"]) == (OLD + 0x2000, OLD + 0x3FF000, OTHER)
    assert state["esi"] == NEW + 0x2000
