"""The closed table of IR operations: one row each, one column for every reading of the IR.

This table is the living definition of the operations. A reading that lacks a row fails at import
(`require_columns`), never at a user's first instruction. Columns:

* `width`   result width in bits, from the argument widths and the attribute; raises WidthError;
* `python`  meaning on integers: called as python(w, k, *values), where `w` is the width of the
            first argument (of the result, if there is none) and `k` the attribute;
* `source`  the same as a Python expression template, for engines that emit source;
* `z3`      the same on z3 bit-vectors, called as z3(w, k, *terms);
* `llvm`    the same as LLVM text: the right-hand side of an assignment, or llvm(emit, w, k, *texts)
            where `emit` takes a right-hand side and returns the name of its value.

Effects (`EFFECT` in a column) are carried out by the reading's own method of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from isa.hints import Any, Final
from isa.late import Late
from isa.record import NamedTuple
from isa.words import mask, sdiv, signed, srem


class WidthError(Exception):
    """A meaning combined values whose widths do not fit: a bug of ours, shown at trace time."""


z3 = Late("z3")  # needed for proofs only

EFFECT: Final = "effect"
"""Column value: the reading carries the operation out by a method named as the operation."""

Attribute = Any
Emit = Callable[[str], str]
Widths = tuple[int, ...]


class Op(NamedTuple):
    """One row of the table."""

    name: str
    doc: str
    width: Callable[[Widths, Attribute], int]
    python: Callable[..., int] | str = EFFECT
    source: str = EFFECT
    z3: Callable[..., Any] | str = EFFECT
    llvm: Callable[..., str] | str = EFFECT
    faults: bool = False  # whether it may end its instruction with a fault

    @property
    def pure(self) -> bool:
        """Whether the result depends on the arguments alone."""
        return self.python is not EFFECT


# -- width rules ------------------------------------------------------------------------------


def _same(widths: Widths, _: Attribute) -> int:
    """All arguments and the result have one width."""
    if len(set(widths)) != 1:
        raise WidthError(f"the widths {widths} of the arguments must be equal: zext or sext one")
    return widths[0]


def _truth(widths: Widths, attribute: Attribute) -> int:
    _same(widths, attribute)
    return 1


def _select(widths: Widths, attribute: Attribute) -> int:
    if widths[0] != 1:
        raise WidthError(f"a condition is 1 bit wide, not {widths[0]}: compare it with something")
    return _same(widths[1:], attribute)


def _extended(widths: Widths, attribute: Attribute) -> int:
    if attribute < widths[0]:
        raise WidthError(f"cannot extend {widths[0]} bits to {attribute}: use extract to narrow")
    return int(attribute)


def _extracted(widths: Widths, attribute: Attribute) -> int:
    low, width = attribute
    if low < 0 or width < 1 or low + width > widths[0]:
        raise WidthError(f"bits {low}..{low + width - 1} lie outside a value of {widths[0]} bits")
    return int(width)


def _given(_: Widths, attribute: Attribute) -> int:
    """The attribute is (something, width)."""
    return int(attribute[1])


def _called(widths: Widths, attribute: Attribute) -> int:
    return int(attribute.result_width(widths))


def _counted(widths: Widths, attribute: Attribute) -> int:
    """Bulk operations return how many iterations they did: as wide as their count."""
    return widths[-1]


def _nothing(_: Widths, __: Attribute) -> int:
    return 0


# -- meanings that need a name ----------------------------------------------------------------


def _z3_truth(condition: Any) -> Any:
    return z3.If(condition, z3.BitVecVal(1, 1), z3.BitVecVal(0, 1))


def _z3_popcount(w: int, _: Attribute, a: Any) -> Any:
    total = z3.BitVecVal(0, w)
    for i in range(w):
        total = total + z3.ZeroExt(w - 1, z3.Extract(i, i, a))
    return total


def _z3_clz(w: int, _: Attribute, a: Any) -> Any:
    result = z3.BitVecVal(w, w)
    for i in range(w):
        result = z3.If(z3.Extract(i, i, a) == 1, z3.BitVecVal(w - 1 - i, w), result)
    return result


def _z3_ctz(w: int, _: Attribute, a: Any) -> Any:
    result = z3.BitVecVal(w, w)
    for i in reversed(range(w)):
        result = z3.If(z3.Extract(i, i, a) == 1, z3.BitVecVal(i, w), result)
    return result


def _llvm_divide(signed_division: bool, quotient: bool) -> Callable[..., str]:
    """Division with the answers for zero and overflow that LLVM leaves open."""
    name = ("s" if signed_division else "u") + ("div" if quotient else "rem")

    def lower(emit: Emit, w: int, _: Attribute, a: str, b: str) -> str:
        zero = emit(f"icmp eq i{w} {b}, 0")
        unsafe, by_zero = zero, str(mask(w)) if quotient else a
        if signed_division:
            negative = emit(f"icmp slt i{w} {a}, 0")
            by_zero = emit(f"select i1 {negative}, i{w} 1, i{w} -1") if quotient else a
            least = emit(f"icmp eq i{w} {a}, {1 << w - 1}")
            overflow = emit(f"and i1 {least}, {emit(f'icmp eq i{w} {b}, -1')}")
            unsafe = emit(f"or i1 {zero}, {overflow}")
        divisor = emit(f"select i1 {unsafe}, i{w} 1, i{w} {b}")
        result = emit(f"{name} i{w} {a}, {divisor}")  # the least number by 1 is what overflow gives
        return emit(f"select i1 {zero}, i{w} {by_zero}, i{w} {result}")

    return lower


def _llvm_shift(name: str) -> Callable[..., str]:
    """A shift by w or more, which LLVM leaves open."""

    def lower(emit: Emit, w: int, _: Attribute, a: str, b: str) -> str:
        most = f"i{w} {w - 1}"
        if name == "ashr":
            inside = emit(f"icmp ult i{w} {b}, {w}")
            return emit(f"ashr i{w} {a}, {emit(f'select i1 {inside}, i{w} {b}, {most}')}")
        if b.isdigit():
            return emit(f"{name} i{w} {a}, {b}") if int(b) < w else "0"
        shifted = emit(f"{name} i{w} {a}, {b}")
        return emit(f"select i1 {emit(f'icmp ult i{w} {b}, {w}')}, i{w} {shifted}, i{w} 0")

    return lower


def _llvm_extract(emit: Emit, w: int, k: Attribute, a: str) -> str:
    low, width = k
    shifted = emit(f"lshr i{w} {a}, {low}") if low else a
    return emit(f"trunc i{w} {shifted} to i{width}") if width < w else shifted


def _llvm_concat(emit: Emit, w: int, k: Attribute, a: str, b: str) -> str:
    total = w + k
    high = emit(f"shl i{total} {emit(f'zext i{w} {a} to i{total}')}, {k}")
    return emit(f"or i{total} {high}, {emit(f'zext i{k} {b} to i{total}')}")


def _llvm_count(name: str, more: str = "") -> str:
    return f"call i{{w}} @llvm.{name}.i{{w}}(i{{w}} {{a}}{more})"


# -- the table --------------------------------------------------------------------------------
# In `source`: {a} {b} {c} are the arguments, {m} the mask and {s} the sign bit of the first
# argument's width {w}, {k} the attribute, {r} the mask of the result; in `llvm` {x} is its width.

_ROWS = (
    # Leaves: what an instruction starts from.
    Op("const", "the number `value`", _given),
    Op("field", "an operand field of the decoded instruction, by name", _given),
    Op("get", "a register as it was before the instruction", _given),
    Op("get_indexed", "the register of a file that the argument selects", _given),
    Op("clock", "guest instructions retired before this one", _given),
    Op("parameter", "argument number `n` of a function", _given),
    # Arithmetic, modulo 2^w.
    Op("add", "sum", _same, lambda w, k, a, b: a + b & mask(w), "({a} + {b} & {m})",
       lambda w, k, a, b: a + b,
       "add i{w} {a}, {b}"),
    Op("sub", "difference", _same, lambda w, k, a, b: a - b & mask(w), "({a} - {b} & {m})",
       lambda w, k, a, b: a - b,
       "sub i{w} {a}, {b}"),
    Op("mul", "low half of the product", _same, lambda w, k, a, b: a * b & mask(w),
       "({a} * {b} & {m})", lambda w, k, a, b: a * b,
       "mul i{w} {a}, {b}"),
    Op("udiv", "unsigned quotient; by zero: all ones", _same,
       lambda w, k, a, b: a // b if b else mask(w), "({a} // {b} if {b} else {m})",
       lambda w, k, a, b: z3.UDiv(a, b),
       _llvm_divide(False, True)),
    Op("urem", "unsigned remainder; by zero: the dividend", _same,
       lambda w, k, a, b: a % b if b else a, "({a} % {b} if {b} else {a})",
       lambda w, k, a, b: z3.URem(a, b),
       _llvm_divide(False, False)),
    Op("sdiv", "signed quotient, toward zero; by zero: 1 or -1", _same,
       lambda w, k, a, b: sdiv(w, a, b), "sdiv({w}, {a}, {b})", lambda w, k, a, b: a / b,
       _llvm_divide(True, True)),
    Op("srem", "signed remainder; by zero: the dividend", _same,
       lambda w, k, a, b: srem(w, a, b), "srem({w}, {a}, {b})", lambda w, k, a, b: z3.SRem(a, b),
       _llvm_divide(True, False)),
    # Logic.
    Op("and", "bitwise and", _same, lambda w, k, a, b: a & b, "({a} & {b})",
       lambda w, k, a, b: a & b,
       "and i{w} {a}, {b}"),
    Op("or", "bitwise or", _same, lambda w, k, a, b: a | b, "({a} | {b})",
       lambda w, k, a, b: a | b,
       "or i{w} {a}, {b}"),
    Op("xor", "bitwise exclusive or", _same, lambda w, k, a, b: a ^ b, "({a} ^ {b})",
       lambda w, k, a, b: a ^ b,
       "xor i{w} {a}, {b}"),
    Op("not", "bitwise complement", _same, lambda w, k, a: a ^ mask(w), "({a} ^ {m})",
       lambda w, k, a: ~a,
       "xor i{w} {a}, -1"),
    # Shifts: an amount of w or more shifts everything out.
    Op("shl", "shift left", _same, lambda w, k, a, b: a << b & mask(w) if b < w else 0,
       "({a} << {b} & {m} if {b} < {w} else 0)", lambda w, k, a, b: a << b,
       _llvm_shift("shl")),
    Op("lshr", "logical shift right", _same, lambda w, k, a, b: a >> b, "({a} >> {b})",
       lambda w, k, a, b: z3.LShR(a, b),
       _llvm_shift("lshr")),
    Op("ashr", "arithmetic shift right", _same,
       lambda w, k, a, b: signed(w, a) >> b & mask(w), "(({a} ^ {s}) - {s} >> {b} & {m})",
       lambda w, k, a, b: a >> b,
       _llvm_shift("ashr")),
    # Comparisons: 1 bit.
    Op("eq", "equal", _truth, lambda w, k, a, b: int(a == b), "({a} == {b})",
       lambda w, k, a, b: _z3_truth(a == b),
       "icmp eq i{w} {a}, {b}"),
    Op("ne", "not equal", _truth, lambda w, k, a, b: int(a != b), "({a} != {b})",
       lambda w, k, a, b: _z3_truth(a != b),
       "icmp ne i{w} {a}, {b}"),
    Op("ult", "unsigned less than", _truth, lambda w, k, a, b: int(a < b), "({a} < {b})",
       lambda w, k, a, b: _z3_truth(z3.ULT(a, b)),
       "icmp ult i{w} {a}, {b}"),
    Op("ule", "unsigned at most", _truth, lambda w, k, a, b: int(a <= b), "({a} <= {b})",
       lambda w, k, a, b: _z3_truth(z3.ULE(a, b)),
       "icmp ule i{w} {a}, {b}"),
    Op("slt", "signed less than", _truth,
       lambda w, k, a, b: int(signed(w, a) < signed(w, b)), "(({a} ^ {s}) < ({b} ^ {s}))",
       lambda w, k, a, b: _z3_truth(a < b),
       "icmp slt i{w} {a}, {b}"),
    Op("sle", "signed at most", _truth,
       lambda w, k, a, b: int(signed(w, a) <= signed(w, b)), "(({a} ^ {s}) <= ({b} ^ {s}))",
       lambda w, k, a, b: _z3_truth(a <= b),
       "icmp sle i{w} {a}, {b}"),
    Op("select", "the second argument if the first is 1, else the third", _select,
       lambda w, k, a, b, c: b if a else c, "({b} if {a} else {c})",
       lambda w, k, a, b, c: z3.If(a == 1, b, c),
       "select i1 {a}, i{x} {b}, i{x} {c}"),
    # Widths.
    Op("zext", "extend with zeros to `k` bits", _extended, lambda w, k, a: a, "{a}",
       lambda w, k, a: z3.ZeroExt(k - w, a),
       "zext i{w} {a} to i{x}"),
    Op("sext", "extend with the sign to `k` bits", _extended,
       lambda w, k, a: signed(w, a) & mask(k), "(({a} ^ {s}) - {s} & {r})",
       lambda w, k, a: z3.SignExt(k - w, a),
       "sext i{w} {a} to i{x}"),
    Op("extract", "`k` = (low, width): that many bits from bit `low`", _extracted,
       lambda w, k, a: a >> k[0] & mask(k[1]), "({a} >> {k[0]} & {r})",
       lambda w, k, a: z3.Extract(k[0] + k[1] - 1, k[0], a),
       _llvm_extract),
    Op("concat", "the first argument above the second, which is `k` bits wide",
       lambda widths, _: sum(widths), lambda w, k, a, b: a << k | b, "({a} << {k} | {b})",
       lambda w, k, a, b: z3.Concat(a, b),
       _llvm_concat),
    # Counting bits.
    Op("popcount", "how many bits are 1", _same, lambda w, k, a: a.bit_count(),
       "({a}).bit_count()", _z3_popcount,
       _llvm_count("ctpop")),
    Op("clz", "zeros above the highest 1; w for zero", _same,
       lambda w, k, a: w - a.bit_length(), "({w} - ({a}).bit_length())", _z3_clz,
       _llvm_count("ctlz", ", i1 false")),
    Op("ctz", "zeros below the lowest 1; w for zero", _same,
       lambda w, k, a: (a & -a).bit_length() - 1 if a else w,
       "((({a}) & -({a})).bit_length() - 1 if {a} else {w})", _z3_ctz,
       _llvm_count("cttz", ", i1 false")),
    # Functions written in the IR: flag families, kept whole so that an engine may delay them.
    Op("call", "a pure function `k` of the arguments, itself written in the IR", _called),
    # Effects, in program order. Register writes take effect together at the end; a fault takes
    # back everything the instruction did.
    Op("load", "`k` = (space, width): read memory", _given, faults=True),
    Op("load_for_write", "`k` = (space, width): the same of a place that must be writable",
       _given, faults=True),
    Op("store", "`k` = space: write the second argument at the first", _nothing, faults=True),
    Op("copy", "`k` = (space, width): repeat [second] := [first]; see Builder.copy", _counted,
       faults=True),
    Op("fill", "`k` = (space, width): repeat [first] := second", _counted, faults=True),
    Op("scan", "`k` = (space, width, while_equal): repeat compare second with [first]",
       _counted, faults=True),
    Op("compare", "`k` = (space, width, while_equal): repeat compare [first] with [second]",
       _counted, faults=True),
    Op("when", "carry out the region `k` if the argument is 1", _nothing),
    Op("result", "`k` = (n, width): the n-th value that a `when` yields", _given),
    Op("fault", "`k` = vector: the instruction ends with this fault", _nothing, faults=True),
    Op("exit", "`k` = reason: after the instruction, leave the engine", _nothing),
    Op("retire", "the instruction counts as that many instructions instead of one", _nothing),
    Op("undefined", "`k` = target: the manual leaves the target undefined if the argument is 1",
       _nothing),
    Op("put", "`k` = register: its value after the instruction", _nothing),
    Op("put_indexed", "`k` = file: the same for the register that the first argument selects",
       _nothing),
)  # fmt: skip

OPS: Final[dict[str, Op]] = {row.name: row for row in _ROWS}
LEAVES: Final = ("const", "field", "get", "get_indexed", "clock", "parameter")


def require_columns(reading: object, names: Iterable[str] | None = None) -> None:
    """Check that `reading` has a method for every operation that the table leaves to it.

    Raises TypeError naming what is missing; readings call it when they are imported.
    """
    wanted = [n for n, row in OPS.items() if row.python is EFFECT] if names is None else names
    missing = [n for n in wanted if not hasattr(reading, f"do_{n}")]
    if missing:
        raise TypeError(f"{reading!r} has no meaning for the operations: {', '.join(missing)}")
