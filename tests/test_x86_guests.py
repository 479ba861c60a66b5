"""Guests made of witnesses: what trap-and-emulate does wrong, no cure does."""

from __future__ import annotations

import json
from functools import cache

import pytest

from emu.pc.serial import MemorySerial
from isa.x86 import registers as r
from tests.robin_irvine import PUBLISHED
from tests.vmm_command import vmm
from vmm.pc.guest import open_guest
from vmm.x86.configuration import X86Configuration
from vmm.x86.forms import Row, rows
from vmm.x86.guests.demonstration import CURES, demonstrate, divergence
from vmm.x86.guests.image import real_registers
from vmm.x86.guests.layout import KERNEL, segments
from vmm.x86.guests.synthesis import NoGuestError, Synthesis, synthesize, synthesize_any

CRITICAL = sorted({*PUBLISHED.values(), "IRET"})
GATED = "INT"  # by default the monitor's own IDT is empty


@cache
def ia32() -> X86Configuration:
    return X86Configuration.load("x86/ia32")


def row(name: str) -> Row:
    return rows(ia32().mode(ia32().user))[name]


@cache
def guest(name: str) -> Synthesis:
    return synthesize_any(ia32(), row(name))


def test_the_published_instructions_are_nineteen_with_iret():
    assert len(CRITICAL) == 19


@pytest.mark.parametrize(
    "name", [n if n == GATED else pytest.param(n, marks=pytest.mark.heavy) for n in CRITICAL]
)
def test_trap_and_emulate_diverges_at_the_instruction_and_no_cure_does(name):
    """All nineteen; INT n as soon as a gate of the guest's is in the real interrupt table."""
    assert guest(name).gates == ("direct" if name == GATED else "trap")
    shown = demonstrate(guest(name))
    assert shown.divergence.address == guest(name).address
    assert shown.divergence.why.startswith("is critical: it ")
    assert set(shown.cures) == set(CURES)
    assert not any(shown.cures.values())


def test_where_no_gate_is_within_the_limit_no_guest_diverges_by_int():
    """It is critical because a gate may keep the level; by default the monitor's IDT has none."""
    assert real_registers()[r.IDT_LIMIT] == 0
    with pytest.raises(NoGuestError, match="z3 proves"):
        synthesize(ia32(), row(GATED))


@pytest.mark.parametrize("name", ["ADD", "CLI"])
def test_no_guest_diverges_by_what_is_innocuous_or_traps(name):
    with pytest.raises(NoGuestError, match="z3 proves"):
        synthesize(ia32(), row(name))


def test_the_command_writes_a_guest_that_compare_takes(tmp_path):
    path = tmp_path / "w.asm"
    done = vmm("witness", "popfd", "--isa", "x86/ia32", "--output", path)
    assert done.exit_code == 0, done.output
    assert "hybrid: no divergence" in done.output
    done = vmm("compare", path, "--json")
    rows_ = {one["name"]: one for one in json.loads(done.stdout)["monitors"]}
    assert "popfd at 0x101000" in rows_["trap-and-emulate"]["divergence"]
    assert all(rows_[cure]["divergence"] is None for cure in CURES)


@pytest.mark.heavy
def test_the_command_says_under_which_monitor_int_diverges(tmp_path):
    path = tmp_path / "w.asm"
    done = vmm("witness", "int", "--isa", "x86/ia32", "--output", path)
    assert done.exit_code == 0, done.output
    assert "trap-and-emulate (vmm compare --gates direct): after" in done.output
    for options, diverges in ([], False), (["--gates", "direct"], True):
        done = vmm("compare", path, "--json", *options)
        found = {one["name"]: one["divergence"] for one in json.loads(done.stdout)["monitors"]}
        assert ("int 0xc3 at 0x101000" in str(found["trap-and-emulate"])) == diverges
        assert all(found[cure] is None for cure in CURES)
    done = vmm("witness", "int", "--isa", "x86/ia32", "--gates", "trap")
    assert done.exit_code != 0
    assert "z3 proves" in done.output


@pytest.mark.heavy
def test_what_diverges_runs_rightly_if_the_instruction_is_another():
    """The same state with NOPs in the instruction's place: nothing else is at fault."""
    made = guest("POPF")
    code = ".byte 0x9d"
    assert code in made.text
    harmless = Synthesis(made.row, made.witness, made.heading,
                         made.text.replace(code, ".byte 0x90"))  # fmt: skip
    assert divergence(harmless, "trap-and-emulate") is None


def test_umip_is_used_only_if_the_configuration_has_it(tmp_path):
    """Both say what UMIP is; one says that it is on."""
    path = tmp_path / "w.asm"
    path.write_text(guest("POPF").text)
    chosen = {"engine": "reference", "typed": "", "memory": 4 << 20}
    assert [open_guest(path, f"x86/{name}", chosen).umip for name in ("ia32", "ia32+umip")] == [
        False,
        True,
    ]


@pytest.mark.parametrize("configuration", ["x86/v86", "x86/8086", "x86/ia32+vmx"])
def test_guests_are_for_whole_pcs(configuration):
    done = vmm("witness", "POPF", "--isa", configuration)
    assert done.exit_code != 0
    assert "no machine of a whole PC" in done.output


@pytest.mark.parametrize("name", ["POPF", pytest.param("LAR", marks=pytest.mark.heavy)])
def test_the_kernel_brings_about_the_state_of_the_witness(name):
    """On the bare PC, when the instruction's turn comes, register by register, and in memory."""
    made = guest(name)
    machine = made.guest().bare(MemorySerial()).machine
    machine.state.breakpoints = {made.address}
    assert machine.run(10_000).reason == "breakpoint"
    before = made.witness.one.before
    flags = [flag for flag, _ in r.EFLAGS.fields]
    told = {*KERNEL, *dict(segments()), *r.GPR.members, *flags}
    found = {x.name: int(machine.state.values[x.slot]) for x in told}
    assert found == {x.name: before.registers[x] for x in told}
    assert all(machine.memory.read(a, 1) == bytes([byte]) for a, byte in before.memory.items())
