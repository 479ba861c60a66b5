"""Partitions: several virtual machines on one bare machine, as from S/360 to LPAR and DLPAR.

The allocator A has two resources here. Storage: every partition has words of its own, next to
others' or not; words that are nobody's hold POISON. The processor: partitions take turns, each for
`share` times the quantum of instructions, exactly. What a turn costs the control program is not
counted, so a partition's time is its own instruction count and its run is its run alone.

Both can change while everything runs. A share counts at once, also for the turn that is under way.
Storage grows and shrinks at its end, between two instructions, in place or by moving the partition;
it cannot see where it lies, so all it can notice is where storage ends. New words are 0. Words that
are in use are not taken away, which means: it may shrink only by words that hold 0. The machine
that it then equals is the bare one to which the same happened at the same count.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import numpy as np

from emu.exit import Exit
from emu.toy.machine import ToyMachine
from isa.registers import Role
from vmm.monitors import Allocation, AllocationError, Monitor, TrapAndEmulate, VirtualMachine

POISON: Final = 0xDEADBEEF  # in every word that is nobody's
QUANTUM: Final = 64  # instructions for each share in a round


@dataclass(slots=True)
class Partition:
    """One virtual machine and what it has of the bare one; `stop` once it runs no more.

    `sizes` tells at which of its counts it had how many words.
    """

    name: str
    machine: VirtualMachine
    share: int
    stop: Exit | None = None
    sizes: list[tuple[int, int]] = field(default_factory=list)
    turns: int = 0

    @property
    def allocation(self) -> Allocation:
        """Its words."""
        return self.machine.allocation

    @property
    def count(self) -> int:
        """Its time."""
        return self.machine.state.count


class Partitions:
    """A bare machine, the partitions on it, and whose turn it is.

    `kept` granules at the start are the control program's own. Every change is refused with an
    AllocationError that says why, and then nothing has changed.
    """

    def __init__(
        self,
        bare: ToyMachine,
        *,
        monitor: type[Monitor] = TrapAndEmulate,
        quantum: int = QUANTUM,
        kept: int = 1,
    ) -> None:
        if monitor.keeps_words:
            raise AllocationError(
                f"the {monitor.name} monitor keeps words below its allocation, where other "
                "partitions are; use another monitor"
            )
        if quantum < 1:
            raise AllocationError(f"a quantum of {quantum} instructions: give 1 or more")
        self.bare = bare
        self.monitor = monitor
        self.quantum = quantum
        self.members: list[Partition] = []
        self.time = 0  # instructions of all partitions
        self._granule = bare.isa.shape.granule
        self._kept = kept * self._granule
        self._turn = 0
        self._used = 0  # of the turn
        bare.memory.write(0, [POISON] * bare.memory.size)
        self._others = self._not_storage()

    # -- storage -----------------------------------------------------------------------------

    def add(
        self,
        name: str,
        words: int,
        image: Sequence[int] = (),
        *,
        share: int = 1,
        entry: int = 0,
        output: BinaryIO | None = None,
        source: BinaryIO | None = None,
        disk: bytes = b"",
    ) -> Partition:
        """Start a virtual machine; its turn comes last."""
        if any(p.name == name for p in self.members):
            raise AllocationError(f"there is a partition {name} already; give another name")
        _check_share(name, share)
        if len(image) > words:
            raise AllocationError(f"{name}: {len(image)} words of program for {words} of storage")
        machine = VirtualMachine(
            self.monitor, self.bare, self._place(name, words), image, entry=entry, output=output,
            source=source, disk=disk,
        )  # fmt: skip
        partition = Partition(name, machine, share, sizes=[(0, words)])
        self.members.append(partition)
        return partition

    def remove(self, name: str) -> Partition:
        """End a virtual machine; nothing of it stays."""
        partition = self[name]
        position = self.members.index(partition)
        del self.members[position]
        if position == self._turn:
            self._used = 0
        elif position < self._turn:
            self._turn -= 1
        self._free(partition.machine, partition.allocation)
        return partition

    def resize(self, name: str, words: int) -> None:
        """Give a partition more or fewer words while it runs."""
        partition = self[name]
        old = partition.machine
        have = np.array(old.memory.array)
        if have[words:].any():
            last = int(np.nonzero(have)[0][-1])
            raise AllocationError(
                f"{name} uses word {last}: it cannot shrink to {words} words, only to "
                f"{(last // self._granule + 1) * self._granule}"
            )
        allocation = self._place(name, words, partition)
        self._free(old, old.allocation)
        new = VirtualMachine(self.monitor, self.bare, allocation)
        new.memory.write(0, have[:words].tolist())
        take_over(new, old)
        new.monitor.efficiency = old.monitor.efficiency
        partition.machine = new
        partition.sizes.append((partition.count, words))

    def free(self) -> Iterator[Allocation]:
        """Runs of words that are nobody's, upwards."""
        yield from self._free_without(None)

    def _free_without(self, without: Partition | None) -> Iterator[Allocation]:
        start = self._kept
        taken = sorted((p.allocation for p in self.members if p is not without), key=_base)
        for allocation in (*taken, Allocation(self.bare.isa.shape.storage, 0)):
            if allocation.base > start:
                yield Allocation(start, allocation.base - start)
            start = allocation.end

    def _place(self, name: str, words: int, partition: Partition | None = None) -> Allocation:
        """Where it is, if there is room; else the first place that is large enough."""
        free = list(self._free_without(partition))
        bases = [room.base for room in free if room.words >= words]
        if partition is not None:
            base = partition.allocation.base
            if any(r.base <= base and base + words <= r.end for r in free):
                bases.insert(0, base)
        if not bases:
            most = max((room.words for room in free), default=0)
            raise AllocationError(f"{name} wants {words} words; {most} are free in one piece")
        found = Allocation(bases[0], words)
        found.check(self.bare.isa)
        return found

    def _free(self, machine: VirtualMachine, allocation: Allocation) -> None:
        machine.memory.close()
        self.bare.memory.write(allocation.base, [POISON] * allocation.words)

    # -- the processor -----------------------------------------------------------------------

    def set_share(self, name: str, share: int) -> None:
        """From now on; a turn that has lasted longer than it may is over."""
        _check_share(name, share)
        self[name].share = share

    def run(self, until: int) -> bool:
        """Let the partitions take turns until `time` is reached; False if all have stopped."""
        while self.time < until:
            if self.turn(until - self.time) is None:
                return False
        return any(p.stop is None for p in self.members)

    def turn(self, limit: int | None = None) -> Partition | None:
        """One turn, or what is left of it, or `limit` instructions of it; whose it was."""
        partition = self._next()
        if partition is None:
            return None
        room = self._slice(partition) - self._used
        began = partition.count
        stop = partition.machine.run(began + (room if limit is None else min(room, limit)))
        ran = partition.count - began
        self._used += ran
        self.time += ran
        partition.turns += 1
        if stop.reason != "until":
            partition.stop = stop
        return partition

    def _slice(self, partition: Partition) -> int:
        return partition.share * self.quantum

    def _next(self) -> Partition | None:
        """Whose turn it is: the same one's if it has not used it up."""
        for _ in range(len(self.members) + 1):
            if self._turn >= len(self.members):
                self._turn = self._used = 0
            if not self.members:
                return None
            partition = self.members[self._turn]
            if partition.stop is None and self._used < self._slice(partition):
                return partition
            self._turn, self._used = self._turn + 1, 0
        return None

    # -- the audit ---------------------------------------------------------------------------

    def in_control(self) -> bool:
        """Whether every word that is nobody's, and all else of the bare machine, is untouched."""
        nobodys = np.ones(self.bare.memory.size, dtype=bool)
        for partition in self.members:
            nobodys[partition.allocation.base : partition.allocation.end] = False
        untouched = bool((self.bare.memory.array[nobodys] == POISON).all())
        return untouched and self._not_storage() == self._others

    def _not_storage(self) -> list[object]:
        resources = self.bare.isa.registers.with_role(Role.RESOURCE)
        return [
            [dict(device.snapshot()) for device in self.bare.devices],
            [self.bare.state[register.name] for register in resources],
        ]

    def __getitem__(self, name: str) -> Partition:
        for partition in self.members:
            if partition.name == name:
                return partition
        names = ", ".join(p.name for p in self.members) or "none"
        raise AllocationError(f"there is no partition {name}; there are: {names}")


