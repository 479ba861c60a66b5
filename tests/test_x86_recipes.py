"""Decoding by learned recipes gives the decoder's own answers, or none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from random import Random

import pytest

from isa.definition import TruncatedError
from isa.x86.decode import BAD, MANDATORY, PREFIXED, TOO_LONG, UNIMPLEMENTED, decode
from isa.x86.encoding import PREFIXES, prefixes_of
from isa.x86.form import Form, Level, Special
from isa.x86.limits import LONGEST, MAX_LENGTH, MOST_PREFIXES, OPCODE_MAPS
from isa.x86.mode import FLAT_USER, Mode
from isa.x86.recipe import Recipes
from tests import test_decoder_vectors as vectors
from tests.needs import missing

MODES = {size: FLAT_USER._replace(code_size=size) for size in (16, 32)}
WITH_SSE = {
    f"{model} {size}": FLAT_USER._replace(code_size=size, model=model)
    for model, size in product(("pentium3", "pentium4"), (16, 32))
}
COMMON = ("", "66", "67", "f0", "f2", "f3", "2e", "66 67", "65 f0")
REST = 1 + 2 + 4 + 4
"""Bytes behind the prefixes of the longest instruction that has one for its opcode. Where a key's
longest instruction is too long, decoding says so of it, which gives the key no recipe."""
oracle = decode.__wrapped__


def differences(codes: Iterable[bytes], mode: Mode) -> tuple[list[str], dict[str, int]]:
    """What recipes decode otherwise than the decoder; how often which mnemonic has no recipe."""
    recipes, wrong, asked = Recipes(mode.code_size, mode.model), [], {}
    for code in codes:
        found = recipes.decode(code, mode)
        try:
            expected = oracle(code, mode)
        except TruncatedError:
            expected = None
        if found is None:
            name = "truncated" if expected is None else reason(code, expected.form)
            asked[name] = asked.get(name, 0) + 1
        elif found != expected:
            wrong.append(f"{code.hex(' ')}: {found}, but it is {expected}")
    return wrong, asked


def reason(code: bytes, form: object) -> str:
    """What makes a form one that a key cannot tell."""
    assert isinstance(form, Form)
    prefixes = prefixes_of(code.ljust(LONGEST, b"\0"))[1]
    if prefixes > MOST_PREFIXES:
        return "prefixes"
    if prefixes + REST > MAX_LENGTH and form.mnemonic != BAD:
        return TOO_LONG
    special = [type(s).__name__ for s in form.shapes if isinstance(s, Level | Special)]
    return special[0] if special else form.mnemonic


def drawn(number: int, seed: int) -> Iterator[bytes]:
    """Random bytes, with more prefixes and escapes than chance has."""
    random = Random(seed)
    prefixes = list(PREFIXES)
    for n in range(number):
        start = bytes(random.choices(prefixes, k=random.randrange(6))) if n % 4 == 1 else b""
        escape = random.choice(OPCODE_MAPS) if n % 4 == 2 else b""
        yield (start + escape + random.randbytes(MAX_LENGTH))[:MAX_LENGTH]


def every_opcode_and_modrm(prefixes: bytes) -> Iterator[bytes]:
    """Behind prefixes, which are part of a key, every ninth ModRM: others for each opcode."""
    random = Random(len(prefixes))
    step = 9 if prefixes else 1
    for escape in OPCODE_MAPS:
        for opcode in range(256):
            for modrm in range(opcode % step, 256, step):
                start = prefixes + escape + bytes([opcode, modrm])
                yield (start + random.randbytes(MAX_LENGTH))[:MAX_LENGTH]


def prefixed(step: int) -> Iterator[bytes]:
    """What 66, F3 and F2, alone and together, make of SSE's opcodes, with every so many ModRM."""
    random = Random(step)
    prefixes = [*MANDATORY, *map(bytes.fromhex, ("66f3", "f266", "f2f3", "67f3", "662e", "f0f2"))]
    for prefix, opcode in product(prefixes, sorted(PREFIXED)):
        for modrm in range(random.randrange(step), 256, step):
            start = prefix + bytes([0x0F, opcode, modrm])
            yield (start + random.randbytes(MAX_LENGTH))[:MAX_LENGTH]


def in_the_immediate() -> Iterator[bytes]:
    """ENTER with each level and MOV with each of CR and DR, after any prefixes in effect."""
    kinds = {p.kind for p in PREFIXES.values()}
    choices = [[b"", *(bytes([b]) for b, p in PREFIXES.items() if p.kind == k)] for k in kinds]
    for prefixes in map(b"".join, product(*choices)):
        for level in range(32):
            yield prefixes + bytes([0xC8, 0x10, 0, level])
        for opcode, register in product(range(0x20, 0x24), range(8)):
            yield prefixes + bytes([0x0F, opcode, 0xC0 | register << 3])


