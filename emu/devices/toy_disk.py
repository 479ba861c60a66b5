"""The toy machine's block device: sectors of 64 words, moved to and from real addresses."""

from __future__ import annotations

from collections.abc import Mapping

from emu.toy.memory import WordMemory
from isa.hints import Final
from isa.toy.ports import Port
from isa.toy.traps import Trap

SECTOR_WORDS: Final = 64
SECTOR_BYTES: Final = 4 * SECTOR_WORDS
DELAY: Final = 500  # instructions from a command to its completion
READ, WRITE = 1, 2  # commands
READY, BUSY, FAILED = 0, 1, 2  # states

_SETTINGS = {Port.DISK_SECTOR: "sector", Port.DISK_ADDRESS: "address"}


class ToyDisk:
    """Holds its image in memory (`image`, little-endian words); the words move at completion.

    Addresses are real: the device knows nothing of R, which is why a monitor has to look at them.
    """

    ports = frozenset(
        {
            Port.DISK_SECTOR,
            Port.DISK_ADDRESS,
            Port.DISK_COMMAND,
            Port.DISK_STATUS,
            Port.DISK_SIZE,
        }
    )
    trap = Trap.DISK

    def __init__(self, memory: WordMemory, image: bytes = b"") -> None:
        self._memory = memory
        self.image = bytearray(image + bytes(-len(image) % SECTOR_BYTES))
        self.requested = False
        self.settings = {"sector": 0, "address": 0}
        self.status = READY
        self.command = 0
        self.completion: int | None = None

    @property
    def sectors(self) -> int:
        """How many sectors the image has."""
        return len(self.image) // SECTOR_BYTES

    def read(self, port: Port, now: int) -> int:
        """STATUS and SIZE; the settings can be read back."""
        if port is Port.DISK_STATUS:
            return self.status
        if port is Port.DISK_SIZE:
            return self.sectors
        return self.settings[_SETTINGS[port]] if port in _SETTINGS else 0

    def write(self, port: Port, value: int, now: int) -> None:
        """A setting, or a command; while busy everything is ignored."""
        if self.status == BUSY:
            return
        if port in _SETTINGS:
            self.settings[_SETTINGS[port]] = value
        elif port is Port.DISK_COMMAND:
            self.status, self.command = BUSY, value
            self.completion = now + DELAY

    def deadline(self) -> int | None:
        """When the command is done."""
        return self.completion

    def tick(self, now: int) -> None:
        """The command is done; it moves the whole sector or nothing."""
        self.completion = None
        self.status = READY if self._transfer() else FAILED
        self.requested = True

    def _transfer(self) -> bool:
        sector, address = self.settings["sector"], self.settings["address"]
        if sector >= self.sectors or address + SECTOR_WORDS > self._memory.size:
            return False
        place = slice(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
        if self.command == READ:
            data = self.image[place]
            self._memory.write(
                address,
                [int.from_bytes(data[i : i + 4], "little") for i in range(0, SECTOR_BYTES, 4)],
            )
        elif self.command == WRITE:
            words = self._memory.read(address, SECTOR_WORDS)
            self.image[place] = b"".join(w.to_bytes(4, "little") for w in words)
        return self.command in (READ, WRITE)

    def snapshot(self) -> Mapping[str, object]:
        """Settings, progress and contents."""
        return {
            "requested": self.requested,
            **self.settings,
            "status": self.status,
            "command": self.command,
            "completion": self.completion,
            "image": bytes(self.image),
        }
