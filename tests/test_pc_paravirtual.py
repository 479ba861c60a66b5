"""The paravirtual monitor of the PC: the ported kernel, isolation, and random hypercalls."""

from __future__ import annotations

import json
import struct
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.engines.reference import Reference
from emu.memory import pieces_of
from isa.fault import Fault
from isa.x86 import registers as r
from tests.paravirtual_calls import RandomCalls
from tests.paravirtual_guests import CLIENT, HOSTILE, IDLE, SERVER, World, kernel
from tests.pc_machines import PROGRAMS
from tests.pc_monitor_guests import program
from tests.vmm_command import vmm
from vmm.pc.compare import compare_port
from vmm.pc.paravirtual import audit, descriptors, page_tables
from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.audit import violations
from vmm.pc.paravirtual.descriptors import checked
from vmm.pc.paravirtual.domain import Domain
from vmm.pc.paravirtual.frames import Frame, FrameTable, Kind, Validate
from vmm.pc.paravirtual.grants import GrantError
from vmm.pc.paravirtual.guest import ported, porting_cost
from vmm.pc.paravirtual.guest_memory import GuestMemory
from vmm.pc.paravirtual.hypercalls import Again, Done, is_implemented
from vmm.pc.paravirtual.hypervisor import Hypervisor
from vmm.pc.paravirtual.page_tables import PageTables
from vmm.pc.paravirtual.refusal import Errno, Refusal

IDLERS = {0: kernel(IDLE), 1: kernel(IDLE)}
PAGE = 0x150000  # of an idle domain's memory: writable, and nothing else refers to it
ARGUMENTS = 0x140000


@pytest.fixture
def world() -> World:
    """Two domains that do nothing; the first one has the processor."""
    found = World(IDLERS)
    found.monitor.switch_to(found.monitor.domains[0])
    return found


def holds(world: World) -> None:
    """The audit finds nothing, and nobody's bytes are as they were."""
    assert list(violations(world.monitor)) == []
    assert world.partitions.in_control()


def call(world: World, name: str, *arguments: int, domain: int = 0) -> int:
    """A hypercall of a domain, to its end."""
    monitor, number = world.monitor, {v: k for k, v in xen.HYPERCALLS.items()}[name]
    monitor.switch_to(monitor.domains[domain])
    given = [*arguments, 0, 0, 0, 0, 0][:5]
    outcome = monitor.call(monitor.domains[domain], number, given)
    while isinstance(outcome, Again):
        outcome = monitor.call(monitor.domains[domain], number, outcome.arguments)
    return outcome.result if isinstance(outcome, Done) else outcome


def put(world: World, data: bytes, domain: int = 0) -> int:
    """Put a call's structure into a domain's memory; its linear address."""
    world.monitor.switch_to(world.monitor.domains[domain])
    world.monitor.domains[domain].guest.write(ARGUMENTS, data)
    return ARGUMENTS


def frame_of(domain: Domain, address: int) -> int:
    return domain.memory[address >> 12]


def update(world: World, pointer: int, value: int, domain: int = 0) -> int:
    at = put(world, struct.pack("<QQ", pointer, value), domain)
    return call(world, "mmu_update", at, 1, 0, xen.DOMID_SELF, domain=domain)


def extended(world: World, command: int, frame: int, size: int = 0) -> int:
    at = put(world, struct.pack("<III", command, frame, size))
    return call(world, "mmuext_op", at, 1, 0, xen.DOMID_SELF)


def table_of(domain: Domain, address: int) -> int:
    """The machine address of a linear page's entry."""
    return domain.tables.entry_of(domain.directory << 12, address)


# -- the ported kernel -----------------------------------------------------------------------------


