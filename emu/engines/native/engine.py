"""The `native` engine: hot regions as machine code by LLVM, the rest by the `python` engine.

A block that has been entered `HOT` times becomes the head of a region: the blocks that have been
executed and that direct jumps, calls and observed indirect jumps connect to it. Regions find each
other through the jump cache without leaving native code. Whatever native code cannot do (faults,
devices, the first touch of a page) leaves it at an instruction boundary, and the python engine
does that one instruction.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from emu.engines.access import Stop
from emu.engines.block import Block
from emu.engines.native.build import Compiled, RegionBuilder, native_form
from emu.engines.native.cache import DiskCache
from emu.engines.native.compiler import BEST, QUICK, SYMBOL, Compiler, Entry, Library, linker
from emu.engines.native.layout import (
    JUMP_WORDS,
    JUMPS,
    NOWHERE,
    WORDS,
    Left,
    Word,
    number_of,
)
from emu.engines.native.names import digest
from emu.engines.native.spaces import Space, space_for
from emu.engines.native.tier1 import ColdBlock, Handlers, Tier1
from emu.engines.native.worker import Worker
from emu.engines.python import LONGEST, MOST_BLOCKS, Python, Session
from emu.exit import Exit
from emu.state import State
from isa.fault import Fault
from isa.x86.machine import X86
from isa.x86.mode import Mode

HOT = 400  # entries after which a block becomes the head of a region
SLICE = 20_000_000  # instructions after which native code returns, for Ctrl-C and new regions
RECALL = 8  # entries after which a block of tier 1 is looked up on the disk
MOST_REGIONS = 4_000  # installed at a time; then all are forgotten


class Native(Python):
    """Engine contract: `run(state, until) -> Exit`, exact and precise (see emu/README.md).

    `hot` is how often a block is entered before it is compiled; `wait`: the guest waits for the
    compiler, so that tests reach native code at once; `levels`: of compiling, in
    order; `cache`: where compiled code is kept; `longest`: instructions in a block.
    """

    name = "native"

    def __init__(
        self,
        *,
        hot: int = HOT,
        wait: bool = False,
        levels: tuple[int, ...] = (QUICK, BEST),
        cache: DiskCache | None = None,
        longest: int = LONGEST,
    ) -> None:
        super().__init__(hot=max(hot * 8, 1), longest=longest)
        self._native_hot = hot
        self._wait = wait
        self._levels = levels
        self._cache = DiskCache.users() if cache is None else cache

    def session(self, state: State) -> Session:
        """A new session on a machine."""
        return NativeSession(
            state, self._hot, self._longest, self._native_hot, self._levels, self._cache,
            wait=self._wait,
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class NativeRegion:
    """Installed code: its entries' numbers by program counter, and their keys."""

    mode: Hashable
    library: Library
    function: Any
    address: int
    entries: dict[int, int]
    keys: list[int]
    quick: bool


class Watch:
    """One piece of code behind a region, for the code map to name."""

    def __init__(self, region: NativeRegion) -> None:
        self.region = region


