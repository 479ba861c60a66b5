"""A virtual kernel's state and its image under trap-and-emulate, on symbols: "exist states that …".

The image is what the monitor's own code makes of the state: CPL 3, its flags, its tables. The
guest diverges where the step from the image ends in something else than the image of the step,
and nothing tells the monitor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from emu.engines.reference import Reference
from emu.pc.machine import PcMachine
from isa.ops import z3
from isa.registers import Register
from isa.smt import Event, execute
from isa.x86 import registers as r
from vmm.pc import GATES, TrapAndEmulate
from vmm.pc.allocation import allocation_for
from vmm.pc.gates import DIRECT, GATE, RIGHTS
from vmm.pc.machine import VirtualPc
from vmm.pc.processor import KEPT, REAL_CPL
from vmm.x86.configuration import X86Configuration
from vmm.x86.forms import Sample
from vmm.x86.guests.layout import (
    CRITICAL,
    DATA,
    DATA_END,
    END,
    GDT,
    GDT_LIMIT,
    IDT,
    IDT_LIMIT,
    KERNEL,
    STACK,
    TSS,
    TSS_LIMIT,
    fixed_memory,
    segments,
)  # fmt: skip
from vmm.x86.questions import Question, Step, reduced, replace_mode, with_operands
from vmm.x86.states import Condition, Side, Term

MEMORY: Final = 4 << 20
SELECTORS: Final = tuple(r.SEGMENTS[name].selector for name in ("cs", "ss"))
CLAIM: Final = "vm_map"
TRAP: Final = TrapAndEmulate.gates_kind


@cache
def real_registers(gates: str = TRAP) -> Mapping[Register, int]:
    """What trap-and-emulate puts into the real processor in place of the virtual one's registers.

    `gates` says which one of that name it is.
    """
    allocation, needed = allocation_for(MEMORY)
    below = PcMachine(Reference(), memory=needed)
    machine = VirtualPc(GATES[gates], below, allocation)
    for register, value in {**KERNEL, **dict(segments())}.items():
        machine.state.write(register, value)
    machine.monitor.processor.enter(machine.state)
    return {register: int(below.state.values[register.slot]) for register in KEPT}


class Image:
    """The step of a virtual kernel, and the step from its image."""

    def __init__(
        self, configuration: X86Configuration, sample: Sample, offered: Mapping[int, int],
        gates: str = TRAP,
    ) -> None:  # fmt: skip
        self.configuration, self.sample = configuration, sample
        self._memory = {**dict(fixed_memory()), **offered}
        known = {**KERNEL, **dict(segments())}
        if offered:
            known |= {r.EBX: DATA, r.ESP: STACK}
        kept = real_registers(gates)
        self._delta = kept[r.GDT_BASE] - GDT
        self._idt, self._gates_end = kept[r.IDT_BASE], kept[r.IDT_BASE] + kept[r.IDT_LIMIT] + 1
        self._has_gates = kept[r.IDT_LIMIT] > 0
        self.virtual = self._step(configuration.supervisor, known)
        selectors = {s: known[s] | REAL_CPL for s in SELECTORS}
        self.real = self._step(configuration.user, {**known, **kept, **selectors}, own=True)

    def _step(
        self, mode: Mapping[Register, int], known: Mapping[Register, int], *, own: bool = False
    ) -> Step:
        side = Side(self.configuration, mode, opaque=True, own_system=own)
        self._fill(side)
        for register, value in known.items():
            side.registers[register] = z3.BitVecVal(value, register.width)
        form = replace_mode(self.sample, self.configuration, mode)
        side.symbols.fields = with_operands(form, self.sample)
        return Step(side, execute(reduced(form, side), side.symbols), self.sample.code)

    def _fill(self, side: Side) -> None:
        """Put what memory is known to hold into its arrays, so that terms fold over it."""
        memory = side.symbols.memory
        shared = memory["system"].eq(memory["linear"])
        memory["linear"] = _stored(memory["linear"], self._memory)
        if shared:
            memory["system"] = memory["linear"]
        else:
            shown = {a + self._delta: byte for a, byte in self._memory.items() if a < IDT}
            memory["system"] = _stored(memory["system"], shown | self._shown_gates())

    def _shown_gates(self) -> dict[int, int]:
        """Those of known memory, where the monitor shows them."""
        known = {a: byte for a, byte in self._memory.items() if IDT <= a <= IDT + IDT_LIMIT}
        gates = (a - RIGHTS for a, byte in known.items() if a % GATE == RIGHTS and byte == DIRECT)
        return {self._idt - IDT + gate + n: known[gate + n] for gate in gates for n in range(GATE)}

    def diverges(self, *, by_trap: bool) -> Question:
        """A state of the kernel from which the monitor goes wrong unseen.

        `by_trap`: the kernel's own step traps, and the image's does not.
        """
        conditions = [
            *self.virtual.side.stands(self.sample.code), *self._stack(), *self._placed(),
            z3.Not(self._seen()),
        ]  # fmt: skip
        if by_trap:
            conditions.append(self.virtual.outcome.faulted)
        else:
            conditions += [z3.Not(self.virtual.traps), self._ends(), self._differs()]
        return Question(CLAIM, self.virtual, self.real, tuple(conditions))

    def _stack(self) -> Iterator[Condition]:
        yield z3.UGE(self.virtual.side.registers[r.ESP], DATA)
        yield z3.ULE(self.virtual.side.registers[r.ESP], DATA_END)

    def _placed(self) -> Iterator[Condition]:
        """That both steps touch data, and that the image finds the kernel's tables."""
        memory = self.virtual.side.symbols.memory["linear"]
        for event in self.virtual.outcome.accesses:
            (address,) = event.values
            tables = _within(address, GDT, IDT + 0x7F8, event.what[2])
            task = _within(address, TSS, TSS + TSS_LIMIT + 1, event.what[2])
            data = _within(address, DATA, DATA_END, event.what[2])
            yield z3.Implies(event.condition, z3.Or(tables, task, data))
        for event in self.real.outcome.accesses:
            (address,) = event.values
            if event.what[1] != "system":
                yield z3.Implies(event.condition, _within(address, DATA, DATA_END, event.what[2]))
                continue
            system = self.real.side.symbols.memory["system"]
            for place in _places(event):
                equal = z3.Select(system, place) == self._shown(memory, place)
                yield z3.Implies(event.condition, equal)

    def _shown(self, memory: Any, place: Term) -> Term:
        """The byte of the kernel's tables that the monitor shows at an address of its own."""
        byte = z3.Select(memory, place - self._delta)
        if not self._has_gates:
            return byte  # not to make the questions larger
        gate = place - self._idt + IDT
        direct = z3.Select(memory, (gate & -GATE) + RIGHTS) == DIRECT
        shown = z3.If(direct, z3.Select(memory, gate), z3.BitVecVal(0, 8))
        return z3.If(_within(place, self._idt, self._gates_end, 8), shown, byte)

    def _seen(self) -> Condition:
        """Whether the image's step traps; so does what its tables' pages do not allow."""
        seen = [self.real.traps]
        end = GDT + GDT_LIMIT + 1
        for event in self.real.outcome.accesses:
            (address,) = event.values
            op, space, width = event.what
            if space == "system":
                inside = _within(address, GDT + self._delta, end + self._delta, width)
                if self._has_gates:
                    gate = _within(address, self._idt, self._gates_end, width)
                    inside = z3.Or(inside, gate)
                seen.append(event.condition if op == "store" else
                            z3.And(event.condition, z3.Not(inside)))  # fmt: skip
            elif space == "port":
                seen.append(event.condition)
        return z3.Or(seen)

    def _ends(self) -> Condition:
        """That the kernel's step leads to where the guest ends."""
        place = self.virtual.after(r.EIP)
        behind = CRITICAL + len(self.sample.code)
        return z3.And(z3.Or(place == behind, place == END),
                      self.virtual.after(r.TR) == self.virtual.side.registers[r.TR])  # fmt: skip

    def _differs(self) -> Condition:
        """Whether the image's step, brought back as the monitor does, is not the kernel's."""
        written = self.virtual.outcome.registers.keys() | self.real.outcome.registers.keys()
        found = [self.virtual.after(x) != self._brought_back(x) for x in written]
        return z3.Or(*found, *self._stored_otherwise())

    def _stored_otherwise(self) -> Iterator[Condition]:
        """That a byte of data, of those that a step stores, differs behind the steps."""
        stores = (e for step in (self.virtual, self.real) for e in step.outcome.accesses
                  if e.what[0] != "load")  # fmt: skip
        one, other = self._data(self.virtual), self._data(self.real)
        for event in stores:
            for place in _places(event):
                differ = z3.Select(one, place) != z3.Select(other, place)
                yield z3.And(event.condition, _within(place, DATA, DATA_END, 8), differ)

    @staticmethod
    def _data(step: Step) -> Any:
        """Memory behind a step, in the space of the level's own accesses."""
        space = "system" if step.side.mode[r.CPL] == 0 else "linear"
        return step.outcome.memory.get(space, step.side.symbols.memory[space])

    def _brought_back(self, register: Register) -> Term:
        virtual = self.virtual.side.registers[register]
        after, entered = self.real.after(register), self.real.side.registers[register]
        if register in KEPT:
            return virtual
        return z3.If(after == entered, virtual, after) if register in SELECTORS else after


def _places(event: Event) -> list[Term]:
    """The addresses of the bytes of an access."""
    address: Any = event.values[0]
    return [address + n for n in range(event.what[2] // 8)]


def _within(address: Term, low: int, high: int, bits: int) -> Condition:
    return z3.And(z3.UGE(address, low), z3.ULE(address, high - bits // 8))


def _stored(array: Any, content: Mapping[int, int]) -> Any:
    for address, byte in content.items():
        array = z3.Store(array, address, z3.BitVecVal(byte, 8))
    return array