def test_the_ported_kernel_prints_what_the_original_does() -> None:
    done = vmm(
        "run", "--monitor", "paravirtual", PROGRAMS / "kernel_xen.asm", "--engine", "python",
        "--memory", "4M", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stdout == (PROGRAMS / "kernel.out").read_text()
    facts = json.loads(done.stderr)
    assert facts["stop"] == "exit"
    assert facts["resource_control"] and facts["direct_fraction"] > 0.99
    assert facts["exits"]["iret"] and facts["exits"]["event"] and facts["exits"]["mmuext_op"]


def test_an_unported_kernel_ends_in_a_message() -> None:
    done = vmm(
        "run", "--monitor", "paravirtual", PROGRAMS / "kernel.asm", "--engine", "reference",
        "--memory", "4M",
    )  # fmt: skip
    assert done.exit_code == 126
    assert "no handler for #GP" in done.stderr


def test_what_the_port_cost() -> None:
    """In lines of code; its processes' program is the same, byte for byte."""
    original, port = PROGRAMS / "kernel.asm", ported(PROGRAMS / "kernel.asm")
    cost = porting_cost(original, port)
    assert 0 < cost.gone < 150 and 0 < cost.new < 200
    texts = [path.read_text() for path in (original, port)]
    assert len({text[text.index("\nprogram:") :] for text in texts}) == 1


@pytest.mark.heavy
def test_the_comparison_is_by_output_and_says_so() -> None:
    row = compare_port(replace(program("kernel"), path=PROGRAMS / "kernel.asm"))
    assert row.name == "paravirtual" and row.resource_control
    assert row.output.decode() == (PROGRAMS / "kernel.out").read_text()
    cost = porting_cost(PROGRAMS / "kernel.asm", PROGRAMS / "kernel_xen.asm")
    told = f"a new interface, by design: a port, {cost}; its output is the same"
    assert row.facts()["divergence"] == told and not row.facts()["equivalent"]


# -- page tables -----------------------------------------------------------------------------------


def test_no_frame_is_a_table_and_writable(world: World) -> None:
    domain = world.monitor.domains[0]
    table, frame = table_of(domain, PAGE) >> 12, frame_of(domain, PAGE)
    assert update(world, table_of(domain, PAGE), table << 12 | 3) == -Errno.EINVAL
    assert update(world, table_of(domain, PAGE), table << 12 | 1) == 0  # to be read
    assert extended(world, xen.MmuExtended.PIN_L1_TABLE, frame) == 0  # no longer mapped: it may be
    assert update(world, table_of(domain, PAGE), frame << 12 | 3) == -Errno.EINVAL
    assert extended(world, xen.MmuExtended.PIN_L2_TABLE, frame) == -Errno.EINVAL
    assert extended(world, xen.MmuExtended.UNPIN_TABLE, frame) == 0
    assert update(world, table_of(domain, PAGE), frame << 12 | 3) == 0
    holds(world)


def test_a_table_is_validated_before_it_is_one(world: World) -> None:
    domain, other = world.monitor.domains[0], world.monitor.domains[1]
    frame = frame_of(domain, PAGE)
    world.monitor.domains[0].guest.put_word(PAGE + 8, other.memory[7] << 12 | 1)
    assert update(world, table_of(domain, PAGE), 0) == 0
    assert extended(world, xen.MmuExtended.PIN_L1_TABLE, frame) == -Errno.EINVAL
    assert world.monitor.frames[frame].typed == 0
    holds(world)


@pytest.mark.parametrize("bits", [0x80, 0x100, 0x8, 0x10])
def test_bits_that_no_guest_gets(world: World, bits: int) -> None:
    domain = world.monitor.domains[0]
    entry = frame_of(domain, PAGE) << 12 | 3 | bits
    assert update(world, table_of(domain, PAGE), entry) == -Errno.EINVAL


def test_the_monitors_directory_entries_are_its_own(world: World) -> None:
    domain = world.monitor.domains[0]
    for index in range(xen.VIRTUAL_START >> 22, 1024):
        assert update(world, (domain.directory << 12) + 4 * index, 0) == -Errno.EINVAL
    assert call(world, "update_va_mapping", xen.VIRTUAL_START, 0) == -Errno.EINVAL


def test_a_list_of_updates_is_done_in_slices_and_counted(world: World) -> None:
    domain = world.monitor.domains[0]
    pages = [PAGE + page * 4096 for page in range(70)]
    requests = b"".join(struct.pack("<QQ", table_of(domain, page), 0) for page in pages)
    at = put(world, requests + bytes(16))
    told = at + len(requests) + 16
    assert call(world, "mmu_update", at, 70, told, xen.DOMID_SELF) == 0
    assert domain.guest.word(told) == 70
    assert call(world, "mmu_update", at, 71, told, xen.DOMID_SELF) == -Errno.EINVAL  # frame 0
    assert domain.guest.word(told) == 70
    holds(world)


# -- traps -----------------------------------------------------------------------------------------

FAST = """
start:
    mov eax, 0
    mov ebx, offset traps
    int 0x82
    mov ebx, 0xE021
    mov ecx, 0x120000
    mov eax, 3
    int 0x82
    int 0x80
    jmp start
handler:
    inc dword ptr [calls]
    iretd
    .balign 4
traps: .byte 0x80, {flags}
    .word KERNEL_CS
    .long handler
    .quad 0
calls: .long 0
"""


@pytest.mark.parametrize(("flags", "direct"), [(3, True), (7, False)])
def test_the_fast_gate_needs_no_monitor(flags: int, direct: bool) -> None:
    """INT 80h enters the guest's kernel by itself, unless that begins with events masked."""
    world = World({0: kernel(FAST.format(flags=flags))}, engine=Reference())
    world.partitions.run(1, 60)
    exits = world.runs[0].efficiency.exits
    assert exits["stack_switch"] > 3
    assert (exits["INT 80h"] == 0) is direct
    assert world.runs[0].domain.shared.masked  # as at the start, or by the trap
    holds(world)


def test_a_trap_in_the_kernel_tells_whether_events_were_masked(world: World) -> None:
    """Its frame has IF as the guest thinks that it is, and the mask above CS."""
    domain, state = world.monitor.domains[0], world.monitor.state
    at = put(world, struct.pack("<BBHI8x", 14, xen.TRAP_MASKS, xen.KERNEL_CODE, 0x1234))
    assert call(world, "set_trap_table", at) == 0
    for masked in (True, False):
        domain.shared.masked = masked
        state["esp"], state["eip"] = 0x120000, 0x100020
        world.monitor._deliver(domain, Fault(14, 2, 0xABC000))
        frame = struct.unpack("<4I", domain.guest.read(state["esp"], 16))
        assert frame[:2] == (2, 0x100020)
        assert frame[2] == xen.KERNEL_CODE | masked << 16
        assert bool(frame[3] & 1 << 9) is not masked
        assert state["eip"] == 0x1234 and domain.shared.masked and state["if"] == 1
        assert domain.shared.word(xen.VCPU_CR2) == 0xABC000


def test_a_guest_that_cannot_take_a_trap_ends_alone(world: World) -> None:
    domain, state = world.monitor.domains[0], world.monitor.state
    at = put(world, struct.pack("<BBHI8x", 14, 0, xen.KERNEL_CODE, 0x1234))
    assert call(world, "set_trap_table", at) == 0
    state["esp"] = xen.VIRTUAL_START + 0x100  # where it may not write
    world.monitor._deliver(domain, Fault(14, 2, 0xABC000))
    assert domain.ended == "crash" and "was to be pushed" in domain.why
    assert world.monitor.domains[1].ended is None
    holds(world)


# -- segments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("descriptor", "becomes"),
    [
        (0x00CF9A000000FFFF, 0x00CFBA000000C3FF),  # ring 0 becomes 1, 4 GiB are cut
        (0x00CFF2000000FFFF, 0x00CFF2000000C3FF),
        (0x0040FA0000000FFF, 0x0040FA0000000FFF),
        (0, 0),
        (0x00CF96000000FFFF, None),  # expands down
        (0xFFCFB2FFF000FFFF, None),  # begins in the monitor's part
        (0x0000E90000000067, None),  # a TSS
        (0x0000EC0000080000, None),  # a call gate
    ],
)
def test_descriptors_are_cut_or_refused(descriptor: int, becomes: int | None) -> None:
    low, high = descriptor & 0xFFFFFFFF, descriptor >> 32
    if becomes is None:
        with pytest.raises(Refusal):
            checked(low, high)
    else:
        assert checked(low, high) == (becomes & 0xFFFFFFFF, becomes >> 32)


