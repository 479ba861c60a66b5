"""VMX: what the manual says of fields, controls, failures and exits; and a million random calls."""

from __future__ import annotations

from random import Random

import pytest

from emu.engines.reference import Reference
from emu.pc.machine import PcMachine
from emu.state import State
from isa.x86.machine import X86
from isa.x86.paging import ACCESSED, DIRTY
from isa.x86.registers import CR3, PG
from tests.pc_monitor_guests import EPILOGUE, PROLOGUE, binary, guest, program, system
from tests.test_pc_monitors import diverges
from vmm.pc import HardwareAssist, Monitor, ShadowedAssist
from vmm.pc.guest import Guest
from vmm.pc.vmx import reasons
from vmm.pc.vmx.calls import ENTRY_FAILED, NO_POINTER, Vmx
from vmm.pc.vmx.controls import CAPABILITIES, REVISION, Primary
from vmm.pc.vmx.ept import READ, WRITE
from vmm.pc.vmx.errors import FAIL_INVALID, FAULT, SUCCEED, Error
from vmm.pc.vmx.fields import EXIT_INFORMATION, Field, area, width
from vmm.pc.vmx.guest_area import GuestArea, attributes_of, rights
from vmm.pc.vmx.nested_paging import CountingEvaluation, NestedPaging
from vmm.pc.vmx.nested_walk import nested, radix, unpaged
from vmm.pc.vmx.vmcs import Vmcs

ROOT, REGION, OTHER = 0x1000, 0x2000, 0x3000
OWN = 0x10000  # the monitor's memory ends there
LAUNCHABLE = {
    Field.HOST_CR0: 0x80010021, Field.HOST_CR4: 1 << 13, Field.HOST_CS_SELECTOR: 8,
    Field.HOST_SS_SELECTOR: 16, Field.HOST_TR_SELECTOR: 24, Field.GUEST_CR0: 0x80010021,
    Field.GUEST_CR4: 1 << 13, Field.GUEST_EFLAGS: 2, Field.GUEST_CS_RIGHTS: 0xC09B,
    Field.GUEST_TR_RIGHTS: 0x8B, Field.GUEST_LDTR_RIGHTS: 1 << 16, Field.LINK_POINTER: 0xFFFFFFFF,
    Field.LINK_POINTER + 1: 0xFFFFFFFF,
    **{Field[f"GUEST_{name}_RIGHTS"]: 0xC093 for name in ("SS", "DS", "ES", "FS", "GS")},
    **{field: capability.always for field, capability in CAPABILITIES.items()},
}  # fmt: skip
PAGINGS = (HardwareAssist, ShadowedAssist)


class Processor:
    """A machine, and VMX on it; `state` is the guest's registers."""

    def __init__(self) -> None:
        self.machine = PcMachine(Reference(), memory=1 << 20)
        self.state = State(X86("pentium2"), {})
        self.vmx = Vmx(self.machine.memory, 0x1000, OWN, GuestArea(self.state, own_cr3=True))
        for address in (ROOT, REGION, OTHER):
            self.machine.memory.store(address, 4, REVISION)

    def ready(self) -> Vmx:
        """With a current VMCS that can be launched."""
        vmx = self.vmx
        assert [vmx.vmxon(ROOT), vmx.vmclear(REGION), vmx.vmptrld(REGION)] == [SUCCEED] * 3
        for field, value in LAUNCHABLE.items():
            assert vmx.vmwrite(field, value) == SUCCEED
        return vmx


# -- the manual's numbers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "encoding", "bits"),
    [
        ("GUEST_ES_SELECTOR", 0x800, 16), ("EPT_POINTER", 0x201A, 64),
        ("EXCEPTION_BITMAP", 0x4004, 32), ("INSTRUCTION_ERROR", 0x4400, 32),
        ("EXIT_REASON", 0x4402, 32), ("GUEST_TR_RIGHTS", 0x4822, 32),
        ("EXIT_QUALIFICATION", 0x6400, 32), ("GUEST_EIP", 0x681E, 32), ("HOST_EIP", 0x6C16, 32),
    ],
)  # fmt: skip
def test_encodings_tell_the_width(field: str, encoding: int, bits: int) -> None:
    assert (int(Field[field]), width(Field[field])) == (encoding, bits)


