"""The model's processor: registers by name, memory, faults as exceptions that undo everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

UD, NM, DF, TS, NP, SS, GP, PF, DB = 6, 7, 8, 10, 11, 12, 13, 14, 1

FLAG_BITS = {
    "cf": 0, "pf": 2, "af": 4, "zf": 6, "sf": 7, "tf": 8, "if": 9, "df": 10, "of": 11, "iopl": 12,
    "nt": 14, "rf": 16, "vm": 17, "ac": 18, "vif": 19, "vip": 20, "id": 21,
}  # fmt: skip
SEGMENTS = "es", "cs", "ss", "ds", "fs", "gs"
GENERAL = "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"


class Trap(Exception):  # noqa: N818  # the manual's word
    """A fault; `late`: it happens to a task that was switched to. `status`: DR6 of a #DB."""

    def __init__(
        self, vector: int, code: int | None = None, status: int = 0, *, late: bool = False
    ):
        super().__init__(vector, code)
        self.vector, self.code, self.status, self.late = vector, code, status, late


class Descriptor(NamedTuple):
    """Eight bytes of a descriptor table."""

    low: int
    high: int

    @property
    def base(self) -> int:
        return self.low >> 16 | (self.high & 0xFF) << 16 | self.high & 0xFF000000

    @property
    def limit(self) -> int:
        raw = self.low & 0xFFFF | self.high & 0xF0000
        return raw << 12 | 0xFFF if self.high >> 23 & 1 else raw

    @property
    def attributes(self) -> int:
        return self.high >> 8 & 0xFF | self.high >> 12 & 0xF00

    @property
    def type(self) -> int:
        return self.high >> 8 & 15

    @property
    def system(self) -> bool:
        return not self.high >> 12 & 1

    @property
    def dpl(self) -> int:
        return self.high >> 13 & 3

    @property
    def present(self) -> bool:
        return bool(self.high >> 15 & 1)

    @property
    def code(self) -> bool:
        return not self.system and self.type >= 8

    @property
    def conforming(self) -> bool:
        return self.code and bool(self.type & 4)

    @property
    def readable(self) -> bool:
        return not self.system and (self.type < 8 or bool(self.type & 2))

    @property
    def writable(self) -> bool:
        return not self.system and self.type < 8 and bool(self.type & 2)

    @property
    def selector(self) -> int:
        """Of a gate."""
        return self.low >> 16

    @property
    def offset(self) -> int:
        """Of a gate of 32 or 16 bits."""
        return self.low & 0xFFFF | (self.high & 0xFFFF0000 if self.type & 8 else 0)

    @property
    def size(self) -> int:
        """Bytes of what a gate pushes."""
        return 4 if self.type & 8 else 2


class Cpu:
    """One processor; `length` is that of the instruction under way."""

    def __init__(self, registers: dict[str, int], memory: bytearray) -> None:
        self.r = registers
        self.memory = memory
        self.before = dict(registers)  # as the instruction found them
        self.length = 0
        self.steps = 0
        self.shut_down: list[tuple[int, int | None]] = []
        self.stop: tuple[str, tuple[int, ...]] | None = None
        self.invalidated: list[tuple[int, int]] = []

    @property
    def next(self) -> int:
        return self.r["eip"] + self.length

    @property
    def cpl(self) -> int:
        return self.r["cpl"]

    @property
    def v86(self) -> bool:
        return bool(self.r["vm"])

    def load(self, address: int, size: int) -> int:
        return int.from_bytes(self.memory[address : address + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        self.memory[address : address + size] = (value & (1 << 8 * size) - 1).to_bytes(
            size, "little"
        )

    @property
    def flags(self) -> int:
        return 2 | sum(self.r[name] << bit for name, bit in FLAG_BITS.items())

    def put_flags(self, image: int, names: str) -> None:
        for name in names.split():
            width = 3 if name == "iopl" else 1
            self.r[name] = image >> FLAG_BITS[name] & width

    def fill(self, name: str, selector: int, base: int, limit: int, attributes: int) -> None:
        self.r[name] = selector
        self.r[f"{name}_base"], self.r[f"{name}_limit"] = base, limit
        self.r[f"{name}_attributes"] = attributes

    def breakpoints(self, address: int, size: int, *kinds: int) -> int:
        """B0–B3 for an access; kinds: 0 executed, 1 written, 2 port, 3 read or written."""
        found = 0
        for number in range(4):
            control = self.r["dr7"] >> 16 + 4 * number
            length = (1, 2, 8, 4)[control >> 2 & 3]
            start = self.r[f"dr{number}"] & -length
            enabled = self.r["dr7"] >> 2 * number & 3 and control & 3 in kinds
            if enabled and start < address + size and address < start + length:
                found |= 1 << number
        return found

    def attempt(self, action: Callable[[Cpu], None]) -> Trap | None:
        """Do it, or undo all of it and say why."""
        registers, memory = dict(self.r), bytes(self.memory)
        try:
            action(self)
        except Trap as trap:
            if not trap.late:
                self.r.clear()
                self.r.update(registers)
                self.memory[:] = memory
            return trap
        self.steps += 1
        return None
