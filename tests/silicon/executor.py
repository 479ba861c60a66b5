"""The emulator's side of the silicon oracle: a case run on one of our engines.

`Executor` gives the engine the pages, rights and registers that README.md describes, and turns
what the engine says into an `Answer` and what the meanings left undefined into an `Undefined`.
"""

from __future__ import annotations

import isa.fault
from emu.engines.fetch import decode_at
from emu.engines.reference import Evaluation, Reference
from emu.exit import Exit
from emu.memory import (
    EXECUTE,
    PAGE_FAULT,
    PAGE_FAULT_WRITE,
    READ,
    WRITE,
    AddressSpace,
    PhysicalMemory,
)
from emu.state import State
from isa.definition import Instruction
from isa.registers import Register
from isa.x86 import registers
from isa.x86.decode import BAD, UNIMPLEMENTED, decode
from isa.x86.form import Form
from isa.x86.machine import X86, form_name, trace
from isa.x86.mode import Mode
from isa.x86.registers import EFLAGS, GENERAL_NAMES, GPR, SEGMENT_NAMES, SEGMENTS

from .cases import LEGACY_PREFIXES
from .compare import Undefined
from .native import (
    CODE,
    FLAT_CODE,
    FLAT_DATA,
    LOW_WINDOW,
    PAGE,
    READ_ONLY,
    REGISTERS,
    WINDOW,
    Answer,
    Case,
    Fault,
)  # fmt: skip

FLAT_MODE = Mode(32, 32, SEGMENT_NAMES, 3, alignment=False, single_step=False)

GENERAL_PROTECTION, BREAKPOINT, OVERFLOW = 13, 3, 4
USER_GATES = {BREAKPOINT, OVERFLOW}
"""Vectors to which a kernel lets INT n of user mode pass (80h never reaches silicon)."""


def form_of(code: bytes) -> str | None:
    """The form's name if `isa` has a meaning for the bytes; for `cases.Forms`."""
    if diverges(code):
        return None
    form = decode(code, FLAT_MODE).form
    assert isinstance(form, Form)
    if form.mnemonic in (BAD, UNIMPLEMENTED):
        return None
    sizes = f" o{form.operand_size}a{form.address_size}"
    return form_name(form) + sizes


def diverges(code: bytes) -> str | None:
    """What of isa/DIVERGENCES.md the bytes show on newer silicon, or None."""
    opcode = code.lstrip(LEGACY_PREFIXES)[:1]
    prefixes = code[: len(code) - len(code.lstrip(LEGACY_PREFIXES))]
    if opcode in (b"\xe0", b"\xe1") and (0xF2 in prefixes or 0xF3 in prefixes):
        return "LOOPcc after REP or REPNE"
    return None


def _undefined(target: object, instruction: Instruction) -> Undefined:
    """One target of the IR operation `undefined`, as the comparison understands it."""
    if isinstance(target, Register) and target in GPR.members:
        return Undefined(registers=frozenset([target.name]))
    if isinstance(target, Register):
        return Undefined(eflags=1 << dict(EFLAGS.fields)[target])
    if "reg0" not in instruction.fields:
        return Undefined(memory=True)
    return Undefined(registers=frozenset([GENERAL_NAMES[instruction.fields["reg0"]]]))


def _reads_to_modify(form: Form, evaluation: Evaluation) -> bool:
    """Whether the instruction faulted at a read of what it would write afterwards.

    Processors ask for such a read with the right to write, so its page fault says W; the IR's
    `load` cannot say so yet, and the comparison overlooks it.
    """
    nodes, done = trace(form).region.nodes, evaluation.values
    written = {id(node.args[0]) for node in nodes if node.op == "store"}
    reads = (node for node in nodes if node.op == "load" and id(node) not in done)
    faulted = next((node for node in reads if id(node.args[0]) in done), None)
    return faulted is not None and id(faulted.args[0]) in written


