"""The constants that the unit can push, computed to more places than it has.

SDM volume 1, section 8.3.8. Series over integers, so that no digit is typed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from isa.bits import Bits
from isa.hints import Final
from isa.x86.x87.number import BIAS, WIDTH
from isa.x86.x87.rounding import NEAREST, UP

_PLACES: Final = 160  # binary places of the series
_ONE: Final = 1 << _PLACES


def _inverse_odd_powers(x: int, signs: int) -> int:
    """The sum of signs^n / ((2n + 1) x^(2n + 1)): artanh(1/x) of 1, arctan(1/x) of -1."""
    total, power, n = 0, _ONE // x, 0
    while power:
        total += signs**n * power // (2 * n + 1)
        power //= x * x
        n += 1
    return total


def _ln2() -> int:
    return 2 * _inverse_odd_powers(3, 1)


def _ln10() -> int:
    """10 = 2^3 · 5/4, and ln(5/4) = 2 artanh(1/9)."""
    return 3 * _ln2() + 2 * _inverse_odd_powers(9, 1)


def _pi() -> int:
    """Machin's formula."""
    return 16 * _inverse_odd_powers(5, -1) - 4 * _inverse_odd_powers(239, -1)


CONSTANTS: Final[dict[str, Callable[[], int]]] = {
    "fldz": lambda: 0,
    "fld1": lambda: _ONE,
    "fldpi": _pi,
    "fldl2t": lambda: (_ln10() << _PLACES) // _ln2(),
    "fldl2e": lambda: (_ONE << _PLACES) // _ln2(),
    "fldlg2": lambda: (_ln2() << _PLACES) // _ln10(),
    "fldln2": _ln2,
}
"""Mnemonic, and the constant with `_PLACES` binary places."""


def scaled(mnemonic: str, places: int) -> int:
    """A constant with that many binary places, cut."""
    return CONSTANTS[mnemonic]() >> _PLACES - places


def arctangent(n: int, d: int, places: int) -> int:
    """arctan(n / d) with that many binary places, cut.

    Euler's series, whose terms fall by the half at least: n <= d.
    """
    whole = n * n + d * d
    total, term, k = 0, (n * d << _PLACES) // whole, 0
    while term:
        total += term
        term = term * (2 * k + 2) * n * n // ((2 * k + 3) * whole)
        k += 1
    return total >> _PLACES - places


def constant(mnemonic: str, mode: Bits) -> Bits:
    """A constant rounded by the rounding mode; all are positive."""
    down, up, nearer = _neighbours(mnemonic)
    at_nearest = (mode == NEAREST).select(Bits.of(nearer, WIDTH), Bits.of(down, WIDTH))
    return (mode == UP).select(Bits.of(up, WIDTH), at_nearest)


@cache
def _neighbours(mnemonic: str) -> tuple[int, int, int]:
    """The numbers of 64 bits below and above a constant, and the nearer of them."""
    value = CONSTANTS[mnemonic]()
    if not value:
        return 0, 0, 0
    excess = value.bit_length() - 64
    cut, rest = value >> excess, value & (1 << excess) - 1
    exponent = (BIAS + value.bit_length() - 1 - _PLACES) << 64
    down, up = exponent | cut, exponent | cut + (rest != 0)
    return down, up, up if rest >> excess - 1 else down
