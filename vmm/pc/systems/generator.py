"""A whole generated system: what it is made of, as text, and as an image of memory."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from emu.pc.machine import PcMachine
from vmm.pc.systems import layout as at
from vmm.pc.systems import nucleus
from vmm.pc.systems import templates as t
from vmm.pc.systems.templates import Template, assembled

LONGEST: Final = 12  # steps of an activity
MOST: Final = 6  # activities
PASSES: Final = 2  # each is entered so often
END_32, END_16 = b"\xcd\x30", b"\xcd\x30"  # INT 30h, everywhere but in the kernel
_RET: Final = b"\xc3"
_USER_FLAGS: Final = (0x202, 0x202, 0x40202, 2, 0x3202, 0x3002, 0x40202, 0x40202, 0x1602, 0x302)
_KERNEL_FLAGS: Final = (2, 2, 0x202, 0x202, 0x3202, 0x40002, 0x302)
_SMALL_FLAGS: Final = (0x202, 0x3202, 0x3202, 2, 0x3002, 0x302)
_AREAS: Final = {
    "kernel": (at.KERNEL_CODE, at.USER_CODE),
    "real": (at.SMALL_CODE, at.KERNEL_CODE),
    "v86": (at.SMALL_CODE, at.KERNEL_CODE),
}
_USER_AREA: Final = (at.USER_CODE, at.CODE_END)


@dataclass(frozen=True, slots=True)
class Step:
    """A template, and the numbers in its holes."""

    template: Template
    numbers: tuple[tuple[str, int], ...] = ()

    def code(self) -> bytearray:
        """Its bytes."""
        return assembled().code(self.template, dict(self.numbers))

    def __str__(self) -> str:
        shown = self.template.shown(dict(self.numbers))
        return shown + "  # over the next step" * self.template.skips


@dataclass(frozen=True, slots=True)
class Activity:
    """What the kernel enters: in which way, with which flags, and the code there."""

    kind: str
    flags: int
    steps: tuple[Step, ...]

    def code(self) -> bytes:
        """Its bytes, with its end."""
        pieces = [step.code() for step in self.steps]
        for here, step in enumerate(self.steps):
            if step.template.skips:
                following = pieces[here + 1] if here + 1 < len(pieces) else b""
                pieces[here][-1] = len(following)
        return b"".join(pieces) + (_RET if self.kind == "kernel" else END_32)


@dataclass(frozen=True, slots=True)
class System:
    """Everything that is not fixed.

    `period` is the timer's, 0 for none; `preempts`: a tick ends the activity; `mends` and `skips`
    are how many page faults are mended and how many other traps are stepped over, of the vectors in
    the mask `skipped`.
    """

    activities: tuple[Activity, ...]
    paging: bool = True
    write_protect: bool = False
    alignment: bool = False
    large: bool = False
    extensions: int = 0  # more of CR4
    period: int = 0
    preempts: bool = False
    mask: int = 0xEC
    keys: str = ""
    received: bytes = b""
    mends: int = 0
    skips: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield (
            f"# paging={self.paging} write_protect={self.write_protect} "
            f"alignment={self.alignment} large={self.large} "
            f"extensions={self.extensions:#x} period={self.period} preempts={self.preempts} "
            f"mask={self.mask:#x} keys={self.keys!r} received={self.received!r} "
            f"mends={self.mends} skips={self.skips} skipped={self.skipped:#x}"
        )
        places = placed(self.activities)
        for activity, place in zip(self.activities, places, strict=True):
            yield f"{place:#x}:  # {activity.kind}, flags {activity.flags:#x}"
            for step in activity.steps:
                yield from ("    " + line for line in str(step).splitlines())


def placed(activities: Sequence[Activity]) -> list[int]:
    """Where each activity's code lies."""
    free = {area: area[0] for area in (*_AREAS.values(), _USER_AREA)}
    places = []
    for activity in activities:
        area = _AREAS.get(activity.kind, _USER_AREA)
        places.append(free[area])
        free[area] += len(activity.code()) + 3
        assert free[area] <= area[1], "too much code"
    return places


# -- from a seed ---------------------------------------------------------------------------------


def generate(random: Random) -> System:
    """A system."""
    chance = random.random
    paging = chance() < 0.9
    activities = tuple(_activity(random) for _ in range(random.randrange(2, MOST + 1)))
    return System(
        activities,
        paging=paging,
        write_protect=chance() < 0.5,
        alignment=chance() < 0.6,
        large=chance() < 0.5,
        extensions=random.choice((0, 0, 0, 1, 2, 4, 8, 0x80, 0x8F)),
        period=random.choice((0, 3, 7, 13, 24, 60)),
        preempts=chance() < 0.2,
        mask=random.choice((0xEC, 0xEC, 0xFE, 0xFF)),
        keys=random.choice(("", "", "a", "xy")),
        received=random.choice((b"", b"", b"abc")),
        mends=random.choice((0, 3, 12)),
        skips=random.choice((0, 2, 20, 60)),
        skipped=random.choice((0, 0x2002, 1 << 6 | 1 << 13, 0x7FFF)),
    )


