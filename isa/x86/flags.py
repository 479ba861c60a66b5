"""How operations leave the status flags: families of functions from operands to flags.

SDM volume 1, section 3.4.3.1 and appendix A; each family is proved against an independent
statement of the manual's definition in tests/test_x86_flags_proofs.py.
"""

from __future__ import annotations

from typing import Final

from isa.bits import Bits
from isa.functions import family
from isa.registers import Register
from isa.x86.registers import AF, CF, OF, PF, SF, ZF

STATUS_FLAGS: Final[dict[str, Register]] = {
    "cf": CF, "pf": PF, "af": AF, "zf": ZF, "sf": SF, "of": OF,
}  # fmt: skip


def of_result(result: Bits) -> dict[str, Bits]:
    """PF, ZF and SF, which depend on the result alone."""
    return {
        "pf": ~result.low(8).popcount().bit(0),
        "zf": result == 0,
        "sf": result.sign,
    }


@family("cf", "pf", "af", "zf", "sf", "of")
def add(a: Bits, b: Bits) -> dict[str, Bits]:
    """Flags of a + b."""
    result = a + b
    return of_result(result) | {
        "cf": result.ult(a),
        "af": (a ^ b ^ result).bit(4),
        "of": ((a ^ result) & (b ^ result)).sign,
    }


@family("cf", "pf", "af", "zf", "sf", "of")
def add_with_carry(a: Bits, b: Bits, carry: Bits) -> dict[str, Bits]:
    """Flags of a + b + carry."""
    width = a.width
    wide = a.zext(width + 1) + b.zext(width + 1) + carry.zext(width + 1)
    result = wide.low(width)
    return of_result(result) | {
        "cf": wide.sign,
        "af": (a ^ b ^ result).bit(4),
        "of": ((a ^ result) & (b ^ result)).sign,
    }


@family("cf", "pf", "af", "zf", "sf", "of")
def subtract(a: Bits, b: Bits) -> dict[str, Bits]:
    """Flags of a - b."""
    result = a - b
    return of_result(result) | {
        "cf": a.ult(b),
        "af": (a ^ b ^ result).bit(4),
        "of": ((a ^ b) & (a ^ result)).sign,
    }


@family("cf", "pf", "af", "zf", "sf", "of")
def subtract_with_borrow(a: Bits, b: Bits, borrow: Bits) -> dict[str, Bits]:
    """Flags of a - b - borrow."""
    width = a.width
    wide = a.zext(width + 1) - b.zext(width + 1) - borrow.zext(width + 1)
    result = wide.low(width)
    return of_result(result) | {
        "cf": wide.sign,
        "af": (a ^ b ^ result).bit(4),
        "of": ((a ^ b) & (a ^ result)).sign,
    }


@family("cf", "pf", "af", "zf", "sf", "of")
def logic(result: Bits) -> dict[str, Bits]:
    """Flags of AND, OR, XOR and TEST; AF is undefined (0 here, as processors have it)."""
    zero = Bits.of(0, 1)
    return of_result(result) | {"cf": zero, "af": zero, "of": zero}


@family("pf", "af", "zf", "sf", "of")
def increment(a: Bits) -> dict[str, Bits]:
    """Flags of a + 1; CF stays."""
    result = a + 1
    return of_result(result) | {"af": result.low(4) == 0, "of": result == 1 << a.width - 1}


@family("pf", "af", "zf", "sf", "of")
def decrement(a: Bits) -> dict[str, Bits]:
    """Flags of a - 1; CF stays."""
    result = a - 1
    return of_result(result) | {"af": a.low(4) == 0, "of": a == 1 << a.width - 1}


@family("cf", "pf", "af", "zf", "sf", "of")
def shift_left(a: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of a << count, count not 0. OF is defined for a count of 1, AF never."""
    wide = a.zext(a.width + 1) << count.zext(a.width + 1)
    result = wide.low(a.width)
    return of_result(result) | {
        "cf": wide.sign,
        "af": Bits.of(0, 1),
        "of": result.sign ^ wide.sign,
    }


@family("cf", "pf", "af", "zf", "sf", "of")
def shift_right(a: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of a >> count, count not 0."""
    result = a >> count
    return of_result(result) | {
        "cf": (a >> (count - 1)).bit(0),
        "af": Bits.of(0, 1),
        "of": (result.bit(a.width - 1) ^ result.bit(a.width - 2)),
    }


@family("cf", "pf", "af", "zf", "sf", "of")
def shift_right_arithmetic(a: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of an arithmetic a >> count, count not 0."""
    zero = Bits.of(0, 1)
    return of_result(a.ashr(count)) | {
        "cf": a.ashr(count - 1).bit(0),
        "af": zero,
        "of": zero,
    }
