"""Who runs: round robin, a fixed number of instructions each, and whoever waits is left out.

Nothing here looks at the host but for terminals, so who runs at which count is the same on every
engine. Time goes on by itself only while nobody can run.
"""

from __future__ import annotations

from emu.process.files import Stream
from emu.process.process import Process
from emu.process.signals import Signal, bit
from emu.process.table import ProcessTable
from isa.hints import Iterator

SLICE = 1_000_000  # instructions: 10 ms of the guest's time, unless told
NEVER = 1 << 62


class Scheduler:
    """Chooses the current process among those of a table."""

    def __init__(self, table: ProcessTable, first: Process) -> None:
        self._table = table
        self.current = first
        self._end_of_slice = SLICE

    def next_event(self) -> int:
        """Return the count at which the current process must stop: its timer, or its slice."""
        current, alarm = self.current, self.current.signals.timer.at
        shared = len(self._table.running) > 1
        if alarm is None:
            return self._end_of_slice if shared else NEVER
        count = max(current.clock.count_at(alarm), current.state.count + 1)
        return min(count, self._end_of_slice) if shared else count

    def begin_slice(self) -> None:
        """Let the current process run for a whole slice from now on."""
        self._end_of_slice = self.current.state.count + SLICE

    def is_over(self) -> bool:
        """Tell whether the slice is over and somebody else can run; if nobody can, it begins
        anew."""
        if len(self._table.running) < 2 or self.current.state.count < self._end_of_slice:
            return False
        if any(map(self._ready, self._others())):
            return True
        self.begin_slice()
        return False

    def _others(self) -> Iterator[Process]:
        """The processes behind the current one, in turn."""
        number, running = self.current.pid, self._table.running
        yield from sorted(
            (p for p in running if p.pid != number), key=lambda p: (p.pid < number, p.pid)
        )

    def next(self) -> Process | None:
        """Choose who runs next, letting time pass if need be; None if nobody ever can."""
        while True:
            turn = [*self._others(), *([self.current] if self.current.ended is None else [])]
            found = next(filter(self._ready, turn), None)
            if found is not None or not self._pass_time(turn):
                return found

    def _ready(self, process: Process) -> bool:
        self._table.expire(process)
        if process.stopped:
            return False
        sleep = process.sleep
        if sleep is None or sleep.ready():
            return True
        late = sleep.deadline is not None and process.elapsed >= sleep.deadline
        return late or (not sleep.deaf and process.signals.wakes())

    def _pass_time(self, sleepers: list[Process]) -> bool:
        """Nobody can run: go on to the next event; False if there is none."""
        events = [event for process in sleepers for event in _events(process)]
        terminals = [t for p in sleepers if p.sleep for t in p.sleep.terminals]
        if events:
            clock = sleepers[0].clock
            clock.skip(max(min(events) - sleepers[0].elapsed, 0))
        elif terminals:
            descriptors = [t.terminal_descriptor() for t in terminals if isinstance(t, Stream)]
            import select  # few guests wait for a terminal

            select.select(descriptors, [], [])
        return bool(events or terminals)

    def switch(self, process: Process) -> None:
        """Make a process the current one: registers, thread-local segments, mappings."""
        old, state = self.current, process.state
        if process is old:
            self.begin_slice()
            return
        if old.ended is None:
            old.saved, old.tls, old.used_before = state.save(), old.system.tls, old.instructions
        self.current = process
        state.restore(process.saved)
        process.system.tls = process.tls
        process.load_ldt()
        if process.space.mappings is not process.memory.mappings:
            process.space.use(process.memory.mappings)
        process.began_at = state.count
        self.begin_slice()


def _events(process: Process) -> Iterator[int]:
    """The times at which a process that cannot run could."""
    if process.stopped or process.sleep is None:
        return
    if process.sleep.deadline is not None:
        yield process.sleep.deadline
    if (moment := process.sleep.moment()) is not None:
        yield moment
    signals, number = process.signals, Signal.SIGALRM
    heard = not process.sleep.deaf and not signals.blocked & bit(number)
    if signals.timer.at is not None and heard and not signals.ignored(number):
        yield signals.timer.at
