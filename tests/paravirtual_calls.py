"""Random hypercalls: numbers and arguments of which some are plausible."""

from __future__ import annotations

import struct
from random import Random

from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.domain import Domain
from vmm.pc.paravirtual.frames import Kind
from vmm.pc.paravirtual.hypercalls import is_implemented
from vmm.pc.paravirtual.hypervisor import Hypervisor

AREA = 0x40000  # the caller's linear address of what calls point to
SLOT = 512
SLOTS = 64
IMPLEMENTED = [number for number, name in xen.HYPERCALLS.items() if is_implemented(name)]
MANY_SIDED = [number for number, name in xen.HYPERCALLS.items() if name in (
    "mmu_update", "mmuext_op", "update_va_mapping", "memory_op", "grant_table_op",
    "event_channel_op", "set_gdt", "update_descriptor",
)]  # fmt: skip
COMMON = [n for n in IMPLEMENTED if xen.HYPERCALLS[n] != "iret"] + 2 * MANY_SIDED
POINTERS = (
    0,
    AREA - 8,
    AREA,
    0xFBFFFFF8,
    0xFC000000,
    0xFC40E018,
    0xFC420060,
    0xFC421800,
    0xFFFFFFFC,
    0x1FFFF0,
    0x200000,
)
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 31, 32, 33, 511, 512, 1023, 1024, 7168, 8191, 0x7FF0, 0x7FFF,
           0x80000000, 0x80000002, 0xFFFFFFFF)  # fmt: skip
FLAGS = (0, 1, 3, 5, 7, 0x27, 0x63, 0x80, 0x83, 0x103, 0xFFF)


