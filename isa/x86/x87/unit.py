"""The unit as one instruction sees it: its stack, its flags, and what must be looked at first.

SDM volume 1, sections 8.1 and 8.5–8.7; volume 3, section 9.2. Meanings change the stack of a `Unit`
as they like, then `commit` it.
"""

from __future__ import annotations

from isa.bits import Bits, any_of
from isa.registers import Register
from isa.x86.builder import X86Builder
from isa.x86.registers import C1, FCW, FPU_FLAGS, FULL, ST, STX, TOP
from isa.x86.x87 import number
from isa.x86.x87.entry import EXCEPTIONS
from isa.x86.x87.result import BEFORE, FLAGS, INVALID, STACK, Result
from isa.x86.x87.rounding import Control


class Unit:
    """The x87 before, and as far as done, after the instruction that `m` traces.

    A number of a register is known (an int) or the operand field's (Bits); what is written by a
    field's number can be read again only after `commit`. Exceptions of the kinds `blocking` leave
    all as it was if they are not masked.
    """

    def __init__(self, m: X86Builder, *, blocking: int = BEFORE) -> None:
        self.m = m
        self._blocking = blocking
        self.control = Control(m.get(FCW))
        self.raised = Bits.of(0, FLAGS)
        self.blocked = Bits.of(0, 1)
        self.c1 = Bits.of(0, 1)
        self._before = [_register(m, Bits.of(n, 3)) for n in range(8)]
        self._values = list(self._before)
        self._full = m.get(FULL)
        self._moved = 0  # how much TOP grows
        self._written: list[tuple[Bits, Bits]] = []  # numbers as they were, and values

    # -- the stack -------------------------------------------------------------------------------

    def value(self, index: Bits | int) -> Bits:
        """ST(index), whatever it holds."""
        return self._values[index] if isinstance(index, int) else _register(self.m, index)

    def full(self, index: Bits | int) -> Bits:
        """Whether ST(index) is not empty."""
        return (self._full >> _wide(index)).bit(0)

    def write(self, index: Bits | int, value: Bits) -> None:
        """Fill ST(index)."""
        self._full = self._full | Bits.of(1, 8) << _wide(index)
        if isinstance(index, int):
            self._values[index] = value
        else:
            self._written.append((index + self._moved, value))

    def free(self, index: Bits | int, condition: Bits | None = None) -> None:
        """Make ST(index) empty, if the condition holds."""
        chosen = Bits.of(1, 8) if condition is None else condition.zext(8)
        self._full = self._full & ~(chosen << _wide(index))

    def move(self, by: int) -> None:
        """Add to TOP, by 1 or -1."""
        self._values = self._values[by:] + self._values[:by]
        full, places = self._full, by % 8
        self._full = full.low(places).concat(full.bits(places, 8 - places))
        self._moved += by

    def push(self, value: Bits) -> None:
        """Push."""
        self.move(-1)
        self.write(0, value)

    def pop(self, times: int = 1) -> None:
        """Pop."""
        for _ in range(times):
            self.free(0)
            self.move(1)

    # -- exceptions ------------------------------------------------------------------------------

    def raise_flags(self, flags: Bits) -> None:
        """Exceptions that this instruction raises; unmasked ones of some kinds block it."""
        self.raised = self.raised | flags
        self.blocked = self.blocked | self.unmasked(flags & self._blocking)

    def unmasked(self, flags: Bits) -> Bits:
        """Whether one of the flags is not masked."""
        masks = self.control.word.low(EXCEPTIONS)
        return (flags.low(EXCEPTIONS) & ~masks) != 0

    def require(self, *full: Bits) -> Bits:
        """Stack underflow unless all are full: 1 if there was one."""
        missing = any_of(*(~one for one in full))
        self._stack_fault(missing, 0)
        return missing

    def require_room(self, missing: Bits) -> Bits:
        """Stack overflow if ST(7) is full, unless an operand is missing: 1 if there was one."""
        taken = self.full(7) & ~missing
        self._stack_fault(taken, 1)
        return taken

    def _stack_fault(self, condition: Bits, c1: int) -> None:
        self.raise_flags(condition.select(Bits.of(INVALID | STACK, FLAGS), 0))
        self.c1 = condition.select(c1, self.c1)

    def accept(self, result: Result, missing: Bits, instead: Bits | None = None) -> Bits:
        """The value that an operation leaves, whose exceptions are raised; `instead`, if an operand
        was missing (the real indefinite, if nothing is told)."""
        stopped = self.unmasked(result.flags & self._blocking)  # then nothing is rounded
        found = stopped.select(result.flags & BEFORE, result.flags)
        self.raise_flags(missing.select(0, found))
        self.c1 = missing.select(self.c1, result.up & ~stopped)
        if instead is None:
            return self.or_indefinite(missing, result.value)
        return missing.select(instead, result.value)

    def or_indefinite(self, missing: Bits, value: Bits) -> Bits:
        """`value`, or the real indefinite in place of what is missing."""
        return number.choose(missing, number.indefinite(), value)

    # -- the end ---------------------------------------------------------------------------------

    def commit(self) -> None:
        """Put what has changed, if no unmasked exception blocks it; and the flags."""
        m = self.m
        m.put(FPU_FLAGS, m.get(FPU_FLAGS) | self.raised)
        m.put(C1, self.c1)
        self._keep_or_put(FULL, self._full)
        if self._moved % 8:
            self._keep_or_put(TOP, m.get(TOP) + self._moved % 8)
        for n, value in enumerate(self._values):
            if value is not self._before[n]:
                self._put(Bits.of(n, 3), value)
        for index, value in self._written:
            self._put(index - self._moved, value)

    def _put(self, index: Bits, value: Bits) -> None:
        chosen = number.choose(self.blocked, _register(self.m, index), value)
        self.m.put_indexed(ST, index, chosen.low(64))
        self.m.put_indexed(STX, index, chosen.bits(64, 16))

    def _keep_or_put(self, register: Register, value: Bits) -> None:
        self.m.put(register, self.blocked.select(self.m.get(register), value))


def _register(m: X86Builder, index: Bits) -> Bits:
    return m.get_indexed(STX, index).concat(m.get_indexed(ST, index))


def _wide(index: Bits | int) -> Bits:
    return Bits.of(index, 8) if isinstance(index, int) else index.zext(8)