def test_a_gdt_of_the_guests(world: World) -> None:
    """Its page cannot be written while it is one; a descriptor is changed by asking."""
    domain = world.monitor.domains[0]
    frame = frame_of(domain, PAGE)
    domain.guest.write(PAGE + 8, struct.pack("<Q", 0x00CF9A000000FFFF))
    at = put(world, struct.pack("<I", frame))
    assert call(world, "set_gdt", at, 16) == -Errno.EINVAL  # it is mapped to be written
    assert update(world, table_of(domain, PAGE), frame << 12 | 1) == 0
    at = put(world, struct.pack("<I", frame))
    assert call(world, "set_gdt", at, 16) == 0
    assert domain.guest.read(PAGE + 8, 8) == struct.pack("<Q", 0x00CFBA000000C3FF)
    assert update(world, table_of(domain, PAGE), frame << 12 | 3) == -Errno.EINVAL
    gate = 0x0000EC00_00080000
    place = (frame << 12) + 16
    assert call(world, "update_descriptor", place, 0, 0x80000, gate >> 32) == -Errno.EINVAL
    assert call(world, "update_descriptor", place, 0, 0xFFFF, 0x00CFF200) == 0
    assert extended(world, xen.MmuExtended.SET_LDT, 0, 0) == 0
    holds(world)


