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
from typing import Any, cast

import numpy as np

from emu.engines.access import Stop
from emu.engines.block import Block
from emu.engines.native.build import LARGEST, native_form
from emu.engines.native.cache import DiskCache
from emu.engines.native.compiler import BEST, QUICK
from emu.engines.native.layout import HEATS, SEEN, WORDS, Left, Word
from emu.engines.native.regions import Regions
from emu.engines.native.spaces import Space, space_for
from emu.engines.native.tier1 import LONGEST as DECODED
from emu.engines.native.tier1 import ColdBlock, Tier1
from emu.engines.python import LONGEST, MOST_BLOCKS, Python, Session
from emu.exit import Exit
from emu.state import State
from isa.fault import Fault
from isa.x86.machine import X86
from isa.x86.mode import Mode

HOT = 4_000  # entries after which a block becomes the head of a region
PYTHON_HOT = 3_200  # runs of its handlers after which the python engine compiles a block
SLICE = 20_000_000  # instructions after which native code returns, for Ctrl-C and new regions
RECALL = 8  # entries after which a block of tier 1 is looked up on the disk


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
        super().__init__(hot=max(min(hot, PYTHON_HOT), 1), longest=longest)
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


class NativeSession(Session):
    """A session that also has native code; its blocks are found by address and program counter."""

    fixes = False

    def __init__(
        self, state: State, hot: int, longest: int, native_hot: int, levels: tuple[int, ...],
        cache: DiskCache, *, wait: bool,
    ) -> None:  # fmt: skip
        super().__init__(state, hot, longest)
        self.native_hot = native_hot
        self.cache = cache
        self.spaces = _spaces(state)
        self.mailbox = np.zeros(WORDS, dtype=np.uint64)
        self.mail: Any = memoryview(self.mailbox)  # type: ignore[arg-type]  # numpy's stubs
        self.seen = np.zeros((SEEN, 2), dtype=np.uint64)  # see `Word.SEEN`
        self.heats = np.zeros(HEATS, dtype=np.uint64)  # see `Word.HEAT`
        self.targets: dict[Hashable, dict[int, set[int]]] = {}
        self.reasons: dict[int, str] = {}
        self._native_forms: dict[Hashable, bool] = {}
        self.regions = Regions(self, levels, wait=wait)
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
        self.mailbox[Word.HEAT] = self.heats.ctypes.data
        self.mailbox[Word.SEEN] = self.seen.ctypes.data
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
        jumps = self.regions.jumps(mode)
        self.mail[Word.JUMPS] = jumps.address
        regions = self.regions.table(mode)
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
                    if not jumps.has(pc):  # others have pushed it out
                        jumps.enter(pc, region.address, region.entries[pc])
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
        if warm and self.regions.warm(mode, key, self.native_hot):
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

    def _native(self, function: Any, number: int, until: int) -> Exit | Left | None:
        """Run native code: a region from one of its entries, or a block of tier 1."""
        state, mail = self.state, self.mail
        budget = min(until - state.count, SLICE)
        mail[Word.REMAINING] = budget
        try:
            left = function(self.at, number)
        finally:  # Ctrl-C is raised right behind the call
            state.count += budget - mail[Word.REMAINING]
        self.regions.install()
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
            self.watch(found, pc, found.size)
            self.regions.ask_forms()
            self.regions.install()
        jumps = self.regions.jumps(mode)
        if not jumps.has(pc):
            jumps.enter(pc, self.tier1.entry, found.header)
        return found

    def _hot_block(self, mode: Hashable, pc: int) -> None:
        """A block of tier 1 asks for a region: one that is on the disk, later a new one."""
        assert self.tier1 is not None
        block = self.tier1.blocks.get(mode, _NO_BLOCKS).get(pc)
        if block is None:
            return
        if not block.recalled:
            block.recalled = True
            self.regions.recall(mode, pc, pc, pc, self.tier1.code(block))
            if self.native_hot:
                self.tier1.count_from(block, int(self.mailbox[Word.HOT]) - self.native_hot)
                return
        self.regions.ask(mode, pc)

    # -- regions -------------------------------------------------------------------------------

    def key(self, mode: Hashable, pc: int, address: int) -> int:
        """The key of a block: its program counter, with its address if that may differ."""
        return pc if self.fetcher(mode) is None else address << 32 | pc

    def cool(self, mode: Hashable, key: int) -> None:
        """Let a block of tier 1 be entered as often again before it asks for a region."""
        block = None if self.tier1 is None else self.tier1.blocks.get(mode, _NO_BLOCKS).get(key)
        if self.tier1 is not None and block is not None:
            self.tier1.count_from(block, int(self.mailbox[Word.HOT]) - max(self.native_hot, 1))

    def is_native(self, form: Hashable) -> bool:
        """Whether native code can do a form."""
        found = self._native_forms.get(form)
        if found is None:
            found = self._native_forms[form] = native_form(self, form)
        return found

    def _flush(self) -> None:
        super()._flush()
        for space in self.spaces.values():
            space.flush()

    def watch(self, block: object, address: int, size: int) -> None:
        """Have a block dropped when its code changes."""
        self.code.watch(block, address, size)
        if self.code.grew:
            self._flush()
        self.code.grew = False

    def forget(self) -> None:
        """Drop everything that was translated."""
        super().forget()
        self.regions.forget()
        self.targets.clear()
        if self.tier1 is not None:
            self.tier1.clear()

    def close(self) -> None:
        """See `Session`: the compiler stops too."""
        super().close()
        self.regions.close()

    def _drop_blocks(self, gone: set[int]) -> None:
        super()._drop_blocks(gone)
        self.regions.drop(gone)
        if self.tier1 is not None:
            for block in self.tier1.drop(gone):
                self.regions.asked.discard((block.mode, block.pc))
                jumps = self.regions.jumps(block.mode)
                jumps.remove(block.pc, self.tier1.entry, block.header)


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


def _same(pc: int) -> int:
    return pc
