"""How operations leave the status flags: families of functions from operands to flags.

SDM volume 1, section 3.4.3.1 and appendix A; each family is proved against an independent
statement of the manual's definition in tests/test_x86_flags_proofs.py.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import family
from isa.hints import Final
from isa.registers import Register
from isa.x86 import registers, results

STATUS_FLAGS: Final[dict[str, Register]] = {flag.name: flag for flag in registers.STATUS_FLAGS}


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


# Shifts and rotates: the count is masked to 5 bits, as wide as the operand and not 0. OF is defined
# for a count of 1 only (SDM volume 2, SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD).


@family("cf", "pf", "af", "zf", "sf", "of")
def shift_left(a: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of a << count. AF is undefined, and CF where the count reaches the operand's size."""
    wide = a.zext(a.width + 1) << count.zext(a.width + 1)
    result = wide.low(a.width)
    return of_result(result) | {
        "cf": wide.sign,
        "af": Bits.of(0, 1),
        "of": result.sign ^ wide.sign,
    }


@family("cf", "pf", "af", "zf", "sf", "of")
def shift_right(a: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of a >> count. AF is undefined, and CF where the count reaches the operand's size."""
    result = a >> count
    return of_result(result) | {
        "cf": (a >> (count - 1)).bit(0),
        "af": Bits.of(0, 1),
        "of": result.sign ^ result.bit(a.width - 2),  # for a count of 1: the sign of `a`
    }


@family("cf", "pf", "af", "zf", "sf", "of")
def shift_right_arithmetic(a: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of an arithmetic a >> count. AF is undefined."""
    zero = Bits.of(0, 1)
    return of_result(a.ashr(count)) | {
        "cf": a.ashr(count - 1).bit(0),
        "af": zero,
        "of": zero,
    }


@family("cf", "pf", "af", "zf", "sf", "of")
def double_shift_left(a: Bits, filler: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of SHLD. AF is undefined, and all where the count is beyond the operand's size."""
    result = results.double_shift_left(a, filler, count)
    return of_result(result) | {
        "cf": (a.zext(a.width + 1) << count.zext(a.width + 1)).sign,
        "af": Bits.of(0, 1),
        "of": (a ^ result).sign,
    }


@family("cf", "pf", "af", "zf", "sf", "of")
def double_shift_right(a: Bits, filler: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of SHRD. AF is undefined, and all where the count is beyond the operand's size."""
    result = results.double_shift_right(a, filler, count)
    return of_result(result) | {
        "cf": (a >> (count - 1)).bit(0),
        "af": Bits.of(0, 1),
        "of": (a ^ result).sign,
    }


@family("cf", "of")
def rotate_left(a: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of ROL."""
    result = results.rotate_left(a, count)
    return {"cf": result.bit(0), "of": result.sign ^ result.bit(0)}


@family("cf", "of")
def rotate_right(a: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of ROR."""
    result = results.rotate_right(a, count)
    return {"cf": result.sign, "of": result.sign ^ result.bit(a.width - 2)}


@family("cf", "of")
def rotate_left_through_carry(a: Bits, carry: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of RCL."""
    whole = results.rotate_left_through_carry(a, carry, count)
    return {"cf": whole.sign, "of": whole.sign ^ whole.bit(a.width - 1)}


@family("cf", "of")
def rotate_right_through_carry(a: Bits, carry: Bits, count: Bits) -> dict[str, Bits]:
    """Flags of RCR; OF compares the sign with CF before the rotation."""
    whole = results.rotate_right_through_carry(a, carry, count)
    return {"cf": whole.sign, "of": whole.bit(a.width - 1) ^ whole.bit(a.width - 2)}


# Multiplication: PF, AF, ZF and SF are undefined (SDM volume 2, MUL and IMUL).


@family("cf", "of")
def multiply(a: Bits, b: Bits) -> dict[str, Bits]:
    """Flags of an unsigned product: whether its upper half is needed."""
    product = a.zext(2 * a.width) * b.zext(2 * a.width)
    needed = product.bits(a.width, a.width) != 0
    return {"cf": needed, "of": needed}


@family("cf", "of")
def multiply_signed(a: Bits, b: Bits) -> dict[str, Bits]:
    """Flags of a signed product: whether its lower half alone would mean another number."""
    product = a.sext(2 * a.width) * b.sext(2 * a.width)
    needed = product.low(a.width).sext(2 * a.width) != product
    return {"cf": needed, "of": needed}


# Decimal adjustment of AL; OF is undefined (SDM volume 2, DAA and DAS).


@family("cf", "pf", "af", "zf", "sf")
def decimal_add(al: Bits, cf: Bits, af: Bits) -> dict[str, Bits]:
    """Flags of DAA."""
    return of_result(al + results.decimal_adjustment(al, cf, af)) | {
        "cf": results.high_digit_overflowed(al, cf),
        "af": results.needs_adjustment(al, af),
    }


@family("cf", "pf", "af", "zf", "sf")
def decimal_subtract(al: Bits, cf: Bits, af: Bits) -> dict[str, Bits]:
    """Flags of DAS; here the subtraction of 6 may borrow even if the high digit is in order."""
    low = results.needs_adjustment(al, af)
    return of_result(al - results.decimal_adjustment(al, cf, af)) | {
        "cf": results.high_digit_overflowed(al, cf) | low & al.ult(6),
        "af": low,
    }
