"""The translating monitor: guest kernels run from a cache in which dangerous instructions trap.

Code of virtual supervisor mode is scanned ahead of execution and copied, one word for one, into the
control program's own storage, and runs there with R = the cache. What cannot affect or observe
anything but registers and P is copied as it is; a jump is made to go to the copy of its target;
everything else (whatever refers to storage, M, R or a port, what is privileged, what is critical,
what reads P) becomes a word that always traps, and the instruction is then interpreted from the
guest's own memory. So the guest's memory is never changed, and what the guest sees of it is true.

One word for one keeps the guest's time exact: `until` means the same in the cache. Virtual user
mode runs directly, in place.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np

from emu.exit import Exit
from emu.state import State
from emu.toy.machine import ToyMachine
from isa.bits import Bits
from isa.registers import Role
from isa.toy import Toy
from isa.toy.registers import USER
from isa.trace import Trace
from vmm.monitors.allocation import Allocation, AllocationError
from vmm.monitors.control_program import Monitor

LONGEST: Final = 64  # words scanned at a time
_ALONE = ("load", "store", "load_for_write", "clock", "exit")


@dataclass(slots=True)
class Cache:
    """Where copies are: by the R and P of the original, and back from a word of the cache."""

    size: int
    slots: dict[tuple[tuple[int, int], int], int] = field(default_factory=dict)
    origin: list[int] = field(default_factory=list)  # word of the cache -> the guest's P
    leaving: list[tuple[tuple[int, int], int, int]] = field(default_factory=list)  # to be linked
    addresses: list[int] = field(default_factory=list)  # of what was scanned, in the guest
    words: list[int] = field(default_factory=list)
    flushes: int = 0

    def flush(self) -> None:
        """Forget everything."""
        if self.origin:
            self.flushes += 1
        self.slots.clear()
        for old in (self.origin, self.leaving, self.addresses, self.words):
            old.clear()


class Translation(Monitor):
    """Scans, copies, links; `critical` are names that must trap besides those found by meaning."""

    name = "translation"
    kept_granules: ClassVar[int] = 17
    keeps_words: ClassVar[bool] = True

    def __init__(
        self, below: ToyMachine, allocation: Allocation, isa: Toy, critical: Collection[str] = ()
    ) -> None:
        super().__init__(below, allocation, isa)
        granule = isa.shape.granule
        if self.own.words < 2 * granule:
            raise AllocationError(
                f"translation keeps a cache below the allocation; let it start at {2 * granule} "
                "words or above"
            )
        self._cache_base = granule
        self.cache = Cache(self.own.words - granule)
        self._plain = {n for n in isa.rows if n not in critical and is_plain(isa.trace(n), isa)}
        self._jumps = {n for n in isa.rows if n not in critical and is_jump(isa.trace(n), isa)}
        self._trapping = trapping_word(isa)
        self._memory_changed = True

    @property
    def replaced(self) -> frozenset[str]:
        """The instructions that never run from the cache."""
        return frozenset(self.isa.rows) - self._plain - self._jumps

    # -- running -----------------------------------------------------------------------------

    def run(self, state: State, until: int) -> Exit:
        """See the engine contract; between two runs devices may have changed storage."""
        self._memory_changed = True
        return super().run(state, until)

    def advance(self, state: State, until: int) -> Exit | None:
        """User programs directly; kernels from the cache, or by interpretation where it traps."""
        if not self.is_supervisor(state):
            self._memory_changed = True  # a program may write to the kernel's code
            return self.direct(state, until)
        if state.breakpoints:
            return self.interpret(state)
        self._validate(state)
        slot = self._slot(state)
        if slot is None or self._copy(slot) == self._trapping:
            self._memory_changed = True
            return self.interpret(state)
        return self._run_copy(state, until, slot)

    def _run_copy(self, state: State, until: int, slot: int) -> Exit | None:
        machine, granule = self.below.state, self.isa.shape.granule
        self._load(state, machine)
        machine["mode"], machine["p"] = USER, slot
        machine["l"], machine["b"] = self._cache_base // granule, self.cache.size // granule
        machine.breakpoints = set()
        stop = self._let_run(state, until)
        self._store(state, machine)
        state["p"] = self.cache.origin[machine["p"]]
        if stop.fault is not None and self._copy(machine["p"]) == self._trapping:
            self.efficiency.exits["translated instruction"] += 1
            return None
        return self.dispatch(state, stop)

    def _copy(self, slot: int) -> int:
        return self.below.memory.view[self._cache_base + slot]

    # -- the cache ---------------------------------------------------------------------------

    def _validate(self, state: State) -> None:
        """Whatever was scanned must still be there."""
        if not self._memory_changed:
            return
        self._memory_changed = False
        memory = state.memory["physical"]
        now = memory.array[self.cache.addresses]  # type: ignore[attr-defined]
        if not np.array_equal(now, self.cache.words):
            self.cache.flush()

    def _slot(self, state: State) -> int | None:
        """Where the copy of the instruction at P is; None if it cannot be fetched."""
        key = (state["l"], state["b"]), state["p"]
        found = self.cache.slots.get(key)
        if found is None:
            found = self._translate(state, *key)
        return found

    def _translate(self, state: State, window: tuple[int, int], start: int) -> int | None:
        code = self._scan(state, start)
        if not code:
            return None
        if len(self.cache.origin) + 2 * len(code) + 1 > self.cache.size:
            self.cache.flush()
            if 2 * len(code) + 1 > self.cache.size:
                code = code[: self.cache.size // 2 - 1]
        first = len(self.cache.origin)
        base = state["l"] * self.isa.shape.granule
        for offset, word in enumerate(code):
            self.cache.slots.setdefault((window, start + offset), first + offset)
            self.cache.addresses.append(base + start + offset)
            self.cache.words.append(word)
            self.cache.origin.append(start + offset)
        self._leave_stub(start + len(code))
        for offset, word in enumerate(code):
            self._put(first + offset, self._translated(window, word, first + offset))
        self._link()
        return first

    def _scan(self, state: State, start: int) -> list[int]:
        """Words from P on, up to a jump that is always taken or the end of what can be fetched."""
        shape, memory = self.isa.shape, state.memory["physical"]
        room = min(state["b"] * shape.granule, shape.storage - state["l"] * shape.granule)
        end = min(start + LONGEST, room, shape.words)
        found: list[int] = []
        for p in range(start, end):
            (word,) = memory.read(state["l"] * shape.granule + p, 1)  # type: ignore[attr-defined]
            found.append(word)
            if self.isa.decode_word(word).form == "JMP":
                break
        return found

    def _translated(self, window: tuple[int, int], word: int, slot: int) -> int:
        instruction = self.isa.decode_word(word)
        if instruction.form in self._plain:
            return word
        if instruction.form not in self._jumps:
            return self._trapping
        target = instruction.fields["imm"] & (1 << self.isa.shape.p_bits) - 1
        known = self.cache.slots.get((window, target))
        if known is None:
            known = self._leave_stub(target)
            self.cache.leaving.append((window, target, slot))
        return self._jump_to(word, known)

    def _jump_to(self, word: int, slot: int) -> int:
        row = self.isa.rows[str(self.isa.decode_word(word).form)]
        fields = dict(self.isa.decode_word(word).fields) | {"imm": slot}
        return self.isa.encoding.encode(row, fields)

    def _leave_stub(self, target: int) -> int:
        """A word that traps, standing for a P that has no copy yet."""
        self.cache.origin.append(target & (1 << self.isa.shape.p_bits) - 1)
        self._put(len(self.cache.origin) - 1, self._trapping)
        return len(self.cache.origin) - 1

    def _link(self) -> None:
        """Jumps whose target has a copy by now go there."""
        waiting = []
        for window, target, slot in self.cache.leaving:
            known = self.cache.slots.get((window, target))
            if known is None:
                waiting.append((window, target, slot))
            else:
                self._put(slot, self._jump_to(self._copy(slot), known))
        self.cache.leaving[:] = waiting

    def _put(self, slot: int, word: int) -> None:
        self.below.memory.write(self._cache_base + slot, [word])


def trapping_word(isa: Toy) -> int:
    """A word that always traps: one that is no instruction."""
    return next(w for w in range(1 << isa.shape.word) if isa.encoding.decode(w) is None)


def is_plain(trace: Trace, isa: Toy) -> bool:
    """Whether all that a meaning looks at or changes is general registers, and P moves on."""
    moves_on = all(_is_next(target, isa) for target in _targets(trace, isa))
    return moves_on and _touches_registers_only(trace, isa)


def is_jump(trace: Trace, isa: Toy) -> bool:
    """Whether it does nothing but perhaps set P to the address in the instruction."""
    return (
        _touches_registers_only(trace, isa)
        and trace.written() == {isa.pc}
        and all(_is_target(t, isa) for t in _targets(trace, isa))
    )


def _touches_registers_only(trace: Trace, isa: Toy) -> bool:
    """Registers and P, and P only to move on."""
    allowed = (Role.GENERAL, Role.FLAG, Role.PROGRAM_COUNTER)
    return (
        not trace.has(*_ALONE)
        and not trace.region.ends
        and all(r.role in allowed for r in trace.read() | trace.written())
        and not _uses_p(trace, isa)
    )


def _targets(trace: Trace, isa: Toy) -> list[Bits]:
    return [n.args[0] for n in trace.puts if n.attribute is isa.pc]


def _is_next(node: Bits, isa: Toy) -> bool:
    """The expression P + 1."""
    return node.op == "add" and _is_p(node.args[0], isa) and node.args[1].is_const


def _is_p(node: Bits, isa: Toy) -> bool:
    return node.op == "get" and node.attribute[0] is isa.pc


def _is_target(node: Bits, isa: Toy) -> bool:
    """P + 1, the address in the instruction, or a choice between them."""
    if node.op == "select":
        return all(_is_target(choice, isa) for choice in node.args[1:])
    immediate = node.op == "extract" and node.args[0].op == "field"
    return _is_next(node, isa) or (immediate and node.attribute[0] == 0)


def _uses_p(trace: Trace, isa: Toy) -> bool:
    """Whether P goes anywhere but, as P + 1, into P itself."""
    into_p = {id(n) for n in trace.walk() if n.op == "put" and n.attribute is isa.pc}
    into_p |= {id(t) for t in _targets(trace, isa)}
    for node in trace.walk():
        for arg in node.args:
            if _is_next(arg, isa) and id(node) not in into_p:
                return True
            if _is_p(arg, isa) and not _is_next(node, isa):
                return True
    return False
