"""Lock-step: the bare PC and a virtual one must pass through the same states.

They are compared at every boundary that counts for the monitor: whenever it has got control back.
Registers, time and what came out of the serial port are compared at each; all of memory every
so many, and at the end; devices at the end. A difference is then searched for one instruction at a
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from emu.engines.fetch import decode_at
from emu.engines.reference import evaluate
from emu.exit import Exit
from emu.pc.machine import PcMachine
from emu.pc.serial import MemorySerial
from emu.state import State
from isa.fault import Fault
from isa.x86.decode import BAD, first
from isa.x86.form import Form
from isa.x86.mode import Mode
from vmm.divergence import Divergence
from vmm.pc.machine import VirtualPc
from vmm.pc.sensitivity import sensitivity

MEMORY_EVERY: Final = 256  # boundaries from one look at all of memory to the next
CHUNK: Final = 64  # instructions from look to look while a difference is searched for
BOUNDARY: Final = Exit("boundary")


@dataclass(slots=True)
class Pair:
    """The bare PC and the virtual one, and what came out of each."""

    bare: PcMachine
    virtual: VirtualPc
    bare_serial: MemorySerial
    virtual_serial: MemorySerial


Difference = tuple[str, str, str]
"""What differs, the bare machine's, the virtual one's."""


def differences(pair: Pair, *, memory: bool) -> Iterator[Difference]:
    """What differs, registers first; nothing if the states are the same."""
    one, other = pair.bare.state, pair.virtual.state
    if one.values != other.values:
        for register in one.isa.registers:
            expected, actual = one.values[register.slot], other.values[register.slot]
            if expected != actual:
                yield register.name, f"{expected:#x}", f"{actual:#x}"
    if one.count != other.count:
        yield "time", str(one.count), str(other.count)
    if memory:
        yield from _bytes(pair)
    mine, its = pair.bare_serial.output, pair.virtual_serial.output
    if mine != its:
        yield "output", repr(bytes(mine[-16:])), repr(bytes(its[-16:]))


def _bytes(pair: Pair) -> Iterator[Difference]:
    one, other = (machine.memory for machine in (pair.bare, pair.virtual))
    mine, its = one.physical.array[: one.ram], other.physical.array[: other.ram]
    if not np.array_equal(mine, its):
        for address in np.nonzero(mine != its)[0].tolist():
            yield f"[{address:#x}]", f"{mine[address]:#x}", f"{its[address]:#x}"


def first_divergence(
    make: Callable[[], Pair], limit: int, every: int = 1
) -> tuple[Divergence | None, Pair]:
    """Compare at every so many boundaries; also the pair that was run to its end or difference."""
    pair = make()
    limit += pair.bare.state.count
    look = _Look(pair, limit, every)
    found = look.run()
    if found is None:
        return None, pair
    last = pair.bare.state.count
    agreed = _agreed(make(), look.agreed, last)
    exact = _step(make(), agreed, last)
    return exact or _at(_Before(pair.bare), pair, found), pair


class _Look:
    """Runs a pair from boundary to boundary; `agreed` is when all of it was last the same."""

    def __init__(self, pair: Pair, limit: int, every: int) -> None:
        self._pair = pair
        self._limit = limit
        self._every = every
        self._boundaries = 0
        self.agreed = pair.bare.state.count
        pair.virtual.monitor.boundary = self._boundary

    def _boundary(self, _: State) -> Exit | None:
        self._boundaries += 1
        return None if self._boundaries % self._every else BOUNDARY

    def run(self) -> Difference | None:
        """Until both stop, or the first difference."""
        pair, looks = self._pair, 0
        while True:
            stop = pair.virtual.run(self._limit)
            ends = stop is not BOUNDARY
            looks += 1
            whole = ends or looks % MEMORY_EVERY == 0
            pair.bare.run(pair.virtual.state.count)
            found = _stops_differ(pair, stop) if ends and stop.reason != "until" else None
            found = found or next(differences(pair, memory=whole), None)
            if found is None and ends and pair.bare.digest() != pair.virtual.digest():
                found = "a device's state", "the same", "another"
            if found is not None or ends:
                return found
            if whole:
                self.agreed = pair.bare.state.count


def _stops_differ(pair: Pair, stop: Exit) -> Difference | None:
    """Whether the bare machine stops here too, and for the same reason."""
    expected = pair.bare.run(pair.bare.state.count + 1)
    same = (expected.reason, expected.fault) == (stop.reason, stop.fault)
    return None if same else ("stop", expected.reason, stop.reason)


def _agreed(pair: Pair, agreed: int, last: int) -> int:
    """The last of steps of `CHUNK` instructions, from when both agree on, at which they still do.

    They differ at `last`.
    """
    _run(pair, agreed)
    while agreed + CHUNK < last:
        _run(pair, agreed + CHUNK)
        if next(differences(pair, memory=True), None) is not None:
            break
        agreed += CHUNK
    return agreed


def _step(pair: Pair, agreed: int, last: int) -> Divergence | None:
    """One instruction at a time from when both agree."""
    _run(pair, agreed)
    for until in range(agreed + 1, last + 1):
        before = _Before(pair.bare)
        _run(pair, until)
        found = next(differences(pair, memory=True), None)
        if found is not None:
            return _at(before, pair, found)
    return None


def _run(pair: Pair, until: int) -> None:
    pair.bare.run(until)
    pair.virtual.run(until)


def _at(before: _Before, pair: Pair, found: Difference) -> Divergence:
    return Divergence(pair.bare.state.count, before.instruction, before.address, *found, before.why)


class _Before:
    """What is about to happen on the bare machine, in case it has to be explained."""

    def __init__(self, machine: PcMachine) -> None:
        state = machine.state
        self.address = (state["cs_base"] + state.pc) & 0xFFFFFFFF
        mode = cast(Mode, state.isa.mode(state.values))
        code = machine.linear.look(self.address, state.isa.max_length, state["cpl"])
        shown = first(code, mode.code_size, self.address)
        self.instruction = BAD if shown is None else f"{shown.mnemonic} {shown.op_str}".strip()
        self.why = self._explanation(state, mode)

    def _explanation(self, state: State, mode: Mode) -> str:
        """Why it is critical, by its meaning."""
        if not isinstance(evaluate(state, state.isa.fetch(mode)), Fault):
            found = decode_at(state, self.address)
            if not isinstance(found, Fault):
                told = sensitivity(cast(Form, found.form))
                if told:
                    return f"is critical: it {told}"
        return "is innocuous for all that its meaning shows: the monitor itself is at fault"
