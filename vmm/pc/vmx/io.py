"""Which port accesses exit (SDM volume 3, sections 24.6.4 and 25.1.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from emu.pc.memory import PhysicalMap
from vmm.pc.vmx.controls import Primary
from vmm.pc.vmx.fields import Field

_HALF: Final = 0x8000  # ports in each of the two bitmaps
_LAST: Final = 0xFFFF


def exits(read: Callable[[int], int], memory: PhysicalMap, port: int, size: int) -> bool:
    """Whether an access of `size` ports does, by the controls of a VMCS and its bitmaps."""
    primary = read(Field.PROCESSOR_BASED_CONTROLS)
    if not primary & Primary.USE_IO_BITMAPS:
        return bool(primary & Primary.UNCONDITIONAL_IO_EXITING)
    if port + size - 1 > _LAST:  # it wraps around
        return True
    return any(_bit(read, memory, number) for number in range(port, port + size))


def _bit(read: Callable[[int], int], memory: PhysicalMap, port: int) -> bool:
    bitmap = read(Field.IO_BITMAP_A if port < _HALF else Field.IO_BITMAP_B)
    place = port & _HALF - 1
    byte = memory.load(bitmap + place // 8, 1)
    assert isinstance(byte, int)
    return bool(byte >> place % 8 & 1)
