"""What native code and the engine share: one array of 64-bit words, the mailbox, by word number.

Pointers among them are read in native code as pointers (never made from integers there).
"""

from __future__ import annotations

from emu.engines.native.host import processor
from emu.memory import PAGE_SIZE
from emu.private import checksum
from isa.hints import TYPE_CHECKING, Final
from isa.named import IntEnum

if TYPE_CHECKING:
    from isa.bits import Bits


class Word(IntEnum):
    """Words of the mailbox."""

    REMAINING = 0  # instructions that may still be counted
    REGISTERS = 1  # -> the state's values, 64 bits a slot
    JUMPS = 2  # -> the jump cache
    ADDRESS = 3  # of the access that missed; the number of its space in the upper half
    REASON = 4  # of an exit: its number; VALUES are further on
    PENDING = 5  # the number of the kind of status flags that stitched code leaves pending, or 0
    OPERANDS = 6  # ... what they follow from
    MISSED = 13  # a slow access or bulk operation did not happen
    RECORDS = 14  # -> decoded records of tier 1
    HANDLERS = 15  # -> handlers by form number
    SPACES = 16  # three words for each address space: its storage, its page tables (or its size),
    # and one byte a unit that tells whether it holds translated code
    HOT = 40  # entries after which a block of tier 1 asks for a region
    LOOK = 41  # -> the function that goes on in another mode by itself, or null
    MODES = 42  # -> the modes that it knows, see `modes`
    SWITCHED = 43  # 1: it did
    DISPATCH = 48  # -> the function that finds or discovers blocks of tier 1, if there is one
    PAGES = 49  # -> the slots of the pages, in this mode; 0: the page is not ready
    SLOTS = 50  # -> rows of header numbers
    FRAMES = 51  # -> by slot, where the page is in storage
    DECODER = 52  # -> `decode_run`
    KEYS = 53  # -> the decoder's tables of this mode
    FLAGS = 54  # -> the decoder's flags of forms
    USED = 55  # records that are in use
    ARENA = 56  # records that there are
    FRESH = 57  # instructions that may still be discovered before Python wants a look
    COVERAGE = 58  # -> changes of the counts of executed code (`emu.coverage`), or null
    VISITS = 59  # -> how often regions were entered, by `visits_slot`, and what was done in them
    SEEN = 60  # -> where indirect jumps went that left a region: pairs of program counters
    KEPT = 61  # -> a bit for each `kept_slot`: whether the disk may have a region from there
    COUNT = 62  # from which number a block's entries count if it has none: HOT comes later then
    GATE = 64  # -> the function that lets a handler have an exit; null: exits leave (see `gate`)
    LATER = 65  # instructions that may be counted besides REMAINING, without the interpreter's lock
    HELD = 66  # the most instructions that may be done with it
    THREAD = 67  # -> what the interpreter knows of this thread, null while the lock is held
    SERVING = 68  # a handler has been called, and what it did is not settled: the count is Python's
    END = 69  # the count at which nothing remains
    PYTHON = 70  # -> functions and objects of the interpreter, see `gate`
    REPLY = 108  # what the port read at hand returns
    REPLIED = 109  # 1 if there is one
    SERVED = 112  # exits that handlers may have: (number, -> reason, values) each, then 0
    STENCILS = 144  # -> stencils by form number, null where there is none; null: none at all
    STITCH = 145  # a block is stitched when the bits of this mask are 0 in its count
    CODE = 146  # where the next stitched code goes
    ROOM = 147  # ... and where that must end
    PERIOD = 148  # instructions between samples, see `samples`
    AGAIN = 149  # which instruction of a stitched block the handlers do
    RESUME = 150  # -> the function that does that one and what follows it there
    HANDLE = 151  # -> the function that does a block there of which less may be done, or samples it
    LINK = 152  # -> the function that goes on behind a stitched block, and links it to the next
    LINKS = 153  # where the next note of a link goes
    LAST_LINK = 154  # ... and where none goes any more
    CALLS = 155  # -> the functions that stencils call
    FACTS = 156  # -> `FlagFacts` of forms, packed
    SETTLERS = 157  # -> the functions that settle pending flags, by the number of their kind
    EVALUATORS = 158  # -> stencils by such a number and that of a flag, null where there is none
    SAMPLE = 159  # the count at which the next one is due
    VALUES = 160  # of an exit, see REASON
    WINDOWS = 288  # -> the windows of address spaces that have one, by number
    LOOKS = 171  # writes to pages with code until Python looks whether they still have some
    SETTLE = 168  # -> the function that settles what is pending, for stitched code
    LEAP = 169  # -> the function that goes on behind a stitched block that has all its links
    JOIN = 172  # -> the function that links a stitched block to where it always goes
    PLACE = 173  # ... of what leads there, the distance; or a site, for LINK
    ENTER = 170  # -> the function that goes on in a region, from stitched code
    READERS = 174  # -> stencils that read pending flags, see `stencil_store`
    MODE = 176  # what decoding and fetching depend on, as it was when native code was entered


WORDS: Final = 296
MOST_SERVED: Final = (Word.STENCILS - Word.SERVED) // 3 - 1
MOST_VALUES: Final = 8
MOST_OPERANDS: Final = 4


