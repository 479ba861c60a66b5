"""Nonsense to every chip: the host never raises, memory changes only where DMA may, it stays quick.

5,000 accesses to each chip; with the marker `heavy` a million, or as many as POPEK_FUZZ says, and
a tenth of that to several together.
"""

from __future__ import annotations

import io
import os
import random

import pytest
from pc_bench import Bench, Ports

from emu.devices.disk_image import DiskImage
from emu.memory import PhysicalMemory
from emu.pc.board import Board
from emu.pc.options import Options
from emu.pc.serial import MemorySerial

MEGA = 1 << 20
FEW, MANY = 5_000, int(os.environ.get("POPEK_FUZZ", "1000000"))
TOGETHER = MANY // 10  # accesses to several chips, which cost more
BATCH = 10_000
FILL = 0xA5
DMA_CHIPS = {"dma", "floppy", "fw_cfg"}  # with which memory may change
WINDOW = slice(0x10000, 0x30000)  # where these tests let DMA go
WAITS = (0, 0, 1, 1, 10, 10, 100, 100, 1_000, 15_000)  # instructions between accesses
SOON = 100_000
SHORT_WAITS = (0,) * 50 + (1,) * 20 + (10,) * 20 + (100,) * 9 + (15_000,)
TRIES = 5_000  # deadlines in a row at one count: more are a chip that does not go on


def full_board():
    """Everything that there is, small."""
    memory = PhysicalMemory(MEGA)
    memory.array[:] = FILL
    options = Options(
        disks=[DiskImage.of(bytes(512 * 100)), DiskImage.of(bytes(512)), None, DiskImage.of(b"x")],
        floppies=[DiskImage.of(bytes(1_474_560)), DiskImage.of(bytes(368_640))],
        serial=[MemorySerial() for _ in range(4)],
        timed_serial=True,
        debug_output=io.BytesIO(),
        debug_exit=True,
    )
    return Board(memory, options), memory


NAMES = tuple(full_board()[0].devices)
KINDS = tuple(n for n in NAMES if n not in ("serial1", "serial2", "serial3", "ata1"))


class Fuzzer(Bench):
    """Random accesses to some ports, biased towards what a chip understands."""

    def __init__(self, board, ports, seed):
        super().__init__(Ports(board))
        self.board, self.ports = board, ports
        self.random = random.Random(seed)

    def step(self):
        choose = self.random
        port, size = choose.choice(self.ports), choose.choice((1, 1, 1, 2, 4))
        if choose.random() < 0.4:
            value = self.board.read_port(port, size, self.now)
            assert 0 <= value < 1 << 8 * size
        else:
            value = choose.getrandbits(choose.choice((1, 4, 8, 8 * size))) & (1 << 8 * size) - 1
            self.board.write_port(port, size, value, self.now)
        self.pass_time(choose.choice(WAITS))

    def pass_time(self, count):
        """Deadlines on the way happen, at most so many, and each chip goes on."""
        end, stuck = self.now + count, 0
        while (due := self.board.deadline()) is not None and due <= end:
            stuck = 0 if due > self.now else stuck + 1
            assert stuck < TRIES
            self.now = max(self.now, due)
            self.board.tick(self.now)
        self.now = end
        if self.board.interrupt_requested:
            assert 0 <= self.board.acknowledge() < 256


def ports_of(board, name):
    return [port for first, last, _ in board.devices[name].ports for port in range(first, last + 1)]


def fuzz(name, steps, seed=1):
    board, memory = full_board()
    fuzzer = Fuzzer(board, ports_of(board, name), seed)
    for _ in range(steps):
        fuzzer.step()
    if name not in DMA_CHIPS:
        assert (memory.array == FILL).all()
    return board, fuzzer.now


@pytest.mark.parametrize("name", NAMES)
def test_nonsense(name):
    """Each chip alone; twice the same gives the same; a snapshot of it can be taken over."""
    board, now = fuzz(name, FEW)
    again, later = fuzz(name, FEW)
    assert (again.snapshot(), later) == (board.snapshot(), now)
    other, _ = full_board()
    other.restore(board.snapshot())
    assert other.snapshot() == board.snapshot()


