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
from typing import Any

import numpy as np

from emu.engines.access import Stop
from emu.engines.block import Block
from emu.engines.native.compiler import Compiler, Entry, Library, Linker
from emu.engines.native.layout import JUMP_WORDS, JUMPS, NOWHERE, WORDS, Left, Word
from emu.engines.native.plan import (
    PlannedBlock,
    constants,
    is_indirect,
    is_native,
    return_sites,
    trace_block,
)
from emu.engines.native.region import RegionCompiler
from emu.engines.native.spaces import Space, space_for
from emu.engines.native.worker import Worker
from emu.engines.python import LONGEST, MOST_BLOCKS, Python, Session
from emu.exit import Exit
from emu.state import State
from isa.fault import Fault

HOT = 24  # entries after which a block becomes the head of a region
LARGEST = 400  # instructions of a region
SLICE = 20_000_000  # instructions after which native code returns, for Ctrl-C and new regions
MOST_TARGETS = 64  # of an indirect jump, that a region knows


class Native(Python):
    """Engine contract: `run(state, until) -> Exit`, exact and precise (see emu/README.md).

    `hot` is how often a block is entered before it is compiled; `wait`: the guest waits for the
    compiler, so that tests reach native code at once.
    """

    name = "native"

    def __init__(self, *, hot: int = HOT, wait: bool = False) -> None:
        super().__init__(hot=max(hot * 8, 1))
        self._native_hot = hot
        self._wait = wait

    def session(self, state: State) -> Session:
        """A new session on a machine."""
        return NativeSession(state, self._hot, self._native_hot, wait=self._wait)


@dataclass(slots=True, eq=False)
class NativeRegion:
    """Installed code: its entries' numbers by program counter."""

    library: Library
    function: Any
    address: int
    entries: dict[int, int]
    keys: list[int]


@dataclass(slots=True, eq=False)
class Job:
    """A region to compile: from which block on, and what came of it."""

    mode: Hashable
    key: int
    blocks: dict[int, Block]  # what it was made of, by key
    planned: list[PlannedBlock]
    entries: list[int]
    code: bytes = b""


