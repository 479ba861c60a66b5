"""What a scripted machine is below its hooks: a program, bare code, or a PC."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass

from emu.engines import Engine
from emu.exit import Exit
from emu.guests import process_state
from emu.memory import AddressSpace, PhysicalMemory
from emu.process.files import HostFile, Stream
from emu.process.machine import ProcessMachine
from emu.process.namespace import MOST_EVENT_FILES
from emu.process.process import Outcome, Process
from emu.process.processor import DEFAULT, Processor
from emu.script.calls import SystemCall
from emu.script.errors import ScriptError
from emu.script.hooks import CALL, Hooks
from emu.state import Handler, State
from isa.fault import Fault
from isa.hints import Any, Protocol
from isa.x86.machine import X86
from isa.x86.registers import FLAT_CODE, FLAT_DATA, MXCSR_INITIAL, SEGMENT_NAMES
from isa.x86.vectors import NAMES


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a run came to its end.

    `reason` is "until" (the address or symbol asked for), "limit" (the count or timeout),
    "stopped" (a hook said so), or of the guest itself: "exit" (`code` is its own), "signal"
    (`code` is 128 + its number), "fault", "halt", "interrupt", "port_read", "port_write",
    "shutdown", "off", "unimplemented". `message` says where and why.
    """

    reason: str
    code: int = 0
    message: str = ""
    fault: Fault | None = None
    values: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.reason} {self.code}: {self.message}".rstrip(": ")


class Machine(Protocol):
    """A machine that can be run, saved and taken back."""

    @property
    def kind(self) -> str:
        """What it is: "process", "code" or "pc"."""

    @property
    def state(self) -> State:
        """Its processor."""

    def run(self, engine: Engine, until: int) -> Ending | None:
        """Run to a count (then None) or the guest's end."""

    def save(self) -> Any:
        """What besides registers and memory makes its state."""

    def load(self, saved: Any) -> None:
        """Take that back."""

    def close(self) -> None:
        """Give back what the host holds for it."""


# -- programs ---------------------------------------------------------------------------------


class _Process(ProcessMachine):
    """A process whose files stay open when it ends, as it may be taken back."""

    def close(self) -> None:
        """Nothing yet."""

    def dispose(self) -> None:
        """Close every file."""
        super().close()

    @property
    def has_ended(self) -> bool:
        """Whether the call that was served last has ended it."""
        return self._outcome is not None


