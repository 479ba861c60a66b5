"""A bench for the PC's chips: a wire that remembers its levels, and ports in one call."""

from __future__ import annotations

from emu.devices.clock import Clock


class Wire:
    """What a chip drove: the level now, and how often it rose."""

    def __init__(self):
        self.level = False
        self.rises = 0

    def __call__(self, level):
        self.rises += level and not self.level
        self.level = level


class Bench:
    """A chip (or a board's port space) and the time. `run` lets deadlines happen on the way."""

    def __init__(self, chip):
        self.chip = chip
        self.now = 0

    def out(self, port, *values):
        for value in values:
            self.chip.write(port, 1, value, self.now)

    def into(self, port, count=None):
        if count is None:
            return self.chip.read(port, 1, self.now)
        return [self.chip.read(port, 1, self.now) for _ in range(count)]

    def run(self, count):
        """So many instructions pass."""
        end = self.now + count
        while (due := self.chip.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.chip.tick(self.now)
        self.now = end

    def run_to_deadline(self):
        self.now = max(self.now, self.chip.deadline())
        self.chip.tick(self.now)


class Ports:
    """A board as a chip: its ports under the names that chips have."""

    def __init__(self, board):
        self.board = board
        self.deadline, self.tick = board.deadline, board.tick

    def read(self, port, size, now):
        return self.board.read_port(port, size, now)

    def write(self, port, size, value, now):
        self.board.write_port(port, size, value, now)


def pulse_count(pulse, hertz, mips=10):
    """The count at which a chip's cycle is reached."""
    return Clock(hertz, mips).count_at(pulse)
