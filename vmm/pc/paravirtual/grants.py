"""Grants: a domain lets another map a frame of its, or takes one over (grant tables, version 1).

What is granted stands in the granting domain's table, a page that it shares with the monitor. A
mapping is an entry of the mapping domain's page table, put there by the monitor and known by its
handle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emu.memory import PAGE_BITS, PAGE_SIZE
from emu.pc.machine import PcMachine
from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.frames import FrameTable, Kind
from vmm.pc.paravirtual.interface import GrantStatus
from vmm.pc.paravirtual.refusal import Refusal

if TYPE_CHECKING:
    from vmm.pc.paravirtual.domain import Domain

ENTRIES: Final = PAGE_SIZE // xen.GRANT_ENTRY.size
MOST_MAPPINGS: Final = 1024
_USER_PAGE: Final = 0x5  # present, and ring 3's as well
_WRITABLE: Final = 2


@dataclass(frozen=True, slots=True)
class Mapped:
    """A grant that is mapped: whose, which, the frame, the page table's entry, if writable."""

    domain: int
    reference: int
    frame: int
    entry: int
    writable: bool


class GrantError(Exception):
    """One grant operation has failed; the others of the call go on."""

    def __init__(self, status: GrantStatus) -> None:
        super().__init__(status.name)
        self.status = status


