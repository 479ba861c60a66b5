"""The `native` engine: hot regions as machine code by LLVM, the rest by the `python` engine.

A block that has been entered `STITCH` times becomes code of its own (`stitch.py`), one that has
been entered `HOT` times the head of a region: the blocks that have been executed and that direct
jumps, calls and observed indirect jumps connect to it. Regions find each other through the jump
cache without leaving native code. Whatever native code cannot do (faults, devices, the first touch
of a page) leaves it at an instruction boundary, and the python engine does that one instruction.
"""

from __future__ import annotations

from emu.engines.access import Stop
from emu.engines.block import Block
from emu.engines.facts import Facts
from emu.engines.native.cache import DiskCache
from emu.engines.native.gate import HELD, Gate
from emu.engines.native.jumps import JumpCache
from emu.engines.native.layout import (
    BEST,
    LARGEST,
    LEAST_PERIOD,
    LOOKS,
    PORT_READ,
    SEEN,
    STITCH,
    USUAL,
    WORDS,
    Left,
    Word,
    number_of,
)
from emu.engines.native.layout import LONGEST as DECODED
from emu.engines.native.modes import Places
from emu.engines.native.names import digest
from emu.engines.native.regions import NativeRegion, Regions
from emu.engines.native.remembered import Remembered
from emu.engines.native.spaces import Space, space_for
from emu.engines.native.tier1 import FRESH, Tier1, conditions
from emu.engines.native.warmth import Place
from emu.engines.python import LONGEST, MOST_BLOCKS, Python, Session
from emu.engines.serve import checked
from emu.exit import Exit
from emu.foreign import address_of
from emu.memory import TranslatedMemory
from emu.room import Room, words_of
from emu.state import State, Values
from isa.definition import Instruction
from isa.fault import Fault
from isa.hints import TYPE_CHECKING, Any, Callable, Hashable, cast
from isa.light import cached_property
from isa.record import NamedTuple
from isa.x86.machine import X86
from isa.x86.mode import Mode

if TYPE_CHECKING:
    from emu.coverage import Coverage
    from emu.engines.native.arena import ColdBlock

HOT = 4_000_000  # entries after which a block of tier 1 becomes the head of a region, see `USUAL`:
# by then it has run for a hundredth of a second
WORTH = 1_000_000_000  # instructions after which a session compiles what no earlier run had:
# loading the compiler costs as much as a third of them in stitched code, which regions save then
MOST_HOT = 1 << 27  # out of reach: what counts entries, by USUAL, has 32 bits and a sign
FAMILIAR = 2  # by so much less is warm, and enough if a block was in the run before: it will be in
# each, which is worth loading a region for. Sums over runs would have everything compiled one day,
# in programs of many blocks with no gain
SLOW_HOT = 4_000  # the same for a block of the python engine
PYTHON_HOT = 3_200  # runs of its handlers after which the python engine compiles a block
SLICE = 4_000_000  # instructions after which native code returns, for Ctrl-C and new regions
JUDGE = 50_000_000  # instructions after which regions are judged: some hundredths of a second
PERIOD = 1 << 16  # instructions between samples, see `samples`: they take a thousandth of the time
SAMPLES = 4  # before a block is warm, at least
MOST_SURROUNDINGS = 4_000  # remembered at a time
RECALL = 4_000  # entries after which a block of tier 1 is looked up on the disk: to load a region
# takes about a millisecond


