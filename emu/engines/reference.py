"""The reference engine: evaluates the IR directly. The judge; never optimised.

One step: take a breakpoint or interrupt window, fetch, decode, evaluate the form's trace node by
node, then commit the register writes. A fault takes the instruction's stores back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emu.engines.fetch import decode_at
from emu.engines.serve import before, begin, end, offer
from emu.exit import UNTIL, Exit
from emu.memory import replaced
from emu.state import State
from isa.bits import Bits
from isa.fault import Fault
from isa.ops import OPS, require_columns
from isa.trace import Region, Trace


class Reference:
    """Engine contract: `run(state, until) -> Exit`, exact and precise (see emu/README.md)."""

    name = "reference"

    def __init__(self) -> None:
        self.evaluation: Evaluation | None = None  # of the last instruction, for tests

    def run(self, state: State, until: int) -> Exit:
        """Run until `state.count` reaches `until` or something else stops the processor."""
        begin(state)
        try:
            return self._run(state, until)
        finally:
            end(state)

    def _run(self, state: State, until: int) -> Exit:
        first = True
        while state.count < until:
            stop = before(state, first) or self.step(state)
            if stop is None:
                first = False
                continue
            answer, first = offer(state, stop, first)
            if answer is not None:
                return answer
        return UNTIL

    def step(self, state: State) -> Exit | None:
        """Do one instruction, or deliver the trap that it causes."""
        address = evaluate(state, state.isa.fetch(state.isa.mode(state.values)))
        if isinstance(address, Fault):
            return self.trap(state, address)
        instruction = decode_at(state, address)
        if isinstance(instruction, Fault):
            return self.trap(state, instruction)
        pc, trace = state.pc, state.isa.trace(instruction.form)
        self.evaluation = evaluation = Evaluation(state, instruction.fields)
        outcome = evaluation.carry_out(trace)
        if isinstance(outcome, Fault):
            return self.trap(state, outcome)
        goes_on = trace.has("retire") and state.pc == pc  # a repetition that is not done
        if state.coverage is not None and evaluation.retires and not goes_on:
            state.coverage.touch(address, instruction.length)
            state.coverage.passed(address, address + instruction.length)
        if outcome is not None and outcome.reason == "trap":
            return self.trap(state, Fault(outcome.vector))
        return outcome

    def trap(self, state: State, fault: Fault) -> Exit | None:
        """Let the machine take a fault itself, or leave with it."""
        trace = None if state.intercept_traps else delivery_of(state)
        return Exit("fault", fault) if trace is None else self._deliver(state, trace, fault)

    def deliver(self, state: State, fault: Fault) -> bool:
        """Carry out the machine's own delivery of a trap or interrupt; it counts as one.

        A fault in its middle is delivered in its place, or with it as a double fault; if that
        cannot be delivered either, the state says that the machine is shut down. An exit (a task
        has other page tables) is its handler's.
        """
        trace = delivery_of(state)
        if trace is None:
            return False
        stop = self._deliver(state, trace, fault)
        if stop is not None:
            offer(state, stop, first=False)
        return True

    def _deliver(self, state: State, trace: Trace, fault: Fault) -> Exit | None:
        faults, delivered = [fault], fault
        while True:
            outcome = self.enter_handler(state, trace, _fields(delivered))
            if not isinstance(outcome, Fault):
                return outcome
            faults.append(outcome)
            following = state.isa.combined(delivered, outcome)
            if following is None:
                state.shut_down = tuple(faults)
                return None
            delivered = following

    def enter_handler(
        self, state: State, trace: Trace, fields: dict[str, int]
    ) -> Exit | Fault | None:
        """Carry out a delivery's trace once; after a fault everything is as it was."""
        return Evaluation(state, fields).carry_out(trace)


def delivery_of(state: State) -> Trace | None:
    """How the machine takes a fault or interrupt now; None if it leaves the engine."""
    return state.isa.delivery(state.isa.mode(state.values))