class Left(IntEnum):
    """Why native code returned."""

    DISPATCH = 0  # there is no native code for the program counter
    BUDGET = 1  # fewer instructions remain than the next block has
    READ = 2  # no translation for a read of ADDRESS: fill the tables, go on at this instruction
    WRITE = 3  # the same for a write
    STEP = 4  # do this instruction elsewhere
    EXIT = 5  # the instruction that retired leaves the engine: REASON, VALUES
    LOOK = 6  # the instruction that retired changed what decoding depends on
    HOT = 7  # a block of tier 1 has been entered often; nothing of it has been done
    COLD = 8  # the instruction's form (REASON) has no handler yet
    FULL = 9  # there is no room for more stitched code, or for notes of its links
    PAUSE = 10  # much was discovered: look whether somebody wants to interrupt, then go on
    ASK = 15  # the instruction reads a port and there is no reply: REASON, VALUES
    SERVED = 16  # a handler of the exit raised, or answered, or changed more than native code knows


class Header(IntEnum):
    """32-bit words of a header: of a block of tier 1, stitched or not, or of a region's entry."""

    KIND = 0
    COUNT = 1  # entries; of a block that is stitched, an estimate from samples
    TARGETS = 2  # ... where it went, the last four
    SIZE = 6  # bytes of code
    RECALLED = 7  # 1: looked up on the disk, or nothing is there

    FUNCTION = 2  # of a region or a stitched block: its address, 64 bits
    ENTRY = 4  # ... the entry's number, or that of this header
    BEHIND = 5  # ... the header of what it replaces, or 0

    LINKED = 6  # of a stitched block: the distance from that to where stitched code enters it


QUICK, BEST = 0, 2
"""Levels of compiling: in half of the time that the other takes, or well."""

LARGEST: Final = 200  # instructions of a region

CONVENTION: Final = (
    "preserve_nonecc" if processor() in ("x86_64", "AMD64", "aarch64", "arm64") else "ccc"
)
"""How functions call that go on in each other for ever: nobody keeps registers for a caller."""

SYMBOL: Final = "region"  # the function of a region's module

UNLIKELY: Final = "!prof !0"  # metadata of a branch whose second way is the rare one
METADATA: Final = """
!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
!2 = !{}
"""

PAGE_BITS: Final = PAGE_SIZE.bit_length() - 1
PAGES: Final = 1 << 32 - PAGE_BITS

READABLE, WRITABLE, CODE = 0, 1, 2  # page tables
SLOW_LOADS: Final = {"load": "paged_load", "load_for_write": "paged_load_for_write"}
SLOW_STORE: Final = "paged_store"
LOOKS: Final = 1 << 10  # slow stores until Python looks whether a page still holds code
SLOW_MOST: Final = 8  # bytes that those functions of `runtime` can access

BULK: Final = ("copy", "fill", "scan", "compare")
ELEMENTS: Final = (8, 16, 32)  # widths of an element

STITCH: Final = 31  # see `Native`
LONGEST: Final = 60  # instructions of a block of tier 1
HOLD: Final = 1 << 62  # of HELD: all is done with the interpreter's lock, and at once
LEAST_PERIOD: Final = 512  # instructions between samples
USUAL: Final = 8  # ... of a usual one
MOST_FORMS: Final = 1 << 14
END: Final = MOST_FORMS - 1  # the form number of the record behind a block; no form has it
_PIECES: Final = ("settle", "again", "enter", "begin", "fall", "one", "two", "end")
PIECES: Final = {name: END - n for n, name in enumerate(_PIECES)}
"""What stands around stencils in stitched code (see `site`): their places among the stencils, where
no form has one."""
MOST_NUMBERS: Final = END - len(PIECES)  # of forms
FLAGS: Final = 8  # at most as many are left pending
UNKNOWN_KIND: Final = (1 << 32) - 1  # of what is pending where a block begins
BLOCK, REGION, STITCHED = 0, 1, 2  # kinds of a header
PYTHONS: Final = 0xFFFFFFFF  # instead of a page's place in storage: only Python decodes there
DISCOVERY: Final = (
    "tier1",
    "end",
    "absent",
    "dispatch",
    "resume",
    "handle",
    "link",
    "join",
    "pass",
)
"""The functions of `discover`."""

PORT_READ: Final = "port_read/2"  # the reason of an instruction that reads a port

SEEN: Final = 256  # pairs of a block and where its indirect jump went

JUMPS: Final = 1 << 16  # entries of the jump cache
JUMP_WORDS: Final = 4  # program counter (or NOWHERE), function, entry number, and where stitched
# code goes on in stitched code, or 0
NOWHERE: Final = (1 << 64) - 1


VISITS_BITS: Final = 14  # of `visits_slot`
KEPT_BITS: Final = 18  # of `kept_slot`
KEPT_FACTOR: Final = 0x9E3779B1


def _slot(pc: int, bits: int) -> int:
    """A place in a table for a program counter."""
    return (pc * KEPT_FACTOR & 0xFFFFFFFF) >> 32 - bits


def kept_slot(pc: int) -> int:
    """Which bit tells whether the disk may have a region from a program counter."""
    return _slot(pc, KEPT_BITS)


def visits_slot(pc: int) -> int:
    """Which pair of words counts the visits of the region from a program counter."""
    return _slot(pc, VISITS_BITS)


def number_of(reason: str) -> int:
    """A number for a reason to leave, the same in every run."""
    return checksum(reason.encode()) & 0xFFFFFFFF


def bulk_name(node: Bits) -> str:
    """The function for a bulk operation of the IR."""
    _, width, *rest = node.attribute
    return "_".join(["paged", node.op, str(width), *(str(int(r)) for r in rest)])
