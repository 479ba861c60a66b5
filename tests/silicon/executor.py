"""The emulator's side of the silicon oracle: a case run on any of our engines.

`Executor` gives the engine the pages, rights and registers that README.md describes, and turns
what the engine says into an `Answer` and what the meanings left undefined into an `Undefined`.
"""

from __future__ import annotations

import struct
from typing import cast

from emu.engines import Engine
from emu.engines.fetch import decode_at
from emu.engines.reference import Evaluation, Reference
from emu.exit import Exit
from emu.memory import EXECUTE, READ, WRITE, AddressSpace, PhysicalMemory
from emu.state import State
from isa.definition import Instruction
from isa.registers import Register
from isa.x86 import registers
from isa.x86.decode import BAD, UNIMPLEMENTED, decode
from isa.x86.form import Form
from isa.x86.machine import X86
from isa.x86.mode import Mode
from isa.x86.models import model_of
from isa.x86.registers import (
    EFLAGS,
    FSW,
    GENERAL_NAMES,
    GPR,
    MXCSR_INITIAL,
    SEGMENT_NAMES,
    SEGMENTS,
    STACK_NAMES,
    XMM,
)
from isa.x86.tracing import form_name, trace

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
    SELECTORS,
    WINDOW,
    Answer,
    Case,
    Fault,
    Fpu,
    Sse,
)  # fmt: skip

FLAT_MODE = Mode(32, 32, SEGMENT_NAMES, 3, alignment=False, single_step=False)
WITH_SSE = "user:pentium4"
SSE_MODE = FLAT_MODE._replace(model=WITH_SSE)

GENERAL_PROTECTION, BREAKPOINT, OVERFLOW = 13, 3, 4
ADDRESSES = {
    "load": 1, "load_for_write": 1, "store": 1, "fill": 1, "scan": 1, "copy": 2, "compare": 2,
}  # fmt: skip
"""How many of an operation's first arguments are addresses."""

FOREVER = 1 << 40

TRANSCENDENTAL = {bytes([0xD9, n]) for n in (0xF0, 0xF1, 0xF2, 0xF3, 0xF9, 0xFB, 0xFE, 0xFF)}

GDT = (
    0, 0x00CF9B000000FFFF, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00CFFB000000FFFF,
    0x00CFF3000000FFFF, 0x00AFFB000000FFFF, 0, 0x0000890000000067, 0, 0, 0, 0, 0, 0,
    0x0040F50000000000,
)  # fmt: skip
"""What 64-bit Linux has there, as far as a user program can tell (asm/segment.h)."""

_STATUS_BITS = dict(FSW.fields)

USER_GATES = {BREAKPOINT, OVERFLOW}
"""Vectors to which a kernel lets INT n of user mode pass (80h never reaches silicon)."""


def sse_form_of(code: bytes) -> str | None:
    """As `form_of`, of a processor that has SSE and SSE2."""
    return form_of(code, SSE_MODE)


def form_of(code: bytes, mode: Mode = FLAT_MODE) -> str | None:
    """The form's name if `isa` has a meaning for the bytes; for `cases.Forms`."""
    if diverges(code):
        return None
    form = decode(code, mode).form
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
    if code.lstrip(LEGACY_PREFIXES)[:2] in TRANSCENDENTAL:
        return "the last place of transcendentals: test_x87_bulk.py minds it"
    return None


def _undefined(target: object, instruction: Instruction) -> Undefined:
    """One target of the IR operation `undefined`, as the comparison understands it."""
    if isinstance(target, Register) and target in GPR.members:
        return Undefined(registers=frozenset([target.name]))
    if isinstance(target, Register) and target in _STATUS_BITS:
        return Undefined(status=1 << _STATUS_BITS[target])
    if isinstance(target, Register):
        return Undefined(eflags=1 << dict(EFLAGS.fields)[target])
    if "reg0" not in instruction.fields:
        return Undefined(memory=True)
    return Undefined(registers=frozenset([GENERAL_NAMES[instruction.fields["reg0"]]]))


def _wraps(form: Form, evaluation: Evaluation) -> bool:
    """Whether the access that faulted runs past the end of the address space."""
    done = evaluation.values
    ahead = (n for n in trace(form).walk() if n.op in ADDRESSES and id(n) not in done)
    return any(
        id(address) in done and done[id(address)] + node.attribute[1] // 8 > 1 << 32
        for node in ahead
        for address in node.args[: ADDRESSES[node.op]]
    )


