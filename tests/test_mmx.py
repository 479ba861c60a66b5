"""MMX beside the x87: the registers that they share, what comes first, which processors have it."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from functools import partial

import pytest

from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.native.layout import QUICK
from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.memory import AddressSpace
from emu.process.processor import HWCAPS
from emu.state import State
from isa.x86.meanings.identification import features
from isa.x86.models import MODELS, model_of
from isa.x86.registers import STACK_NAMES
from isa.x86.table import INSTRUCTIONS
from tests.test_engines_agree import Bench, agree
from tests.test_x87_engines import X87Program, one
from tests.test_x87_system import CODE, DATA, ERROR, INVALID_OPCODE, NO_DEVICE, PAGE, run, vector

MMX = 1 << 23
PAGE_FAULT = 14
PADDB, PADDB_MEMORY, MOVD_TO, MOVQ_STORE, EMMS = "0ffcc1", "0ffc03", "0f6ec3", "0f7f0b", "0f77"
KINDS = (PADDB, PADDB_MEMORY, MOVD_TO, MOVQ_STORE, EMMS, "0f71d005")
NUMBERS = {name: 0x1111111111111111 * n for n, name in enumerate(STACK_NAMES)}
EXPONENTS = {f"{name}_exponent": 0x3FF0 + n for n, name in enumerate(STACK_NAMES)}
FULL_UNIT = {"fcw": 0x37F, "st_full": 0x05, **NUMBERS, **EXPONENTS}


def space_of(state: State) -> AddressSpace:
    """Its memory."""
    space = state.memory["linear"]
    assert isinstance(space, AddressSpace)
    return space


def then(state: State, code: str) -> State:
    """The same machine after one more instruction."""
    space_of(state).poke(CODE, bytes.fromhex(code))
    state["eip"] = CODE
    assert Reference().run(state, state.count + 1).fault is None
    return state


def test_there_are_57() -> None:
    """The manual counts an instruction for each size (SDM volume 1, table 9-2)."""
    entries = [entry for entry in INSTRUCTIONS.values() if entry.multimedia]
    names = {entry.mnemonic for entry in entries if entry.since == "pentium2"}
    assert len(names) == 47  # 57 where MOVD and MOVQ count once a direction, shifts by operand
    assert {"emms", "movd", "movq", "pmaddwd", "packuswb", "punpckhdq", "psraw"} <= names


@pytest.mark.parametrize("top", range(8))
def test_registers_have_physical_numbers(top: int) -> None:
    """MM3 is the register that is ST((3 - TOP) mod 8); what is not written keeps its exponent."""
    stop, state = run("0f6f1b", {**FULL_UNIT, "st_top": top})  # movq mm3, [ebx]
    assert vector(stop) is None
    assert (state["st_top"], state["st_full"]) == (0, 0xFF)
    for number, name in enumerate(STACK_NAMES):
        before = f"st{(number - top) % 8}"
        written = number == 3
        assert state[name] == (0 if written else NUMBERS[before])
        expected = 0xFFFF if written else EXPONENTS[f"{before}_exponent"]
        assert state[f"{name}_exponent"] == expected


def test_the_x87_sees_what_mmx_wrote() -> None:
    """FSTP stores the significand with a sign and an exponent of ones."""
    _, state = run("0f6ec3", FULL_UNIT | {"ebx": DATA})
    state = then(state, "db3b")  # fstp tbyte [ebx]
    assert space_of(state).read(DATA, 10) == struct.pack("<QH", DATA, 0xFFFF)
    assert (state["st_top"], state["st_full"]) == (1, 0x7F)


def test_tags() -> None:
    """FNSTENV after MMX: nothing is empty; after EMMS everything is."""
    normal = dict.fromkeys(STACK_NAMES, 1 << 63)
    _, state = run("0fefc0", FULL_UNIT | normal | {"st_top": 6})  # pxor mm0, mm0
    state = then(state, "d933")
    assert space_of(state).read(DATA + 8, 2) == struct.pack("<H", 0b10)  # MM0: special; else valid
    state = then(then(state, EMMS), "d933")
    assert space_of(state).read(DATA + 8, 2) == b"\xff\xff"
    assert (state["st_top"], state["st_full"]) == (0, 0)


@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize(
    ("registers", "expected"),
    [
        ({"em": 1}, INVALID_OPCODE),
        ({"em": 1, "ts": 1}, INVALID_OPCODE),
        ({"ts": 1}, NO_DEVICE),
        ({"ts": 1, "fpu_flags": 1, "ne": 1}, NO_DEVICE),
        ({"fpu_flags": 1, "ne": 1}, ERROR),
        ({"fpu_flags": 1, "ne": 0}, None),
        ({}, None),
    ],
)
def test_what_comes_first(code: str, registers: Mapping[str, int], expected: int | None) -> None:
    """#UD with CR0.EM, #NM with TS, #MF; the registers are then as they were."""
    stop, state = run(code, {**FULL_UNIT, "st_top": 3, "fcw": 0x37E, **registers})
    assert vector(stop) == expected
    assert (state["st_top"] == 3) == (expected is not None)


