"""The bare toy machine: a processor, storage and devices, run by an engine."""

from __future__ import annotations

import io
from collections.abc import Sequence

from emu.devices.toy import ToyDevice
from emu.devices.toy_console import ToyConsole
from emu.devices.toy_disk import ToyDisk
from emu.devices.toy_timer import ToyTimer
from emu.engines import Engine
from emu.engines.reference import Reference
from emu.exit import Exit
from emu.state import State
from emu.toy.memory import WordMemory
from isa.fault import Fault
from isa.hints import BinaryIO, Final
from isa.toy import Toy
from isa.toy.ports import Port
from isa.toy.registers import SUPERVISOR
from isa.words import mask

STORM_CHECK: Final = 1 << 10  # a trap storm is looked for at this count, and whenever it doubles


class ToyMachine:
    """Starts in supervisor mode at `entry` with R = (0, q), the image at address 0.

    `memory` is storage that somebody else provides (a monitor: a window of its own machine's).

    `run` answers with an Exit: "until", "halt" (r0 tells how it went), "storm" (the machine traps
    for ever: its trap handler's first instruction traps), "breakpoint"; and, with
    `state.intercept_traps`, "fault" for every trap and interrupt, which then has not been taken.
    """

    def __init__(
        self,
        isa: Toy,
        image: Sequence[int] = (),
        *,
        engine: Engine,
        entry: int = 0,
        output: BinaryIO | None = None,
        source: BinaryIO | None = None,
        disk: bytes = b"",
        memory: WordMemory | None = None,
    ) -> None:
        self.isa = isa
        self.engine = engine
        if memory is None:
            memory = WordMemory(isa.shape.storage, isa.shape.word)
        self.memory = memory
        self.memory.write(0, image)
        self.state = State(isa, {"physical": self.memory})
        self.state["p"] = entry
        self.state["b"] = isa.shape.all_granules
        self.timer = ToyTimer(self.state, isa.shape.word)
        self.console = ToyConsole(io.BytesIO() if output is None else output, source)
        self.disk = ToyDisk(self.memory, disk)
        self.devices: tuple[ToyDevice, ...] = (self.timer, self.console, self.disk)  # by priority
        self._by_port: dict[int, ToyDevice] = {p: d for d in self.devices for p in d.ports}

    # -- running -----------------------------------------------------------------------------

    def run(self, until: int) -> Exit:
        """Run until `state.count` reaches `until` or something stops the machine."""
        while True:
            self._tick()
            stop = self.engine.run(self.state, self._horizon(until))
            if stop.reason == "until" and self.state.count < until:
                if self.in_storm():
                    return Exit("storm")
                continue
            answer = self._serve(stop)
            if answer is not None:
                return answer

    def _horizon(self, until: int) -> int:
        """The count at which the engine has to stop: the next event at the latest."""
        deadlines = [d for device in self.devices if (d := device.deadline()) is not None]
        next_check = max(STORM_CHECK, 1 << self.state.count.bit_length())
        return min(until, next_check, *deadlines)

    def _tick(self) -> None:
        now = self.state.count
        for device in self.devices:
            deadline = device.deadline()
            if deadline is not None and deadline <= now:
                device.tick(now)
        self.state.interrupt_requested = any(d.requested for d in self.devices)

    def _serve(self, stop: Exit) -> Exit | None:
        """Do what the engine stopped for; the Exit if it is not the machine's own business."""
        if stop.reason == "window":
            return self._interrupt()
        if stop.reason == "port_read":
            self.state.reply = self.read_port(stop.values[0])
        elif stop.reason == "port_write":
            self.write_port(stop.values[0], stop.values[2])
        elif stop.reason == "timer":
            self.timer.restart()
        elif stop.reason == "until" and self.in_storm():
            return Exit("storm")
        else:
            return stop
        return None

    def _interrupt(self) -> Exit | None:
        device = next(d for d in self.devices if d.requested)
        fault = Fault(device.trap, 0)
        if self.state.intercept_traps:
            return Exit("fault", fault)
        device.requested = False
        self.engine.deliver(self.state, fault)
        return None

    def acknowledge(self, fault: Fault) -> None:
        """A monitor has taken this interrupt, which `run` answered: do not offer it again."""
        for device in self.devices:
            if device.trap == fault.vector:
                device.requested = False

    # -- ports -------------------------------------------------------------------------------

    def read_port(self, number: int) -> int:
        """What IN reads; a port that does not exist reads 0."""
        if number == Port.CAUSE:
            return self.state["cause"]
        if number == Port.INFO:
            return self.state["info"]
        device = self._by_port.get(number)
        if device is None:
            return 0
        return device.read(Port(number), self.state.count) & mask(self.isa.shape.word)

    def write_port(self, number: int, value: int) -> None:
        """What OUT does; a port that does not exist ignores it."""
        device = self._by_port.get(number)
        if device is not None:
            device.write(Port(number), value, self.state.count)

    # -- trap storms -------------------------------------------------------------------------

    def in_storm(self) -> bool:
        """Whether the machine will trap for ever from here on.

        It does if it has just taken a trap (its PSW is E[1]) to supervisor mode, where nothing can
        interrupt it, and the instruction there traps again: that changes nothing but E[0], which is
        already E[1].
        """
        state = self.state
        if state["mode"] != SUPERVISOR or state.intercept_traps:
            return False
        if not state["psw"] == self.memory.view[0] == self.memory.view[1]:
            return False
        probe = State(self.isa, {"physical": self.memory.copy()})
        probe.set_values(state.values)
        probe.count = state.count
        probe.intercept_traps = True
        return Reference().run(probe, probe.count + 1).reason == "fault"
