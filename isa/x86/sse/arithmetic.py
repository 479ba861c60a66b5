"""Arithmetic on two numbers of 32 or 64 bits (SDM volume 1, sections 11.5 and 4.8.3.5).

Families of functions with the one result "result" (`Result.pack`), from operands and the word of
`Settings`. What they compute is `isa.x86.x87.arithmetic`'s, for one format has no arithmetic of
its own.
"""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.functions import family
from isa.x86.sse.operands import of_one, of_two, taken
from isa.x86.sse.settings import Settings
from isa.x86.x87 import arithmetic, nan
from isa.x86.x87.comparison import GREATER, LESS, order
from isa.x86.x87.conversion import FORMATS
from isa.x86.x87.number import Number
from isa.x86.x87.result import FLAGS, INVALID, Result, exact


def _compute(
    a: Bits, b: Bits, settings: Bits, operation: Callable[[Number, Number, Settings], Result]
) -> dict[str, Bits]:
    control = Settings(settings, FORMATS[a.width])
    x, y = taken(a, control), taken(b, control)
    return {"result": of_two(operation(x, y, control), x, y).pack()}


@family("result")
def add(a: Bits, b: Bits, settings: Bits) -> dict[str, Bits]:
    """a + b."""
    return _compute(a, b, settings, arithmetic.total)


@family("result")
def subtract(a: Bits, b: Bits, settings: Bits) -> dict[str, Bits]:
    """a - b."""
    return _compute(a, b, settings, arithmetic.difference)


@family("result")
def multiply(a: Bits, b: Bits, settings: Bits) -> dict[str, Bits]:
    """a × b."""
    return _compute(a, b, settings, arithmetic.product)


@family("result")
def divide(a: Bits, b: Bits, settings: Bits) -> dict[str, Bits]:
    """a / b."""
    return _compute(a, b, settings, arithmetic.quotient)


@family("result")
def square_root(a: Bits, settings: Bits) -> dict[str, Bits]:
    """The square root of a; of -0 it is -0."""
    control = Settings(settings, FORMATS[a.width])
    x = taken(a, control)
    return {"result": of_one(arithmetic.root(x, control), x).pack()}


def _chosen(a: Bits, b: Bits, settings: Bits, wanted: int) -> dict[str, Bits]:
    """a if it is in the wanted relation to b, else b: of two zeros too, and if one is a NaN."""
    control = Settings(settings, FORMATS[a.width])
    x, y = taken(a, control), taken(b, control)
    some_nan = x.nan | y.nan
    result = exact((order(x, y) == wanted).select(x.bits, y.bits))
    result = nan.told(result, x.denormal | y.denormal)
    return {"result": result.or_else(some_nan, exact(y.bits, Bits.of(INVALID, FLAGS))).pack()}


@family("result")
def minimum(a: Bits, b: Bits, settings: Bits) -> dict[str, Bits]:
    """The lesser of two numbers."""
    return _chosen(a, b, settings, LESS)


@family("result")
def maximum(a: Bits, b: Bits, settings: Bits) -> dict[str, Bits]:
    """The greater of two numbers."""
    return _chosen(a, b, settings, GREATER)
