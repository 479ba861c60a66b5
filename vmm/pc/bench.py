"""What a monitor of the PC costs in time, once it has warmed up: `vmm bench` for PC guests.

Each monitor has a machine of its own and goes on where it was. Rounds are interleaved, and a
monitor's time for one instruction is divided by the bare machine's in the same round.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

from emu.pc.machine import PcMachine
from emu.pc.serial import MemorySerial
from vmm.bench import Row
from vmm.pc import VirtualPc, monitors
from vmm.pc.guest import CONFIGURATION, Guest

FOLDER: Final = Path(__file__).parent.parent.parent / "programs" / "bench" / "pc"
WARM: Final = 3.0  # seconds of a machine's warm-up, at most
WARMED: Final = 200_000_000  # instructions after which it has warmed up anyway
ROUND: Final = 0.2  # seconds of one turn
FIRST_STEP: Final = 1 << 12


@dataclass(slots=True)
class _Runner:
    """A machine that goes on; `step` instructions take about a turn."""

    machine: PcMachine
    step: int = FIRST_STEP
    ended: bool = False

    def warm_up(self) -> None:
        """Run until it is fast, and find out how fast."""
        began = time.process_time()
        while time.process_time() - began < WARM and self.machine.state.count < WARMED:
            seconds = self.turn()
            if self.ended:
                return
            self.step = max(FIRST_STEP, min(2 * self.step, int(self.step * ROUND / seconds)))

    def turn(self) -> float:
        """Seconds of processor time for a step."""
        began = time.process_time()
        stop = self.machine.run(self.machine.state.count + self.step)
        self.ended = stop.reason != "until"
        return max(time.process_time() - began, 1e-9)

    def nanoseconds(self) -> float:
        """Of one instruction."""
        before = self.machine.state.count
        seconds = self.turn()
        return seconds * 1e9 / max(self.machine.state.count - before, 1)


@dataclass(slots=True)
class PcBench:
    """A guest's times; `bare` in nanoseconds for an instruction."""

    guest: Guest
    runners: dict[str, _Runner]
    bare: list[float]
    rows: list[Row]

    def facts(self) -> dict[str, Any]:
        """What `--json` shows, as of the toy's guests."""
        runner = self.runners[""]
        each = median(self.bare)
        return {
            "guest": str(self.guest.path),
            "isa": CONFIGURATION,
            "engine": self.guest.choice.engine,
            "repeat": len(self.bare),
            "instructions": runner.step,
            "bare": {"seconds": round(each * runner.step / 1e9, 6), "mips": round(1e3 / each, 3)},
            "monitors": [row.facts() for row in self.rows],
        }


def warm_up(guest: Guest, paging: str | None) -> PcBench:
    """Every machine, warm. A guest that ends meanwhile has nothing to be measured."""
    machines: dict[str, PcMachine] = {"": guest.bare(MemorySerial()).machine}
    for name, monitor in monitors(paging).items():
        machines[name] = guest.virtual(monitor, MemorySerial()).machine
    runners = {name: _Runner(machine) for name, machine in machines.items()}
    for runner in runners.values():
        runner.warm_up()
    names = [name for name in runners if name]
    return PcBench(guest, runners, [], [Row(name, runners[name].step, True, 0) for name in names])


def rounds(bench: PcBench, repeat: int) -> Iterator[None]:
    """Time one round after the other; the results are in `bench`."""
    for _ in range(repeat):
        bare = bench.runners[""].nanoseconds()
        bench.bare.append(bare)
        for row in bench.rows:
            runner = bench.runners[row.name]
            row.ratios.append(runner.nanoseconds() / bare)
            monitor = cast(VirtualPc, runner.machine).monitor
            row.direct_fraction = monitor.efficiency.direct_fraction
            row.complete = not runner.ended
        yield
