"""Put the same cases to an emulator and to silicon, and say where they differ.

The emulator's side is a callable, the executor: `execute(case) -> (Answer, Undefined)`, or None
for a case it does not take. It loads `case.pages()`, sets registers, flags and the flat segments,
runs `case.limit` instructions (one iteration of REP is one) or until eip leaves the code, and
returns the state after.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from .cases import LEGACY_PREFIXES, Forms, text
from .native import BATCH, COMPARED, FLAG_NAMES, REGISTERS, Answer, Case, Fpu, Silicon, Sse

REFUSED = 0.03  # operands that wrap: isa/DIVERGENCES.md


@dataclass(frozen=True, slots=True)
class Undefined:
    """What the meaning of an instruction leaves open: eflags bits, registers, memory, bits of the
    x87's status word."""

    eflags: int = 0
    registers: frozenset[str] = frozenset()
    memory: bool = False
    status: int = 0

    def __or__(self, other: Undefined) -> Undefined:
        return Undefined(
            self.eflags | other.eflags,
            self.registers | other.registers,
            self.memory or other.memory,
            self.status | other.status,
        )


Executor = Callable[[Case], tuple[Answer, Undefined] | None]
Progress = Callable[[str], None]

PAGE_FAULT = 14
PAGE_FAULT_BITS = 0b111
"""Present, write, user. The instruction-fetch bit appears only where the host has NX."""


def half_done(case: Case, expected: Answer) -> Undefined:
    """What microcode may leave half written when it faults: POPA registers, PUSHA, ENTER memory.

    Another processor writes another part of it, and a restart writes it again.
    """
    if expected.fault is None:
        return Undefined()
    opcode = case.code.lstrip(LEGACY_PREFIXES)[:1]
    return Undefined(
        registers=frozenset(REGISTERS if opcode == b"\x61" else ()),
        memory=opcode in (b"\x60", b"\xc8"),
    )


def other_operand_first(case: Case, expected: Answer, got: Answer) -> bool:
    """Whether CMPS, both of whose operands are missing, was found out at the other one: the manual
    gives them no order, and one family of processors reports now the one, now the other."""
    code = case.code[max(got.eip - case.origin, 0) :]  # of the instruction that faults
    opcode = code.lstrip(LEGACY_PREFIXES)[:1]
    ours, theirs = got.fault, expected.fault
    if (
        got.eip != expected.eip
        or opcode not in (b"\xa6", b"\xa7")
        or ours is None
        or theirs is None
    ):
        return False
    if ours.vector != PAGE_FAULT or ours.address is None or theirs.address is None:
        return False
    prefixes = code[: len(code) - len(code.lstrip(LEGACY_PREFIXES))]
    reach = 0xFFFF if b"\x67" in prefixes else 0xFFFFFFFF
    source, target = (got.registers[name] & reach for name in ("esi", "edi"))
    same = (ours.vector, ours.code & PAGE_FAULT_BITS) == (
        theirs.vector,
        theirs.code & PAGE_FAULT_BITS,
    )
    return same and 0 <= ours.address - source < 4 and 0 <= theirs.address - target < 4


def other_part_first(case: Case, expected: Answer, got: Answer) -> bool:
    """Whether an image of the x87, partly missing, was found out at another byte: the manual gives
    its parts no order."""
    opcode, rest = case.code.lstrip(LEGACY_PREFIXES)[:1], case.code.lstrip(LEGACY_PREFIXES)[1:]
    ours, theirs = got.fault, expected.fault
    images = {b"\xd9": (4, 6), b"\xdd": (4, 6)}.get(opcode, ())
    if ours is None or theirs is None or not rest or rest[0] >> 3 & 7 not in images:
        return False
    if ours.address is None or theirs.address is None or ours.vector != theirs.vector:
        return False
    same = ours.code & PAGE_FAULT_BITS == theirs.code & PAGE_FAULT_BITS
    return same and abs(ours.address - theirs.address) < IMAGE


IMAGE = 108
"""Bytes of the largest image of the x87."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One disagreement, readable as it stands."""

    form: str
    case: Case
    expected: Answer
    got: Answer
    details: tuple[str, ...]

    def __str__(self) -> str:
        case = self.case
        registers = " ".join(f"{name}={case.registers.get(name, 0):08x}" for name in REGISTERS)
        lines = [
            f"{text(case.code, case.origin)}   [{case.code.hex(' ')}]   form {self.form}",
            f"  before: {registers} eflags={case.eflags:08x} ({flags_text(case.eflags)})",
            *(f"  {detail}" for detail in self.details),
            f"  {case!r}",
        ]
        return "\n".join(lines)


@dataclass
class Result:
    """What a comparison found. `differences` holds the first ones, `differing` counts all."""

    executed: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[Case, str]] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        total = sum(self.executed.values())
        head = (
            f"{total} cases of {len(self.executed)} forms in {self.seconds:.1f} s: "
            f"{sum(self.differing.values())} differ in {len(self.differing)} forms, "
            f"{sum(self.refused.values())} refused, {len(self.lost)} lost"
        )
        worst = [
            f"  {form}: {count} of {self.executed[form]}"
            for form, count in self.differing.most_common()
        ]
        return "\n".join([head, *worst, *map(str, self.differences)])


def check(result: Result) -> None:
    """No difference, nothing lost, hardly anything refused."""
    assert not result.differing and not result.lost, str(result)
    assert sum(result.refused.values()) <= REFUSED * sum(result.executed.values()), str(result)


def flags_text(eflags: int) -> str:
    """The names of the flags that are set."""
    return " ".join(name for bit, name in FLAG_NAMES.items() if eflags & bit)


