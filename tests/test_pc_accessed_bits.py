"""What a store that faults leaves in the page tables: nothing, on every engine."""

from __future__ import annotations

from typing import Any

import pytest

from emu.assembler import flat
from emu.engines.stepper import Stepper
from emu.exit import Exit
from emu.pc.loaders import flat_mode
from emu.pc.machine import PcMachine
from tests.machines import engines

ENGINES: dict[str, Any] = {**engines(), "stepper": Stepper()}
DIRECTORY, TABLE, CODE, GDT = 0x1000, 0x2000, 0x3000, 0x8000
READ_ONLY, WRITABLE, LAST = 0x10, 0x11, 0x12  # pages
ACCESSED, DIRTY = 0x20, 0x40


def after(engine: str, text: str) -> PcMachine:
    """A machine in whose tables three pages were never used; its first fault shuts it down."""
    machine = PcMachine(ENGINES[engine], memory=1 << 20)
    machine.memory.store(DIRECTORY, 4, TABLE | 7)
    for page in range(256):
        machine.memory.store(TABLE + 4 * page, 4, page << 12 | (1 if page == READ_ONLY else 3))
    machine.memory.write(CODE, flat(text, "source", CODE))
    registers = {"cr3": DIRECTORY, "pg": 1, "wp": 1, "esp": 0x20000}
    flat_mode.enter(machine, CODE, GDT, 8, 16, registers)
    assert machine.run(100).reason in ("halt", "shutdown")
    return machine


def entry(machine: PcMachine, page: int) -> int:
    found = machine.memory.load(TABLE + 4 * page, 4)
    assert isinstance(found, int)
    return found & (ACCESSED | DIRTY)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "text",
    [
        "mov [0x10ffe], eax",  # across two pages: the second is not looked at
        "mov [0x10000], eax",
        "mov esp, 0x11002\npush eax",
        "mov edi, 0x10ffe\nstosd",
        "fninit\nfnsave [0x10ff0]",  # many stores, so all may have to be taken back
    ],
)
def test_a_store_that_faults_has_looked_at_nothing(engine: str, text: str) -> None:
    machine = after(engine, text)
    assert machine.state.shut_down
    assert (entry(machine, READ_ONLY), entry(machine, WRITABLE)) == (0, 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_written_can_be_read_until_invlpg(engine: str) -> None:
    """One entry of the TLB serves both, whatever the page tables say meanwhile."""
    text = """
        mov dword ptr [0x11000], 5
        mov dword ptr [0x12000], 7
        mov dword ptr [TABLE + 4 * 0x11], 0x12003
        mov eax, [0x11000]
        invlpg [0x11000]
        mov ebx, [0x11000]
        cli
        hlt
    """
    state = after(engine, text.replace("TABLE", str(TABLE))).state
    assert (state["eax"], state["ebx"]) == (5, 7)


def test_engines_end_as_they_should() -> None:
    assert after("reference", "cli\nhlt").run(200) == Exit("halt")