class Native(Python):
    """Engine contract: `run(state, until) -> Exit`, exact and precise (see emu/README.md).

    `hot` is how often a block (of USUAL instructions) is entered before it is compiled (HOT, and
    what no earlier run had only after WORTH instructions, if nobody says so); `wait`: the guest
    waits for the compiler, so that tests reach native code at once; `level`: how well regions
    are compiled; `cache`: where compiled code is kept; `longest`: instructions in a block;
    `stitch`: how often a block of tier 1 is entered before it becomes code of its own, less one, a
    power of two less one; `looks`: each access looks its page up, though the host could do that.
    """

    name = "native"

    def __init__(
        self,
        *,
        hot: int | None = None,
        wait: bool = False,
        level: int = BEST,
        cache: DiskCache | None = None,
        longest: int = LONGEST,
        stitch: int = STITCH,
        looks: bool = False,
    ) -> None:
        self._native_hot = HOT if hot is None else hot
        self._worth = WORTH if hot is None else 0
        super().__init__(hot=max(min(self._native_hot, PYTHON_HOT), 1), longest=longest)
        self._wait = wait
        self._level = level
        self._cache = DiskCache.users() if cache is None else cache
        self._stitch = stitch
        self._looks = looks

    def session(self, state: State) -> Session:
        """A new session on a machine."""
        return NativeSession(
            state, self._hot, self._longest, self._native_hot, self._level, self._cache,
            wait=self._wait, stitch=self._stitch, looks=self._looks, worth=self._worth,
        )  # fmt: skip


class Surroundings(NamedTuple):
    """What a mode decides: its regions, the keys of blocks, and where its jump cache is."""

    mode: Hashable
    regions: dict[int, NativeRegion]
    key_of: Callable[[int], int]
    jumps: JumpCache
    content: bytes = b""  # of the registers, if it holds whenever they are the same


