"""ARMv7-A without extensions (ARM ARM, DDI 0406, A8 and B9): what Dall and Nieh list (OLS 2010).

s is Supervisor mode, u is User mode; of the other modes only the user's banked stack pointer is
kept (`usp`), and one SPSR. CPSR and SPSR hold N Z C V in bits 3:0, I in bit 4, the mode from bit 5
up. r6 is the link register. Where the manual says UNPREDICTABLE in User mode, and most do, the
instruction does the part of its work that a user may do.
"""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.toy.builder import ToyBuilder
from isa.toy.museum.paper import previous_space
from isa.toy.table import Row, instruction

I_BIT, MODE = 4, 5
CARRY = 1
BYTE = 8
LINK_REGISTER = 6
CPSR = "flags masked"

# -- data processing with S and Rd = PC ---------------------------------------------------------

Operation = Callable[[Bits, Bits, Bits], Bits]

OPERATIONS: dict[str, Operation] = {
    "AND": lambda a, b, c: a & b,
    "EOR": lambda a, b, c: a ^ b,
    "SUB": lambda a, b, c: a - b,
    "RSB": lambda a, b, c: b - a,
    "ADD": lambda a, b, c: a + b,
    "ADC": lambda a, b, c: a + b + c,
    "SBC": lambda a, b, c: a - b - (c ^ 1),
    "RSC": lambda a, b, c: b - a - (c ^ 1),
    "ORR": lambda a, b, c: a | b,
    "MOV": lambda a, b, c: b,
    "BIC": lambda a, b, c: a & ~b,
    "MVN": lambda a, b, c: ~b,
}
"""The twelve, of two registers and the carry."""


def _return_by(name: str, opcode: int, operation: Operation) -> Row:
    """Enter `name`S PC, ra, rb."""

    def jump(m: ToyBuilder) -> None:
        carry = m.system("flags").bit(CARRY).zext(m.shape.word)
        m.jump(operation(m.read("ra"), m.read("rb"), carry))

    def meaning(m: ToyBuilder) -> None:
        jump(m)
        _set_cpsr(m, m.system("spsr"))

    meaning.__doc__ = (
        f"P := {name} of ra and rb, and CPSR := SPSR: how ARM returns from exceptions."
    )
    jump.__doc__ = "UNPREDICTABLE in User mode, which has no SPSR: a jump."
    row = instruction(f"{name}S_PC", opcode, "ra, rb", user="partly", registers=f"{CPSR} spsr")(
        meaning
    )
    row.partly(jump)
    return row


RETURNS = tuple(
    _return_by(name, 0xD0 + n, operation) for n, (name, operation) in enumerate(OPERATIONS.items())
)

# -- status registers ---------------------------------------------------------------------------


@instruction("CPS", 0xDC, "natural", user="ignored", registers="masked")
def cps(m: ToyBuilder) -> None:
    """Change processor state: I := bit 0 of the number, the mode := the bits above. A NOP in u."""
    number = m.read("natural")
    m.set_system("masked", number)
    m.put(m.registers.m, number.bits(1, m.shape.m_bits))


@instruction("MRS", 0xDD, "rd, natural", user="partly", registers=f"{CPSR} spsr")
def mrs(m: ToyBuilder) -> None:
    """Move from status register: rd := CPSR, or SPSR if the number (the encoding's R) is odd."""
    m.write("rd", _is_spsr(m).select(m.system("spsr"), _cpsr(m)))


@mrs.partly
def mrs_in_user_mode(m: ToyBuilder) -> None:
    """CPSR with its mode and I bits; reading SPSR is UNPREDICTABLE: CPSR too."""
    m.write("rd", _cpsr(m))


@instruction("MSR", 0xDE, "ra, natural", user="partly", registers=f"{CPSR} spsr")
def msr(m: ToyBuilder) -> None:
    """Move to status register: CPSR := ra, or SPSR if the number (the encoding's R) is odd."""
    is_spsr, value = _is_spsr(m), m.read("ra")
    with m.when(is_spsr):
        m.set_system("spsr", value)
    with m.when(~is_spsr):
        _set_cpsr(m, value)


@msr.partly
def msr_in_user_mode(m: ToyBuilder) -> None:
    """Only the flags change, without a word; writing SPSR is UNPREDICTABLE: nothing."""
    with m.when(~_is_spsr(m)):
        m.set_system("flags", m.read("ra"))


# -- exception frames ---------------------------------------------------------------------------


