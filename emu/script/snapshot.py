"""Snapshots: the whole state of a guest at one moment, cheap to take.

Only pages that were ever touched are looked at, and only those copied that differ from the snapshot
before; the others are shared with it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np

from emu.memory import PAGE_SIZE, AddressSpace, PhysicalMemory
from emu.state import State
from isa.fault import Fault
from isa.hints import Any

ZEROS = bytes(PAGE_SIZE)
_FRAMES = ("_next_frame", "_free", "_more_users", "_shares", "_constants", "_by_hash")
"""Which frames of storage are free, and which have several users."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What `guest.snapshot()` answers with and `guest.restore` takes."""

    count: int
    values: tuple[int, ...]
    reply: int | None
    interrupt_requested: bool
    shut_down: tuple[Fault, ...]
    pages: dict[int, bytes] = field(repr=False)  # of storage, by frame; others are zeros
    mappings: Any = field(repr=False)
    machine: Any = field(repr=False)
    announced: Any = field(repr=False)


def pages_of(storage: PhysicalMemory, space: AddressSpace | None, old: dict[int, bytes]
             ) -> dict[int, bytes]:  # fmt: skip
    """The pages of storage that are not zero; those that are as they were are not copied."""
    frames = sorted(space.frames.values()) if space is not None else _used(storage)
    found = {}
    for frame in frames:
        view = storage.view[frame * PAGE_SIZE : (frame + 1) * PAGE_SIZE]
        before = old.get(frame, ZEROS)
        if view == before:
            if frame in old:
                found[frame] = before
        else:
            found[frame] = bytes(view)
    return found


def _used(storage: PhysicalMemory) -> list[int]:
    """The frames that hold anything but zeros."""
    words = storage.array.view(np.uint64).reshape(-1, PAGE_SIZE // 8)
    used: list[int] = np.flatnonzero(words.any(axis=1)).tolist()
    return used


def put_pages(storage: PhysicalMemory, space: AddressSpace | None, pages: dict[int, bytes]) -> None:
    """Make storage what it was; code that changes is forgotten by whoever translated it."""
    frames = set(space.frames.values()) if space is not None else set(_used(storage))
    for frame in frames | pages.keys():
        wanted = pages.get(frame, ZEROS)
        where = frame * PAGE_SIZE
        if storage.view[where : where + PAGE_SIZE] != wanted:
            storage.write(where, wanted)


def mappings_of(space: AddressSpace) -> Any:
    """What is mapped where, and which frames are free."""
    kept = {name: getattr(space.physical, name) for name in _FRAMES}
    return copy.deepcopy((space.regions, space.frames, space.exhausted, kept))


def put_mappings(space: AddressSpace, saved: Any) -> None:
    """Map what was mapped."""
    regions, frames, space.exhausted, kept = copy.deepcopy(saved)
    physical = space.physical
    for region in space.regions:
        if region.backing is not None:  # files stay as they are now
            region.backing.settle()
    for frame in physical.code_frames - set(frames.values()):
        physical.release(frame)
    space.regions[:] = regions
    space.frames.clear()
    space.frames.update(frames)
    for name, value in kept.items():
        setattr(physical, name, value)
    space.changed()


def take(state: State, machine: Any, announced: Any, old: Snapshot | None) -> Snapshot:
    """A snapshot of everything."""
    space = getattr(machine, "space", None)
    storage = space.physical if space is not None else machine.machine.memory.physical
    return Snapshot(
        state.count, tuple(state.values), state.reply, state.interrupt_requested, state.shut_down,
        pages_of(storage, space, {} if old is None else old.pages),
        None if space is None else mappings_of(space), machine.save(), announced,
    )  # fmt: skip


def put_back(state: State, machine: Any, saved: Snapshot) -> None:
    """Make everything what it was."""
    space = getattr(machine, "space", None)
    storage = space.physical if space is not None else machine.machine.memory.physical
    if space is not None:
        put_mappings(space, saved.mappings)
    put_pages(storage, space, saved.pages)
    state.set_values(saved.values)
    state.count, state.reply, state.shut_down = saved.count, saved.reply, saved.shut_down
    state.interrupt_requested = saved.interrupt_requested
    machine.load(saved.machine)
