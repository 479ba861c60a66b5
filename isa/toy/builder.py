"""The builder on which the toy machine's meanings are written: operands, memory, jumps, traps."""

from __future__ import annotations

from isa.bits import Bits, all_of
from isa.registers import Register
from isa.semantics import Builder
from isa.toy.registers import MASKS, STACK_POINTER, SUPERVISOR, ToyRegisters
from isa.toy.shape import Shape
from isa.toy.traps import Trap

REGISTER_INDEX_BITS = 3


class ToyBuilder(Builder):
    """Records one toy instruction. Addresses are virtual: `load` and `store` relocate them."""

    def __init__(self, shape: Shape, registers: ToyRegisters) -> None:
        super().__init__()
        self.shape = shape
        self.registers = registers
        self._targets: dict[str, Bits] = {}

    # -- operands ----------------------------------------------------------------------------

    def read(self, operand: str) -> Bits:
        """The value of an operand: a register, or the immediate as `number` or `natural`."""
        if operand in ("rd", "ra", "rb"):
            return self.get_indexed(self.registers.general, self.field(operand, 3))
        immediate = self.field("imm", self.shape.imm_bits)
        if operand == "number":
            return immediate.sext(self.shape.word)
        return immediate.zext(self.shape.word)

    def write(self, operand: str, value: Bits) -> None:
        """Change a register operand; of several changes, also in branches, the last one wins."""
        index = self._targets.setdefault(operand, self.field(operand, REGISTER_INDEX_BITS))
        self.put_indexed(self.registers.general, index, value)

    def address(self) -> Bits:
        """The address that the operand [ra+offset] means."""
        return self.read("ra") + self.read("number")

    @property
    def stack_pointer(self) -> Register:
        """Register r7, in which PUSH and CALL count down."""
        return self.registers.general.members[STACK_POINTER]

    # -- registers that a configuration declares -----------------------------------------------

    def system(self, name: str) -> Bits:
        """A declared register's value, as a word."""
        return self.get(self.registers.declared[name]).zext(self.shape.word)

    def set_system(self, name: str, value: Bits) -> None:
        """Change a declared register; bits of the word that it does not have are dropped."""
        register = self.registers.declared[name]
        self.put(register, value.low(register.width))

    @property
    def interruptible(self) -> Bits:
        """Interrupts are taken in user mode only, and not while a declared register masks them."""
        below = [self.system(r.name).ult(MASKS[r.name]) for r in self.registers.masks]
        return all_of(self.in_user_mode, *below)

    # -- mode and traps ----------------------------------------------------------------------

    @property
    def in_user_mode(self) -> Bits:
        """1 if M = u: any mode but the supervisor's, where there are more."""
        return self.get(self.registers.m) != SUPERVISOR

    @property
    def in_supervisor_mode(self) -> Bits:
        """1 if M = s."""
        return self.get(self.registers.m) == SUPERVISOR

    def refuse_when(self, condition: Bits) -> None:
        """Privileged-instruction trap; tells the instruction, as the dispatcher will want it."""
        self.fault_when(condition, Trap.PRIVILEGED, self.field("word", self.shape.word))

    def _memory_trap_when(self, condition: Bits, address: Bits) -> None:
        with self.when(condition):
            self.fault(Trap.MEMORY, address=address)

    # -- memory ------------------------------------------------------------------------------

    def in_words(self, granules: Bits) -> Bits:
        """A base or bound, kept in granules, as words (one bit wider than a word)."""
        wide = granules.zext(self.shape.word + 1)
        return wide << self.shape.granule_bits

    def relocated(self, address: Bits) -> Bits:
        """a + l: what the machine adds to an address of word width; one bit wider, no overflow."""
        return address.zext(self.shape.word + 1) + self.in_words(self.get(self.registers.l))

    def real_address(self, address: Bits) -> Bits:
        """The paper's relocation, in both modes and for every reference, fetch included.

        "if a + l >= q then memorytrap else if a >= b then memorytrap else use E[a + l]"
        (section 2, "Machine model").
        """
        real, bound = self.relocated(address), self.in_words(self.get(self.registers.b))
        out_of_window = bound.ule(address.zext(bound.width))
        if self.shape.unmapped:
            unmapped = address.sign & self.in_supervisor_mode
            real = unmapped.select(address.low(self.shape.word - 1).zext(real.width), real)
            out_of_window &= ~unmapped
        self._memory_trap_when(Bits.of(self.shape.storage, real.width).ule(real), address)
        self._memory_trap_when(out_of_window, address)
        return real.low(self.shape.word)

    def load(self, address: Bits) -> Bits:
        """The word at a virtual address."""
        return self.load_space("physical", self.real_address(address), self.shape.word)

    def store(self, address: Bits, value: Bits) -> None:
        """Change the word at a virtual address."""
        self.store_space("physical", self.real_address(address), value)

    def pop_pair(self) -> tuple[Bits, Bits]:
        """Take two words from the stack, as returns from traps do: P, and a status above it."""
        top = self.get(self.stack_pointer)
        words = self.load(top), self.load(top + 1)
        self.put(self.stack_pointer, top + 2)
        return words

    # -- program counter and PSW -------------------------------------------------------------

    @property
    def next(self) -> Bits:
        """P + 1, modulo the width of P."""
        return self.get(self.registers.p) + 1

    def move_on(self) -> None:
        """P := P + 1, which a later jump overrides."""
        self.put(self.registers.p, self.next)

    def jump(self, target: Bits) -> None:
        """Go on at an address, of which P keeps what it can hold."""
        self.put(self.registers.p, target.low(self.shape.p_bits))

    def set_relocation(self, base: Bits, bound: Bits) -> None:
        """R := (base, bound) in granules, cut to the widths of R."""
        self.put(self.registers.l, base.low(self.shape.l_bits))
        self.put(self.registers.b, bound.low(self.shape.b_bits))

    def current_psw(self) -> Bits:
        """(M, P, R) as one word."""
        whole = Bits.of(0, self.shape.word)
        for register, low in self.registers.psw.fields:
            whole = whole | self.get(register).zext(self.shape.word) << low
        return whole

    def set_psw(self, word: Bits) -> None:
        """(M, P, R) := a word."""
        for register, low in self.registers.psw.fields:
            self.put(register, word.bits(low, register.width))
