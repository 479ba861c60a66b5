"""Bits: fixed-width values in which meanings are written.

A `Bits` is a node of a pure expression graph. Operators check widths and fold constants, so the
same function serves a symbolic trace (`m.read(dst) + m.read(src)`) and a calculation by hand
(`Bits.of(250, 8) + 10`).
"""

from __future__ import annotations

from isa.hints import Any, NoReturn
from isa.ops import LEAVES, OPS, WidthError
from isa.words import mask, signed


class Bits:
    """A value of `width` bits. It has no truth value: use `.select(…)` or the builder's `when`."""

    __slots__ = ("args", "attribute", "op", "width")

    def __init__(self, op: str, width: int, args: tuple[Bits, ...] = (), attribute: Any = None):
        self.op = op
        self.width = width
        self.args = args
        self.attribute = attribute

    # -- making ------------------------------------------------------------------------------

    @staticmethod
    def of(value: int, width: int) -> Bits:
        """The number `value` modulo 2^width."""
        return Bits("const", width, (), (value & mask(width), width))

    @property
    def is_const(self) -> bool:
        """Whether the value is a known number."""
        return self.op == "const"

    @property
    def value(self) -> int:
        """The known number, unsigned; raises TypeError if the value is symbolic."""
        if self.op != "const":
            raise TypeError(f"{self!r} has no number while a meaning is traced: it is the guest's")
        return int(self.attribute[0])

    @property
    def signed_value(self) -> int:
        """The known number read as two's complement; raises TypeError if the value is symbolic."""
        return signed(self.width, self.value)

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a guest value has no truth value while its meaning is traced: choose between values "
            "with condition.select(a, b), make effects conditional with `with m.when(condition):`"
        )

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        if self.op == "const":
            return f"Bits.of({self.value:#x}, {self.width})"
        return f"<{self.op} of {self.width} bits>"

    def _coerce(self, other: Bits | int) -> Bits:
        if isinstance(other, Bits):
            return other
        if isinstance(other, bool) or not isinstance(other, int):
            raise TypeError(f"cannot combine Bits with {other!r}: use an int or another Bits")
        return Bits.of(other, self.width)

    # -- arithmetic and logic ------------------------------------------------------------------

    def __add__(self, other: Bits | int) -> Bits:
        return apply("add", self, self._coerce(other))

    def __sub__(self, other: Bits | int) -> Bits:
        return apply("sub", self, self._coerce(other))

    def __mul__(self, other: Bits | int) -> Bits:
        return apply("mul", self, self._coerce(other))

    def __and__(self, other: Bits | int) -> Bits:
        return apply("and", self, self._coerce(other))

    def __or__(self, other: Bits | int) -> Bits:
        return apply("or", self, self._coerce(other))

    def __xor__(self, other: Bits | int) -> Bits:
        return apply("xor", self, self._coerce(other))

    def __invert__(self) -> Bits:
        return apply("not", self)

    def __neg__(self) -> Bits:
        return apply("sub", Bits.of(0, self.width), self)

    def __lshift__(self, other: Bits | int) -> Bits:
        return apply("shl", self, self._coerce(other))

    def __rshift__(self, other: Bits | int) -> Bits:
        """Logical shift; `ashr` is the arithmetic one."""
        return apply("lshr", self, self._coerce(other))

    def ashr(self, other: Bits | int) -> Bits:
        """Arithmetic shift right."""
        return apply("ashr", self, self._coerce(other))

    def udiv(self, other: Bits | int) -> Bits:
        """Unsigned quotient; by zero: all ones."""
        return apply("udiv", self, self._coerce(other))

    def urem(self, other: Bits | int) -> Bits:
        """Unsigned remainder; by zero: the dividend."""
        return apply("urem", self, self._coerce(other))

    def sdiv(self, other: Bits | int) -> Bits:
        """Signed quotient, toward zero."""
        return apply("sdiv", self, self._coerce(other))

    def srem(self, other: Bits | int) -> Bits:
        """Signed remainder with the sign of the dividend."""
        return apply("srem", self, self._coerce(other))

    # -- comparisons ---------------------------------------------------------------------------

    def __eq__(self, other: Bits | int) -> Bits:  # type: ignore[override]  # 1 bit
        return apply("eq", self, self._coerce(other))

    def __ne__(self, other: Bits | int) -> Bits:  # type: ignore[override]  # 1 bit
        return apply("ne", self, self._coerce(other))

    def ult(self, other: Bits | int) -> Bits:
        """Unsigned less than."""
        return apply("ult", self, self._coerce(other))

    def ule(self, other: Bits | int) -> Bits:
        """Unsigned at most."""
        return apply("ule", self, self._coerce(other))

    def slt(self, other: Bits | int) -> Bits:
        """Signed less than."""
        return apply("slt", self, self._coerce(other))

    def sle(self, other: Bits | int) -> Bits:
        """Signed at most."""
        return apply("sle", self, self._coerce(other))

    def select(self, then: Bits | int, otherwise: Bits | int) -> Bits:
        """`then` if this 1-bit value is 1, else `otherwise`; at least one of them is a Bits."""
        if not isinstance(then, Bits):
            if not isinstance(otherwise, Bits):
                raise TypeError("select needs at least one Bits to know the width")
            then = otherwise._coerce(then)
        return apply("select", self, then, then._coerce(otherwise))

    # -- widths --------------------------------------------------------------------------------

    def zext(self, width: int) -> Bits:
        """Extend with zeros to `width` bits."""
        return apply("zext", self, attribute=width)

    def sext(self, width: int) -> Bits:
        """Extend with the sign to `width` bits."""
        return apply("sext", self, attribute=width)

    def bits(self, low: int, width: int) -> Bits:
        """`width` bits from bit `low`."""
        return apply("extract", self, attribute=(low, width))

    def low(self, width: int) -> Bits:
        """The `width` lowest bits."""
        return self.bits(0, width)

    def bit(self, number: int) -> Bits:
        """One bit."""
        return self.bits(number, 1)

    @property
    def sign(self) -> Bits:
        """The highest bit."""
        return self.bit(self.width - 1)

    def concat(self, lower: Bits) -> Bits:
        """This value above `lower`."""
        return apply("concat", self, lower, attribute=lower.width)

    # -- counting ------------------------------------------------------------------------------

    def popcount(self) -> Bits:
        """How many bits are 1."""
        return apply("popcount", self)

    def clz(self) -> Bits:
        """Zeros above the highest 1."""
        return apply("clz", self)

    def ctz(self) -> Bits:
        """Zeros below the lowest 1."""
        return apply("ctz", self)


