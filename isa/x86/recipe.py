"""How to decode without the decoder: learned from it by experiment, key by key.

A recipe says what all instructions with the same key (`isa.x86.encoding`) have in common: the form,
from which part each field comes, and the size of the immediate. Nobody types one: `decode` is asked
about instructions of that key which differ in everything else, and a recipe is what explains all of
its answers. Where nothing does, there is no recipe, and `decode` has to be asked each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, reduce
from operator import or_
from random import Random

from isa.definition import Instruction
from isa.hints import TYPE_CHECKING, Final
from isa.record import NamedTuple
from isa.x86.decode import BAD, MANDATORY, PREFIXED, TOO_LONG, decode
from isa.x86.encoding import (
    PREFIXES,
    REGISTER,
    SOURCES,
    Address,
    Key,
    Opcode,
    Parts,
    address,
    address_size,
    chosen,
    split,
    wants_sib,
)
from isa.x86.form import Form
from isa.x86.limits import CONSTANT, CONSTANTS, LONGEST, MAX_LENGTH, MOST_IMMEDIATE, OPCODE_MAPS
from isa.x86.mode import FLAT_USER, Mode
from isa.x86.models import model_of

if TYPE_CHECKING:
    from typing import TypeVar

    Value = TypeVar("Value")

# How many instructions are asked about for a key. Where the form may hide in an immediate (ENTER's
# level, the number of a control register), three bits of it at least: 8 variants let 1 in 2²¹ pass.
VARIANTS_WITH_MODRM: Final = 4
VARIANTS_WITHOUT: Final = 8
_ORDER: Final = (0, 4, 3, 7, 1, 5, 2, 6)  # of registers; AL … BL and AH … BH in the same one

# Constants first: what is the same in all variants is no register or immediate, which all differ.
_ALL_SOURCES: Final = (*range(CONSTANT, CONSTANT + CONSTANTS), *range(len(SOURCES)))
_BYTES: Final = bytes(range(256))
_SIGNS: Final = (_BYTES[:128] * 2, _BYTES[128:] * 2, _BYTES)  # positive, negative, as it comes


class Recipe(NamedTuple):
    """How to decode the instructions of one key; fields but the length, by source number."""

    form: Form
    sources: tuple[tuple[str, int], ...]
    immediate: int  # bytes

    def named_sources(self) -> Iterator[tuple[str, str]]:
        """Each field and what it is read from, for people."""
        for name, source in self.sources:
            yield name, str(source - CONSTANT) if source >= CONSTANT else SOURCES[source][0]

    def instruction(self, parts: Parts, mode: Mode) -> Instruction:
        """The instruction that was taken apart."""
        length = parts.head + self.immediate
        fields = {name: source_value(source, parts) for name, source in self.sources}
        return Instruction(self.form._replace(mode=mode), fields | {"length": length}, length)


def source_value(source: int, parts: Parts) -> int:
    """What a source is worth in an instruction."""
    return source - CONSTANT if source >= CONSTANT else SOURCES[source][1](parts)


class Recipes:
    """What was learned of a model's code of one size: opcodes by number, and recipes by key.

    Keys take prefixes for what they are since the 386: of an older model there are no recipes.
    """

    def __init__(self, code_size: int, model: str = "") -> None:
        self.code_size = code_size
        self.opcodes: dict[int, Opcode] = {}
        self.recipes: dict[Key, Recipe | None] = {}
        self._mode = FLAT_USER._replace(code_size=code_size, model=model)
        self._has_keys = model_of(model).has("386")

    def opcode(self, number: int) -> Opcode:
        """What there is to know of an opcode."""
        if number not in self.opcodes:
            self.opcodes[number] = _learn_opcode(number, self._mode)
        return self.opcodes[number]

    def split(self, code: bytes) -> Parts | None:
        """Take apart the instruction at the start of `code`; None if it has too many prefixes."""
        return split(code[:MAX_LENGTH].ljust(LONGEST, b"\0"), self.code_size, self.opcode)

    def find(self, key: Key) -> Recipe | None:
        """The key's recipe; None if there is none."""
        if key not in self.recipes:
            opcode = self.opcode(key.opcode)
            self.recipes[key] = _learn(key, opcode, self._mode) if self._has_keys else None
        return self.recipes[key]

    def decode(self, code: bytes, mode: Mode) -> Instruction | None:
        """The first instruction of `code` by its recipe; None: ask `isa.x86.decode`."""
        parts = self.split(code)
        recipe = parts and self.find(parts.key)
        if not parts or not recipe:
            return None
        found = recipe.instruction(parts, mode)
        return found if found.length <= min(len(code), MAX_LENGTH) else None