class NativeSession(Session):
    """A session that also has native code; its blocks are found by address and program counter."""

    fixes = False
    tier1_type = Tier1
    switches = True  # whether native code may go on in another mode by itself

    def __init__(
        self, state: State, hot: int, longest: int, native_hot: int, level: int,
        cache: DiskCache, *, wait: bool, stitch: int = STITCH, looks: bool = False, worth: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(state, hot, longest)
        self.native_hot = min(native_hot, MOST_HOT)
        self._warm_after = max(self.native_hot // FAMILIAR, 1)
        self.warm: dict[Place, int] = {}  # how often warm blocks of tier 1 were entered
        self._compiles_from = state.count + worth
        self._judges_at = state.count + JUDGE
        self.stitch = stitch
        self.cache = cache
        self.spaces = _spaces(state, looks=looks)
        self._numbered = {space.number: space for space in self.spaces.values()}
        self.kinds = [(n, s.number, s.kind) for n, s in sorted(self.spaces.items())]
        mailbox, seen = Room(8 * WORDS), Room(8 * 2 * SEEN)
        self.at, self.mail = mailbox.address, mailbox.words()
        self._seen, self._seen_at = seen.words(), seen.address  # see `Word.SEEN`
        self.targets: dict[Hashable, dict[int, set[int]]] = {}
        self.reasons = {number_of(PORT_READ): PORT_READ}
        self._discovered: Hashable = None  # the mode of which native code discovers blocks, if any
        self._native_forms: dict[Hashable, bool] = {}
        self.regions = Regions(self, level, wait=wait)
        self.gate: Gate | None = None
        self.answer: Exit | None = None
        self.ways: dict[int, tuple[str, int]] = {}
        self.coverage: Coverage | None = None
        self.block: Block  # the last one of the python engine
        self._remembered: tuple[object, Remembered | None] = (None, None)  # for which conditions
        self.all_remembered: dict[str, Remembered] = {}  # saved when the compiler has ended
        self.tier1 = self.tier1_type(self) if isinstance(self.isa, X86) else None
        self._attach()

    def _attach(self) -> None:
        """Tell native code where everything is."""
        if not isinstance(self.state.values, memoryview):
            self.state.values = words_of(self.state.values)
        self.values = self.state.values
        self.mail[Word.REGISTERS] = address_of(self.values)
        for space in self.spaces.values():
            for number, word in space.words().items():
                self.mail[number] = word
        if self.tier1 is not None:
            self.tier1.attach()
            self.mail[Word.HOT] = min(self._warm_after, RECALL)
            self.mail[Word.COUNT] = self.mail[Word.HOT] - self._warm_after & 0xFFFFFFFF
            self.mail[Word.STITCH] = self.stitch
            self.mail[Word.KEPT] = self.regions.kept.address
        self.mail[Word.PERIOD] = min(max(self._warm_after * USUAL // SAMPLES, LEAST_PERIOD), PERIOD)
        self.mail[Word.SEEN] = self._seen_at
        self.mail[Word.VISITS] = self.regions.visits.address
        self.mail[Word.LOOKS] = LOOKS
        slots = [r.slot for r in self.watched]
        self._mode_slots = slice(min(slots), max(slots) + 1)
        self._known_surroundings: dict[bytes, Surroundings] = {}

    # -- running -------------------------------------------------------------------------------

    def seen(self) -> list[tuple[int, int]]:
        """Blocks that indirect jumps left, and where to, the last times; among others zeros."""
        words: list[int] = self._seen.tolist()
        return list(zip(words[::2], words[1::2], strict=True))

    def refresh(self) -> None:
        """Take note of what has changed since native code was entered."""
        self._refresh()

    def _refresh(self) -> None:
        super()._refresh()
        if self.tier1 is not None:
            self.tier1.arena.refresh()
        if self.values is not self.state.values:
            self._attach()
        if self.coverage is not self.state.coverage:
            self._count()
        if self.gate is not None:
            self.gate.refresh()

    def _count(self) -> None:
        """Count what is executed from now on, or no longer: in code of another kind."""
        self.coverage = self.state.coverage
        self.mail[Word.COVERAGE] = 0 if self.coverage is None else self.coverage.address
        self.forget()

    def touch(self, address: int, size: int) -> None:
        """Code there is translated."""
        if self.coverage is not None:
            self.coverage.touch(address, size)

    def _blocks(self, until: int, first: bool) -> Exit | None:
        """Run native code where there is some, else blocks; None to look at the state."""
        here = self._surroundings()
        mode, regions, key_of, jumps = here.mode, here.regions, here.key_of, here.jumps
        self.mail[_JUMPS] = jumps.address
        cold = self._cold(here)
        state, limit = self.state, 0  # up to which count the python engine has to do it
        python = False  # whether it has to do one block
        stop: Exit | Left | None = None
        try:
            while state.count < until:
                self.bulk.index = 0
                pc = state.pc
                if pc in self.breakpoints and not first:
                    return Exit("breakpoint")
                key = key_of(pc)
                free = limit <= state.count and not python
                region = regions.get(key) if free else None
                self.mail[Word.FRESH] = FRESH
                if region is not None:
                    if stop is Left.DISPATCH or not jumps.has(pc):  # others have pushed it out
                        self.regions.enter(region, pc)
                    stop = self._native(region.address, region.entries[pc], until)
                elif free and cold and self._meets(mode, pc, stop):
                    stop = self._native(cold.dispatch, pc, until)
                else:
                    end = until if limit <= state.count else limit
                    stop, python = self._block_once(mode, key, pc, end, warm=free), False
                    limit = limit if end == limit else 0
                if self.mail[_SWITCHED]:
                    here = self._surroundings()
                    mode, regions, key_of, jumps = here.mode, here.regions, here.key_of, here.jumps
                    cold = self._cold(here)
                if isinstance(stop, Exit):
                    return stop
                if stop is Left.STEP or stop is Left.BUDGET:
                    limit = self._limit(stop, until)
                elif stop is Left.COLD:
                    python = not self._got_handler()
                elif stop is Left.FULL and self.tier1 is not None:
                    self.tier1.more_room()
                elif stop is Left.HOT:
                    self._hot_block(mode, state.pc)
                elif stop is Left.LOOK:
                    return None
                first = False
        except Stop as stop:
            state.count += self.bulk.index
            if self.coverage is not None and self.bulk.index:
                self._cover(self.block, self.bulk.index)
            return self._stopped(stop)
        return None

    def _surroundings(self) -> Surroundings:
        """What holds in the mode that the registers say, looked up by their bytes."""
        content = self.values[self._mode_slots].tobytes()
        found = self._known_surroundings.get(content)
        if found is not None:
            return found
        mode = self.isa.mode(self.state.values)
        key_of = self._keys(mode)
        jumps = self.regions.jumps(mode)
        found = Surroundings(mode, self.regions.table(mode), key_of, jumps)
        if self.gate is None or self.gate.watched is not self.watched:
            self.gate = Gate(self)
            self._attach()  # more registers decide
        elif len(self._known_surroundings) < MOST_SURROUNDINGS:
            found = found._replace(content=content)
            self._known_surroundings[content] = found
        return found

    def _limit(self, stop: Exit | Left | None, until: int) -> int:
        """How far the python engine has to go on after native code stopped."""
        if stop is Left.STEP:
            return self.state.count + 1
        if stop is Left.BUDGET and until - self.state.count <= max(self.longest, DECODED, LARGEST):
            return until
        return 0

    def _block_once(
        self, mode: Hashable, key: int, pc: int, until: int, *, warm: bool
    ) -> Exit | Left | None:
        """Do one block, or what of it may be done, in the python engine.

        With `warm` it counts, and nothing is done if there is native code for it by now.
        """
        state, bulk, values = self.state, self.bulk, self.state.values
        block = self.tables.setdefault(mode, {}).get(key)
        if block is None:
            block = self._found(mode, key, pc)
            if block is None:
                return Left.LOOK
        if warm and self.regions.warm(mode, key, min(self.native_hot, SLOW_HOT)):
            return None
        if state.count + block.length > until:
            block = block.cut(until - state.count)
        if block.checks:
            bulk.budget = 1 if pc in self.breakpoints else until - state.count
        self.block = block  # what a Stop leaves in the middle
        block.run(values)
        state.count += block.length
        if self.coverage is not None:
            self._cover(block, block.length)
        if block.checks:
            stop = self._after()
            return Left.LOOK if stop is None else stop
        self.targets.setdefault(mode, {}).setdefault(key, set()).add(state.pc)
        return None

    def _found(self, mode: Hashable, key: int, pc: int) -> Block | None:
        """Discover a block; None if everything had to be forgotten first."""
        if self.code.blocks >= MOST_BLOCKS:
            self.forget()
            return None
        fetched = self.fetcher(mode) is not None
        block = self.tables[mode][key] = self._discover(key >> 32 if fetched else pc, mode)
        if pc not in self.breakpoints:
            self.regions.recall(mode, key, pc, block.address, block.code)
        return block

    def _keys(self, mode: Hashable) -> Any:
        """From a program counter to the key of a block there: with the fetch address if it may
        differ."""
        fetch, values = self.fetcher(mode), self.state.values
        if fetch is None:
            return _same
        return lambda pc: fetch(values) << 32 | pc

    def _native(self, function: int, number: int, until: int) -> Exit | Left | None:
        """Run native code: a region from one of its entries, or a block of tier 1."""
        state, mail, gate = self.state, self.mail, self.gate
        assert gate is not None
        count = state.count
        budget = min(until - count, SLICE)
        mail[_REMAINING], mail[_END] = budget, count + budget
        mail[_HELD] = self._held()
        looks = not self.switches or state.interrupt_requested or self.breakpoints
        mail[_LOOK] = 0 if looks else gate.look
        if state.reply is not None:
            mail[Word.REPLY], mail[_REPLIED], state.reply = state.reply, 1, None
        try:
            left = gate.enter(self.at, function, number)
        finally:  # handlers raise, and Ctrl-C is raised right behind the call
            if not mail[_SERVING]:
                state.count = count + budget - mail[_REMAINING]
            if mail[_REPLIED]:
                state.reply, mail[_REPLIED] = mail[Word.REPLY], 0
        why = _LEFT[left]
        if why is Left.SERVED:
            return self._served(gate)
        if self.regions.done:
            self.regions.install()
        if count + budget == state.count and budget == SLICE:
            self.regions.refine()
        if state.count >= self._judges_at:
            self._judges_at = state.count + JUDGE
            self.regions.judge()
        if why is Left.EXIT or why is Left.ASK:
            return self._exit()
        if why is Left.READ or why is Left.WRITE:
            number, address = divmod(mail[Word.ADDRESS], 1 << 32)
            return None if self._numbered[number].fill(address, why) else Left.STEP
        return why

    def _held(self) -> int:
        """For how many instructions native code keeps the interpreter's lock."""
        return 0 if self.regions.busy else HELD

    def _exit(self) -> Exit | Left:
        """The guest's own exit, as the mailbox tells it."""
        mail = self.mail
        reason, count = self._way(mail[_REASON])
        values = tuple(mail[_VALUES : _VALUES + count])
        if reason == "trap":
            stop = self.judge.trap(self.state, Fault(values[0]))
            return Left.LOOK if stop is None else stop
        return Exit(reason, None, values)

    def _way(self, number: int) -> tuple[str, int]:
        """The reason of an exit, and how many values it has."""
        found = self.ways.get(number)
        if found is None:
            reason, count = self.reasons[number].split("/")
            found = self.ways[number] = reason, int(count)
            if self.gate is not None:
                self.gate.know(number, reason, int(count))
        return found

    def _served(self, gate: Gate) -> Exit | Left:
        """A handler has been called, and native code cannot go on by itself."""
        if gate.answers:
            self.answer = checked(self._way(self.mail[_REASON])[0], gate.answers.pop())
            return self.answer
        self._refresh()  # before anything is installed: the handler may have mapped other code
        self.regions.install()
        return Left.LOOK

    # -- tier 1 --------------------------------------------------------------------------------

    def _cold(self, here: Surroundings) -> Tier1 | None:
        """Tier 1, ready for a mode; None if there it cannot be, so that nobody discovers blocks."""
        mode, mail = here.mode, self.mail
        tier1 = self.tier1 if self.fetcher(mode) is None else None
        if mode != self._discovered or mail[_SWITCHED]:
            self._discovered, mail[_SWITCHED] = mode, 0
            mail[Word.DISPATCH] = 0 if tier1 is None else tier1.dispatch
            if tier1 is not None:
                tier1.use(cast(Mode, mode))
        if tier1 is not None and here.content and self.gate is not None:
            places = Places(mail[Word.PAGES], here.jumps.address, mail[Word.KEYS])
            self.gate.modes.note(here.content, self.values, places)
        return tier1

    def _meets(self, mode: Hashable, pc: int, stop: Exit | Left | None) -> bool:
        """Whether tier 1 can go on at `pc`, perhaps after some help."""
        assert self.tier1 is not None
        if pc in self.breakpoints:
            return False
        if stop is not Left.DISPATCH:
            return True
        block = self.tables.get(mode, {}).get(pc)
        if block is not None and not self.is_native(block.instructions[0].form):
            return False
        return self.tier1.meet(cast(Mode, mode), pc)

    def _got_handler(self) -> bool:
        """Ask for the handler that was not there; tell whether it is there by now."""
        assert self.tier1 is not None
        self.tier1.want_met(self.mail[Word.REASON])
        if not self.regions.busy:
            self.tier1.make_wanted()
        self.regions.ask_forms()
        self.regions.install()
        return self.tier1.has(self.mail[Word.REASON])

    def _hot_block(self, mode: Hashable, pc: int) -> None:
        """A block of tier 1 asks for a region: one that is on the disk, later a new one if it is as
        hot as that takes."""
        assert self.tier1 is not None
        block = self.tier1.arena.block(mode, pc)
        region = self.regions.table(mode).get(pc)
        if region is not None:
            self.regions.enter(region, pc)
        elif block is not None and self.tier1.arena.recalls(block):
            code = self.tier1.code(block)
            self.regions.recall(mode, pc, pc, pc, code)
            before = 0
            if self.native_hot:
                before = self.regions.warmth.of(self.regions.place(mode, pc, code))
                self.tier1.arena.count_anew(block, self.mail[Word.HOT])
            if before >= self._warm_after or not self.native_hot:
                self.regions.ask(mode, pc)
        elif block is not None:
            enough = self.regions.enough(mode, pc)
            missing = enough - self._noted(block) if self.native_hot else 0  # all are hot
            if missing <= 0 and self.state.count >= self._compiles_from:
                self.regions.ask_anew(mode, pc)
            else:
                later = missing if missing > 0 else self._warm_after
                self.tier1.arena.count_anew(block, max(self._warm_after - later, 0))

    def _noted(self, block: ColdBlock) -> int:
        """Note that a block without a region is warm, or still is; how often it was entered."""
        place = self._place(block)
        entries = self.warm[place] = min(self.warm.get(place, 0) + self._warm_after, MOST_HOT)
        return entries

    def _place(self, block: ColdBlock) -> Place:
        """A block as `warmth` knows it."""
        assert self.tier1 is not None
        return self.regions.place(block.mode, block.pc, self.tier1.code(block))

    # -- regions -------------------------------------------------------------------------------

    def key(self, mode: Hashable, pc: int, address: int) -> int:
        """The key of a block: its program counter, with its address if that may differ."""
        return pc if self.fetcher(mode) is None else address << 32 | pc

    def cool(self, mode: Hashable, key: int) -> None:
        """Let a block of tier 1 be entered as often again before it asks for a region."""
        if self.tier1 is None or self.fetcher(mode) is not None:
            return
        block = self.tier1.arena.block(mode, key)
        if block is not None:
            self.warm.pop(self._place(block), None)
            self.tier1.arena.count_anew(block)

    # -- what the python engine is asked -------------------------------------------------------

    @property
    def remembered(self) -> Remembered | None:
        """What the disk has for how memory is reached and what is watched now; None but for x86."""
        present = self.access_types, self.watched
        conditions_then, found = self._remembered  # as one: compilers ask in their threads
        if present != conditions_then and isinstance(self.isa, X86):
            accesses = [(space, kind.__name__) for space, kind in self.access_types]
            name = digest(repr((accesses, *conditions(self))).encode())
            if name not in self.all_remembered:
                self.all_remembered[name] = Remembered(self.cache, name)
            found = self.all_remembered[name]
            self._remembered = present, found
        return found

    def most(self, mode: Hashable) -> int:
        """See `Session`: one where tier 1 does all that native code can."""
        return self.longest if self.tier1 is None or self.fetcher(mode) is not None else 1

    def decode_at(self, address: int) -> Instruction | Fault:
        """See `Session`; instructions that earlier runs have met need no decoder."""
        remembered = self.remembered
        if remembered is None:
            return super().decode_at(address)
        mode = self.isa.mode(self.state.values)
        code, _ = self.state.memory[self.isa.code_space].fetch(address, self.isa.max_length)
        found = remembered.instruction(mode, code)
        if found is not None:
            return found
        decoded = super().decode_at(address)
        if not isinstance(decoded, Fault) and decoded.length <= len(code):
            remembered.note_instruction(mode, code, decoded)
        return decoded

    def facts(self, form: Hashable) -> Facts:
        """See `Session`."""
        if form not in self.known and self.remembered is not None:
            found = self.remembered.facts(form)
            if found is not None:
                self.known[form] = found
        return super().facts(form)

    def handler(self, form: Hashable) -> Any:
        """See `Session`."""
        remembered = None if form in self.handlers else self.remembered
        if remembered is None:
            return super().handler(form)
        found = remembered.handler(form, self)
        if found is None:
            found = super().handler(form)
            remembered.note_form(form, self.facts(form), found)
        self.handlers[form] = found
        return found

    def fetcher(self, mode: Hashable) -> Callable[[Values], int] | None:
        """See `Session`."""
        remembered = None if mode in self.fetchers else self.remembered
        if remembered is None:
            return super().fetcher(mode)
        if remembered.is_plain(mode):
            self.fetchers[mode] = None
            return None
        found = super().fetcher(mode)
        if found is None:
            remembered.note_plain(mode)
        return found

    def is_native(self, form: Hashable) -> bool:
        """Whether native code can do a form."""
        found = self._native_forms.get(form)
        if found is None:
            from emu.engines.native.plan import is_native  # earlier runs have asked already

            found = is_native(self.isa, form, self.facts(form), self.spaces)
            self._native_forms[form] = found
        return found

    def _flush(self) -> None:
        super()._flush()
        for space in self.spaces.values():
            space.flush()

    def _flush_pages(self, pages: list[int]) -> None:
        super()._flush_pages(pages)
        for space in self.spaces.values():
            space.flush_pages(pages)

    def watch(self, block: object, mode: Hashable, address: int, size: int) -> None:
        """Have a block dropped when its code changes."""
        self.code.watch(block, mode, address, size)
        self._flush_if_grown()

    def guard(self, address: int, where: int) -> None:
        """Have writes to a page, `where` it is in storage, looked at: there will be code in it."""
        self.code.guard(where)
        if self._may_write(address, where):
            self._flush_if_grown()
        self.code.grew = False

    def _may_write(self, address: int, where: int) -> bool:
        """Whether emitted code may know how to write to a page without a look."""
        return len(self._paged) > 1 or self._paged[0].may_be_written(address, where)

    @cached_property
    def _paged(self) -> list[TranslatedMemory]:
        """The machine's memories that have pages, once each."""
        found = [m for m in self.state.memory.values() if isinstance(m, TranslatedMemory)]
        return list({id(space): space for space in found}.values())

    def forget_modes(self) -> None:
        """Native code must ask where to go on in other modes: what it knows lies elsewhere now."""
        if self.gate is not None:
            self.gate.modes.clear()

    def forget(self) -> None:
        """Drop everything that was translated."""
        super().forget()
        self.regions.forget()
        self.targets.clear()
        self.warm.clear()
        self.forget_modes()
        if self.tier1 is not None:
            self.tier1.arena.clear()

    def close(self) -> None:
        """See `Session`: the compiler stops too."""
        super().close()
        self.regions.close()
        if self.tier1 is not None:
            self.tier1.close()

    def _drop_blocks(self, gone: set[int]) -> None:
        super()._drop_blocks(gone)
        self.regions.drop(gone)


def _spaces(state: State, *, looks: bool) -> dict[str, Space]:
    """The address spaces that native code can reach; two names of one memory are one."""
    found: dict[str, Space] = {}
    by_memory: dict[int, Space] = {}
    for name, memory in sorted(state.memory.items()):
        space = by_memory.get(id(memory))
        if space is None:
            space = space_for(len(by_memory), memory, state.isa.spaces[name], looks=looks)
        if space is not None:
            found[name] = by_memory[id(memory)] = space
    return found


_JUMPS, _REMAINING, _END, _HELD = map(int, (Word.JUMPS, Word.REMAINING, Word.END, Word.HELD))
_LOOK, _SWITCHED = map(int, (Word.LOOK, Word.SWITCHED))
_REASON, _VALUES, _DISPATCH = int(Word.REASON), int(Word.VALUES), int(Word.DISPATCH)
_SERVING, _REPLIED = int(Word.SERVING), int(Word.REPLIED)
_LEFT = {int(left): left for left in Left}


def _same(pc: int) -> int:
    return pc
