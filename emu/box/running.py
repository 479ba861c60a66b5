"""A box at work: a process machine with its own processor, memory, files and time."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

from emu.box.box import Box
from emu.engines import make_engine
from emu.errors import GuestFileError
from emu.guests import FOREVER, process_state, read_file
from emu.process.execute import read_guest_file
from emu.process.files import BinaryStream
from emu.process.machine import ProcessMachine
from emu.process.sandbox import Sandbox
from emu.process.syscalls import CallEvent
from emu.report import EXIT_LIMIT, Report
from isa.hints import Any

KILLED = 137  # 128 + SIGKILL, as a shell says it


class Running:
    """A box from its start to its end; `report` is there when it has ended.

    Raises GuestFileError if it cannot start. Without `streams` it reads nothing, and what it says
    is kept in `output` and `errors`.
    """

    def __init__(
        self,
        box: Box,
        streams: tuple[BinaryStream | None, BinaryStream | None, BinaryStream | None] | None = None,
        on_call: Callable[[CallEvent], None] | None = None,
    ) -> None:
        self.box = box
        self.output, self.errors = io.BytesIO(), io.BytesIO()
        stdin, stdout, stderr = streams or (io.BytesIO(), self.output, self.errors)
        self.machine = ProcessMachine(
            _image(box),
            [box.program, *box.arguments],
            box.environment,
            root=box.root,
            writable=box.writable,
            net=box.net,
            memory=box.memory,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            seed=box.seed,
            user=0,
            cwd=box.cwd,
            cpu=box.cpu,
            on_call=on_call,
            namespace=box.namespace,
        )
        self.engine = make_engine(box.engine)
        self.state = process_state(self.machine)
        self.report: Report | None = None
        self._began = time.perf_counter()

    @property
    def instructions(self) -> int:
        """How many instructions its processes have run."""
        return self.state.count

    def advance(self, instructions: int) -> None:
        """Let its processes run so many more instructions, if it has not ended."""
        if self.report is not None:
            return
        limit = FOREVER if self.box.instructions is None else self.box.instructions
        until = min(self.state.count + instructions, limit)
        outcome = self.machine.run(self.engine, self.state, until)
        if outcome is not None:
            self._end(outcome.kind, outcome.exit_code, outcome.message)
        elif self.state.count >= limit:
            self._stop("limit", EXIT_LIMIT, f"it used all of its {limit:,} instructions")

    def kill(self) -> None:
        """End all of its processes, if it has not ended."""
        if self.report is None:
            self._stop("killed", KILLED, f"killed after {self.state.count:,} instructions")

    def _stop(self, stop: str, code: int, message: str) -> None:
        self.machine.close()
        self._end(stop, code, message)

    def _end(self, stop: str, code: int, message: str) -> None:
        storage = self.machine.sandbox.storage
        details: dict[str, Any] = {
            "box": self.box.name,
            "memory_peak": self.machine.space.physical.most_used,
            "storage_left": None if storage is None else storage.left,
            "unknown_calls": self.machine.unknown_calls,
        }
        seconds = time.perf_counter() - self._began
        self.report = Report(
            stop, code, self.state.count, seconds, self.engine.name, "box", message, details
        )


def _image(box: Box) -> bytes:
    """The bytes of its program."""
    if box.root is None:
        return read_file(Path(box.program))
    sandbox = Sandbox(box.root)
    try:
        data = read_guest_file(sandbox, box.program.encode())
    finally:
        sandbox.close()
    if data is None:
        raise GuestFileError(
            f"There is no program {box.program!r}",
            where=f"box {box.name!r}, root {box.root}",
            advice="With a root, a box's program is a path below it",
        )
    return data
