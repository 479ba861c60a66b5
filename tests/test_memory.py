"""Guest memory: mappings against a naive model, accesses at page boundaries, exhaustion."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.memory import (
    AROUND,
    MANY_FREE,
    PAGE_SIZE,
    READ,
    WRITE,
    AddressSpace,
    OutOfMemoryError,
    PhysicalMemory,
    runs_of,
)
from isa.fault import Fault

OPERATIONS = st.tuples(
    st.sampled_from(["map", "unmap", "protect", "write", "discard", "move"]),
    st.integers(0, 23),
    st.integers(1, 8),
    st.sampled_from([0, READ, READ | WRITE]),
)
Operation = tuple[str, int, int, int]
Model = dict[int, list[int]]  # page -> permissions, the byte that fills it


def space(pages: int = 64) -> AddressSpace:
    return AddressSpace(PhysicalMemory(pages * PAGE_SIZE))


def change(real: AddressSpace, model: Model, step: int, operation: Operation) -> None:
    """Do one operation on the address space and on the model."""
    kind, page, count, permissions = operation
    start, size, pages = page * PAGE_SIZE, count * PAGE_SIZE, range(page, page + count)
    present = [p for p in pages if p in model]
    if kind == "map":
        real.map(start, size, permissions)
        model.update({p: [permissions, 0] for p in pages})
    elif kind == "unmap":
        real.unmap(start, size)
        for p in present:
            del model[p]
    elif kind == "protect":
        assert real.protect(start, size, permissions) == (len(present) == count)
        for p in pages if len(present) == count else ():
            model[p][0] = permissions
    elif kind == "discard":
        real.discard(start, size)
        for p in present:
            model[p][1] = 0
    elif kind == "move":
        real.move(start, size, (page + 40) * PAGE_SIZE)
        for p in present:
            model[p + 40] = model.pop(p)
    else:
        done = real.write(start, bytes([step]) * size) is None
        assert done == all(model.get(p, [0])[0] & WRITE for p in pages)
        for p in pages if done else ():
            model[p][1] = step


@settings(max_examples=150, deadline=None)
@given(st.lists(OPERATIONS, max_size=40))
def test_regions_against_a_page_model(operations: list[Operation]) -> None:
    """After any sequence of operations, every page has the model's permissions and contents."""
    real, model = space(128), Model()
    for step, operation in enumerate(operations):
        change(real, model, step + 1, operation)
    for page in range(80):
        permissions, byte = model.get(page, [0, 0])
        data = real.read(page * PAGE_SIZE, 1)
        assert (data == bytes([byte])) if permissions else isinstance(data, Fault)
        where = real.translate(page * PAGE_SIZE + 5, WRITE)
        assert isinstance(where, int) == bool(permissions & WRITE)
    ends = [end for r in real.regions for end in (r.start, r.end)]
    assert ends == sorted(ends)
    assert len(set(real.frames.values())) == len(real.frames)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3 * PAGE_SIZE), st.binary(max_size=2 * PAGE_SIZE))
def test_what_is_written_is_read(address: int, data: bytes) -> None:
    """Reads and writes agree across page boundaries; poke writes what write would."""
    one, two = space(), space()
    for s in (one, two):
        s.map(0, 6 * PAGE_SIZE, READ | WRITE)
    assert one.write(address, data) is None
    two.poke(address, data)
    assert one.read(address, len(data)) == two.read(address, len(data)) == data


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4)), max_size=8), st.integers(1, 6))
def test_find_free_is_the_highest_gap(taken: list[tuple[int, int]], count: int) -> None:
    """find_free answers like a search by hand."""
    s = space()
    for page, size in taken:
        s.map(page * PAGE_SIZE, size * PAGE_SIZE, READ)
    free = [p for p in range(2, 33 - count) if not s.overlapping(p * 4096, (p + count) * 4096)]
    expected = max(free) * PAGE_SIZE if free else None
    assert expected == s.find_free(count * PAGE_SIZE, 2 * PAGE_SIZE, 32 * PAGE_SIZE)