def differences(expected: Answer, got: Answer, undefined: Undefined = Undefined()) -> list[str]:
    """Each disagreement in a line; silicon is what was expected."""
    found = [
        f"{name}: expected {expected.registers[name]:08x}, got {got.registers[name]:08x}"
        for name in REGISTERS
        if name not in undefined.registers and expected.registers[name] != got.registers[name]
    ]
    found += _flag_difference(expected.eflags, got.eflags, COMPARED & ~undefined.eflags)
    for name in ("eip", "iterations"):
        left, right = getattr(expected, name), getattr(got, name)
        if left != right:
            found.append(f"{name}: expected {left:x}, got {right:x}")
    if not undefined.memory:
        found += _memory_difference(expected, got)
    found += _fpu_difference(expected.fpu, got.fpu, ~undefined.status)
    found += _sse_difference(expected.sse, got.sse)
    return found + _fault_difference(expected, got) + _selector_difference(expected, got)


def _flag_difference(expected: int, got: int, mask: int) -> list[str]:
    wrong = (expected ^ got) & mask
    if not wrong:
        return []
    left, right = flags_text(expected & mask), flags_text(got & mask)
    return [f"flags {flags_text(wrong)} differ: expected ({left}), got ({right})"]


def _memory_difference(expected: Answer, got: Answer) -> list[str]:
    def byte(answer: Answer, address: int) -> str:
        number = answer.memory.get(address)
        return "unchanged" if number is None else f"{number:02x}"

    addresses = sorted(expected.memory.keys() | got.memory.keys())
    wrong = [a for a in addresses if expected.memory.get(a) != got.memory.get(a)]
    lines = [
        f"memory {address:08x}: expected {byte(expected, address)}, got {byte(got, address)}"
        for address in wrong[:8]
    ]
    return lines + ([f"… and {len(wrong) - 8} bytes more"] if len(wrong) > 8 else [])


def _fpu_difference(expected: Fpu | None, got: Fpu | None, mask: int) -> list[str]:
    """Only if both sides tell."""
    if expected is None or got is None:
        return []
    found = [
        f"{name}: expected {left:04x}, got {right:04x}"
        for name, left, right in (
            ("control", expected.control, got.control),
            ("status", expected.status & mask, got.status & mask),
            ("full", expected.full, got.full),
        )
        if left != right
    ]
    pairs = enumerate(zip(expected.stack, got.stack, strict=True))
    return found + [f"ST({n}): expected {a:020x}, got {b:020x}" for n, (a, b) in pairs if a != b]


def _sse_difference(expected: Sse | None, got: Sse | None) -> list[str]:
    """Only if both sides tell."""
    if expected is None or got is None:
        return []
    found = []
    if expected.mxcsr != got.mxcsr:
        found.append(f"mxcsr: expected {expected.mxcsr:04x}, got {got.mxcsr:04x}")
    pairs = enumerate(zip(expected.xmm, got.xmm, strict=True))
    return found + [f"xmm{n}: expected {a:032x}, got {b:032x}" for n, (a, b) in pairs if a != b]


def _fault_difference(expected: Answer, got: Answer) -> list[str]:
    if _fault_key(expected) == _fault_key(got):
        return []
    return [f"fault: expected {expected.fault}, got {got.fault}"]


def _fault_key(answer: Answer) -> tuple[int, int, int | None] | None:
    fault = answer.fault
    if fault is None:
        return None
    code = fault.code & PAGE_FAULT_BITS if fault.vector == PAGE_FAULT else fault.code
    return fault.vector, code, fault.address


def _selector_difference(expected: Answer, got: Answer) -> list[str]:
    """Only what the executor cares to report."""
    return [
        f"{name}: expected {expected.selectors[name]:04x}, got {selector:04x}"
        for name, selector in got.selectors.items()
        if selector != expected.selectors[name]
    ]


def compare(
    silicon: Silicon,
    execute: Executor,
    cases: Iterable[tuple[str, Case]],
    *,
    keep: int = 50,
    progress: Progress | None = None,
) -> Result:
    """Run (form, case) pairs on both sides. After `keep` differences they are only counted."""
    result, started = Result(), time.monotonic()
    for batch in _batches(cases, BATCH):
        answers = silicon.run([case for _, case in batch])
        for (form, case), answer in zip(batch, answers, strict=True):
            _judge(result, form, case, answer, execute, keep)
        result.seconds = time.monotonic() - started
        if progress is not None:
            done, differ = sum(result.executed.values()), sum(result.differing.values())
            progress(f"{done} cases, {differ} differ, {done / result.seconds:.0f}/s")
    return result


def _judge(
    result: Result, form: str, case: Case, expected: Answer, execute: Executor, keep: int
) -> None:
    if expected.lost is not None:
        result.lost.append((case, expected.lost))
        return
    outcome = execute(case)
    if outcome is None:
        result.refused[form] += 1
        return
    got, undefined = outcome
    if other_operand_first(case, expected, got) or other_part_first(case, expected, got):
        got = replace(got, fault=expected.fault)
    result.executed[form] += 1
    details = differences(expected, got, undefined | half_done(case, expected))
    if details:
        result.differing[form] += 1
        if len(result.differences) < keep:
            found = Difference(form, case, expected, got, tuple(details))
            result.differences.append(found)


def compare_forms(
    silicon: Silicon,
    execute: Executor,
    forms: Forms,
    count: int,
    *,
    seed: int | str = 0,
    keep: int = 50,
    progress: Progress | None = None,
) -> Result:
    """Draw `count` cases over all forms and compare them: the seed alone says which."""
    forms.counts.clear()
    cases = forms.cases(random.Random(seed), count)
    return compare(silicon, execute, cases, keep=keep, progress=progress)


def _batches(items: Iterable[tuple[str, Case]], size: int) -> Iterator[list[tuple[str, Case]]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
