"""The PC's monitors: equal to the bare PC in lock-step, and where trap-and-emulate is not."""

from __future__ import annotations

import json

import pytest

from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.errors import GuestFileError
from emu.exit import Exit
from emu.pc.loaders.multiboot import load_multiboot
from emu.pc.machine import PcMachine
from emu.pc.screen import text
from emu.pc.serial import MemorySerial
from emu.state import State
from tests.parameters import some_fast
from tests.pc_machines import PROGRAMS
from tests.pc_monitor_guests import (
    HARMLESS,
    MEMORY,
    PROGRAM,
    SUPERVISOR,
    binary,
    booted,
    in_ring_0,
    in_ring_3,
    program,
    system,
)
from tests.vmm_command import vmm
from vmm.divergence import Divergence
from vmm.monitors.allocation import AllocationError
from vmm.pc import MONITORS, Allocation, Hybrid, Monitor, Translation, VirtualPc, allocation_for
from vmm.pc.compare import in_control
from vmm.pc.equivalence import Pair, first_divergence
from vmm.pc.guest import Guest
from vmm.pc.shadow import Shadow
from vmm.pc.window import PhysicalWindow

LIMIT = 20_000
KERNELS = ("kernel", "paging", "timer")
CURES = ("hybrid", "translation", "hardware-assist")


def diverges(
    guest: Guest, monitor: type[Monitor], limit: int = LIMIT
) -> tuple[Divergence | None, Pair]:
    """The first divergence; resource control holds whatever happens."""
    found, pair = first_divergence(lambda: guest.pair(monitor), limit)
    assert in_control(pair.virtual)
    return found, pair


# -- whole programs ------------------------------------------------------------------------------


RUNS = [f"{name} {monitor}" for name in KERNELS for monitor in MONITORS]
RUNS.remove("kernel interpretation")  # a minute, for what the others interpret too


@pytest.mark.parametrize("run", some_fast(RUNS, "timer hardware-assist"))
def test_programs_pass_through_the_bare_machines_states(run: str) -> None:
    """All but trap-and-emulate, which fails where a kernel returns to ring 3."""
    name, monitor = run.split()
    found, pair = diverges(program(name), MONITORS[monitor], 60_000_000)
    if run == "kernel trap-and-emulate":
        assert found is not None
        assert (found.instruction, found.address) == ("iretd", 0x1002BE), str(found)
        return
    assert found is None, str(found)
    assert pair.virtual_serial.output.decode() == (PROGRAMS / f"{name}.out").read_text()


BOOTED = [f"{name} {monitor}" for name in ("hello", "protected") for monitor in MONITORS]
BOOTED += [f"bios {monitor}" for monitor in ("trap-and-emulate", "hardware-assist")]
# the others interpret all of it, as trap-and-emulate does


@pytest.mark.heavy
@pytest.mark.parametrize("run", BOOTED)
def test_booted_programs_pass_through_the_bare_machines_states(run: str) -> None:
    """What calls the BIOS from real mode; no critical instruction runs directly."""
    name, monitor = run.split()
    found, pair = first_divergence(lambda: booted(name).pair(MONITORS[monitor]), 60_000_000, 256)
    assert found is None, str(found)
    assert in_control(pair.virtual)
    assert shown(pair) == (PROGRAMS / f"{name}.out").read_text()


def shown(pair: Pair) -> str:
    """What came out of the serial port, else what stands on the screen."""
    if pair.virtual_serial.output:
        return pair.virtual_serial.output.decode("latin-1").replace("\r", "")
    assert pair.virtual.board.vga is not None
    return text(pair.virtual.board.vga) + "\n"


@pytest.mark.heavy
def test_ring_3_runs_directly() -> None:
    """Nine tenths of the kernel's instructions; its processes cost few exits."""
    output = MemorySerial()
    machine = program("kernel").virtual(Hybrid, output).machine
    assert isinstance(machine, VirtualPc)
    assert machine.run(60_000_000) == Exit("halt")
    assert output.output.decode() == (PROGRAMS / "kernel.out").read_text()
    efficiency = machine.monitor.efficiency
    assert efficiency.direct_fraction > 0.9
    assert sum(efficiency.exits.values()) < 50
    assert in_control(machine)


@pytest.mark.heavy
def test_a_monitor_in_a_monitor() -> None:
    """Theorem 2: the machine below may be virtual itself; the guest notices nothing."""
    allocation, needed = allocation_for(MEMORY)
    outer, most = allocation_for(needed)
    bottom = PcMachine(Python(), memory=most)
    data = binary((PROGRAMS / "kernel.asm").read_text())
    machine = VirtualPc(Translation, VirtualPc(Translation, bottom, outer), allocation)
    bare = PcMachine(Python(), memory=MEMORY)
    for one in (bare, machine):
        load_multiboot(one, data, "", [])
        assert one.run(60_000_000) == Exit("halt")
    assert machine.digest() == bare.digest()


# -- critical instructions -----------------------------------------------------------------------


@pytest.mark.parametrize("name", some_fast(SUPERVISOR, "popfd", "lar", "iretd"))
def test_trap_and_emulate_fails_at_the_critical_instruction(name: str) -> None:
    found, _ = diverges(in_ring_0(*SUPERVISOR[name]), MONITORS["trap-and-emulate"])
    assert found is not None
    assert found.instruction.split()[0] == name, str(found)
    assert found.why.startswith("is critical: it ")


@pytest.mark.parametrize("monitor", CURES)
@pytest.mark.parametrize("name", some_fast(SUPERVISOR, "iretd"))
def test_the_cures_hold_on_it(name: str, monitor: str) -> None:
    found, _ = diverges(in_ring_0(*SUPERVISOR[name]), MONITORS[monitor])
    assert found is None, str(found)


