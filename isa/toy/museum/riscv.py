"""RISC-V, S-mode on U-mode (The RISC-V Instruction Set Manual, volume II, chapters 3 and 4).

A CSR's number counts modulo 4: 0 sscratch, 1 sepc, 2 sstatus (SPP in bit 8, 1 for S), 3 satp, which
is R: the bound in its low bits, the base above. ECALL is SVC.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.toy.builder import ToyBuilder
from isa.toy.registers import SUPERVISOR
from isa.toy.table import instruction

SPP = 8


@instruction("CSRRW", 0xB0, "rd, ra, natural", user="traps", registers="scratch epc spp")
def csrrw(m: ToyBuilder) -> None:
    """Atomic read and write of a CSR: rd := csr and csr := ra."""
    r, new, number = m.registers, m.read("ra"), m.read("natural").low(2)
    satp = m.get(r.l).concat(m.get(r.b)).zext(m.shape.word)
    sstatus = m.system("spp") << SPP
    old = [m.system("scratch"), m.system("epc"), sstatus, satp]
    odd, high = number.bit(0), number.bit(1)
    value = high.select(odd.select(old[3], old[2]), odd.select(old[1], old[0]))
    with m.when(number == 0):
        m.set_system("scratch", new)
    with m.when(number == 1):
        m.set_system("epc", new)
    with m.when(number == 2):
        m.set_system("spp", new >> SPP)
    with m.when(number == 3):
        m.set_relocation(new >> m.shape.b_bits, new)
    m.write("rd", value)


@instruction("SRET", 0xB1, user="traps", registers="epc spp")
def sret(m: ToyBuilder) -> None:
    """Return from a trap: P := sepc, the mode := SPP, SPP := U."""
    user = Bits.of(m.shape.least_privileged, m.shape.m_bits)
    to_supervisor = m.system("spp") != 0
    m.put(m.registers.m, to_supervisor.select(Bits.of(SUPERVISOR, user.width), user))
    m.jump(m.system("epc"))
    m.set_system("spp", Bits.of(0, m.shape.word))


@instruction("WFI", 0xB2, user="traps")
def wfi(m: ToyBuilder) -> None:
    """Wait for interrupt: a hint that may do nothing, which it does; illegal in U-mode here."""


@instruction("SFENCE_VMA", 0xB3, user="traps")
def sfence_vma(m: ToyBuilder) -> None:
    """Fence of translations: the toy caches none, so that nothing happens."""
