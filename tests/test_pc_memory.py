"""The PC's memory: what lies where, and paging against a walk written down from the manual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.memory import EXECUTE, READ, WRITE
from emu.pc.memory import PhysicalMap
from emu.pc.paging import ALL, ALL_BUT_GLOBAL, PAGE_ONLY, UserMemory, attach_memory
from emu.state import State
from isa.fault import Fault
from isa.x86.machine import X86

RAM = 1 << 20
P, W, U, A, D, PS, G = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
DIRECTORY, TABLE = 0x1000, 0x2000


def paged(controls: Mapping[str, int] = {}) -> tuple[State, UserMemory, PhysicalMap]:
    """A processor in protected mode with paging on and an empty directory."""
    state, physical = State(X86("486"), {}), PhysicalMap(RAM)
    user = attach_memory(state, physical)
    for name, value in {"pe": 1, "pg": 1, "cr3": DIRECTORY, "cpl": 3, **controls}.items():
        state[name] = value
    return state, user, physical


# -- physical -----------------------------------------------------------------------------------


def test_nothing_reads_as_ones_and_forgets() -> None:
    physical = PhysicalMap(RAM)
    assert physical.store(RAM + 0x5000, 4, 0x12345678) is None
    assert physical.load(RAM + 0x5000, 4) == 0xFFFFFFFF
    assert physical.load(0xFFFFFFFE, 4) == 0xFFFF  # ones, then RAM at 0


def test_rom_is_read_and_not_written() -> None:
    physical = PhysicalMap(RAM)
    where = physical.add_rom(bytes(range(256)) * 16)
    physical.map_rom(0xFFFFF000, where, 0x1000)
    physical.map_rom(0xF0000, where, 0x1000)
    physical.store(0xF0004, 4, 0)
    assert physical.load(0xF0004, 4) == physical.load(0xFFFFF004, 4) == 0x07060504
    assert physical.load_for_write(0xF0004, 1) == 4


def test_shadow_ram() -> None:
    physical = PhysicalMap(RAM)
    where = physical.add_rom(b"\xea" * 4096)
    physical.map_rom(0xF0000, where, 0x1000)
    physical.shadow(0xF0000, 0x1000, read=False, write=True)
    physical.store(0xF0000, 1, 0x55)
    assert physical.load(0xF0000, 1) == 0xEA
    physical.shadow(0xF0000, 0x1000, read=True, write=False)
    physical.store(0xF0000, 1, 0x66)
    assert physical.load(0xF0000, 1) == 0x55


def test_a_closed_a20_gate_hides_bit_20() -> None:
    physical = PhysicalMap(4 * RAM)
    physical.store(0x500, 2, 0xBEEF)
    assert physical.load(0x100500, 2) == 0
    physical.set_a20(False)
    assert physical.load(0x100500, 2) == 0xBEEF
    physical.set_a20(True)
    assert physical.load(0x100500, 2) == 0


def test_too_much_rom() -> None:
    with pytest.raises(ValueError, match="no room"):
        PhysicalMap(RAM).add_rom(bytes(2 << 20))


# -- paging --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """SDM volume 3, section 4.3, once more: plain numbers, no IR."""

    directory: int
    page: int
    pse: bool
    wp: bool

    def walk(self, address: int, write: bool, user: bool) -> tuple[int | Fault, int, int]:
        """The physical address or fault, and both entries afterwards."""
        entries = self.directory, self.page
        fault = Fault(14, write * 2 | user * 4, address)
        if not self.directory & P:
            return fault, *entries
        large = bool(self.directory & PS) and self.pse
        last = self.directory if large else self.page
        if not last & P:
            return fault, *entries
        rights = self.directory & last
        if (user and not rights & U) or (write and not rights & W and (user or self.wp)):
            return Fault(14, fault.code | 1, address), *entries
        dirty = D if write else 0
        if large:
            place = self.directory & 0xFFC00000 | address & 0x3FFFFF
            return place, self.directory | A | dirty, self.page
        place = self.page & 0xFFFFF000 | address & 0xFFF
        return place, self.directory | A, self.page | A | dirty


flags = st.sets(st.sampled_from([P, W, U, A, D, G])).map(sum)
bit = st.booleans()


@settings(max_examples=400, deadline=None)
@given(flags, flags, bit, bit, bit, bit, bit, st.integers(0, 0xFFF))
def test_walks_as_the_manual_says(
    directory: int, page: int, large: bool, pse: bool, wp: bool, write: bool, user: bool, low: int
) -> None:
    state, memory, physical = paged({"pse": pse, "wp": wp, "cpl": 3 if user else 0})
    directory |= 0x00400000 | PS if large and pse else TABLE | PS * large
    model = Model(directory, page | 0x30000, pse, wp)
    address = 0x00C05000 | low
    physical.store(DIRECTORY + 4 * 3, 4, directory)
    physical.store(TABLE + 4 * 5, 4, page | 0x30000)
    side = memory if user else state.memory["system"]
    for _ in range(2):  # the second time from what was remembered
        found = side.translate(address, WRITE if write else READ)
        place, *entries = model.walk(address, write, user)
        if isinstance(place, int):
            place = physical.place(place, WRITE if write else READ)
        assert found == place
        now = physical.load(DIRECTORY + 4 * 3, 4), physical.load(TABLE + 4 * 5, 4)
        assert list(now) == entries
        memory.invalidate(0, ALL)
        model = Model(*entries, pse, wp)


def test_the_tlb_keeps_what_it_has_until_told() -> None:
    _, memory, physical = paged()
    physical.store(DIRECTORY, 4, TABLE | P | W | U)
    physical.store(TABLE, 4, 0x30000 | P | U)
    physical.store(TABLE + 4, 4, 0x31000 | P | U)
    assert memory.translate(0x10, READ) == 0x30010
    assert memory.translate(0x1010, READ) == 0x31010
    physical.store(TABLE, 4, 0x40000 | P | U)
    physical.store(TABLE + 4, 4, 0x41000 | P | U)
    assert memory.translate(0x10, READ) == 0x30010
    memory.invalidate(0x0, PAGE_ONLY)
    assert memory.translate(0x10, READ) == 0x40010
    assert memory.translate(0x1010, READ) == 0x31010
    memory.invalidate(0, ALL_BUT_GLOBAL)
    assert memory.translate(0x1010, READ) == 0x41010


def test_global_pages_survive_a_load_of_cr3() -> None:
    _, memory, physical = paged({"pge": 1})
    physical.store(DIRECTORY, 4, TABLE | P | U)
    physical.store(TABLE, 4, 0x30000 | P | U | G)
    assert memory.translate(0, READ) == 0x30000
    physical.store(TABLE, 4, 0x40000 | P | U | G)
    memory.invalidate(0, ALL_BUT_GLOBAL)
    assert memory.translate(0, READ) == 0x30000
    memory.invalidate(0, ALL)
    assert memory.translate(0, READ) == 0x40000


def test_code_is_fetched_with_the_rights_of_the_level() -> None:
    state, memory, physical = paged()
    physical.store(DIRECTORY, 4, TABLE | P | U)
    physical.store(TABLE, 4, 0x30000 | P)
    assert memory.translate(0, EXECUTE) == Fault(14, 5, 0)
    state["cpl"] = 0
    assert memory.translate(0, EXECUTE) == 0x30000


def test_looking_at_code_changes_nothing() -> None:
    _, memory, physical = paged()
    physical.store(DIRECTORY, 4, TABLE | P | U)
    physical.store(TABLE, 4, 0x30000 | P | U)
    physical.store(TABLE + 4, 4, 0x31000 | P | U)
    code, fault = memory.fetch(0xFFC, 15)
    assert (len(code), fault) == (4, None)  # the next page's accessed bit is not set ahead of time
    assert memory.look(0x1000, 8, 3) == b""
    assert physical.load(TABLE + 4, 4) == 0x31000 | P | U
    assert memory.fetch(0x1000, 4) == (bytes(4), None)
    assert physical.load(TABLE + 4, 4) == 0x31000 | P | U | A
    memory.invalidate(0, ALL)
    memory.fetch(0x1000, 4)
    assert memory.fetch(0xFFC, 15) == (bytes(15), None)