def apply(op: str, *args: Bits, attribute: Any = None) -> Bits:
    """Make the node of a pure operation: widths checked, constants folded, identities removed.

    Raises WidthError if the widths do not fit the operation.
    """
    try:
        width = OPS[op].width(tuple(a.width for a in args), attribute)
    except WidthError as error:
        raise WidthError(f"{op}: {error}") from None
    return folded(op, args, attribute, width)


def folded(op: str, args: tuple[Bits, ...], attribute: Any, width: int) -> Bits:
    """The same for arguments that are known to give this width: of a node that is rebuilt."""
    calculate = OPS[op].python
    if args[0].op == "const" and callable(calculate) and all(a.op == "const" for a in args):
        return Bits.of(calculate(args[0].width, attribute, *[a.value for a in args]), width)
    rule = _IDENTITIES.get(op)
    simpler = None if rule is None else rule(args, attribute, width)
    return Bits(op, width, args, attribute) if simpler is None else simpler


def _is(value: Bits, number: int) -> bool:
    return value.op == "const" and value.value == number & mask(value.width)


def _add(args: tuple[Bits, ...], _: Any, __: int) -> Bits | None:
    a, b = args
    if _is(b, 0):
        return a
    return b if _is(a, 0) else None


def _sub(args: tuple[Bits, ...], _: Any, __: int) -> Bits | None:
    a, b = args
    return a if _is(b, 0) else None


def _and(args: tuple[Bits, ...], _: Any, __: int) -> Bits | None:
    a, b = args
    if a is b or _is(b, -1) or _is(a, 0):
        return a
    return b if _is(a, -1) or _is(b, 0) else None


def _or(args: tuple[Bits, ...], _: Any, __: int) -> Bits | None:
    a, b = args
    if a is b or _is(b, 0) or _is(a, -1):
        return a
    return b if _is(a, 0) or _is(b, -1) else None