class Grants:
    """What a domain grants, in the page at `table`, and what it has mapped of others'."""

    def __init__(
        self, below: PcMachine, frames: FrameTable, domain: Domain, domains: Mapping[int, Domain],
        table: int,
    ) -> None:  # fmt: skip
        self._below = below
        self._frames = frames
        self._domain = domain
        self._domains = domains
        self.table = table
        self.mapped: dict[int, Mapped] = {}
        self._next = 0
        domain.tables.torn_down = self._torn_down

    # -- a grant's entry ---------------------------------------------------------------------

    def entry(self, reference: int) -> tuple[int, int, int]:
        """Flags, domain and frame of a grant."""
        if reference >= ENTRIES:
            raise GrantError(GrantStatus.BAD_GNTREF)
        where = self.table + reference * xen.GRANT_ENTRY.size
        flags, domain, frame = xen.GRANT_ENTRY.unpack(
            self._below.memory.physical.read(where, xen.GRANT_ENTRY.size)
        )
        return flags, domain, frame

    def put_flags(self, reference: int, flags: int) -> None:
        """Tell the granting domain what is done with it."""
        self._below.memory.store(self.table + reference * xen.GRANT_ENTRY.size, 2, flags)

    def _uses(self, reference: int, *, writing: bool) -> bool:
        """Whether anybody has a grant of this domain mapped (for writing)."""
        return any(
            one.domain == self._domain.number
            and one.reference == reference
            and (one.writable or not writing)
            for other in self._domains.values()
            for one in other.grants.mapped.values()
        )

    def _marked(self, reference: int) -> None:
        """Let the entry say whether it is in use."""
        flags, _, _ = self.entry(reference)
        flags &= ~(xen.GRANT_READING | xen.GRANT_WRITING)
        if self._uses(reference, writing=False):
            flags |= xen.GRANT_READING
        if self._uses(reference, writing=True):
            flags |= xen.GRANT_WRITING
        self.put_flags(reference, flags)

    # -- mapping -----------------------------------------------------------------------------

    def find(self, number: int) -> Domain:
        """The other domain."""
        domain = self._domains.get(number)
        if domain is None:
            raise GrantError(GrantStatus.BAD_DOMAIN)
        return domain

    def map(self, address: int, flags: int, reference: int, number: int) -> tuple[int, int]:
        """Map a grant at a linear address; its handle and frame."""
        other = self.find(number)
        if not flags & xen.HOST_MAP or flags & ~(xen.HOST_MAP | xen.MAP_READONLY):
            raise GrantError(GrantStatus.GENERAL_ERROR)
        writable = not flags & xen.MAP_READONLY
        frame = other.grants.granted(reference, self._domain.number, writable=writable)
        entry = self._place(address)
        if len(self.mapped) >= MOST_MAPPINGS:
            raise GrantError(GrantStatus.NO_DEVICE_SPACE)
        self._take(frame, writable=writable)
        self._domain.tables.put_granted(
            entry, frame << PAGE_BITS | _USER_PAGE | _WRITABLE * writable
        )
        handle, self._next = self._next, self._next + 1
        self.mapped[handle] = Mapped(number, reference, frame, entry, writable)
        other.grants._marked(reference)
        return handle, frame

    def granted(self, reference: int, to: int, *, writable: bool) -> int:
        """The frame of a grant that a domain may use in this way."""
        flags, domain, frame = self.entry(reference)
        if flags & xen.GRANT_TYPE != xen.PERMIT_ACCESS or domain != to:
            raise GrantError(GrantStatus.BAD_GNTREF)
        if writable and flags & xen.GRANT_READONLY:
            raise GrantError(GrantStatus.GENERAL_ERROR)
        try:
            found = self._frames.of(self._domain.number, frame)
        except Refusal:
            raise GrantError(GrantStatus.BAD_PAGE) from None
        if found.shared:
            raise GrantError(GrantStatus.BAD_PAGE)
        return frame

    def _take(self, frame: int, *, writable: bool) -> None:
        if writable:
            try:
                self._frames.take(frame, Kind.WRITABLE)
            except Refusal:
                raise GrantError(GrantStatus.GENERAL_ERROR) from None
        self._frames[frame].references += 1

    def _place(self, address: int) -> int:
        """The page table's entry for a linear address, which a grant may be put into."""
        tables = self._domain.tables
        try:
            entry = tables.entry_of(self._domain.directory << PAGE_BITS, address)
        except Refusal:
            raise GrantError(GrantStatus.BAD_VIRT_ADDR) from None
        if not tables.is_table_entry(entry):
            raise GrantError(GrantStatus.BAD_VIRT_ADDR)
        return entry

    def unmap(self, address: int, handle: int) -> None:
        """End a mapping, which must be at that address, unless that is 0."""
        one = self.mapped.get(handle)
        if one is None:
            raise GrantError(GrantStatus.BAD_HANDLE)
        if address and self._entry_at(address) != one.entry:
            raise GrantError(GrantStatus.BAD_VIRT_ADDR)
        self._domain.tables.end_granted(one.entry)
        self._end(handle, one)

    def _entry_at(self, address: int) -> int:
        try:
            return self._domain.tables.entry_of(self._domain.directory << PAGE_BITS, address)
        except Refusal:
            raise GrantError(GrantStatus.BAD_VIRT_ADDR) from None

    def _end(self, handle: int, one: Mapped) -> None:
        del self.mapped[handle]
        self._frames[one.frame].references -= 1
        if one.writable:
            self._frames.give_back(one.frame)
        self._domains[one.domain].grants._marked(one.reference)

    def _torn_down(self, entry: int) -> None:
        """The table in which a grant was mapped is none any more."""
        self._domain.tables.granted.discard(entry)
        self._below.memory.store(entry, 4, 0)
        for handle, one in list(self.mapped.items()):
            if one.entry == entry:
                self._end(handle, one)

    # -- transfer ----------------------------------------------------------------------------

    def transfer(self, frame: int, number: int, reference: int) -> None:
        """Give a frame to another domain that is ready to take one; it is nobody else's then."""
        other = self.find(number)
        try:
            self._frames.of(self._domain.number, frame)
        except Refusal:
            raise GrantError(GrantStatus.BAD_PAGE) from None
        if other is self._domain or not self._frames.is_free(frame):
            raise GrantError(GrantStatus.BAD_PAGE)
        flags, domain, _ = other.grants.entry(reference)
        if flags & xen.GRANT_TYPE != xen.ACCEPT_TRANSFER or domain != self._domain.number:
            raise GrantError(GrantStatus.BAD_GNTREF)
        if flags & (xen.TRANSFER_COMMITTED | xen.TRANSFER_COMPLETED):
            raise GrantError(GrantStatus.GENERAL_ERROR)
        self._frames[frame].owner = number
        self._domain.forget(frame)
        other.receive(frame)
        self._below.memory.store(
            other.grants.table + reference * xen.GRANT_ENTRY.size + 4, 4, frame
        )
        other.grants.put_flags(reference, flags | xen.TRANSFER_COMMITTED | xen.TRANSFER_COMPLETED)

    def setup(self, frames: int) -> list[int]:
        """The frames of the table, if so many are there."""
        if frames > 1:
            raise GrantError(GrantStatus.GENERAL_ERROR)
        return [self.table >> PAGE_BITS] * frames