class NativeSession(Session):
    """A session that also has native code; its blocks are found by address and program counter."""

    fixes = False

    def __init__(
        self, state: State, hot: int, longest: int, native_hot: int, levels: tuple[int, ...],
        cache: DiskCache, *, wait: bool,
    ) -> None:  # fmt: skip
        super().__init__(state, hot, longest)
        self.native_hot = native_hot
        self.levels = levels
        self.cache = cache
        self.spaces = _spaces(state)
        self.mailbox = np.zeros(WORDS, dtype=np.uint64)
        self.mail: Any = memoryview(self.mailbox)  # type: ignore[arg-type]  # numpy's stubs
        self.regions: dict[Hashable, dict[int, NativeRegion]] = {}
        self.jumps: dict[Hashable, Any] = {}
        self.heat: dict[Hashable, dict[int, int]] = {}
        self.targets: dict[Hashable, dict[int, set[int]]] = {}
        self.asked: set[tuple[Hashable, int]] = set()  # regions under way, or not to be had
        self.watches: dict[int, Watch] = {}
        self.reasons: dict[int, str] = {}
        self._native_forms: dict[Hashable, bool] = {}
        self._compilers: dict[int, Compiler] = {}
        self.worker = Worker(self._compile, self._urgency, wait=wait)
        self.tier1 = Tier1(self) if isinstance(self.isa, X86) else None
        self._attach()

    def _attach(self) -> None:
        """Tell native code where everything is."""
        if not isinstance(self.state.values, array):
            self.state.values = array("Q", self.state.values)
        self.values = self.state.values
        self.mailbox[Word.REGISTERS] = self.values.buffer_info()[0]
        for space in self.spaces.values():
            first = Word.SPACES + 3 * space.number
            self.mailbox[first : first + 3] = space.words()
        if self.tier1 is not None:
            self.mailbox[Word.RECORDS] = self.tier1.records.ctypes.data
            self.mailbox[Word.HANDLERS] = self.tier1.handlers.ctypes.data
            self.mailbox[Word.HOT] = min(self.native_hot, RECALL) or 1
        self.at = self.mailbox.ctypes.data

    # -- running -------------------------------------------------------------------------------

    @property
    def _tier1_entry(self) -> Any:
        assert self.tier1 is not None
        return self.tier1.function

    def _refresh(self) -> None:
        super()._refresh()
        if self.values is not self.state.values:
            self._attach()

    def _blocks(self, until: int, first: bool) -> Exit | None:
        """Run native code where there is some, else blocks; None to look at the state."""
        mode = self.isa.mode(self.state.values)
        self.mail[Word.JUMPS] = self._jumps(mode).ctypes.data
        regions = self.regions.setdefault(mode, {})
        key_of = self._keys(mode)
        cold = self.tier1 if key_of is _same and not self.breakpoints else None
        state, limit = self.state, 0  # up to which count the python engine has to do it
        python = False  # whether it has to do one block
        try:
            while state.count < until:
                self.bulk.index = 0
                pc = state.pc
                if pc in self.breakpoints and not first:
                    return Exit("breakpoint")
                key = key_of(pc)
                free = limit <= state.count and not python
                region = regions.get(key) if free else None
                block = self._cold(mode, pc) if free and cold and region is None else None
                if region is not None:
                    stop = self._native(region.function, region.entries[pc], until)
                elif block is not None:
                    stop = self._native(self._tier1_entry, block.header, until)
                else:
                    end = until if limit <= state.count else limit
                    stop, python = self._block_once(mode, key, pc, end, warm=free), False
                    limit = limit if end == limit else 0
                if stop in (Left.STEP, Left.BUDGET):
                    limit = self._limit(stop, until)
                elif stop is Left.COLD:
                    python = True
                elif stop is Left.HOT:
                    self._hot_block(mode, state.pc)
                if stop is not None and not isinstance(stop, Left):
                    return stop
                if stop is Left.LOOK:
                    return None
                first = False
        except Stop as stop:
            state.count += self.bulk.index
            return self._stopped(stop)
        return None

    def _limit(self, stop: Exit | Left | None, until: int) -> int:
        """How far the python engine has to go on after native code stopped."""
        if stop is Left.STEP:
            return self.state.count + 1
        if stop is Left.BUDGET and until - self.state.count <= self.longest:
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
        if warm and self._warm(mode, key):
            return None
        if state.count + block.length > until:
            block = block.cut(until - state.count)
        if block.checks:
            bulk.budget = 1 if pc in self.breakpoints else until - state.count
        block.run(values)
        state.count += block.length
        if block.checks:
            stop = self._after()
            return Left.LOOK if stop is None else stop
        self.targets.setdefault(mode, {}).setdefault(key, set()).add(state.pc)
        return None

    def _found(self, mode: Hashable, key: int, pc: int) -> Block | None:
        """Discover a block; None if everything had to be forgotten first."""
        if self.code.blocks >= MOST_BLOCKS:
            self._forget()
            return None
        fetched = self.fetcher(mode) is not None
        block = self.tables[mode][key] = self._discover(key >> 32 if fetched else pc, mode)
        if (mode, key) not in self.asked and pc not in self.breakpoints:
            self._recall(mode, key, pc, block.address, block.code)
        return block

    def _keys(self, mode: Hashable) -> Any:
        """From a program counter to the key of a block there: with the fetch address if it may
        differ."""
        fetch, values = self.fetcher(mode), self.state.values
        if fetch is None:
            return _same
        return lambda pc: fetch(values) << 32 | pc

    def _native(self, function: Any, number: int, until: int) -> Exit | Left | None:
        """Run native code: a region from one of its entries, or a block of tier 1."""
        state, mail = self.state, self.mail
        budget = min(until - state.count, SLICE)
        mail[Word.REMAINING] = budget
        left = function(self.at, number)
        state.count += budget - mail[Word.REMAINING]
        if self.worker.done:
            self._install()
        if left == Left.READ or left == Left.WRITE:
            filled = [s.fill(mail[Word.ADDRESS], left) for s in self.spaces.values()]
            return None if any(filled) else Left.STEP
        if left == Left.EXIT:
            return self._exit()
        return Left(left)

    def _exit(self) -> Exit | Left:
        """The guest's own exit, as the mailbox tells it."""
        reason, count = self.reasons[self.mail[Word.REASON]].split("/")
        self.state.reply = None
        values = tuple(self.mail[Word.VALUES + n] for n in range(int(count)))
        if reason == "trap":
            stop = self.judge.trap(self.state, Fault(values[0]))
            return Left.LOOK if stop is None else stop
        return Exit(reason, None, values)

    # -- tier 1 --------------------------------------------------------------------------------

    def _cold(self, mode: Hashable, pc: int) -> ColdBlock | None:
        """The decoded block at a program counter; None if it cannot be native."""
        assert self.tier1 is not None
        found = self.tier1.blocks.get(mode, _NO_BLOCKS).get(pc)
        if found is None:
            found = self.tier1.discover(cast(Mode, mode), pc)
            if found is None:
                return None
            self.code.watch(found, pc, found.size)
            if self.code.grew:
                self._flush()
            self.code.grew = False
            wanted = self.tier1.wanted()
            if wanted:
                self.worker.submit((FORMS, wanted, 0))
                self._install()
        jumps = self._jumps(mode)
        if jumps[pc % JUMPS, 0] != pc:
            jumps[pc % JUMPS] = (pc, self.tier1.entry, found.header, 0)
        return found

    def _hot_block(self, mode: Hashable, pc: int) -> None:
        """A block of tier 1 asks for a region: one that is on the disk, later a new one."""
        assert self.tier1 is not None
        block = self.tier1.blocks.get(mode, _NO_BLOCKS).get(pc)
        if block is None or (mode, pc) in self.asked:
            return
        if not block.recalled:
            block.recalled = True
            self._recall(mode, pc, pc, pc, self.tier1.code(block))
            if self.native_hot and (mode, pc) not in self.asked:
                self.tier1.count_from(block, int(self.mailbox[Word.HOT]) - self.native_hot)
                return
        if (mode, pc) not in self.asked:
            self._ask(mode, pc)

    # -- regions -------------------------------------------------------------------------------

    def is_native(self, form: Hashable) -> bool:
        """Whether native code can do a form."""
        found = self._native_forms.get(form)
        if found is None:
            found = self._native_forms[form] = native_form(self, form)
        return found

    def _jumps(self, mode: Hashable) -> Any:
        """The jump cache of a mode."""
        found = self.jumps.get(mode)
        if found is None:
            found = self.jumps[mode] = np.zeros((JUMPS, JUMP_WORDS), dtype=np.uint64)
            found[:, 0] = NOWHERE
        return found

    def _warm(self, mode: Hashable, key: int) -> bool:
        """Count an entry; have a region compiled from here if there were enough. Tell whether
        there is one by now."""
        heat = self.heat.setdefault(mode, {})
        warmth = heat[key] = heat.get(key, 0) + 1
        if warmth >= self.native_hot and (mode, key) not in self.asked:
            self._ask(mode, key)
        if self.worker.done:
            self._install()
        return key in self.regions[mode]

    def _ask(self, mode: Hashable, key: int) -> None:
        """Have a region compiled."""
        self.asked.add((mode, key))
        self.worker.submit((mode, key, self.levels[0]))
        self._install()

    def _recall(self, mode: Hashable, key: int, pc: int, address: int, code: bytes) -> None:
        """Install what an earlier run compiled from a block."""
        found = self.cache.load(self._name(mode, pc, address, code))
        if found is None:
            return
        compiled = Compiled.of(*found)
        if self._install_one(mode, key, compiled):
            self._improve(mode, key, compiled)

    def _name(self, mode: Hashable, pc: int, address: int, code: bytes) -> str:
        """The cache's name for the region that begins with a block."""
        kinds = [(n, s.number, s.kind) for n, s in sorted(self.spaces.items())]
        what = (self.isa.fingerprint, mode, pc, address, code, kinds)
        return digest(repr(what).encode())

    def _urgency(self, job: tuple[Hashable, Any, int]) -> tuple[int, int]:
        """First what has no code at all, by how often the python engine has had to do it."""
        mode, key, level = job
        if mode == FORMS:
            return 2, 0
        return int(level == self.levels[0]), self.heat.get(mode, {}).get(key, 0)

    def _compile(self, job: tuple[Hashable, Any, int]) -> Compiled | list[Handlers] | None:
        """In the worker's thread: compile a region and keep it for later runs."""
        mode, key, level = job
        if mode == FORMS:
            assert self.tier1 is not None
            return self.tier1.compile(key, self._compiler(BEST))
        compiled = RegionBuilder(self, mode, key).compile(self._compiler(level))
        if compiled is not None:
            self.cache.save(self._name(mode, *compiled.first), compiled.head(), compiled.code)
        return compiled

    def _compiler(self, level: int) -> Compiler:
        found = self._compilers.get(level)
        if found is None:
            found = self._compilers[level] = Compiler(level)
        return found

    def _install(self) -> None:
        """Link what the compiler has finished, unless its code has changed meanwhile."""
        while self.worker.done:
            (mode, key, _), compiled = self.worker.take()
            if mode == FORMS:
                assert self.tier1 is not None
                self.tier1.install(compiled)
                wanted = self.tier1.wanted()
                if wanted:
                    self.worker.submit((FORMS, wanted, 0))
                continue
            if compiled is None:
                continue
            if self._install_one(mode, key, compiled):
                self._improve(mode, key, compiled)
            else:
                self.asked.discard((mode, key))

    def _improve(self, mode: Hashable, key: int, compiled: Compiled) -> None:
        """Have a region that was compiled in a hurry compiled better."""
        self.asked.add((mode, key))
        if compiled.quick and self.levels[-1] != QUICK:
            self.worker.submit((mode, key, self.levels[-1]))

    def _install_one(self, mode: Hashable, key: int, compiled: Compiled) -> bool:
        """Link a region; False if the code that it was made from is not there."""
        memory = self.state.memory[self.isa.code_space]
        for address, size, wanted in compiled.code_ranges:
            code, fault = memory.fetch(address, size)
            if fault is not None or digest(code) != wanted:
                return False
        if len(self.watches) >= MOST_REGIONS * 8:
            self._forget()
        self._link(mode, key, compiled)
        return True

    def _link(self, mode: Hashable, head: int, compiled: Compiled) -> None:
        library = linker().link(compiled.code, SYMBOL)
        address_of = library.addresses[SYMBOL]
        fetched = self.fetcher(mode) is not None
        keys = [address << 32 | pc if fetched else pc for pc, address, _ in compiled.entries]
        numbers = {pc: number for pc, _, number in compiled.entries}
        self._retire(mode, head)
        region = NativeRegion(
            mode, library, Entry(address_of), address_of, numbers, keys, compiled.quick
        )
        self.reasons |= {number_of(reason): reason for reason in compiled.reasons}
        for address, size, _ in compiled.code_ranges:
            watch = Watch(region)
            self.watches[id(watch)] = watch
            self.code.watch(watch, address, size)
        if self.code.grew:
            self._flush()
        self.code.grew = False
        self._offer(region, head)

    def _retire(self, mode: Hashable, head: int) -> None:
        """Drop the quick region that a better one with the same head replaces."""
        old = self.regions.setdefault(mode, {}).get(head)
        if old is not None and old.quick:
            self.code.forget({i for i, w in self.watches.items() if w.region is old})

    def _offer(self, region: NativeRegion, head: int) -> None:
        """Let a region be entered: at its head in any case, elsewhere if nobody else serves."""
        table, jumps = self.regions.setdefault(region.mode, {}), self._jumps(region.mode)
        for key, (pc, number) in zip(region.keys, region.entries.items(), strict=True):
            if key == head or key not in table:
                table[key] = region
                jumps[pc % JUMPS] = (pc, region.address, number, 0)

    def _flush(self) -> None:
        super()._flush()
        for space in self.spaces.values():
            space.flush()

    def _forget(self) -> None:
        super()._forget()
        for regions in self.regions.values():
            regions.clear()
        for known in (self.watches, self.asked, self.heat, self.targets):
            known.clear()
        if self.tier1 is not None:
            self.tier1.clear()
        for jumps in self.jumps.values():
            jumps[:, 0] = NOWHERE

    def _drop_blocks(self, gone: set[int]) -> None:
        super()._drop_blocks(gone)
        for watch in [self.watches.pop(i) for i in gone & self.watches.keys()]:
            self._drop_region(watch.region)
        if self.tier1 is not None:
            for block in [self.tier1.by_id.pop(i) for i in gone & self.tier1.by_id.keys()]:
                self._drop_cold(block)

    def _drop_cold(self, block: ColdBlock) -> None:
        assert self.tier1 is not None
        self.tier1.drop(block)
        self.asked.discard((block.mode, block.pc))
        jump = self._jumps(block.mode)[block.pc % JUMPS]
        if jump[1] == self.tier1.entry and jump[2] == block.header:
            jump[0] = NOWHERE

    def _drop_region(self, region: NativeRegion) -> None:
        table, jumps = self.regions.get(region.mode, {}), self._jumps(region.mode)
        for key in region.keys:
            self.heat.get(region.mode, {}).pop(key, None)
            self.asked.discard((region.mode, key))
            if table.get(key) is region:
                del table[key]
        jumps[jumps[:, 1] == region.address, 0] = NOWHERE


def _spaces(state: State) -> dict[str, Space]:
    """The address spaces that native code can reach; two names of one memory are one."""
    found: dict[str, Space] = {}
    by_memory: dict[int, Space] = {}
    for name, memory in sorted(state.memory.items()):
        space = by_memory.get(id(memory))
        if space is None:
            space = space_for(len(by_memory), memory, state.isa.spaces[name])
        if space is not None:
            found[name] = by_memory[id(memory)] = space
    return found


_NO_BLOCKS: dict[int, ColdBlock] = {}
FORMS = "forms"  # instead of a mode: the job is to compile handlers


def _same(pc: int) -> int:
    return pc
