"""Tables, stacks and code in memory; one condition run by the model and by an engine.

All segments are flat, all memory is one identity mapping of 64 KiB.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from emu.memory import AddressSpace, PhysicalMemory
from emu.state import State
from isa.fault import Fault
from isa.x86.machine import X86
from tests.protected import interrupts
from tests.protected.cpu import DB, GP, SEGMENTS, Cpu, Descriptor, Trap
from tests.protected.instructions import OPERATIONS

SIZE = 0x10000
GDT, IDT, LDT, CODE = 0x1000, 0x1800, 0x2000, 0x9000
TSS, TSS_WIDE, TSS_NARROW = 0x3000, 0x3400, 0x3800
HANDLERS = 0x8000
MODEL = "pentium2"

# Selectors: code and data of each level follow one another, then what conditions are about.
FIRST_TSS, WIDE_TSS, NARROW_TSS, TABLE, SUBJECT, SECOND = 0x48, 0x50, 0x58, 0x60, 0x68, 0x70
THIRD, NARROW_STACK, OUTSIDE = 0x78, 0x80, 0x88
GDT_LIMIT, LDT_LIMIT, IDT_LIMIT = OUTSIDE - 1, 0x1F, 0x40 * 8 - 1
LOCAL = 0x0C  # the subject's twin in the local table

Patch = tuple[int, bytes]


def code_selector(level: int) -> int:
    return 0x08 + 0x10 * level | level


def data_selector(level: int) -> int:
    return 0x10 + 0x10 * level | level


def descriptor(base: int, limit: int, access: int, flags: int = 0x4) -> bytes:
    """`access` is type, S, DPL and P; `flags` AVL, L, D/B, G; the limit in the flags' units."""
    low = limit & 0xFFFF | (base & 0xFFFF) << 16
    high = base >> 16 & 0xFF | access << 8 | limit & 0xF0000 | flags << 20 | base & 0xFF000000
    return low.to_bytes(4, "little") + high.to_bytes(4, "little")


def gate(selector: int, offset: int, access: int, count: int = 0) -> bytes:
    low = offset & 0xFFFF | selector << 16
    high = offset & 0xFFFF0000 | access << 8 | count
    return low.to_bytes(4, "little") + high.to_bytes(4, "little")


def flat(access: int) -> bytes:
    return descriptor(0, 0xFFFFF, access, 0xC)


def words(values: Iterable[int], size: int) -> bytes:
    return b"".join((value & (1 << 8 * size) - 1).to_bytes(size, "little") for value in values)


def stack_top(level: int) -> int:
    """Where the stack of a level stands while the level runs."""
    return 0x6200 + 0x400 * level


def places() -> dict[str, int]:
    """Where each operation's bytes are."""
    return {name: CODE + 16 * number for number, name in enumerate(OPERATIONS)}


PLACES = places()


def _global_table() -> bytes:
    table = bytearray(GDT_LIMIT + 1)
    for level in range(4):
        table[8 + 16 * level : 16 + 16 * level] = flat(0x9B | level << 5)
        table[16 + 16 * level : 24 + 16 * level] = flat(0x93 | level << 5)
    for selector, base, limit, access in (
        (FIRST_TSS, TSS, 0xFF, 0x8B), (WIDE_TSS, TSS_WIDE, 0x67, 0x89),
        (NARROW_TSS, TSS_NARROW, 0x2B, 0x81), (TABLE, LDT, LDT_LIMIT, 0x82),
        (NARROW_STACK, 0, 0xFFFF, 0x92),
    ):  # fmt: skip
        table[selector : selector + 8] = descriptor(base, limit, access, 0)
    return bytes(table)


def wide_task(**changes: int) -> bytes:
    """A TSS of 32 bits: level 0, and stacks for every level."""
    task = {
        "link": 0, "esp0": 0x5000, "ss0": 0x10, "esp1": 0x5400, "ss1": 0x21, "esp2": 0x5800,
        "ss2": 0x32, "cr3": 0, "eip": 0x8800, "eflags": 0x2, "eax": 1, "ecx": 2, "edx": 3, "ebx": 4,
        "esp": 0x5C00, "ebp": 6, "esi": 7, "edi": 8, "es": 0x10, "cs": 0x08, "ss": 0x10, "ds": 0x10,
        "fs": 0, "gs": 0x43, "ldt": TABLE, "trap": 0x68 << 16,
    }  # fmt: skip
    return words((task | changes).values(), 4)


