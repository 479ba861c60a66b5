"""Watched machines on the python engine: an instruction at a time, by the engine's own handlers.

Their registers are whole between any two instructions. Accesses are noted where emitted code
reaches memory (`NotedAccess`), so what an instruction reads and writes is what its trace says.
"""

from __future__ import annotations

from collections.abc import Hashable

from emu.engines.access import CalledAccess, Stop
from emu.engines.block import Block
from emu.engines.python import MOST_BLOCKS, Python, Session
from emu.exit import Exit
from emu.memory import replaced
from emu.script.judge import WatchedReference
from emu.script.watch import AGAIN, READ, TELLS, WRITE, Access, Watch
from emu.state import State
from isa.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Base = Session
else:
    _Base = object

NEVER = 1 << 62  # runs after which a block would be compiled


class NotedAccess(CalledAccess):
    """Memory by calls, which go into a log once they have happened."""

    def __init__(self, plain: CalledAccess, undo: list[Any], log: list[Access]) -> None:
        super().__init__(plain.space, plain.memory, plain.unit, undo)
        self._plain = plain
        self._log = log

    def is_code(self, address: int, size: int) -> bool:
        """See `CalledAccess`."""
        return self._plain.is_code(address, size)

    def load_now(self, address: int, size: int) -> int:
        """See `CalledAccess`."""
        value = super().load_now(address, size)
        self._log.append((READ, address, size, value))
        return value

    def load_for_write_now(self, address: int, size: int) -> int:
        """See `CalledAccess`."""
        value = super().load_for_write_now(address, size)
        self._log.append((READ, address, size, value))
        return value

    def store_now(self, address: int, size: int, value: int) -> None:
        """See `CalledAccess`."""
        super().store_now(address, size, value)
        self._log.append((WRITE, address, size, value))

    def store_logged(self, address: int, size: int, value: int) -> None:
        """See `CalledAccess`: to be taken back, if need be."""
        old = replaced(self.memory, address, size)
        self.store_now(address, size, value)
        self._undo.append((self.memory, address, size, old))


class Single(Block):
    """A block of one instruction, with its handler."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.handler, self.operands = self._step(0, self.instructions[0])
        self.form = self.instructions[0].form


class Stepping(_Base):
    """A session that does one instruction at a time and tells it; a mixin of `Session`s."""

    observer: Watch
    block_type: type[Block] = Single

    def watched_by(self, watch: Watch) -> None:
        """Tell a watch from now on; before anything is run."""
        self.observer = watch
        self.longest = 1
        for space, access in self.accesses.items():
            if space not in TELLS:
                self.accesses[space] = NotedAccess(access, self.undo, watch.log)
                self.globals |= self.accesses[space].names()
        self.access_types = self.types_of_accesses()
        self.judge = WatchedReference(watch)

    def _one(self, single: Any) -> Exit | None:
        """Announce and do the one instruction of a block; may raise Stop, nothing done then."""
        state, bulk, watch = self.state, self.bulk, self.observer
        if watch.announce(state, single.address):
            return AGAIN
        pc = state.pc
        watch.log.clear()
        bulk.index, bulk.budget = 0, 1
        single.handler(state.values, single.operands)
        state.count += 1
        if state.coverage is not None:
            self._cover(single, 1)
        watch.retired(state, single.form, pc)
        if watch.log:
            watch.tell(single.address)
        stop = self._after() if single.checks else None
        return AGAIN if stop is None and watch.changed else stop

    def _stopped(self, stop: Stop) -> Exit | None:
        self.observer.log.clear()
        return super()._stopped(stop)


class WatchedSession(Stepping, Session):
    """The python engine at work on a watched machine."""

    def _blocks(self, until: int, first: bool) -> Exit | None:
        """One instruction after the other; None to look at the state."""
        state, values = self.state, self.state.values
        slot, breakpoints = self.isa.pc.slot, self.breakpoints
        mode = self.isa.mode(values)
        table = self._table_of(mode)
        self.bulk.index = 0
        try:
            while state.count < until:
                pc = values[slot]
                if breakpoints and not first and pc in breakpoints:
                    return Exit("breakpoint")
                first = False
                single = table.get(pc) or self._met(table, pc, mode)
                stop = self._one(single)
                if stop is not None or single.checks:
                    return stop
        except Stop as stop:
            return self._stopped(stop)
        return None

    def _table_of(self, mode: Hashable) -> dict[int, Block]:
        self.fetcher(mode)  # tells what the table depends on
        return self._table(mode, self.state.values)

    def _met(self, table: dict[int, Block], pc: int, mode: Hashable) -> Block:
        """The instruction at a program counter, met first."""
        if self.code.blocks >= MOST_BLOCKS:
            self.code.clear()
            for other in self.tables.values():
                other.clear()
        fetch = self.fetcher(mode)
        address = pc if fetch is None else fetch(self.state.values)
        found = table[pc] = self._discover(address, mode)
        return found


class WatchedPython(Python):
    """The python engine for watched machines."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(hot=NEVER, longest=1)
        self._watch = watch

    def session(self, state: State) -> Session:
        """A new session on a machine."""
        session = WatchedSession(state, NEVER, 1)
        session.watched_by(self._watch)
        return session
