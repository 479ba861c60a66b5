"""Events of one operation, counted: what a monitor does for `rounds` more of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, cast

from emu.coverage import Coverage
from emu.pc.serial import MemorySerial
from isa.bits import Bits
from isa.x86.form import Form
from isa.x86.mode import Mode
from isa.x86.registers import EIP
from isa.x86.tracing import trace
from vmm.pc import HardwareAssist, Monitor, ShadowedAssist, Translation, VirtualPc
from vmm.pc.costs import nano
from vmm.pc.costs.published import HARDWARE, SOFTWARE, TABLE, cost
from vmm.pc.translated import INLINE, kind

FEW, MANY = 32, 96  # rounds; by the first of them everything has been translated
LIMIT: Final = 10_000_000
COLUMNS: Final[dict[str, type[Monitor]]] = {
    "software": Translation, "hardware": ShadowedAssist, "nested": HardwareAssist,
}  # fmt: skip
"""Translation; hardware assistance as it was in 2006; and with nested paging."""
_REPLACED: Final = {"in": ("call-out", "I/O instruction (30)"), "cr8wr": ("inline",)}
"""Events that stand for the operation itself, which then does not happen directly."""


@dataclass(slots=True)
class Operation:
    """One nano-benchmark: events by column, cycles of the model, nanoseconds here."""

    name: str
    events: dict[str, dict[str, float]] = field(default_factory=dict)
    cycles: dict[str, float] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What `--json` shows."""
        published = TABLE[self.name]
        return {
            "name": self.name, "what": nano.BODIES[self.name][0], "events": self.events,
            "modelled": self.cycles, "measured_ns": self.measured,
            "published": {
                "native": published.native, "software": published.software,
                "hardware": published.hardware,
            },
            "calibrates": list(published.calibrates),
        }  # fmt: skip


def operation(name: str, engine: str, repeat: int) -> Operation:
    """Count, model and time one."""
    found = Operation(name)
    found.cycles["native"] = TABLE[name].native
    for column, monitor in COLUMNS.items():
        found.events[column] = _events(name, monitor)
        found.cycles[column] = _cycles(name, column, found.events[column])
    if repeat:
        found.measured = _measured(name, engine, repeat)
    return found


def _events(name: str, monitor: type[Monitor]) -> dict[str, float]:
    """Of one operation: the difference between many and few."""
    few, many = (_counted(name, rounds, monitor) for rounds in (FEW, MANY))
    found = {what: (many[what] - few[what]) / (MANY - FEW) for what in many | few}
    return {what: n for what, n in found.items() if n}


def _counted(name: str, rounds: int, monitor: type[Monitor]) -> Counter[str]:
    guest = nano.guest(name, rounds, "python")
    machine = cast(VirtualPc, guest.virtual(monitor, MemorySerial()).machine)
    engine = machine.monitor
    kernel = engine.kernel if isinstance(engine, Translation) else None
    if kernel is not None:
        kernel.state.coverage = Coverage(1 << 32)
    stop = machine.run(LIMIT)
    assert stop.reason == "halt", stop
    counts = Counter(engine.efficiency.exits)
    if kernel is not None:
        assert kernel.state.coverage is not None
        mode = cast(Mode, kernel.state.isa.mode(machine.state.values))
        counts.update(_translated(machine, kernel.state.coverage, mode))
    return counts


def _translated(machine: VirtualPc, coverage: Coverage, mode: Mode) -> Counter[str]:
    """How often translated code did something inline, and jumped to where only the run shows."""
    counts: Counter[str] = Counter()
    isa = machine.isa
    for passed in coverage.ranges():
        at = passed.start
        while at < passed.end:
            code = machine.memory.physical.read(at, isa.max_length)
            found = isa.decode(code, mode)
            form = cast(Form, found.form)
            counts["inline"] += passed.count * (kind(form) == INLINE)
            counts["indirect"] += passed.count * is_indirect(form)
            at += found.length
    return counts


def is_indirect(form: Form) -> bool:
    """Whether an instruction jumps to an address that it reads."""
    targets = [put.args[0] for put in trace(form).puts if put.attribute is EIP]
    return any(_reads(target) for target in targets)


def _reads(node: Bits) -> bool:
    if node.op in ("load", "get_indexed", "result"):
        return True
    if node.op == "select":  # a condition chooses between two that are known
        return any(_reads(arg) for arg in node.args[1:])
    return any(_reads(arg) for arg in node.args)


def _cycles(name: str, column: str, events: Mapping[str, float]) -> float:
    technique = SOFTWARE if column == "software" else HARDWARE
    replaced = min(1.0, sum(events.get(what, 0) for what in _REPLACED.get(name, ())))
    own = TABLE[name].native * (1 - replaced)
    return own + sum(n * cost(technique, what) for what, n in events.items())


def _measured(name: str, engine: str, repeat: int) -> dict[str, float]:
    """Nanoseconds of the host for one operation, on the bare machine and under each monitor, in
    turns; medians."""
    times: dict[str, list[float]] = {}
    for _ in range(repeat):
        for column in ("native", *COLUMNS):
            short, long = (_seconds(name, rounds, column, engine) for rounds in (200, 1200))
            times.setdefault(column, []).append(max(long - short, 0) / 1000 * 1e9)
    return {column: round(median(found), 1) for column, found in times.items()}


def _seconds(name: str, rounds: int, column: str, engine: str) -> float:
    guest = nano.guest(name, rounds, engine)
    serial = MemorySerial()
    found = guest.bare(serial) if column == "native" else guest.virtual(COLUMNS[column], serial)
    began = time.process_time()
    found.machine.run(LIMIT)
    return time.process_time() - began