def fpu_registers(fpu: Fpu) -> dict[str, int]:
    """The registers of a state that hold an x87."""
    parts = {r.name: fpu.status >> low & (1 << r.width) - 1 for r, low in FSW.fields}
    full = (fpu.full | fpu.full << 8) >> parts["st_top"] & 0xFF
    for name, value in zip(STACK_NAMES, fpu.stack, strict=True):
        parts |= {name: value & (1 << 64) - 1, f"{name}_exponent": value >> 64}
    return parts | {"fcw": fpu.control, "st_full": full}


def store_fpu(state: State) -> Fpu:
    """The x87 after it."""
    top, full, flags = state["st_top"], state["st_full"], state["fpu_flags"]
    error = 0x8080 if flags & ~state["fcw"] & 0x3F else 0
    stack = tuple(state[name] | state[f"{name}_exponent"] << 64 for name in STACK_NAMES)
    return Fpu(state["fcw"], state["fsw"] | error, (full << top | full >> 8 - top) & 0xFF, stack)


def sse_registers(sse: Sse) -> dict[str, int]:
    """The registers of a state that hold SSE's."""
    named = {register.name: value for register, value in zip(XMM, sse.xmm, strict=True)}
    return named | {"mxcsr": sse.mxcsr}


def store_sse(state: State) -> Sse:
    """SSE's registers after it."""
    return Sse(state["mxcsr"], tuple(state[register.name] for register in XMM))


