"""The tables and records of the bulk decoder: flat arrays that native code reads and writes.

They hold no address and no Python object, so they can be stored and loaded as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from isa.x86.encoding import (
    CONSTANT,
    CONSTANTS,
    MOST_IMMEDIATE,
    OPCODES,
    PREFIXES,
    Address,
    Key,
    Opcode,
    address,
    wants_sib,
)

SLOTS: Final = 6  # fields of a record besides the length
ASK: Final = 0xFFFFFFFF  # instead of a form: there is no recipe
NO_SIB: Final = 0xFFFFFFFF  # instead of an address: a SIB byte says which
EMPTY: Final = 0xFFFFFFFF  # no key has this number
HASH_FACTOR: Final = 0x9E3779B1  # 2³² / golden ratio
HASH_SHIFT: Final = 12

RECORD: Final = np.dtype([("form", np.uint32), ("fields", np.uint32, SLOTS), ("length", np.uint32)])
"""A decoded instruction: form index, fields in the order of the form's names, length in bytes."""

ENTRY: Final = np.dtype(
    [("key", np.uint32), ("form", np.uint32), ("sources", np.uint8, SLOTS),
     ("immediate", np.uint8), ("unused", np.uint8)]
)  # fmt: skip
HEADER: Final = np.dtype(
    [("last", np.uint32), ("unused", np.uint32), ("prefixes", np.uint16, 256),
     ("opcodes", np.uint32, OPCODES), ("modrm", np.uint32, (2, 32)),
     ("sib", np.uint32, (3, 256))]
)  # fmt: skip


class Stop(IntEnum):
    """Why native code stopped; `BulkDecoder` settles the last two itself."""

    ROOM = 1  # no more records
    SHORT = 2  # no more bytes, or part of an instruction
    ENDS = 3  # after a record whose form has a flag that was asked for
    ABSENT = 4  # before an instruction that has no record
    UNKNOWN = 5  # the key was never met
    ASK = 6  # the key has no recipe, or the instruction is not whole


class Flag(IntFlag):
    """What a caller says of a form."""

    ENDS = 1  # a block ends after it
    ABSENT = 2  # it must not be decoded to a record
    REPEATS = 4  # it is not done while it stays where it is


class Stored(NamedTuple):
    """The learned part of `Tables`."""

    opcodes: npt.NDArray[np.uint32]
    entries: npt.NDArray[Any]  # of ENTRY


class Tables:
    """What native code knows of the encodings of one mode."""

    def __init__(self, code_size: int, room: int = 1024) -> None:
        self.used = 0
        self._allocate(room)
        self.header["last"] = room - 1
        for byte, (kind, value) in PREFIXES.items():
            self.header["prefixes"][byte] = kind | value << 8
        for prefixed, size in enumerate((code_size, 48 - code_size)):
            for number in range(32):
                self.header["modrm"][prefixed, number] = _direct(number >> 3, number & 7, size)
        for mod in range(3):
            for sib in range(256):
                self.header["sib"][mod, sib] = _packed(address(mod, 4, sib, 32))

    def _allocate(self, room: int) -> None:
        self.array = np.zeros(HEADER.itemsize + room * ENTRY.itemsize, np.uint8)
        self.address: int = self.array.ctypes.data
        self.header: Any = self.array[: HEADER.itemsize].view(HEADER)[0]
        self.entries: Any = self.array[HEADER.itemsize :].view(ENTRY)
        self.entries["key"] = EMPTY

    @classmethod
    def of(cls, code_size: int, stored: Stored, forms: int) -> Tables:
        """Stored tables that speak of so many forms; raises ValueError if they cannot be right."""
        self = cls(code_size, max(2, len(stored.entries)))
        used = stored.entries[stored.entries["key"] != EMPTY]
        if not (
            stored.entries.dtype == ENTRY
            and stored.opcodes.dtype == np.uint32
            and stored.opcodes.shape == (OPCODES,)
            and len(stored.entries) & (len(stored.entries) - 1) == 0
            and 2 * len(used) <= len(stored.entries) + 1
            and np.all(used["sources"] < CONSTANT + CONSTANTS)
            and np.all(used["immediate"] <= MOST_IMMEDIATE)
            and np.all((used["form"] < forms) | (used["form"] == ASK))
        ):
            raise ValueError("the decoder's tables are damaged or another version's: learn anew")
        self.header["opcodes"] = stored.opcodes
        self.entries[:] = stored.entries
        self.used = len(used)
        return self

    def stored(self) -> Stored:
        """What must be kept; the rest follows from the code size."""
        return Stored(self.header["opcodes"].copy(), self.entries.copy())

    def know(self, number: int, opcode: Opcode) -> None:
        """Enter what there is to know of an opcode."""
        memory = opcode.memory_reg
        register = opcode.register_reg | opcode.register_rm << 3
        self.header["opcodes"][number] = opcode.has_modrm | 2 | memory << 8 | register << 16

    def enter(self, key: Key, form: int, sources: Sequence[int], immediate: int) -> None:
        """Enter a key's recipe; ASK for a form says that there is none."""
        if 2 * self.used >= len(self.entries):
            self._grow()
        slot = self._slot(key.number)
        self.used += self.entries[slot]["key"] == EMPTY
        filled = [*sources, *[CONSTANT] * (SLOTS - len(sources))]
        self.entries[slot] = (key.number, form, filled, immediate, 0)

    def _slot(self, key: int) -> int:
        last = len(self.entries) - 1
        slot = ((key * HASH_FACTOR & 0xFFFFFFFF) >> HASH_SHIFT) & last
        keys = self.entries["key"]
        while keys[slot] not in (key, EMPTY):
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        header, entries = self.array[: HEADER.itemsize], self.entries
        self._allocate(2 * len(entries))
        self.array[: HEADER.itemsize] = header
        self.header["last"] = len(self.entries) - 1
        for entry in entries[entries["key"] != EMPTY]:
            self.entries[self._slot(int(entry["key"]))] = entry


def _direct(mod: int, rm: int, size: int) -> int:
    return NO_SIB if wants_sib(mod, rm, size) else _packed(address(mod, rm, 0, size))


def _packed(found: Address) -> int:
    """An address in 32 bits, as the native code takes it apart."""
    registers = found.base_register << 8 | found.index_register << 12
    return found.shape | registers | found.displacement << 16 | found.size << 20
