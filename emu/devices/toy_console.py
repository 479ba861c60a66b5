"""The toy machine's console: characters out at once, characters in at known instruction counts."""

from __future__ import annotations

import io
from collections.abc import Mapping

from isa.hints import BinaryIO, Final
from isa.toy.ports import Port
from isa.toy.traps import Trap

DELAY: Final = 200  # instructions between asking for a character and its coming
END: Final = -1  # what DATA reads at the end of the input
RECEIVE: Final = 1  # the command in CONTROL


class ToyConsole:
    """A transmitter that is always ready and a receiver that holds one character.

    Once the receiver is on, the next character comes DELAY instructions after the last one was
    taken, so none is lost. The host's input is read only then: a guest that never asks never waits.
    """

    ports = frozenset({Port.CONSOLE_DATA, Port.CONSOLE_STATUS, Port.CONSOLE_CONTROL})
    trap = Trap.CONSOLE

    def __init__(self, output: BinaryIO, source: BinaryIO | None = None) -> None:
        self._output = output
        self._source = io.BytesIO() if source is None else source
        self.requested = False
        self.receiving = False
        self.arrival: int | None = None
        self.received: int | None = None  # the character, or END

    def read(self, port: Port, now: int) -> int:
        """DATA takes the character; STATUS tells whether there is one."""
        if port is Port.CONSOLE_STATUS:
            return int(self.received is not None)
        if port is not Port.CONSOLE_DATA or self.received is None:
            return 0
        character = self.received
        if character != END:
            self.received = None
            self.arrival = now + DELAY
        return character

    def write(self, port: Port, value: int, now: int) -> None:
        """DATA prints; CONTROL switches the receiver on."""
        if port is Port.CONSOLE_DATA:
            self._output.write(bytes([value & 0xFF]))
            self._output.flush()
        elif port is Port.CONSOLE_CONTROL and value & RECEIVE and not self.receiving:
            self.receiving = True
            self.arrival = now + DELAY

    def deadline(self) -> int | None:
        """When the next character comes."""
        return self.arrival

    def tick(self, now: int) -> None:
        """A character comes, or the end of the input, which stays."""
        self.arrival = None
        byte = self._source.read(1)
        self.received = byte[0] if byte else END
        self.requested = True

    def snapshot(self) -> Mapping[str, object]:
        """Everything but the host's streams."""
        return {
            "requested": self.requested,
            "receiving": self.receiving,
            "arrival": self.arrival,
            "received": self.received,
        }