def _wraps(form: Form, evaluation: Evaluation) -> bool:
    """Whether the access that faulted runs past the end of the address space."""
    done = evaluation.values
    accesses = (n for n in trace(form).walk() if n.op in ("load", "store") and id(n) not in done)
    reached = [n for n in accesses if id(n.args[0]) in done]
    return any(done[id(n.args[0])] + n.attribute[1] // 8 > 1 << 32 for n in reached)


class Executor:
    """`executor(case) -> (Answer, Undefined)`, or None if the instruction is not in `isa`."""

    def __init__(self, *, low: bool = True) -> None:
        self.low = low
        self.engine = Reference()
        self.undefined = Undefined()
        self.space = AddressSpace(PhysicalMemory(64 * PAGE))
        windows = [(CODE, READ | EXECUTE), (READ_ONLY, READ), (WINDOW, READ | WRITE)]
        for window, rights in [*windows, *([(LOW_WINDOW, READ | WRITE)] if low else [])]:
            self.space.map(window.start, len(window), rights)

    def __call__(self, case: Case) -> tuple[Answer, Undefined] | None:
        """Run one case on the reference engine."""
        state = self.load(case)
        self.undefined = Undefined()
        stop = self.run(state, case)
        if stop is not None and (stop.reason == "unimplemented" or self.wrapped(state, stop)):
            return None
        return self.answer(state, case, stop), self.undefined

    def wrapped(self, state: State, stop: Exit) -> bool:
        """Whether an access wrapped: there processors may differ (isa/DIVERGENCES.md)."""
        instruction = decode_at(state, state.pc)
        if stop.fault is None or not isinstance(instruction, Instruction):
            return False
        assert isinstance(instruction.form, Form) and self.engine.evaluation is not None
        return _wraps(instruction.form, self.engine.evaluation)

    def load(self, case: Case) -> State:
        """A machine that stands before the case."""
        state = State(X86(), {"linear": self.space, "system": self.space})
        for address, content in case.pages(low=self.low).items():
            self.space.poke(address, content)
        for name in SEGMENT_NAMES:
            segment = SEGMENTS[name]
            state.write(segment.selector, FLAT_CODE if name == "cs" else FLAT_DATA)
            state.write(segment.limit, 0xFFFFFFFF)
            attributes = registers.FLAT_CODE if name == "cs" else registers.FLAT_DATA
            state.write(segment.attributes, attributes)
        for name in REGISTERS:
            state[name] = case.registers.get(name, 0)
        state["cpl"], state["eflags"], state["eip"] = 3, case.eflags, case.origin
        return state

    def run(self, state: State, case: Case) -> Exit | None:
        """Go on until the case's limit, an exit, or the end of the code."""
        code = range(case.origin, case.origin + len(case.code))
        limit = case.limit or 1 << 40
        while state.count < limit and state.pc in code:
            stop = self.step(state)
            if stop is not None:
                return stop
        return None

    def step(self, state: State) -> Exit | None:
        """One instruction, gathering what it leaves undefined."""
        instruction = decode_at(state, state.pc)
        stop = self.engine.step(state)
        if isinstance(instruction, Instruction) and not (stop and stop.fault):
            assert self.engine.evaluation is not None
            for target in self.engine.evaluation.undefined:
                self.undefined |= _undefined(target, instruction)
        return stop

    def answer(self, state: State, case: Case, stop: Exit | None) -> Answer:
        """The state after the case."""
        fault, iterations = None, state.count if case.limit else 0
        if stop is not None and stop.reason == "interrupt" and stop.vector not in USER_GATES:
            state.pc, iterations = case.origin, iterations - 1
            fault = Fault(GENERAL_PROTECTION, stop.vector * 8 + 2)
        elif stop is not None and stop.reason == "interrupt":
            fault, iterations = Fault(stop.vector), iterations - 1
        elif stop is not None and stop.fault is not None:
            found = stop.fault
            iterations -= found.vector in USER_GATES  # traps: the instruction has retired
            fault = Fault(found.vector, self.code(state, found), found.address)
        return Answer(
            {name: state[name] for name in REGISTERS}, state["eflags"], state.pc,
            self.changed(case), fault, iterations,
        )  # fmt: skip

    def code(self, state: State, fault: isa.fault.Fault) -> int:
        """The error code as processors give it."""
        instruction, code = decode_at(state, state.pc), fault.code or 0
        if fault.vector != PAGE_FAULT or not isinstance(instruction, Instruction):
            return code
        assert isinstance(instruction.form, Form) and self.engine.evaluation is not None
        modifies = _reads_to_modify(instruction.form, self.engine.evaluation)
        return code | (PAGE_FAULT_WRITE if modifies else 0)

    def changed(self, case: Case) -> dict[int, int]:
        """The bytes of data that are no longer what the case put there."""
        found = {}
        for base, before in case.pages(low=self.low).items():
            after = self.space.read(base, PAGE)
            assert isinstance(after, bytes)
            if after != before:
                found |= {base + n: b for n, b in enumerate(after) if b != before[n]}
        return found