def test_access_rights_are_attributes_spread() -> None:
    assert rights(0xC9B) == 0xC09B
    assert rights(0) == 1 << 16
    assert all(attributes_of(rights(a)) == a for a in range(1, 1 << 12))


# -- calls and how they fail -----------------------------------------------------------------------


def test_nothing_works_outside_of_vmx_operation() -> None:
    vmx = Processor().vmx
    assert [vmx.vmclear(REGION), vmx.vmptrld(REGION), vmx.vmlaunch(), vmx.vmxoff()] == [FAULT] * 4
    assert vmx.vmread(Field.EXIT_REASON) == (FAULT, 0)
    assert vmx.vmxon(REGION + 8) == FAIL_INVALID
    assert vmx.vmxon(0x8000) == FAIL_INVALID  # another revision
    assert vmx.vmxon(ROOT) == SUCCEED
    assert vmx.vmxon(ROOT) == FAIL_INVALID  # there is no current VMCS to tell more
    assert vmx.vmptrst() == (SUCCEED, NO_POINTER)
    assert vmx.vmread(Field.EXIT_REASON) == (FAIL_INVALID, 0)


def test_failures_have_their_numbers() -> None:
    vmx = Processor().ready()
    failures = {
        Error.VMCLEAR_ADDRESS: vmx.vmclear(REGION + 1),
        Error.VMCLEAR_VMXON_POINTER: vmx.vmclear(ROOT),
        Error.VMPTRLD_ADDRESS: vmx.vmptrld(OWN),  # a guest's memory
        Error.VMPTRLD_VMXON_POINTER: vmx.vmptrld(ROOT),
        Error.VMPTRLD_REVISION: vmx.vmptrld(0x8000),
        Error.UNSUPPORTED_FIELD: vmx.vmwrite(0x6C18, 0),
        Error.READ_ONLY_FIELD: vmx.vmwrite(Field.EXIT_REASON, 0),
        Error.VMXON_IN_ROOT: vmx.vmxon(ROOT),
        Error.VMRESUME_NOT_LAUNCHED: vmx.vmresume(),
        Error.VMCALL_IN_ROOT: vmx.vmcall(),
        Error.INVEPT_OPERAND: vmx.invept(3, 0),
    }
    assert list(failures) == list(failures.values())
    assert vmx.vmread(Field.INSTRUCTION_ERROR) == (SUCCEED, Error.INVEPT_OPERAND)


WRONG = [
    (Field.PIN_BASED_CONTROLS, 0, Error.ENTRY_CONTROLS),
    (Field.PROCESSOR_BASED_CONTROLS, 0x04006172 | 1 << 19, Error.ENTRY_CONTROLS),
    (Field.CR3_TARGET_COUNT, 5, Error.ENTRY_CONTROLS),
    (Field.EXIT_CONTROLS, 0x36DFB | 1 << 9, Error.ENTRY_CONTROLS),
    (Field.ENTRY_INTERRUPTION, 1 << 31 | 1 << 8, Error.ENTRY_CONTROLS),
    (Field.ENTRY_INTERRUPTION, 1 << 31 | 3 << 8 | 14, Error.ENTRY_CONTROLS),  # #PF has a code
    (Field.HOST_CR0, 0x21, Error.ENTRY_HOST_STATE),
    (Field.HOST_TR_SELECTOR, 0, Error.ENTRY_HOST_STATE),
    (Field.GUEST_CR0, 0, ENTRY_FAILED), (Field.GUEST_EFLAGS, 0, ENTRY_FAILED),
    (Field.GUEST_TR_RIGHTS, 0x89, ENTRY_FAILED), (Field.GUEST_ACTIVITY, 2, ENTRY_FAILED),
    (Field.LINK_POINTER, 0, ENTRY_FAILED), (Field.GUEST_CS_SELECTOR, 3, ENTRY_FAILED),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "outcome"), WRONG)
