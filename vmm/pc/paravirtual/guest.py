"""A kernel that was ported to the monitor, as the only domain of a PC; what a port cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from emu.devices.ns16550 import SerialBackend
from emu.engines import make_engine
from emu.errors import GuestFileError
from emu.exit import Exit
from emu.pc.guest import Choice
from emu.pc.machine import PcMachine
from emu.report import EXIT_LIMIT, EXIT_SHUTDOWN, Report
from vmm.monitors.paravirtual import ported_lines
from vmm.pc.allocation import OWN, allocation_for
from vmm.pc.paravirtual.audit import violations
from vmm.pc.paravirtual.builder import build
from vmm.pc.paravirtual.clock import VirtualClock
from vmm.pc.paravirtual.hypervisor import Hypervisor

NAME: Final = "paravirtual"
POISON: Final = 0xA5  # in every byte that is nobody's


class ParavirtualGuest:
    """A domain with its kernel, on a machine below that is just large enough."""

    def __init__(self, path: Path, choice: Choice, console: SerialBackend) -> None:
        if not choice.kernel:
            raise GuestFileError(
                f"{path} is no kernel", why="a domain has no firmware", advice="Give a kernel"
            )
        allocation, needed = allocation_for(choice.memory)
        allocation = replace(allocation, own=OWN // 4)
        self.engine = make_engine(choice.engine)
        self.below = PcMachine(self.engine, model=choice.cpu, memory=needed)
        self.below.memory.physical.array[allocation.end : needed] = POISON
        self.state = self.below.state  # the real processor's
        self.monitor = Hypervisor(self.below)
        self.domain = self.monitor.add(allocation, console, VirtualClock(choice.mips))
        self._allocation = allocation
        build(self.monitor, self.domain, choice.kernel, choice.append)
        self._began = time.perf_counter()

    def run(self, until: int) -> Exit:
        """Run until the domain's count reaches `until`, or it stops."""
        return self.monitor.run(self.domain, until)

    def advance(self, until: int) -> Report | None:
        """The same for `emu.cli.run.finish`."""
        stop = self.run(until)
        if stop.reason == "until":
            return None
        if stop.reason == "off":
            return self._report("exit", 0, "")
        message = "it sleeps, and nothing will wake it"
        if stop.reason == "crash":
            message = f"{self.domain.why}, at {self.place()}"
        return self._report(stop.reason, EXIT_SHUTDOWN, message)

    def place(self) -> str:
        """CS:EIP."""
        state = self.below.state
        return f"{state['cs']:04x}:{state.pc:08x}"

    def _report(self, stop: str, code: int, message: str) -> Report:
        seconds = time.perf_counter() - self._began
        return Report(stop, code, self.domain.count, seconds, self.engine.name, "pc", message)

    def unfinished(self) -> Report:
        """The report of a run that reached its limit."""
        count, place = self.domain.count, self.place()
        return self._report("limit", EXIT_LIMIT, f"still running after {count}, at {place}")

    def show_screen(self) -> None:
        """A domain has none."""

    def in_control(self) -> bool:
        """Whether the guest has changed nothing but its own memory, and holds none but its own."""
        outside = self.below.memory.physical.array[self._allocation.end : self.below.memory.ram]
        return bool((outside == POISON).all()) and next(violations(self.monitor), None) is None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a port changed: lines of code, comments and blank ones not counted."""

    gone: int
    new: int

    def __str__(self) -> str:
        return f"{self.gone} lines gone and {self.new} new"


def ported(path: Path) -> Path:
    """Where the port of a guest to this monitor is."""
    return path.with_name(f"{path.stem}_xen{path.suffix}")


def porting_cost(original: Path, port: Path) -> Cost:
    """Both are sources."""
    return Cost(*ported_lines(original.read_text(), port.read_text(), comment="#"))
