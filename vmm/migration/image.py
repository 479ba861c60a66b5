"""A virtual PC by value: what machine it is, its state but for memory, and the pages of storage.

State is everything that decides what the guest does next: registers, time, devices, what lies at
which physical address, and the virtual TLB, since a guest that has changed a page table and has not
said so goes on with the old translation. What engines and monitors have cached is not in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, Final, cast

import numpy as np

from emu.devices.disk_image import DiskImage
from emu.devices.ns16550 import SerialBackend
from emu.engines import Engine
from emu.memory import EXECUTE, PAGE_SIZE, READ, WRITE
from emu.pc.guest import MOST_MEMORY
from emu.pc.machine import PcMachine
from emu.pc.memory import ROM_ROOM
from emu.pc.options import Options
from emu.pc.paging import LinearMemory
from isa.fault import Fault
from isa.x86.models import MODELS
from vmm.migration.errors import ProtocolError, RefusedError
from vmm.pc.allocation import LEAST, MOST, allocation_for
from vmm.pc.control_program import Monitor
from vmm.pc.guest import POISON
from vmm.pc.machine import VirtualPc

FLOPPIES, DISKS = 2, 4  # drives of a PC
MOST_SERIAL: Final = 4
_PLAIN: Final = ("boot", "pci", "vga", "debug_exit", "fw_cfg", "timed_serial", "kernel", "initrd",
                 "command_line")  # fmt: skip
"""Options that are plain values themselves."""
_CHUNK: Final = 2048  # sectors that are read at a time
ZEROS: Final = bytes(PAGE_SIZE)
WRONG: Final = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError)
"""What values of a wrong form lead to."""


# -- disks: by identifier --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Disk:
    """An image by its name and digest: its contents stay where they are."""

    name: str
    sectors: int
    digest: str

    def __str__(self) -> str:
        return f"{self.name} ({self.sectors} sectors, SHA-256 {self.digest[:16]}…)"


def disk_digest(image: DiskImage) -> str:
    """SHA-256 of an image, without what a guest has written over it."""
    original, found = image.fresh(), hashlib.sha256()
    for sector in range(0, original.sectors, _CHUNK):
        found.update(original.read(sector, min(_CHUNK, original.sectors - sector)) or b"")
    return found.hexdigest()


def named(image: DiskImage | None, name: str) -> Disk | None:
    """A drive's image as others know it."""
    return None if image is None else Disk(name, image.sectors, disk_digest(image))