def test_an_entry_checks_its_fields(field: Field, value: int, outcome: int) -> None:
    vmx = Processor().ready()
    right = vmx.vmread(field)[1]
    assert vmx.vmwrite(field, value) == SUCCEED
    assert vmx.vmlaunch() == outcome
    if outcome == ENTRY_FAILED:
        assert vmx.vmread(Field.EXIT_REASON) == (SUCCEED, 1 << 31 | 33)
    vmx.vmwrite(field, right)
    if field is Field.LINK_POINTER:  # which the lower half has cleared
        vmx.vmwrite(field + 1, 0xFFFFFFFF)
    assert vmx.vmlaunch() == SUCCEED


def test_a_launch_makes_it_resumable_until_it_is_cleared() -> None:
    vmx = Processor().ready()
    assert vmx.vmlaunch() == SUCCEED
    assert vmx.vmread(Field.GUEST_EIP) == (FAULT, 0)  # the host is not at work
    vmx.exit(reasons.Reason.CPUID)
    assert vmx.vmlaunch() == Error.VMLAUNCH_NOT_CLEAR
    assert vmx.vmresume() == SUCCEED
    vmx.exit(reasons.Reason.HLT)
    assert vmx.vmread(Field.EXIT_REASON) == (SUCCEED, 12)
    assert vmx.vmclear(REGION) == SUCCEED
    assert vmx.vmptrst() == (SUCCEED, NO_POINTER)
    assert vmx.vmptrld(REGION) == SUCCEED
    assert vmx.vmresume() == Error.VMRESUME_NOT_LAUNCHED


def test_the_guest_state_area_is_the_registers() -> None:
    processor = Processor()
    vmx, state = processor.ready(), processor.state
    vmx.vmwrite(Field.GUEST_EIP, 0x1234)
    vmx.vmwrite(Field.GUEST_FS_BASE, 0x5678)
    assert vmx.vmlaunch() == SUCCEED
    assert (state["eip"], state["fs_base"], state["cs_attributes"]) == (0x1234, 0x5678, 0xC9B)
    state["eip"], state["gdt_base"] = 0x4321, 0x8765
    vmx.exit(reasons.Reason.CPUID)
    assert vmx.vmread(Field.GUEST_EIP) == (SUCCEED, 0x4321)
    assert vmx.vmclear(REGION) == SUCCEED
    assert Vmcs(processor.machine.memory, REGION).read(Field.GUEST_GDTR_BASE) == 0x8765


# -- random calls ----------------------------------------------------------------------------------