# -- events and grants -----------------------------------------------------------------------------


def test_two_domains_talk_by_an_event_channel_and_a_grant() -> None:
    """The permitted exception: what one offers to the other, and no more."""
    world = World({0: kernel(SERVER), 1: kernel(CLIENT)})
    world.partitions.run(20)
    ends = [member.guest.domain.ended for member in world.partitions.members]
    assert ends == ["poweroff", "poweroff"]
    assert bytes(world.consoles[1].output) == b"Hello\n"
    assert bytes(world.consoles[0].output) == b"Tanko\n"
    holds(world)


def grant(world: World, flags: int, frame: int, reference: int = 3) -> None:
    """Let domain 0 grant something to domain 1."""
    table = world.monitor.domains[0].grants.table
    entry = struct.pack("<HHI", flags, 1, frame)
    world.below.memory.physical.write(table + 8 * reference, entry)


def test_a_grant_is_for_whom_and_what_it_says(world: World) -> None:
    one, other = world.monitor.domains[0], world.monitor.domains[1]
    world.monitor.switch_to(other)
    status = []
    for flags, frame, mapping in (
        (0, frame_of(one, PAGE), xen.HOST_MAP),
        (xen.PERMIT_ACCESS, frame_of(other, PAGE), xen.HOST_MAP),  # not its to grant
        (xen.PERMIT_ACCESS | xen.GRANT_READONLY, frame_of(one, PAGE), xen.HOST_MAP),
        (xen.PERMIT_ACCESS, one.directory, xen.HOST_MAP),  # a table is written by nobody
    ):
        grant(world, flags, frame)
        with pytest.raises(GrantError) as refused:
            other.grants.map(PAGE, mapping, 3, 0)
        status.append(refused.value.status.name)
    assert status == ["BAD_GNTREF", "BAD_PAGE", "GENERAL_ERROR", "GENERAL_ERROR"]
    holds(world)


