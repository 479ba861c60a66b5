"""The instruction set in VMX non-root operation: what each instruction's controls make it do.

SDM volume 3, section 25.1. An instruction that exits ends, before it does anything, with the fault
`VM_EXIT`, whose code is the exit reason and whose address the exit qualification; faults that have
priority (section 25.1.1) come first. HLT and port accesses leave the engine anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import astuple, dataclass
from functools import cache, partial
from typing import Final, cast

from isa.bits import Bits
from isa.registers import PackedRegister
from isa.trace import Trace
from isa.x86.builder import Operand, X86Builder, is_special, special_name
from isa.x86.form import Form
from isa.x86.machine import X86
from isa.x86.meanings.control_registers import packed
from isa.x86.registers import CR0, CR4, PCE, SEGMENTS, TSD
from isa.x86.tracing import trace, trace_behind
from vmm.pc.vmx.controls import Primary, Secondary
from vmm.pc.vmx.reasons import CLTS, LMSW, MOV_FROM, MOV_TO, Reason, control_register

VM_EXIT: Final = 0x101
"""The fault by which an instruction exits: no exception has that number."""
_TS: Final = 1 << 3


@dataclass(frozen=True, slots=True)
class Controls:
    """What decides: the processor-based controls, and which bits of CR0 and CR4 are the host's."""

    primary: int
    secondary: int
    cr0_mask: int
    cr4_mask: int


class NonRoot(X86):
    """The x86 of a guest."""

    def __init__(self, model: str, controls: Controls) -> None:
        super().__init__(model)
        self.controls = controls
        numbers = " ".join(f"{value:x}" for value in astuple(controls))
        self.fingerprint = f"{self.fingerprint} non-root {numbers}"

    def trace(self, form: Hashable) -> Trace:
        """The form's trace, with its exit before it."""
        return _trace(cast(Form, form), self.controls)


@cache
def _trace(form: Form, controls: Controls) -> Trace:
    exits = EXITS.get(form.mnemonic)
    if exits is None:
        return trace(form)
    return trace_behind(form, partial(exits, controls=controls))


# -- which instructions exit, and when -------------------------------------------------------------

Exits = Callable[..., bool]
"""Whether the instruction ends there, whatever its meaning is."""


def leave(m: X86Builder, reason: Reason, qualification: Bits | int = 0) -> bool:
    """Exit, whatever comes behind."""
    told = Bits.of(qualification, 32) if isinstance(qualification, int) else qualification
    m.fault(VM_EXIT, int(reason), told)
    return True


def leave_when(m: X86Builder, condition: Bits, reason: Reason, qualification: Bits | int) -> bool:
    """Exit if a condition is 1."""
    if condition.is_const and not condition.value:
        return False
    if condition.is_const:
        return leave(m, reason, qualification)
    with m.when(condition):
        leave(m, reason, qualification)
    return False


def _at_level_0(m: X86Builder) -> bool:
    """Elsewhere #GP has priority."""
    return not m.mode.cpl


def always(m: X86Builder, *, controls: Controls, reason: Reason) -> bool:
    """CPUID, at any CPL."""
    return leave(m, reason)


def privileged(
    m: X86Builder, *, controls: Controls, reason: Reason, primary: int = 0, secondary: int = 0
) -> bool:
    """What is for CPL 0 anyway; without a control it exits always."""
    wanted = controls.primary & primary or controls.secondary & secondary
    exits = _at_level_0(m) and bool(wanted or not primary | secondary)
    return exits and leave(m, reason)


def counter(
    m: X86Builder, *, controls: Controls, reason: Reason, primary: int, allowed: bool
) -> bool:
    """RDTSC and RDPMC: #GP has priority where CR4 forbids them to programs."""
    if not controls.primary & primary:
        return False
    free = Bits.of(1, 1)
    if m.mode.cpl:
        free = m.get(PCE) if allowed else ~m.get(TSD)
    return leave_when(m, free, reason, 0)


def table(m: X86Builder, *, controls: Controls, reason: Reason, loads: bool) -> bool:
    """LGDT and its like, by one control; those that only store do so at any CPL."""
    wanted = controls.secondary & Secondary.DESCRIPTOR_TABLE_EXITING
    allowed = (_at_level_0(m) or not loads) and not _is_undefined(m, reason)
    return bool(wanted and allowed) and leave(m, reason)


