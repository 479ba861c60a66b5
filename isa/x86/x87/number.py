"""Numbers in double extended-precision format, taken apart (SDM volume 1, section 4.2 and 8.2)."""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import Final
from isa.record import NamedTuple

WIDTH: Final = 80
BIAS: Final = 0x3FFF
MAXIMUM: Final = 0x7FFF  # the exponent of infinities and NaNs
EXPONENT: Final = 32  # bits in which exponents are computed, as signed numbers
INTEGER_BIT: Final = 1 << 63
QUIET_PLACES: Final = {32: 22, 64: 51, 80: 62}
"""Where NaNs of each width say that they are quiet."""
ONE: Final = 0x3FFF_8000_0000_0000_0000
INDEFINITE: Final = 0xFFFF_C000_0000_0000_0000
"""The real indefinite: the QNaN that masked invalid operations give."""


class Number(NamedTuple):
    """A number, in its own format's `bits`, and what it is; conditions are 1 bit wide.

    `significand` is shifted until its highest bit is 1 (but for zero), and `exponent`, still
    biased, fits that: value = significand × 2^(exponent − BIAS − 63).
    """

    bits: Bits
    sign: Bits
    exponent: Bits
    significand: Bits
    zero: Bits
    denormal: Bits  # pseudo-denormals too
    unsupported: Bits
    infinite: Bits
    nan: Bits

    @property
    def signaling(self) -> Bits:
        """Whether it is a signaling NaN."""
        return self.nan & ~self.bits.bit(QUIET_PLACES[self.bits.width])

    @property
    def odd(self) -> Bits:
        """Whether arithmetic needs another rule than that for finite numbers."""
        return self.nan | self.infinite | self.unsupported


def quiet(bits: Bits) -> Bits:
    """A NaN of 32, 64 or 80 bits made quiet."""
    return bits | Bits.of(1 << QUIET_PLACES[bits.width], bits.width)


def unpack(bits: Bits) -> Number:
    """Take 80 bits apart."""
    significand, exponent = bits.low(64), bits.bits(64, 15)
    least, most = exponent == 0, exponent == MAXIMUM
    integer, fraction = significand.sign, significand.low(63) != 0
    places = significand.clz()
    at_least_1 = least.select(Bits.of(1, EXPONENT), exponent.zext(EXPONENT))
    return Number(
        bits=bits,
        sign=bits.sign,
        exponent=at_least_1 - places.low(EXPONENT),
        significand=significand << places,
        zero=least & (significand == 0),
        denormal=least & (significand != 0),
        unsupported=~least & ~integer,
        infinite=most & integer & ~fraction,
        nan=most & integer & fraction,
    )


def pack(sign: Bits, exponent: Bits, significand: Bits) -> Bits:
    """80 bits from a sign, a biased exponent (its low 15 bits count) and 64 bits of significand."""
    return sign.concat(exponent.low(15)).concat(significand)


def choose(condition: Bits, then: Bits, otherwise: Bits) -> Bits:
    """`then` or `otherwise`, 80 bits each, chosen in the two parts in which registers hold them."""
    high = condition.select(then.bits(64, 16), otherwise.bits(64, 16))
    return high.concat(condition.select(then.low(64), otherwise.low(64)))


def infinity(sign: Bits) -> Bits:
    """An infinity."""
    return pack(sign, Bits.of(MAXIMUM, 15), Bits.of(INTEGER_BIT, 64))


def zero(sign: Bits) -> Bits:
    """A zero."""
    return sign.concat(Bits.of(0, WIDTH - 1))


def indefinite() -> Bits:
    """The real indefinite."""
    return Bits.of(INDEFINITE, WIDTH)