def fuzz(seed: int, calls: int) -> int:
    """Random calls; how many entries there were. Whatever they were, nothing but the regions that
    they named has changed, and each answered with a number."""
    processor, random = Processor(), Random(seed)
    vmx, memory = processor.vmx, processor.machine.memory.physical
    memory.array[OWN:] = 0x5A
    named = {ROOT, REGION, OTHER}
    outcomes = {SUCCEED, FAIL_INVALID, FAULT, ENTRY_FAILED, *Error}
    encodings = [*map(int, Field), *(field + 1 for field in Field)]
    entries = 0

    def address() -> int:
        kind = random.randrange(8)
        if kind < 5:
            return random.choice((ROOT, REGION, OTHER))
        return random.getrandbits(32) if kind < 7 else random.getrandbits(8) << 12

    def encoding() -> int:
        return random.choice(encodings) if random.randrange(8) else random.getrandbits(16)

    def value() -> int:
        return random.getrandbits(32) if random.randrange(4) else 1 << random.randrange(32)

    def pointed(call: object, at: int) -> int:
        outcome: int = call(at)  # type: ignore[operator]
        if outcome == SUCCEED:
            named.add(at)
        return outcome

    def enter() -> int:
        """Everything as it must be, unless the root lies in the way: random fields rarely are."""
        vmx.vmxon(ROOT)
        vmx.vmclear(REGION)
        vmx.vmptrld(REGION)
        for field, right in [*((field, 0) for field in Field), *LAUNCHABLE.items()]:
            vmx.vmwrite(field, right)
        return vmx.vmlaunch()

    choices = [
        (30, lambda: vmx.vmwrite(encoding(), value())), (30, lambda: vmx.vmread(encoding())[0]),
        (8, lambda: pointed(vmx.vmptrld, address())), (4, lambda: pointed(vmx.vmclear, address())),
        (8, vmx.vmlaunch), (8, vmx.vmresume), (3, lambda: pointed(vmx.vmxon, address())),
        (1, vmx.vmxoff), (2, lambda: vmx.vmptrst()[0]), (1, vmx.vmcall), (1, enter),
        (2, lambda: vmx.invept(random.randrange(5), value())),
    ]  # fmt: skip
    weights, functions = zip(*choices, strict=True)
    for function in random.choices(functions, weights, k=calls):
        outcome = function()
        assert outcome in outcomes
        if vmx.entered:
            entries += 1
            processor.state.set_values([random.getrandbits(1)] * len(processor.state.values))
            vmx.exit(random.choice(list(reasons.Reason)), value(), random.getrandbits(32))
    outside = [n for n in range(0x1000, OWN, 0x1000) if n not in named]
    assert not any(memory.array[n : n + 0x1000].any() for n in outside)
    assert (memory.array[OWN : 1 << 20] == 0x5A).all()
    assert not memory.array[:0x1000].any()
    return entries


def test_random_calls_are_refused_clearly_and_change_nothing_else() -> None:
    assert fuzz(1, 20_000) > 0


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(4))
def test_a_million_random_calls(seed: int) -> None:
    assert fuzz(100 + seed, 260_000) > 100


# -- nested paging's walk --------------------------------------------------------------------------


