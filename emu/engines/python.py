"""The `python` engine: emits Python source for what a guest executes and compiles it.

Two tiers, both printed by `emit.Emitter` from the same traces:

* a *handler* for each form, taking the operand fields as arguments: cold code costs only decoding;
* a *block* for hot straight-line code, operands and addresses constant, values forwarded from
  instruction to instruction, flags computed only if somebody reads them.

Emitted code leaves in the middle only by `Stop`, which is precise: a block keeps, for each of its
instructions, what every register is worth there, and evaluates that only if it is left there.
"""

from __future__ import annotations

from emu.engines.access import CalledAccess, Stop, access_for
from emu.engines.block import Block
from emu.engines.bulk import Bulk
from emu.engines.code import CodeMap
from emu.engines.facts import facts, fetches_at_pc
from emu.engines.fetch import decode_at
from emu.engines.serve import before, begin, end, is_running, offer
from emu.exit import UNTIL, Exit
from emu.memory import PAGE_SIZE, Memory, TranslatedMemory
from emu.state import State, Values
from isa.fault import Fault
from isa.hints import TYPE_CHECKING, Any, Callable, Hashable, Sequence
from isa.light import OrderedDict, cached_property, defaultdict
from isa.words import sdiv, srem

if TYPE_CHECKING:
    from emu.engines.facts import Facts
    from emu.engines.reference import Reference
    from isa.definition import Instruction
    from isa.registers import Register
    from isa.trace import Trace

HOT = 12  # executions after which a cold block is compiled
LONGEST = 48  # instructions in a block

MOST_SESSIONS = 8  # machines that one engine remembers
MOST_BLOCKS = 20_000  # remembered at a time; then all are forgotten


class Python:
    """Engine contract: `run(state, until) -> Exit`, exact and precise (see emu/README.md).

    `hot` is how often a block runs in handlers before it is compiled; 0 compiles at once. `longest`
    is how many instructions a block may have.
    """

    name = "python"

    def __init__(self, *, hot: int = HOT, longest: int = LONGEST) -> None:
        self._hot = hot
        self._longest = longest
        self._sessions: OrderedDict[int, Session] = OrderedDict()

    def run(self, state: State, until: int) -> Exit:
        """Run until `state.count` reaches `until` or something else stops the processor."""
        return self._session_of(state).run(until)

    def go_on(self, state: State, until: int) -> Exit:
        """Run where another engine's run ended: a breakpoint here has not been passed."""
        return self._session_of(state).run(until, first=False)

    def elsewhere(self, state: State) -> None:
        """Another engine has run a machine, and may have translated code where this one knows
        pages of data."""
        self._session_of(state).stale()

    def _session_of(self, state: State) -> Session:
        """The session of a machine; those used last are kept, for engines that take turns."""
        session = self._sessions.get(id(state))
        if session is None or session.state is not state:
            session = self._sessions[id(state)] = self.session(state)
            self._close_old()
        self._sessions.move_to_end(id(state))
        return session

    def _close_old(self) -> None:
        """Close the session that was not used for longest, if there are too many; none at work."""
        *rest, _ = self._sessions.items()
        idle = [key for key, session in rest if not is_running(session.state)]
        if len(rest) >= MOST_SESSIONS and idle:
            self._sessions.pop(idle[0]).close()

    def session(self, state: State) -> Session:
        """A new session on a machine."""
        return Session(state, self._hot, self._longest)

    def deliver(self, state: State, fault: Fault) -> bool:
        """Carry out the machine's own delivery of a trap or interrupt; it counts as one."""
        return self._session_of(state).judge.deliver(state, fault)


