"""The host rests while a PC's processor has halted and somebody may type: it need not spin."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from fractions import Fraction

from emu.devices.ns16550 import SerialBackend


class Rest:
    """Halts take their time in host's seconds, unless the guest is behind the host's clock anyhow.

    What the guest sees is the same with and without it.
    """

    def __init__(self, backends: Sequence[SerialBackend], mips: int | Fraction) -> None:
        self._backends = backends
        self._instructions = float(mips * 1_000_000)  # in a second
        self._began = time.perf_counter()

    def during(self, now: int, wakes: int) -> None:
        """Let the count go from `now` to `wakes`, or input come; at once if none ever will."""
        sources = [b.source for b in self._backends if b.interactive and b.source is not None]
        if not sources:
            return
        passed = time.perf_counter() - self._began
        seconds = min(wakes - now, wakes - passed * self._instructions) / self._instructions
        try:
            if seconds > 0:
                select.select(sources, [], [], seconds)
        except (OSError, ValueError):  # closed, or nothing that can be waited for: `read` will see
            return