def _fields(fault: Fault) -> dict[str, int]:
    """The fields of a delivery's trace; `coded` tells whether there is an error code."""
    coded = int(fault.code is not None)
    code, address = fault.code or 0, fault.address or 0
    return {"vector": fault.vector, "code": code, "coded": coded, "address": address}


def window_open(state: State) -> bool:
    """Whether the processor would take an interrupt now; not while a port read is half done."""
    if state.reply is not None:
        return False
    trace = state.isa.interruptible(state.isa.mode(state.values))
    return trace is not None and evaluate(state, trace) == 1


def evaluate(state: State, trace: Trace) -> int | Fault:
    """The value of a trace that only computes one (a fetch address)."""
    evaluation = Evaluation(state, {})
    outcome = evaluation.region(trace.region)
    assert trace.value is not None
    return outcome if isinstance(outcome, Fault) else evaluation.values[id(trace.value)]


class Evaluation:
    """One instruction under way: node values, pending register writes, and stores to take back."""

    def __init__(self, state: State, fields: Mapping[str, int]) -> None:
        self.state = state
        self.fields = fields
        self.values: dict[int, int] = {}
        self.puts: list[tuple[int, int]] = []
        self.left: list[tuple[int, int]] = []  # by a fault
        self.undo: list[tuple[str, int, int, int]] = []
        self.retired = 1
        self.stop: Exit | None = None
        self.undefined: list[object] = []

    def carry_out(self, trace: Trace) -> Exit | Fault | None:
        """Evaluate and commit; on a fault leave everything as it was, but what that says."""
        fault = self.region(trace.region)
        if fault is not None:
            self.take_back()
            for slot, value in self.left:
                self.state.values[slot] = value
            return fault
        if not self.retires:
            self.take_back()
            return self.stop
        for slot, value in self.puts:
            self.state.values[slot] = value
        self.state.count += self.retired
        self.state.reply = None
        return self.stop

    @property
    def retires(self) -> bool:
        """Whether the instruction happens, though it may stop the engine."""
        return self.stop is None or self.stop.reason not in ("port_read", "unimplemented")

    def take_back(self) -> None:
        """Undo the stores, last first."""
        for space, address, size, old in reversed(self.undo):
            self.state.memory[space].store(address, size, old)

    def region(self, region: Region) -> Fault | None:
        """Carry out the nodes in order until one faults."""
        for node in region.nodes:
            row = OPS[node.op]
            arguments = [self.values[id(a)] for a in node.args]
            if callable(row.python):
                self.values[id(node)] = row.python(node.args[0].width, node.attribute, *arguments)
                continue
            result = getattr(self, f"do_{node.op}")(node, *arguments)
            if isinstance(result, Fault):
                return result
            if result is not None:
                self.values[id(node)] = result
            if self.stop is not None and self.stop.reason == "port_read":
                return None
        return None

    # -- leaves ------------------------------------------------------------------------------

    def do_const(self, node: Bits) -> int:
        return int(node.attribute[0])

    def do_field(self, node: Bits) -> int:
        return self.fields[node.attribute[0]]

    def do_get(self, node: Bits) -> int:
        return self.state.values[int(node.attribute[0].slot)]

    def do_get_indexed(self, node: Bits, index: int) -> int:
        return self.state.values[int(node.attribute[0].members[index].slot)]

    def do_clock(self, node: Bits) -> int:
        return self.state.count

    def do_parameter(self, node: Bits) -> int:
        raise AssertionError("a parameter stands only in a function's body")

    def do_call(self, node: Bits, *arguments: int) -> int:
        return self._inside(node.attribute.body(tuple(a.width for a in node.args)), arguments, {})

    def _inside(self, node: Bits, arguments: Sequence[int], known: dict[int, int]) -> int:
        """A node of a function's body."""
        if node.op == "parameter":
            return arguments[int(node.attribute[0])]
        if id(node) not in known:
            values = [self._inside(a, arguments, known) for a in node.args]
            if node.op in ("const", "call"):
                known[id(node)] = int(getattr(self, f"do_{node.op}")(node, *values))
            else:
                operation = OPS[node.op].python
                assert callable(operation)
                known[id(node)] = int(operation(node.args[0].width, node.attribute, *values))
        return known[id(node)]

    # -- memory ------------------------------------------------------------------------------

    def _units(self, space: str, width: int) -> int:
        return width // self.state.isa.spaces[space]

    def do_load(self, node: Bits, address: int) -> int | Fault | None:
        space, width = node.attribute
        size = self._units(space, width)
        if space == "port":
            return self._read_port(address, size)
        return self.state.memory[space].load(address, size)

    def do_load_for_write(self, node: Bits, address: int) -> int | Fault:
        space, width = node.attribute
        return self.state.memory[space].load_for_write(address, self._units(space, width))

    def _read_port(self, port: int, size: int) -> int | None:
        if self.state.reply is None:
            self.stop = Exit("port_read", values=(port, size))
        return self.state.reply

    def do_store(self, node: Bits, address: int, value: int) -> Fault | None:
        space, width = node.attribute
        size = self._units(space, width)
        if space == "port":
            self.stop = Exit("port_write", values=(address, size, value))
            return None
        return self._store(space, address, size, value)

    def _store(self, space: str, address: int, size: int, value: int) -> Fault | None:
        memory = self.state.memory[space]
        old = replaced(memory, address, size)
        fault = memory.store(address, size, value)
        if fault is None and not isinstance(old, Fault):
            self.undo.append((space, address, size, old))
        return fault

    # Bulk operations: one iteration, which the IR allows and which defines the others.

    def do_copy(self, node: Bits, source: int, to: int, _: int, __: int) -> int | Fault:
        space, width = node.attribute
        size = self._units(space, width)
        value = self.state.memory[space].load(source, size)
        if isinstance(value, Fault):
            return value
        return self._store(space, to, size, value) or 1

    def do_fill(self, node: Bits, to: int, value: int, _: int, __: int) -> int | Fault:
        space, width = node.attribute
        return self._store(space, to, self._units(space, width), value) or 1

    def do_scan(self, node: Bits, at: int, _: int, __: int, ___: int) -> int | Fault:
        space, width, _while_equal = node.attribute
        value = self.state.memory[space].load(at, self._units(space, width))
        return value if isinstance(value, Fault) else 1

    def do_compare(self, node: Bits, one: int, other: int, _: int, __: int) -> int | Fault:
        space, width, _while_equal = node.attribute
        for address in (one, other):
            value = self.state.memory[space].load(address, self._units(space, width))
            if isinstance(value, Fault):
                return value
        return 1

    # -- control -----------------------------------------------------------------------------

    def do_when(self, node: Bits, condition: int) -> int | Fault:
        fault = self.region(node.attribute.region) if condition else None
        return condition if fault is None else fault

    def do_result(self, node: Bits, taken: int) -> int:
        (when,) = node.args
        then, otherwise = when.attribute.yields[node.attribute[0]]
        return self.values[id(then if taken else otherwise)]

    def do_fault(self, node: Bits, *arguments: int) -> Fault:
        vector, (has_code, has_address), left = node.attribute
        rest = list(arguments)
        code = rest.pop(0) if has_code else None
        address = rest.pop(0) if has_address else None
        self.left = [(r.slot, value) for r, value in zip(left, rest, strict=True)]
        return Fault(vector, code, address)

    def do_exit(self, node: Bits, *values: int) -> None:
        self.stop = Exit(node.attribute, values=values)

    def do_retire(self, node: Bits, count: int) -> None:
        self.retired = count

    def do_undefined(self, node: Bits, condition: int) -> None:
        if condition:
            self.undefined.append(node.attribute)

    def do_put(self, node: Bits, value: int) -> None:
        self.puts.append((node.attribute.slot, value))

    def do_put_indexed(self, node: Bits, index: int, value: int) -> None:
        self.puts.append((node.attribute.members[index].slot, value))


require_columns(Evaluation)
