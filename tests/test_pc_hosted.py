"""The hosted arrangement: the same monitors in a process, equal to the bare PC; what it costs the
host, what it cannot reach there, and where it differs from the native one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.engines.python import Python
from emu.exit import Exit
from emu.memory import ADDRESS_LIMIT, PAGE_SIZE
from emu.pc.serial import MemorySerial
from emu.process.descriptors import SystemMemory, UserDesc
from emu.process.layout import LOWEST
from emu.state import State
from isa.x86.form import Form
from isa.x86.machine import X86
from tests.parameters import some_fast
from tests.pc_machines import PROGRAMS
from tests.pc_monitor_guests import (
    HARMLESS,
    PROGRAM,
    SUPERVISOR,
    booted,
    in_ring_0,
    in_ring_3,
    program,
)
from tests.test_pc_monitors import LIMIT, diverges
from tests.vmm_command import vmm
from vmm.pc import MONITORS, Hybrid, Translation, TrapAndEmulate, VirtualPc
from vmm.pc.compare import in_control
from vmm.pc.equivalence import Pair, first_divergence
from vmm.pc.guest import Guest
from vmm.pc.hosted import inspected, machine, registers
from vmm.pc.hosted.arrangement import BY_ROOT, HOSTED, INSPECTS
from vmm.pc.hosted.machine import HostedPc
from vmm.pc.hosted.segments import BIG, CODE, CONFORMING_OR_DOWN, Hidden, descriptor
from vmm.pc.hosted.stub import STACK, STACK_SIZE, STUB
from vmm.pc.systems.generator import generate
from vmm.pc.systems.laboratory import Laboratory

WHOLE = 60_000_000


def hosted(guest: Guest, arrangement: str = HOSTED) -> Guest:
    return replace(guest, arrangement=arrangement)


def below(pair: Pair) -> HostedPc:
    found = pair.virtual.below
    assert isinstance(found, HostedPc)
    return found


# -- whole programs ------------------------------------------------------------------------------


KERNELS = [f"{name} {monitor}" for name in ("kernel", "paging", "timer") for monitor in INSPECTS]
KERNELS.remove("kernel interpretation")
FAST = ("timer trap-and-emulate",)


@pytest.mark.parametrize("run", some_fast(KERNELS, *FAST))
def test_programs_pass_through_the_bare_machines_states(run: str) -> None:
    """Under trap-and-emulate too: `kernel`'s IRETD to ring 3, at which the native one fails, loads
    selectors that no process has."""
    name, monitor = run.split()
    found, pair = diverges(hosted(program(name)), MONITORS[monitor], WHOLE)
    assert found is None, str(found)
    assert pair.virtual_serial.output.decode() == (PROGRAMS / f"{name}.out").read_text()


@pytest.mark.heavy
@pytest.mark.parametrize("run", ["protected hosted", "protected hosted-by-root"])
def test_a_boot_sector_passes_through_the_bare_machines_states(run: str) -> None:
    """It lies in the lowest 64 KiB: only root's process runs any of it directly."""
    name, arrangement = run.split()
    guest = hosted(booted(name), arrangement)
    found, pair = first_divergence(lambda: guest.pair(TrapAndEmulate), WHOLE, 256)
    assert found is None, str(found)
    assert in_control(pair.virtual)
    assert bool(pair.virtual.monitor.efficiency.direct) == (arrangement == BY_ROOT)
    if arrangement == HOSTED:
        assert first_divergence(lambda: guest.pair(Hybrid), WHOLE, 256)[0] is None


