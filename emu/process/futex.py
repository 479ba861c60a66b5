"""Futexes: who waits at which word of whose memory, in the order of coming."""

from __future__ import annotations

from emu.process.process import MemoryDescriptor, Process, Sleep

ALL_BITS = 0xFFFFFFFF


class Waiter:
    """A thread in FUTEX_WAIT. It waits as long as `sleep` is what it sleeps in."""

    def __init__(self, process: Process, bits: int) -> None:
        self.process = process
        self.bits = bits
        self.sleep: Sleep | None = None
        self.woken = False

    @property
    def waits(self) -> bool:
        """Whether it still does."""
        return self.process.sleep is self.sleep and not self.woken and self.process.ended is None


class Futexes:
    """The queues of a machine, by memory and address."""

    def __init__(self) -> None:
        self._queues: dict[tuple[int, int], list[Waiter]] = {}

    def queue(self, memory: MemoryDescriptor, address: int) -> list[Waiter]:
        """Those who wait at a word, the first first."""
        key = id(memory), address
        found = [w for w in self._queues.pop(key, []) if w.waits]
        if found:
            self._queues[key] = found
        return found

    def add(self, memory: MemoryDescriptor, address: int, waiter: Waiter) -> None:
        """Let a thread wait; it is about to fall asleep."""
        self.queue(memory, address)
        self._queues.setdefault((id(memory), address), []).append(waiter)

    def wake(self, memory: MemoryDescriptor, address: int, most: int, bits: int = ALL_BITS) -> int:
        """Wake some of those who wait for any of the bits; tells how many."""
        chosen = [w for w in self.queue(memory, address) if w.bits & bits][: max(most, 0)]
        for waiter in chosen:
            waiter.woken = True
        self.queue(memory, address)
        return len(chosen)

    def requeue(self, memory: MemoryDescriptor, address: int, to: int, most: int) -> int:
        """Have some of those who wait at one word wait at another; tells how many."""
        moved = self.queue(memory, address)[: max(most, 0)]
        kept = self._queues.pop((id(memory), address), [])[len(moved) :]
        if kept:
            self._queues[id(memory), address] = kept
        for waiter in moved:
            self.add(memory, to, waiter)
        return len(moved)