class ProcessScript:
    """A Linux program."""

    kind = "process"

    def __init__(self, image: bytes, argv: list[str], **options: Any) -> None:
        self.machine = _Process(image, argv, **options)
        self.space = self.machine.space
        self.state = process_state(self.machine)

    def run(self, engine: Engine, until: int) -> Ending | None:
        """See `Machine`."""
        outcome = self.machine.run(engine, self.state, until)
        return None if outcome is None else _ending(outcome)

    def serve(self, state: State, handler: Handler, hooks: Hooks) -> Exit | None:
        """Serve a system call, with hooks before and after it."""
        call, pc, answer = SystemCall(self.machine.process, state), state.pc, None
        chosen = [hook for hook in hooks.of(CALL) if hook.name in ("", call.name)]
        for hook in chosen:
            if hook.before is not None and hook.active and not call.replaced:
                hook.before(call)
        if not call.replaced:
            answer = handler()
            if answer is not None and self.machine.has_ended:
                return answer
            if state.pc == pc:
                call.returned()
        for hook in chosen:
            if hook.active:
                hook.callback(call)
        return answer

    def save(self) -> Any:
        """See `Machine`."""
        machine, process = self.machine, self.machine.process
        if len(machine.table.processes) > 1:
            raise ScriptError(
                f"The guest has {len(machine.table.processes)} processes: no snapshot can be taken",
                where=f"count {self.state.count}",
                why="a snapshot holds one process, its memory and its files",
                advice="Take it before the guest forks, or when the others have been waited for",
            )
        if machine.table.sockets is not None and machine.table.sockets.are_open:
            raise ScriptError(
                "The guest has sockets open: no snapshot can be taken",
                where=f"count {self.state.count}",
                why="a snapshot holds no connections and nothing that is under way in them",
                advice="Take it before the guest opens them, or when it has closed them",
            )
        if machine.table.event_files.left < MOST_EVENT_FILES:
            raise ScriptError(
                "The guest has counters, timers or epolls open: no snapshot can be taken",
                where=f"count {self.state.count}",
                why="a snapshot does not hold who waits for which file",
                advice="Take it before the guest opens them, or when it has closed them",
            )
        parts = [_plain(part, names) for part, names in self._parts(process)]
        kept = copy.deepcopy((*parts, vars(process.clock), self._left()))
        files = self._copied(process.files)
        random = process.entropy.getstate()
        mapped = machine.sandbox.shared.save()
        system, sockets = bytes(process.system.data), self._closed_sockets()
        return process, kept, files, mapped, system, random, sockets

    def load(self, saved: Any) -> None:
        """See `Machine`."""
        process, kept, files, mapped, system, random, sockets = saved
        machine, table = self.machine, self.machine.table
        machine.sandbox.shared.load(mapped)
        for other in {id(p): p for p in (process, *table.running)}.values():
            other.files.close_all()
        self._put_closed_sockets(sockets)
        table.processes, table.running = {process.pid: process}, [process]
        process.children.clear()
        machine.scheduler.current, process.memory.mappings = process, self.space.mappings
        parts = *(part for part, _ in self._parts(process)), process.clock
        *values, left = copy.deepcopy(kept)
        for part, content in zip(parts, values, strict=True):
            for name, value in content.items():
                setattr(part, name, value)
        process.files = self._copied(files)
        machine.sandbox.supply.left, table.pipes.left = left
        process.system.data[:] = system
        process.system.generation += 1
        process.entropy.setstate(random)

    def _parts(self, process: Process) -> list[tuple[object, tuple[str, ...]]]:
        """What has plain values, and which."""
        machine = self.machine
        found = [(process, _PROCESS), (process.memory, _MEMORY), (machine, _MACHINE)]
        return [*found, (machine.table, _TABLE), (machine.scheduler, _SCHEDULER)]

    def _left(self) -> tuple[int, int]:
        """How many files and pipes there still may be."""
        return self.machine.sandbox.supply.left, self.machine.table.pipes.left

    def _closed_sockets(self) -> tuple[Any, Any]:
        """What sockets leave behind: names of files, and which numbers the next ones get."""
        sockets = self.machine.table.sockets
        names = {path: copy.copy(file) for path, file in self.machine.sandbox.sockets.items()}
        return names, None if sockets is None else sockets.numbers

    def _put_closed_sockets(self, saved: tuple[Any, Any]) -> None:
        names, numbers = saved
        table, sandbox = self.machine.table, self.machine.sandbox
        sandbox.sockets = {path: copy.copy(file) for path, file in names.items()}
        if table.sockets is not None:
            table.sockets.close()
        if table.sockets is not None and numbers is not None:
            table.sockets.numbers = numbers
        else:
            table.sockets = None  # it was made later

    def _copied(self, files: Any) -> Any:
        """A table of the same files at the same positions, with descriptors of its own."""
        sandbox = self.machine.sandbox
        shared: list[Any] = [sandbox, self.machine.process, self.machine.process.entropy]
        shared += [sandbox.supply, self.machine.table.pipes]
        shared += [f for f in _open_files(files) if isinstance(f, Stream)]
        copied = copy.deepcopy(files, {id(thing): thing for thing in shared})
        for file in _open_files(copied):
            if isinstance(file, HostFile):
                file._descriptor = os.dup(file._descriptor)
        return copied

    def close(self) -> None:
        """See `Machine`."""
        self.machine.dispose()


_PROCESS = (
    "signals", "cwd", "umask", "thread_name", "limits", "group", "session", "executed",
    "clear_at_exit", "ended", "stopped", "news", "sleep", "progress", "deadline", "used_before",
    "began_at", "used_by_children",
)  # fmt: skip
_MEMORY = ("program", "image", "heap_start", "heap_end", "users")
_MACHINE = ("_outcome", "unknown_calls")
_TABLE, _SCHEDULER = ("_last", "foreground"), ("_end_of_slice",)


def _plain(thing: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}


def _open_files(table: Any) -> list[Any]:
    found = {id(table.get(number)): table.get(number) for number in table.numbers()}
    return list(found.values())


def _ending(outcome: Outcome) -> Ending:
    reason = "unimplemented" if outcome.kind == "error" and outcome.code == 70 else outcome.kind
    return Ending(reason, outcome.exit_code, outcome.message, outcome.fault)