def test_a_granted_frame_becomes_no_table_and_its_entry_stays(world: World) -> None:
    one, other = world.monitor.domains[0], world.monitor.domains[1]
    frame = frame_of(one, PAGE)
    grant(world, xen.PERMIT_ACCESS, frame)
    world.monitor.switch_to(other)
    handle, _ = other.grants.map(PAGE, xen.HOST_MAP, 3, 0)
    holds(world)
    assert update(world, table_of(other, PAGE), 0, domain=1) == -Errno.EINVAL
    world.monitor.switch_to(one)
    assert update(world, table_of(one, PAGE), 0) == 0
    assert extended(world, xen.MmuExtended.PIN_L1_TABLE, frame) == -Errno.EINVAL
    other.grants.unmap(PAGE, handle)
    assert extended(world, xen.MmuExtended.PIN_L1_TABLE, frame) == 0
    assert one.grants.entry(3)[0] == xen.PERMIT_ACCESS
    holds(world)


def test_a_frame_is_transferred(world: World) -> None:
    one, other = world.monitor.domains[0], world.monitor.domains[1]
    frame = frame_of(one, PAGE)
    table = other.grants.table
    world.below.memory.physical.write(table + 8, struct.pack("<HHI", xen.ACCEPT_TRANSFER, 0, 0))
    with pytest.raises(GrantError):
        one.grants.transfer(frame, 1, 1)  # it is mapped
    assert update(world, table_of(one, PAGE), 0) == 0
    one.grants.transfer(frame, 1, 1)
    assert world.monitor.frames[frame].owner == 1
    assert update(world, table_of(one, PAGE), frame << 12 | 1) == -Errno.EINVAL
    assert update(world, table_of(other, PAGE), frame << 12 | 3, domain=1) == 0
    holds(world)


def test_the_timer_fires_at_its_count(world: World) -> None:
    """System time is the domain's own instructions: 100 ns each, at 10 million a second."""
    domain = world.monitor.domains[0]
    at = put(world, struct.pack("<III", xen.Virq.TIMER, 0, 0))
    assert call(world, "event_channel_op", xen.EventCommand.BIND_VIRQ, at) == 0
    port = domain.guest.word(at + 8)
    assert call(world, "event_channel_op", xen.EventCommand.BIND_VIRQ, at) == -Errno.EEXIST
    domain.guest.put_word(at, port)
    assert call(world, "event_channel_op", xen.EventCommand.UNMASK, at) == 0
    assert call(world, "set_timer_op", 50_000, 0) == 0
    world.monitor.run(domain, 500)
    assert not domain.shared.is_pending(port)
    world.monitor.run(domain, 501)  # what is due is looked at before the next instruction
    assert domain.shared.is_pending(port) and domain.shared.pending
    assert struct.unpack("<II", domain.guest.read(at, 8))[0] == port


def test_a_sleep_lasts_until_the_timer_or_an_event(world: World) -> None:
    domain = world.monitor.domains[0]
    at = put(world, struct.pack("<IIQ", ARGUMENTS + 64, 1, 90_000))
    domain.guest.put_word(ARGUMENTS + 64, 5)
    assert call(world, "sched_op", xen.SchedCommand.POLL, at) == 0
    assert domain.blocked
    assert world.monitor.run(domain, 800).reason == "until" and domain.blocked
    assert domain.efficiency.direct == 0
    world.monitor.run(domain, 1000)
    assert not domain.blocked and domain.efficiency.direct == 100
    assert call(world, "sched_op", xen.SchedCommand.BLOCK) == 0
    assert world.monitor.run(domain, 1100).reason == "blocked"
    domain.shared.put_word(xen.EVENTS_MASK, 0)
    domain.raise_event(5)
    assert world.monitor.run(domain, 1100).reason == "until"