class RandomCalls:
    """Calls of one domain; they may speak of all of the machine's frames."""

    def __init__(self, seed: int, monitor: Hypervisor, domain: Domain, others: list[int]) -> None:
        self._random = Random(seed)
        self._monitor = monitor
        self._domain = domain
        self._others = others
        self._partner: int | None = None
        self._own = list(domain.memory)
        self._descriptors = self._set_gdt(0x150)
        self._special = [f for f in self._own if monitor.frames[f].kind is not Kind.WRITABLE]
        self._special += [domain.shared.address >> 12, domain.grants.table >> 12, domain.directory]

    def _set_gdt(self, page: int) -> int:
        """Let one of the caller's frames be a descriptor table."""
        domain, frame = self._domain, self._domain.memory[page]
        entry = domain.tables.entry_of(domain.directory << 12, page << 12)
        domain.tables.update(entry, frame << 12 | 1)
        domain.descriptors.set(0, xen.FIRST_RESERVED_GDT_PAGE, [frame])
        return frame

    def frame(self) -> int:
        """A frame, most often the caller's."""
        choice = self._random.randrange(8)
        if choice < 3:
            return self._random.choice(self._special)
        if choice < 6:
            return self._random.choice(self._own[256:320])
        if choice == 6:
            return self._random.choice(self._others)
        return self._random.randrange(1 << 20)

    def word(self) -> int:
        """Something that may stand in a structure."""
        choice = self._random.randrange(8)
        if choice < 2:
            return self.frame()
        if choice < 4:
            return self.frame() << 12 | self._random.choice(FLAGS)
        if choice == 4:
            return self.linear()
        if choice < 7:
            return self._random.choice(NUMBERS[:8])
        return self._random.getrandbits(32)

    def linear(self) -> int:
        """A linear address."""
        choice = self._random.randrange(4)
        if choice < 2:
            return self._random.randrange(0x100, 0x140) << 12
        if choice == 2:
            return self._random.choice(POINTERS)
        return self._random.getrandbits(32)

    def pointer(self) -> int:
        """Where a structure lies, or not."""
        if self._random.randrange(16):
            return AREA + self._random.randrange(SLOTS) * SLOT
        return self.linear()

    def structure(self, kind: int) -> bytes:
        """What lies there: a few requests."""
        if kind == 0:  # mmu_update: an entry of a table, and its new value
            requests = []
            for _ in range(4):
                place = self.frame() << 12 | self._random.randrange(1024) << 2
                requests += [place & 0xFFFFFFFF | self._random.choice((0, 0, 1, 2, 3)), 0]
                requests += [self.entry(), 0]
            return struct.pack("<16I", *requests)
        if kind == 1:  # mmuext_op
            words = []
            for _ in range(4):
                words += [self._random.choice(COMMANDS), self.frame(), self.word() & 0x1FFF]
            return struct.pack("<12I", *words)
        if kind == 2:  # multicall
            calls = [(self.number(), 0, *self.arguments(5), 0) for _ in range(3)]
            return b"".join(struct.pack("<8I", *call) for call in calls)
        if kind == 3:  # frames
            return struct.pack("<4I", *(self.frame() for _ in range(4)))
        if kind == 4:  # a reservation
            count = self._random.choice(NUMBERS)
            return struct.pack("<5I", self.pointer(), count, 0, 0, 0x7FF0)
        if kind == 5 and self._partner is not None and self._random.randrange(4):
            return self._grant()
        if kind == 6:  # small numbers: ports and domains
            return struct.pack("<6I", *(self._random.randrange(4) for _ in range(6)))
        return struct.pack("<8I", *(self.word() & 0xFFFFFFFF for _ in range(8)))

    def _grant(self) -> bytes:
        """A request to map or unmap a grant of the partner's, or to give it a frame."""
        reference, page = self._random.randrange(8), self._random.randrange(0x100, 0x140) << 12
        choice = self._random.randrange(3)
        if choice == 0:
            flags = self._random.choice((2, 6))
            return xen.MAP_GRANT.pack(page, flags, reference, self._partner or 0, 0, 0, 0)
        if choice == 1:
            address = page if self._random.randrange(4) == 0 else 0
            return xen.UNMAP_GRANT.pack(address, 0, self._random.randrange(8), 0)
        frame = self._random.choice(self._own[0x160:0x170])
        return xen.TRANSFER.pack(frame, self._partner or 0, reference, 0)

    def offer(self, partner: int) -> None:
        """Grant the partner some frames; be ready to take some, and to give some away."""
        self._partner = partner
        domain = self._domain
        entries = [(1, self._own[0x120 + n]) for n in range(4)]
        entries += [(5, self._own[0x130]), (1, self._special[0]), (2, 0), (2, 0)]
        data = b"".join(struct.pack("<HHI", flags, partner, frame) for flags, frame in entries)
        self._monitor.below.memory.physical.write(domain.grants.table, data)
        for page in range(0x160, 0x164):
            entry = domain.tables.entry_of(domain.directory << 12, page << 12)
            domain.tables.update(entry, 0)

    def entry(self) -> int:
        """Of a page table."""
        return self.frame() << 12 & 0xFFFFFFFF | self._random.choice(FLAGS)

    def number(self) -> int:
        """Of a call."""
        if self._random.randrange(8):
            return self._random.choice(COMMON)
        return self._random.choice((self._random.randrange(64), self._random.getrandbits(32)))

    def arguments(self, kind: int) -> list[int]:
        """Pointers, commands and counts in the order in which such a call has them."""
        count = self._random.choice(COUNTS)
        if kind < 2:
            told = self.pointer() if self._random.randrange(2) else 0
            return [self.pointer(), count, told, self._random.choice((0x7FF0, 0x7FF0, 0, 1)), 0]
        if kind == 2 and self._random.randrange(8):
            count &= 3  # the long ones take time
        if kind in (2, 3):
            return [self.pointer(), count, 0, 0, 0]
        small = self._random.choice(NUMBERS[:7]) if count else self._random.choice(NUMBERS)
        if kind < 7:
            return [small, self.pointer(), count, self.pointer(), self.word() & 0xFFFFFFFF]
        if kind == 7:
            return [self.linear(), self.entry(), 0, self._random.choice((0, 1, 2)), 0]
        frame = self.frame() if self._random.randrange(2) else self._descriptors
        place = (frame << 12 | self._random.randrange(512) << 3) & 0xFFFFFFFF
        high = self._random.getrandbits(32) | 0x8000  # present
        return [place, 0, self._random.getrandbits(32), high, 0]

    def call(self) -> tuple[int, list[int]]:
        """The next one; what it may point to is in the caller's memory."""
        number = self.number()
        kind = KINDS.get(xen.HYPERCALLS.get(number, ""), 5)
        if not self._random.randrange(8):
            kind = self._random.randrange(9)
        arguments = self.arguments(kind)
        for index in (0, 1):
            at = arguments[index]
            if AREA <= at < AREA + SLOTS * SLOT:
                where = (self._own[at >> 12] << 12) + (at & 0xFFF)
                self._monitor.below.memory.physical.write(where, self.structure(kind))
        return number, arguments


COMMANDS = (0, 1, 4, 4, 5, 5, 6, 12, 13, 15, 99)
COUNTS = (0, 1, 1, 1, 2, 4, 33, 0x80000001, 0xFFFFFFFF)
KINDS = {
    "mmu_update": 0, "mmuext_op": 1, "multicall": 2, "set_gdt": 3, "memory_op": 4,
    "event_channel_op": 6, "update_va_mapping": 7, "update_descriptor": 8, "grant_table_op": 5,
    "sched_op": 6, "vcpu_op": 6,
}  # fmt: skip
