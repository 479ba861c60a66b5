"""A session's native code: regions asked for, compiled, installed, and dropped when code changes.

Everything that needs LLVM happens in the worker's thread. What comes back, or from the disk, is
used only if the guest's code is still what it was made from.
"""

from __future__ import annotations

from emu.engines.native.compiled import Compiled
from emu.engines.native.jumps import JumpCache
from emu.engines.native.kept import Kept, region_file
from emu.engines.native.layout import LARGEST, SYMBOL, number_of
from emu.engines.native.linking import Library, linker
from emu.engines.native.names import Checksum, digest, digits, summing
from emu.engines.native.tier1 import Made, conditions
from emu.engines.native.visits import Visits
from emu.engines.native.warmth import Place, Warmth
from emu.engines.native.worker import Worker
from isa.hints import TYPE_CHECKING, Hashable
from isa.record import NamedTuple

if TYPE_CHECKING:
    from emu.engines.native.engine import NativeSession

USUAL = 10  # instructions of a block, for which a region should have room to get it
DOUBT = 16  # by so much hotter is a block that gets a second chance
PC_MASK = (1 << 32) - 1  # of a key
MOST_REGIONS = 4_000  # installed at a time; then everything is forgotten


class Job(NamedTuple):
    """What the worker has to do: a region by the key of its head, or handlers for forms."""

    mode: Hashable = None
    key: int = 0
    forms: tuple[int, ...] = ()


class NativeRegion:
    """Installed code: its entries' numbers by program counter, and their keys."""

    def __init__(
        self, mode: Hashable, name: str, library: Library, address: int, entries: dict[int, int],
        keys: list[int],
    ) -> None:  # fmt: skip
        self.mode = mode
        self.name = name  # on the disk
        self.library = library
        self.address = address
        self.entries = entries
        self.keys = keys
        self.watches: set[int] = set()


class Home(NamedTuple):
    """Which region has a block: the key of the region's head, and how many instructions it has."""

    head: int
    is_entry: bool
    length: int


_NOWHERE = Home(-1, is_entry=False, length=0)


class Covered:
    """A result: the block asked for is in a region already, which perhaps is all that it needs."""


class Watch:
    """One piece of code behind a region, for the code map to name."""

    def __init__(self, region: NativeRegion) -> None:
        self.region = region