def narrow_task(**changes: int) -> bytes:
    """A TSS of 16 bits."""
    task = {
        "link": 0, "sp0": 0x5000, "ss0": 0x10, "sp1": 0x5400, "ss1": 0x21, "sp2": 0x5800,
        "ss2": 0x32, "ip": 0x8800, "flags": 0x2, "ax": 1, "cx": 2, "dx": 3, "bx": 4, "sp": 0x5C00,
        "bp": 6, "si": 7, "di": 8, "es": 0x10, "cs": 0x08, "ss": NARROW_STACK, "ds": 0x10,
        "ldt": TABLE,
    }  # fmt: skip
    return words((task | changes).values(), 2)


def base_memory() -> bytearray:
    memory = bytearray(SIZE)

    def poke(address: int, data: bytes) -> None:
        memory[address : address + len(data)] = data

    poke(0, words((0x0123_0040 + n for n in range(256)), 4))
    poke(GDT, _global_table())
    for vector in range(0x40):
        poke(IDT + vector * 8, gate(0x08, HANDLERS + vector * 16, 0x8E))
    poke(LDT, bytes(8) + flat(0x93) + flat(0xF3) + flat(0xFB))
    poke(TSS, wide_task()[:0x64] + words((0, 0x88), 2) + b"\xff" * 0x78)
    poke(TSS_WIDE, wide_task())
    poke(TSS_NARROW, narrow_task())
    for name, place in PLACES.items():
        poke(place, OPERATIONS[name].code)
    return memory


BASE = base_memory()
NAMES = [register.name for register in X86(MODEL).registers]


class Condition(NamedTuple):
    """An operation at a level, with what differs from the usual in memory and registers.

    Level 3 of an operation for virtual-8086 mode is that mode. `event`: an external interrupt of
    that vector is delivered in place of an instruction.
    """

    operation: str
    level: int = 0
    patches: tuple[Patch, ...] = ()
    registers: tuple[tuple[str, int], ...] = ()
    event: int | None = None


def registers_of(condition: Condition) -> dict[str, int]:
    cpu = Cpu(dict.fromkeys(NAMES, 0), BASE)
    r, level = cpu.r, condition.level
    for name in SEGMENTS:
        selector = code_selector(level) if name == "cs" else data_selector(level)
        found = Descriptor(
            *(int.from_bytes(BASE[GDT + (selector & 0xF8) + n :][:4], "little") for n in (0, 4))
        )
        cpu.fill(name, selector, 0, found.limit, found.attributes)
    r.update(
        eax=0xA1A2A3A4, ecx=0xC1C2C300, edx=0xD1D2D3D4, ebx=0x7100, ebp=0xB1, esi=0x51, edi=0xD1
    )
    r.update(esp=stack_top(level), cpl=level, eip=PLACES[condition.operation], pe=1, et=1, cr2=0x55)
    r.update(gdt_base=GDT, gdt_limit=GDT_LIMIT, idt_base=IDT, idt_limit=IDT_LIMIT)
    r.update(
        ldtr=TABLE,
        ldt_base=LDT,
        ldt_limit=LDT_LIMIT,
        ldt_attributes=0x82,
        dr6=0xFFFF0FF0,
        dr7=0x400,
    )
    r.update(tr=FIRST_TSS, tr_base=TSS, tr_limit=0xFF, tr_attributes=0x8B)
    cpu.put_flags(0x246, "if zf pf")
    if OPERATIONS[condition.operation].v86:
        _enter_v86(cpu)
    for name, value in condition.registers:
        r[name] = value
    return r


def _enter_v86(cpu: Cpu) -> None:
    for name, selector in (
        ("cs", CODE >> 4), ("ss", 0x600), ("ds", 0x700), ("es", 0x710), ("fs", 0x720),
        ("gs", 0x730),
    ):  # fmt: skip
        cpu.fill(name, selector, selector * 16, 0xFFFF, 0xF3)
    cpu.r.update(vm=1, cpl=3, esp=0x800)
    cpu.r["eip"] -= CODE