def test_ring_3_runs_directly_in_a_process() -> None:
    """All that the kernel's two processes do; page tables, traps and time are the host's signals
    and system calls, each for a cause."""
    output, expected = MemorySerial(), MemorySerial()
    guest = hosted(program("kernel"))
    machine = cast(VirtualPc, guest.virtual(Hybrid, output).machine)
    bare = guest.bare(expected).machine
    assert machine.run(WHOLE) == bare.run(WHOLE) == Exit("halt")
    assert machine.digest() == bare.digest()
    assert output.output == expected.output
    assert in_control(machine)
    efficiency = machine.monitor.efficiency
    assert efficiency.direct_fraction > 0.9
    assert isinstance(machine.below, HostedPc)
    tally = machine.below.process.tally
    assert tally.calls["rt_sigreturn", "enter"] == efficiency.entries
    exits, faults = efficiency.exits, tally.signals
    assert faults["SIGSEGV", "#GP"] == exits["#GP"]  # INT 30h
    assert faults["SIGSEGV", "#PF"] == exits["#PF"] + exits["hidden page fault"]
    assert tally.calls["mmap2", "filled by the monitor"] == exits["hidden page fault"]
    assert set(tally.facts()) == {"system_calls", "signals"}


# -- critical instructions -----------------------------------------------------------------------


NOT_THERE = {"pop", "lss", "ljmp", "lcall", "retf", "iretd"}
"""They load selectors of ring 3, which are the guest's: a process has others."""
READS = {"ds": "mov eax, ds", "es": "push es"}
"""Sensitive in a process only, where these selectors are the host's."""


@pytest.mark.parametrize("name", some_fast(SUPERVISOR, "popfd", "sgdt", "iretd"))
def test_trap_and_emulate_fails_as_the_native_one_but_at_loads_of_selectors(name: str) -> None:
    found, _ = diverges(hosted(in_ring_0(*SUPERVISOR[name])), TrapAndEmulate)
    if name in NOT_THERE:
        assert found is None, str(found)
        return
    assert found is not None
    native, _ = diverges(in_ring_0(*SUPERVISOR[name]), TrapAndEmulate)
    assert native is not None
    assert (found.instruction, found.address) == (native.instruction, native.address)


@pytest.mark.parametrize("body", some_fast(READS.values(), "mov eax, ds"))
def test_what_reads_a_selector_is_sensitive_in_a_process(body: str) -> None:
    """Native trap-and-emulate holds there; the hosted cures look at code before it runs."""
    guest = in_ring_0("", body)
    assert diverges(guest, TrapAndEmulate)[0] is None
    found, _ = diverges(hosted(guest), TrapAndEmulate)
    assert found is not None
    assert found.instruction == body
    assert diverges(hosted(guest), Translation)[0] is None


@pytest.mark.parametrize("name", some_fast(SUPERVISOR))
def test_translation_holds_on_it(name: str) -> None:
    """The hybrid monitor has none of these run, wherever it lives."""
    found, _ = diverges(hosted(in_ring_0(*SUPERVISOR[name])), Translation)
    assert found is None, str(found)


BODIES = [*HARMLESS, *(body for name, body in PROGRAM.items() if name != "sidt"), "mov eax, ds"]


@pytest.mark.parametrize("body", some_fast(BODIES, "cli", "str ax", "mov eax, ds"))
def test_nothing_of_ring_3_hinders_the_hybrid_monitor(body: str) -> None:
    """Not even what does without UMIP natively: it is looked at. SIDT is not, as INT n reads IDTR
    too and traps."""
    found, pair = diverges(hosted(in_ring_3(body)), Hybrid)
    assert found is None, str(found)
    assert pair.virtual.monitor.efficiency.entries


def form_of(code: str) -> Form:
    """In ring 3, flat."""
    isa, state = X86("pentium2"), State(X86("pentium2"), {})
    for name, value in {"pe": 1, "cpl": 3, "cs_attributes": 0xCFB, "ss_attributes": 0xCF3}.items():
        state[name] = value
    data = bytes.fromhex(code).ljust(15, b"\0")
    return cast(Form, isa.decode(data, isa.mode(state.values)).form)


LOADS = {"8ed8": "mov ds", "1f": "pop ds", "c40b": "les", "cf": "iret", "cb": "retf", "ea": "ljmp"}
SEES = {"8cd8": "mov from ds", "16": "push ss", "0f0100": "sgdt", "0f00c0": "sldt", "0f00c8": "str",
        "0f01e0": "smsw", "0f02c0": "lar", "0f00e0": "verr", "d9e8": "fld1"}  # fmt: skip
NEITHER = ("50", "8b03", "c3", "e800000000", "a4", "f3a4", "9c", "9d", "fa", "e460", "f4", "0fa2",
           "0f31", "cd80", "cc", "0f0b", "61", "c9")  # fmt: skip


