"""What keeps an instruction from meaning the same at real CPL 3: derived from its traces.

An instruction of virtual ring 0 may run directly if its meaning at CPL 3 is that at CPL 0, with
the user's data space for the supervisor's, and neither reads nor writes what the monitor keeps for
itself in the real processor. Nothing here knows an instruction by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

from isa.bits import Bits
from isa.registers import Register
from isa.trace import Region, Trace
from isa.x86 import registers as r
from isa.x86.form import Form
from isa.x86.tracing import trace
from vmm.pc.processor import KEPT, REAL_CPL

_SAME: Final = frozenset({r.TSC_OFFSET, r.GDT_LIMIT, r.LDT_LIMIT, r.LDT_ATTRIBUTES, r.AM, r.PE})
"""What is kept in name only: it holds what the guest would find there, or is made up for."""
_LEVELS: Final = frozenset({r.SEGMENTS["cs"].selector, r.SEGMENTS["ss"].selector})
TELLING: Final = (KEPT - _SAME) | _LEVELS
"""Registers whose real content is not the virtual one."""
SHOWN: Final = 4  # names of registers in an explanation
_SPACES: Final = {"system": "data", "linear": "data"}


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Why a form must not run directly in the supervisor's place; falsy if it may."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    by_level: bool

    def __bool__(self) -> bool:
        return bool(self.reads or self.writes or self.by_level)

    def __str__(self) -> str:
        told = []
        if self.by_level:
            told.append("means something else at CPL 3 than at CPL 0")
        if self.writes:
            told.append(f"writes {_few(self.writes)}, which the monitor keeps")
        if self.reads:
            told.append(f"reads {_few(self.reads)}, where the monitor's are")
        return "; ".join(told) or "innocuous"


@cache
def sensitivity(form: Form) -> Sensitivity:
    """Of a form as the virtual processor decodes it."""
    found = trace(form)
    interned: dict[Any, int] = {}
    by_level = _shape(found, interned) != _shape(trace(at_level(form, REAL_CPL)), interned)
    return Sensitivity(_names(found.read()), _names(found.written()), by_level)


def _few(names: tuple[str, ...]) -> str:
    return " ".join(names) if len(names) <= SHOWN else f"{' '.join(names[:SHOWN])} …"


def at_level(form: Form, level: int) -> Form:
    """The same bytes at another CPL."""
    return form._replace(mode=form.mode._replace(cpl=level))


def _names(registers: set[Register]) -> tuple[str, ...]:
    return tuple(register.name.upper() for register in sorted(
        registers & TELLING, key=lambda register: register.slot
    ))  # fmt: skip


def _shape(found: Trace, interned: dict[Any, int]) -> int:
    """A number that two traces share if they are the same expression."""
    return _region(found.region, interned, {})


def _region(region: Region, interned: dict[Any, int], known: dict[int, int]) -> int:
    effects = tuple([_node(effect, interned, known) for effect in region.effects])
    return interned.setdefault(("region", effects), len(interned))


def _node(node: Bits, interned: dict[Any, int], known: dict[int, int]) -> int:
    found = known.get(id(node))
    if found is None:
        args = tuple([_node(arg, interned, known) for arg in node.args])
        attribute = tuple(_attribute(node, interned, known))
        found = interned.setdefault((node.op, node.width, args, attribute), len(interned))
        known[id(node)] = found
    return found


def _attribute(node: Bits, interned: dict[Any, int], known: dict[int, int]) -> Iterator[Any]:
    attribute = node.attribute
    if node.op == "when":
        yield _region(attribute.region, interned, known)
        for pair in attribute.yields:
            yield tuple([_node(value, interned, known) for value in cast(tuple[Bits, Bits], pair)])
    elif isinstance(attribute, tuple):
        yield from [_SPACES.get(a, a) if isinstance(a, str) else a for a in attribute]
    else:
        yield attribute
