"""The guest's gates that the real processor may go through: a shadow of its interrupt table.

Without it each INT n of the guest traps. Monitors let those through that they safely can, as Xen
did with `int 80h`: trap gates, as an interrupt gate would clear the real IF, and interrupts are the
monitor's. A gate whose handler is of another ring leads to the real TSS, which has no stacks, and
traps; so what is gone through keeps the level.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

from emu.memory import PAGE_BITS, TranslatedMemory, pieces_of
from emu.pc.machine import PcMachine
from emu.state import State
from isa.fault import Fault
from isa.registers import Register
from isa.x86.registers import IDT_BASE, IDT_LIMIT
from vmm.pc.allocation import Allocation
from vmm.pc.shadow import Shadow

PAGE: Final = 64  # among the monitor's own linear pages
GATE: Final = 8  # bytes
LIMIT: Final = 256 * GATE - 1
RIGHTS: Final = 5  # which byte of a gate says what it is
DIRECT: Final = 0xEF  # present, for level 3, a trap gate of 32 bits


class Gates:
    """The interrupt table that the machine below has while the guest runs."""

    def __init__(self, below: PcMachine, shadow: Shadow, allocation: Allocation) -> None:
        self._memory = below.memory
        self._shadow = shadow
        self._base = allocation.base
        self._frame, self._linear = shadow.own_page(PAGE)
        self._table = b""

    def registers(self, state: State) -> dict[Register, int]:
        """What leads to the table, which is as the guest's is now.

        Until the next time stores to the guest's are interpreted.
        """
        pieces = list(self._pieces(state))
        self._shadow.hold(frozenset(where >> PAGE_BITS for where, _ in pieces if where is not None))
        table = b"".join(self._read(where, size) for where, size in pieces)
        if table != self._table:
            self._table = table
            self._memory.write(self._frame, _shown(table))
        return {IDT_BASE: self._linear, IDT_LIMIT: LIMIT}

    def _pieces(self, state: State) -> Iterator[tuple[int | None, int]]:
        """Where in the guest's memory its table lies, if anywhere, and so many bytes of it."""
        linear = cast(TranslatedMemory, state.memory["linear"])
        size = min(state.values[IDT_LIMIT.slot], LIMIT) + 1
        for address, count in pieces_of(state.values[IDT_BASE.slot], size):
            where = linear.still(address, 0)
            yield None if isinstance(where, Fault) else where, count

    def _read(self, where: int | None, size: int) -> bytes:
        if where is None:
            return bytes(size)
        data = self._memory.read(self._base + where, size)
        assert isinstance(data, bytes)
        return data


def _shown(table: bytes) -> bytes:
    """The table with no gates but those that may be gone through."""
    gates = (table[at : at + GATE] for at in range(0, len(table) - GATE + 1, GATE))
    shown = (gate if gate[RIGHTS] == DIRECT else bytes(GATE) for gate in gates)
    return b"".join(shown).ljust(LIMIT + 1, b"\0")