class Outcome(NamedTuple):
    """What the model says comes of a condition, and what an engine made of it."""

    registers: dict[str, int]
    memory: bytes
    stop: tuple[str, tuple[int, ...]] | None
    shut_down: list[tuple[int, int | None]]  # the faults that led to it
    invalidated: list[tuple[int, int]]


def memory_of(condition: Condition) -> bytearray:
    memory = bytearray(BASE)
    for address, data in condition.patches:
        memory[address : address + len(data)] = data
    return memory


def expected(condition: Condition) -> tuple[Outcome, int]:
    """By the model; also in how many steps."""
    cpu = Cpu(registers_of(condition), memory_of(condition))
    if condition.event is not None:
        event = condition.event
        interrupts.take(cpu, Trap(event))
    else:
        _instruct(cpu, condition)
    outcome = Outcome(cpu.r, bytes(cpu.memory), cpu.stop, cpu.shut_down, cpu.invalidated)
    return settled(outcome), cpu.steps + bool(cpu.shut_down)


def _instruct(cpu: Cpu, condition: Condition) -> None:
    operation = OPERATIONS[condition.operation]
    cpu.length = len(operation.code)

    def act(cpu: Cpu) -> None:
        before = dict(cpu.r)
        _before_instruction(cpu)
        if before["tf"] and condition.operation not in ("mov ss", "pop ss"):
            cpu.r["pending"] |= 0x4000
        cpu.r["shadow"] = cpu.r["rf"] = 0
        eip = cpu.r["eip"]
        operation.act(cpu)
        if cpu.stop is not None and cpu.stop[0] == "port_read":
            cpu.r, cpu.steps = before, -1  # it is done again with the answer
        elif cpu.r["eip"] == eip:
            cpu.r["eip"] = eip + cpu.length

    trap = cpu.attempt(act)
    if trap is not None:
        interrupts.take(cpu, trap)


def _before_instruction(cpu: Cpu) -> None:
    """Debug traps of the one before, breakpoints, the segment's limit (SDM 3, table 6-2)."""
    if cpu.r["pending"]:
        raise Trap(DB, status=cpu.r["pending"])
    if not cpu.r["rf"] and cpu.breakpoints(cpu.r["cs_base"] + cpu.r["eip"], 1, 0):
        raise Trap(DB, status=cpu.breakpoints(cpu.r["cs_base"] + cpu.r["eip"], 1, 0))
    if cpu.r["eip"] > cpu.r["cs_limit"]:
        raise Trap(GP, 0)


class Machine:
    """A state that conditions reuse, on one engine."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.space = AddressSpace(PhysicalMemory(SIZE))
        self.space.map(0, SIZE, 7, "all")
        self.state = State(X86(MODEL), dict.fromkeys(("linear", "system", "physical"), self.space))
        self.invalidated: list[tuple[int, int]] = []
        self.state.handlers["invalidate"] = self._invalidate
        self.space.poke(0, bytes(BASE))

    def _invalidate(self, address: int, what: int) -> None:
        self.invalidated.append((address, what))

    def run(self, condition: Condition, steps: int) -> Outcome:
        """The condition on the engine, for as many steps as the model needs."""
        state = self.state
        self.space.poke(0, bytes(memory_of(condition)[:CODE]))
        found = registers_of(condition)
        state.set_values(found[name] for name in NAMES)
        state.count, state.shut_down = 0, ()
        self.invalidated = []
        if condition.event is not None:
            self.engine.deliver(state, Fault(condition.event))
        stop = self.engine.run(state, max(steps, 1))
        memory = self.space.read(0, SIZE)
        assert isinstance(memory, bytes)
        told = None if stop.reason in ("until", "shutdown") else (stop.reason, stop.values)
        chain = [(fault.vector, fault.code) for fault in state.shut_down]
        return settled(Outcome(state.registers(), memory, told, chain, self.invalidated))


def settled(outcome: Outcome) -> Outcome:
    """Without the registers that only a task which goes on has a use for."""
    if outcome.shut_down:
        outcome.registers.update(arrival=0, arrival_code=0)
    return outcome
