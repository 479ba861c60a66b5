"""Guest memory as devices reach it: no address faults, and nothing lies outside."""

from __future__ import annotations

from emu.memory import PhysicalMemory, pieces_of


class BusMemory:
    """Reads past the end give ones, writes past the end are lost; no A20 gate stands before it."""

    def __init__(self, physical: PhysicalMemory) -> None:
        self._physical = physical
        self.size = physical.size

    def read(self, address: int, size: int) -> bytes:
        """Bytes from an address."""
        inside = max(0, min(size, self.size - address))
        return self._physical.read(address, inside) + b"\xff" * (size - inside)

    def write(self, address: int, data: bytes) -> None:
        """Bytes to an address; translated code there is forgotten."""
        inside = max(0, min(len(data), self.size - address))
        done = 0
        for start, count in pieces_of(address, inside):
            self._physical.write(start, data[done : done + count])
            done += count