def test_page_fault_codes() -> None:
    """The error code tells write, user, and whether the page was there."""
    s = space()
    s.map(0x1000, PAGE_SIZE, READ)
    assert s.translate(0x5123, READ) == Fault(14, 4, 0x5123)
    assert s.translate(0x5123, WRITE) == Fault(14, 6, 0x5123)
    assert s.translate(0x1004, WRITE) == Fault(14, 7, 0x1004)


def test_a_write_that_faults_writes_nothing() -> None:
    """All or nothing across a boundary to a read-only page."""
    s = space()
    s.map(0x1000, PAGE_SIZE, READ | WRITE)
    s.map(0x2000, PAGE_SIZE, READ)
    assert isinstance(s.write(0x1FFC, b"12345678"), Fault)
    assert s.read(0x1FFC, 8) == bytes(8)


def test_exhausted_memory_is_a_fault_and_not_an_exception() -> None:
    """The third page of a two-page machine faults and leaves a note why."""
    s = space(2)
    s.map(0, 4 * PAGE_SIZE, READ | WRITE)
    assert s.write(0, bytes(2 * PAGE_SIZE)) is None
    assert isinstance(s.load(2 * PAGE_SIZE, 4), Fault)
    assert s.exhausted
    with pytest.raises(OutOfMemoryError):
        s.poke(2 * PAGE_SIZE, b"x")


def test_freed_frames_come_back_zeroed() -> None:
    """What one mapping held is not seen by the next."""
    s = space(1)
    s.map(0, PAGE_SIZE, READ | WRITE)
    s.write(0, b"secret")
    s.map(0, PAGE_SIZE, READ | WRITE)
    assert s.read(0, 6) == bytes(6)


def test_code_writes_are_announced() -> None:
    """A write to watched bytes, and only to those, calls the listeners."""
    s, seen = space(), list[tuple[int, int]]()
    s.physical.listeners.append(lambda address, size: seen.append((address, size)))
    s.map(0, PAGE_SIZE, READ | WRITE)
    where = s.translate(0x100, READ)
    assert isinstance(where, int)
    s.physical.watch(where, 4)
    s.write(0xF0, bytes(16))
    assert seen == []
    s.write(0xFE, bytes(4))
    assert seen == [(where - 2, 4)]
    s.unmap(0, PAGE_SIZE)
    assert len(seen) == 2


def test_mappings_change_the_generation() -> None:
    """Engines can tell that translations they cached are stale."""
    s = space()
    seen = [s.generation]
    s.map(0, 4096, READ)
    seen.append(s.generation)
    s.protect(0, 4096, 0)
    seen.append(s.generation)
    s.unmap(0, 4096)
    assert [*seen, s.generation] == sorted({*seen, s.generation})


def test_bad_mappings_are_refused() -> None:
    """Ranges off the page grid or out of the space raise ValueError."""
    s = space()
    for start, size in [(1, 4096), (0, 100), (0, 0), (0xFFFFF000, 0x2000)]:
        with pytest.raises(ValueError, match="cannot map"):
            s.map(start, size, READ)
    with pytest.raises(ValueError, match="no memory"):
        s.poke(0x1000, b"x")


def test_strings() -> None:
    """A string ends at NUL; too long is None; unmapped is a fault."""
    s = space()
    s.map(0x1000, 0x1000, READ | WRITE)
    s.write(0x1FF0, b"hello\0")
    assert s.read_string(0x1FF0) == b"hello"
    assert s.read_string(0x1FF0, 3) is None
    s.write(0x1FF0, b"x" * 16)
    assert isinstance(s.read_string(0x1FF0), Fault)


def test_accessible_counts_by_region() -> None:
    """The reach of an access ends at the first page that refuses it."""
    s = space()
    s.map(0x1000, 0x1000, READ | WRITE)
    s.map(0x2000, 0x1000, READ)
    assert s.accessible(0x1800, 1 << 31, WRITE) == 0x800
    assert s.accessible(0x1800, 1 << 31, READ) == 0x1800
    assert s.accessible(0x9000, 10, READ) == 0


