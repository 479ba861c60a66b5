"""A domain: one guest, its registers while it does not run, and what the monitor keeps for it."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from emu.devices.ns16550 import SerialBackend
from emu.memory import PAGE_BITS, PAGE_SIZE
from emu.pc.machine import PcMachine
from vmm.monitors.efficiency import Efficiency
from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.clock import VirtualClock
from vmm.pc.paravirtual.descriptors import DescriptorTables
from vmm.pc.paravirtual.events import EventChannels
from vmm.pc.paravirtual.frames import FrameTable, Kind
from vmm.pc.paravirtual.grants import Grants
from vmm.pc.paravirtual.guest_memory import GuestMemory
from vmm.pc.paravirtual.page_tables import MONITORS, PageTables
from vmm.pc.paravirtual.shared_info import SharedInfo
from vmm.pc.shadow import Frames

# Pages of the monitor's second table, at OWN_LINEAR: the GDT's, the LDT's, and one each.
GDT_PAGE, LDT_PAGE, TSS_PAGE, IDT_PAGE, FAST_IDT_PAGE = 0, 16, 32, 33, 34
LDT_PAGES: Final = 16
OWN_ENTRIES: Final = 1024 - MONITORS  # of each page directory
OWN_LINEAR: Final = xen.SEGMENT_END
GDT_LIMIT: Final = 0xE037  # the last flat segment ends there
EVENT_VECTOR: Final = xen.VECTOR  # no guest's trap has it; its gate is for nobody's INT n
_MAPPED: Final = 0x63  # present, writable, accessed and dirty; the supervisor's
_READ_ONLY: Final = 0x61
_ESP1: Final = 12  # in the TSS; SS1 stands behind it
_IO_MAP: Final = 102
_GATE: Final = 0x8E00  # a present interrupt gate of 32 bits
_TRAP_GATE: Final = 0x8F00


@dataclass(frozen=True, slots=True)
class Trap:
    """Where a guest takes a trap: its flags (`TRAP_LEVEL`, `TRAP_MASKS`), CS and EIP."""

    flags: int
    selector: int
    address: int


class Domain:
    """`memory` are its frames in the order of its physical addresses."""

    def __init__(
        self,
        number: int,
        below: PcMachine,
        frames: FrameTable,
        pages: Frames,
        memory: Sequence[int],
        domains: Mapping[int, Domain],
        console: SerialBackend,
        clock: VirtualClock,
    ) -> None:
        self.number = number
        self.memory = list(memory)
        self.console = console
        self.clock = clock
        self.efficiency = Efficiency()
        self.values: array[int] = below.state.values[:]
        self.count = 0  # its time: instructions, and what it slept
        self.slept = 0
        self.directory = 0  # the frame that CR3 leads to
        self.traps: dict[int, Trap] = {}
        self.event_callback: tuple[int, int] | None = None
        self.failsafe_callback: tuple[int, int] | None = None
        self.blocked = False
        self.polled: tuple[int, ...] = ()  # ports that end its sleep though events are masked
        self.ended: str | None = None
        self.why = ""
        self.noticed = False  # something happened after which events have to be looked at
        self.reserve: list[int] = []  # frames that it gave up and may have again
        self.guest = GuestMemory(below)
        self._below = below
        self._frames = frames
        storage = below.memory.physical.array
        for frame in memory:
            frames[frame].owner = number
            storage[frame << PAGE_BITS : frame + 1 << PAGE_BITS] = 0  # nobody's bytes are left
        self._own = [pages.take() for _ in range(2)]  # page tables
        self._pages = {place: pages.take() for place in (TSS_PAGE, IDT_PAGE, FAST_IDT_PAGE)}
        self._pages[GDT_PAGE + xen.FIRST_RESERVED_GDT_PAGE] = pages.take()
        self._empty = pages.take() | _READ_ONLY  # a page of zeros: of no descriptors
        self._map_own()
        self._map_machine_to_physical(pages)
        self.tables = PageTables(
            below,
            frames,
            number,
            [table | _MAPPED for table in self._own] + [0] * (OWN_ENTRIES - 2),
        )
        self.descriptors = DescriptorTables(below, frames, number, self._own[1], self._empty)
        self.shared = SharedInfo(below, self._lent(pages))
        self.shared.begin(clock, len(memory))
        self.events = EventChannels(self, domains)
        self.grants = Grants(below, frames, self, domains, self._lent(pages))

    # -- what the monitor has for it ---------------------------------------------------------

    def _lent(self, pages: Frames) -> int:
        """A page of the monitor's that the domain may map and write, but never use otherwise."""
        address = pages.take()
        frame = self._frames[address >> PAGE_BITS]
        frame.owner, frame.shared = self.number, True
        frame.kind, frame.typed, frame.references = Kind.WRITABLE, 1, 1
        return address

    def _map_own(self) -> None:
        table = self._own[1]
        for place in range(LDT_PAGE + LDT_PAGES):
            self._below.memory.store(table + 4 * place, 4, self._empty)
        for place, page in self._pages.items():
            self._below.memory.store(table + 4 * place, 4, page | _MAPPED)
        reserved = self._pages[GDT_PAGE + xen.FIRST_RESERVED_GDT_PAGE]
        for selector, descriptor in xen.FLAT.items():
            place = (selector & ~7) - xen.FIRST_RESERVED_GDT_ENTRY * 8
            self._below.memory.store(reserved + place, 8, descriptor)
        self._below.memory.store(self._pages[TSS_PAGE] + _IO_MAP, 2, 0xFFFF)

    def _map_machine_to_physical(self, pages: Frames) -> None:
        """Its own table of this: what it may know of the machine's frames is which are its."""
        count = len(self._frames.frames)
        self._m2p = [pages.take() for _ in range(-(-4 * count // PAGE_SIZE))]
        for place, page in enumerate(self._m2p):
            self._below.memory.store(self._own[0] + 4 * place, 4, page | _READ_ONLY)
            self._below.memory.physical.write(page, b"\xff" * PAGE_SIZE)
        for physical, frame in enumerate(self.memory):
            self.put_physical(frame, physical)

    def put_physical(self, frame: int, physical: int) -> None:
        """Say in the table which of the guest's frames a machine frame is."""
        page = self._m2p[frame * 4 // PAGE_SIZE]
        self._below.memory.store(page + frame * 4 % PAGE_SIZE, 4, physical)

    def page(self, place: int) -> int:
        """Where a page of the monitor's second table lies in the machine."""
        return self._pages[place]

    def own_linear(self, place: int) -> int:
        """The linear address of a page of the monitor's second table."""
        return OWN_LINEAR + place * PAGE_SIZE

    # -- its traps ---------------------------------------------------------------------------

    def set_trap(self, vector: int, trap: Trap) -> None:
        """Where a trap is taken from now on; address 0: nowhere."""
        if vector == xen.VECTOR:
            return
        if not trap.address:
            self.traps.pop(vector, None)
            self._put_gate(IDT_PAGE, vector, 0)
        else:
            self.traps[vector] = trap
            self._put_gate(IDT_PAGE, vector, _gate(trap, _GATE | (trap.flags & 3) << 13))
        if vector == xen.FAST_VECTOR:
            fast = trap.address and not trap.flags & xen.TRAP_MASKS
            gate = _gate(trap, _TRAP_GATE | (trap.flags & 3) << 13) if fast else 0
            self._put_gate(FAST_IDT_PAGE, vector, gate)

    def set_event_callback(self, selector: int, address: int) -> None:
        """Where events are taken."""
        self.event_callback = selector, address
        self._put_gate(IDT_PAGE, EVENT_VECTOR, _gate(Trap(0, selector, address), _GATE))

    def _put_gate(self, page: int, vector: int, gate: int) -> None:
        self._below.memory.store(self._pages[page] + 8 * vector, 8, gate)

    def set_kernel_stack(self, selector: int, pointer: int) -> None:
        """Where a trap from ring 3 finds the kernel's stack."""
        where = self._pages[TSS_PAGE] + _ESP1
        self._below.memory.physical.write(where, struct.pack("<II", pointer, selector))

    # -- its frames --------------------------------------------------------------------------

    def forget(self, frame: int) -> None:
        """It is not this domain's any more."""
        if frame in self.memory:
            self.memory[self.memory.index(frame)] = -1
        self.put_physical(frame, xen.INVALID_FRAME)

    def receive(self, frame: int) -> None:
        """It is this domain's now, which will say for what."""
        self.memory.append(frame)

    @property
    def held(self) -> int:
        """How many frames it has."""
        return sum(frame >= 0 for frame in self.memory)

    # -- events ------------------------------------------------------------------------------

    def raise_event(self, port: int) -> None:
        """An event happens at a port."""
        if self.shared.raise_event(port) or port in self.polled:
            self.notice()

    def raise_virq(self, virq: int) -> None:
        """A virtual interrupt, if the guest has bound it."""
        port = self.events.virq_port(virq)
        if port is not None:
            self.raise_event(port)

    def notice(self) -> None:
        """There is an event to look at: no sleep any more."""
        self.noticed, self.blocked, self.polled = True, False, ()
        self.clock.poll = None

    def end(self, how: str, why: str = "") -> None:
        """It runs no more."""
        self.ended, self.why = how, why


def _gate(trap: Trap, attributes: int) -> int:
    low = trap.selector << 16 | trap.address & 0xFFFF
    return (trap.address & 0xFFFF0000 | attributes) << 32 | low