def test_frames_are_given_up_and_taken_back(world: World) -> None:
    domain = world.monitor.domains[0]
    frame, had = frame_of(domain, PAGE), domain.held
    reservation = struct.pack("<5I", ARGUMENTS + 32, 1, 0, 0, xen.DOMID_SELF)
    at = put(world, reservation.ljust(32, b"\0") + struct.pack("<I", frame))
    decrease, increase = xen.MemoryCommand.DECREASE_RESERVATION, xen.MemoryCommand.POPULATE_PHYSMAP
    assert call(world, "memory_op", decrease, at) == 0  # it is mapped
    assert update(world, table_of(domain, PAGE), 0) == 0
    at = put(world, reservation.ljust(32, b"\0") + struct.pack("<I", frame))
    assert call(world, "memory_op", decrease, at) == 1
    assert domain.held == had - 1
    assert update(world, table_of(domain, PAGE), frame << 12 | 1) == -Errno.EINVAL
    at = put(world, reservation.ljust(32, b"\0") + struct.pack("<I", PAGE >> 12))
    assert call(world, "memory_op", increase, at) == 1
    assert domain.guest.word(at + 32) == frame and domain.held == had
    assert call(world, "memory_op", increase, at) == 0  # there is no more
    holds(world)


def test_several_calls_in_one(world: World) -> None:
    entries = ((17, 0), (13, 0), (11, 0), (999, 0), (5, 1))
    at = put(world, b"".join(struct.pack("<8I", n, 7, a, *[0] * 5) for n, a in entries))
    assert call(world, "multicall", at, len(entries)) == 0
    guest = world.monitor.domains[0].guest
    results = [struct.unpack("<i", guest.read(at + 32 * n + 4, 4))[0] for n in range(5)]
    assert results == [xen.VERSION, -Errno.EINVAL, -Errno.ENOSYS, -Errno.ENOSYS, 0]
    assert world.monitor.state["ts"] == 1


def test_what_is_not_there_says_so(world: World) -> None:
    monitor, domain = world.monitor, world.monitor.domains[0]
    missing = [n for n in range(64) if not is_implemented(xen.HYPERCALLS.get(n, ""))]
    assert len(missing) == 64 - 23
    for number in missing:
        assert monitor.call(domain, number, [0] * 5) == -Errno.ENOSYS


# -- isolation -------------------------------------------------------------------------------------

QUANTUM, ROUNDS = 500, 12


def alone(number: int, code: bytes, count: int) -> str:
    """The other domain is there, as calls that name it can tell, and idle; it never runs."""
    world = World(IDLERS | {number: code})
    world.runs[number].run(count)
    return world.runs[number].digest()


def check_isolation(seeds: tuple[int, int], shares: tuple[int, int], rounds: int = ROUNDS) -> int:
    """Neither reads, writes nor starves the other: each run is its run alone, all bytes that are
    nobody's and all references are as they must be, and every turn is as long as it should be.

    Returns how many hypercalls there were.
    """
    codes = {number: kernel(HOSTILE, seed) for number, seed in enumerate(seeds)}
    world = World(codes, dict(enumerate(shares)), QUANTUM)
    world.partitions.run(rounds)
    holds(world)
    for number, member in enumerate(world.partitions.members):
        runs = world.runs[number]
        full = QUANTUM * shares[number]
        assert all(turn == full for turn in member.turns[: None if member.stop is None else -1])
        assert member.stop is not None or member.ran == full * rounds
        ends = runs.count + (member.stop is not None)  # its last instruction did not happen
        assert alone(number, codes[number], ends) == runs.digest()
    return world.monitor.calls.total()


def test_two_hostile_guests_some() -> None:
    assert check_isolation((7919, 104729), (1, 2)) > 20


@pytest.mark.heavy
@settings(max_examples=3, deadline=None)
@given(st.tuples(*[st.integers(1, (1 << 32) - 1)] * 2), st.tuples(*[st.integers(1, 3)] * 2))
def test_any_two_hostile_guests(seeds: tuple[int, int], shares: tuple[int, int]) -> None:
    check_isolation(seeds, shares)


