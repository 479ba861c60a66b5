"""Linear memory: what `isa.x86.paging` says of an address, remembered as a TLB does."""

from __future__ import annotations

from collections.abc import Hashable

from emu.engines.reference import Evaluation
from emu.memory import EXECUTE, PAGE_BITS, PAGE_MASK, READ, WRITE, pieces_of
from emu.pc.memory import PhysicalMap, SplitMemory
from emu.state import State
from isa.fault import Fault
from isa.hints import Any, Final, cast
from isa.x86.mode import Mode
from isa.x86.paging import walk
from isa.x86.registers import CPL, CR3, PG, PGE, PSE, WP
from isa.x86.vectors import PAGE_FAULT

USER: Final = 3  # the CPL that has the user's rights
PAGE_ONLY, ALL_BUT_GLOBAL, ALL = 0, 1, 2
"""What an exit "invalidate" asks for."""
ENTRY_BITS: Final = 32  # of an entry of the page tables
MOST_WALKS: Final = 1 << 16  # remembered at a time
_ADDRESS: Final = 0xFFFFFFFF
_GLOBAL, _LARGE = 1 << 32, 1 << 33  # what a walk's value says beside the address
_LARGE_PAGES: Final = 10  # an address' bits between a page of 4 KiB and one of 4 MiB
_CONTROLS: Final = (CR3.slot, PG.slot, WP.slot, PSE.slot, PGE.slot)

Entries = tuple[tuple[int, int], ...]
"""What a walk has read: physical addresses and the words there."""


class WalkEvaluation(Evaluation):
    """A walk of the page tables, which keeps what it has read and whether it has written."""

    def __init__(self, state: State, fields: dict[str, int]) -> None:
        super().__init__(state, fields)
        self.entries: list[tuple[int, int]] = []
        self.wrote = False

    def do_load(self, node: Any, address: int) -> int | Fault | None:
        """Loads of entries are kept."""
        value = super().do_load(node, address)
        if node.attribute[1] == ENTRY_BITS:
            self.entries.append((address, cast(int, value)))
        return value

    def do_store(self, node: Any, address: int, value: int) -> Fault | None:
        """Stores are told of."""
        self.wrote = True
        return super().do_store(node, address, value)


class LinearMemory(SplitMemory):
    """Linear addresses with the rights of one side: the user's (CPL 3) or the supervisor's.

    What it caches are values of the walk, from the first access until `invalidate`: a TLB that
    never forgets on its own. A walk that was done before under the same control registers, and
    whose entries are as they were, need not be evaluated again (`_known`).
    """

    def __init__(self, state: State, physical: PhysicalMap, *, user: bool) -> None:
        super().__init__(physical.physical)
        self._state = state
        self._map = physical
        self._user = user
        self._global: set[int] = set()  # pages whose translation is global
        self.local: set[int] = set()  # pages of other translations
        self._large: dict[int, set[int]] = {}  # those that are part of a page of 4 MiB, by that
        self._known: dict[Hashable, tuple[Entries, int]] = {}
        physical.listeners.append(self.changed)

    def _walk(self, address: int, access: int) -> int | Fault:
        found = self._translated(address, access)
        if isinstance(found, Fault):
            return found
        page = address >> PAGE_BITS
        self._note(page, found)
        where = self._place(found, access)
        self._cached[access][page] = where & ~PAGE_MASK
        if access == WRITE:  # what can be written can be read from now on, on every engine
            readable = self._place(found, READ)
            self._cached[READ].setdefault(page, readable & ~PAGE_MASK)
        return where

    def _note(self, page: int, found: int) -> None:
        """Somebody keeps a page's translation, so that its change will have to be told."""
        if found & _GLOBAL:
            self._global.add(page)
            self.local.discard(page)
        elif page not in self._global:
            self.local.add(page)
        if found & _LARGE:
            self._large.setdefault(page >> _LARGE_PAGES, set()).add(page)

    def _place(self, found: int, access: int) -> int:
        """Where in storage the value of a walk leads."""
        return self._map.place(found & _ADDRESS, access)

    def _translated(self, address: int, access: int) -> int | Fault:
        """The walk's value for an address; without paging, the address itself."""
        if not self._state.values[PG.slot]:
            return address
        known = self._remembered(address, access)
        if known is not None:
            return known
        evaluation, value = self._evaluated(address, write=access == WRITE, user=self._user)
        if isinstance(value, Fault):
            evaluation.take_back()
            return value
        if not evaluation.wrote:
            self._remember(address, access, tuple(evaluation.entries), value & ~PAGE_MASK)
        return value

    def _key(self, address: int, access: int) -> Hashable:
        controls = [self._state.values[slot] for slot in _CONTROLS]
        return address >> PAGE_BITS, access == WRITE, *controls

    def _remember(self, address: int, access: int, entries: Entries, value: int) -> None:
        if len(self._known) >= MOST_WALKS:
            self._known.clear()
        self._known[self._key(address, access)] = entries, value

    def _remembered(self, address: int, access: int) -> int | None:
        """The value of a walk that would read again what it has read before, and change nothing."""
        known = self._known.get(self._key(address, access))
        if known is None or any(self._map.load(at, 4) != word for at, word in known[0]):
            return None
        return known[1] | address & PAGE_MASK

    def peek(self, address: int) -> int | None:
        """The physical address behind one, by the page tables as they are; nothing is changed or
        remembered. None if no page is there."""
        if not self._state.values[PG.slot]:
            return address
        evaluation, value = self._evaluated(address, write=False, user=False)
        evaluation.take_back()
        return None if isinstance(value, Fault) else value & _ADDRESS

    def tables_of(self, address: int) -> list[int]:
        """Physical addresses of the entries by which an address is translated now; nothing is
        changed."""
        evaluation, _ = self._evaluated(address, write=False, user=False)
        evaluation.take_back()
        return [at for at, _ in evaluation.entries]

    def _evaluated(
        self, address: int, *, write: bool, user: bool
    ) -> tuple[WalkEvaluation, int | Fault]:
        """A walk of the tables, accessed and dirty bits included, and its value."""
        fields = {"linear": address, "write": int(write), "user": int(user)}
        evaluation, trace = WalkEvaluation(self._state, fields), walk()
        fault = evaluation.region(trace.region)
        assert trace.value is not None
        return evaluation, evaluation.values[id(trace.value)] if fault is None else fault

    def without_change(self, address: int, access: int) -> int | Fault:
        """Where an address lies, a fault also if finding out would change anything. Engines keep
        code that is still there without asking anew."""
        cached = self._cached[access].get(address >> PAGE_BITS)
        if cached is not None:
            return cached + (address & PAGE_MASK)
        value = address if not self._state.values[PG.slot] else self._remembered(address, access)
        if value is None:
            return Fault(PAGE_FAULT, 0, address)
        self._note(address >> PAGE_BITS, value)
        return self._place(value, access)

    # -- forgetting ------------------------------------------------------------------------------

    def parts(self, page: int) -> set[int]:
        """A page, or all that is known of the page of 4 MiB in which it lies."""
        return {page} | self._large.get(page >> _LARGE_PAGES, set())

    def forget_pages(self, pages: set[int]) -> None:
        """Forget some pages, global or not."""
        self._global -= pages
        self.local -= pages
        for page in pages:
            self._large.get(page >> _LARGE_PAGES, set()).discard(page)
        self.pages_changed(pages)

    def changed(self) -> None:
        """Forget everything."""
        self._global.clear()
        self.local.clear()
        self._large.clear()
        super().changed()


