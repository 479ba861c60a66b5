"""The model's interrupts and exceptions (SDM volume 2, INT n; volume 3, chapter 6)."""

from __future__ import annotations

from dataclasses import dataclass

from tests.protected import tasks
from tests.protected.cpu import DB, DF, GP, NP, PF, SS, TS, Cpu, Descriptor, Trap
from tests.protected.segments import access, code_of, find, push, require


@dataclass
class Event:
    """An interrupt or exception under way; `ext` is the EXT bit of further error codes."""

    vector: int
    code: int | None = None
    software: bool = False
    resume: int = 0
    pointer: int = 0

    @property
    def ext(self) -> int:
        return int(not self.software)


def enter(cpu: Cpu, event: Event) -> None:
    """Through the gate of the vector."""
    code = event.vector * 8 + 2 + event.ext
    require(event.vector * 8 + 7 > cpu.r["idt_limit"], GP, code)
    at = cpu.r["idt_base"] + event.vector * 8
    gate = Descriptor(cpu.load(at, 4), cpu.load(at + 4, 4))
    require(not gate.system or gate.type not in (5, 6, 7, 14, 15), GP, code)
    require(event.software and gate.dpl < cpu.cpl, GP, code)
    require(not gate.present, NP, code)
    if gate.type == 5:
        _enter_task(cpu, event, gate)
    else:
        _enter_handler(cpu, event, gate)


def _enter_task(cpu: Cpu, event: Event, gate: Descriptor) -> None:
    flags = cpu.flags & ~0x10000 | event.resume << 16
    tasks.through_gate(
        cpu, gate, tasks.Leaving(event.pointer, flags, nests=True, ext=event.ext, code=event.code)
    )


def _enter_handler(cpu: Cpu, event: Event, gate: Descriptor) -> None:
    selector, ext = gate.selector, event.ext
    target = find(cpu, selector, GP, ext)
    require(not target.code or target.dpl > cpu.cpl, GP, code_of(selector) | ext)
    require(not target.present, NP, code_of(selector) | ext)
    inner = not target.conforming and target.dpl < cpu.cpl
    require(cpu.v86 and (not inner or target.dpl != 0), GP, code_of(selector) | ext)
    flags, level = cpu.flags & ~0x10000 | event.resume << 16, cpu.cpl
    if inner:
        level = target.dpl
        _switch_stack(cpu, event, gate, level)
    else:
        _push_frame(cpu, event, gate, flags, ext)
    if inner:
        new = code_of(cpu.r["ss"]) | ext
        _push_frame(cpu, event, gate, flags, new)
    require(gate.offset > target.limit, GP, ext)
    access(cpu, "cs", selector & 0xFFFC | level, target)
    cpu.r["cpl"], cpu.r["eip"] = level, gate.offset
    cpu.put_flags(0, "tf nt rf vm")
    if not gate.type & 1:
        cpu.r["if"] = 0


def _push_frame(cpu: Cpu, event: Event, gate: Descriptor, flags: int, code: int) -> None:
    for value in (flags, cpu.r["cs"], event.pointer):
        push(cpu, gate.size, value, code)
    if event.code is not None:
        push(cpu, gate.size, event.code, code)


def _switch_stack(cpu: Cpu, event: Event, gate: Descriptor, level: int) -> None:
    outer = [cpu.r[name] for name in ("gs", "fs", "ds", "es")] if cpu.v86 else []
    outer += [cpu.r["ss"], cpu.r["esp"]]
    inner_stack(cpu, level, event.ext)
    for value in outer:
        push(cpu, gate.size, value, code_of(cpu.r["ss"]) | event.ext)
    if cpu.v86:
        for name in ("gs", "fs", "ds", "es"):
            cpu.fill(name, 0, 0, 0, 0)


def inner_stack(cpu: Cpu, level: int, ext: int) -> None:
    """SS and ESP become those that the TSS has for the level."""
    wide = cpu.r["tr_attributes"] & 8
    at = level * 8 + 4 if wide else level * 4 + 2
    require(at + (5 if wide else 3) > cpu.r["tr_limit"], TS, code_of(cpu.r["tr"]) | ext)
    at += cpu.r["tr_base"]
    pointer, selector = cpu.load(at, 4 if wide else 2), cpu.load(at + (4 if wide else 2), 2)
    found = find(cpu, selector, TS, ext)
    wrong = selector & 3 != level or found.dpl != level or not found.writable
    require(wrong, TS, code_of(selector) | ext)
    require(not found.present, SS, code_of(selector) | ext)
    access(cpu, "ss", selector, found)
    cpu.r["esp"] = pointer


# -- exceptions -----------------------------------------------------------------------------------

NMI = 2
CONTRIBUTORY = 0, TS, NP, SS, GP
FAULTS = 0, 5, 6, 7, TS, NP, SS, GP, PF, 17


def take(cpu: Cpu, trap: Trap) -> None:
    """Deliver a fault; with a fault of that, a double fault; with one more, shut down."""
    chain = [(trap.vector, trap.code)]
    while True:
        resume = int(trap.vector in FAULTS) | cpu.r["rf"]
        event = Event(trap.vector, trap.code, False, resume, cpu.r["eip"])
        status = trap.status
        second = cpu.attempt(lambda cpu, event=event, status=status: _deliver(cpu, event, status))  # type: ignore[misc]
        if second is None:
            return
        chain.append((second.vector, second.code))
        following = combine(trap, second)
        if second.late:  # the new task's: it begins afresh
            following = following or Trap(DF, 0)
            chain = [(following.vector, following.code)]
        if following is None:
            cpu.shut_down = chain
            return
        trap = following


def _deliver(cpu: Cpu, event: Event, status: int) -> None:
    if event.vector == DB:
        cpu.r["dr6"] = cpu.r["dr6"] & ~15 | status
        cpu.r["dr7"] &= ~0x2000
    cpu.r["pending"] = cpu.r["shadow"] = 0
    if event.vector == NMI:
        cpu.r["nmi_blocked"] = 1
    enter(cpu, event)


def combine(first: Trap, second: Trap) -> Trap | None:
    """SDM volume 3, table 6-5."""
    if first.vector == DF:
        return None
    if first.vector in (*CONTRIBUTORY, PF) and second.vector in CONTRIBUTORY:
        return Trap(DF, 0)
    return Trap(DF, 0) if first.vector == second.vector == PF else second