@pytest.mark.heavy
def test_two_hostile_guests() -> None:
    """Some thousands of hypercalls from guests' own code."""
    calls, random = 0, Random(6)
    while calls < 2_000:
        seeds = random.getrandbits(32) or 1, random.getrandbits(32) or 1
        calls += check_isolation(seeds, (random.randint(1, 3), random.randint(1, 3)), 40)


# -- random hypercalls -----------------------------------------------------------------------------

EPISODE = 400
STAYS = [r.CR3.slot, r.LDTR.slot, r.LDT_LIMIT.slot]


Episode = Callable[[World, int, Counter[object]], None]


def result_of(monitor: Hypervisor, domain: Domain, number: int, arguments: list[int]) -> int:
    """A call and a few slices of it."""
    outcome = monitor.call(domain, number, arguments)
    for _ in range(3):
        if isinstance(outcome, Again):
            outcome = monitor.call(domain, number, outcome.arguments)
    if isinstance(outcome, Again):
        return 0
    return outcome.result if isinstance(outcome, Done) else outcome


def apart(world: World, seed: int, results: Counter[object]) -> None:
    """Some hundred calls of domain 0 on fresh domains; domain 1 must not notice."""
    world.start()
    monitor, caller = world.monitor, world.monitor.domains[0]
    monitor.switch_to(caller)
    calls = RandomCalls(seed, monitor, caller, monitor.domains[1].memory)
    registers = monitor.state.save()
    victim = np.array(world.of_monitor_and(1))
    for _ in range(EPISODE):
        number, arguments = calls.call()
        result = result_of(monitor, caller, number, arguments)
        assert result >= 0 or -result in list(Errno), (number, arguments, result)
        results[result >= 0] += 1
        settle(monitor, caller, registers)
    assert np.array_equal(victim, world.of_monitor_and(1)), f"seed {seed}"
    assert list(violations(monitor)) == [], f"seed {seed}"


