"""Ordinary instructions: data, arithmetic, memory, control flow and the supervisor call.

None looks at M or R except through the relocation of its addresses. Opcode 0 stays free, so that
running into zeros traps.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.toy.builder import ToyBuilder
from isa.toy.table import instruction
from isa.toy.traps import Trap

# -- data -------------------------------------------------------------------------------------


@instruction("NOP", 0x01)
def nop(m: ToyBuilder) -> None:
    """Do nothing."""


@instruction("MOV", 0x02, "rd, ra")
def mov(m: ToyBuilder) -> None:
    """rd := ra."""
    m.write("rd", m.read("ra"))


@instruction("LI", 0x03, "rd, number")
def li(m: ToyBuilder) -> None:
    """Load immediate: rd := number, sign-extended."""
    m.write("rd", m.read("number"))


@instruction("LUI", 0x04, "rd, natural")
def lui(m: ToyBuilder) -> None:
    """Load upper immediate: the high bits of rd := natural, the others 0; ORI fills them in."""
    m.write("rd", m.read("natural") << m.shape.word - m.shape.imm_bits)


@instruction("LD", 0x05, "rd, [ra+offset]")
def ld(m: ToyBuilder) -> None:
    """Load: rd := the word at ra + offset."""
    m.write("rd", m.load(m.address()))


@instruction("ST", 0x06, "rd, [ra+offset]")
def st(m: ToyBuilder) -> None:
    """Store: the word at ra + offset := rd."""
    m.store(m.address(), m.read("rd"))


@instruction("LDA", 0x07, "rd, address")
def lda(m: ToyBuilder) -> None:
    """Load absolute: rd := the word at address; a trap handler has no free base register."""
    m.write("rd", m.load(m.read("address")))


@instruction("STA", 0x08, "rd, address")
def sta(m: ToyBuilder) -> None:
    """Store absolute: the word at address := rd."""
    m.store(m.read("address"), m.read("rd"))


@instruction("PUSH", 0x09, "rd")
def push(m: ToyBuilder) -> None:
    """r7 := r7 - 1; the word at r7 := rd."""
    _push(m, m.read("rd"))


@instruction("POP", 0x0A, "rd")
def pop(m: ToyBuilder) -> None:
    """rd := the word at r7; r7 := r7 + 1 (unless rd is r7)."""
    m.write("rd", _pop(m))


def _push(m: ToyBuilder, value: Bits) -> None:
    top = m.get(m.stack_pointer) - 1
    m.store(top, value)
    m.put(m.stack_pointer, top)


def _pop(m: ToyBuilder) -> Bits:
    top = m.get(m.stack_pointer)
    value = m.load(top)
    m.put(m.stack_pointer, top + 1)
    return value


# -- arithmetic -------------------------------------------------------------------------------


@instruction("ADD", 0x10, "rd, ra, rb")
def add(m: ToyBuilder) -> None:
    """rd := ra + rb, modulo the word."""
    m.write("rd", m.read("ra") + m.read("rb"))


@instruction("ADDI", 0x11, "rd, ra, number")
def addi(m: ToyBuilder) -> None:
    """rd := ra + number."""
    m.write("rd", m.read("ra") + m.read("number"))


@instruction("SUB", 0x12, "rd, ra, rb")
def sub(m: ToyBuilder) -> None:
    """rd := ra - rb, modulo the word."""
    m.write("rd", m.read("ra") - m.read("rb"))


@instruction("MUL", 0x13, "rd, ra, rb")
def mul(m: ToyBuilder) -> None:
    """rd := the low word of ra × rb."""
    m.write("rd", m.read("ra") * m.read("rb"))


@instruction("MULI", 0x14, "rd, ra, number")
def muli(m: ToyBuilder) -> None:
    """rd := the low word of ra × number."""
    m.write("rd", m.read("ra") * m.read("number"))


@instruction("MULH", 0x15, "rd, ra, rb")
def mulh(m: ToyBuilder) -> None:
    """rd := the high word of ra × rb, both unsigned."""
    word = m.shape.word
    product = m.read("ra").zext(2 * word) * m.read("rb").zext(2 * word)
    m.write("rd", product.bits(word, word))


@instruction("DIV", 0x16, "rd, ra, rb")
def div(m: ToyBuilder) -> None:
    """rd := ra ÷ rb, signed, toward zero; arithmetic trap if rb is 0."""
    m.write("rd", m.read("ra").sdiv(_divisor(m)))


@instruction("MOD", 0x17, "rd, ra, rb")
def mod(m: ToyBuilder) -> None:
    """rd := the remainder of DIV, with the sign of ra; arithmetic trap if rb is 0."""
    m.write("rd", m.read("ra").srem(_divisor(m)))


@instruction("DIVU", 0x18, "rd, ra, rb")
def divu(m: ToyBuilder) -> None:
    """rd := ra ÷ rb, unsigned; arithmetic trap if rb is 0."""
    m.write("rd", m.read("ra").udiv(_divisor(m)))


@instruction("MODU", 0x19, "rd, ra, rb")
def modu(m: ToyBuilder) -> None:
    """rd := the remainder of DIVU; arithmetic trap if rb is 0."""
    m.write("rd", m.read("ra").urem(_divisor(m)))


def _divisor(m: ToyBuilder) -> Bits:
    divisor = m.read("rb")
    m.fault_when(divisor == 0, Trap.ARITHMETIC)
    return divisor


# -- logic and comparison -----------------------------------------------------------------------


@instruction("AND", 0x20, "rd, ra, rb")
def and_(m: ToyBuilder) -> None:
    """rd := ra and rb, bit by bit."""
    m.write("rd", m.read("ra") & m.read("rb"))


@instruction("ANDI", 0x21, "rd, ra, natural")
def andi(m: ToyBuilder) -> None:
    """rd := ra and natural."""
    m.write("rd", m.read("ra") & m.read("natural"))


@instruction("OR", 0x22, "rd, ra, rb")
def or_(m: ToyBuilder) -> None:
    """rd := ra or rb, bit by bit."""
    m.write("rd", m.read("ra") | m.read("rb"))


@instruction("ORI", 0x23, "rd, ra, natural")
def ori(m: ToyBuilder) -> None:
    """rd := ra or natural."""
    m.write("rd", m.read("ra") | m.read("natural"))


@instruction("XOR", 0x24, "rd, ra, rb")
def xor(m: ToyBuilder) -> None:
    """rd := ra exclusive-or rb, bit by bit."""
    m.write("rd", m.read("ra") ^ m.read("rb"))


@instruction("XORI", 0x25, "rd, ra, natural")
def xori(m: ToyBuilder) -> None:
    """rd := ra exclusive-or natural."""
    m.write("rd", m.read("ra") ^ m.read("natural"))


@instruction("NOT", 0x26, "rd, ra")
def not_(m: ToyBuilder) -> None:
    """rd := ra with every bit turned over."""
    m.write("rd", ~m.read("ra"))


@instruction("SHL", 0x28, "rd, ra, rb")
def shl(m: ToyBuilder) -> None:
    """rd := ra shifted left by rb; by a word or more: 0."""
    m.write("rd", m.read("ra") << m.read("rb"))


@instruction("SHLI", 0x29, "rd, ra, natural")
def shli(m: ToyBuilder) -> None:
    """rd := ra shifted left by natural."""
    m.write("rd", m.read("ra") << m.read("natural"))


@instruction("SHR", 0x2A, "rd, ra, rb")
def shr(m: ToyBuilder) -> None:
    """rd := ra shifted right by rb, zeros coming in."""
    m.write("rd", m.read("ra") >> m.read("rb"))


@instruction("SHRI", 0x2B, "rd, ra, natural")
def shri(m: ToyBuilder) -> None:
    """rd := ra shifted right by natural, zeros coming in."""
    m.write("rd", m.read("ra") >> m.read("natural"))


@instruction("SAR", 0x2C, "rd, ra, rb")
def sar(m: ToyBuilder) -> None:
    """rd := ra shifted right by rb, the sign coming in."""
    m.write("rd", m.read("ra").ashr(m.read("rb")))


@instruction("SARI", 0x2D, "rd, ra, natural")
def sari(m: ToyBuilder) -> None:
    """rd := ra shifted right by natural, the sign coming in."""
    m.write("rd", m.read("ra").ashr(m.read("natural")))


@instruction("SLT", 0x30, "rd, ra, rb")
def slt(m: ToyBuilder) -> None:
    """Set if less: rd := 1 if ra < rb, signed, else 0."""
    m.write("rd", m.read("ra").slt(m.read("rb")).zext(m.shape.word))


@instruction("SLTU", 0x31, "rd, ra, rb")
def sltu(m: ToyBuilder) -> None:
    """Set if less: rd := 1 if ra < rb, unsigned, else 0."""
    m.write("rd", m.read("ra").ult(m.read("rb")).zext(m.shape.word))


@instruction("SEQ", 0x32, "rd, ra, rb")
def seq(m: ToyBuilder) -> None:
    """Set if equal: rd := 1 if ra = rb, else 0."""
    m.write("rd", (m.read("ra") == m.read("rb")).zext(m.shape.word))


# -- control flow -------------------------------------------------------------------------------


@instruction("JMP", 0x40, "address")
def jmp(m: ToyBuilder) -> None:
    """P := address."""
    m.jump(m.read("address"))


@instruction("JR", 0x41, "ra")
def jr(m: ToyBuilder) -> None:
    """Jump to register: P := ra."""
    m.jump(m.read("ra"))


@instruction("JAL", 0x42, "rd, address")
def jal(m: ToyBuilder) -> None:
    """Jump and link: rd := P + 1; P := address."""
    m.write("rd", m.next.zext(m.shape.word))
    m.jump(m.read("address"))


@instruction("JALR", 0x43, "rd, ra")
def jalr(m: ToyBuilder) -> None:
    """Jump and link to register: rd := P + 1; P := ra."""
    target = m.read("ra")
    m.write("rd", m.next.zext(m.shape.word))
    m.jump(target)


@instruction("CALL", 0x44, "address")
def call(m: ToyBuilder) -> None:
    """Push P + 1; P := address."""
    _push(m, m.next.zext(m.shape.word))
    m.jump(m.read("address"))


@instruction("RET", 0x45)
def ret(m: ToyBuilder) -> None:
    """Pop P."""
    m.jump(_pop(m))


def _branch(m: ToyBuilder, condition: Bits) -> None:
    with m.when(condition):
        m.jump(m.read("address"))


@instruction("BEQ", 0x48, "rd, ra, address")
def beq(m: ToyBuilder) -> None:
    """P := address if rd = ra."""
    _branch(m, m.read("rd") == m.read("ra"))


@instruction("BNE", 0x49, "rd, ra, address")
def bne(m: ToyBuilder) -> None:
    """P := address if rd ≠ ra."""
    _branch(m, m.read("rd") != m.read("ra"))


@instruction("BLT", 0x4A, "rd, ra, address")
def blt(m: ToyBuilder) -> None:
    """P := address if rd < ra, signed."""
    _branch(m, m.read("rd").slt(m.read("ra")))


@instruction("BGE", 0x4B, "rd, ra, address")
def bge(m: ToyBuilder) -> None:
    """P := address if rd ≥ ra, signed."""
    _branch(m, m.read("ra").sle(m.read("rd")))


@instruction("BLTU", 0x4C, "rd, ra, address")
def bltu(m: ToyBuilder) -> None:
    """P := address if rd < ra, unsigned."""
    _branch(m, m.read("rd").ult(m.read("ra")))


@instruction("BGEU", 0x4D, "rd, ra, address")
def bgeu(m: ToyBuilder) -> None:
    """P := address if rd ≥ ra, unsigned."""
    _branch(m, m.read("ra").ule(m.read("rd")))


@instruction("BZ", 0x4E, "rd, address")
def bz(m: ToyBuilder) -> None:
    """P := address if rd = 0."""
    _branch(m, m.read("rd") == 0)


@instruction("BNZ", 0x4F, "rd, address")
def bnz(m: ToyBuilder) -> None:
    """P := address if rd ≠ 0."""
    _branch(m, m.read("rd") != 0)


@instruction("SVC", 0x50, "natural")
def svc(m: ToyBuilder) -> None:
    """Supervisor call: traps in both modes. The P it stores is its own; the kernel moves it on."""
    m.fault(Trap.SVC, m.read("natural"))