class Executor:
    """`executor(case) -> (Answer, Undefined)`, or None if the instruction is not in `isa`.

    One machine for all cases, so that an engine keeps what it has translated; what changed of it
    is set back before each. The reference engine goes first, whichever engine is under test: it
    says what the meaning leaves undefined. `model` is the processor; cases with SSE want one that
    has it (`WITH_SSE`).
    """

    def __init__(self, engine: Engine | None = None, *, low: bool = True, model: str = "") -> None:
        self.low = low
        self.has_sse = model_of(model).has("pentium3")
        self.judge = Reference()
        self.engine = engine or self.judge
        self.undefined = Undefined()
        self.length = 0  # of the last instruction
        self.last: Form | None = None
        self.space = AddressSpace(PhysicalMemory(64 * PAGE))
        windows = [(CODE, READ | EXECUTE), (READ_ONLY, READ), (WINDOW, READ | WRITE)]
        for window, rights in [*windows, *([(LOW_WINDOW, READ | WRITE)] if low else [])]:
            self.space.map(window.start, len(window), rights)
        system = AddressSpace(PhysicalMemory(PAGE))
        system.map(0, PAGE, READ | WRITE)
        system.poke(0, struct.pack(f"<{len(GDT)}Q", *GDT))
        self.state = State(X86(model), {"linear": self.space, "system": system})
        self.blank = self._blank()

    def _blank(self) -> list[int]:
        """The registers that no case chooses: flat segments, privilege 3."""
        state = self.state
        for name in SEGMENT_NAMES:
            segment, code = SEGMENTS[name], name == "cs"
            state.write(segment.selector, FLAT_CODE if code else FLAT_DATA)
            state.write(segment.limit, 0xFFFFFFFF)
            state.write(segment.attributes, registers.FLAT_CODE if code else registers.FLAT_DATA)
        state["cpl"], state["gdt_limit"] = 3, 8 * len(GDT) - 1
        state["mxcsr"] = MXCSR_INITIAL
        return list(state.values)

    def __call__(self, case: Case) -> tuple[Answer, Undefined] | None:
        """Run one case."""
        self.load(case)
        self.undefined = Undefined()
        stop = self.judged(case)
        if stop is not None and (stop.reason == "unimplemented" or self.wrapped(stop)):
            return None
        if self.wrapped_in_parts():
            return None
        if self.engine is not self.judge:
            until = self.state.count + (stop is not None)
            self.load(case)
            stop = self.run(case, until)
        return self.answer(case, stop), self.undefined

    def wrapped(self, stop: Exit) -> bool:
        """Whether an access wrapped: there processors may differ (isa/DIVERGENCES.md)."""
        instruction = decode_at(self.state, self.state.pc)
        if stop.fault is None or not isinstance(instruction, Instruction):
            return False
        assert isinstance(instruction.form, Form) and self.judge.evaluation is not None
        return _wraps(instruction.form, self.judge.evaluation)

    def wrapped_in_parts(self) -> bool:
        """Whether a 16-bit address of more than 8 bytes ran past FFFFh: processors may go on at 0
        (isa/DIVERGENCES.md)."""
        evaluation, form = self.judge.evaluation, self.last
        if evaluation is None or form is None or form.address_size == 32:
            return False
        return any(
            (evaluation.values.get(id(node.args[0]), 0) & 0xFFFF) + node.attribute[1] // 8 > 1 << 16
            for node in trace(form).walk()
            if node.op in ("load", "load_for_write", "store") and node.attribute[1] > 64
        )

    def load(self, case: Case) -> None:
        """Put the machine before the case."""
        state = self.state
        for address, content in case.pages(low=self.low).items():
            if self.page(address) != content:
                self.space.poke(address, content)
        state.set_values(self.blank)
        registers = dict.fromkeys(REGISTERS, 0) | dict(case.registers) | fpu_registers(case.fpu)
        if case.sse is not None:
            assert self.has_sse, "a case with SSE wants an executor with model=WITH_SSE"
            registers |= sse_registers(case.sse)
        for name, value in registers.items():
            state[name] = value
        state["eflags"], state.pc, state.count = case.eflags, case.origin, 0

    def page(self, address: int) -> memoryview:
        """What a page holds now."""
        where = self.space.translate(address, READ)
        assert isinstance(where, int)
        return self.space.physical.view[where : where + PAGE]

    def judged(self, case: Case) -> Exit | None:
        """Go on until the case's limit, an exit, or the end of the code, step by step."""
        code = range(case.origin, case.origin + len(case.code))
        limit = case.limit or FOREVER
        while self.state.count < limit and self.state.pc in code:
            stop = self.step()
            if stop is not None:
                return stop
        return None

    def step(self) -> Exit | None:
        """One instruction on the reference engine, gathering what it leaves undefined."""
        instruction = decode_at(self.state, self.state.pc)
        stop = self.judge.step(self.state)
        if isinstance(instruction, Instruction):
            self.length = instruction.length
            self.last = cast(Form, instruction.form)
        if isinstance(instruction, Instruction) and not (stop and stop.fault):
            assert self.judge.evaluation is not None
            for target in self.judge.evaluation.undefined:
                self.undefined |= _undefined(target, instruction)
        return stop

    def run(self, case: Case, until: int) -> Exit | None:
        """The same at one go on the engine under test.

        The breakpoint after the code keeps the INT3s that follow out of what is translated.
        """
        self.state.breakpoints = {case.origin + len(case.code)}
        stop = self.engine.run(self.state, until)
        return None if stop.reason == "until" else stop

    def defined(self, case: Case) -> int:
        """How many instructions a sequence does before one may read what another left open."""
        self.load(case)
        self.undefined = nothing = Undefined()
        stop = None
        while self.state.count < case.limit and stop is None and self.undefined == nothing:
            stop = self.step()
        return case.limit if self.undefined == nothing else self.state.count

    def answer(self, case: Case, stop: Exit | None) -> Answer:
        """The state after the case."""
        state = self.state
        fault, iterations = None, state.count if case.limit else 0
        if stop is not None and stop.reason == "interrupt" and stop.vector not in USER_GATES:
            state.pc, iterations = state.pc - self.length, iterations - 1
            fault = Fault(GENERAL_PROTECTION, stop.vector * 8 + 2)
        elif stop is not None and stop.reason == "interrupt":
            fault, iterations = Fault(stop.vector), iterations - 1
        elif stop is not None and stop.fault is not None:
            found = stop.fault
            iterations -= found.vector in USER_GATES  # traps: the instruction has retired
            fault = Fault(found.vector, found.code or 0, found.address)
        return Answer(
            {name: state[name] for name in REGISTERS}, state["eflags"], state.pc,
            self.changed(case), fault, iterations, {name: state[name] for name in SELECTORS},
            fpu=store_fpu(state), sse=store_sse(state) if case.sse else None,
        )  # fmt: skip

    def changed(self, case: Case) -> dict[int, int]:
        """The bytes of data that are no longer what the case put there."""
        found = {}
        for base, before in case.pages(low=self.low).items():
            if (after := self.page(base)) != before:
                found |= {base + n: b for n, b in enumerate(after) if b != before[n]}
        return found