class _Answer(NamedTuple):
    form: Form
    fields: Mapping[str, int]
    length: int


def _ask(code: bytes, mode: Mode) -> _Answer:
    found = decode(code[:MAX_LENGTH].ljust(MAX_LENGTH, b"\0"), mode)
    assert isinstance(found.form, Form)
    return _Answer(found.form, found.fields, found.length)


# Opcodes


def _learn_opcode(number: int, mode: Mode) -> Opcode:
    """What there is to know of an opcode, whichever prefix is part of it."""
    map_number, last = divmod(number, 256)
    prefixed = OPCODE_MAPS[map_number] == b"\x0f" and last in PREFIXED
    start = _opcode_bytes(number)
    has_prefixes = prefixed and model_of(mode.model).has("pentium3")
    starts = [prefix + start for prefix in MANDATORY] if has_prefixes else [start]
    has_modrm, *masks = zip(*(_learn_start(start, mode) for start in starts), strict=True)
    return Opcode(any(has_modrm), *(reduce(or_, mask) for mask in masks))


def _learn_start(start: bytes, mode: Mode) -> Opcode:
    if not _address_follows(start, mode):
        return Opcode(False)
    memory = [_form(start, 0, reg, 0, mode) for reg in range(8)]
    register = _register_masks(lambda reg, rm: _form(start, 3, reg, rm, mode))
    return Opcode(True, _significant(memory), *register)


def _register_masks(form: Callable[[int, int], Form]) -> tuple[int, int]:
    """The bits of reg and of rm that choose a form, if mod is 3.

    Most opcodes are one instruction, and bit 2 may tell AH from AL: a few probes show it. If they
    show anything else, all pairs are tried.
    """
    reg = _significant([form(n, 0) for n in range(8)])
    rm = _significant([form(0, n) for n in range(8)])
    if (reg | rm) & 3 or any(form(n, n) != form(n & reg, n & rm) for n in range(8)):
        for other in range(8):
            reg |= _significant([form(n, other) for n in range(8)])
            rm |= _significant([form(other, n) for n in range(8)])
    return reg, rm


def _opcode_bytes(number: int) -> bytes:
    return OPCODE_MAPS[number >> 8] + bytes([number & 255])


def _address_follows(start: bytes, mode: Mode) -> bool:
    """Whether the length depends on the next byte as it does for ModRM.

    A displacement adds its size: no immediate byte can do that. An opcode may be an instruction
    with some values of reg only, so each is tried until there is one. What is none with any address
    but is one with registers (MMX's shifts by a byte) has a ModRM byte all the same.
    """
    for reg in range(8):
        short, long = (_ask(start + bytes([mod << 6 | reg << 3]), mode) for mod in (0, 2))
        if long.length - short.length == mode.code_size // 8:
            return True
        if short.form.mnemonic not in (BAD, TOO_LONG) and long.form.mnemonic != BAD:
            return False
    return any(_form(start, 3, reg, 0, mode).mnemonic != BAD for reg in range(8))


def _form(start: bytes, mod: int, reg: int, rm: int, mode: Mode) -> Form:
    return _ask(start + bytes([mod << 6 | reg << 3 | rm]), mode).form


def _significant(forms: list[Form]) -> int:
    """The bits of an index into `forms` that make a difference."""
    return sum(bit for bit in (1, 2, 4) if any(f != forms[n ^ bit] for n, f in enumerate(forms)))


# Recipes


