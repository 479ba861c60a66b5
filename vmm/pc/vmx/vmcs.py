"""A VMCS region: 4 KiB of the monitor's own memory (SDM volume 3, section 24.2).

Behind the revision identifier and the abort indicator it is the processor's to lay out: here the
launch state, and eight bytes for each field in the order of the encodings.
"""

from __future__ import annotations

from typing import Final, cast

from emu.pc.memory import PhysicalMap
from vmm.pc.vmx.fields import Field, width

_LAUNCHED: Final = 8
_FIRST: Final = 16
_PLACES: Final = {int(field): _FIRST + 8 * n for n, field in enumerate(sorted(Field))}
_MASKS: Final = {int(field): (1 << width(field)) - 1 for field in Field}


class Vmcs:
    """The region at an address of the physical memory."""

    def __init__(self, memory: PhysicalMap, address: int) -> None:
        self._memory = memory
        self.address = address

    def read(self, field: int) -> int:
        """A field, whatever its width."""
        return cast(int, self._memory.load(self.address + _PLACES[field], 8))

    def write(self, field: int, value: int) -> None:
        """Set a field; what does not fit is cut off."""
        self._memory.store(self.address + _PLACES[field], 8, value & _MASKS[field])

    @property
    def revision(self) -> int:
        """The identifier of the format that software says it has."""
        return cast(int, self._memory.load(self.address, 4))

    @property
    def launched(self) -> bool:
        """The launch state: launched, or clear."""
        return self._memory.load(self.address + _LAUNCHED, 4) == 1

    @launched.setter
    def launched(self, value: bool) -> None:
        self._memory.store(self.address + _LAUNCHED, 4, int(value))