_KINDS: Final = ("kernel",) * 5 + ("user",) * 6 + ("v86", "real", "ring 1", "task", "called task")


_ENDS: Final = ("hlt", "iretd", "retf")  # would end the kernel, or the activity, too often


def _activity(random: Random) -> Activity:
    kind = random.choice(_KINDS)
    flags = {"kernel": _KERNEL_FLAGS, "v86": _SMALL_FLAGS, "real": (2, 2, 0x202, 0x302)}
    steps = tuple(_steps(random, kind, random.randrange(1, LONGEST)))
    return Activity(kind, random.choice(flags.get(kind, _USER_FLAGS)), steps)


def _steps(random: Random, kind: str, count: int) -> Iterator[Step]:
    wild, skips = (t.WILD_32, t.SKIPS_32)
    pools: Sequence[Sequence[Template]] = (*(t.CALM,) * 5, t.ANYWHERE, t.ANYWHERE, t.KERNEL)
    if kind == "kernel":
        pools = (t.CALM, t.ANYWHERE, t.KERNEL, t.KERNEL)
    elif kind in ("v86", "real"):
        pools, wild, skips = (t.SMALL,), t.WILD_16, t.SKIPS_16
    for _ in range(count):
        template = random.choice(random.choice(pools))
        while kind == "kernel" and template.text in _ENDS:
            template = random.choice(t.KERNEL)
        if random.randrange(12) == 0:
            template = random.choice(skips)
        elif random.randrange(20) == 0 and kind != "kernel":
            template = wild
        yield Step(template, tuple(t.drawn(random, template.holes).items()))


# -- as memory -----------------------------------------------------------------------------------


def image(system: System) -> bytes:
    """A mebibyte."""
    memory = bytearray(at.MEMORY)
    parts: tuple[Callable[[System], Iterator[tuple[int, bytes]]], ...] = (
        _vectors, _pages, _tables, _tasks, _variables, _codes,
    )  # fmt: skip
    for part in parts:
        for address, data in part(system):
            memory[address : address + len(data)] = data
    return bytes(memory)


def _vectors(_: System) -> Iterator[tuple[int, bytes]]:
    """Of real mode."""
    symbols = assembled().symbols
    done, request = (struct.pack("<HH", symbols[n], 0) for n in ("real_done", "real_request"))
    yield at.VECTORS, b"".join(request if 0x20 <= n < 0x30 else done for n in range(256))


def _pages(system: System) -> Iterator[tuple[int, bytes]]:
    directory, other = [0] * 1024, [0] * 1024
    directory[0] = at.TABLE | 7
    other[0] = other[2] = directory[2] = other[1023] = directory[1023] = at.OTHER_TABLE | 7
    directory[1] = other[1] = 0x87 if system.large else at.OTHER_TABLE | 7
    table = [page * at.PAGE | _rights(page * at.PAGE) for page in range(256)]
    changed = list(table)
    first = at.DATA // at.PAGE
    table[first] = 0
    table[first + 1] ^= 2
    table[first + 2] |= 0x100
    changed[first + 2] |= 0x100
    for page, entry in ((3, 4), (4, 3), (5, 9), (6, 10)):
        changed[first + page] = (first + entry) * at.PAGE | 7
    changed[first + 7] = 0
    entries = ((at.DIRECTORY, directory), (at.OTHER_DIRECTORY, other), (at.TABLE, table))
    for address, words in (*entries, (at.OTHER_TABLE, changed)):
        yield address, struct.pack(f"<{len(words)}I", *words)


def _rights(address: int) -> int:
    areas = ((0, 0x1000), (at.SMALL_CODE, at.KERNEL_CODE), (at.USER_CODE, at.CODE_END))
    areas += ((at.DATA, at.USER_STACK),)  # type: ignore[assignment]
    return 7 if any(start <= address < end for start, end in areas) else 3


def _descriptor(base: int, limit: int, access: int, flags: int = 0) -> bytes:
    low = (limit & 0xFFFF) | (base & 0xFFFFFF) << 16 | access << 40
    return (low | (limit >> 16 & 15 | flags << 4) << 48 | (base >> 24) << 56).to_bytes(8, "little")


def _gate(offset: int, selector: int, access: int) -> bytes:
    return struct.pack("<HHHH", offset & 0xFFFF, selector, access << 8, offset >> 16)


