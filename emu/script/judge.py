"""Watched machines on the reference engine: one instruction after the other, evaluated and told."""

from __future__ import annotations

from collections.abc import Mapping

from emu.engines.fetch import decode_at
from emu.engines.reference import Evaluation, Reference, evaluate
from emu.exit import Exit
from emu.script.watch import AGAIN, READ, TELLS, WRITE, Watch
from emu.state import State
from isa.fault import Fault
from isa.hints import Any


class WatchedReference(Reference):
    """The judge of what hooks are told."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def step(self, state: State) -> Exit | None:
        """Announce one instruction and do it, or deliver the trap that it causes."""
        watch = self._watch
        address = evaluate(state, state.isa.fetch(state.isa.mode(state.values)))
        if isinstance(address, Fault):
            return self.trap(state, address)
        if isinstance(instruction := decode_at(state, address), Fault):
            return self.trap(state, instruction)
        if watch.announce(state, address):
            return AGAIN
        instruction = decode_at(state, address)  # a hook may have changed it
        if isinstance(instruction, Fault):
            return self.trap(state, instruction)
        pc, trace = state.pc, state.isa.trace(instruction.form)
        watch.log.clear()
        evaluation = Recording(state, instruction.fields, watch)
        outcome = evaluation.carry_out(trace)
        if isinstance(outcome, Fault) or not evaluation.retires:
            watch.log.clear()
            return self.trap(state, outcome) if isinstance(outcome, Fault) else outcome
        self._cover(state, address, instruction.length, trace.has("retire") and state.pc == pc)
        watch.retired(state, instruction.form, pc)
        watch.tell(address)
        if outcome is not None and outcome.reason == "trap":
            return self.trap(state, Fault(outcome.vector))
        return AGAIN if outcome is None and watch.changed else outcome

    def _cover(self, state: State, address: int, length: int, goes_on: bool) -> None:
        if state.coverage is not None and not goes_on:
            state.coverage.touch(address, length)
            state.coverage.passed(address, address + length)


class Recording(Evaluation):
    """An instruction under way, whose accesses go into the log."""

    def __init__(self, state: State, fields: Mapping[str, int], watch: Watch) -> None:
        super().__init__(state, fields)
        self._log = watch.log

    def _note(self, kind: str, space: str, width: int, address: int, value: object) -> None:
        if space not in TELLS and isinstance(value, int):
            self._log.append((kind, address, self._units(space, width), value))

    def do_load(self, node: Any, address: int) -> int | Fault | None:
        value = super().do_load(node, address)
        space, width = node.attribute
        self._note(READ, space, width, address, value)
        return value

    def do_load_for_write(self, node: Any, address: int) -> int | Fault:
        value = super().do_load_for_write(node, address)
        space, width = node.attribute
        self._note(READ, space, width, address, value)
        return value

    def _store(self, space: str, address: int, size: int, value: int) -> Fault | None:
        fault = super()._store(space, address, size, value)
        if fault is None and space not in TELLS:
            self._log.append((WRITE, address, size, value))
        return fault

    def _reads(self, node: Any, address: int) -> None:
        """Note what is at an address from which an iteration reads."""
        space, width, *_ = node.attribute
        value = self.state.memory[space].load(address, self._units(space, width))
        self._note(READ, space, width, address, value)

    def do_copy(self, node: Any, source: int, to: int, down: int, count: int) -> int | Fault:
        self._reads(node, source)
        return super().do_copy(node, source, to, down, count)

    def do_scan(self, node: Any, at: int, value: int, down: int, count: int) -> int | Fault:
        self._reads(node, at)
        return super().do_scan(node, at, value, down, count)

    def do_compare(self, node: Any, one: int, other: int, down: int, count: int) -> int | Fault:
        self._reads(node, one)
        self._reads(node, other)
        return super().do_compare(node, one, other, down, count)