def test_which_instructions_stop_is_derived_from_their_meanings() -> None:
    """Loads of segments; readers of the host's registers; not what traps or has to do with
    neither."""
    for code in LOADS:
        assert inspected.loads_the_hosts(form_of(code)), LOADS[code]
    for code in SEES:
        assert inspected.sees_the_host(form_of(code)), SEES[code]
    for code in NEITHER:
        form = form_of(code)
        assert not inspected.sees_the_host(form) | inspected.loads_the_hosts(form), form.mnemonic
    assert [inspected.traps(form_of(code)) for code in ("cd00", "cdff", "50")] == [
        True,
        True,
        False,
    ]


# -- what a guest can reach ----------------------------------------------------------------------


HIDDEN = st.builds(
    Hidden,
    st.integers(0, 0xFFFFFFFF) | st.sampled_from([0, 0xBF000000, 0xFFFFF000]),
    st.integers(0, 0xFFFFF) | st.integers(0, 0xFFFFF).map(lambda n: n << 12 | 0xFFF),
    st.integers(0, 0x7F).map(lambda n: 0x80 | n) | st.integers(0, 0xFFF),
)


@given(HIDDEN, st.integers(16, 0xBF0).map(lambda n: n << 20))
@settings(max_examples=300, deadline=None)
def test_no_segment_of_a_process_reaches_the_monitor(hidden: Hidden, end: int) -> None:
    """As the processor reads the descriptor; and it reaches nothing that the guest's does not."""
    found = descriptor(hidden, end)
    if found is None:
        return
    system = SystemMemory()
    system.ldt = found.encode().to_bytes(8, "little")
    loaded = system.segment(7)
    assert loaded is not None
    base, limit, attributes = loaded
    assert base == hidden.base
    assert attributes & 0x1F == hidden.attributes & 0x1F | 1
    if attributes & CODE or not attributes & CONFORMING_OR_DOWN:
        assert base + limit < end
        assert limit <= hidden.limit
    else:
        assert not attributes & BIG
        assert base + 0xFFFF < end
        assert limit == hidden.limit


def test_a_segment_that_is_cut_keeps_all_that_lies_before_the_monitor() -> None:
    """Whole pages of it."""
    flat = Hidden(0, 0xFFFFFFFF, 0xCF3)
    assert descriptor(flat, 0xB0000000) == UserDesc(
        0, 0xAFFFF, UserDesc.SEG_32BIT | UserDesc.LIMIT_IN_PAGES
    )
    assert descriptor(Hidden(0xB0000000, 1, 0xCF3), 0xB0000000) is None


HOSTILE = {
    "stack": f"mov esp, {STACK + 64}\nint 0x31",
    "stub": f"mov dword ptr [{STUB}], eax",
    "view": "mov dword ptr [0xBEC00000], eax",
    "kernel": "mov dword ptr [0xC1000000], eax",
    "segment": f"mov eax, 0x7B\nmov ds, eax\nmov dword ptr [{STACK}], eax",
    "local": f"mov eax, 0x1F\nmov es, eax\nmov dword ptr es:[{STACK}], eax",
    "code": f".byte 0xEA\n.long {STUB}\n.word 0x73",
    "jump": f"mov eax, {STUB}\njmp eax",
    "exit": "mov eax, 1\nint 0x80",
    "unmap": "mov eax, 91\nmov ebx, 0xBF100000\nmov ecx, 0x4000\nint 0x80",
    "handler": "push dword ptr 0\npopfd\nmov esp, 0\nint3",
}
"""What a program of ring 3 does that knows where it is."""


def outside(pair: Pair) -> str:
    """A digest of all of the process that is neither the guest's file nor the handlers' stack."""
    process, base = below(pair).process, below(pair).first
    skipped = {STACK + n >> 12 for n in range(0, STACK_SIZE, PAGE_SIZE)}
    regions = process.space.overlapping(process.view, ADDRESS_LIMIT)
    found = hashlib.sha256(repr(regions).encode())
    for page, frame in sorted(process.space.frames.items()):
        where = frame * PAGE_SIZE
        if (
            page not in skipped
            and not base <= where < base + below(pair).memory.physical.array.size
        ):
            found.update(process.space.physical.read(where, PAGE_SIZE))
    return found.hexdigest()