def together(world: World, seed: int, results: Counter[object]) -> None:
    """Both domains call in turns and have granted each other something: whatever becomes of that,
    the counts are right and nobody's bytes are as they were."""
    world.start()
    monitor = world.monitor
    callers = []
    for number, domain in monitor.domains.items():
        monitor.switch_to(domain)
        calls = RandomCalls(seed + number, monitor, domain, monitor.domains[1 - number].memory)
        calls.offer(1 - number)
        callers.append((domain, calls))
    for turn in range(2 * EPISODE // 10):
        domain, calls = callers[turn % 2]
        monitor.switch_to(domain)
        registers = monitor.state.save()
        for _ in range(10):
            number, arguments = calls.call()
            result = result_of(monitor, domain, number, arguments)
            assert result >= 0 or -result in list(Errno), (number, arguments, result)
            results[result >= 0] += 1
            results["mapped"] = max(results["mapped"], len(domain.grants.mapped))
            settle(monitor, domain, registers)
    assert list(violations(monitor)) == [], f"seed {seed}"


def settle(monitor: Hypervisor, domain: Domain, registers: array[int]) -> None:
    """Let a call's domain go on where it was, though the call may have been IRET or its end."""
    kept = [monitor.state.values[slot] for slot in STAYS]
    monitor.state.values[:] = registers
    for slot, value in zip(STAYS, kept, strict=True):
        monitor.state.values[slot] = value
    domain.ended, domain.blocked, domain.polled = None, False, ()


def fuzz(first: int, calls: int, episode: Episode = apart) -> Counter[object]:
    """So many calls, not counting those within multicalls."""
    world, results = World(IDLERS), Counter[object]()
    while results[True] + results[False] < calls:
        episode(world, first, results)
        first += 1
    assert world.partitions.in_control()
    return results


def test_random_hypercalls_some() -> None:
    results = fuzz(1 << 32, 5_000)
    assert results[True] > 500 and results[False] > 500


def test_random_hypercalls_of_two_that_know_each_other() -> None:
    results = fuzz(1 << 34, 8_000, together)
    assert results[True] > 500 and results["mapped"] > 1


@pytest.mark.heavy
@pytest.mark.parametrize("part", range(4))
def test_a_million_random_hypercalls(part: int) -> None:
    """A clear refusal, never an exception of the host, never a change outside the caller."""
    results = fuzz(part << 16, 250_000)
    assert results[True] > 50_000


def test_every_count_of_the_audit_matters(world: World) -> None:
    """It finds what a monitor with a fault would leave behind."""
    domain = world.monitor.domains[0]
    frame, place = frame_of(domain, PAGE), table_of(domain, PAGE)
    other = world.monitor.domains[1].memory[9]
    write = world.below.memory.store
    for wrong in (domain.directory << 12 | 3, other << 12 | 3, 0, frame << 12 | 1):
        write(place, 4, wrong)
        assert list(violations(world.monitor))
    write(place, 4, frame << 12 | 3)
    holds(world)
    world.monitor.frames[frame].kind = Kind.PAGE_TABLE
    assert list(violations(world.monitor))


def _owns_everything(table: FrameTable, _: int, number: int) -> Frame:
    return table.frames[number % len(table.frames)]


def _takes_anything(
    table: FrameTable, number: int, kind: Kind, validate: Validate | None = None
) -> None:
    frame = table.frames[number]
    frame.kind, frame.typed = kind, frame.typed + 1


def _releases_nothing(_: PageTables, __: int, ___: Kind) -> None:
    return


def _places_everywhere(memory: GuestMemory, address: int, size: int, access: int) -> list[object]:
    linear = memory._linear
    pieces = list(pieces_of(address & 0xFFFFFFFF, size))
    found = [linear.translate(start, access) for start, _ in pieces]
    if any(isinstance(where, Fault) for where in found):
        raise Refusal(Errno.EFAULT)
    return [(where, count) for where, (_, count) in zip(found, pieces, strict=True)]


SEEDED = {
    "whose a frame is": (FrameTable, "of", _owns_everything),
    "what a frame is": (FrameTable, "take", _takes_anything),
    "references of a table that ends": (PageTables, "_release", _releases_nothing),
    "where the monitor's addresses begin": (GuestMemory, "_places", _places_everywhere),
    "what a descriptor may be": (descriptors, "checked", lambda low, high: (low, high)),
    "whether a frame is in use": (FrameTable, "is_free", lambda _, __: True),
    "whose a table entry is": (page_tables, "MONITORS", 1024),
}


@pytest.mark.parametrize(
    "fault",
    [n if n.startswith("wh") else pytest.param(n, marks=pytest.mark.heavy) for n in SEEDED],
)
def test_a_seeded_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the audit, by the other domain's memory, by what the fuzz itself is refused, or as an
    exception of the host."""
    place, name, wrong = SEEDED[fault]
    monkeypatch.setattr(place, name, wrong)
    if place is descriptors:
        monkeypatch.setattr(audit, "checked", checked)
    with pytest.raises((AssertionError, IndexError, struct.error, TypeError, KeyError, Refusal)):
        fuzz(1 << 33, 40_000)


def test_the_reference_engine_runs_hostile_code_alike() -> None:
    digests = []
    for engine in (None, Reference()):
        chosen = {} if engine is None else {"engine": engine}
        world = World({0: kernel(HOSTILE, 4711)}, quantum=400, **chosen)
        world.partitions.run(1)
        digests.append(world.runs[0].digest())
    assert digests[0] == digests[1]


def test_vmm_partition_runs_guests_of_the_pc_side_by_side() -> None:
    done = vmm(
        "partition", PROGRAMS / "paging.asm", PROGRAMS / "timer.asm", "--monitor", "interpretation",
        "--engine", "python", "--max-instructions", 300, "--quantum", 64, "--share", "timer=2",
        "--memory", "paging=4M", "--memory", "timer=4M", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stderr)
    assert facts["resource_control"]
    assert [row["instructions"] for row in facts["partitions"]] == [300, 300]
    assert all(row["equivalent"] for row in facts["partitions"])