def test_neighbours_are_merged() -> None:
    """Page-by-page mappings of one kind stay one region, so lookups stay fast."""
    s = space()
    for page in range(16):
        s.map(page * PAGE_SIZE, PAGE_SIZE, READ)
    assert len(s.regions) == 1


@given(st.lists(st.integers(0, 30), unique=True), st.data())
def test_runs_cover_everything_once(numbers: list[int], data: st.DataObject) -> None:
    """Inside of a run all columns count up, and no run could be longer."""
    other = data.draw(st.permutations(numbers))
    whole: list[int] = []
    for first, count in runs_of(numbers, other):
        assert first == len(whole) and count > 0
        for column in (numbers, other):
            assert column[first : first + count] == list(
                range(column[first], column[first] + count)
            )
        if first:
            assert any(column[first] != column[first - 1] + 1 for column in (numbers, other))
        whole += numbers[first : first + count]
    assert whole == numbers


@given(st.lists(st.integers(0, 15), unique=True), st.binary(min_size=1, max_size=9000))
def test_frames_are_zeroed_or_filled_whoever_had_them(freed: list[int], data: bytes) -> None:
    """In whatever order they came back: the next ones hold what is asked for, and zeros."""
    physical = PhysicalMemory(20 * PAGE_SIZE)
    for frame in physical.allocate_frames(16):
        physical.write(frame * PAGE_SIZE, b"\xee" * PAGE_SIZE)
    for frame in freed:
        physical.free_frame(frame)
    filled = physical.filled_frames(memoryview(data))
    held = b"".join(physical.read(frame * PAGE_SIZE, PAGE_SIZE) for frame in filled)
    assert held == data.ljust(len(filled) * PAGE_SIZE, b"\0")
    copies = physical.copy_frames(filled) if physical.free_frames >= len(filled) else []
    assert all(
        physical.read(one * PAGE_SIZE, PAGE_SIZE) == physical.read(other * PAGE_SIZE, PAGE_SIZE)
        for one, other in zip(filled, copies, strict=False)
    )
    rest = physical.allocate_frames(physical.free_frames)
    assert not any(any(physical.read(frame * PAGE_SIZE, PAGE_SIZE)) for frame in rest)
    assert len({*filled, *copies, *rest}) == len(filled) + len(copies) + len(rest)
    with pytest.raises(OutOfMemoryError):
        physical.allocate_frames(1)


@pytest.mark.parametrize(
    ("free", "alone", "beside"),
    [(4000, AROUND, 0), (1500, 1, AROUND - 6), (MANY_FREE - 1, 1, 1)],
    ids=["plenty", "half in use", "short"],
)
def test_a_touch_gets_what_is_near_unless_memory_is_short(
    free: int, alone: int, beside: int
) -> None:
    """How many frames a touch takes that is alone, and one beside it."""
    memory = space(4096)
    memory.physical.allocate_frames(4096 - free)
    memory.map(AROUND * PAGE_SIZE, AROUND * PAGE_SIZE, READ | WRITE)
    for page, frames in ((5, alone), (6, beside)):
        before = len(memory.frames)
        memory.store((AROUND + page) * PAGE_SIZE, 4, 7)
        assert len(memory.frames) - before == frames


def test_a_file_that_begins_inside_of_a_page_keeps_what_is_there() -> None:
    """Zeros before it in a fresh page, what was written in another."""
    for written in (b"", b"\x11" * 8):
        memory = space()
        memory.map(0, 3 * PAGE_SIZE, READ)
        if written:
            memory.poke(0, written)
        memory.fill(16, b"\x22" * 2 * PAGE_SIZE)
        expected = written.ljust(16, b"\0") + b"\x22" * 2 * PAGE_SIZE
        assert memory.read(0, 3 * PAGE_SIZE) == expected.ljust(3 * PAGE_SIZE, b"\0")
