"""What this processor did, read against what was derived."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vmm.redpill.probe import Result, Silicon
from vmm.redpill.subjects import Subject
from vmm.redpill.thunk import DATA, DATA_32, MARK
from vmm.x86.classify import X86Class, classify_row
from vmm.x86.configuration import X86Configuration

EMULATED: Final = 500
"""Cycles that no instruction takes by itself: it has trapped, and somebody has done its work."""
WIDTH: Final = 100


@dataclass(frozen=True, slots=True)
class Line:
    """An instruction: what it did here, and its derived class, if that was asked for."""

    subject: Subject
    result: Result
    base: int
    derived: X86Class | None

    @property
    def verdict(self) -> str:
        """traps, emulated, silently ignored, leaks, acts or executes."""
        if not self.result.executed:
            return "traps"
        if self.result.seen.cycles >= EMULATED:
            return "emulated"
        return "executes" if self.derived is None else _meaning(self.derived)

    @property
    def signal(self) -> str:
        """The signal that the system made of the trap."""
        number = self.result.signal
        return signal.Signals(number).name if number and not self.result.executed else ""

    @property
    def class_(self) -> str:
        """The derived class in a word."""
        if self.derived is None:
            return ""
        if self.derived.critical:
            return "critical"
        return "privileged" if self.derived.privileged else "innocuous"

    @property
    def told(self) -> str:
        """What it has left in registers, in memory or on the stack."""
        seen = self.result.seen
        if not self.result.executed:
            return ""
        ebx = self.base + DATA if self.subject.in_memory else DATA_32
        values = (("eax", seen.eax, MARK), ("ebx", seen.ebx, ebx), ("edx", seen.edx, MARK))
        told = [f"{name}={now:x}" for name, now, before in values if now != before]
        told += [f"pushed {seen.stack:x}"] * bool(seen.stack and not self.subject.far)
        if seen.memory[:4] != MARK.to_bytes(4, "little") and not self.subject.far:
            limit, base = (int.from_bytes(p, "little") for p in (seen.memory[:2], seen.memory[2:6]))
            told.append(f"limit {limit:x} base {base:x}")
        return " ".join(told)


def _meaning(derived: X86Class) -> str:
    """What it means that an instruction was carried out in user mode."""
    if derived.evidence["control_sensitive"].user:
        return "acts"
    if derived.behaviour_sensitive:
        return "leaks"
    return "silently ignored" if derived.supervisor_sensitive else "executes"


def lines(
    silicon: Silicon, configuration: X86Configuration, chosen: Iterable[Subject], *, derive: bool
) -> Iterator[Line]:
    """Carry out every subject."""
    for subject in chosen:
        result = silicon.carry_out(
            subject.sample.code, far=subject.far, in_memory=subject.in_memory
        )
        derived = classify_row(configuration, subject.row) if derive else None
        yield Line(subject, result, silicon.base, derived)


def table(found: list[Line], nothing: int) -> str:
    """The table for the terminal."""
    width = max(len(line.subject.row.name) for line in found)
    told = [f"{'':<{width}}  {'here':<16} {'derived':<10} cycles  tells"]
    for line in found:
        cycles = str(line.result.seen.cycles) if line.result.executed else line.signal
        told.append(f"{line.subject.row.name:<{width}}  {line.verdict:<16} {line.class_:<10} "
                    f"{cycles:<7} {line.told}"[:WIDTH].rstrip())  # fmt: skip
    return "\n".join([*told, *textwrap.wrap(_legend(nothing), WIDTH)])


def _legend(nothing: int) -> str:
    return (
        "traps: the system was told (and made a signal of it). emulated: it trapped and somebody – "
        "a kernel for UMIP, or a monitor – did its work. leaks: it tells what is not the program's "
        "own. silently ignored: what s would change stays. acts: it changes the real machine's "
        f"segments or level. Cycles are the fewest of many; nothing at all takes {nothing}."
    )


def facts(line: Line) -> Mapping[str, Any]:
    """One line for programs."""
    seen = line.result.seen
    return {
        "name": line.subject.row.name,
        "bytes": line.subject.sample.code.hex(),
        "verdict": line.verdict,
        "derived": line.class_ or None,
        "signal": line.signal or None,
        "cycles": seen.cycles if line.result.executed else None,
        "tells": line.told,
    }
