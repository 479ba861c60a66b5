"""Pure functions written in the IR, and families of them: how an operation leaves the flags.

A call stays one node (`call`) until a reading expands it, so that an engine may keep the operands
and compute the flag only if somebody reads it. The function's body is the only definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from isa.bits import Bits, folded, leaf
from isa.hints import Any
from isa.trace import Rewriter

Meaning = Callable[..., dict[str, Bits]]


class Function:
    """One result of a family: a pure function of Bits, traced once for each set of widths."""

    def __init__(self, family: str, result: str, meaning: Meaning) -> None:
        self.family = family
        self.result = result
        self.module = meaning.__module__
        self._meaning = meaning
        self.body = cache(self._body)
        self.differs = cache(self._differs)

    def __repr__(self) -> str:
        return f"{self.family}.{self.result}"

    def _body(self, widths: tuple[int, ...]) -> Bits:
        """The expression over `parameter` nodes."""
        return self._meaning(*_parameters(widths))[self.result]

    def result_width(self, widths: tuple[int, ...]) -> int:
        """Width of the result for arguments of these widths."""
        return self.body(widths).width

    def _differs(self, other: Function, widths: tuple[int, ...]) -> Bits | None:
        """Whether this result is not the same as another one (both of one bit), if that is an
        operation on the parameters: of these widths."""
        interned: dict[Any, Bits] = {}
        bodies = [Rewriter(interned=interned).value(f.body(widths)) for f in (self, other)]
        found = folded("xor", (bodies[0], bodies[1]), None, 1)
        parameters = all(argument.op == "parameter" for argument in found.args)
        return found if found.op != "xor" and found.args and parameters else None

    def inline(self, args: Sequence[Bits]) -> Bits:
        """The body with the arguments in place of the parameters."""

        def substitute(node: Bits) -> Bits | None:
            return args[node.attribute[0]] if node.op == "parameter" else None

        return Rewriter(substitute).value(self.body(tuple(a.width for a in args)))

    def __call__(self, *args: Bits) -> Bits:
        """A call node; computed at once if every argument is known."""
        if all(a.is_const for a in args):
            return self.inline(args)
        return Bits("call", self.result_width(tuple(a.width for a in args)), args, self)


@cache
def _parameters(widths: tuple[int, ...]) -> tuple[Bits, ...]:
    return tuple(leaf("parameter", w, (i, w)) for i, w in enumerate(widths))


class Family:
    """Functions of the same arguments, by result name: `ADD(a, b, carry)["cf"]`."""

    def __init__(self, name: str, results: tuple[str, ...], meaning: Meaning) -> None:
        self.name = name
        self.functions = {r: Function(name, r, meaning) for r in results}
        self.__doc__ = meaning.__doc__

    def __call__(self, *args: Bits) -> dict[str, Bits]:
        """Every result as a call node."""
        return {name: function(*args) for name, function in self.functions.items()}


def family(*results: str) -> Callable[[Meaning], Family]:
    """Decorator: make a family of a function that returns a dictionary with these keys."""
    return lambda meaning: Family(meaning.__name__, results, meaning)
