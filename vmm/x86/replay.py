"""States in numbers, the step of the reference engine from them, and the definitions on numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from emu.engines.reference import Reference
from emu.exit import Exit
from emu.state import State
from isa.fault import Fault
from isa.registers import Register
from isa.x86.machine import X86
from isa.x86.registers import CPL, EIP, REGISTERS, SEGMENTS
from vmm.x86.states import Parts

FILL: Final = 0x0B
"""What memory holds where a state does not say."""


@dataclass(frozen=True, slots=True)
class Concrete:
    """A state in numbers."""

    registers: Mapping[Register, int]
    memory: Mapping[int, int]
    ports: int = 0  # what a port answers
    clock: int = 0


class Bytes:
    """A linear address space of 4 GiB, byte by byte. See `emu.memory.Memory`."""

    def __init__(self, content: Mapping[int, int]) -> None:
        self.content = dict(content)

    def load(self, address: int, size: int) -> int:
        """Read bytes as a little-endian number."""
        return int.from_bytes(self._read(address, size), "little")

    load_for_write = load

    def store(self, address: int, size: int, value: int) -> Fault | None:
        """Write bytes."""
        for n, byte in enumerate(value.to_bytes(size, "little")):
            self.content[address + n & 0xFFFFFFFF] = byte
        return None

    def fetch(self, address: int, size: int) -> tuple[bytes, Fault | None]:
        """Read code."""
        return self._read(address, size), None

    def _read(self, address: int, size: int) -> bytes:
        return bytes(self.content.get(address + n & 0xFFFFFFFF, FILL) for n in range(size))


@dataclass(frozen=True, slots=True)
class Ran:
    """A state, and what one instruction made of it."""

    before: Concrete
    after: Concrete
    text: str
    trap: Fault | None = None
    missing: bool = False  # no instruction of this processor
    driven: tuple[int, ...] = field(default=())  # (port, size, value) that it wrote
    exited: str = ""  # by which control of the VMCS
    own_levels: bool = False  # a more privileged level is the guest's own

    @property
    def executes(self) -> bool:
        """Whether it was carried out, and did not end in a more privileged level."""
        return not self.trapped and not self.missing

    @property
    def trapped(self) -> bool:
        """Whether an exception or another way led to a more privileged level, or out of a guest."""
        if self.trap is not None or self.exited:
            return True
        raised = self.after.registers[CPL] < self.before.registers[CPL]
        return raised and not self.own_levels

    def changed(self, registers: tuple[Register, ...]) -> list[Register]:
        """Those of the registers that are not what they were."""
        return [r for r in registers if self.before.registers[r] != self.after.registers[r]]

    @property
    def stored(self) -> set[int]:
        """Where memory is not what it was."""
        old, new = self.before.memory, self.after.memory
        return {a for a, byte in new.items() if byte != old.get(a, FILL)}


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs after two steps, or what one changed."""

    name: str
    one: int
    other: int
    changed: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.one:#x} {'→' if self.changed else '≠'} {self.other:#x}"


def run(state: Concrete, processor: str) -> Ran:
    """One step on the reference engine; a trap is what the monitor would see."""
    isa, memory = X86(processor), Bytes(state.memory)
    machine = State(isa, {"linear": memory, "system": memory, "physical": memory, "port": memory})
    machine.intercept_traps = True
    for register, value in state.registers.items():
        machine.write(register, value)
    machine.count = state.clock
    engine = Reference()
    stop = engine.step(machine)
    if stop is not None and stop.reason == "port_read":
        machine.reply = state.ports & (1 << 8 * stop.values[1]) - 1
        stop = engine.step(machine)
    after = Concrete({r: int(machine.values[r.slot]) for r in REGISTERS}, memory.content,
                     state.ports, machine.count)  # fmt: skip
    return _ran(state, after, stop, _text(state, isa))


def _ran(before: Concrete, after: Concrete, stop: Exit | None, text: str) -> Ran:
    reason = "" if stop is None else stop.reason
    trap = stop.fault if stop is not None and reason == "fault" else None
    driven = stop.values if stop is not None and reason == "port_write" else ()
    return Ran(before, after, text, trap, reason == "unimplemented", tuple(driven))


def _text(state: Concrete, isa: X86) -> str:
    """The instruction in assembly language."""
    from isa.x86.decode import BAD, first

    code = SEGMENTS["cs"]
    at = state.registers[code.base] + state.registers[EIP]
    bits = 32 if state.registers[code.attributes] & 0x400 else 16
    found = first(Bytes(state.memory).fetch(at, isa.max_length)[0], bits, state.registers[EIP])
    return BAD if found is None else f"{found.mnemonic} {found.op_str}".strip()


# -- the definitions ------------------------------------------------------------------------------

Found = list[Difference] | None


def refutes_privileged(one: Ran, other: Ran | None, _: Parts) -> Found:
    """Carried out in s and in u."""
    return [] if other is not None and one.executes and other.executes else None


def misses(one: Ran, _: Ran | None, parts: Parts) -> Found:
    """Carried out in u."""
    in_user = all(one.before.registers[r] == value for r, value in parts.user.items())
    return [] if one.executes and in_user else None


def shows_privileged(one: Ran, other: Ran | None, _: Parts) -> Found:
    """Carried out in s, a trap in u."""
    return [] if other is not None and one.executes and other.trapped else None


def controls(one: Ran, _: Ran | None, parts: Parts) -> Found:
    """What it changes of M, R and the resources."""
    if not one.executes:
        return None
    before, after = one.before.registers, one.after.registers
    registers = (*parts.mode, *parts.relocation, *parts.resources)
    found = [Difference(r.name, before[r], after[r], True) for r in one.changed(registers)]
    if one.driven:
        found.append(Difference(f"port {one.driven[0]:#x}", 0, one.driven[2], True))
    return found or None


def behaves(one: Ran, other: Ran | None, parts: Parts) -> Found:
    """What differs of E and P after two steps that leave M and R."""
    assert other is not None
    kept = (*parts.mode, *parts.relocation)
    if not all(ran.executes and not ran.changed(kept) for ran in (one, other)):
        return None
    a, b = one.after, other.after
    touched = {r for ran in (one, other) for r in ran.changed(parts.program)}
    found = [Difference(r.name, a.registers[r], b.registers[r]) for r in parts.program
             if r in touched and a.registers[r] != b.registers[r]]  # fmt: skip
    found += [
        Difference(f"memory {at:#x}", a.memory.get(at, FILL), b.memory.get(at, FILL))
        for at in sorted(one.stored | other.stored)
        if a.memory.get(at, FILL) != b.memory.get(at, FILL)
    ]
    return found or None
