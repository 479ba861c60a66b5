"""What the monitor has at the top of a domain's linear addresses.

At FC000000h lies the machine-to-physical table, read-only, and behind it what the processor needs:
the pages of GDT and LDT, a TSS, and two IDTs. One has the gates that the guest asked for and is
used by deliveries alone; the other, with nothing but the fast gate, is there while the guest runs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from emu.memory import PAGE_SIZE
from emu.pc.machine import PcMachine
from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.page_tables import MONITORS
from vmm.pc.shadow import Frames

# Pages of the second table, at OWN_LINEAR: the GDT's, the LDT's, and one each.
GDT_PAGE, LDT_PAGE, TSS_PAGE, IDT_PAGE, FAST_IDT_PAGE = 0, 16, 32, 33, 34
LDT_PAGES: Final = 16
OWN_LINEAR: Final = xen.SEGMENT_END
GDT_LIMIT: Final = 0xE037  # the last flat segment ends there
EVENT_VECTOR: Final = xen.VECTOR  # no guest's trap has it; its gate is for nobody's INT n
IO_MAP: Final = 102  # in the TSS: where the I/O permission map begins, which is nowhere
_ESP1: Final = 12  # SS1 stands behind it
_MAPPED: Final = 0x63  # present, writable, accessed and dirty; the supervisor's
_READ_ONLY: Final = 0x61
_GATE: Final = 0x8E00  # a present interrupt gate of 32 bits
_TRAP_GATE: Final = 0x8F00


@dataclass(frozen=True, slots=True)
class Trap:
    """Where a guest takes a trap: its flags (`TRAP_LEVEL`, `TRAP_MASKS`), CS and EIP."""

    flags: int
    selector: int
    address: int

    def gate(self, kind: int) -> int:
        """As the processor finds it in an IDT."""
        high = self.address & 0xFFFF0000 | kind | (self.flags & xen.TRAP_LEVEL) << 13
        return high << 32 | self.selector << 16 | self.address & 0xFFFF


class OwnPages:
    """`entries` are what every page directory of the domain ends with; `table` is the second page
    table, and `empty` its entry for a page without descriptors."""

    def __init__(self, below: PcMachine, pages: Frames, frames: int) -> None:
        """`frames`: how many the machine has."""
        self._memory = below.memory
        tables = [pages.take() for _ in range(2)]
        self.table = tables[1]
        self.entries = [table | _MAPPED for table in tables] + [0] * (1024 - MONITORS - 2)
        self.empty = pages.take() | _READ_ONLY
        self._places = {place: pages.take() for place in (TSS_PAGE, IDT_PAGE, FAST_IDT_PAGE)}
        self._places[GDT_PAGE + xen.FIRST_RESERVED_GDT_PAGE] = pages.take()
        self._known = [pages.take() for _ in range(-(-4 * frames // PAGE_SIZE))]
        self._map_machine_to_physical(tables[0])
        self._map()
        self._fill()

    def _map_machine_to_physical(self, table: int) -> None:
        """The domain's own: what it may know of the machine's frames is which are its."""
        for place, page in enumerate(self._known):
            self._memory.store(table + 4 * place, 4, page | _READ_ONLY)
            self._memory.physical.write(page, b"\xff" * PAGE_SIZE)

    def _map(self) -> None:
        for place in range(LDT_PAGE + LDT_PAGES):
            self._memory.store(self.table + 4 * place, 4, self.empty)
        for place, page in self._places.items():
            self._memory.store(self.table + 4 * place, 4, page | _MAPPED)

    def _fill(self) -> None:
        reserved = self.page(xen.FIRST_RESERVED_GDT_PAGE)
        for selector, descriptor in xen.FLAT.items():
            place = (selector & ~7) - xen.FIRST_RESERVED_GDT_ENTRY * 8
            self._memory.store(reserved + place, 8, descriptor)
        self._memory.store(self.page(TSS_PAGE) + IO_MAP, 2, 0xFFFF)

    def page(self, place: int) -> int:
        """Where a page of the second table lies in the machine."""
        return self._places[place]

    @staticmethod
    def linear(place: int) -> int:
        """Where the processor finds it."""
        return OWN_LINEAR + place * PAGE_SIZE

    def put_physical(self, frame: int, physical: int) -> None:
        """Say in the table which of the guest's frames a machine frame is."""
        page = self._known[frame * 4 // PAGE_SIZE]
        self._memory.store(page + frame * 4 % PAGE_SIZE, 4, physical)

    def set_gate(self, vector: int, trap: Trap | None) -> None:
        """Where a trap is taken; None: nowhere."""
        self._put(IDT_PAGE, vector, 0 if trap is None else trap.gate(_GATE))
        if vector == xen.FAST_VECTOR:
            fast = trap is not None and not trap.flags & xen.TRAP_MASKS
            self._put(FAST_IDT_PAGE, vector, trap.gate(_TRAP_GATE) if fast and trap else 0)

    def _put(self, page: int, vector: int, gate: int) -> None:
        self._memory.store(self.page(page) + 8 * vector, 8, gate)

    def set_kernel_stack(self, selector: int, pointer: int) -> None:
        """Where a trap from ring 3 finds the kernel's stack."""
        where = self.page(TSS_PAGE) + _ESP1
        self._memory.physical.write(where, struct.pack("<II", pointer, selector))