# -- bare code --------------------------------------------------------------------------------

PAGE = 4096
STACK_TOP, STACK_SIZE = 0xC000_0000, 1 << 20
SUPERVISOR, IOPL_3 = 0, 0x3202


class CodeScript:
    """Bytes of code in flat memory, and nothing else: no operating system, no devices."""

    kind = "code"

    def __init__(self, code: bytes, at: int, memory: int, cpu: str = DEFAULT) -> None:
        self.space = AddressSpace(PhysicalMemory(memory))
        first, end = at & ~(PAGE - 1), at + len(code) + PAGE - 1 & ~(PAGE - 1)
        self.space.map(first, max(end - first, PAGE), 7, "code")
        self.space.poke(at, code)
        self.space.map(STACK_TOP - STACK_SIZE, STACK_SIZE, 6, "stack")
        isa = X86(Processor(cpu).instruction_set)
        self.state = State(isa, {"linear": self.space, "system": self.space})
        for name in SEGMENT_NAMES:
            self.state[f"{name}_limit"] = 0xFFFFFFFF
            self.state[f"{name}_attributes"] = FLAT_CODE if name == "cs" else FLAT_DATA
        self.state["cpl"], self.state["eflags"] = SUPERVISOR, IOPL_3
        self.state["mxcsr"] = MXCSR_INITIAL
        self.state["eip"], self.state["esp"] = at, STACK_TOP - 16
        self.at, self.end = at, at + len(code)

    def run(self, engine: Engine, until: int) -> Ending | None:
        """See `Machine`."""
        stop = engine.run(self.state, until)
        return None if stop.reason == "until" else self._ending(stop)

    def _ending(self, stop: Exit) -> Ending:
        pc = self.state.pc
        if stop.fault is None:
            return Ending(stop.reason, 0, f"{stop.reason} at {pc:#x}", None, stop.values)
        fault = stop.fault
        where = "" if fault.address is None else f", address {fault.address:#x}"
        what = NAMES.get(fault.vector, f"vector {fault.vector}")
        return Ending("fault", 128 + fault.vector, f"{what} at {pc:#x}{where}", fault)

    def save(self) -> Any:
        """See `Machine`."""

    def load(self, saved: Any) -> None:
        """See `Machine`."""

    def close(self) -> None:
        """See `Machine`."""


# -- the PC -----------------------------------------------------------------------------------


class PcScript:
    """A PC."""

    kind = "pc"

    def __init__(self, guest: Any) -> None:
        self.guest = guest
        self.machine = guest.machine
        self.state: State = guest.state

    def run(self, engine: Engine, until: int) -> Ending | None:
        """See `Machine`."""
        self.machine.engine = engine
        stop = self.machine.run(until)
        if stop.reason == "until":
            return None
        report = self.guest._ended(stop)
        reason = "off" if stop.reason == "off" else report.stop
        return Ending(reason, report.exit_code, report.message, stop.fault, stop.values)

    def save(self) -> Any:
        """See `Machine`."""
        machine, memory = self.machine, self.machine.memory
        sides = [copy.deepcopy(_cached(side)) for side in self._sides()]
        board = copy.deepcopy(machine.board.snapshot())
        maps = memory.a20, dict(memory.readable), dict(memory.writable)
        return board, machine.halted, maps, sides

    def load(self, saved: Any) -> None:
        """See `Machine`."""
        board, halted, (a20, readable, writable), sides = saved
        machine, memory = self.machine, self.machine.memory
        machine.board.restore(copy.deepcopy(board))
        machine.halted = halted
        memory.a20, memory.readable, memory.writable = a20, dict(readable), dict(writable)
        memory.changed()
        for side, kept in zip(self._sides(), copy.deepcopy(sides), strict=True):
            for name, value in kept.items():
                getattr(side, name).update(value)

    def _sides(self) -> list[Any]:
        return [self.state.memory["linear"], self.state.memory["system"]]

    def close(self) -> None:
        """See `Machine`."""


def _cached(side: Any) -> dict[str, Any]:
    """What a side of linear memory remembers as a TLB does."""
    return {name: getattr(side, name) for name in ("_global", "_large", "_known")} | {
        "_cached": dict(side._cached)
    }