# -- what machine it is ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """What must be built before state and pages fit: the machine, and what is plugged in."""

    model: str
    memory: int
    umip: bool
    ports: int  # serial ones: each is the receiver's own
    options: Mapping[str, Any]  # plain values, all the others
    floppies: tuple[Disk | None, ...] = ()
    disks: tuple[Disk | None, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        drives = {
            kind: [d and (d.name, d.sectors, d.digest) for d in getattr(self, kind)]
            for kind in ("floppies", "disks")
        }
        return {"model": self.model, "memory": self.memory, "umip": self.umip,
                "ports": self.ports, "options": dict(self.options), **drives}  # fmt: skip

    @property
    def frames(self) -> int:
        """How many pages of storage a page's number may name: RAM and ROM."""
        return (self.memory + ROM_ROOM) // PAGE_SIZE


def shape_of(machine: PcMachine, name: str, *, umip: bool = False) -> Shape:
    """What a machine is; `name` is the guest's, by which its disk images are known."""
    options = machine.board.options
    kept = {key: getattr(options, key) for key in _PLAIN}
    kept |= {"firmware_files": dict(options.firmware_files), "time": options.time.isoformat()}
    mips = Fraction(options.mips)
    kept["mips"] = (mips.numerator, mips.denominator)
    return Shape(
        machine.isa.model, machine.memory.ram, umip, len(options.serial), kept,
        tuple(named(image, name) for image in options.floppies),
        tuple(named(image, name) for image in options.disks),
    )  # fmt: skip


def shape_from(plain: Any) -> Shape:
    """The shape that the other side has told. Raises ProtocolError or RefusedError."""
    try:
        drives = [
            tuple(None if d is None else Disk(str(d[0]), int(d[1]), str(d[2])) for d in plain[kind])
            for kind in ("floppies", "disks")
        ]
        shape = Shape(str(plain["model"]), int(plain["memory"]), bool(plain["umip"]),
                      int(plain["ports"]), dict(plain["options"]), *drives)  # fmt: skip
    except WRONG as error:
        raise ProtocolError("the offer is no description of a machine", why=str(error)) from None
    _check(shape)
    return shape


def _check(shape: Shape) -> None:
    if shape.model not in MODELS:
        raise RefusedError(f"there is no processor {shape.model[:40]!r} here")
    if not LEAST <= shape.memory <= min(MOST, MOST_MEMORY) or shape.memory % PAGE_SIZE:
        raise RefusedError(f"{shape.memory} bytes of memory are not for a virtual PC here")
    if not 0 <= shape.ports <= MOST_SERIAL:
        raise RefusedError(f"a PC has no {shape.ports} serial ports")
    if len(shape.floppies) > FLOPPIES or len(shape.disks) > DISKS:
        raise RefusedError("a PC has not so many drives")


def options_from(
    shape: Shape, images: Mapping[Disk, DiskImage], serial: list[SerialBackend]
) -> Options:
    """The board's options: disks by identifier, consoles by type, the rest by value.

    Raises ProtocolError.
    """
    given = shape.options

    def plugged(drives: tuple[Disk | None, ...]) -> tuple[DiskImage | None, ...]:
        return tuple(None if disk is None else images[disk].fresh() for disk in drives)

    try:
        return Options(
            mips=Fraction(*given["mips"]), time=datetime.fromisoformat(given["time"]),
            firmware_files=dict(given["firmware_files"]), serial=serial,
            floppies=plugged(shape.floppies), disks=plugged(shape.disks),
            **{key: given[key] for key in _PLAIN},
        )  # fmt: skip
    except (*WRONG, ZeroDivisionError) as error:
        raise ProtocolError("the offer is no description of a board", why=str(error)) from None


def build(shape: Shape, monitor: type[Monitor], engine: Engine, options: Options) -> VirtualPc:
    """An empty machine of that shape, under any monitor on any engine."""
    allocation, needed = allocation_for(shape.memory)
    below = PcMachine(engine, model=shape.model, memory=needed)
    below.memory.physical.array[allocation.end : needed] = POISON
    return VirtualPc(
        lambda machine, given: monitor(machine, given, umip=shape.umip),
        below, allocation, options=options,
    )  # fmt: skip


# -- its state -------------------------------------------------------------------------------


def state_of(machine: PcMachine) -> dict[str, Any]:
    """Everything but the pages, as plain values."""
    state, memory = machine.state, machine.memory
    return {
        "registers": state.values.tolist(),
        "count": state.count,
        "reply": state.reply,
        "requested": state.interrupt_requested,
        "shut_down": [(f.vector, f.code, f.address) for f in state.shut_down],
        "halted": machine.halted,
        "nmi": machine._nmi,
        "board": dict(machine.board.snapshot()),
        "map": [memory.a20, memory._next_rom]
        + [dict(places) for places in (memory.readable, memory.writable, memory._roms)],
        "translations": [_translations(side) for side in _sides(machine)],
    }


def put_state(machine: PcMachine, saved: Any) -> None:
    """Let a machine of the same shape be in that state. Raises ProtocolError."""
    try:
        _put(machine, saved)
    except WRONG as error:
        raise ProtocolError("the state does not fit the machine", why=str(error)) from None


def _put(machine: PcMachine, saved: Any) -> None:
    state, memory = machine.state, machine.memory
    if len(saved["registers"]) != len(state.values) or not isinstance(saved["count"], int):
        raise ValueError("the processor has other registers")
    state.set_values(saved["registers"])
    state.count, state.reply = saved["count"], saved["reply"]
    state.interrupt_requested = saved["requested"]
    state.shut_down = tuple(Fault(*fields) for fields in saved["shut_down"])
    machine.halted, machine._nmi = saved["halted"], saved["nmi"]
    machine.board.restore(saved["board"])
    memory.a20, memory._next_rom, memory.readable, memory.writable, memory._roms = saved["map"]
    memory.changed()
    for side, kept in zip(_sides(machine), saved["translations"], strict=True):
        _put_translations(side, kept)


def _sides(machine: PcMachine) -> list[LinearMemory]:
    return [cast(LinearMemory, machine.state.memory[name]) for name in ("linear", "system")]


def _translations(side: LinearMemory) -> dict[str, Any]:
    """What a side of linear memory remembers as a TLB does. Code is fetched by the same entries
    as data is read."""
    return {
        "read": dict(side._cached[READ]),
        "write": dict(side._cached[WRITE]),
        "global": sorted(side._global),
        "local": sorted(side.local),
        "large": {page: sorted(parts) for page, parts in side._large.items()},
    }


def _put_translations(side: LinearMemory, kept: Any) -> None:
    assert side._cached[EXECUTE] is side._cached[READ]
    for access, name in ((READ, "read"), (WRITE, "write")):
        side._cached[access].update(kept[name])
    side._global.update(kept["global"])
    side.local.update(kept["local"])
    side._large.update({page: set(parts) for page, parts in kept["large"].items()})


# -- its pages -------------------------------------------------------------------------------


def used_pages(machine: PcMachine) -> list[int]:
    """The pages of RAM and ROM that hold anything but zeros."""
    storage = machine.memory.physical.array[: machine.memory.ram + ROM_ROOM]
    rows = storage.view(np.uint64).reshape(-1, PAGE_SIZE // 8)
    used: list[int] = np.flatnonzero(rows.any(axis=1)).tolist()
    return used


def pages(machine: PcMachine, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Pages of storage; one of zeros is empty."""
    storage = machine.memory.physical
    for number in numbers:
        data = storage.read(number * PAGE_SIZE, PAGE_SIZE)
        yield number, data if data != ZEROS else b""


def put_page(machine: PcMachine, number: int, data: bytes) -> None:
    """A page of storage."""
    machine.memory.physical.write(number * PAGE_SIZE, data or bytes(PAGE_SIZE))
