"""What the unit's arithmetic returns: a value, the exceptions it raises, and C1."""

from __future__ import annotations

from dataclasses import dataclass

from isa.bits import Bits
from isa.hints import Final

INVALID: Final = 1 << 0
DENORMAL: Final = 1 << 1
ZERO_DIVIDE: Final = 1 << 2
OVERFLOW: Final = 1 << 3
UNDERFLOW: Final = 1 << 4
PRECISION: Final = 1 << 5
STACK: Final = 1 << 6
BEFORE: Final = INVALID | DENORMAL | ZERO_DIVIDE
"""Exceptions found before a result is computed: unmasked, they leave the operands alone."""

FLAGS: Final = 7  # bits of them, in the status word's order


def flags(**raised: Bits) -> Bits:
    """The status word's flags from conditions, by the names above in lower case."""
    word = Bits.of(0, FLAGS)
    for name, condition in raised.items():
        word = word | condition.select(Bits.of(globals()[name.upper()], FLAGS), 0)
    return word


@dataclass(frozen=True, slots=True)
class Result:
    """A value, the flags raised, and whether rounding made the magnitude greater."""

    value: Bits
    flags: Bits
    up: Bits

    def pack(self) -> Bits:
        """As one value, for a function has one result."""
        return self.up.concat(self.flags).concat(self.value)

    @staticmethod
    def unpack(whole: Bits) -> Result:
        """What `pack` made."""
        width = whole.width - FLAGS - 1
        return Result(whole.low(width), whole.bits(width, FLAGS), whole.sign)

    def or_else(self, condition: Bits, other: Result) -> Result:
        """`other` if the condition holds, else this."""
        return Result(
            condition.select(other.value, self.value),
            condition.select(other.flags, self.flags),
            condition.select(other.up, self.up),
        )


def exact(value: Bits, raised: Bits | None = None) -> Result:
    """A result that needed no rounding."""
    return Result(value, Bits.of(0, FLAGS) if raised is None else raised, Bits.of(0, 1))
