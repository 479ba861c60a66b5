"""A session's native code: regions asked for, compiled, installed, and dropped when code changes.

Everything that needs LLVM happens in the worker's thread, linking too, as LLVM lets one thread in
at a time. What comes back is used only if the guest's code is still what it was made from.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emu.engines.native.build import Compiled, RegionBuilder
from emu.engines.native.compiler import BEST, QUICK, SYMBOL, Compiler, Entry, Library, linker
from emu.engines.native.jumps import JumpCache
from emu.engines.native.layout import number_of
from emu.engines.native.names import digest
from emu.engines.native.tier1 import Installed
from emu.engines.native.worker import Worker

if TYPE_CHECKING:
    from emu.engines.native.engine import NativeSession

MOST_REGIONS = 4_000  # installed at a time; then everything is forgotten
LOAD = -1  # instead of a level: take the region from the disk


@dataclass(frozen=True, slots=True)
class Job:
    """What the worker has to do: a region by the key of its head, or handlers for forms."""

    level: int
    mode: Hashable = None
    key: int = 0
    name: str = ""  # on the disk
    forms: tuple[int, ...] = ()


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
    watches: set[int] = field(default_factory=set)


class Watch:
    """One piece of code behind a region, for the code map to name."""

    def __init__(self, region: NativeRegion) -> None:
        self.region = region


class Regions:
    """The regions of a session, and the jump caches through which native code finds them."""

    def __init__(self, session: NativeSession, levels: tuple[int, ...], *, wait: bool) -> None:
        self._session = session
        self._levels = levels
        self.tables: dict[Hashable, dict[int, NativeRegion]] = {}
        self.asked: set[tuple[Hashable, int]] = set()  # under way, there, or not to be had
        self.heat: dict[Hashable, dict[int, int]] = {}  # entries of blocks of the python engine
        self._jumps: dict[Hashable, JumpCache] = {}
        self._watches: dict[int, Watch] = {}
        self._compilers: dict[int, Compiler] = {}
        self._worker = Worker(self._work, self._urgency, wait=wait)

    def table(self, mode: Hashable) -> dict[int, NativeRegion]:
        """The regions of a mode by the keys of their entries."""
        return self.tables.setdefault(mode, {})

    def jumps(self, mode: Hashable) -> JumpCache:
        """The jump cache of a mode."""
        found = self._jumps.get(mode)
        if found is None:
            found = self._jumps[mode] = JumpCache()
        return found

    def close(self) -> None:
        """Compile nothing more."""
        self._worker.close()

    # -- asking ----------------------------------------------------------------------------------

    def warm(self, mode: Hashable, key: int, enough: int) -> bool:
        """Count an entry of a block of the python engine; have a region compiled from here if
        there were enough. Tell whether there is one by now."""
        heat = self.heat.setdefault(mode, {})
        warmth = heat[key] = heat.get(key, 0) + 1
        if warmth >= enough:
            self.ask(mode, key)
        self.install()
        return key in self.table(mode)

    def ask(self, mode: Hashable, key: int) -> None:
        """Have a region compiled, once."""
        if (mode, key) not in self.asked:
            self._submit(Job(self._levels[0], mode, key))

    def recall(self, mode: Hashable, key: int, pc: int, address: int, code: bytes) -> None:
        """Have what an earlier run compiled from a block loaded, if there is something."""
        name = self._name(mode, pc, address, code)
        if (mode, key) not in self.asked and self._session.cache.has(name):
            self._submit(Job(LOAD, mode, key, name))

    def ask_forms(self) -> None:
        """Have handlers made for forms that tier 1 has met."""
        tier1 = self._session.tier1
        forms = () if tier1 is None else tier1.wanted()
        if forms:
            self._worker.submit(Job(BEST, forms=forms))

    def _submit(self, job: Job) -> None:
        self.asked.add((job.mode, job.key))
        self._worker.submit(job)

    def _urgency(self, job: Job) -> tuple[int, int]:
        """Handlers and the disk first, then what has no code at all, by how hot it is."""
        if job.forms or job.level == LOAD:
            return 2, 0
        return int(job.level == self._levels[0]), self.heat.get(job.mode, {}).get(job.key, 0)

    def _name(self, mode: Hashable, pc: int, address: int, code: bytes) -> str:
        """The cache's name for the region that begins with a block."""
        session = self._session
        kinds = [(n, s.number, s.kind) for n, s in sorted(session.spaces.items())]
        return digest(repr((session.isa.fingerprint, mode, pc, address, code, kinds)).encode())

    # -- in the worker's thread --------------------------------------------------------------------

    def _work(self, job: Job) -> tuple[Compiled, Library] | Installed | None:
        if job.forms:
            assert self._session.tier1 is not None
            return self._session.tier1.compile(job.forms, self._compiler(BEST))
        compiled = self._loaded(job) if job.level == LOAD else self._compiled(job)
        return None if compiled is None else (compiled, linker().link(compiled.code, SYMBOL))

    def _loaded(self, job: Job) -> Compiled | None:
        found = self._session.cache.load(job.name)
        return None if found is None else Compiled.of(*found)

    def _compiled(self, job: Job) -> Compiled | None:
        builder = RegionBuilder(self._session, job.mode, job.key)
        compiled = builder.compile(self._compiler(job.level))
        if compiled is not None:
            name = self._name(job.mode, *compiled.first)
            self._session.cache.save(name, compiled.head(), compiled.code)
        return compiled

    def _compiler(self, level: int) -> Compiler:
        found = self._compilers.get(level)
        if found is None:
            found = self._compilers[level] = Compiler(level)
        return found

    # -- installing --------------------------------------------------------------------------------

    def install(self) -> None:
        """Take what the worker has done."""
        while self._worker.done:
            job, result = self._worker.take()
            if isinstance(result, Installed):
                assert self._session.tier1 is not None
                self._session.tier1.install(result)
                self.ask_forms()
            elif result is not None:
                self._take(job, *result)
            elif job.level == LOAD:
                self.asked.discard((job.mode, job.key))

    def _take(self, job: Job, compiled: Compiled, library: Library) -> None:
        """Install a region if its code is there; have it compiled better if that was in a hurry."""
        if not self._is_there(compiled):
            self.asked.discard((job.mode, job.key))
            return
        if len(self._watches) >= MOST_REGIONS * 8:
            self._session.forget()
        self._offer(self._installed(job, compiled, library), job.key)
        self.asked.add((job.mode, job.key))
        if compiled.quick and self._levels[-1] != QUICK:
            self._submit(Job(self._levels[-1], job.mode, job.key))

    def _is_there(self, compiled: Compiled) -> bool:
        memory = self._session.state.memory[self._session.isa.code_space]
        for address, size, wanted in compiled.code_ranges:
            code, fault = memory.fetch(address, size)
            if fault is not None or digest(code) != wanted:
                return False
        return True

    def _installed(self, job: Job, compiled: Compiled, library: Library) -> NativeRegion:
        """A region whose code is watched."""
        session, place = self._session, library.addresses[SYMBOL]
        fetched = session.fetcher(job.mode) is not None
        keys = [address << 32 | pc if fetched else pc for pc, address, _ in compiled.entries]
        numbers = {pc: number for pc, _, number in compiled.entries}
        self._retire(job.mode, job.key)
        region = NativeRegion(job.mode, library, Entry(place), place, numbers, keys, compiled.quick)
        session.reasons |= {number_of(reason): reason for reason in compiled.reasons}
        for address, size, _ in compiled.code_ranges:
            watch = Watch(region)
            self._watches[id(watch)] = watch
            region.watches.add(id(watch))
            session.watch(watch, address, size)
        return region

    def _retire(self, mode: Hashable, head: int) -> None:
        """Drop the quick region that a better one with the same head replaces."""
        old = self.table(mode).get(head)
        if old is not None and old.quick:
            self._session.code.forget(set(old.watches))

    def _offer(self, region: NativeRegion, head: int) -> None:
        """Let a region be entered: at its head in any case, elsewhere if nobody else serves."""
        table, jumps = self.table(region.mode), self.jumps(region.mode)
        for key, (pc, number) in zip(region.keys, region.entries.items(), strict=True):
            if key == head or key not in table:
                table[key] = region
                jumps.enter(pc, region.address, number)

    # -- dropping ----------------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop everything."""
        for table in self.tables.values():
            table.clear()
        self.asked.clear()
        self.heat.clear()
        self._watches.clear()
        for jumps in self._jumps.values():
            jumps.clear()

    def drop(self, gone: set[int]) -> None:
        """Drop the regions behind watches (by their ids): their code has changed."""
        for watch in [self._watches.pop(i) for i in gone & self._watches.keys()]:
            self._drop(watch.region)

    def _drop(self, region: NativeRegion) -> None:
        table, jumps = self.table(region.mode), self.jumps(region.mode)
        for key, pc in zip(region.keys, region.entries, strict=True):
            self.heat.get(region.mode, {}).pop(key, None)
            self.asked.discard((region.mode, key))
            if table.get(key) is region:
                del table[key]
            jumps.remove(pc, region.address)