@pytest.mark.parametrize("monitor", ["hybrid", "trap-and-emulate"])
@pytest.mark.parametrize("what", some_fast(HOSTILE, "stack", "segment", "exit"))
def test_a_hostile_program_finds_nothing_of_the_host(what: str, monitor: str) -> None:
    """It meets what it meets on the bare machine, and the process is as it was."""
    guest = hosted(in_ring_3(HOSTILE[what]))
    before = outside(guest.pair(MONITORS[monitor]))
    found, pair = diverges(guest, MONITORS[monitor])
    if monitor == "hybrid":
        assert found is None, str(found)
    assert outside(pair) == before
    refused = below(pair).process.tally.signals["SIGSYS", "#GP"]
    assert bool(refused) == ("int 0x80" in HOSTILE[what])


# -- generated systems ---------------------------------------------------------------------------


@cache
def laboratory(*monitors: str) -> Laboratory:
    return Laboratory(Python, monitors, arrangement=BY_ROOT)


@pytest.mark.parametrize("seed", [0, 2])
def test_a_few_systems(seed: int) -> None:
    found = laboratory("hybrid").violation(generate(Random(seed)))
    assert found is None, str(found)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("monitor", "systems", "most"), [("hybrid", 70, 400), ("translation", 30, 4_000)]
)
def test_a_hundred_systems(monitor: str, systems: int, most: int) -> None:
    """Some instructions of ring 3 each; of ring 0 under translation."""
    lab = laboratory(monitor)
    for seed in range(100, 100 + systems):
        found = lab.violation(generate(Random(seed)))
        assert found is None, f"{seed}: {found}"
    assert direct(lab, monitor) > most


def direct(lab: Laboratory, monitor: str) -> int:
    found = lab._virtual[monitor].machine
    assert isinstance(found, VirtualPc)
    return found.monitor.efficiency.direct


def test_what_is_mapped_is_the_guests_at_every_boundary() -> None:
    """Pages of the file's part that is the guest's, and nothing else, at addresses that a process
    of anybody may have."""
    guest = hosted(program("kernel"))
    virtual = cast(VirtualPc, guest.virtual(TrapAndEmulate, MemorySerial()).machine)
    found = virtual.below
    assert isinstance(found, HostedPc)
    first, end = virtual.allocation.base, virtual.allocation.end
    most = 0

    def look(state: State) -> None:
        nonlocal most
        pages = found.process.pages()
        most = max(most, len(pages))
        assert all(LOWEST <= page < found.process.view for page in pages)
        assert all(first <= where - found.first < end for where in pages.values())

    virtual.monitor.boundary = look
    virtual.run(40_000)
    assert most > 5


# -- faults in the arrangement are found -----------------------------------------------------------


def _never_forgets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine.HostedEngine, "_forget", lambda self: None)


def _maps_for_writing(patch: pytest.MonkeyPatch) -> None:
    real = machine.HostProcess.map

    def wrong(
        self: machine.HostProcess, address: int, where: int, cause: str, *, writable: bool
    ) -> None:
        real(self, address, where, cause, writable=True)

    patch.setattr(machine.HostProcess, "map", wrong)


def _looks_at_no_reads(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(inspected, "sees_the_host", lambda form: False)


def _keeps_descriptors(patch: pytest.MonkeyPatch) -> None:
    real = registers.Registers._segment

    def wrong(self: registers.Registers, number: int, hidden: Hidden) -> int:
        kept = number in self._entries and not hidden.is_null
        return number << 3 | 7 if kept else real(self, number, hidden)

    patch.setattr(registers.Registers, "_segment", wrong)


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], range]] = {
    "never forgets": (_never_forgets, range(12)),
    "maps for writing": (_maps_for_writing, range(9, 12)),
    "looks at no reads": (_looks_at_no_reads, range(2, 5)),
    "keeps descriptors": (_keeps_descriptors, range(3)),
}
"""With seeds of which one shows it."""