def _base(allocation: Allocation) -> int:
    return allocation.base


def _check_share(name: str, share: int) -> None:
    if share < 1:
        raise AllocationError(f"{name}: a share of {share}; give 1 or more")


def take_over(new: ToyMachine, old: ToyMachine) -> None:
    """Registers, time and devices of another machine of the same instructions; not its storage."""
    new.state.set_values(old.state.values)
    new.state.count = old.state.count
    new.state.reply = old.state.reply
    new.state.breakpoints = old.state.breakpoints
    new.state.intercept_traps = old.state.intercept_traps
    for mine, its in zip(new.devices, old.devices, strict=True):
        kept = {k: v for k, v in vars(its).items() if k not in ("_memory", "_state")}
        vars(mine).update(kept)


class Labelled(io.BytesIO):
    """Keeps what is written, and passes it on in whole lines with a label before each."""

    def __init__(self, stream: BinaryIO, label: str) -> None:
        super().__init__()
        self._stream = stream
        self._label = label.encode()
        self._line = b""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """A line goes on as soon as it is whole."""
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._stream.write(self._label + line + b"\n")
        return super().write(data)

    def finish(self) -> None:
        """Pass on the last line, if it was not ended."""
        if self._line:
            self._stream.write(self._label + self._line + b"\n")
        self._line = b""


def alone(sizes: Sequence[tuple[int, int]], bare: ToyMachine, count: int) -> ToyMachine:
    """Run a bare machine to a count, changing its storage when the partition's was changed."""
    for at, words in (*sizes, (count, sizes[-1][1])):
        if bare.state.count < at:  # a second run to the same count would let a timer fire already
            bare.run(at)
        if words != bare.isa.shape.storage:
            bare = with_storage(bare, words)
    return bare


def with_storage(bare: ToyMachine, words: int) -> ToyMachine:
    """The same bare machine with more or less storage at its end; new words are 0."""
    new = ToyMachine(bare.isa.with_storage(words), engine=bare.engine)
    kept = min(words, bare.memory.size)
    new.memory.write(0, bare.memory.read(0, kept))
    take_over(new, bare)
    return new