def _xor(args: tuple[Bits, ...], _: Any, width: int) -> Bits | None:
    a, b = args
    if a is b:
        return Bits.of(0, width)
    if _is(b, 0):
        return a
    if _is(a, 0):
        return b
    known = (_calls_differ(a, b), _less(a, b), _less(b, a)) if width == 1 else ()
    return next((found for found in known if found is not None), None)


def _calls_differ(a: Bits, b: Bits) -> Bits | None:
    """Whether two results for the same arguments differ, if that is one operation on them."""
    if a.op != "call" or b.op != "call" or not _same(a.args, b.args):
        return None
    found = a.attribute.differs(b.attribute, tuple(argument.width for argument in a.args))
    if found is None:
        return None
    args = [a.args[argument.attribute[0]] for argument in found.args]
    return apply(found.op, *args, attribute=found.attribute)


def _less(sign: Bits, overflow: Bits) -> Bits | None:
    """Whether a difference is negative: its sign is, but for a signed overflow. What compilers of
    conditional jumps know, and no compiler that sees both (SDM volume 1, appendix B: SF ≠ OF)."""
    difference, changed = _signed(sign), _signed(overflow)
    if difference is None or changed is None or (difference.op, changed.op) != ("sub", "and"):
        return None
    a, b = difference.args
    differ, turns = changed.args
    found = differ.op == turns.op == "xor" and _same(differ.args, (a, b))
    return a.slt(b) if found and _same(turns.args, (a, difference)) else None


def _signed(value: Bits) -> Bits | None:
    """What has a value as its sign; None if it is no sign."""
    if value.op != "extract" or value.attribute[0] != value.args[0].width - 1:
        return None
    return value.args[0]


def _same(args: tuple[Bits, ...], others: tuple[Bits, ...]) -> bool:
    return len(args) == len(others) and all(a is b for a, b in zip(args, others, strict=True))


def _shift(args: tuple[Bits, ...], _: Any, __: int) -> Bits | None:
    return args[0] if _is(args[1], 0) else None


def _choose(args: tuple[Bits, ...], _: Any, width: int) -> Bits | None:
    condition, then, otherwise = args
    if condition.op == "const":
        return then if condition.value else otherwise
    if then is otherwise:
        return then
    if width == 1 and _is(then, 1) and _is(otherwise, 0):
        return condition
    return None


def _extend(args: tuple[Bits, ...], _: Any, width: int) -> Bits | None:
    return args[0] if args[0].width == width else None


def _extract(args: tuple[Bits, ...], attribute: Any, width: int) -> Bits | None:
    (a,), (low, _) = args, attribute
    if a.width == width:
        return a
    if a.op == "extract":
        return a.args[0].bits(a.attribute[0] + low, width)
    if a.op == "zext" and low + width <= a.args[0].width:
        return a.args[0].bits(low, width)
    if a.op == "zext" and low >= a.args[0].width:
        return Bits.of(0, width)
    if a.op == "concat":
        high_part, low_part = a.args
        if low + width <= low_part.width:
            return low_part.bits(low, width)
        if low >= low_part.width:
            return high_part.bits(low - low_part.width, width)
    return None


def _not(args: tuple[Bits, ...], _: Any, __: int) -> Bits | None:
    return args[0].args[0] if args[0].op == "not" else None


_IDENTITIES = {
    "add": _add,
    "sub": _sub,
    "and": _and,
    "or": _or,
    "xor": _xor,
    "shl": _shift,
    "lshr": _shift,
    "ashr": _shift,
    "select": _choose,
    "zext": _extend,
    "sext": _extend,
    "extract": _extract,
    "not": _not,
}


def leaf(op: str, width: int, attribute: Any, *args: Bits) -> Bits:
    """Make a leaf node: a field, a register's value, the clock, or a function's parameter."""
    assert op in LEAVES
    return Bits(op, width, args, attribute)


def all_of(*conditions: Bits) -> Bits:
    """1 if every condition is 1."""
    result = Bits.of(1, 1)
    for condition in conditions:
        result = result & condition
    return result


def any_of(*conditions: Bits) -> Bits:
    """1 if some condition is 1."""
    result = Bits.of(0, 1)
    for condition in conditions:
        result = result | condition
    return result
