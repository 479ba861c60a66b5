"""A guest's memory, as its hypercalls name it: by linear addresses, with the rights of ring 1.

Translations are the machine's own, by the guest's validated tables. So a hypercall reads and
writes nothing that its caller could not have read and written itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, cast

from emu.memory import PAGE_BITS, READ, WRITE, TranslatedMemory, pieces_of
from emu.pc.machine import PcMachine
from isa.fault import Fault
from vmm.pc.paravirtual.interface import VIRTUAL_START
from vmm.pc.paravirtual.refusal import Errno, Refusal


class GuestMemory:
    """What the running domain can reach."""

    def __init__(self, below: PcMachine) -> None:
        self._linear = cast(TranslatedMemory, below.state.memory["system"])
        self._physical = below.memory

    def _places(self, address: int, size: int, access: int) -> Iterator[tuple[int, int]]:
        if address + size > VIRTUAL_START:
            raise Refusal(Errno.EFAULT, f"{address:#x} is the monitor's")
        for start, count in pieces_of(address, size):
            where = self._linear.translate(start, access)
            if isinstance(where, Fault):
                raise Refusal(Errno.EFAULT, f"{start:#x}")
            yield where, count

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the guest's; EFAULT if it cannot read them."""
        places = list(self._places(address, size, READ))
        return b"".join(self._physical.physical.read(where, count) for where, count in places)

    def write(self, address: int, data: bytes) -> None:
        """All of it, or EFAULT and nothing."""
        places = list(self._places(address, len(data), WRITE))
        for where, count in places:
            self._physical.physical.write(where, data[:count])
            data = data[count:]

    def unpack(self, layout: Struct, address: int) -> tuple[Any, ...]:
        """A structure's fields."""
        return layout.unpack(self.read(address, layout.size))

    def word(self, address: int) -> int:
        """32 bits."""
        return int.from_bytes(self.read(address, 4), "little")

    def put_word(self, address: int, value: int) -> None:
        """32 bits."""
        self.write(address, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def writable(self, address: int, size: int) -> None:
        """EFAULT unless the guest could write there."""
        for _ in self._places(address, size, WRITE):
            pass

    def frame(self, address: int) -> int:
        """The machine frame in which a byte lies that the guest can read."""
        ((where, _),) = self._places(address, 1, READ)
        return where >> PAGE_BITS