@pytest.mark.parametrize("name", some_fast(FAULTS, "keeps descriptors"))
def test_a_seeded_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, seeds = FAULTS[name]
    plant(monkeypatch)
    lab = Laboratory(Python, ["hybrid", "translation"], arrangement=BY_ROOT)
    assert any(lab.violation(generate(Random(seed))) is not None for seed in seeds)


# -- commands ------------------------------------------------------------------------------------


def test_vmm_run_tells_what_it_cost_the_host() -> None:
    done = vmm(
        "run", PROGRAMS / "paging.asm", "--arrangement", "hosted", "--monitor", "trap-and-emulate",
        "--engine", "python", "--memory", "4M", "--max-instructions", 300, "--json",
    )  # fmt: skip
    facts = json.loads(done.stderr.splitlines()[-1])
    assert facts["arrangement"] == "hosted"
    assert facts["resource_control"] is True
    host = facts["host"]
    assert host["signals"]["SIGSEGV: #PF"] == facts["exits"]["hidden page fault"]
    assert host["system_calls"]["memfd_create: start"] == 1


@pytest.mark.parametrize("arrangement", some_fast(["both", "hosted"], "both"))
def test_vmm_compare_shows_the_arrangements_side_by_side(arrangement: str) -> None:
    arguments = (
        "compare", PROGRAMS / "paging.asm", "--arrangement", arrangement, "--engine", "python",
        "--memory", "4M", "--max-instructions", 60,
    )  # fmt: skip
    rows = json.loads(vmm(*arguments, "--json").stdout)["monitors"]
    chosen = ["native", "hosted"] if arrangement == "both" else ["hosted"]
    expected = [(name, one) for name in INSPECTS for one in chosen]
    assert [(row["name"], row["arrangement"]) for row in rows] == expected
    assert all(row["equivalent"] and row["resource_control"] for row in rows)
    assert [one for one, row in zip(expected, rows, strict=True) if "host" in row] == [
        one for one in expected if one[1] == "hosted"
    ]
    told = vmm(*arguments).stdout.splitlines()
    assert told[0].split()[:2] == ["monitor", "arrangement"]
    assert ["signals", *INSPECTS] in [line.split() for line in told]
    assert ["SIGUSR1:", "start", "1", "1", "1", "1"] in [line.split() for line in told]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--monitor", "hardware-assist"), "VMXON is for CPL 0"),
        (("--monitor", "paravirtual"), "promises ring 1"),
        (("--monitor", "nobody"), "no hosted arrangement"),
    ],
)
def test_what_no_process_can_be_is_refused(arguments: tuple[str, ...], said: str) -> None:
    done = vmm("run", "--arrangement", "hosted", *arguments, PROGRAMS / "paging.asm")
    assert done.exit_code == 65
    assert said in done.stderr


def test_toys_have_no_arrangement() -> None:
    toy = next((PROGRAMS.parent.parent / "toy").glob("*.asm"))
    done = vmm("run", "--arrangement", "hosted", toy)
    assert done.exit_code == 65
    assert "the guest is a toy's" in done.stderr


def test_monitors_are_the_same_classes() -> None:
    """Nothing is said to them but what is below."""
    for monitor in (TrapAndEmulate, Hybrid, Translation):
        virtual = hosted(program("paging")).virtual(monitor, MemorySerial()).machine
        assert isinstance(virtual, VirtualPc)
        assert type(virtual.monitor) is monitor


def test_a_host_without_room_for_more_mappings_loses_the_old_ones() -> None:
    """Linux has a most for a process; a guest that touches more pages goes on."""
    guest = hosted(in_ring_3(f"1: mov eax, [ebx]\nadd ebx, {PAGE_SIZE}\ncmp ebx, 0x300000\njb 1b"))

    def crowded() -> Pair:
        pair = guest.pair(Hybrid)
        physical = below(pair).process.space.physical
        physical._shares += physical.free_shares - 20
        return pair

    found, pair = first_divergence(crowded, LIMIT)
    assert found is None, str(found)
    assert below(pair).process.tally.calls["munmap", "no room"] > 10
