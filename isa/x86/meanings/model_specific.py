"""Model-specific registers and counters: RDMSR WRMSR RDTSC RDPMC (SDM volume 4; volume 2)."""

from __future__ import annotations

from dataclasses import dataclass

from isa.bits import Bits
from isa.hints import Final
from isa.registers import Register
from isa.x86.builder import X86Builder
from isa.x86.meanings.privilege import require_level_0
from isa.x86.registers import (
    EAX,
    ECX,
    EDX,
    PCE,
    SYSENTER_CS,
    SYSENTER_EIP,
    SYSENTER_ESP,
    TSC_OFFSET,
    TSD,
)
from isa.x86.table import instruction
from isa.x86.vectors import GENERAL_PROTECTION


@dataclass(frozen=True, slots=True)
class ModelSpecific:
    """A model-specific register: kept in a register of ours, or constant; then writes are lost."""

    name: str
    register: Register | None = None
    constant: int = 0


TIME_STAMP_COUNTER: Final = 0x10

REGISTERS: Final = {
    TIME_STAMP_COUNTER: ModelSpecific("TIME_STAMP_COUNTER", TSC_OFFSET),
    0x17: ModelSpecific("PLATFORM_ID"),
    0x1B: ModelSpecific("APIC_BASE", constant=0xFEE00100),  # disabled, of the first processor
    0x3A: ModelSpecific("FEATURE_CONTROL"),
    0x8B: ModelSpecific("BIOS_SIGN_ID"),
    0xCE: ModelSpecific("PLATFORM_INFO"),
    0x140: ModelSpecific("MISC_FEATURES_ENABLES"),
    0x174: ModelSpecific("SYSENTER_CS", SYSENTER_CS),
    0x175: ModelSpecific("SYSENTER_ESP", SYSENTER_ESP),
    0x176: ModelSpecific("SYSENTER_EIP", SYSENTER_EIP),
    0x179: ModelSpecific("MCG_CAP"),
    0x17A: ModelSpecific("MCG_STATUS"),
    0x1A0: ModelSpecific("MISC_ENABLE", constant=1),  # fast strings
}

COUNTERS: Final = 2  # that RDPMC reads; nothing counts in them


@instruction("rdmsr", heading="RDMSR—Read From Model Specific Register", since="pentium")
def rdmsr(m: X86Builder) -> None:
    require_level_0(m)
    _require_known(m)
    value = Bits.of(0, 64)
    for number, found in REGISTERS.items():
        value = (m.get(ECX) == number).select(_read(m, found), value)
    _put_pair(m, value)


def _read(m: X86Builder, found: ModelSpecific) -> Bits:
    if found.register is TSC_OFFSET:
        return time_stamp(m)
    if found.register is None:
        return Bits.of(found.constant, 64)
    return m.get(found.register).zext(64)


def _require_known(m: X86Builder) -> None:
    known = Bits.of(0, 1)
    for number in REGISTERS:
        known = known | (m.get(ECX) == number)
    m.fault_when(~known, GENERAL_PROTECTION, 0)


def _put_pair(m: X86Builder, value: Bits) -> None:
    m.put(EAX, value.low(32))
    m.put(EDX, value.bits(32, 32))


@instruction("wrmsr", heading="WRMSR—Write to Model Specific Register", since="pentium")
def wrmsr(m: X86Builder) -> None:
    require_level_0(m)
    _require_known(m)
    value = m.get(EDX).concat(m.get(EAX))
    for number, found in REGISTERS.items():
        register = found.register
        if register is not None:
            new = value - m.clock() if register is TSC_OFFSET else value.low(register.width)
            m.put(register, (m.get(ECX) == number).select(new, m.get(register)))


def time_stamp(m: X86Builder) -> Bits:
    """The counter counts retired instructions: the only time a guest can see."""
    return m.clock() + m.get(TSC_OFFSET) if m.mode.has_system else m.clock()


@instruction("rdtsc", heading="RDTSC—Read Time-Stamp Counter", since="pentium")
def rdtsc(m: X86Builder) -> None:
    if m.mode.has_system and m.mode.cpl:
        m.fault_when(m.get(TSD), GENERAL_PROTECTION, 0)
    _put_pair(m, time_stamp(m))


@instruction("rdpmc", heading="RDPMC—Read Performance-Monitoring Counters", since="pentium2")
def rdpmc(m: X86Builder) -> None:
    if not m.mode.has_system:
        require_level_0(m)
    elif m.mode.cpl:
        m.fault_when(~m.get(PCE), GENERAL_PROTECTION, 0)
    m.fault_when(~m.get(ECX).ult(COUNTERS), GENERAL_PROTECTION, 0)
    _put_pair(m, Bits.of(0, 64))