def _is_undefined(m: X86Builder, reason: Reason) -> bool:
    """LTR and its like in real-address and virtual-8086 mode."""
    return reason is Reason.LDTR_TR and m.mode.segments_are_paragraphs


def invlpg(m: X86Builder, *, controls: Controls) -> bool:
    """The qualification is the linear address."""
    page = m.operands[0]
    wanted = controls.primary & Primary.INVLPG_EXITING
    if not wanted or not _at_level_0(m) or not page.is_memory:
        return False
    base = m.get(SEGMENTS[m.segment_of(page)].base)
    return leave(m, Reason.INVLPG, base + m.address(page))


def clts(m: X86Builder, *, controls: Controls) -> bool:
    """Exits if the host owns TS and shows it as 1."""
    if not controls.cr0_mask & _TS or not _at_level_0(m):
        return False
    return leave_when(m, packed(m, CR0).bit(3), Reason.CR_ACCESS, control_register(0, CLTS))


def lmsw(m: X86Builder, *, controls: Controls) -> bool:
    """Exits if it would change one of PE MP EM TS that the host owns; PE cannot be cleared."""
    if not controls.cr0_mask & 0xF or not _at_level_0(m):
        return False
    value, now = m.read_selector(m.operands[0]).zext(32), packed(m, CR0)
    changed = ((value | now & 1) ^ now) & controls.cr0_mask & 0xF
    told = Bits.of(control_register(0, LMSW), 32) | value << 16
    return leave_when(m, changed != 0, Reason.CR_ACCESS, told)


def mov(m: X86Builder, *, controls: Controls) -> bool:
    """MOV of control and debug registers."""
    dst, src = m.operands
    if not (is_special(dst) or is_special(src)) or not _at_level_0(m):
        return False
    to = is_special(dst)
    name = special_name(dst if to else src)
    general = m.field(f"reg{int(to)}", 3).zext(32) << 8
    if name.startswith("dr"):
        wanted = controls.primary & Primary.MOV_DR_EXITING
        told = general | int(name[2:]) | int(not to) << 4
        return bool(wanted) and leave(m, Reason.DR_ACCESS, told)
    if name not in ("cr0", "cr3", "cr4"):
        return False
    told = general | control_register(int(name[2:]), MOV_TO if to else MOV_FROM)
    if name == "cr3":
        bit = Primary.CR3_LOAD_EXITING if to else Primary.CR3_STORE_EXITING
        return bool(controls.primary & bit) and leave(m, Reason.CR_ACCESS, told)
    return to and _masked(m, name, src, controls, told)


def _masked(m: X86Builder, name: str, value: Operand, controls: Controls, told: Bits) -> bool:
    """CR0 and CR4 exit if a bit that the host owns shall be other than what it shows."""
    register: PackedRegister = CR0 if name == "cr0" else CR4
    mask = controls.cr0_mask if name == "cr0" else controls.cr4_mask
    changed = (m.read(value) ^ packed(m, register)) & mask
    return leave_when(m, changed != 0, Reason.CR_ACCESS, told)


EXITS: Final[dict[str, Exits]] = {
    "cpuid": partial(always, reason=Reason.CPUID),
    "invd": partial(privileged, reason=Reason.INVD),
    "wbinvd": partial(privileged, reason=Reason.WBINVD, secondary=Secondary.WBINVD_EXITING),
    "rdmsr": partial(privileged, reason=Reason.RDMSR),
    "wrmsr": partial(privileged, reason=Reason.WRMSR),
    "rdtsc": partial(
        counter, reason=Reason.RDTSC, primary=Primary.RDTSC_EXITING, allowed=False
    ),
    "rdpmc": partial(counter, reason=Reason.RDPMC, primary=Primary.RDPMC_EXITING, allowed=True),
    "invlpg": invlpg, "clts": clts, "lmsw": lmsw, "mov": mov,
    **{name: partial(table, reason=Reason.GDTR_IDTR, loads=name[0] == "l")
       for name in ("lgdt", "lidt", "sgdt", "sidt")},
    **{name: partial(table, reason=Reason.LDTR_TR, loads=name[0] == "l")
       for name in ("lldt", "ltr", "sldt", "str")},
}  # fmt: skip
"""By mnemonic: what comes before an instruction's meaning. There are no MSR bitmaps, so RDMSR and
WRMSR always exit."""