def references(trace: object, fields: dict[str, int], memory: PcMachine) -> tuple[int, int]:
    """How many loads a walk does, and its value."""
    evaluation = CountingEvaluation(memory.state, fields)
    assert evaluation.region(trace.region) is None  # type: ignore[attr-defined]
    return evaluation.references, evaluation.values[id(trace.value)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("guest_levels", [1, 2, 3, 4])
@pytest.mark.parametrize("host_levels", [1, 2, 3, 4, 5])
def test_a_walk_in_two_dimensions(guest_levels: int, host_levels: int) -> None:
    """(M + 1)(N + 1) - 1 loads, counted while the trace is carried out over real tables: each table
    of either dimension maps, by entry 0, its own address' page."""
    machine = PcMachine(Reference(), memory=1 << 20)
    for level in range(host_levels):  # the host's tables; the last one maps 0 .. 2 MiB as they are
        at = 0x20000 + 0x1000 * level
        for n in range(512):
            leads = n << 12 if level == host_levels - 1 else at + 0x1000
            machine.memory.store(at + 8 * n, 8, leads | 7)
    for level in range(guest_levels):
        at = 0x40000 + 0x1000 * level
        for n in range(512):
            machine.memory.store(at + 8 * n, 8, (at + 0x1000) | 7)
    fields = {"linear": 0x1234, "write": 0, "user": 0, "root": 0x20000, "table": 0x40000}
    found, value = references(radix(guest_levels, host_levels), fields, machine)
    assert found == (guest_levels + 1) * (host_levels + 1) - 1
    assert value == 0x40000 + 0x1000 * guest_levels + 0x234
    if guest_levels == host_levels == 4:
        assert found == 24


@pytest.mark.parametrize(
    ("rights", "marked"), [(READ | WRITE, 1 << DIRTY | 1 << ACCESSED), (READ, 0)]
)
def test_tables_in_rom_are_not_marked(rights: int, marked: int) -> None:
    """A guest may keep its page tables where nobody can write."""
    machine = PcMachine(Reference(), memory=1 << 20)
    memory = machine.memory
    for n in range(512):  # the host's only table: as it is, 0x40000 and 0x41000 by `rights`
        memory.store(0x20000 + 8 * n, 8, n << 12 | (rights if n in (0x40, 0x41) else 7))
    memory.store(0x40000, 4, 0x41007)
    memory.store(0x41000 + 4 * 1, 4, 0x50007)
    for register, value in ((CR3, 0x40000), (PG, 1)):
        machine.state.write(register, value)
    fields = {"linear": 0x1234, "write": 1, "user": 0, "root": 0x20000}
    references(nested(1), fields, machine)
    assert memory.load(0x41004, 4) == 0x50007 | marked
    assert memory.load(0x40000, 4) == 0x41007 | marked & 1 << ACCESSED


def test_a_guest_of_32_bits_has_14_references() -> None:
    """Two levels over four, in the walks that a guest's run does; four while it has no paging."""
    virtual = program("paging").pair(HardwareAssist).virtual
    virtual.run(virtual.state.count + 20_000)
    paging = virtual.monitor.paging  # type: ignore[attr-defined]
    first = unpaged_references(paging)
    assert (virtual.state["pg"], first) == (1, 4)
    virtual.linear.invalidate(0, 2)
    walks, loads = paging.walks, paging.references
    virtual.state.memory["system"].load(virtual.state["esp"] - 4, 4)
    assert (paging.walks - walks, paging.references - loads) == (1, 14)


def unpaged_references(paging: NestedPaging) -> int:
    """Loads of a walk while the guest has no paging."""
    fields = {"linear": 0x100000, "write": 0, "user": 0, "root": paging.tables.root}
    evaluation = CountingEvaluation(paging._host, fields)
    assert evaluation.region(unpaged(4).region) is None
    return evaluation.references


# -- what exits ------------------------------------------------------------------------------------


def kernel(body: str) -> Guest:
    """A kernel that executes something in ring 0."""
    return guest(binary(f"{PROLOGUE}\n{body}\n{EPILOGUE}"))


def exits(monitor: type[Monitor], body: str) -> dict[str, int]:
    """What a kernel's code makes exit; it runs as on the bare machine."""
    found, pair = diverges(kernel(body), monitor)
    assert found is None, str(found)
    return dict(pair.virtual.monitor.efficiency.exits)


class _Curious(HardwareAssist):
    """Has exit whatever can."""

    primary = HardwareAssist.primary | int(
        Primary.RDTSC_EXITING | Primary.RDPMC_EXITING | Primary.MOV_DR_EXITING
        | Primary.INVLPG_EXITING | Primary.CR3_LOAD_EXITING | Primary.CR3_STORE_EXITING
    )  # fmt: skip
    secondary = HardwareAssist.secondary | 1 << 2 | 1 << 6
    exception_bitmap = (1 << 32) - 1


BODY = """  # behind LGDT, LIDT and LTR
    cpuid
    rdtsc
    invlpg [ebx]
    wbinvd
    mov eax, cr3
    mov cr3, eax
    mov eax, cr0
    mov cr0, eax
    mov ecx, 0x10
    rdmsr
    xor ecx, ecx
    rdpmc
    sgdt [ebx]
    str ax
    mov eax, dr7
    in al, 0x60
    pushfd
    popfd
    smsw eax
    lar eax, ecx
    mov eax, cs
"""
ALWAYS = {"CPUID (10)": 1, "RDMSR (31)": 1, "I/O instruction (30)": 1, "HLT (12)": 1}
TRANSLATIONS = {"INVLPG (14)": 1, "control register (28)": 2}
CURIOUS = {"RDTSC (16)": 1, "RDPMC (15)": 1, "WBINVD (54)": 1, "GDTR or IDTR (46)": 3,
           "LDTR or TR (47)": 2, "debug register (29)": 1}  # fmt: skip
KINDS = {
    HardwareAssist: ALWAYS, ShadowedAssist: ALWAYS | TRANSLATIONS,
    _Curious: ALWAYS | TRANSLATIONS | CURIOUS,
}  # fmt: skip


@pytest.mark.parametrize("monitor", KINDS)
def test_the_controls_decide_what_exits(monitor: type[Monitor]) -> None:
    """And nothing of the rest: flags, selectors and the machine status word are the guest's own."""
    found = {k: v for k, v in exits(monitor, BODY).items() if k[:3] not in ("EPT", "exc", "ext")}
    assert found == KINDS[monitor]


@pytest.mark.heavy
@pytest.mark.parametrize("body", ["ud2", "xor ecx, ecx\ndiv ecx", "mov eax, [0x7ffffffc]\nint 99"])
def test_the_bitmap_decides_which_exceptions_exit(body: str) -> None:
    assert exits(_Curious, body).get("exception (0)") == 1
    assert "exception (0)" not in exits(HardwareAssist, body)


def test_ports_exit_by_their_bitmap() -> None:
    """A port whose bit is 0 is the machine below's own."""

    class Bitmaps(HardwareAssist):
        """Lets port 80h through."""

        primary = HardwareAssist.primary | int(Primary.USE_IO_BITMAPS)

        def _roots(self) -> dict[Field, int]:
            """Every port but one exits."""
            memory, bitmap = self.below.memory, self.allocation.base - 4096
            memory.write(bitmap, b"\xff" * 4096)
            memory.store(bitmap + 0x80 // 8, 1, 0xFE)
            return super()._roots() | {Field.IO_BITMAP_A: bitmap, Field.IO_BITMAP_B: bitmap}

    virtual = kernel("out 0x81, al\nmov al, 0x42\nout 0x80, al\nin al, 0x80\nout 0x81, al").pair(
        Bitmaps
    ).virtual  # fmt: skip
    virtual.run(10_000)
    assert virtual.monitor.efficiency.exits["I/O instruction (30)"] == 2
    ports = (virtual.below.board, virtual.board)
    assert [board.read_port(0x80, 1, 0) == 0x42 for board in ports] == [True, False]
    assert virtual.state["eax"] & 0xFF == 0x42


def test_qualifications_are_the_manuals() -> None:
    assert reasons.control_register(3, reasons.MOV_TO, 5) == 0x503
    assert reasons.control_register(0, reasons.LMSW, source=0x12) == 0x120030
    assert reasons.io(0x3F8, 1, reads=True) == 0x3F80008
    virtual = kernel("mov ecx, cr3\nmov cr3, ecx").pair(ShadowedAssist).virtual
    virtual.run(10_000)
    vmcs = virtual.monitor._vmcs
    assert vmcs.read(Field.EXIT_REASON) == 12  # the HLT at its end
    assert area(Field.EXIT_REASON) == EXIT_INFORMATION


# -- equivalence -----------------------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["kernel", "paging", "timer"])
@pytest.mark.parametrize("monitor", PAGINGS)
def test_programs_are_as_on_the_bare_machine(name: str, monitor: type[Monitor]) -> None:
    found, _ = diverges(program(name), monitor, 60_000_000)
    assert found is None, str(found)


@pytest.mark.parametrize(
    "seed", [11, *(pytest.param(n, marks=pytest.mark.heavy) for n in (1, 9, 14))]
)
@pytest.mark.parametrize("monitor", PAGINGS)
def test_systems_from_a_seed(monitor: type[Monitor], seed: int) -> None:
    found, _ = diverges(system(seed), monitor, 600)
    assert found is None, str(found)
