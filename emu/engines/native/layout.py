"""What native code and the engine share: one array of 64-bit words, the mailbox, by word number.

Pointers among them are read in native code as pointers (never made from integers there).
"""

from __future__ import annotations

import zlib
from enum import IntEnum
from typing import Final


class Word(IntEnum):
    """Words of the mailbox."""

    REMAINING = 0  # instructions that may still be counted
    REGISTERS = 1  # -> the state's values, 64 bits a slot
    JUMPS = 2  # -> the jump cache
    ADDRESS = 3  # of the access that missed
    REASON = 4  # of an exit: its number
    VALUES = 5  # ... its values
    MISSED = 13  # a slow access or bulk operation did not happen
    RECORDS = 14  # -> decoded records of tier 1
    HANDLERS = 15  # -> handlers by form number
    SPACES = 16  # three words for each address space: its storage, its page tables (or its size),
    # and one byte a unit that tells whether it holds translated code
    HOT = 40  # entries after which a block of tier 1 asks for a region
    HEAT = 59  # -> instructions done in regions that were compiled in a hurry, by `heat_slot`
    SEEN = 60  # -> where indirect jumps went that left a region: pairs of program counters


WORDS: Final = 64
MOST_VALUES: Final = Word.MISSED - Word.VALUES


class Left(IntEnum):
    """Why native code returned."""

    DISPATCH = 0  # the program counter is nowhere in the jump cache
    BUDGET = 1  # fewer instructions remain than the next block has
    READ = 2  # no translation for a read of ADDRESS: fill the tables, go on at this instruction
    WRITE = 3  # the same for a write
    STEP = 4  # do this instruction elsewhere
    EXIT = 5  # the instruction that retired leaves the engine: REASON, VALUES
    LOOK = 6  # the instruction that retired changed what decoding depends on
    HOT = 7  # a block of tier 1 has been entered often; nothing of it has been done
    COLD = 8  # the instruction's form has no handler yet


class Header(IntEnum):
    """32-bit words of the header of a block of tier 1."""

    COUNT = 1  # entries
    TARGETS = 2  # ... where it went, the last four


METADATA: Final = """
!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
!2 = !{}
"""

SEEN: Final = 256  # pairs of a block and where its indirect jump went

HEATS: Final = 1 << 12  # counters of heat

JUMPS: Final = 1 << 16  # entries of the jump cache
JUMP_WORDS: Final = 4  # program counter (or NOWHERE), function, entry number, unused
NOWHERE: Final = (1 << 64) - 1


def heat_slot(pc: int) -> int:
    """Which counter tells how much a region with this head has done; some share one."""
    return (pc * 0x9E3779B1 >> 16) % HEATS


def number_of(reason: str) -> int:
    """A number for a reason to leave, the same in every run."""
    return zlib.crc32(reason.encode())