class Regions:
    """The regions of a session, and the jump caches through which native code finds them."""

    def __init__(self, session: NativeSession, level: int, *, wait: bool) -> None:
        self._session = session
        self._level = level
        self.tables: dict[Hashable, dict[int, NativeRegion]] = {}
        self.asked: set[tuple[Hashable, int]] = set()  # under way, there, or not to be had
        self.homes: dict[tuple[Hashable, int], Home] = {}  # of what is compiled, soon installed too
        self._housed: dict[tuple[Hashable, int], frozenset[int]] = {}  # whose home a region is
        self._extra: dict[tuple[Hashable, int], frozenset[int]] = {}  # entries to give to a region
        self._cooled: set[tuple[Hashable, int]] = set()  # blocks of regions that asked in vain
        self._pending: set[Job] = set()
        self._installed_at: dict[tuple[Hashable, int], NativeRegion] = {}  # by key of the head
        self._whole: dict[tuple[Hashable, int], Compiled] = {}  # installed, by key of the head
        self.heat: dict[Hashable, dict[int, int]] = {}  # entries of blocks of the python engine
        self._jumps: dict[Hashable, JumpCache] = {}
        self.warmth = Warmth(session.cache)
        self.visits = Visits()
        self._given_up: set[tuple[Hashable, int]] = set()  # blocks of regions that did not pay
        self.kept = Kept(session.cache, self.warmth.pcs)
        self._watches: dict[int, Watch] = {}
        self._begun: dict[Hashable, Checksum] = {}  # digests of blocks, by what many have in common
        self._worker = Worker(self._work, self._urgency, wait=wait)
        self.done = self._worker.done

    @property
    def busy(self) -> bool:
        """Whether the compiler is at work."""
        return self._worker.busy

    @property
    def served(self) -> set[int]:
        """The program counters where regions may be entered."""
        return {pc for region in self._installed_at.values() for pc in region.entries}

    @property
    def given_up(self) -> set[int]:
        """The program counters of blocks that should have no region."""
        return {key & PC_MASK for _, key in self._given_up}

    @property
    def inside(self) -> set[int]:
        """The program counters of all blocks of regions."""
        return {pc for compiled in self._whole.values() for pc, _ in compiled.blocks}

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
        """Have a region compiled from a block, or another one entered there as well; once.

        A block of a region was perhaps hot only until the region came: it has to ask twice.
        """
        if (mode, key) in self.asked or key in self.table(mode):
            return
        home, cooled = self.homes.get((mode, key)), (mode, key) in self._cooled
        if home is not None and not home.is_entry and self._session.native_hot:
            if cooled:
                self._ask_entry(mode, key, home.head)
            else:
                self._cool(mode, key)
            return
        origin = None if cooled or home is not None else self._origin(mode, key)
        if origin is None:
            self._submit(Job(mode, key))
        else:
            self._cooled.add((mode, key))
            self._ask_entry(mode, key, origin)

    def enough(self, mode: Hashable, key: int) -> int:
        """After how many entries a block has a region compiled; it has to be much hotter if it was
        in one that did not pay: then there is a loop that others did not let show."""
        hot = self._session.native_hot
        return hot * DOUBT if (mode, key) in self._given_up else hot

    def ask_anew(self, mode: Hashable, key: int) -> None:
        """Have a region compiled from a block that was entered often enough."""
        if (mode, key) in self._given_up:
            self._given_up.remove((mode, key))
            self.asked.discard((mode, key))
        self.ask(mode, key)

    def _origin(self, mode: Hashable, key: int) -> int | None:
        """The head of a region whose indirect jump leaves it for a block."""
        session = self._session
        if session.fetcher(mode) is not None or not session.native_hot:
            return None
        for pc in [pc for pc, target in session.seen() if target == key]:
            home = self.homes.get((mode, pc))
            if home is not None and self._takes_more(mode, home.head):
                return home.head
        return None

    def _takes_more(self, mode: Hashable, head: int) -> bool:
        """Whether a region that is compiled again may have blocks that it has not now."""
        whole = self._whole.get((mode, head))
        return whole is not None and whole.length + USUAL < LARGEST

    def _ask_entry(self, mode: Hashable, key: int, head: int) -> None:
        """Have a region compiled again with a block that can be entered."""
        place = mode, head
        if place not in self._whole:
            self._submit(Job(mode, key))
            return
        self.asked.add((mode, key))
        self._extra[place] = self._extra.get(place, frozenset()) | {key}
        self._submit(Job(mode, head))

    def recall(self, mode: Hashable, key: int, pc: int, address: int, code: bytes) -> None:
        """Install what an earlier run compiled from a block, if there is something."""
        job = Job(mode, key)
        cache, name = self._session.cache, self._name(mode, pc, address, code)
        if (mode, key) in self.asked or not cache.has(name) or self._covered(job):
            return
        found = cache.load(name)
        if found is None:
            return
        compiled = Compiled.of(*found)
        if compiled.pays:
            self._take(job, compiled, name)
        else:
            self._bar(mode, compiled)

    def refine(self) -> None:
        """Have handlers made well that were made in a hurry: the guest runs long enough."""
        tier1 = self._session.tier1
        forms = () if tier1 is None or self.busy else tier1.rough()
        if forms:
            self._worker.submit(Job(forms=forms))

    def ask_forms(self) -> None:
        """Have handlers made for forms that tier 1 has met."""
        tier1 = self._session.tier1
        forms = () if tier1 is None else tier1.wanted()
        if forms:
            self._worker.submit(Job(forms=forms))

    def _submit(self, job: Job) -> None:
        self.asked.add((job.mode, job.key))
        if job not in self._pending:
            self._pending.add(job)
            self._worker.submit(job)

    def _urgency(self, job: Job) -> tuple[int, int]:
        """Handlers first, then regions, by how hot their heads are."""
        if job.forms:
            return 1, 0
        return 0, self.heat.get(job.mode, {}).get(job.key, 0)

    def _name(self, mode: Hashable, pc: int, address: int, code: bytes) -> str:
        """The cache's name for the region that begins with a block."""
        return region_file(pc, self._digest(mode, pc, address, code))

    def _digest(self, mode: Hashable, pc: int, address: int, code: bytes) -> str:
        """What tells a block from all others."""
        session = self._session
        where = mode, session.watched, session.coverage is None
        begun = self._begun.get(where)
        if begun is None:
            circumstances = *conditions(session), self._level, session.coverage is None, mode
            begun = self._begun[where] = summing(repr(circumstances).encode())
        whole = begun.copy()
        whole.update(b"%d %d " % (pc, address) + code)
        return digits(whole)

    def place(self, mode: Hashable, pc: int, code: bytes) -> Place:
        """A block of tier 1, as `warmth` knows it."""
        return Place(pc, int(self._digest(mode, pc, pc, code)[:16], 16))

    # -- in the worker's thread --------------------------------------------------------------------

    def _work(self, job: Job) -> Compiled | Made | Covered | None:
        if job.forms:
            assert self._session.tier1 is not None
            return self._session.tier1.compile(job.forms)
        if self._covered(job):
            return Covered()
        compiled = self._compiled(job)
        if compiled is not None:
            self._house(job, compiled)
        return compiled

    def _covered(self, job: Job) -> bool:
        """Whether a region was compiled with this block in it after this one was asked for."""
        home = self.homes.get((job.mode, job.key))
        if home is None or home.head == job.key:
            return False
        return home.is_entry or self._session.native_hot > 0

    def _compiled(self, job: Job) -> Compiled | None:
        from emu.engines.native.build import RegionBuilder  # not needed for what is on the disk
        from emu.engines.native.compiler import borrowed

        place = job.mode, job.key
        before, extra = self._whole.get(place), self._extra.get(place, ())
        builder = RegionBuilder(self._session, *place, before, extra)
        with borrowed(self._level) as compiler:
            compiled = builder.compile(compiler)
        if compiled is not None:
            self._session.cache.save(self._own_name(job, compiled), *compiled.content())
            self.kept.note(compiled.first[0])
        return compiled

    def _house(self, job: Job, compiled: Compiled) -> None:
        """Note where blocks are; those of other regions stay theirs.

        Both threads come here, so nobody goes through a dictionary or set that may be changing.
        """
        entries, housed = set(self._entries(job.mode, compiled)), set()
        for (pc, _), (address, *_) in zip(compiled.blocks, compiled.code_ranges, strict=True):
            key = self._session.key(job.mode, pc, address)
            home = self.homes.get((job.mode, key))
            if home is None or job.key in (home.head, key):
                self.homes[job.mode, key] = Home(job.key, key in entries, compiled.length)
                housed.add(key)
        place = job.mode, job.key
        gone = self._housed.get(place, frozenset()) - housed
        self._housed[place] = frozenset(housed)
        self._leave(job.mode, job.key, gone)

    def _unhouse(self, mode: Hashable, head: int) -> None:
        """Forget which blocks a region has."""
        self._whole.pop((mode, head), None)
        self._leave(mode, head, self._housed.pop((mode, head), frozenset()))

    def _leave(self, mode: Hashable, head: int, gone: frozenset[int]) -> None:
        """Forget that blocks are in a region."""
        for key in gone:
            home = self.homes.get((mode, key))
            if home is not None and home.head == head:
                self.homes.pop((mode, key), None)

    def _entries(self, mode: Hashable, compiled: Compiled) -> list[int]:
        """The keys of a region's entries."""
        return [self._session.key(mode, pc, address) for pc, address, _ in compiled.entries]

    # -- installing --------------------------------------------------------------------------------

    def install(self) -> None:
        """Take what the worker has done."""
        while self._worker.done:
            job, result = self._worker.take()
            self._pending.discard(job)
            if job.forms:
                assert self._session.tier1 is not None
                self._session.tier1.install(result)
                self.ask_forms()
            elif isinstance(result, Covered):
                self._cool(job.mode, job.key)
            elif result is not None:
                self._take(job, result, self._own_name(job, result))

    def _cool(self, mode: Hashable, key: int) -> None:
        """Let a block that is in a region by now ask again if it goes on being entered."""
        self._cooled.add((mode, key))
        self.asked.discard((mode, key))
        self.heat.get(mode, {}).pop(key, None)
        self._session.cool(mode, key)

    def _own_name(self, job: Job, compiled: Compiled) -> str:
        """The cache's name of a region that this session has compiled."""
        return self._name(job.mode, *compiled.first)

    def _take(self, job: Job, compiled: Compiled, name: str) -> None:
        """Install a region if its code is there."""
        if not self._fits(job.mode, compiled):
            self.asked.discard((job.mode, job.key))
            self._unhouse(job.mode, job.key)
            return
        if len(self._watches) >= MOST_REGIONS * 8:
            self._session.forget()
        try:
            library = linker().link(compiled.image)
        except MemoryError:
            self._session.forget()
            return
        self._offer(self._installed(job, compiled, name, library), job.key)
        self.asked.add((job.mode, job.key))
        self._missing(job, compiled)

    def _missing(self, job: Job, compiled: Compiled) -> None:
        """Entries that were asked for too late, or of blocks that are no longer part."""
        place = job.mode, job.key
        missing = self._extra.get(place, frozenset()) - set(self._entries(job.mode, compiled))
        if not missing:
            return
        late = {k for k in missing if self.homes.get((job.mode, k), _NOWHERE).head == job.key}
        self._extra[place] = self._extra[place] - (missing - late)
        for key in missing - late:
            self._cool(job.mode, key)
        if late:
            self._submit(job)

    def _fits(self, mode: Hashable, compiled: Compiled) -> bool:
        """Whether a region may be used now: it may have been made under other circumstances."""
        covers = self._session.coverage is not None
        return (
            compiled.covers == covers
            and self._is_there(mode, compiled)
            and not self._has_breakpoint(compiled)
        )

    def _is_there(self, mode: Hashable, compiled: Compiled) -> bool:
        look = self._session.look
        return all(
            digest(look(mode, address, size)) == wanted
            for address, size, wanted in compiled.code_ranges
        )

    def _has_breakpoint(self, compiled: Compiled) -> bool:
        """Whether a region, made when there were others, would pass over a breakpoint."""
        pc, fetched, _ = compiled.entries[0]
        return any(
            address <= stop + fetched - pc < address + size
            for address, size, _ in compiled.code_ranges
            for stop in self._session.breakpoints
        )

    def _installed(self, job: Job, compiled: Compiled, name: str, library: Library) -> NativeRegion:
        """A region whose code is watched."""
        session, place = self._session, library.addresses[SYMBOL]
        keys = self._entries(job.mode, compiled)
        numbers = {pc: number for pc, _, number in compiled.entries}
        self._retire(job.mode, job.key)
        self._house(job, compiled)
        self._whole[job.mode, job.key] = compiled
        region = NativeRegion(job.mode, name, library, place, numbers, keys)
        self.visits.begin(compiled.entries[0][0])
        self._installed_at[job.mode, job.key] = region
        session.reasons |= {number_of(reason): reason for reason in compiled.reasons}
        for address, size, _ in compiled.code_ranges:
            watch = Watch(region)
            self._watches[id(watch)] = watch
            region.watches.add(id(watch))
            session.watch(watch, job.mode, address, size)
            session.touch(address, size)
        return region

    def _retire(self, mode: Hashable, head: int) -> None:
        """Drop the region that another one with the same head replaces."""
        old = self._installed_at.pop((mode, head), None)
        if old is not None:
            self._session.code.forget(set(old.watches))

    def _offer(self, region: NativeRegion, head: int) -> None:
        """Let a region be entered: at its head in any case, elsewhere if nobody else serves."""
        table = self.table(region.mode)
        for key, pc in zip(region.keys, region.entries, strict=True):
            if key == head or key not in table:
                table[key] = region
                self.enter(region, pc)

    def enter(self, region: NativeRegion, pc: int) -> None:
        """Let native code find a region at one of its entries."""
        number = region.entries[pc]
        self.jumps(region.mode).enter(pc, region.address, number)
        if self._session.tier1 is not None:
            self._session.tier1.arena.offer(region.mode, pc, region.address, number)

    # -- judging -----------------------------------------------------------------------------------

    def judge(self) -> None:
        """Give up the regions that are left too soon, in all runs."""
        for place, region in list(self._installed_at.items()):
            compiled = self._whole.get(place)  # None: what was to replace it is of no use
            if compiled is not None and not self.visits.pay(compiled.entries[0][0]):
                self._session.cache.save(region.name, *compiled._replace(pays=False).content())
                self._session.code.forget(set(region.watches))
                self._bar(region.mode, compiled)

    def _bar(self, mode: Hashable, compiled: Compiled) -> None:
        """Let no block of a region ask for one."""
        for (pc, _), (address, *_) in zip(compiled.blocks, compiled.code_ranges, strict=True):
            place = mode, self._session.key(mode, pc, address)
            self._given_up.add(place)
            self.asked.add(place)
            self._session.cool(*place)

    # -- dropping ----------------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop everything."""
        for table in self.tables.values():
            table.clear()
        self.asked.clear()
        self.heat.clear()
        self.homes.clear()
        self._housed.clear()
        self._whole.clear()
        self._extra.clear()
        self._cooled.clear()
        self._given_up.clear()
        self._installed_at.clear()
        self._watches.clear()
        for jumps in self._jumps.values():
            jumps.clear()

    def drop(self, gone: set[int]) -> None:
        """Drop the regions behind watches (by their ids): their code has changed."""
        for watch in [self._watches.pop(i) for i in gone & self._watches.keys()]:
            self._drop(watch.region)

    def _drop(self, region: NativeRegion) -> None:
        table, jumps = self.table(region.mode), self.jumps(region.mode)
        if self._installed_at.get((region.mode, region.keys[0])) is region:
            del self._installed_at[region.mode, region.keys[0]]
        self._unhouse(region.mode, region.keys[0])
        for key, pc in zip(region.keys, region.entries, strict=True):
            self.heat.get(region.mode, {}).pop(key, None)
            self.asked.discard((region.mode, key))
            if table.get(key) is region:
                del table[key]
                if self._session.tier1 is not None:
                    self._session.tier1.arena.withdraw(region.mode, pc, region.address)
            jumps.remove(pc, region.address)
