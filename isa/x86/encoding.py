"""An instruction's bytes taken apart: prefixes, opcode, ModRM, SIB, displacement, the rest.

Nothing here knows an opcode: whether a ModRM byte follows one, which bits of it choose the form and
how many immediate bytes there are is learned from the decoder (`isa.x86.recipe`). SDM volume 2,
chapter 2.
"""

from __future__ import annotations

from isa.hints import Callable, Final
from isa.record import NamedTuple
from isa.words import mask
from isa.x86.limits import MOST_PREFIXES, OPCODE_MAPS
from isa.x86.registers import SEGMENT_NAMES

# Prefixes in effect: of each kind the last one counts.
OPERAND_SIZE: Final = 1
ADDRESS_SIZE: Final = 2
SEGMENT: Final = 7 << 2
LOCK: Final = 1 << 5
REPEAT: Final = 3 << 6

_OVERRIDES: Final = dict(
    zip(("es", "cs", "ss", "ds", "fs", "gs"), bytes.fromhex("26 2E 36 3E 64 65"), strict=True)
)


class Prefix(NamedTuple):
    """What a prefix byte does to the prefixes in effect: it sets the bits `kind` to `value`."""

    kind: int
    value: int


PREFIXES: Final[dict[int, Prefix]] = {
    _OVERRIDES[name]: Prefix(SEGMENT, number << 2)
    for number, name in enumerate(SEGMENT_NAMES, start=1)
} | {
    0x66: Prefix(OPERAND_SIZE, OPERAND_SIZE),
    0x67: Prefix(ADDRESS_SIZE, ADDRESS_SIZE),
    0xF0: Prefix(LOCK, LOCK),
    0xF2: Prefix(REPEAT, 1 << 6),
    0xF3: Prefix(REPEAT, 2 << 6),
}

# Shapes of an address: what a form says of it. Bits 3 and 4 are the scale's logarithm.
HAS_BASE: Final = 1
HAS_INDEX: Final = 2
STACK: Final = 4  # SS is the default segment
REGISTER: Final = 32  # no address at all: ModRM.mod is 3


class Address(NamedTuple):
    """What ModRM (without its reg field) and SIB say; `displacement` and `size` are in bytes."""

    shape: int
    base_register: int
    index_register: int
    displacement: int
    size: int  # of ModRM and SIB


class Opcode(NamedTuple):
    """What must be known of an opcode: ModRM or not, and which bits of it choose the form."""

    has_modrm: bool
    memory_reg: int = 0  # bits of reg, if mod is not 3
    register_reg: int = 0  # bits of reg, if mod is 3
    register_rm: int = 0  # bits of rm, if mod is 3


class Key(NamedTuple):
    """All that an instruction's form, and where its fields are, depends on."""

    prefixes: int
    opcode: int
    shape: int
    reg: int  # the bits that choose the form
    rm: int

    @property
    def number(self) -> int:
        """The key in 30 bits."""
        return self.prefixes | self.opcode << 8 | self.shape << 18 | self.reg << 24 | self.rm << 27


class Parts(NamedTuple):
    """An instruction taken apart."""

    key: Key
    modrm: int
    reg: int
    rm: int
    base_register: int
    index_register: int
    displacement: int  # sign-extended to 32 bits
    head: int  # bytes in front of the immediate
    rest: bytes  # the immediate, and what follows it


def split(code: bytes, code_size: int, known: Callable[[int], Opcode]) -> Parts | None:
    """Take apart the instruction at the start of `code`, which has at least LONGEST bytes.

    `known` tells of an opcode, by its number. None if there are too many prefixes.
    """
    prefixes, at = prefixes_of(code)
    if at > MOST_PREFIXES:
        return None
    number, at = opcode_of(code, at)
    opcode = known(number)
    if not opcode.has_modrm:
        return Parts(Key(prefixes, number, 0, 0, 0), 0, 0, 0, 0, 0, 0, at, code[at:])
    modrm, sib = code[at], code[at + 1]
    reg, rm = modrm >> 3 & 7, modrm & 7
    size = address_size(prefixes, code_size)
    found = address(modrm >> 6, rm, sib, size)
    at += found.size
    value = int.from_bytes(code[at : at + found.displacement], "little", signed=True)
    at += found.displacement
    key = Key(prefixes, number, found.shape, *chosen(opcode, found.shape, reg, rm))
    return Parts(
        key,
        modrm,
        reg,
        rm,
        found.base_register,
        found.index_register,
        value & mask(32),
        at,
        code[at:],
    )