class UserMemory(LinearMemory):
    """The user's side, and all code: that is fetched with the rights of the present CPL."""

    def __init__(self, state: State, physical: PhysicalMap, supervisor: LinearMemory) -> None:
        super().__init__(state, physical, user=True)
        self._supervisor = supervisor

    def translate(self, address: int, access: int) -> int | Fault:
        """See `TranslatedMemory`."""
        if access == EXECUTE and self._state.values[CPL.slot] != USER:
            return self._supervisor.translate(address, EXECUTE)
        return super().translate(address, access)

    def privilege_in(self, mode: Hashable) -> int:
        """See `TranslatedMemory`: the CPL, of which only 3 is the user's."""
        return _privilege(cast(Mode, mode).cpl)

    def still(self, address: int, privilege: int) -> int | Fault:
        """See `TranslatedMemory`."""
        side = self if privilege == USER else self._supervisor
        return side.without_change(address, EXECUTE)

    def fetch(self, address: int, size: int) -> tuple[bytes, Fault | None]:
        """See `Memory`: code of the next page is fetched only if the instruction goes on there, but
        is shown if that changes nothing."""
        (start, count), *rest = pieces_of(address, size)
        where = self.translate(start, EXECUTE)
        if isinstance(where, Fault):
            return b"", where
        code = self.physical.read(where, count)
        if rest:
            code += self.look(*rest[0], _privilege(self._state.values[CPL.slot]))
        return code, None

    def invalidate(self, address: int, what: int) -> None:
        """Forget the page of an address, all pages that are not global, or all.

        INVLPG forgets a page of 4 MiB as a whole (SDM volume 3, section 4.10.4.1), on both sides
        alike, as engines ask only this one what has changed.
        """
        sides = self, self._supervisor
        if what == PAGE_ONLY:
            pages = set().union(*(side.parts(address >> PAGE_BITS) for side in sides))
            for side in sides:
                side.forget_pages(pages)
        elif what == ALL_BUT_GLOBAL:
            self.tell_changed(self._supervisor.local)
            for side in sides:
                side.forget_pages(set(side.local))
        else:
            for side in sides:
                side.changed()


def _privilege(cpl: int) -> int:
    return USER if cpl == USER else 0


def attach_memory(state: State, physical: PhysicalMap) -> UserMemory:
    """Give a processor its address spaces; they forget when its instructions say so."""
    supervisor = LinearMemory(state, physical, user=False)
    user = UserMemory(state, physical, supervisor)
    state.memory |= {"linear": user, "system": supervisor, "physical": physical}
    state.handlers["invalidate"] = user.invalidate
    return user
