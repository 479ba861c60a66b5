"""The sixteen conditions of Jcc, SETcc and CMOVcc (SDM volume 1, appendix B)."""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.hints import Final
from isa.x86.builder import X86Builder
from isa.x86.registers import CF, OF, PF, SF, ZF
from isa.x86.table import Meaning, instruction

_TESTS: Final[tuple[tuple[str, str, Callable[[X86Builder], Bits]], ...]] = (
    ("o", "no", lambda m: m.flag(OF)),
    ("b", "ae", lambda m: m.flag(CF)),
    ("e", "ne", lambda m: m.flag(ZF)),
    ("be", "a", lambda m: m.flag(CF) | m.flag(ZF)),
    ("s", "ns", lambda m: m.flag(SF)),
    ("p", "np", lambda m: m.flag(PF)),
    ("l", "ge", lambda m: m.flag(SF) ^ m.flag(OF)),
    ("le", "g", lambda m: m.flag(SF) ^ m.flag(OF) | m.flag(ZF)),
)
"""Name, name of the opposite, and test, in the order of their encoding."""

CONDITIONS: Final = tuple(name for row in _TESTS for name in row[:2])


def holds(m: X86Builder, condition: str) -> Bits:
    """1 if the condition, by the manual's name, holds before the instruction."""
    number = CONDITIONS.index(condition)
    holding = _TESTS[number // 2][2](m)
    return ~holding if number % 2 else holding


def for_each_condition(
    prefix: str, heading: str, since: str = "8086", escaped_since: str = ""
) -> Callable[[Meaning], Meaning]:
    """Decorator: enter a meaning under sixteen mnemonics; it is told the condition first."""

    def enter(meaning: Meaning) -> Meaning:
        for name in CONDITIONS:
            instruction(
                f"{prefix}{name}", heading=heading, parameters=(name,), since=since,
                escaped_since=escaped_since,
            )(meaning)  # fmt: skip
        return meaning

    return enter
