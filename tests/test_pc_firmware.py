"""What firmware asks of the board: fw_cfg by ports and DMA, and PCI."""

from __future__ import annotations

import struct

import pytest
from pc_bench import Bench, Ports

from emu.memory import PhysicalMemory
from emu.pc.board import Board
from emu.pc.options import Options

MEGA = 1 << 20


class FirmwareBench(Bench):
    """A board of 2 MiB, as firmware talks to it."""

    def __init__(self, **options):
        self.memory = PhysicalMemory(2 * MEGA)
        self.shadows = []
        self.board = Board(
            self.memory, Options(**options), pam_changed=lambda *change: self.shadows.append(change)
        )
        super().__init__(Ports(self.board))

    def item(self, number, size):
        self.board.write_port(0x510, 2, number, 0)
        return bytes(self.into(0x511, size))

    def dma(self, control, length, address, at=0x1000):
        """A request at `at`: its control field afterwards."""
        self.memory.write(at, struct.pack(">IIQ", control, length, address))
        self.board.write_port(0x518, 4, int.from_bytes(at.to_bytes(4, "big"), "little"), 0)
        return int.from_bytes(self.memory.read(at, 4), "big")

    def config(self, device, register, size=4, function=0):
        address = 1 << 31 | device << 11 | function << 8 | register & 0xFC
        self.board.write_port(0xCF8, 4, address, 0)
        return self.board.read_port(0xCFC + (register & 3), size, 0)

    def set_config(self, device, register, value, size=1):
        self.board.write_port(0xCF8, 4, 1 << 31 | device << 11 | register & 0xFC, 0)
        self.board.write_port(0xCFC + (register & 3), size, value, 0)


@pytest.fixture
def bench():
    return FirmwareBench()


# -- fw_cfg --------------------------------------------------------------------------------------


def test_items(bench):
    """Signature, features, memory, one processor; what does not exist is zeros."""
    assert bench.item(0, 6) == b"QEMU\0\0"
    assert bench.item(1, 4) == b"\3\0\0\0"
    assert bench.item(3, 8) == struct.pack("<Q", 2 * MEGA)
    assert bench.item(5, 2) == b"\1\0"
    assert bench.item(0x8003, 4) == bytes(4)


def test_directory():
    """Names lead to numbers; the board's memory map is one of the files."""
    bench = FirmwareBench(firmware_files={"bootorder": b"/rom@x\0"})
    count = int.from_bytes(bench.item(0x19, 4), "big")
    entries = [bytes(bench.into(0x511, 64)) for _ in range(count)]
    files = {entry[8:].rstrip(b"\0").decode(): struct.unpack(">IH", entry[:6]) for entry in entries}
    assert set(files) == {"bootorder", "etc/e820"}
    size, number = files["etc/e820"]
    assert bench.item(number, size) == struct.pack("<QQI", 0, 2 * MEGA, 1)
    size, number = files["bootorder"]
    assert bench.item(number, size) == b"/rom@x\0"


def test_kernel():
    """Size and data of kernel, initial disk and command line."""
    bench = FirmwareBench(kernel=b"kernel", initrd=b"initrd!", command_line="quiet")
    assert bench.item(0x08, 4) == struct.pack("<I", 6)
    assert bench.item(0x11, 6) == b"kernel"
    assert bench.item(0x0B, 4) == struct.pack("<I", 7)
    assert bench.item(0x12, 7) == b"initrd!"
    assert bench.item(0x14, 4) == struct.pack("<I", 6)
    assert bench.item(0x15, 6) == b"quiet\0"


def test_dma(bench):
    """The signature of the port; select and read, skip, read on."""
    halves = [bench.board.read_port(port, 4, 0).to_bytes(4, "little") for port in (0x514, 0x518)]
    assert b"".join(halves) == b"QEMU CFG"
    assert bench.dma(0x0A | 3 << 16, 2, 0x2000) == 0
    assert bench.memory.read(0x2000, 4) == b"\0\0\0\0"
    assert bench.dma(0x02, 1, 0x2000) == 0
    assert bench.memory.read(0x2000, 2) == b"\x20\0"
    assert bench.dma(0x0C | 0 << 16, 2, 0) == 0
    assert bench.dma(0x02, 2, 0x2000) == 0
    assert bench.memory.read(0x2000, 2) == b"MU"


