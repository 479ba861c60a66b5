"""The tables and records of the bulk decoder: flat arrays that native code reads and writes.

They hold no address and no Python object, so they can be stored and loaded as they are.
"""

from __future__ import annotations

import struct

from emu.late import np
from emu.room import Room
from isa.hints import TYPE_CHECKING, Any, Final, Sequence
from isa.light import cache
from isa.named import IntEnum
from isa.record import NamedTuple
from isa.x86.limits import CONSTANT, CONSTANTS, MOST_IMMEDIATE, OPCODES

if TYPE_CHECKING:
    from isa.x86.encoding import Address, Key, Opcode

SLOTS: Final = 6  # fields of a record besides the length
ASK: Final = 0xFFFFFFFF  # instead of a form: there is no recipe
NO_SIB: Final = 0xFFFFFFFF  # instead of an address: a SIB byte says which
EMPTY: Final = 0xFFFFFFFF  # no key has this number
HASH_FACTOR: Final = 0x9E3779B1  # 2³² / golden ratio
HASH_SHIFT: Final = 12

RECORD: Final = struct.Struct(f"<{SLOTS + 2}I")
"""A decoded instruction: form index, fields in the order of the form's names, length in bytes."""
RECORD_WORDS: Final = SLOTS + 2
_ENTRY: Final = struct.Struct(f"<II{SLOTS}BBB")  # key, form, sources, immediate, unused
_EMPTY_ENTRY: Final = _ENTRY.pack(EMPTY, 0, *[0] * SLOTS, 0, 0)
_SOURCES: Final = bytes(range(CONSTANT + CONSTANTS))  # what entries may say
_IMMEDIATES: Final = bytes(range(MOST_IMMEDIATE + 1))
_HEADER: Final = struct.Struct(f"<II256H{OPCODES}I64I768I")
"""The last entry's number, unused, prefixes, opcodes, and what ModRM and SIB say."""
_OPCODES_AT: Final = 2 * 4 + 256 * 2


@cache
def record_type() -> np.dtype[Any]:
    """Records for numpy."""
    return np.dtype([("form", "<u4"), ("fields", "<u4", SLOTS), ("length", "<u4")])


@cache
def entry_type() -> np.dtype[Any]:
    """Entries for numpy."""
    return np.dtype(
        [("key", "<u4"), ("form", "<u4"), ("sources", "u1", SLOTS), ("immediate", "u1"),
         ("unused", "u1")]
    )  # fmt: skip


class Stop(IntEnum):
    """Why native code stopped; `BulkDecoder` settles the last two itself."""

    ROOM = 1  # no more records
    SHORT = 2  # no more bytes, or part of an instruction
    ENDS = 3  # after a record whose form has a flag that was asked for
    ABSENT = 4  # before an instruction that has no record
    UNKNOWN = 5  # the key was never met
    ASK = 6  # the key has no recipe, or the instruction is not whole


class Flag(IntEnum):
    """What a caller says of a form, in bits."""

    ENDS = 1  # a block ends after it
    ABSENT = 2  # it must not be decoded to a record
    REPEATS = 4  # it is not done while it stays where it is


class Stored(NamedTuple):
    """The content of `Tables`."""

    header: bytes
    entries: bytes