def assert_only_known_reasons(asked: dict[str, int]) -> None:
    """ENTER's level, CR and DR are not in the key; what is no instruction has no length."""
    known = {"Level", "Special", BAD, UNIMPLEMENTED, TOO_LONG, "truncated", "prefixes"}
    assert set(asked) <= known


@pytest.mark.parametrize("size", MODES)
def test_random_bytes_decode_as_the_decoder_says(size: int) -> None:
    wrong, asked = differences(drawn(5_000, seed=size), MODES[size])
    assert not wrong, "\n".join(wrong[:10])
    assert_only_known_reasons(asked)
    assert sum(asked.values()) < 1_500, "most of them have recipes"


@pytest.mark.parametrize("name", WITH_SSE)
def test_prefixes_that_are_part_of_an_opcode(name: str) -> None:
    wrong, asked = differences(prefixed(step=23), WITH_SSE[name])
    assert not wrong, "\n".join(wrong[:10])
    assert_only_known_reasons(asked)
    assert UNIMPLEMENTED not in asked


@pytest.mark.parametrize("size", MODES)
def test_a_part_of_an_instruction_is_for_the_decoder(size: int) -> None:
    whole = bytes.fromhex("66 81 84 88 78 56 34 12 bc 9a")
    if size == 16:
        whole = bytes.fromhex("66 67 81 84 88 78 56 34 12 f0 de bc 9a")
    recipes = Recipes(size)
    assert recipes.decode(whole, MODES[size]) == oracle(whole, MODES[size])
    assert all(recipes.decode(whole[:n], MODES[size]) is None for n in range(len(whole)))


def test_what_was_learned_does_not_depend_on_where() -> None:
    one, other = Recipes(32), Recipes(32)
    codes = list(drawn(1_000, seed=3))
    for code in codes:
        one.decode(code, FLAT_USER)
    for code in reversed(codes):
        other.decode(code, FLAT_USER)
    assert one.recipes == other.recipes


def test_a_recipe_says_where_the_fields_are() -> None:
    recipes = Recipes(32)
    parts = recipes.split(bytes.fromhex("69 44 b3 10 78 56 34 12"))  # IMUL r32, r/m32, imm32
    assert parts
    recipe = recipes.find(parts.key)
    assert recipe
    expected = {
        "reg0": "reg", "base1": "base", "index1": "index", "disp1": "displacement", "imm2": "imm32",
    }  # fmt: skip
    assert dict(recipe.named_sources()) == expected


@pytest.mark.parametrize("size", MODES)
def test_forms_that_hide_in_an_immediate_have_no_recipe(size: int) -> None:
    wrong, asked = differences(in_the_immediate(), MODES[size])
    assert not wrong, "\n".join(wrong[:10])
    assert_only_known_reasons(asked)


@pytest.mark.heavy
@pytest.mark.parametrize("size", MODES)
@pytest.mark.parametrize("prefixes", COMMON)
def test_every_opcode_with_modrm(size: int, prefixes: str) -> None:
    codes = every_opcode_and_modrm(bytes.fromhex(prefixes))
    wrong, asked = differences(codes, MODES[size])
    assert not wrong, "\n".join(wrong[:10])
    assert_only_known_reasons(asked)


@pytest.mark.heavy
@pytest.mark.parametrize("name", WITH_SSE)
@pytest.mark.parametrize("prefixes", ["", "66", "f2", "f3", "67 66"])
def test_every_opcode_with_modrm_where_there_is_sse(name: str, prefixes: str) -> None:
    codes = every_opcode_and_modrm(bytes.fromhex(prefixes))
    wrong, asked = differences(codes, WITH_SSE[name])
    assert not wrong, "\n".join(wrong[:10])
    assert_only_known_reasons(asked)


@pytest.mark.heavy
@pytest.mark.parametrize("size", MODES)
def test_many_random_byte_strings(size: int) -> None:
    wrong, asked = differences(drawn(250_000, seed=size + 1), MODES[size])
    assert not wrong, "\n".join(wrong[:10])
    assert_only_known_reasons(asked)


@pytest.mark.heavy
@pytest.mark.parametrize("size", MODES)
def test_the_vectors_of_another_decoder(size: int) -> None:
    if not vectors.VECTORS.exists():
        missing(f"there are no decoder vectors at {vectors.VECTORS}")
    codes = [code.ljust(MAX_LENGTH, b"\0") for _, code, _, _ in vectors.vectors(size) if code]
    wrong, asked = differences(codes, MODES[size])
    assert len(codes) > 19_000
    assert not wrong, "\n".join(wrong[:10])
    assert_only_known_reasons(asked)