class NativeSession(Session):
    """A session that also has native code."""

    def __init__(self, state: State, hot: int, native_hot: int, *, wait: bool) -> None:
        super().__init__(state, hot)
        self.native_hot = native_hot
        self.spaces: dict[str, Space] = {}
        for number, (name, memory) in enumerate(sorted(state.memory.items())):
            found = space_for(number, memory, self.isa.spaces[name])
            if found is not None:
                self.spaces[name] = found
        self.mailbox = np.zeros(WORDS, dtype=np.uint64)
        self.mail: Any = memoryview(self.mailbox)  # type: ignore[arg-type]  # numpy's stubs lack Buffer
        self.jumps: dict[Hashable, Any] = {}
        self.heat: dict[Hashable, dict[int, int]] = {}
        self.regions: dict[Hashable, dict[int, NativeRegion]] = {}
        self.owners: dict[int, tuple[Hashable, NativeRegion, PlannedBlock]] = {}
        self.reasons: list[str] = []
        self.targets: dict[Hashable, dict[int, set[int]]] = {}
        self.native_forms: dict[Hashable, bool] = {}
        self.pending: set[tuple[Hashable, int]] = set()
        self.linker = Linker()
        self.compiler = Compiler()
        self.worker = Worker(self._compile, wait=wait)
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
        self.at = self.mailbox.ctypes.data

    # -- running -------------------------------------------------------------------------------

    def _refresh(self) -> None:
        super()._refresh()
        if self.values is not self.state.values:
            self._attach()

    def _blocks(self, until: int, first: bool) -> Exit | None:
        """Run native code where there is some, else blocks; None to look at the state."""
        state, bulk, slot = self.state, self.bulk, self.isa.pc.slot
        mode = self.isa.mode(state.values)
        self.mail[Word.JUMPS] = self._jumps(mode).ctypes.data
        table = self.tables.setdefault(mode, {})
        regions = self.regions.setdefault(mode, {})
        heat = self.heat.setdefault(mode, {})
        targets = self.targets.setdefault(mode, {})
        fetch = self.fetcher(mode)
        values = state.values
        try:
            while state.count < until:
                bulk.index = 0
                pc = values[slot]
                if pc in self.breakpoints and not first:
                    return Exit("breakpoint")
                key = pc if fetch is None else fetch(values) << 32 | pc
                limit, region = until, regions.get(key)
                if region is not None:
                    stop = self._native(region, pc, until)
                    if isinstance(stop, Exit):
                        return stop
                    first = False
                    if stop == Left.STEP:
                        limit = state.count + 1
                    elif stop == Left.LOOK:
                        return None
                    elif stop != Left.BUDGET or until - state.count > LONGEST:
                        continue
                    if state.count >= until:
                        return None
                    bulk.index = 0
                    pc = values[slot]
                    if pc in self.breakpoints:
                        return Exit("breakpoint")
                    key = pc if fetch is None else fetch(values) << 32 | pc
                elif self.worker.done:
                    self._install()
                    continue
                block = table.get(key)
                if block is None:
                    if self.code.blocks >= MOST_BLOCKS:
                        self._forget()
                        return None
                    block = table[key] = self._discover(key >> 32 if fetch else pc, mode)
                warmth = heat[key] = heat.get(key, 0) + 1
                if warmth >= self.native_hot and pc not in self.breakpoints:
                    self._request(mode, key)
                if state.count + block.length > limit:
                    block = block.cut(limit - state.count)
                if block.checks:
                    bulk.budget = 1 if pc in self.breakpoints else limit - state.count
                first = False
                block.run(values)
                state.count += block.length
                if block.checks:
                    return self._after()
                if values[slot] not in (found := targets.setdefault(key, set())):
                    found.add(values[slot])
        except Stop as stop:
            state.count += bulk.index
            return self._stopped(stop)
        return None

    def _native(self, region: NativeRegion, pc: int, until: int) -> Exit | Left | None:
        """Run native code from one of a region's entries."""
        state, mail = self.state, self.mail
        budget = min(until - state.count, SLICE)
        mail[Word.REMAINING] = budget
        left = region.function(self.at, region.entries[pc])
        state.count += budget - mail[Word.REMAINING]
        if left == Left.READ or left == Left.WRITE:
            filled = [s.fill(mail[Word.ADDRESS], left) for s in self.spaces.values()]
            return Left.DISPATCH if any(filled) else Left.STEP
        if left == Left.EXIT:
            return self._exit()
        return Left(left)

    def _exit(self) -> Exit | Left:
        """The guest's own exit, as the mailbox tells it."""
        reason, count = self.reasons[self.mail[Word.REASON]], 0
        reason, count = reason.rsplit("/", 1)[0], int(reason.rsplit("/", 1)[1])
        self.state.reply = None
        values = tuple(self.mail[Word.VALUES + n] for n in range(count))
        if reason == "trap":
            stop = self.judge.trap(self.state, Fault(values[0]))
            return Left.LOOK if stop is None else stop
        return Exit(reason, None, values)

    # -- regions -------------------------------------------------------------------------------

    def _jumps(self, mode: Hashable) -> Any:
        """The jump cache of a mode."""
        found = self.jumps.get(mode)
        if found is None:
            found = self.jumps[mode] = np.zeros((JUMPS, JUMP_WORDS), dtype=np.uint64)
            found[:, 0] = NOWHERE
        return found

    def _request(self, mode: Hashable, key: int) -> None:
        """Have a region compiled that begins at a block."""
        if (mode, key) in self.pending:
            return
        self.pending.add((mode, key))
        self.worker.submit(Job(mode, key, {}, [], []))

    def _install(self) -> None:
        """Link what the compiler has finished, unless its code has changed meanwhile."""
        while self.worker.done:
            job, _ = self.worker.done.popleft()
            table = self.tables.get(job.mode, {})
            if not job.code or any(table.get(k) is not b for k, b in job.blocks.items()):
                if job.code:
                    self.pending.discard((job.mode, job.key))
                continue
            self._link(job)

    def _link(self, job: Job) -> None:
        library = self.linker.link(job.code, "region")
        address = library.addresses["region"]
        keys = list(job.blocks)
        entries = {job.planned[n].pc: n for n in job.entries}
        region = NativeRegion(library, Entry(address), address, entries, [keys[n] for n in job.entries])
        for planned in job.planned:
            self.owners[id(planned)] = (job.mode, region, planned)
            self.code.watch(planned, planned.address, sum(i.length for i in planned.instructions))
        if self.code.grew:
            self._flush()
        self.code.grew = False
        table, jumps = self.regions.setdefault(job.mode, {}), self._jumps(job.mode)
        for key, number in zip(region.keys, job.entries, strict=True):
            if key == job.key or key not in table:
                pc = job.planned[number].pc
                table[key] = region
                jumps[pc % JUMPS] = (pc, address, number, 0)

    def _flush(self) -> None:
        super()._flush()
        for space in self.spaces.values():
            space.flush()

    def _forget(self) -> None:
        super()._forget()
        for known in (self.regions, self.jumps, self.owners, self.pending, self.heat):
            known.clear()  # type: ignore[attr-defined]

    def _drop_blocks(self, gone: set[int]) -> None:
        super()._drop_blocks(gone)
        for found in [self.owners.pop(i) for i in gone & self.owners.keys()]:
            self._drop_region(found[0], found[1])

    def _drop_region(self, mode: Hashable, region: NativeRegion) -> None:
        table, jumps = self.regions.get(mode, {}), self._jumps(mode)
        for key in region.keys:
            self.heat.get(mode, {}).pop(key, None)
            self.pending.discard((mode, key))
            if table.get(key) is region:
                del table[key]
        jumps[jumps[:, 1] == region.address, 0] = NOWHERE

    # -- in the worker's thread ------------------------------------------------------------------

    def _compile(self, job: Job) -> None:
        """Find, trace and compile the region of a job; `code` stays empty if there is none."""
        self._collect(job)
        if job.planned:
            compiler = RegionCompiler(
                self.isa, job.mode, job.planned, job.entries, self.spaces, self.watched,
                self.reasons, "region",
            )  # fmt: skip
            job.code = self.compiler.object_code(compiler.text)

    def _collect(self, job: Job) -> None:
        """Blocks that have run, along direct jumps, calls and observed targets, from the head on."""
        table, fetch = self.tables.get(job.mode, {}), self.fetcher(job.mode)
        waiting, seen, room = [job.key], {job.key}, LARGEST
        entries = {job.key}
        while waiting:
            key = waiting.pop(0)
            block = table.get(key)
            if block is None or block.pc in self.breakpoints or block.length > room:
                continue
            if not all(self._is_native(i.form) for i in block.instructions):
                continue
            room -= block.length
            planned = self._plan(len(job.planned), key, block, job.mode)
            job.blocks[key] = block
            job.planned.append(planned)
            following = set() if planned.ends else set(constants(planned.following(self.isa)))
            sites = return_sites(planned, self.isa)
            for pc in sorted(following | planned.targets | sites):
                target = pc if fetch is None else (block.address - block.pc + pc) << 32 | pc
                if pc in sites or (target in seen and target in job.blocks):
                    entries.add(target)
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        job.entries = [p.number for p, k in zip(job.planned, job.blocks, strict=True) if k in entries]

    def _plan(self, number: int, key: int, block: Block, mode: Hashable) -> PlannedBlock:
        parts, after = trace_block(self.isa, mode, block.pc, block.instructions)
        planned = PlannedBlock(
            number, block.pc, block.address, block.instructions, parts, after
        )
        if not planned.ends and is_indirect(planned.following(self.isa)):
            seen = self.targets.get(mode, {}).get(key, set())
            planned.targets = set(sorted(seen)[:MOST_TARGETS])
        return planned

    def _is_native(self, form: Hashable) -> bool:
        found = self.native_forms.get(form)
        if found is None:
            found = is_native(self.isa, form, self.facts(form), self.spaces)
            self.native_forms[form] = found
        return found
