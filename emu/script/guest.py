"""A guest in the hands of a script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from emu.memory import ADDRESS_LIMIT
from emu.script import snapshot as snapshots
from emu.script.calls import FunctionCall
from emu.script.engine import Left, ScriptEngine
from emu.script.errors import ScriptError
from emu.script.hooks import Hooks
from emu.script.machines import Ending, Machine
from emu.script.memory import LinearView, MappedMemory, PhysicalView, ScriptMemory
from emu.script.registers import Registers
from emu.script.snapshot import Snapshot
from emu.script.symbols import Symbols
from emu.script.watch import NOWHERE, Watch
from isa.hints import Any, Final

FOREVER: Final = 1 << 62
FINAL: Final = frozenset({"exit", "signal", "error", "off", "shutdown"})
"""Endings after which nothing goes on."""
LONGEST: Final = 15  # bytes of an instruction


@dataclass(frozen=True, slots=True)
class Line:
    """An instruction in memory."""

    address: int
    code: bytes
    text: str

    @property
    def length(self) -> int:
        """How many bytes it has."""
        return len(self.code)

    def __str__(self) -> str:
        return f"{self.address:08x}  {self.code.hex(' '):<24}  {self.text}"


class ScriptGuest:
    """A machine with a guest in it: run it, look at it, change it, hook it.

    `registers`, `memory` (a PC also has `physical`), `symbols` and `hook` are its parts; `exit`
    tells how it ended, None before; `count` is its time, in instructions. Made by `emu.load`,
    `emu.source` and `emu.code`.
    """

    def __init__(self, machine: Machine, engine: str, symbols: Symbols) -> None:
        self._machine = machine
        self._watch = Watch(machine.state.isa)
        self._engine = ScriptEngine(engine, self._watch, flat=machine.kind != "pc")
        self.hook = self._engine.hooks = Hooks(self, self._watch)
        self._engine.serves = getattr(machine, "serve", None)
        self.state = machine.state
        self.registers = Registers(self.state, self._watch)
        self.symbols = symbols
        self.memory: ScriptMemory = self._memory()
        self.exit: Ending | None = None
        self._newest: Snapshot | None = None
        self._runs = False
        storage: Any = self._storage()
        storage.listeners.append(self._code_changed)

    def _memory(self) -> ScriptMemory:
        machine: Any = self._machine
        if machine.kind != "pc":
            return MappedMemory(machine.space, self._watch)
        linear: Any = self.state.memory["linear"]
        self.physical = PhysicalView(machine.machine.memory)
        return LinearView(machine.machine.memory, self.state, linear)

    def _storage(self) -> Any:
        machine: Any = self._machine
        return machine.machine.memory.physical if machine.kind == "pc" else machine.space.physical

    def _code_changed(self, address: int, size: int) -> None:
        self._watch.changed = True

    # -- what it is ------------------------------------------------------------------------------

    @property
    def machine_kind(self) -> str:
        """ "process" (a Linux program), "code" (bytes, no system) or "pc"."""
        return self._machine.kind

    @property
    def engine(self) -> str:
        """The name of the engine that ran last."""
        return self._engine.name

    @property
    def count(self) -> int:
        """Instructions retired so far: the guest's time. Exact in hooks too."""
        native = self._watch.count
        return self.state.count if native is None else native()

    @property
    def pc(self) -> int:
        """The address of the next instruction; in a PC with segments the linear one."""
        if self.machine_kind != "pc":
            return self.state.pc
        return self.state["cs_base"] + self.state.pc & ADDRESS_LIMIT - 1

    # -- running ---------------------------------------------------------------------------------

    def run(self, until: int | str | None = None, *, count: int | None = None,
            timeout: int | None = None) -> Ending:  # fmt: skip
        """Run until the guest ends, or comes to the address or symbol `until`, or is at `count`,
        or `timeout` more instructions have passed. Tells which of these.

        At an address, its instruction has not happened, and the next run does not stop there again
        before it comes back. Bare code also stops behind its last byte.
        """
        limits = [FOREVER]
        if count is not None:
            limits.append(count)
        if timeout is not None:
            limits.append(self.state.count + timeout)
        if min(limits) < self.state.count:
            raise ScriptError(
                f"The guest is at instruction {self.state.count} already",
                where=f"run to {min(limits)}", advice="Restore a snapshot from before",
            )  # fmt: skip
        return self._run(self._stops(until), min(limits))

    def _stops(self, until: int | str | None) -> frozenset[int]:
        end = getattr(self._machine, "end", None) if until is None else self.address_of(until)
        return frozenset() if end is None else frozenset({end})

    def step(self, count: int = 1) -> Ending:
        """Do so many instructions; a round of a repeated one counts as one."""
        if count < 0:
            raise ScriptError(
                f"There are no {count} instructions", advice="Use snapshots to go back"
            )
        return self._run(frozenset(), self.state.count + count)

    def _run(self, stops: frozenset[int], limit: int) -> Ending:
        if self.exit is not None and self.exit.reason in FINAL:
            raise ScriptError(
                "The guest has ended", where=str(self.exit),
                advice="Restore a snapshot, or load it again",
            )  # fmt: skip
        if self._runs:
            raise ScriptError(
                "The guest is running", why="This was asked from a hook",
                advice="Let the hook return; guest.stop() ends the run",
            )  # fmt: skip
        engine, self._runs, self.exit = self._engine, True, None
        engine.stops, engine.asked = stops, False
        engine.passed = self.state.count, self.state.pc
        self._watch.changed = True
        try:
            ended = self._machine.run(engine, limit)
        except Left as left:
            self._watch.announced = NOWHERE if left.reached else self._watch.announced
            return Ending("until" if left.reached else "stopped", 0, f"at {self.place()}")
        finally:
            self._runs = False
            engine.stops = frozenset()
        if ended is None:
            return Ending("limit", 0, f"after {self.state.count} instructions, at {self.place()}")
        self.exit = ended
        return ended

    def stop(self) -> None:
        """Called in a hook: end the run before the next instruction."""
        self._engine.asked = self._watch.changed = True

    # -- places ----------------------------------------------------------------------------------

    def address_of(self, where: int | str) -> int:
        """The address that a number, or a symbol, stands for."""
        if isinstance(where, int):
            if 0 <= where < ADDRESS_LIMIT:
                return where
            raise ScriptError(f"{where:#x} is no address", why="They have 32 bits")
        found = self.symbols.get(where)
        if found is None:
            near = [name for name in self.symbols if where in name][:5]
            raise ScriptError(
                f"There is no symbol {where!r}",
                why="" if self.symbols else "The guest has no symbols",
                advice=f"Do you mean {', '.join(near)}?" if near else "Give an address",
            )
        return found

    def range_of(self, where: Any) -> tuple[int, int]:
        """The addresses that an address, a symbol, a range or a pair stands for."""
        if isinstance(where, str):
            self.address_of(where)
            return self.symbols.extent(where)
        if isinstance(where, int):
            return self.address_of(where), where + 1
        if isinstance(where, range) and where.step == 1:
            return where.start, where.stop
        if isinstance(where, tuple) and len(where) == 2 and where[0] < where[1]:
            return self.address_of(where[0]), where[1]
        raise ScriptError(
            f"{where!r} tells no addresses",
            advice="Give an address, a symbol, range(first, end), or (first, end)",
        )

    def name_of(self, address: int) -> str:
        """`symbol+0x12` of an address, or the address."""
        return self.symbols.near(address) or f"{address:#x}"

    def place(self) -> str:
        """The next instruction: symbol, address and text."""
        try:
            line = self.disassemble(self.pc, 1)[0]
        except (ScriptError, IndexError):
            return f"{self.pc:#010x}"
        name = self.symbols.near(self.pc)
        return f"{self.pc:#010x} ({name + ': ' if name else ''}{line.text})"

    def disassemble(self, where: int | str | None = None, count: int = 1) -> list[Line]:
        """Instructions in memory, from an address, a symbol, or the next instruction on."""
        return list(self._lines(self.pc if where is None else self.address_of(where), count))

    def _lines(self, address: int, count: int) -> Iterator[Line]:
        isa, mode = self.state.isa, self.state.isa.mode(self.state.values)
        for _ in range(count):
            code = self._code(address)
            length = isa.decode(code.ljust(LONGEST, b"\0"), mode).length
            yield Line(address, code[:length], isa.text(code[:length], address))
            address += length

    def _code(self, address: int) -> bytes:
        """The bytes of an instruction, or what of them is there."""
        for size in range(LONGEST, 0, -1):
            try:
                return self.memory.read(address, size)
            except ScriptError:
                if size == 1:
                    raise
        return b""

    def function_call(self, name: str, address: int) -> FunctionCall:
        """The call whose callee's first instruction is next."""
        stack = self.registers["esp"]
        return FunctionCall(
            name, address, self.memory.read_int(stack), stack, self.memory, self.state
        )

    # -- changing --------------------------------------------------------------------------------

    def patch(self, where: int | str, code: bytes | str) -> int:
        """Write bytes, or assemble a text, at an address or symbol; how many bytes there are now.

        Raises AssemblyError for a text that does not assemble.
        """
        address = self.address_of(where)
        if isinstance(code, str):
            from emu.assembler import flat

            constants = "".join(
                f".set {name}, {value:#x}\n" for name, value in self.symbols.items() if name in code
            )
            code = flat(f"{constants}{code}\n", "patch", address)
        self.memory.write(address, code)
        return len(code)

    def snapshot(self) -> Snapshot:
        """The state of the machine now; cheap. Output that was written is not part of it."""
        self._not_running("A snapshot")
        self._newest = snapshots.take(
            self.state, self._machine, (self._watch.announced, self._watch.inside), self._newest
        )
        return self._newest

    def restore(self, saved: Snapshot) -> None:
        """Make the machine what it was; running on passes through the same states again."""
        self._not_running("Going back")
        snapshots.put_back(self.state, self._machine, saved)
        self._watch.announced, self._watch.inside = saved.announced
        self._watch.changed = True
        self.exit = None

    def _not_running(self, what: str) -> None:
        if self._runs:
            raise ScriptError(
                f"{what} is taken between two runs", where="a hook",
                advice="Call guest.stop() in the hook, and do it when run() has returned",
            )  # fmt: skip

    # -- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the guest's files."""
        self._machine.close()

    def __enter__(self) -> ScriptGuest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def __repr__(self) -> str:
        ended = f", ended: {self.exit}" if self.exit else ""
        return f"<{self.machine_kind} guest at {self.place()}, count {self.count}{ended}>"