@instruction("RFE", 0xDF, "[ra+offset]", user="partly", registers=CPSR)
def rfe(m: ToyBuilder) -> None:
    """Return from exception: P and CPSR := two words."""
    _set_cpsr(m, _load_p(m))


@rfe.partly
def rfe_in_user_mode(m: ToyBuilder) -> None:
    """UNPREDICTABLE in User mode: P and the flags."""
    m.set_system("flags", _load_p(m))


def _load_p(m: ToyBuilder) -> Bits:
    address = m.address()
    m.jump(m.load(address))
    return m.load(address + 1)


@instruction("SRS", 0xE0, "[ra+offset]", user="ignored", registers="spsr")
def srs(m: ToyBuilder) -> None:
    """Store return state: two words := r6 and SPSR. UNPREDICTABLE in User mode: nothing."""
    address = m.address()
    m.store(address, m.get(m.registers.general.members[LINK_REGISTER]))
    m.store(address + 1, m.system("spsr"))


# -- load and store multiple, of one register ---------------------------------------------------


@instruction("LDM2", 0xE1, "[ra+offset]", user="partly", registers="usp")
def ldm2(m: ToyBuilder) -> None:
    """LDM (2), user registers: the user's stack pointer := a word."""
    m.set_system("usp", m.load(m.address()))


@ldm2.partly
def ldm2_in_user_mode(m: ToyBuilder) -> None:
    """UNPREDICTABLE in User mode: the register that is in use."""
    m.put(m.stack_pointer, m.load(m.address()))


@instruction("LDM3", 0xE2, "[ra+offset]", user="partly", registers=f"{CPSR} spsr")
def ldm3(m: ToyBuilder) -> None:
    """LDM (3), with the PC: P := a word, and CPSR := SPSR."""
    m.jump(m.load(m.address()))
    _set_cpsr(m, m.system("spsr"))


@ldm3.partly
def ldm3_in_user_mode(m: ToyBuilder) -> None:
    """UNPREDICTABLE in User mode, which has no SPSR: a jump."""
    m.jump(m.load(m.address()))


@instruction("STM2", 0xE3, "[ra+offset]", user="partly", registers="usp")
def stm2(m: ToyBuilder) -> None:
    """STM (2), user registers: a word := the user's stack pointer."""
    m.store(m.address(), m.system("usp"))


@stm2.partly
def stm2_in_user_mode(m: ToyBuilder) -> None:
    """UNPREDICTABLE in User mode: the register that is in use."""
    m.store(m.address(), m.get(m.stack_pointer))


# -- unprivileged access ------------------------------------------------------------------------
# The toy has no permissions that differ by mode. A supervisor's access "as if by the user" goes to
# the user's half of the window, as MFPI's does; in User mode each is an ordinary load or store.


@instruction("LDRT", 0xE4, "rd, [ra+offset]")
def ldrt(m: ToyBuilder) -> None:
    """Load register with the user's translation: rd := a word."""
    m.write("rd", m.load(previous_space(m)))


@instruction("LDRBT", 0xE5, "rd, [ra+offset]")
def ldrbt(m: ToyBuilder) -> None:
    """Load register byte with the user's translation: rd := the low byte of a word."""
    m.write("rd", m.load(previous_space(m)).low(BYTE).zext(m.shape.word))


@instruction("STRT", 0xE6, "rd, [ra+offset]")
def strt(m: ToyBuilder) -> None:
    """Store register with the user's translation: a word := rd."""
    m.store(previous_space(m), m.read("rd"))


@instruction("STRBT", 0xE7, "rd, [ra+offset]")
def strbt(m: ToyBuilder) -> None:
    """Store register byte with the user's translation: the low byte of a word := that of rd."""
    address = previous_space(m)
    rest = m.load(address).bits(BYTE, m.shape.word - BYTE)
    m.store(address, rest.concat(m.read("rd").low(BYTE)))


# -- CPSR ---------------------------------------------------------------------------------------


def _is_spsr(m: ToyBuilder) -> Bits:
    return m.read("natural").bit(0)


def _cpsr(m: ToyBuilder) -> Bits:
    mode = m.get(m.registers.m).zext(m.shape.word)
    return mode << MODE | m.system("masked") << I_BIT | m.system("flags")


def _set_cpsr(m: ToyBuilder, value: Bits) -> None:
    m.put(m.registers.m, value.bits(MODE, m.shape.m_bits))
    m.set_system("masked", value >> I_BIT)
    m.set_system("flags", value)