class Session:
    """An engine at work on one machine: what it has translated so far.

    `fixes`: there is a table of blocks for each content of the registers that fetching reads, so
    these are constants of a block.
    """

    fixes = True
    block_type: type[Block] = Block
    answer: Exit | None = None  # a handler's own, which is not offered to another

    def __init__(self, state: State, hot: int, longest: int = LONGEST) -> None:
        self.state = state
        self.longest = longest
        self.isa = state.isa
        self.hot = hot
        self.undo: list[Any] = []
        self.accesses: dict[str, CalledAccess] = {
            space: self.reach(space, memory) for space, memory in state.memory.items()
        }
        self.access_types = self.types_of_accesses()
        self.bulk = Bulk(self.accesses, self.undo)
        self.globals = self._globals()
        self.handlers: dict[Any, Any] = {}
        self.known: dict[Hashable, Facts] = {}
        self.tables: dict[Hashable, dict[int, Block]] = {}
        self.breakpoints: frozenset[int] = frozenset()
        self.code = CodeMap(state.memory[self.isa.code_space], self._drop_blocks)
        self.watched = self.isa.mode_registers
        self.fetchers: dict[Hashable, Any] = {}
        self.fixed: defaultdict[Hashable, list[Register]] = defaultdict(list)

    @cached_property
    def judge(self) -> Reference:
        """What does single instructions, and delivers; few short runs ask for it."""
        from emu.engines.judge import Judge

        return Judge(self)

    def types_of_accesses(self) -> tuple[tuple[str, type[CalledAccess]], ...]:
        """What the source of emitted code depends on, beside its trace."""
        return tuple([(space, type(access)) for space, access in self.accesses.items()])

    def reach(self, space: str, memory: Memory) -> CalledAccess:
        """How emitted code reaches a space that the machine has."""
        return access_for(space, memory, self.isa.spaces[space], self.undo)

    def _globals(self) -> dict[str, Any]:
        names: dict[str, Any] = {
            "Stop": Stop, "Fault": Fault, "Exit": Exit, "B": self.bulk, "S": self.state,
            "U": self.undo, "sdiv": sdiv, "srem": srem,
            "load_port": self._read_port, "store_port": self._write_port,
        }  # fmt: skip
        for access in self.accesses.values():
            names |= access.names()
        return names

    def access(self, space: str) -> CalledAccess:
        """How emitted code reaches a space; ports leave the engine."""
        found = self.accesses.get(space)
        if found is None:
            found = CalledAccess(space, None, self.isa.spaces[space], self.undo)  # type: ignore[arg-type]  # ports have no memory
            self.accesses[space] = found
        return found

    def _read_port(self, port: int, size: int) -> int:
        if self.state.reply is None:
            raise Stop(Exit("port_read", None, (port, size)))
        return self.state.reply

    def _write_port(self, port: int, size: int, value: int) -> None:
        self.bulk.stop = Exit("port_write", None, (port, size, int(value)))

    def close(self) -> None:
        """The machine will not be run by this session again."""
        self.code.close()

    # -- running -------------------------------------------------------------------------------

    def run(self, until: int, first: bool = True) -> Exit:
        """Run until the count or a stop that no handler takes; between blocks the state is whole.

        `first`: the instruction at the program counter has passed its breakpoint.
        """
        state = self.state
        begin(state)
        try:
            while True:
                self._refresh()
                began = state.count
                stop = self._until(until, first)
                if stop is UNTIL or stop is self.answer:
                    return stop
                answer, first = offer(state, stop, first and state.count == began)
                if answer is not None:
                    return answer
        finally:
            end(state)

    def _until(self, until: int, first: bool) -> Exit:
        state, began = self.state, self.state.count
        while state.count < until:
            stop = before(state, first) or self._blocks(until, first)
            if stop is not None:
                return stop
            first = first and state.count == began
        return UNTIL

    def _refresh(self) -> None:
        """Take note of mappings and breakpoints that changed since the last run."""
        pages = self.code.refresh()
        if pages is None:
            self._flush()
        elif pages:
            self._flush_pages(pages)
        if self.breakpoints != self.state.breakpoints:
            self.breakpoints = frozenset(self.state.breakpoints)
            self.forget()

    def stale(self) -> None:
        """Look again at what pages hold: another engine has been at work."""
        self._flush()

    def _flush(self) -> None:
        """Forget the pages that emitted code reaches by index."""
        for access in self.accesses.values():
            access.flush()

    def _flush_pages(self, pages: list[int]) -> None:
        """The same for some pages."""
        for access in self.accesses.values():
            access.flush_pages(pages)

    def _flush_if_grown(self) -> None:
        """Pages that hold code now must not be written without a look."""
        if self.code.grew:
            self._flush()
        self.code.grew = False

    def forget(self) -> None:
        """Drop every block; handlers stay."""
        self.tables.clear()
        self.code.clear()

    def _blocks(self, until: int, first: bool) -> Exit | None:
        """Run blocks until one wants a look at the state; None to go on."""
        state, bulk = self.state, self.bulk
        mode = self.isa.mode(state.values)
        values, slot, count, breakpoints = (
            state.values,
            self.isa.pc.slot,
            state.count,
            self.breakpoints,
        )
        fetch = self.fetcher(mode)
        table = self._table(mode, values)
        covered, block = state.coverage is not None, None
        try:
            while count < until:
                bulk.index = 0
                pc = values[slot]
                if breakpoints and not first and pc in breakpoints:
                    state.count = count
                    return Exit("breakpoint")
                first = False
                block = table.get(pc)
                if block is None:
                    state.count = count
                    if self.code.blocks >= MOST_BLOCKS:
                        self.forget()
                        return None
                    address = pc if fetch is None else fetch(values)
                    block = table[pc] = self._discover(address, mode)
                if count + block.length > until:
                    block = block.cut(until - count)
                if block.checks:
                    state.count = count
                    bulk.budget = 1 if pc in breakpoints else until - count
                block.run(values)
                count += block.length
                if covered:
                    self._cover(block, block.length)
                if block.checks:
                    state.count = count
                    return self._after()
        except Stop as stop:
            state.count = count + bulk.index
            if covered and block is not None:
                self._cover(block, bulk.index)
            return self._stopped(stop)
        state.count = count
        return None

    def _cover(self, block: Block, done: int) -> None:
        """Count that the first `done` instructions of a block were executed."""
        coverage = self.state.coverage
        assert coverage is not None
        if done and not (block.repeats and self.state.pc == block.pc):
            size = sum(i.length for i in block.instructions[:done])
            coverage.touch(block.address, size)
            coverage.passed(block.address, block.address + size)

    def _after(self) -> Exit | None:
        """Look at what the last instruction of a block told."""
        bulk, state = self.bulk, self.state
        state.count += bulk.retired - 1
        bulk.retired = 1
        state.reply = None
        stop, bulk.stop = bulk.stop, None
        if stop is not None and stop.reason == "trap":
            return self.judge.trap(state, Fault(stop.vector))
        return stop

    def _stopped(self, stop: Stop) -> Exit | None:
        """Emitted code was left: the instruction at the program counter has not happened."""
        self.take_back()
        if isinstance(stop.why, Exit):
            return stop.why
        if isinstance(stop.why, Fault):
            return self.judge.trap(self.state, stop.why)
        return self.judge.step(self.state)

    def take_back(self) -> None:
        """Undo what emitted code has done of an instruction that does not happen."""
        for memory, address, size, old in reversed(self.undo):
            memory.store(address, size, old)
        self.undo.clear()
        self.bulk.retired, self.bulk.stop = 1, None

    # -- translating ---------------------------------------------------------------------------

    def _table(self, mode: Hashable, values: Sequence[int]) -> dict[int, Block]:
        """Blocks by program counter, for one mode and one content of what fetching reads."""
        fixed = tuple([values[register.slot] for register in self.fixed[mode]])
        return self.tables.setdefault((mode, fixed), {})

    def fetcher(self, mode: Hashable) -> Callable[[Values], int] | None:
        """Emitted code that computes the fetch address; None if it is the program counter."""
        if mode not in self.fetchers:
            trace = self.isa.fetch(mode)
            simple = fetches_at_pc(self.isa, trace)
            self.fetchers[mode] = None if simple else self._compiled(trace)
            reads = trace.read() - {self.isa.pc}
            if self.fixes:
                self.fixed[mode] = sorted(reads, key=lambda register: register.slot)
            if not reads <= self.watched:  # blocks end where fetching changes
                self.watched |= reads
                self.known.clear()
        found: Callable[[Values], int] | None = self.fetchers[mode]
        return found

    def facts(self, form: Hashable) -> Facts:
        """Facts of a form, once."""
        found = self.known.get(form)
        if found is None:
            found = self.known[form] = facts(self.isa, form, self.watched)
        return found

    def handler(self, form: Hashable) -> Any:
        """The form's handler, once."""
        found = self.handlers.get(form)
        if found is None:
            trace: Trace = self.isa.trace(form)
            found = self.handlers[form] = self._compiled(trace, self.facts(form).undo)
        return found

    def _compiled(self, trace: Trace, undo: bool = False) -> Any:
        from emu.engines.compiling import emit_handler

        return emit_handler(self, trace, undo)

    def _discover(self, address: int, mode: Hashable) -> Block:
        """The block at an address: instructions up to one that ends it."""
        instructions: list[Instruction] = []
        start, pc = address, self.state.pc
        fetch, most = self.fetcher(mode), self.most(mode)
        while len(instructions) < most:
            found = self.decode_at(address)
            if isinstance(found, Fault):
                if not instructions:
                    raise Stop(found)
                break
            known = self.facts(found.form)
            if known.alone and instructions:
                break
            instructions.append(found)
            address += found.length
            following = pc + address - start
            if known.ends or self._stops_at(following):
                break
            if address // PAGE_SIZE != start // PAGE_SIZE:
                break  # reaching the next page may change its accessed bits
            if fetch is not None and not self._continues(fetch, following, address):
                break
        return self._block(start, pc, mode, instructions)

    def most(self, mode: Hashable) -> int:
        """How many instructions a block may have."""
        return self.longest

    def decode_at(self, address: int) -> Instruction | Fault:
        """See `fetch.decode_at`."""
        return decode_at(self.state, address)

    def _continues(self, fetch: Callable[[Values], int], pc: int, address: int) -> bool:
        """Whether `pc` would be fetched at `address`, right behind what was fetched before."""
        values = list(self.state.values)
        values[self.isa.pc.slot] = pc
        try:
            return fetch(values) == address
        except Stop:
            return False

    def _stops_at(self, pc: int) -> bool:
        """Whether a block must not run on to `pc`."""
        return pc in self.breakpoints or pc > (1 << self.isa.pc.width) - 16

    def _block(
        self, address: int, pc: int, mode: Hashable, instructions: list[Instruction]
    ) -> Block:
        size = sum(i.length for i in instructions)
        code = self.look(mode, address, size)
        fixed = {r: self.state.values[r.slot] for r in self.fixed[mode]}
        block = self.block_type(self, address, pc, mode, fixed, instructions, code)
        self.code.watch(block, mode, address, size + instructions[-1].behind)
        self._flush_if_grown()
        return block

    def look(self, mode: Hashable, address: int, size: int) -> bytes:
        """Code of a mode as it is there now, changing nothing; less if not all of it is there."""
        memory = self.state.memory[self.isa.code_space]
        if isinstance(memory, TranslatedMemory):
            return memory.look(address, size, memory.privilege_in(mode))
        return memory.fetch(address, size)[0]

    def _drop_blocks(self, gone: set[int]) -> None:
        for table in self.tables.values():
            for key in [k for k, block in table.items() if id(block) in gone]:
                del table[key]