def _tables(system: System) -> Iterator[tuple[int, bytes]]:
    symbols = assembled().symbols
    flat = [_descriptor(0, 0xFFFFF, access, 12) for access in (0x9B, 0x93, 0xFB, 0xF3)]
    systems = [
        _descriptor(at.TASK, 104 + 32, 0x89), _descriptor(at.LDT, 31, 0x82),
        _descriptor(at.OTHER_TASK, 103, 0x89),
    ]  # fmt: skip
    others = [
        *(_descriptor(0, 0xFFFFF, access, 12) for access in (0xBB, 0xB3)),
        _descriptor(0, 0xFFFF, 0x9B), _descriptor(0, 0xFFFF, 0x93),
        _descriptor(0, 0xFFFFF, 0x9F, 12),
        _gate(symbols["gate_entry"], at.CODE, 0xEC), _gate(0, at.OTHER_TSS, 0xE5),
        _descriptor(0, 0xFFFFF, 0x73, 12), _descriptor(0, 0x10, 0xF7, 12),
        *(_descriptor(0, 0xFFFFF, access, 12) for access in (0xF2, 0xFA, 0xF1)),
        _descriptor(at.USER_CODE, 0xFFFF, 0xFA),
    ]  # fmt: skip
    yield at.GDT, b"".join([bytes(8), *flat, *systems, *others])
    local = [_descriptor(at.DATA, 0xFFFF, 0xF2, 4), _descriptor(0, 0xFFFFF, 0xFA, 12)]
    yield at.LDT, b"".join([*local, _descriptor(0, 0xFFFFF, 0x93, 12), bytes(8)])
    yield at.IDT, b"".join(_gates(system))


def _gates(system: System) -> Iterator[bytes]:
    symbols = assembled().symbols
    for vector in range(32):
        offset = symbols["stubs"] + nucleus.STUB * vector
        yield _gate(offset, at.CODE, {3: 0xEE, 4: 0xEF, 13: 0x8F}.get(vector, 0x8E))
    requests = {0: "preempt" if system.preempts else "timer", 1: "keyboard", 4: "serial"}
    for request in range(16):
        yield _gate(symbols[requests.get(request, "others")], at.CODE, 0x8E)
    yield _gate(symbols["next"], at.CODE, 0xEE)
    yield _gate(symbols["service"], at.CODE, 0xEF)
    yield _gate(0, at.OTHER_TSS, 0xE5)
    yield _gate(symbols["next"], at.CODE, 0x8E)
    yield _gate(symbols["next"], at.CODE, 0x6E)
    yield _gate(symbols["same_level"], at.CONFORMING, 0xEE)
    yield _gate(symbols["next"], at.CODE, 0xE6)
    yield from [bytes(8)] * 9


def _tasks(system: System) -> Iterator[tuple[int, bytes]]:
    stacks = struct.pack("<7I", 0, at.KERNEL_STACK, at.FLAT, at.RING_1_STACK, at.RING_1_DATA, 0, 0)
    allowed = bytearray(b"\xff" * 33)
    allowed[0x80 // 8] = allowed[0x40 // 8] = 0
    yield at.TASK, stacks + bytes(74) + struct.pack("<H", 104) + allowed
    registers = struct.pack("<8I", 1, 2, 3, 4, at.USER_STACK, 5, 6, 7)
    data = at.USER_DATA
    segments = struct.pack("<6I", data, at.USER, data, data, data, 0)
    directory = struct.pack("<I", at.OTHER_DIRECTORY if system.preempts else at.DIRECTORY)
    yield (
        at.FRESH_TASK,
        b"".join(
            [stacks, directory, bytes(8), registers, segments, struct.pack("<IHH", 0, 0, 104)]
        ),
    )


def _variables(system: System) -> Iterator[tuple[int, bytes]]:
    control = (
        0x11 | system.write_protect << 16 | system.alignment << 18 | system.paging << 31 | 0x20
    )
    words = [at.ACTIVITIES, control, system.extensions | system.large << 4]
    words += [system.mends, system.skips, system.skipped]
    yield at.VARIABLES, struct.pack("<6I", *words)
    places = placed(system.activities)
    rows = [
        struct.pack("<4I", nucleus.KINDS.index(a.kind), _entry(a, place), a.flags, 0)
        for a, place in zip(system.activities, places, strict=True)
    ] * PASSES
    yield at.ACTIVITIES, b"".join(rows) + bytes(16)


def _entry(activity: Activity, place: int) -> int:
    return place - at.SMALL_CODE if activity.kind in ("v86", "real") else place


def _codes(system: System) -> Iterator[tuple[int, bytes]]:
    yield at.NUCLEUS, assembled().nucleus
    for activity, place in zip(system.activities, placed(system.activities), strict=True):
        yield place, activity.code()


# -- on a machine ---------------------------------------------------------------------------------


def start(machine: PcMachine, system: System) -> None:
    """Begin on a machine whose memory holds the image and whose board was just set back."""
    machine.reset()
    state, board = machine.state, machine.board
    state.count, state.reply, state.breakpoints = 0, None, set()
    state["cs"], state["cs_base"], state["eip"] = 0, 0, assembled().symbols["boot"]
    for port, value in _board(system):
        board.write_port(port, 1, value, 0)
    board.typist.type(system.keys, 40)
    board.serial[0].feed(system.received, 0)


def _board(system: System) -> Iterator[tuple[int, int]]:
    """The 8259s, the 8254 and the 16550, as firmware would leave them."""
    for port, vector, line in ((0x20, 0x20, 4), (0xA0, 0x28, 2)):
        yield from ((port, 0x11), (port + 1, vector), (port + 1, line), (port + 1, 1))
    yield from ((0x21, system.mask), (0xA1, 0xFF))
    if system.period:
        yield from ((0x43, 0x34), (0x40, system.period), (0x40, 0))
    if system.received:
        yield from ((0x3F9, 1), (0x3FC, 8))
