"""The guest's gates in the real interrupt table: right wherever the level is not told, and fast."""

from __future__ import annotations

import pytest

from tests.pc_monitor_guests import EPILOGUE, PROLOGUE, USER, program
from tests.test_pc_monitors import diverges
from tests.vmm_command import vmm
from vmm.pc import DirectGates, TrapAndEmulate
from vmm.pc.compare import in_control
from vmm.pc.equivalence import first_divergence
from vmm.pc.guest import Guest, open_guest
from vmm.pc.shadow import Shadow

CALLS = 3
BEFORE = """
    mov eax, offset first
    mov word ptr [idt + 0x108], ax
    mov word ptr [idt + 0x10A], 0x30
    mov word ptr [idt + 0x10C], {rights:#x}
    shr eax, 16
    mov word ptr [idt + 0x10E], ax
"""
CALLING = """
    int 0x21
    mov eax, offset second
    mov word ptr [idt + 0x108], ax
    int 0x21
    int 0x21
    int 0x30
first:
    add edi, 1
    iretd
second:
    add edi, 0x100
    iretd
"""
OLD_TABLE = "    .balign 8\nidt:"
TABLE = "    .balign 4096\n    .fill 4096 - 0x108 - 3, 1, 0\nidt:"  # a gate in two pages
CONFORMING = "    .quad 0x00CF9F000000FFFF                # 30\n"
TRAP_GATE, INTERRUPT_GATE = 0xEF00, 0xEE00


def guest(tmp_path, rights: int) -> Guest:
    """A program of ring 3 that calls what keeps its level, and moves the gate in between."""
    end = EPILOGUE.replace("0x00CFFB", "0x00CFFA")  # so that IRETD to ring 3 traps
    end = end.replace("gdt_pointer: .word 47", f"{CONFORMING}gdt_pointer: .word 55")
    assert OLD_TABLE in end
    text = PROLOGUE + BEFORE.format(rights=rights) + USER.format(body=CALLING)
    path = tmp_path / "gates.asm"
    path.write_text(text + end.replace(OLD_TABLE, TABLE))
    return open_guest(path, None, {"engine": "reference", "typed": "", "memory": 4 << 20})


def protection_faults(made: Guest, monitor: type[TrapAndEmulate]) -> int:
    found, pair = diverges(made, monitor)
    assert found is None, str(found)
    assert pair.virtual.state["edi"] == 0x201
    return pair.virtual.monitor.efficiency.exits["#GP"]


@pytest.mark.parametrize(("rights", "spared"), [(TRAP_GATE, CALLS), (INTERRUPT_GATE, 0)])
def test_a_program_goes_through_trap_gates_as_they_are_now(tmp_path, rights, spared):
    """An interrupt gate would clear the real IF."""
    made = guest(tmp_path, rights)
    trapping, direct = (protection_faults(made, m) for m in (TrapAndEmulate, DirectGates))
    assert trapping - direct == spared


def test_a_table_that_is_written_to_unseen_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(Shadow, "hold", lambda self, frames: None)
    found, _ = diverges(guest(tmp_path, TRAP_GATE), DirectGates)
    assert found is not None
    assert found.part == "edi"


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["paging", "timer", "kernel"])
def test_kernels_are_as_without(name):
    """Their handlers are of ring 0, so INT n of a program traps: at the real TSS."""
    found, pair = first_divergence(lambda: program(name).pair(DirectGates), 60_000_000)
    assert in_control(pair.virtual)
    at = None if found is None else (found.instruction, found.address)
    assert at == (("iretd", 0x1002BE) if name == "kernel" else None), str(found)


def test_gates_are_for_pcs():
    done = vmm("run", "programs/toy/echo.asm", "--gates", "direct")
    assert done.exit_code != 0
    assert "only PCs have --memory, --paging, --gates" in done.output
