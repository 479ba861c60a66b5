"""One 8259A interrupt controller (Intel 231468), without its bus.

Register and command names are the data sheet's: IRR, ISR, IMR, ICW1-4, OCW1-3.
"""

from __future__ import annotations

from dataclasses import dataclass

from isa.hints import Final

SPURIOUS: Final = 7  # the level that INTA gets if no request is left

ICW1, ICW1_LTIM, ICW1_SNGL, ICW1_IC4 = 0x10, 0x08, 0x02, 0x01
ICW4_SFNM, ICW4_AEOI = 0x10, 0x02
OCW2_ROTATE, OCW2_SPECIFIC, OCW2_EOI = 0x80, 0x40, 0x20
OCW3, OCW3_ESMM, OCW3_SMM, OCW3_POLL, OCW3_RR, OCW3_RIS = 0x08, 0x40, 0x20, 0x04, 0x02, 0x01


@dataclass(slots=True)
class Registers:
    """Everything that one chip remembers. Before ICW1 all is masked."""

    irr: int = 0
    isr: int = 0
    imr: int = 0xFF
    inputs: int = 0  # levels of IR0-7
    elcr: int = 0  # levels that are level triggered whatever ICW1 says (PIIX 4D0h)
    icw1: int = 0
    icw2: int = 0
    icw3: int = 0
    icw4: int = 0
    expected: int = 0  # which ICW comes next at the odd port; 0: none, it is OCW1
    lowest: int = 7  # the level of lowest priority
    special_mask: bool = False
    rotate_in_aeoi: bool = False
    poll: bool = False
    read_isr: bool = False


class I8259:
    """Requests at IR0-7 to one output, by priority."""

    def __init__(self, *, is_master: bool) -> None:
        self.registers = Registers()
        self._is_master = is_master

    # -- requests ----------------------------------------------------------------------------

    @property
    def level_triggered(self) -> int:
        """The inputs for which a level is the request, not its rise."""
        return 0xFF if self.registers.icw1 & ICW1_LTIM else self.registers.elcr

    def set_input(self, level: int, high: bool) -> None:
        """IR`level` changes. A request that is taken back before its INTA is gone."""
        r, bit = self.registers, 1 << level
        rises = high and (not r.inputs & bit or self.level_triggered & bit)
        r.inputs = r.inputs & ~bit | (bit if high else 0)
        if rises:
            r.irr |= bit
        elif not high:
            r.irr &= ~bit

    def _by_priority(self) -> list[int]:
        return [(self.registers.lowest + 1 + i) % 8 for i in range(8)]

    def highest(self) -> int | None:
        """The level that wants service: requested, not masked, above all in service."""
        r = self.registers
        requests = r.irr & ~r.imr
        if not requests:
            return None
        in_service = r.isr & ~(r.imr if r.special_mask else 0)
        for level in self._by_priority():
            bit = 1 << level
            if requests & bit and not (in_service & bit and not self._is_nested(level)):
                return level
            if in_service & bit:
                return None
        return None

    def _is_nested(self, level: int) -> bool:
        """Special fully nested mode: a slave in service may ask again, for a higher level."""
        r = self.registers
        return bool(self._is_master and r.icw4 & ICW4_SFNM and r.icw3 >> level & 1)

    def acknowledge(self) -> int:
        """INTA: the level that is served now."""
        level = self.highest()
        if level is None:
            return SPURIOUS
        r, bit = self.registers, 1 << level
        if not self.level_triggered & bit:
            r.irr &= ~bit
        if not r.icw4 & ICW4_AEOI:
            r.isr |= bit
        elif r.rotate_in_aeoi:
            r.lowest = level
        return level

    # -- registers ---------------------------------------------------------------------------

    def read(self, a0: int) -> int:
        """IMR at A0 = 1; else IRR or ISR as OCW3 chose; once after a poll command its answer."""
        r = self.registers
        if r.poll:
            r.poll = False
            return 0 if self.highest() is None else 0x80 | self.acknowledge()
        if a0:
            return r.imr
        return r.isr if r.read_isr else r.irr

    def write(self, a0: int, value: int) -> None:
        """A command word."""
        if a0:
            self._write_mask_or_icw(value)
        elif value & ICW1:
            self._write_icw1(value)
        elif value & OCW3:
            self._write_ocw3(value)
        else:
            self._write_ocw2(value)

    def _write_icw1(self, value: int) -> None:
        """The edge sense circuit is reset: an input that is high has to rise again."""
        r = self.registers
        self.registers = Registers(
            inputs=r.inputs, elcr=r.elcr, imr=0, icw1=value, icw2=r.icw2, expected=2
        )
        self.registers.irr = r.inputs & self.level_triggered

    def _write_mask_or_icw(self, value: int) -> None:
        r = self.registers
        if r.expected == 2:
            r.icw2 = value & 0xF8
            r.expected = 3 if not r.icw1 & ICW1_SNGL else self._after_icw3()
        elif r.expected == 3:
            r.icw3 = value
            r.expected = self._after_icw3()
        elif r.expected == 4:
            r.icw4 = value
            r.expected = 0
        else:
            r.imr = value

    def _after_icw3(self) -> int:
        return 4 if self.registers.icw1 & ICW1_IC4 else 0

    def _write_ocw2(self, value: int) -> None:
        """End of interrupt and rotation (data sheet, figure 8)."""
        r = self.registers
        if not value & OCW2_EOI and not value & OCW2_SPECIFIC:
            r.rotate_in_aeoi = bool(value & OCW2_ROTATE)
            return
        level: int | None = value & 7
        if not value & OCW2_SPECIFIC:
            level = self._highest_in_service()
        if level is None:
            return
        if value & OCW2_EOI:
            r.isr &= ~(1 << level)
        if value & OCW2_ROTATE:
            r.lowest = level

    def _highest_in_service(self) -> int | None:
        """What a non-specific EOI ends; in special mask mode it spares masked levels."""
        r = self.registers
        in_service = r.isr & ~(r.imr if r.special_mask else 0)
        return next((level for level in self._by_priority() if in_service >> level & 1), None)

    def _write_ocw3(self, value: int) -> None:
        r = self.registers
        if value & OCW3_ESMM:
            r.special_mask = bool(value & OCW3_SMM)
        if value & OCW3_POLL:
            r.poll = True
        elif value & OCW3_RR:
            r.read_isr = bool(value & OCW3_RIS)