@pytest.mark.parametrize("name", some_fast(PROGRAM, "sgdt"))
def test_ring_3_may_hinder_the_hybrid_monitor_unless_there_is_umip(name: str) -> None:
    """Theorem 3: what is user sensitive and does not trap; all of it traps with UMIP."""
    found, _ = diverges(in_ring_3(PROGRAM[name]), Hybrid)
    assert found is not None
    assert found.instruction.split()[0] == name, str(found)
    found, _ = diverges(in_ring_3(PROGRAM[name], umip=True), Hybrid)
    assert found is None, str(found)


@pytest.mark.parametrize("body", some_fast(HARMLESS, "cli", "int3"))
def test_the_rest_of_ring_3_does_not_hinder_it(body: str) -> None:
    found, pair = diverges(in_ring_3(body), Hybrid)
    assert found is None, str(found)
    assert pair.virtual.monitor.efficiency.entries


# -- generated systems ---------------------------------------------------------------------------

SEEDS = [11, *(pytest.param(seed, marks=pytest.mark.heavy) for seed in (1, 5, 9))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("monitor", some_fast(CURES, "hybrid"))
def test_systems_from_a_seed(monitor: str, seed: int) -> None:
    """Paging that changes, a timer, faults in both rings, self-made code, all of the critical."""
    found, _ = diverges(system(seed), MONITORS[monitor], 1_200)
    assert found is None, str(found)


# -- faults in monitors are found ----------------------------------------------------------------


class _RemembersTooLong(Shadow):
    """INVLPG and CR3 do not reach the shadow tables."""

    def refresh(self, state: State) -> None:
        """Forgets to forget."""


class _WritesTooEarly(Shadow):
    """Each page is mapped writable, so that the guest's dirty bits are missed."""

    def _map(self, user: bool, address: int, where: int, writable: bool) -> None:
        super()._map(user, address, where, True)


def _broken(base: type[Monitor], shadow: type[Shadow]) -> type[Monitor]:
    class Broken(base):  # type: ignore[misc, valid-type]
        """A monitor with a seeded fault."""

        def __init__(self, below: PcMachine, allocation: Allocation, *, umip: bool = False) -> None:
            super().__init__(below, allocation, umip=umip)
            self.shadow.__class__ = shadow

    return Broken


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("base", "shadow", "name"),
    [(Hybrid, _RemembersTooLong, "kernel"), (Translation, _WritesTooEarly, "paging")],
)
def test_a_seeded_fault_is_found(base: type[Monitor], shadow: type[Shadow], name: str) -> None:
    found, _ = first_divergence(lambda: program(name).pair(_broken(base, shadow)), 300_000)
    assert found is not None
    assert "the monitor itself is at fault" in found.why or "critical" in found.why


# -- the parts -----------------------------------------------------------------------------------


def test_an_allocation_must_fit() -> None:
    allocation, needed = allocation_for(MEMORY)
    allocation.check(needed)
    for wrong in (Allocation(4096, MEMORY), Allocation(needed - 4096, MEMORY), Allocation(1, 1)):
        with pytest.raises(AllocationError):
            wrong.check(needed)
    with pytest.raises(GuestFileError, match="not for a virtual PC"):
        allocation_for(2 << 30)


def test_a_window_tells_below_what_was_written() -> None:
    below = PcMachine(Reference(), memory=8 << 20)
    window = PhysicalWindow(below.memory.physical, 1 << 20, 1 << 20)
    heard: list[tuple[str, int, int]] = []
    below.memory.physical.listeners.append(lambda at, size: heard.append(("below", at, size)))
    window.listeners.append(lambda at, size: heard.append(("window", at, size)))
    below.memory.physical.watch((1 << 20) + 64, 4)
    window.write(64, b"new!")
    assert below.memory.physical.read((1 << 20) + 64, 4) == b"new!"
    assert ("below", (1 << 20) + 64, 4) in heard
    assert ("window", 64, 4) in heard


# -- commands ------------------------------------------------------------------------------------


def test_vmm_compare_tells_of_every_monitor() -> None:
    done = vmm(
        "compare", PROGRAMS / "paging.asm", "--engine", "reference", "--memory", "4M",
        "--max-instructions", 40, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["isa"] == "x86/ia32"
    assert [row["name"] for row in facts["monitors"]] == list(MONITORS)
    assert all(row["equivalent"] and row["resource_control"] for row in facts["monitors"])


@pytest.mark.parametrize("arguments", [("compare",), ("run", "--isa", "x86/ia32")])
def test_a_program_of_a_process_is_no_machines_guest(arguments: tuple[str, ...]) -> None:
    done = vmm(*arguments, PROGRAMS.parent / "hello.asm")
    assert done.exit_code == 65
    assert "hello.asm is a program of a process" in done.stderr
    assert "emu run" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--monitor", "nobody"), "no monitor 'nobody'"),
        (("run", "--engine", "steam"), "no engine 'steam'"),
        (("run", "--isa", "x86/ia64"), "no configuration"),
        (("run", "--isa", "x86/v86"), "no machine of a whole PC"),
        (("compare", "--memory", "4K"), "too few for a PC"),
        (("compare", "--memory", "much"), "is not a size"),
    ],
)
def test_mistakes_end_in_a_message(arguments: tuple[str, ...], said: str) -> None:
    done = vmm(*arguments, PROGRAMS / "paging.asm")
    assert done.exit_code == 65
    assert said in done.stderr
