"""Content that comes when its page is touched: nobody can tell it from what was there at once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.memory import (
    ANY,
    EXECUTE,
    NEAR,
    PAGE_SIZE,
    READ,
    WRITE,
    AddressSpace,
    Mappings,
    OutOfMemoryError,
    PhysicalMemory,
)
from isa.fault import Fault

BASE = 16  # pages
SIZES = st.integers(1, 3 * NEAR * PAGE_SIZE)
OPERATIONS = st.tuples(
    st.sampled_from(
        ["map", "unmap", "protect", "write", "read", "fetch", "poke", "discard", "move", "fork",
         "log", "fill", "next"]
    ),
    st.integers(0, 48),
    st.integers(1, 2 * NEAR),
    st.sampled_from([0, READ, READ | WRITE, ANY]),
)  # fmt: skip
Operation = tuple[str, int, int, int]


def spaces(size: int, address: int, pages: int = 256) -> list[AddressSpace]:
    """The same file in two address spaces, in one of them late."""
    content = bytes(n * n % 251 + 1 for n in range(size))
    found = []
    for late in (False, True):
        space = AddressSpace(PhysicalMemory(pages * PAGE_SIZE))
        space.map(BASE * PAGE_SIZE, 4 * NEAR * PAGE_SIZE, READ | WRITE, "image")
        space.fill(BASE * PAGE_SIZE + address, content, late=late)
        found.append(space)
    return found


def change(space: AddressSpace, operation: Operation) -> object:
    """Do something, and tell what came of it."""
    kind, page, count, permissions = operation
    start, size = page * PAGE_SIZE, count * PAGE_SIZE
    if kind == "map":
        space.map(start, size, permissions)
    elif kind == "unmap":
        space.unmap(start, size)
    elif kind == "protect":
        return space.protect(start, size, permissions)
    elif kind == "discard":
        space.discard(start, size)
    elif kind == "move":
        space.move(start, size, start + 64 * PAGE_SIZE)
    elif kind == "fork":
        other = space.copy()
        mine, free = space.mappings, space.physical.free_frames
        space.use(other)
        seen = space.read(start, size)
        space.release(other)
        space.use(mine)
        return free, seen
    elif kind == "log":
        space.log_writes(set())
    elif kind == "next":
        space.physical.index_constants()
    elif kind == "fill":
        return filled(space, start, size)
    elif kind == "poke":
        return poked(space, start + count)
    elif kind == "write":
        return space.write(start + count, bytes([count]) * count)
    elif kind == "fetch":
        return space.fetch(start + PAGE_SIZE - 8, 16)
    else:
        return space.read(start + count, size)
    return None


def filled(space: AddressSpace, start: int, size: int) -> str:
    space.map(start, size, READ)
    try:
        space.fill(start, b"again" * (size // 5))
    except OutOfMemoryError:
        return "full"
    return ""


def poked(space: AddressSpace, address: int) -> str:
    try:
        space.poke(address, b"poked")
    except (ValueError, OutOfMemoryError) as error:
        return type(error).__name__
    return ""


@given(SIZES, st.sampled_from([0, 1, PAGE_SIZE - 1, PAGE_SIZE]), st.lists(OPERATIONS, max_size=24))
@settings(max_examples=200, deadline=None)
def test_nobody_can_tell(size: int, address: int, operations: list[Operation]) -> None:
    eager, late = spaces(size, address)
    for operation in operations:
        assert change(eager, operation) == change(late, operation)
        assert eager.mappings.resident == late.mappings.resident
        assert eager.physical.free_frames == late.physical.free_frames
        assert eager.regions == late.regions
    for space in (eager, late):
        space.settle()
        space.protect(BASE * PAGE_SIZE, 4 * NEAR * PAGE_SIZE, READ)
    assert eager.frames.keys() == late.frames.keys()
    for page in eager.frames:
        one, other = (s.physical.read(s.frames[page] * PAGE_SIZE, PAGE_SIZE) for s in (eager, late))
        assert one == other
    assert not late.physical.promised


def test_a_touch_brings_what_is_near_and_nothing_else() -> None:
    _, late = spaces(3 * NEAR * PAGE_SIZE, 0)
    assert not late.frames
    assert late.load(BASE * PAGE_SIZE, 4)
    assert sorted(late.frames) == list(range(BASE, BASE + NEAR))
    assert late.physical.promised == 2 * NEAR


def test_memory_is_full_when_it_would_be_otherwise() -> None:
    for space in spaces(2 * NEAR * PAGE_SIZE, 0, pages=4 * NEAR):
        first = 128 * PAGE_SIZE
        space.map(first, 4 * NEAR * PAGE_SIZE, READ | WRITE)
        touched = 0
        while not isinstance(space.load(first + touched * PAGE_SIZE, 4), Fault):
            touched += 1
        assert touched == 2 * NEAR
        assert space.exhausted
        assert space.load(BASE * PAGE_SIZE, 4) == space.load(BASE * PAGE_SIZE, 4) != 0
    with pytest.raises(OutOfMemoryError):
        spaces(2 * NEAR * PAGE_SIZE, 0, pages=NEAR)


@pytest.mark.parametrize("access", [READ, WRITE, EXECUTE])
def test_code_is_found_without_a_touch(access: int) -> None:
    eager, late = spaces(PAGE_SIZE, 0)
    assert late.look(BASE * PAGE_SIZE, 16, 0) == eager.look(BASE * PAGE_SIZE, 16, 0) != b""
    assert not isinstance(late.translate(BASE * PAGE_SIZE, access), Fault)


def test_a_program_that_goes_lets_its_frames_go() -> None:
    _, late = spaces(2 * NEAR * PAGE_SIZE, 0)
    free, old = late.physical.free_frames, late.mappings
    late.use(Mappings())
    late.release(old)
    assert late.physical.free_frames == free + 2 * NEAR


def test_only_writes_change_memory_whose_writes_are_logged() -> None:
    _, late = spaces(2 * NEAR * PAGE_SIZE, 0)
    late.log_writes(set())
    before = bytes(late.physical.view)
    late.read(BASE * PAGE_SIZE, 2 * NEAR * PAGE_SIZE)
    assert late.physical.view == before
