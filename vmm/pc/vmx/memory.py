"""A guest's linear memory in non-root operation: whose walks are not those of its own processor.

What an engine caches is the value of a walk (`emu.pc.paging`); which walk that is, over nested
tables or of shadow tables, is what a `Walks` says.
"""

from __future__ import annotations

from typing import Protocol

from emu.memory import PAGE_BITS, PAGE_MASK, READ
from emu.pc.memory import PhysicalMap
from emu.pc.paging import LinearMemory, UserMemory
from emu.state import State
from isa.fault import Fault
from isa.x86.vectors import PAGE_FAULT


class Walks(Protocol):
    """What translates. `user`: with the rights of CPL 3."""

    def translated(self, address: int, access: int, *, user: bool) -> int | Fault:
        """The value of a walk, or the fault that it ends with."""

    def remembered(self, address: int, access: int, *, user: bool) -> int | None:
        """The same if finding out changes nothing and lets nobody exit."""

    def place(self, found: int, access: int) -> int:
        """Where in the guest's storage a value leads."""

    def only_once(self) -> bool:
        """Whether the last value holds for one access only, as somebody wants to hear of each."""


class _Guests(LinearMemory):
    """One side of it."""

    walks: Walks

    def _translated(self, address: int, access: int) -> int | Fault:
        return self.walks.translated(address, access, user=self._user)

    def _walk(self, address: int, access: int) -> int | Fault:
        page = address >> PAGE_BITS
        readable = page in self._cached[READ]
        where = super()._walk(address, access)
        if self.walks.only_once():
            self._cached[access].pop(page, None)
            if not readable:  # where it is written, nobody reads
                self._cached[READ].pop(page, None)
        return where

    def _place(self, found: int, access: int) -> int:
        return self.walks.place(found, access)

    def without_change(self, address: int, access: int) -> int | Fault:
        """See `LinearMemory`."""
        cached = self._cached[access].get(address >> PAGE_BITS)
        if cached is not None:
            return cached + (address & PAGE_MASK)
        value = self.walks.remembered(address, access, user=self._user)
        if value is None:
            return Fault(PAGE_FAULT, 0, address)
        self._note(address >> PAGE_BITS, value)
        return self._place(value, access)


class GuestUserMemory(_Guests, UserMemory):
    """The user's side, and all code."""

    def forget(self, pages: set[int]) -> None:
        """Forget some pages on both sides."""
        for side in (self, self._supervisor):
            side.forget_pages(pages)


def attach(state: State, physical: PhysicalMap, walks: Walks) -> GuestUserMemory:
    """Give a processor in non-root operation its linear memory."""
    supervisor = _Guests(state, physical, user=False)
    user = GuestUserMemory(state, physical, supervisor)
    supervisor.walks = user.walks = walks
    state.memory |= {"linear": user, "system": supervisor}
    return user