def test_dma_out_of_bounds(bench):
    """It is an error, and nothing is written."""
    assert bench.dma(0x0A, 16, 2 * MEGA - 8) == 1
    assert bench.memory.read(2 * MEGA - 8, 8) == bytes(8)
    assert bench.dma(0x0A, 0xFFFFFFFF, 0) == 1
    assert bench.dma(0x0A, 4, 0xFFFFFFFFFFFFFFFF) == 1
    assert bench.dma(0x10, 4, 0x2000) == 1
    assert bench.dma(0x0A, 4, 0x2000, at=2 * MEGA - 16) == 0
    bench.board.write_port(0x514, 4, 0xFFFFFFFF, 0)
    bench.board.write_port(0x518, 4, 0xFFFFFFFF, 0)


# -- PCI -----------------------------------------------------------------------------------------


def test_functions(bench):
    """An i440FX, a PIIX3 with its IDE function, and nothing else."""
    found = {
        (device, function): bench.config(device, 0, function=function)
        for device in range(32)
        for function in range(8)
    }
    there = {place: value for place, value in found.items() if value != 0xFFFFFFFF}
    assert there == {(0, 0): 0x12378086, (1, 0): 0x70008086, (1, 1): 0x70108086}
    assert bench.config(0, 0x0A, 2) == 0x0600
    assert bench.config(1, 0x0A, 2) == 0x0601
    assert bench.config(1, 0x0E, 1) == 0x80


def test_seabios_knows_the_machine(bench):
    """It looks for QEMU's subsystem; the disks' function is in compatibility mode, without BARs."""
    assert bench.config(0, 0x2C) == 0x11001AF4
    assert bench.config(1, 0x08, function=1) >> 8 == 0x010100
    bench.board.write_port(0xCFC, 4, 0xFFFFFFFF, 0)
    assert bench.config(1, 0x20, function=1) == 0


def test_mechanism(bench):
    """Only double words reach the address register; without bit 31 or on bus 1 nobody answers."""
    bench.config(0, 0)
    bench.board.write_port(0xCF8, 1, 0x12, 0)
    assert bench.board.read_port(0xCF8, 4, 0) == 1 << 31
    bench.board.write_port(0xCF8, 4, 0, 0)
    assert bench.board.read_port(0xCFC, 4, 0) == 0xFFFFFFFF
    bench.board.write_port(0xCF8, 4, 1 << 31 | 1 << 16, 0)
    assert bench.board.read_port(0xCFC, 4, 0) == 0xFFFFFFFF


def test_header_is_fixed(bench):
    """The identity cannot be written, the command register can."""
    bench.set_config(0, 0, 0xFFFFFFFF, 4)
    assert bench.config(0, 0) == 0x12378086
    bench.set_config(0, 4, 0x0107, 2)
    assert bench.config(0, 4, 2) == 0x0107


def test_shadow_memory(bench):
    """SeaBIOS writes 33h to 5A to 5F and 30h to 59: each change is told once."""
    bench.set_config(0, 0x5A, 0x13)
    assert bench.shadows == [(0xC0000, 0x4000, True, True), (0xC4000, 0x4000, True, False)]
    bench.shadows.clear()
    bench.set_config(0, 0x5A, 0x13)
    assert bench.shadows == []
    bench.set_config(0, 0x5F, 0x33)
    assert [start for start, *_ in bench.shadows] == [0xE8000, 0xEC000]
    bench.shadows.clear()
    bench.set_config(0, 0x59, 0x33)
    assert bench.shadows == [(0xF0000, 0x10000, True, True)]


def test_shadow_by_double_word(bench):
    """A 32-bit write reaches four registers."""
    bench.set_config(0, 0x58, 0x33333300, 4)
    assert [start for start, *_ in bench.shadows] == [
        0xF0000,
        0xC0000,
        0xC4000,
        0xC8000,
        0xCC000,
    ]


def test_reset_control(bench):
    """CF9 resets when bit 2 rises."""
    bench.out(0xCF9, 0x02)
    assert not bench.board.reset_requested
    bench.out(0xCF9, 0x06)
    assert bench.board.reset_requested


def test_without_pci():
    """An ISA PC: the ports read ones."""
    bench = FirmwareBench(pci=False)
    assert bench.config(0, 0) == 0xFFFFFFFF
    assert bench.board.read_port(0xCF8, 4, 0) == 0xFFFFFFFF