class Tables:
    """What native code knows of the encodings of one mode."""

    def __init__(self, code_size: int, room: int = 1024) -> None:
        self.used = 0
        self._allocate(_header(code_size), _EMPTY_ENTRY * room)

    def _allocate(self, header: bytes, entries: bytes) -> None:
        room = len(entries) // _ENTRY.size
        memory = Room(_HEADER.size + room * _ENTRY.size)
        self.address = memory.address
        self._header, self._entries = memory.view[: _HEADER.size], memory.view[_HEADER.size :]
        self._header[:] = header
        self._header[:4] = (room - 1).to_bytes(4, "little")
        self._entries[:] = entries
        self._room = room

    @property
    def entries(self) -> Any:
        """The entries for numpy."""
        return np.frombuffer(self._entries, entry_type())

    @classmethod
    def of(cls, stored: Stored, forms: int) -> Tables:
        """Stored tables that speak of so many forms; raises ValueError if they cannot be right."""
        room, rest = divmod(len(stored.entries), _ENTRY.size)
        whole = len(stored.header) == _HEADER.size and not rest and room > 1
        used = room - _column(stored, 0).count(EMPTY) if whole else 0
        if not (
            whole
            and room & (room - 1) == 0
            and 2 * used <= room + 1
            and _are_possible(stored, forms)
        ):
            raise ValueError("the decoder's tables are damaged or another version's: learn anew")
        self = cls.__new__(cls)
        self._allocate(stored.header, stored.entries)
        self.used = used
        return self

    def stored(self) -> Stored:
        """What must be kept."""
        return Stored(self._header.tobytes(), self._entries.tobytes())

    def know(self, number: int, opcode: Opcode) -> None:
        """Enter what there is to know of an opcode."""
        memory = opcode.memory_reg
        register = opcode.register_reg | opcode.register_rm << 3
        known = opcode.has_modrm | 2 | memory << 8 | register << 16
        struct.pack_into("<I", self._header, _OPCODES_AT + 4 * number, known)

    def enter(self, key: Key, form: int, sources: Sequence[int], immediate: int) -> None:
        """Enter a key's recipe; ASK for a form says that there is none."""
        if 2 * self.used >= self._room:
            self._grow()
        at = self._place(key.number)
        self.used += self._key(at) == EMPTY
        filled = [*sources, *[CONSTANT] * (SLOTS - len(sources))]
        _ENTRY.pack_into(self._entries, at, key.number, form, *filled, immediate, 0)

    def _key(self, at: int) -> int:
        return int.from_bytes(self._entries[at : at + 4], "little")

    def _place(self, key: int) -> int:
        """Where the entry of a key is, or would be."""
        last = self._room - 1
        slot = ((key * HASH_FACTOR & 0xFFFFFFFF) >> HASH_SHIFT) & last
        while self._key(slot * _ENTRY.size) not in (key, EMPTY):
            slot = (slot + 1) & last
        return slot * _ENTRY.size

    def _grow(self) -> None:
        old = self._entries
        self._allocate(self._header.tobytes(), _EMPTY_ENTRY * (2 * self._room))
        for entry in _ENTRY.iter_unpack(old):
            if entry[0] != EMPTY:
                _ENTRY.pack_into(self._entries, self._place(entry[0]), *entry)


def _column(stored: Stored, word: int) -> list[int]:
    """One of the words of 32 bits of all stored entries."""
    return memoryview(stored.entries).cast("I")[word :: _ENTRY.size // 4].tolist()


def _are_possible(stored: Stored, forms: int) -> bool:
    """Whether stored entries can be right; empty ones are zeros but for the key."""
    numbers = set(_column(stored, 1)) - {ASK}
    first, entries = struct.calcsize("<II"), stored.entries
    wild = [entries[first + n :: _ENTRY.size].translate(None, _SOURCES) for n in range(SLOTS)]
    wild += [entries[first + SLOTS :: _ENTRY.size].translate(None, _IMMEDIATES)]
    return max(numbers, default=0) < max(forms, 1) and not any(wild)


@cache
def _header(code_size: int) -> bytes:
    """All that follows from the code size, without opcodes."""
    from isa.x86.encoding import PREFIXES, address  # which who has learned before can do without

    prefixes = [0] * 256
    for byte, (kind, value) in PREFIXES.items():
        prefixes[byte] = kind | value << 8
    sizes = code_size, 48 - code_size
    modrm = [_direct(number >> 3, number & 7, size) for size in sizes for number in range(32)]
    sib = [_packed(address(mod, 4, sib, 32)) for mod in range(3) for sib in range(256)]
    return _HEADER.pack(0, 0, *prefixes, *[0] * OPCODES, *modrm, *sib)


def _direct(mod: int, rm: int, size: int) -> int:
    from isa.x86.encoding import address, wants_sib

    return NO_SIB if wants_sib(mod, rm, size) else _packed(address(mod, rm, 0, size))


def _packed(found: Address) -> int:
    """An address in 32 bits, as the native code takes it apart."""
    registers = found.base_register << 8 | found.index_register << 12
    return found.shape | registers | found.displacement << 16 | found.size << 20