def _learn(key: Key, opcode: Opcode, mode: Mode) -> Recipe | None:
    sources: dict[str, Sequence[int]] = {}
    first: tuple[Form, int] | None = None
    for code in _variants(key, opcode, mode.code_size):
        parts = split(code, mode.code_size, lambda _: opcode)
        assert parts and parts.key == key, f"{code.hex(' ')} is no variant of {key}"
        found = _ask(code, mode)
        answer = found.form, found.length - parts.head
        if first is None:
            first = answer
            sources = {name: _ALL_SOURCES for name in found.fields if name != "length"}
        if answer != first or not _has_recipe(*answer):
            return None
        sources = {
            name: [s for s in possible if source_value(s, parts) == found.fields[name]]
            for name, possible in sources.items()
        }
    if first is None or not all(sources.values()):
        return None
    return Recipe(first[0], tuple((n, s[0]) for n, s in sorted(sources.items())), first[1])


def _has_recipe(form: Form, immediate: int) -> bool:
    """What is no instruction has no length that could be learned, and is never hot."""
    return form.mnemonic != BAD and 0 <= immediate <= MOST_IMMEDIATE


def _variants(key: Key, opcode: Opcode, code_size: int) -> Iterator[bytes]:
    """Instructions of a key that differ in all else.

    reg, rm, base and index change from one to the next and never name the same register; all sizes
    of displacement occur; the bytes behind are first all positive, then all negative.
    """
    random = Random(key.number)
    start = _prefix_bytes(key.prefixes) + _opcode_bytes(key.opcode)
    for number in range(VARIANTS_WITH_MODRM if opcode.has_modrm else VARIANTS_WITHOUT):
        middle = _modrm(key, opcode, code_size, number) if opcode.has_modrm else b""
        tail = random.randbytes(MAX_LENGTH).translate(_SIGNS[min(number, 2)])
        yield (start + middle + tail).ljust(LONGEST, b"\0")


def _modrm(key: Key, opcode: Opcode, code_size: int, number: int) -> bytes:
    """ModRM and SIB of a variant."""
    reg = _pick([r for r in _ORDER if chosen(opcode, key.shape, r, 0)[0] == key.reg], number)
    if key.shape == REGISTER:
        rms = [rm for rm in _ORDER if chosen(opcode, REGISTER, 0, rm)[1] == key.rm]
        return bytes([0xC0 | reg << 3 | _pick(rms, number + 1)])
    modrm, *sib = _memory(key.shape, address_size(key.prefixes, code_size), number)
    return bytes([modrm | reg << 3, *sib])


def _pick(values: Sequence[Value], number: int) -> Value:
    return values[number % len(values)]


def _prefix_bytes(prefixes: int) -> bytes:
    return bytes(b for b, (kind, value) in PREFIXES.items() if prefixes & kind == value)


@cache
def _memory(shape: int, size: int, number: int) -> bytes:
    """ModRM (with reg 0) and SIB of a variant that has an address of this shape."""
    left = _addresses(shape, size)
    left = _narrowed(left, lambda found: _ORDER.index(found.base_register), number + 1)
    left = _narrowed(left, lambda found: found.displacement, number)
    left = _narrowed(left, lambda found: _ORDER.index(found.index_register), number + 2)
    return _pick(list(left)[::-1], number)  # without SIB first


def _narrowed(
    addresses: dict[bytes, Address], what: Callable[[Address], int], number: int
) -> dict[bytes, Address]:
    """The addresses that have one of the values there are, another one for each number."""
    wanted = _pick(sorted({what(found) for found in addresses.values()}), number)
    return {code: found for code, found in addresses.items() if what(found) == wanted}


@cache
def _addresses(shape: int, size: int) -> dict[bytes, Address]:
    """All of ModRM (with reg 0) and SIB that have a shape, and what they say."""
    every = {}
    for modrm in (mod << 6 | rm for mod in range(3) for rm in range(8)):
        mod, rm = modrm >> 6, modrm & 7
        for sib in range(256) if wants_sib(mod, rm, size) else [None]:
            code = bytes([modrm] if sib is None else [modrm, sib])
            every[code] = address(mod, rm, sib or 0, size)
    return {code: found for code, found in every.items() if found.shape == shape}
