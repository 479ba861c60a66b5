"""Code that several address spaces share, on every engine: gone where no page leads to it."""

from __future__ import annotations

from typing import Any

import pytest

from emu.assembler import flat
from emu.exit import Exit
from emu.pc.loaders import flat_mode
from emu.pc.machine import PcMachine
from isa.fault import Fault
from tests.machines import engines

ENGINES: dict[str, Any] = engines()
MEGA = 1 << 20
CODE, TABLE, SHARED = 0x3000, 0x8000, 8 * MEGA
PRESENT, WRITABLE, LARGE = 0x21, 2, 0x80  # and accessed
FIRST, SECOND, WITHOUT = 0x10000, 0x11000, 0x12000  # page directories
FUNCTION = 0x400000  # linear, in both of the first

PROGRAM = f"""
    mov esi, {FUNCTION}
    call esi
    mov eax, {SECOND}
    mov cr3, eax
    call esi
    mov eax, {FIRST}            # the function is there, but nobody goes
    mov cr3, eax
    mov eax, {WITHOUT}
    mov cr3, eax
    call esi
    cli
    hlt
"""


def entries(page: int) -> list[int]:
    """A directory of the first 4 MiB, and of one more page of 4 MiB or of a table of small ones."""
    return [PRESENT | WRITABLE | LARGE, page]


@pytest.mark.parametrize("kind", ["large", "small"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_function_that_is_not_mapped_any_more(engine: str, kind: str) -> None:
    machine = PcMachine(ENGINES[engine], memory=16 * MEGA)
    page = SHARED | PRESENT | WRITABLE | LARGE
    if kind == "small":
        page = 0x13000 | PRESENT | WRITABLE
        machine.memory.store(0x13000, 4, SHARED | PRESENT | WRITABLE)
    for directory, second in ((FIRST, page), (SECOND, page), (WITHOUT, 0)):
        for number, entry in enumerate(entries(second)):
            machine.memory.store(directory + 4 * number, 4, entry)
    machine.memory.write(CODE, flat(PROGRAM, "source", CODE))
    machine.memory.write(SHARED, flat("inc ebx\n ret", "source", FUNCTION))
    registers = {"cr3": FIRST, "pse": 1, "pge": 1, "pg": 1}
    flat_mode.enter(machine, CODE, TABLE, 8, 16, registers)
    machine.state["esp"] = 0x7000
    machine.state.intercept_traps = True
    assert machine.run(1000) == Exit("fault", Fault(14, 0, FUNCTION))
    assert machine.state["ebx"] == 2
