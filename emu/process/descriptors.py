"""The global descriptor table as i386 Linux lays it out, and thread-local segments in it.

Only table bytes are written here; what a descriptor means is the ISA's business (SDM volume 3,
section 3.4.5). Indexes are those of Linux's arch/x86/include/asm/segment.h.
"""

from __future__ import annotations

from isa.fault import Fault

GDT_BASE = 0xC100_0000  # where a guest's SGDT sees the table: in the kernel's half
GDT_ENTRIES = 32
LDT_BASE = 0xC101_0000  # likewise
LDT_ENTRIES = 8192
LDT_SELECTOR = 17 << 3
LDT_ATTRIBUTES = 0x82  # present, a local descriptor table
TLS_MIN, TLS_MAX = 6, 8
KERNEL_CS, KERNEL_DS, USER_CS, USER_DS = 12, 13, 14, 15
USER_CODE_SELECTOR = USER_CS << 3 | 3  # 0x73
USER_DATA_SELECTOR = USER_DS << 3 | 3  # 0x7b

FLAT = {  # base 0, limit 4 GiB, accessed
    KERNEL_CS: 0x00CF9B00_0000FFFF,
    KERNEL_DS: 0x00CF9300_0000FFFF,
    USER_CS: 0x00CFFB00_0000FFFF,
    USER_DS: 0x00CFF300_0000FFFF,
}


class SystemMemory:
    """The few bytes that only the processor reads: the descriptor tables.

    `ldt` is that of the current process.
    """

    def __init__(self) -> None:
        self.data = bytearray(GDT_ENTRIES * 8)
        self._ldt = b""
        self.generation = 0  # grows at every change, as an address space's does
        for index, descriptor in FLAT.items():
            self.set(index, descriptor)

    def load(self, address: int, size: int) -> int | Fault:
        """Read `size` bytes; a page fault outside the table."""
        table: bytes | bytearray = self.data if address < LDT_BASE else self._ldt
        start = address - (GDT_BASE if address < LDT_BASE else LDT_BASE)
        if not 0 <= start <= len(table) - size:
            return Fault(14, 0, address)
        return int.from_bytes(table[start : start + size], "little")

    def load_for_write(self, address: int, size: int) -> int | Fault:
        """The same: what can be read here can be written."""
        return self.load(address, size)

    def fetch(self, address: int, size: int) -> tuple[bytes, Fault | None]:
        """No code stands here."""
        return b"", Fault(14, 0, address)

    def store(self, address: int, size: int, value: int) -> Fault | None:
        """Write `size` bytes; a page fault outside the global table, as all entries of the other
        have been accessed."""
        start = address - GDT_BASE
        if not 0 <= start <= len(self.data) - size:
            return Fault(14, 2, address)
        self.data[start : start + size] = value.to_bytes(size, "little")
        self.generation += 1
        return None

    def get(self, index: int) -> int:
        """Return a descriptor as a 64-bit number."""
        return int.from_bytes(self.data[8 * index : 8 * index + 8], "little")

    def set(self, index: int, descriptor: int) -> None:
        """Replace a descriptor."""
        self.data[8 * index : 8 * index + 8] = descriptor.to_bytes(8, "little")
        self.generation += 1

    def segment(self, selector: int) -> tuple[int, int, int] | None:
        """Return base, limit and attributes behind a user's selector (null: zeros), or None.

        This is for the kernel's own loads, at the start and after a handler; a guest's loads are
        instructions and read the table by their own meaning.
        """
        if not selector & ~3:
            return 0, 0, 0
        found = self.load((LDT_BASE if selector & 4 else GDT_BASE) + (selector & ~7), 8)
        descriptor = 0 if isinstance(found, Fault) else found
        high, low = descriptor >> 32, descriptor & 0xFFFFFFFF
        if high & 0xF000 != 0xF000:  # present, DPL 3, code or data
            return None
        base = high & 0xFF000000 | (high & 0xFF) << 16 | low >> 16
        limit = high & 0xF0000 | low & 0xFFFF
        if high >> 23 & 1:
            limit = limit << 12 | 0xFFF
        return base, limit, (high >> 20 & 0xF) << 8 | high >> 8 & 0xFF

    @property
    def ldt(self) -> bytes:
        """The local descriptors, which each process has of its own."""
        return self._ldt

    @ldt.setter
    def ldt(self, table: bytes) -> None:
        if table != self._ldt:
            self._ldt = table
            self.generation += 1

    @property
    def tls(self) -> tuple[int, ...]:
        """The thread-local descriptors, which each process has of its own."""
        return tuple(self.get(index) for index in range(TLS_MIN, TLS_MAX + 1))

    @tls.setter
    def tls(self, descriptors: tuple[int, ...]) -> None:
        for index, descriptor in enumerate(descriptors, TLS_MIN):
            if self.get(index) != descriptor:
                self.set(index, descriptor)

    def free_tls(self) -> int | None:
        """Return the first thread-local entry that is empty, or None."""
        return next((i for i in range(TLS_MIN, TLS_MAX + 1) if not self.get(i)), None)


