"""The PC's board: which chip answers at which port, and which wires lead to the processor."""

from __future__ import annotations

from collections.abc import Mapping

from emu.devices.a20 import A20
from emu.devices.ata import AtaChannel
from emu.devices.bus_memory import BusMemory
from emu.devices.debug_exit import DebugExit
from emu.devices.debug_port import DebugPort
from emu.devices.device import Device, Line, Timed, unconnected
from emu.devices.fw_cfg import FwCfg, kernel_items, standard_items
from emu.devices.i8042 import I8042
from emu.devices.i8237 import I8237
from emu.devices.i8254 import I8254
from emu.devices.i8259_pair import I8259Pair
from emu.devices.i82077 import I82077
from emu.devices.mc146818 import MC146818
from emu.devices.ns16550 import NS16550
from emu.devices.pci_host import PamListener, PciHost, no_listener
from emu.devices.port92 import Port92
from emu.devices.speaker import Speaker
from emu.devices.vga import VGA
from emu.errors import GuestFileError
from emu.memory import PhysicalMemory
from emu.pc.cmos import cmos
from emu.pc.keyboard import Typist
from emu.pc.memory_map import installed
from emu.pc.options import Options
from isa.hints import TYPE_CHECKING, Any, Final

PORTS: Final = 1 << 16
LEAST_MEMORY: Final = 1 << 20
VIDEO_START, VIDEO_SIZE = 0xA0000, 0x20000
SERIAL_PORTS: Final = ((0x3F8, 4), (0x2F8, 3), (0x3E8, 4), (0x2E8, 3))  # base, interrupt request
DISK_PORTS: Final = ((0x1F0, 0x3F6, 14), (0x170, 0x376, 15))  # with their control ports
TIMER, KEYBOARD, FLOPPY, CLOCK, MOUSE = 0, 1, 6, 8, 12  # interrupt requests
PLAIN: Final = Options()

if TYPE_CHECKING:
    from typing import TypeVar

    Chip = TypeVar("Chip", bound=Device)