class Alone:
    """A chip that is asked without the board around it, which costs a tenth."""

    def __init__(self, name, seed):
        self.board, self.memory = full_board()
        self.chip = self.board.devices[name]
        self.deadline = getattr(self.chip, "deadline", lambda: None)
        self.random, self.now = random.Random(seed), 0
        self.places = [
            (port, size, (1 << 8 * size) - 1)
            for first, last, largest in self.chip.ports
            for port in range(first, last + 1)
            for size in (1, 2, 4)
            if size <= largest
        ]

    def batch(self, count):
        """Random accesses: what is drawn is drawn at once."""
        draw, chip = self.random, self.chip
        places, waits = draw.choices(self.places, k=count), draw.choices(SHORT_WAITS, k=count)
        reads, few = draw.choices((True, False), (4, 6), k=count), draw.choices((1, 4, 32), k=count)
        values = [draw.getrandbits(bits) for bits in few]
        for i in range(count):
            port, size, mask = places[i]
            if reads[i]:
                assert 0 <= chip.read(port, size, self.now) <= mask
            else:
                chip.write(port, size, values[i] & mask, self.now)
            if waits[i]:
                self.pass_time(waits[i])

    def pass_time(self, count):
        """Deadlines on the way happen, at most so many, and the chip goes on."""
        end, stuck = self.now + count, 0
        while (due := self.deadline()) is not None and due <= end:
            stuck = 0 if due > self.now else stuck + 1
            assert stuck < TRIES
            self.now = max(self.now, due)
            self.chip.tick(self.now)
        self.now = end
        if self.board.interrupt_requested:
            assert 0 <= self.board.acknowledge() < 256


@pytest.mark.heavy
@pytest.mark.parametrize("name", KINDS)
def test_many(name):
    """For long; in the end a snapshot of it can be taken over."""
    alone = Alone(name, seed=2)
    for done in range(0, MANY, BATCH):
        alone.batch(min(BATCH, MANY - done))
    if name not in DMA_CHIPS:
        assert (alone.memory.array == FILL).all()
    other, _ = full_board()
    other.restore(alone.board.snapshot())
    assert other.snapshot() == alone.board.snapshot()


@pytest.mark.parametrize("steps", [FEW, pytest.param(TOGETHER, marks=pytest.mark.heavy)])
def test_all_together(steps):
    """All ports of the board at once, while keys and characters come in."""
    board, _ = full_board()
    ports = [port for name in NAMES for port in ports_of(board, name)]
    fuzzer = Fuzzer(board, ports, 3)
    for i in range(steps):
        fuzzer.step()
        if i % 1_000 == 0:
            board.typist.type("abc", fuzzer.now)
            board.serial[0].feed(b"abc", fuzzer.now)
            board.keyboard_controller.mouse.move(3, 4, 1, i & 7)


@pytest.mark.parametrize("steps", [FEW, pytest.param(TOGETHER, marks=pytest.mark.heavy)])
def test_memory_outside_of_dma(steps):
    """Floppy and DMA together, with pages of one window: nothing else changes."""
    board, memory = full_board()
    ports = [*ports_of(board, "floppy"), 0x04, 0x05, 0x0A, 0x0B, 0x0C, 0x3F5, 0x3F5, 0x3F5]
    fuzzer = Fuzzer(board, ports, 4)
    for i in range(steps):
        fuzzer.step()
        if i % 50 == 0:
            read_some(board, fuzzer, page=1 + i // 50 % 2)
    assert (memory.array[: WINDOW.start] == FILL).all()
    assert (memory.array[WINDOW.stop :] == FILL).all()
    assert not (memory.array[WINDOW] == FILL).all()


def read_some(board, fuzzer, page):
    """A read of a sector that works whatever came before."""
    for port, value in (
        *((0x3F2, v) for v in (0x00, 0x1C)),
        *((p, v) for p, v in ((0x0C, 0), (0x0B, 0x46), (0x81, page), (0x08, 0), (0x0A, 2))),
        (0x3F7, 0),
    ):
        board.write_port(port, 1, value, fuzzer.now)
    fuzzer.pass_time(SOON)
    for value in (0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF):
        board.write_port(0x3F5, 1, value, fuzzer.now)
    fuzzer.pass_time(SOON)


def test_time_may_jump():
    """A host that does not tick for virtual years gets an answer soon."""
    board, _ = full_board()
    for name in NAMES:
        for port in ports_of(board, name):
            board.write_port(port, 1, 0x34, 10**6)
    for now in (10**12, 10**16, 10**20):
        board.tick(now)
        for name in NAMES:
            for port in ports_of(board, name):
                assert 0 <= board.read_port(port, 1, now) < 256
