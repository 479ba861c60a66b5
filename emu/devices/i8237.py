"""The PC/AT's two 8237A DMA controllers (Intel 231466) with their page registers.

Channels 0 to 3 move bytes, 5 to 7 words; 4 cascades. A device moves its data in one call; what lies
past the end of memory is ones, or lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emu.devices import registers
from emu.devices.bus_memory import BusMemory
from emu.devices.device import PortRange
from isa.hints import Any, Final

FIRST, SECOND, PAGES = 0x00, 0xC0, 0x80
STATUS_COMMAND, REQUEST, MASK_ONE, MODE, CLEAR_FLIP_FLOP, MASTER_CLEAR, CLEAR_MASK, MASK = range(
    8, 16
)
PAGE_OF: Final = {0x87: 0, 0x83: 1, 0x81: 2, 0x82: 3, 0x8F: 4, 0x8B: 5, 0x89: 6, 0x8A: 7}
DISABLED: Final = 0x04  # command
TO_MEMORY, FROM_MEMORY = 1, 2  # transfer types; 0 is verify
TYPE_SHIFT, AUTOMATIC, DOWN = 2, 0x10, 0x20  # mode


@dataclass(slots=True)
class Channel:
    """One channel's registers; `count` is one less than the units that are left."""

    base_address: int = 0
    base_count: int = 0
    address: int = 0
    count: int = 0
    mode: int = 0
    page: int = 0
    terminal: bool = False  # the last transfer reached the terminal count


@dataclass(slots=True)
class Controller:
    """What four channels share; bit n is channel n's."""

    command: int = 0
    mask: int = 0xF
    done: int = 0  # terminal counts since STATUS was read
    high: bool = False  # the flip-flop: the next byte is the high one


@dataclass(slots=True)
class Registers:
    """Both controllers, all channels, and the sixteen bytes at 80h."""

    controllers: list[Controller] = field(default_factory=lambda: [Controller(), Controller()])
    channels: list[Channel] = field(default_factory=lambda: [Channel() for _ in range(8)])
    pages: list[int] = field(default_factory=lambda: [0] * 16)


class I8237:
    """Direct memory access for devices that ask for it."""

    ports = (
        PortRange(FIRST, FIRST + 0x0F),
        PortRange(SECOND, SECOND + 0x1F),
        PortRange(PAGES, PAGES + 0x0F),
    )

    def __init__(self, memory: BusMemory) -> None:
        self._memory = memory
        self.registers = Registers()

    # -- devices -----------------------------------------------------------------------------

    def to_memory(self, channel: int, data: bytes) -> int:
        """A device has data; how much of it was taken, up to the terminal count."""
        size = self._allowed(channel, TO_MEMORY, len(data))
        moves = self.registers.channels[channel].mode >> TYPE_SHIFT & 3
        done = 0
        for address, count in self._pieces(channel, size):
            if moves:
                self._memory.write(address, data[done : done + count])
            done += count
        return size

    def from_memory(self, channel: int, size: int) -> bytes:
        """A device wants data: what there is of it before the terminal count."""
        size = self._allowed(channel, FROM_MEMORY, size)
        return b"".join(self._memory.read(*piece) for piece in self._pieces(channel, size))

    def finished(self, channel: int) -> bool:
        """Whether the last transfer reached the terminal count."""
        return self.registers.channels[channel].terminal

    def _allowed(self, channel: int, kind: int, size: int) -> int:
        """How many bytes the channel can move now, if it may move such data at all."""
        controller, unit = self.registers.controllers[channel // 4], 1 + channel // 4
        registers_of = self.registers.channels[channel]
        if controller.mask >> channel % 4 & 1 or controller.command & DISABLED:
            return 0
        if registers_of.mode >> TYPE_SHIFT & 3 not in (0, kind):
            return 0
        return min(size - size % unit, (registers_of.count + 1) * unit)

    def _pieces(self, channel: int, size: int) -> list[tuple[int, int]]:
        """Where the next bytes lie, in one piece unless they wrap or go down; counts them."""
        r, shift = self.registers.channels[channel], channel // 4
        units = size >> shift
        if r.mode & DOWN:
            pieces = [((r.address - i) % 0x10000, 1) for i in range(units)]
            r.address = (r.address - units) % 0x10000
        else:
            until_wrap = min(units, 0x10000 - r.address)
            pieces = [(r.address, until_wrap), (0, units - until_wrap)]
            r.address = (r.address + units) % 0x10000
        base = (r.page & ~shift) << 16
        self._count(channel, units)
        return [(base + (start << shift), count << shift) for start, count in pieces if count]

    def _count(self, channel: int, units: int) -> None:
        r, controller = self.registers.channels[channel], self.registers.controllers[channel // 4]
        r.count -= units
        r.terminal = r.count < 0
        if not r.terminal:
            return
        r.count, bit = 0xFFFF, 1 << channel % 4
        controller.done |= bit
        if r.mode & AUTOMATIC:
            r.address, r.count = r.base_address, r.base_count
        else:
            controller.mask |= bit

    # -- ports -------------------------------------------------------------------------------

    def _place(self, port: int) -> tuple[int, int]:
        """Controller and register; the second one's registers are two ports apart."""
        return (0, port) if port < PAGES else (1, port - SECOND >> 1)

    def read(self, port: int, size: int, now: int) -> int:
        """An address, a count, the status, or a page."""
        if PAGES <= port < SECOND:
            return self.registers.pages[port - PAGES]
        number, register = self._place(port)
        controller = self.registers.controllers[number]
        if register < 8:
            channel = self.registers.channels[4 * number + register // 2]
            return self._half(controller, channel.count if register & 1 else channel.address)
        if register == STATUS_COMMAND:
            done, controller.done = controller.done, 0
            return done
        return controller.mask | 0xF0 if register == MASK else 0

    def _half(self, controller: Controller, value: int) -> int:
        high, controller.high = controller.high, not controller.high
        return value >> 8 if high else value & 0xFF

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """An address, a count, a command, or a page."""
        if PAGES <= port < SECOND:
            self.registers.pages[port - PAGES] = value
            if port in PAGE_OF:
                self.registers.channels[PAGE_OF[port]].page = value
            return
        number, register = self._place(port)
        if register < 8:
            self._write_channel(number, register, value)
        else:
            self._write_controller(number, register, value)

    def _write_channel(self, number: int, register: int, value: int) -> None:
        controller = self.registers.controllers[number]
        channel = self.registers.channels[4 * number + register // 2]
        high, controller.high = controller.high, not controller.high
        old = channel.base_count if register & 1 else channel.base_address
        new = old & 0xFF | value << 8 if high else old & 0xFF00 | value
        if register & 1:
            channel.base_count = channel.count = new
        else:
            channel.base_address = channel.address = new

    def _write_controller(self, number: int, register: int, value: int) -> None:
        controller, bit = self.registers.controllers[number], 1 << (value & 3)
        if register == STATUS_COMMAND:
            controller.command = value
        elif register == MASK_ONE:
            controller.mask = controller.mask & ~bit | (bit if value & 4 else 0)
        elif register == MODE:
            self.registers.channels[4 * number + (value & 3)].mode = value
        elif register == CLEAR_FLIP_FLOP:
            controller.high = False
        elif register == MASTER_CLEAR:
            self.registers.controllers[number] = Controller()
        elif register in (CLEAR_MASK, MASK):
            controller.mask = value & 0xF if register == MASK else 0

    def snapshot(self) -> Mapping[str, object]:
        """All registers."""
        return registers.save(self.registers)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """All registers."""
        registers.restore(self.registers, saved)