def prefixes_of(code: bytes) -> tuple[int, int]:
    """The prefixes in effect, and how many bytes they are (at most one more than allowed)."""
    prefixes = at = 0
    while code[at] in PREFIXES and at <= MOST_PREFIXES:
        kind, value = PREFIXES[code[at]]
        prefixes = prefixes & ~kind | value
        at += 1
    return prefixes, at


def opcode_of(code: bytes, at: int) -> tuple[int, int]:
    """The number of the opcode at `at`, and where it ends."""
    escape = max((e for e in OPCODE_MAPS if code.startswith(e, at)), key=len)
    at += len(escape)
    return OPCODE_MAPS.index(escape) * 256 + code[at], at + 1


def address_size(prefixes: int, code_size: int) -> int:
    """16 or 32."""
    return 48 - code_size if prefixes & ADDRESS_SIZE else code_size


def chosen(opcode: Opcode, shape: int, reg: int, rm: int) -> tuple[int, int]:
    """The bits of reg and rm that choose the form."""
    if shape == REGISTER:
        return reg & opcode.register_reg, rm & opcode.register_rm
    return reg & opcode.memory_reg, 0


def address(mod: int, rm: int, sib: int, size: int) -> Address:
    """The address that ModRM and, where it is wanted, SIB describe (SDM 2, tables 2-1 to 2-3)."""
    if mod == 3:
        return Address(REGISTER, 0, 0, 0, 1)
    if size == 16:
        return _address16(mod, rm)
    if wants_sib(mod, rm, size):
        index, base = sib >> 3 & 7, sib & 7
        return _address32(mod, base, None if index == 4 else index, sib >> 6, 2)
    return _address32(mod, rm, None, 0, 1)


def wants_sib(mod: int, rm: int, size: int) -> bool:
    """Whether a SIB byte follows ModRM."""
    return size == 32 and mod != 3 and rm == 4


def _address32(mod: int, base: int, index: int | None, scale: int, size: int) -> Address:
    has_base = not (mod == 0 and base == 5)
    shape = HAS_BASE * has_base
    if has_base and base in (4, 5):  # ESP, EBP
        shape |= STACK
    if index is not None:
        shape |= HAS_INDEX | scale << 3
    displacement = (0 if has_base else 4, 1, 4)[mod]
    return Address(shape, base if has_base else 0, index or 0, displacement, size)


_BX, _BP, _SI, _DI = 3, 5, 6, 7
_ADDRESSES16: Final = (
    (_BX, _SI), (_BX, _DI), (_BP, _SI), (_BP, _DI), (_SI,), (_DI,), (_BP,), (_BX,),
)  # fmt: skip


def _address16(mod: int, rm: int) -> Address:
    if mod == 0 and rm == 6:
        return Address(0, 0, 0, 2, 1)
    base, *index = _ADDRESSES16[rm]
    shape = HAS_BASE | (STACK if base == _BP else 0) | (HAS_INDEX if index else 0)
    return Address(shape, base, index[0] if index else 0, mod, 1)


def _immediate(offset: int, size: int, width: int = 0) -> Callable[[Parts], int]:
    """`size` bytes of the immediate; sign-extended to `width` bits if that is told."""

    def read(parts: Parts) -> int:
        data = parts.rest[offset : offset + size]
        value = int.from_bytes(data, "little", signed=width > 0)
        return value & mask(width or 8 * size)

    return read


SOURCES: Final[tuple[tuple[str, Callable[[Parts], int]], ...]] = (
    ("reg", lambda parts: parts.reg),
    ("reg & 3", lambda parts: parts.reg & 3),
    ("rm", lambda parts: parts.rm),
    ("rm & 3", lambda parts: parts.rm & 3),
    ("base", lambda parts: parts.base_register),
    ("index", lambda parts: parts.index_register),
    ("displacement", lambda parts: parts.displacement),
    ("imm8", _immediate(0, 1)),
    ("imm8 to 16", _immediate(0, 1, 16)),
    ("imm8 to 32", _immediate(0, 1, 32)),
    ("imm16", _immediate(0, 2)),
    ("imm16 to 32", _immediate(0, 2, 32)),
    ("imm32", _immediate(0, 4)),
    ("imm16 after 16", _immediate(2, 2)),
    ("imm16 after 32", _immediate(4, 2)),
    ("modrm", lambda parts: parts.modrm),
)
"""Where a field may come from: a name, and how to read it."""
