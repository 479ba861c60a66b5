"""The page that a domain and the monitor share: events, the virtual interrupt flag, time."""

from __future__ import annotations

from typing import Final, cast

from emu.pc.machine import PcMachine
from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.clock import VirtualClock

_BITS: Final = 32


class SharedInfo:
    """By its machine address, whatever the guest has mapped."""

    def __init__(self, below: PcMachine, address: int) -> None:
        self._memory = below.memory
        self.address = address

    def word(self, offset: int) -> int:
        """32 bits."""
        return cast(int, self._memory.load(self.address + offset, 4))

    def put_word(self, offset: int, value: int) -> None:
        """32 bits."""
        self._memory.store(self.address + offset, 4, value)

    # -- the virtual interrupt flag ----------------------------------------------------------

    @property
    def masked(self) -> bool:
        """Whether no event is to be delivered: what IF 0 is on a PC."""
        return bool(self._memory.load(self.address + xen.UPCALL_MASK, 1))

    @masked.setter
    def masked(self, value: bool) -> None:
        self._memory.store(self.address + xen.UPCALL_MASK, 1, int(value))

    @property
    def pending(self) -> bool:
        """Whether an event waits."""
        return bool(self._memory.load(self.address + xen.UPCALL_PENDING, 1))

    # -- events ------------------------------------------------------------------------------

    def is_pending(self, port: int) -> bool:
        """Whether a port's event has not been taken note of."""
        return bool(self.word(xen.EVENTS_PENDING + port // _BITS * 4) >> port % _BITS & 1)

    def raise_event(self, port: int) -> bool:
        """Let an event be pending at a port; whether the VCPU is to be told of it."""
        offset, bit = port // _BITS * 4, 1 << port % _BITS
        self.put_word(xen.EVENTS_PENDING + offset, self.word(xen.EVENTS_PENDING + offset) | bit)
        if self.word(xen.EVENTS_MASK + offset) & bit:
            return False
        self._select(port)
        return True

    def unmask(self, port: int) -> bool:
        """Let a port's events through; whether one waited."""
        place = xen.EVENTS_MASK + port // _BITS * 4
        self.put_word(place, self.word(place) & ~(1 << port % _BITS))
        if not self.is_pending(port):
            return False
        self._select(port)
        return True

    def clear(self, port: int) -> None:
        """A port is closed: nothing is pending there."""
        place = xen.EVENTS_PENDING + port // _BITS * 4
        self.put_word(place, self.word(place) & ~(1 << port % _BITS))

    def _select(self, port: int) -> None:
        selected = self.word(xen.PENDING_SELECTOR) | 1 << port // _BITS
        self.put_word(xen.PENDING_SELECTOR, selected)
        self._memory.store(self.address + xen.UPCALL_PENDING, 1, 1)

    # -- what is put there once --------------------------------------------------------------

    def begin(self, clock: VirtualClock, frames: int) -> None:
        """Everything masked; time is what RDTSC shows, scaled."""
        self.masked = True
        for offset in range(0, xen.PORTS // 8, 4):
            self.put_word(xen.EVENTS_MASK + offset, 0xFFFFFFFF)
        multiplier, shift = clock.scale()
        self._write(xen.VCPU_TIME, xen.TIME_INFO.pack(2, 0, 0, multiplier, shift))
        self._write(xen.WALL_CLOCK, xen.WALL_CLOCK_INFO.pack(2, clock.seconds, 0))
        self.put_word(xen.MAX_PHYSICAL_FRAME, frames)

    def _write(self, offset: int, data: bytes) -> None:
        self._memory.physical.write(self.address + offset, data)