class Board:
    """Everything around a processor and its memory.

    `now` is the count of retired instructions. The machine calls `tick` when the count reaches
    `deadline`, delivers `acknowledge()` when `interrupt_requested`, and resets its processor (and
    the flag) when `reset_requested`. `a20_changed` is called when the gate is switched,
    `pam_changed` when firmware switches a segment between ROM and shadow memory.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        options: Options = PLAIN,
        *,
        a20_changed: Line = unconnected,
        pam_changed: PamListener = no_listener,
    ) -> None:
        if memory.size < LEAST_MEMORY:
            raise GuestFileError(
                f"{memory.size} bytes of memory are too few for a PC", advice="Choose 1M or more"
            )
        self.options = options
        self.reset_requested = False
        self.a20_gate = A20(a20_changed)
        self.devices: dict[str, Device] = {}
        self._timed: list[Timed] = []
        self._ports: dict[int, tuple[Device, int]] = {}
        self._add_core(memory)
        self.vga: VGA | None = None
        if options.vga:
            video = memory.view[VIDEO_START : VIDEO_START + VIDEO_SIZE]
            self.vga = self._add("vga", VGA(video, options.mips))
        self._add_disks(BusMemory(memory))
        self._add_serial()
        self._add_debug()
        self._add_bus(BusMemory(memory), pam_changed)

    # -- building ----------------------------------------------------------------------------

    def _add(self, name: str, device: Chip) -> Chip:
        self.devices[name] = device
        for first, last, largest in device.ports:
            self._ports.update(dict.fromkeys(range(first, last + 1), (device, largest)))
        if isinstance(device, Timed):
            self._timed.append(device)
        return device

    def _add_core(self, memory: PhysicalMemory) -> None:
        """What every PC has."""
        options, mips = self.options, self.options.mips
        self.interrupts = self._add("interrupts", I8259Pair())
        line = self.interrupts.line
        self.timer = self._add("timer", I8254(line(TIMER), mips))
        self._add("speaker", Speaker(self.timer))
        contents = cmos(memory.size, options.floppies, options.disks, options.boot)
        clock = MC146818(line(CLOCK), mips=mips, time=options.time, memory=contents)
        self.clock = self._add("clock", clock)
        lines = line(KEYBOARD), line(MOUSE)
        keyboard = I8042(self.a20_gate, self._reset, *lines, mips=mips)
        self.keyboard_controller = self._add("keyboard", keyboard)
        self.typist = Typist(keyboard.keyboard, mips)
        self._timed.append(self.typist)
        self._add("port92", Port92(self.a20_gate, self._reset))

    def _add_disks(self, memory: BusMemory) -> None:
        dma = self._add("dma", I8237(memory))
        line, mips = self.interrupts.line, self.options.mips
        self._add("floppy", I82077(dma, line(FLOPPY), self.options.floppies, mips=mips))
        for number, (base, control, request) in enumerate(DISK_PORTS):
            images = self.options.disks[2 * number : 2 * number + 2]
            if any(image is not None for image in images):
                line_of = line(request)
                channel = AtaChannel(base, control, line_of, images, number=2 * number, mips=mips)
                self._add(f"ata{number}", channel)

    def _add_serial(self) -> None:
        self.serial: list[NS16550] = []
        mips, timed = self.options.mips, self.options.timed_serial
        for (base, request), backend in zip(SERIAL_PORTS, self.options.serial, strict=False):
            line = self.interrupts.line(request)
            port = NS16550(base, backend, line, mips=mips, timed=timed)
            self.serial.append(self._add(f"serial{len(self.serial)}", port))

    def _add_debug(self) -> None:
        if self.options.debug_output is not None:
            self._add("debug", DebugPort(self.options.debug_output))
        self._debug_exit = DebugExit()
        if self.options.debug_exit:
            self._add("exit", self._debug_exit)

    def _add_bus(self, memory: BusMemory, pam_changed: PamListener) -> None:
        """Firmware's configuration, and PCI."""
        options = self.options
        if options.fw_cfg:
            items = standard_items(memory.size)
            if options.kernel:
                items |= kernel_items(options.kernel, options.initrd, options.command_line)
            ranges = b"".join(row.entry() for row in installed(memory.size))
            files = {"etc/e820": ranges, **options.firmware_files}
            self._add("fw_cfg", FwCfg(memory, items, files))
        if options.pci:
            self._add("pci", PciHost(self._reset, pam_changed))

    def _reset(self) -> None:
        self.reset_requested = True

    # -- ports -------------------------------------------------------------------------------

    def read_port(self, port: int, size: int, now: int) -> int:
        """What IN reads: 1, 2 or 4 bytes. Where nobody answers the bus reads ones."""
        device, largest = self._ports.get(port, (None, 1))
        if size > largest:
            half = size // 2
            low = self.read_port(port, half, now)
            return low | self.read_port((port + half) % PORTS, half, now) << 8 * half
        return 0xFF if device is None else device.read(port, size, now)

    def write_port(self, port: int, size: int, value: int, now: int) -> None:
        """What OUT writes; an access that is too large for a chip comes to it in halves."""
        device, largest = self._ports.get(port, (None, 1))
        if size > largest:
            half = size // 2
            self.write_port(port, half, value & (1 << 8 * half) - 1, now)
            self.write_port((port + half) % PORTS, half, value >> 8 * half, now)
        elif device is not None:
            device.write(port, size, value, now)

    # -- time and interrupts -----------------------------------------------------------------

    def deadline(self) -> int | None:
        """The count at which the next device wants `tick`."""
        due = (timed.deadline() for timed in self._timed)
        return min((count for count in due if count is not None), default=None)

    def tick(self, now: int) -> None:
        """Whatever is due at `now` happens."""
        for timed in self._timed:
            deadline = timed.deadline()
            if deadline is not None and deadline <= now:
                timed.tick(now)

    @property
    def interrupt_requested(self) -> bool:
        """Whether INTR is high."""
        return self.interrupts.requested

    def acknowledge(self) -> int:
        """The processor takes the interrupt: its vector."""
        return self.interrupts.acknowledge()

    @property
    def nmi_masked(self) -> bool:
        """Whether an NMI is kept from the processor."""
        return self.clock.registers.nmi_masked

    @property
    def a20(self) -> bool:
        """Whether address line 20 passes."""
        return self.a20_gate.enabled

    @property
    def exit_code(self) -> int | None:
        """What the guest ended its machine with at the debug exit, if it did."""
        return self._debug_exit.exit_code

    # -- snapshots ---------------------------------------------------------------------------

    def snapshot(self) -> Mapping[str, object]:
        """All devices, as plain values; not memory, nor what lies on the host's side."""
        devices = {name: device.snapshot() for name, device in self.devices.items()}
        return {
            "a20": self.a20_gate.snapshot(),
            "reset_requested": self.reset_requested,
            "typist": self.typist.snapshot(),
            "devices": devices,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take over a snapshot of a board with the same options."""
        self.a20_gate.restore(saved["a20"])
        self.reset_requested = saved["reset_requested"]
        self.typist.restore(saved["typist"])
        for name, device in self.devices.items():
            device.restore(saved["devices"][name])
