"""From a form to its trace: run the form's meaning on the builder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from isa.bits import Bits
from isa.trace import Trace
from isa.x86 import debug
from isa.x86.builder import X86Builder
from isa.x86.decode import BAD, ESCAPE, TOO_LONG, UNIMPLEMENTED
from isa.x86.form import Form, Seg
from isa.x86.meanings import coprocessor
from isa.x86.registers import SEGMENTS
from isa.x86.table import INSTRUCTIONS
from isa.x86.vectors import DEBUG, GENERAL_PROTECTION


@cache
def trace(form: Form) -> Trace:
    """Run the form's meaning on the builder; again if it modifies an operand in memory."""
    return trace_behind(form, _nothing)


def trace_behind(form: Form, prelude: Callable[[X86Builder], bool]) -> Trace:
    """The trace of a form behind something that comes before its meaning, and may end it: then it
    answers with True."""
    m = _run(X86Builder(form), prelude)
    if m.modified_operands:
        m = _run(X86Builder(form, m.modified_operands), prelude)
    return m.finish(form_name(form))


@cache
def faulting(form: Form, vector: int) -> Trace:
    """The trace of a form that never gets as far as its meaning, whatever that is: it faults."""

    def fault(m: X86Builder) -> bool:
        m.fault(vector)
        return True

    return trace_behind(form, fault)


def _nothing(_: X86Builder) -> bool:
    """What comes before a meaning outside of any special operation."""
    return False


def _run(m: X86Builder, prelude: Callable[[X86Builder], bool]) -> X86Builder:
    form = m.form
    _check_end(m)
    if form.mnemonic == UNIMPLEMENTED:
        m.exit("unimplemented")
    elif form.mnemonic == ESCAPE:
        coprocessor.escape(m)
    elif form.mnemonic == TOO_LONG:
        m.general_protection()
    elif form.mnemonic == BAD or not _lock_allowed(m):
        m.invalid_opcode()
    elif not prelude(m):
        entry = INSTRUCTIONS[form.mnemonic]
        if form.mode.single_step:
            _trap_after(m)
        entry.meaning(m, *entry.parameters, *m.operands)
    return m


def _trap_after(m: X86Builder) -> None:
    """Single step: first, as INT n and jumps to another task suppress the trap.

    None comes between MOV or POP to SS and what follows (SDM volume 3, section 6.8.3).
    """
    if not m.mode.has_system:
        m.exit("trap", Bits.of(DEBUG, 8))
    elif m.form.shapes[:1] != (Seg("ss"),) or m.form.mnemonic not in ("mov", "pop"):
        debug.note(m, debug.SINGLE_STEP)


def _check_end(m: X86Builder) -> None:
    """#GP(0) if the code segment ends within the instruction (SDM volume 3, section 5.3)."""
    if "cs" not in m.mode.flat and not m.model.is_8086:
        last = m.here + (m.field("length", 32) - 1)
        m.fault_when(m.get(SEGMENTS["cs"].limit).ult(last), GENERAL_PROTECTION, 0)


def _lock_allowed(m: X86Builder) -> bool:
    """LOCK is #UD but before certain instructions with a memory destination (SDM 2, LOCK)."""
    if not m.form.lock or not m.model.checks_lock:
        return True
    entry = INSTRUCTIONS[m.form.mnemonic]
    destinations = m.operands if m.form.mnemonic == "xchg" else m.operands[:1]
    return entry.lockable and any(o.is_memory for o in destinations)


def form_name(form: Form) -> str:
    """A readable name: mnemonic and operand kinds, as the manual would write them."""
    kinds = ", ".join(_kind(shape) for shape in form.shapes)
    repeat = f"{form.repeat} " if form.repeat else ""
    return f"{'lock ' if form.lock else ''}{repeat}{form.mnemonic} {kinds}".strip()


def _kind(shape: object) -> str:
    name = type(shape).__name__.lower()
    width = getattr(shape, "width", "")
    return f"{getattr(shape, 'name', '') or name}{width}"
