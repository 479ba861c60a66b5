"""A domain: one guest, its registers while it does not run, and what the monitor keeps for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emu.devices.ns16550 import SerialBackend
from emu.memory import PAGE_BITS
from emu.pc.machine import PcMachine
from vmm.monitors.efficiency import Efficiency
from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.clock import VirtualClock
from vmm.pc.paravirtual.descriptors import DescriptorTables
from vmm.pc.paravirtual.events import EventChannels
from vmm.pc.paravirtual.frames import FrameTable, Kind
from vmm.pc.paravirtual.grants import Grants
from vmm.pc.paravirtual.guest_memory import GuestMemory
from vmm.pc.paravirtual.own_pages import EVENT_VECTOR, OwnPages, Trap
from vmm.pc.paravirtual.page_tables import PageTables
from vmm.pc.paravirtual.shared_info import SharedInfo
from vmm.pc.shadow import Frames


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
        self.values = below.state.save()
        self.count = 0  # its time: instructions, and what it slept
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
        self.own = OwnPages(below, pages, len(frames.frames))
        for physical, frame in enumerate(memory):
            self.own.put_physical(frame, physical)
        self.tables = PageTables(below, frames, number, self.own.entries)
        self.descriptors = DescriptorTables(below, frames, number, self.own.table, self.own.empty)
        self.shared = SharedInfo(below, self._lent(pages))
        self.shared.begin(clock, len(memory))
        self.events = EventChannels(self, domains)
        self.grants = Grants(below, frames, self, domains, self._lent(pages))

    def _lent(self, pages: Frames) -> int:
        """A page of the monitor's that the domain may map and write, but never use otherwise."""
        address = pages.take()
        frame = self._frames[address >> PAGE_BITS]
        frame.owner, frame.shared = self.number, True
        frame.kind, frame.typed, frame.references = Kind.WRITABLE, 1, 1
        return address

    # -- its traps ---------------------------------------------------------------------------

    def set_trap(self, vector: int, trap: Trap) -> None:
        """Where a trap is taken from now on; address 0: nowhere."""
        if vector == xen.VECTOR:
            return
        self.traps.pop(vector, None)
        if trap.address:
            self.traps[vector] = trap
        self.own.set_gate(vector, self.traps.get(vector))

    def set_event_callback(self, selector: int, address: int) -> None:
        """Where events are taken."""
        self.event_callback = selector, address
        self.own.set_gate(EVENT_VECTOR, Trap(0, selector, address))

    # -- its frames --------------------------------------------------------------------------

    def forget(self, frame: int) -> None:
        """It is not this domain's any more."""
        if frame in self.memory:
            self.memory[self.memory.index(frame)] = -1
        self.own.put_physical(frame, xen.INVALID_FRAME)

    def receive(self, frame: int) -> None:
        """It is this domain's now, which will say for what."""
        if -1 in self.memory:
            self.memory[self.memory.index(-1)] = frame
        else:
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