class UserDesc:
    """Linux's `struct user_desc`: base, limit, and the bits of its last word."""

    # Bits of the last word (arch/x86/include/uapi/asm/ldt.h).
    SEG_32BIT = 1
    CONTENTS = 6
    READ_EXEC_ONLY = 8
    LIMIT_IN_PAGES = 16
    SEG_NOT_PRESENT = 32
    USEABLE = 64

    def __init__(self, base: int, limit: int, flags: int) -> None:
        self.base = base
        self.limit = limit
        self.flags = flags

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UserDesc) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.base, self.limit, self.flags))

    @property
    def empty(self) -> bool:
        """Whether it asks for the entry to be cleared (LDT_empty and LDT_zero)."""
        cleared = self.READ_EXEC_ONLY | self.SEG_NOT_PRESENT
        return not self.base and not self.limit and self.flags & 0x7F in (0, cleared)

    @property
    def allowed(self) -> bool:
        """Whether Linux lets a thread have it (tls_desc_okay): 32-bit data, present."""
        contents = (self.flags & self.CONTENTS) >> 1
        return self.empty or bool(
            self.flags & self.SEG_32BIT and contents <= 1 and not self.flags & self.SEG_NOT_PRESENT
        )

    def encode(self) -> int:
        """Return the descriptor (fill_ldt): privilege level 3, accessed."""
        if self.empty:
            return 0
        f = self.flags
        kind = 1 | (not f & self.READ_EXEC_ONLY) << 1 | (f & self.CONTENTS) << 1
        access = kind | 0x70 | (not f & self.SEG_NOT_PRESENT) << 7
        high_flags = (
            bool(f & self.USEABLE)
            | bool(f & self.SEG_32BIT) << 2
            | bool(f & self.LIMIT_IN_PAGES) << 3
        )
        low = self.base << 16 & 0xFFFF0000 | self.limit & 0xFFFF
        high = (
            self.base & 0xFF000000
            | high_flags << 20
            | self.limit & 0xF0000
            | access << 8
            | self.base >> 16 & 0xFF
        )
        return high << 32 | low

    @classmethod
    def decode(cls, descriptor: int) -> UserDesc:
        """Return what get_thread_area tells of a descriptor (fill_user_desc)."""
        low, high = descriptor & 0xFFFFFFFF, descriptor >> 32
        flags = (
            (high >> 22 & 1) * cls.SEG_32BIT
            | (high >> 10 & 3) << 1
            | (not high >> 9 & 1) * cls.READ_EXEC_ONLY
            | (high >> 23 & 1) * cls.LIMIT_IN_PAGES
            | (not high >> 15 & 1) * cls.SEG_NOT_PRESENT
            | (high >> 20 & 1) * cls.USEABLE
        )
        base = high & 0xFF000000 | (high & 0xFF) << 16 | low >> 16
        return cls(base, high & 0xF0000 | low & 0xFFFF, flags)
