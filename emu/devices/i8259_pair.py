"""The PC's two 8259A: the slave's output is the master's IR2; the ELCR is the PIIX's (4D0h)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from emu.devices import registers
from emu.devices.device import Line, PortRange
from emu.devices.i8259 import I8259
from isa.hints import Any, Final

MASTER: Final = 0x20
SLAVE: Final = 0xA0
ELCR: Final = 0x4D0
CASCADE: Final = 2
ELCR_MASKS: Final = (0xF8, 0xDE)  # timer, keyboard, cascade, clock and FPU are always edges


class I8259Pair:
    """Interrupt requests 0 to 15 to the processor."""

    ports = (
        PortRange(MASTER, MASTER + 1),
        PortRange(SLAVE, SLAVE + 1),
        PortRange(ELCR, ELCR + 1),
    )

    def __init__(self) -> None:
        self.master = I8259(is_master=True)
        self.slave = I8259(is_master=False)

    def line(self, number: int) -> Line:
        """The wire of interrupt request `number`."""
        return partial(self.set_line, number)

    def set_line(self, number: int, level: bool) -> None:
        """An interrupt request changes its level."""
        if number < 8:
            self.master.set_input(number, level)
        else:
            self.slave.set_input(number - 8, level)
            self._cascade()

    def _cascade(self) -> None:
        self.master.set_input(CASCADE, self.slave.highest() is not None)

    @property
    def requested(self) -> bool:
        """Whether INTR is high."""
        return self.master.highest() is not None

    def acknowledge(self) -> int:
        """Two INTA cycles: the vector. A request that went away is IRQ 7 or 15, not in service."""
        level = self.master.acknowledge()
        if level != CASCADE:
            return self.master.registers.icw2 | level
        self.master.set_input(CASCADE, False)  # its output pulses, so that a next request is seen
        vector = self.slave.registers.icw2 | self.slave.acknowledge()
        self._cascade()
        return vector

    def _chip(self, port: int) -> I8259:
        return self.slave if port in (SLAVE, SLAVE + 1, ELCR + 1) else self.master

    def read(self, port: int, size: int, now: int) -> int:
        """A register of one chip; a poll acknowledges."""
        chip = self._chip(port)
        if port >= ELCR:
            return chip.registers.elcr
        value = chip.read(port & 1)
        self._cascade()
        return value

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """A command word for one chip, or its ELCR."""
        chip = self._chip(port)
        if port >= ELCR:
            chip.registers.elcr = value & ELCR_MASKS[port - ELCR]
        else:
            chip.write(port & 1, value)
        self._cascade()

    def snapshot(self) -> Mapping[str, object]:
        """Both chips."""
        return {
            "master": registers.save(self.master.registers),
            "slave": registers.save(self.slave.registers),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Both chips."""
        registers.restore(self.master.registers, saved["master"])
        registers.restore(self.slave.registers, saved["slave"])