@pytest.mark.parametrize("code", [PADDB_MEMORY, MOVQ_STORE])
def test_a_page_fault_changes_nothing(code: str) -> None:
    """An operand that is half on a page that is not there."""
    before = {**FULL_UNIT, "st_top": 3, "ebx": DATA + PAGE - 4}
    stop, state = run(code, before)
    assert stop.fault is not None
    assert (stop.fault.vector, stop.fault.address) == (PAGE_FAULT, DATA + PAGE)
    assert {name: state[name] for name in before} == before
    assert space_of(state).read(DATA + PAGE - 4, 4) == bytes(4)


@pytest.mark.parametrize("prefix", ["66", "f2", "f3", "f0"])
@pytest.mark.parametrize("code", KINDS)
def test_prefixes_of_newer_instructions(prefix: str, code: str) -> None:
    """66, F2 and F3 make SSE2's of them, which programs look for by #UD; LOCK always is."""
    assert vector(run(prefix + code, FULL_UNIT)[0]) == INVALID_OPCODE


@pytest.mark.parametrize("code", ["0fd4c1", "0fe0c1", "0f70c100", "0fd7c1", "0ff6c1"])
def test_what_came_later(code: str) -> None:
    """PADDQ, PAVGB, PSHUFW, PMOVMSKB and PSADBW are of SSE and SSE2."""
    assert vector(run(code, FULL_UNIT)[0]) == INVALID_OPCODE


@pytest.mark.parametrize("model", ["486", "pentium"])
@pytest.mark.parametrize("code", KINDS)
def test_older_models_have_none(model: str, code: str) -> None:
    """#UD."""
    assert vector(run(code, FULL_UNIT, model)[0]) == INVALID_OPCODE


def test_cpuid_and_the_auxiliary_vector_tell() -> None:
    """Bit 23 where the instructions are; Linux passes the same word on in AT_HWCAP."""
    having = {name for name, model in MODELS.items() if features(model, system=True) & MMX}
    assert having == {"pentium2", "pentium3", "pentium4"}
    assert HWCAPS["pentium2"] & MMX
    for name, word in HWCAPS.items():
        assert features(model_of(name), system=False) == word, name


OPCODES = tuple(
    n for n in range(0x60, 0xFF)
    if n in {*range(0x60, 0x6C), *range(0x74, 0x77), 0x6F, 0x7F, 0xD5, 0xE5, 0xF5}
    | {*range(0xD1, 0xD4), 0xD8, 0xD9, *range(0xDB, 0xDE), 0xDF, 0xE1, 0xE2, 0xE8, 0xE9, 0xEB}
    | {0xEC, 0xED, 0xEF, *range(0xF1, 0xF4), 0xF8, 0xF9, 0xFA, 0xFC, 0xFD, 0xFE}
)  # fmt: skip


def mixed(rng: random.Random) -> bytes:
    """An MMX instruction, of registers or of memory at [esi + small], or one of the x87."""
    kind = rng.random()
    if kind < 0.2:
        return one(rng)
    if kind < 0.25:
        return bytes.fromhex(EMMS)
    if kind < 0.35:
        reg = rng.choice((0xD0, 0xE0, 0xF0)) | rng.randrange(8)
        return bytes([0x0F, rng.choice((0x71, 0x72)), reg, rng.randrange(40)])
    modrm = 0xC0 | rng.randrange(64)
    if kind < 0.6:
        modrm = 0x46 | rng.randrange(8) << 3
    code = bytes([0x0F, rng.choice(OPCODES), modrm])
    return code if modrm >> 6 == 3 else code + bytes([rng.randrange(120)])


def looped(rng: random.Random, length: int, at: int) -> bytes:
    """The instructions a few times over."""
    body = b"".join(mixed(rng) for _ in range(length))
    head = b"\xb9" + struct.pack("<I", rng.randrange(1, 4))
    return head + body + b"\x49\x0f\x85" + struct.pack("<i", -len(body) - 7)


@pytest.fixture(scope="module")
def benches() -> dict[str, Bench]:
    """All engines; what compiles, compiles every block."""
    return {
        "reference": Bench(Reference()),
        "python-cold": Bench(Python(hot=1 << 60)),
        "python-hot": Bench(Python(hot=0)),
        "native-tier1": Bench(Native(hot=1 << 30, wait=True, cache=DiskCache(None))),
        "native": Bench(Native(hot=0, wait=True, level=QUICK, cache=DiskCache(None))),
    }


@pytest.mark.parametrize("number", range(8))
def test_engines_agree(benches: dict[str, Bench], number: int) -> None:
    """Loops of MMX and x87 instructions stop everywhere in the same state."""
    rng = random.Random(number)
    agree(benches, X87Program(rng, partial(looped, rng, 2 + number % 5)))


@pytest.mark.heavy
def test_many_engines_agree(benches: dict[str, Bench]) -> None:
    """More of them, and longer ones."""
    for number in range(100, 130):
        rng = random.Random(number)
        agree(benches, X87Program(rng, partial(looped, rng, 8)))
