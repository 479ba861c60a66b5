"""SSE and SSE2 but for their arithmetic: values on every engine, and what comes before them."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest

from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.native.layout import QUICK
from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.memory import AddressSpace, PhysicalMemory
from emu.state import State
from isa.x86.decode import BAD, MANDATORY, PREFIXED, decode
from isa.x86.form import Form
from isa.x86.meanings.identification import features, leaves
from isa.x86.mode import FLAT_USER
from isa.x86.models import MODELS, model_of
from tests import packed_oracle as oracle
from tests.machines import CODE, DATA, PAGE, engines, user_state
from tests.test_engines_agree import Bench, agree
from tests.test_x87_engines import X87Program
from tests.test_x87_system import CODE as HERE
from tests.test_x87_system import DATA as OPERAND
from tests.test_x87_system import ERROR, INVALID_OPCODE, NO_DEVICE, run, vector

MODEL, OLDER = "user:pentium4", ("486", "pentium", "pentium2", "")
GENERAL_PROTECTION, PAGE_FAULT = 13, 14
SSE, SSE2, CLFLUSH = 1 << 25, 1 << 26, 1 << 19
SYSTEM = {"osfxsr": 1, "esi": OPERAND, "edi": OPERAND}
WIDE, PAIRS = 16, 14
OUT = DATA + 16 * PAGE
MOST = 60 * PAGE
SHARES = {"reference": 4, "python": 4, "python-hot": 4, "native": 12, "native-single": 12}
"""How many of the loops an engine does once, as it compiles each, or is slow."""
EDGES = (0, 1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF,
         0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1)  # fmt: skip

# -- values, on every engine ---------------------------------------------------------------------


class Step:
    """An instruction, and what it makes of what its loop has loaded.

    The loop has two values of 16 bytes in XMM0 and XMM1, the low halves of them in MM0 and MM1, the
    low quarters in EAX and EDX, and stores one of these three registers.
    """

    def __init__(
        self, code: str, result: Callable[[bytes, bytes], bytes | int], stores: str = "xmm"
    ) -> None:
        self.code, self.result, self.stores = bytes.fromhex(code), result, stores

    def expected(self, a: bytes, b: bytes) -> bytes:
        """The 16 bytes that the loop stores."""
        found = self.result(a, b)
        return (found.to_bytes(4, "little") if isinstance(found, int) else found).ljust(WIDE, b"\0")

    def loop(self) -> bytes:
        """The code: ESI goes through the pairs, EDI through the results, ECX counts."""
        load = "f30f6f06 f30f6f4e10 0f6f06 0f6f4e10 8b06 8b5610"
        store = {"xmm": "660f7f07", "mm": "0f7f07", "eax": "8907", "": ""}[self.stores]
        code = bytes.fromhex(load) + self.code + bytes.fromhex(f"{store} 83c620 83c710 49")
        head = b"\xbe" + struct.pack("<I", DATA) + b"\xb9" + struct.pack("<I", PAIRS)
        return head + code + b"\x0f\x85" + struct.pack("<i", -len(code) - 6)


def steps() -> Iterator[Step]:
    """Every instruction whose result is in a register."""
    for opcode, both in oracle.BOTH.values():
        yield Step(f"660f{opcode:02x}c1", both)
        yield Step(f"0f{opcode:02x}c1", lambda a, b, both=both: both(a[:8], b[:8]), "mm")
    for head, both in oracle.WIDE.values():
        yield Step(f"{head}c1", both)
    for order in (0, 0x1B, 0xD2):
        yield from shuffles(order)
    for count in (0, 1, 15, 16, 31, 63, 64, 200):
        yield from shifts(count)
    for place in (0, 3, 6, 0xFD):
        yield from words(place)
    yield from transfers()


def shuffles(order: int) -> Iterator[Step]:
    """PSHUFD, PSHUFLW, PSHUFHW, PSHUFW, SHUFPS, SHUFPD."""
    yield Step(f"660f70c1{order:02x}", lambda a, b: oracle.shuffled(b, 4, order))
    yield Step(f"f20f70c1{order:02x}", lambda a, b: oracle.shuffled(b, 2, order))
    yield Step(f"f30f70c1{order:02x}", lambda a, b: oracle.shuffled(b, 2, order, 4))
    yield Step(f"0f70c1{order:02x}", lambda a, b: oracle.shuffled(b[:8], 2, order), "mm")
    low = order & 15
    yield Step(
        f"0fc6c1{order:02x}",
        lambda a, b: oracle.shuffled(a, 4, low)[:8] + oracle.shuffled(b, 4, order >> 4)[:8],
    )
    yield Step(
        f"660fc6c1{order:02x}",
        lambda a, b: a[8 * (order & 1) :][:8] + b[8 * (order >> 1 & 1) :][:8],
    )


def shifts(count: int) -> Iterator[Step]:
    """Shifts by a byte of the instruction, in both kinds of registers, and of all bytes."""
    by = count.to_bytes(8, "little")
    rows = (("71d0", "psrlw"), ("71e0", "psraw"), ("71f0", "psllw"), ("72d0", "psrld"),
            ("72e0", "psrad"), ("72f0", "pslld"), ("73d0", "psrlq"), ("73f0", "psllq"))  # fmt: skip
    for code, name in rows:
        both = oracle.BOTH[name][1]
        yield Step(f"660f{code}{count:02x}", lambda a, b, both=both: both(a, by))
        yield Step(f"0f{code}{count:02x}", lambda a, b, both=both: both(a[:8], by), "mm")
    size = min(count, WIDE)
    yield Step(f"660f73f8{count:02x}", lambda a, b: (bytes(size) + a)[:WIDE])
    yield Step(f"660f73d8{count:02x}", lambda a, b: a[size:])


def words(place: int) -> Iterator[Step]:
    """PINSRW and PEXTRW, whose immediate counts modulo the number of words."""

    def inserted(a: bytes, b: bytes) -> bytes:
        at = 2 * (place % (len(a) // 2))
        return a[:at] + b[:2] + a[at + 2 :]

    def extracted(b: bytes) -> int:
        at = 2 * (place % (len(b) // 2))
        return int.from_bytes(b[at : at + 2], "little")

    yield Step(f"660fc4c2{place:02x}", inserted)
    yield Step(f"0fc4c2{place:02x}", lambda a, b: inserted(a[:8], b), "mm")
    yield Step(f"660fc5c1{place:02x}", lambda a, b: extracted(b), "eax")
    yield Step(f"0fc5c1{place:02x}", lambda a, b: extracted(b[:8]), "eax")


def transfers() -> Iterator[Step]:
    """Between kinds of registers, and from memory."""
    yield Step("660fd7c1", lambda a, b: oracle.signs(b, 1), "eax")
    yield Step("0fd7c1", lambda a, b: oracle.signs(b[:8], 1), "eax")
    yield Step("0f50c1", lambda a, b: oracle.signs(b, 4), "eax")
    yield Step("660f50c1", lambda a, b: oracle.signs(b, 8), "eax")
    yield Step("660f6ec2", lambda a, b: b[:4])
    yield Step("0f6ec2", lambda a, b: b[:4], "mm")
    yield Step("660f7ec8", lambda a, b: b[:4], "eax")
    yield Step("660fd6c8", lambda a, b: b[:8])
    yield Step("f30fd6c1", lambda a, b: b[:8])  # movq2dq
    yield Step("f20fd6c1", lambda a, b: b[:8], "mm")  # movdq2q
    yield Step("f30f104610", lambda a, b: b[:4])  # movss xmm0, [esi+16]
    yield Step("f20f104610", lambda a, b: b[:8])
    yield Step("f30f7e4610", lambda a, b: b[:8])
    yield Step("660f6e4610", lambda a, b: b[:4])
    for prefix in ("", "66"):
        yield Step(f"{prefix}0f124614", lambda a, b: b[4:12] + a[8:])  # movlps xmm0, [esi+20]
        yield Step(f"{prefix}0f164611", lambda a, b: a[:8] + b[1:9])  # movhps xmm0, [esi+17]
    yield from stores()


def stores() -> Iterator[Step]:
    """To [EDI], where nothing is yet."""
    for code in (
        "0f29",
        "660f29",
        "0f11",
        "660f11",
        "660f7f",
        "f30f7f",
        "0f2b",
        "660f2b",
        "660fe7",
    ):
        yield Step(f"{code}0f", lambda a, b: b, "")
    for code in ("0f13", "660f13", "660fd6", "f20f11", "0fe7", "0f7f"):
        yield Step(f"{code}0f", lambda a, b: b[:8], "")
    for code in ("f30f11", "660f7e", "0f7e"):
        yield Step(f"{code}0f", lambda a, b: b[:4], "")
    for prefix in ("", "66"):
        yield Step(f"{prefix}0f170f", lambda a, b: b[8:], "")
    yield Step("0fc317", lambda a, b: b[:4], "")  # movnti [edi], edx
    yield Step("660ff7c1", masked, "")
    yield Step("0ff7c1", lambda a, b: masked(a[:8], b[:8]), "")
    yield Step("0faef8 0faee8 0faef0 0fae3f 660f7f0f", lambda a, b: b, "")  # fences, clflush


def masked(value: bytes, selection: bytes) -> bytes:
    """MASKMOVDQU to where nothing is yet."""
    pairs = zip(value, selection, strict=True)
    return bytes(byte if chooser >> 7 else 0 for byte, chooser in pairs)


def pairs(rng: random.Random) -> list[tuple[bytes, bytes]]:
    """Values full of edges; small counts and equal ones among them."""

    def value() -> bytes:
        size = rng.choice((1, 2, 4, 8, 8))
        if rng.random() < 0.2:
            return rng.choice(EDGES).to_bytes(8, "little") + rng.randbytes(8)
        known = [rng.choice(EDGES) % (1 << 8 * size) for _ in range(WIDE // size)]
        return oracle.join(known, size) if rng.random() < 0.7 else rng.randbytes(WIDE)

    made = [(value(), value()) for _ in range(PAIRS - 2)]
    return [*made, (made[0][0], made[0][0]), (bytes([0x80, 0]) * 8, bytes([0, 0x80]) * 8)]


def machine(code: bytes, data: bytes) -> State:
    """A Pentium 4's process with much room for results."""
    space = AddressSpace(PhysicalMemory(100 * PAGE))
    space.map(CODE, 16 * PAGE, 5, "code")
    space.map(DATA, MOST, 6, "data")
    space.poke(CODE, code)
    space.poke(DATA, data)
    return user_state(space, {"eip": CODE, "esp": OUT, "edi": OUT}, MODEL)


@pytest.mark.parametrize("name", engines())
def test_values(name: str) -> None:
    """Every instruction with edge values, in loops, against plain numbers."""
    made = list(steps())
    check_values(name, made[:: SHARES.get(name, 1)])


@pytest.mark.heavy
@pytest.mark.parametrize("name", SHARES)
def test_all_values(name: str) -> None:
    """What the test above leaves out, as it takes its time to be compiled."""
    check_values(name, list(steps()))


def check_values(name: str, made: list[Step]) -> None:
    """One program of all steps on an engine."""
    values = pairs(random.Random("values"))
    assert len(made) * PAIRS * WIDE < MOST - (OUT - DATA)
    state = machine(
        b"".join(step.loop() for step in made) + b"\xcd\x80", b"".join(a + b for a, b in values)
    )
    engine = engines()[name]
    assert engine.run(state, 1 << 40).reason == "interrupt"  # type: ignore[attr-defined]
    for number, step in enumerate(made):
        for place, (a, b) in enumerate(values):
            at = OUT + WIDE * (number * PAIRS + place)
            found = memory(state).read(at, WIDE)
            told = f"{step.code.hex(' ')}: {a[::-1].hex()}, {b[::-1].hex()}"
            assert found == step.expected(a, b), told


def memory(state: State) -> AddressSpace:
    """Its memory."""
    space = state.memory["linear"]
    assert isinstance(space, AddressSpace)
    return space


# -- what comes before an instruction ------------------------------------------------------------

ALIGNED = ("0f2806", "660f2806", "0f2906", "660f2906", "660f6f06", "660f7f06", "0f2b06", "660f2b06",
           "660fe706", "660ffc06", "660fef06", "0f1406", "0f5706", "660f7006 1b", "0fc606 1b",
           "660fd106", "660f6006")  # fmt: skip
ASKEW = (
    "0f1006",
    "0f1106",
    "660f1006",
    "f30f6f06",
    "f30f7f06",
    "f30f1006",
    "f20f1006",
    "f30f7e06",
    "660fd606",
    "0f1206",
    "0f1606",
    "0f1306",
    "0f1706",
    "660f6e06",
    "660fc406 01",
    "660ff7c1",
)
OF_MMX = ("0fe006", "0f7006 1b", "0fd406", "0fe706", "0fd7c1", "0ff7c1")
OF_BOTH = ("f20fd6c1", "f30fd6c1")
UNCONDITIONAL = ("0faef8", "0faee8", "0faef0", "0fae3e", "0fc306", "0f1806", "f390")
STATUS = ("0fae16", "0fae1e")
OF_SSE = (*ALIGNED, *ASKEW, *STATUS, "0f50c1", "660fd7c1", "660f73f8 01")


@pytest.mark.parametrize("code", [*OF_SSE, *OF_BOTH])
@pytest.mark.parametrize(
    ("registers", "expected"),
    [
        ({"osfxsr": 0}, INVALID_OPCODE),
        ({"em": 1}, INVALID_OPCODE),
        ({"em": 1, "ts": 1}, INVALID_OPCODE),
        ({"ts": 1}, NO_DEVICE),
        ({"osfxsr": 0, "ts": 1}, INVALID_OPCODE),
        ({}, None),
    ],
)
def test_what_comes_first(code: str, registers: Mapping[str, int], expected: int | None) -> None:
    """#UD without CR4.OSFXSR or with CR0.EM, then #NM with TS."""
    assert vector(run(code, {**SYSTEM, **registers}, "pentium4")[0]) == expected


@pytest.mark.parametrize("code", OF_SSE)
def test_errors_of_the_x87_are_nothing_to_sse(code: str) -> None:
    """Only what names an MMX register waits for them."""
    pending = {**SYSTEM, "fcw": 0x37E, "fpu_flags": 1, "ne": 1}
    assert vector(run(code, pending, "pentium4")[0]) is None


@pytest.mark.parametrize("code", OF_BOTH)
def test_errors_of_the_x87_come_before_what_names_an_mmx_register(code: str) -> None:
    """#MF; and what names one makes all registers full."""
    pending = {**SYSTEM, "fcw": 0x37E, "fpu_flags": 1, "ne": 1}
    assert vector(run(code, pending, "pentium4")[0]) == ERROR
    stop, state = run(code, {**SYSTEM, "st_top": 5}, "pentium4")
    assert (vector(stop), state["st_top"], state["st_full"]) == (None, 0, 0xFF)


@pytest.mark.parametrize("code", OF_MMX)
def test_mmx_needs_nothing_of_sse(code: str) -> None:
    """OSFXSR is nothing to MMX registers, also to what SSE added; EM, TS and #MF are."""
    none = {**SYSTEM, "osfxsr": 0}
    assert vector(run(code, none, "pentium4")[0]) is None
    assert vector(run(code, {**none, "em": 1}, "pentium4")[0]) == INVALID_OPCODE
    assert vector(run(code, {**none, "ts": 1}, "pentium4")[0]) == NO_DEVICE
    pending = {**none, "fcw": 0x37E, "fpu_flags": 1, "ne": 1}
    assert vector(run(code, pending, "pentium4")[0]) == ERROR


@pytest.mark.parametrize("code", UNCONDITIONAL)
def test_what_needs_no_registers_of_sse(code: str) -> None:
    """Fences, CLFLUSH, MOVNTI, PREFETCH, PAUSE."""
    bad = {**SYSTEM, "osfxsr": 0, "em": 1, "ts": 1, "fcw": 0x37E, "fpu_flags": 1, "ne": 1}
    assert vector(run(code, bad, "pentium4")[0]) is None


@pytest.mark.parametrize("offset", [1, 4, 8, 15])
@pytest.mark.parametrize("code", [*ALIGNED, *ASKEW])
def test_alignment(code: str, offset: int) -> None:
    """#GP(0) where 128 bits have to be aligned."""
    registers = {**SYSTEM, "esi": OPERAND + offset, "edi": OPERAND + offset}
    stop, _ = run(code, registers, "pentium4")
    assert vector(stop) == (GENERAL_PROTECTION if code in ALIGNED else None)


@pytest.mark.parametrize("base", [0, 8])
def test_alignment_is_that_of_the_linear_address(base: int) -> None:
    """The segment's base counts."""
    registers = {**SYSTEM, "ds_base": base, "esi": OPERAND + 8 - base}
    assert vector(run("0f2806", registers, "pentium4")[0]) == GENERAL_PROTECTION
    registers["esi"] += 8
    assert vector(run("0f2806", registers, "pentium4")[0]) is None


@pytest.mark.parametrize("name", engines())
@pytest.mark.parametrize("code", ["0f2806", "660f7f06", "660ffc06", "0f1006", "0f1106", "660ff7c1"])
def test_faults_change_nothing(name: str, code: str) -> None:
    """What is askew, or half on a page that is not there, on every engine."""
    for at in (OUT + 8, DATA + MOST - 8):
        state = machine(bytes.fromhex(code), b"")
        state["esi"] = state["edi"] = at
        state["xmm0"], state["xmm1"] = 5, (1 << 128) - 1
        stop = engines()[name].run(state, 1)  # type: ignore[attr-defined]
        askew = code in ALIGNED
        if at == OUT + 8 and not askew:
            assert vector(stop) is None
            continue
        assert vector(stop) == (GENERAL_PROTECTION if askew else PAGE_FAULT)
        assert (state["xmm0"], state["xmm1"]) == (5, (1 << 128) - 1)
        assert memory(state).read(DATA + MOST - 8, 8) == bytes(8)


@pytest.mark.parametrize("model", ["pentium3", "pentium4"])
@pytest.mark.parametrize("bit", range(32))
def test_reserved_bits_of_the_status(model: str, bit: int) -> None:
    """LDMXCSR: #GP(0) for bits 16 to 31, and for DAZ where there is none; STMXCSR gives it back."""
    reserved = bit >= 16 or (bit == 6 and model == "pentium3")
    stop, state = run("0fae16", SYSTEM, model)
    memory(state).poke(OPERAND, struct.pack("<I", 1 << bit))
    memory(state).poke(HERE, bytes.fromhex("0fae16 0fae5e04"))
    state["eip"] = HERE
    stop = Reference().run(state, state.count + 2)
    assert vector(stop) == (GENERAL_PROTECTION if reserved else None)
    expected = 0 if reserved else 1 << bit
    assert memory(state).read(OPERAND + 4, 4) == struct.pack("<I", expected)
    assert state["mxcsr"] == expected


# -- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", OLDER)
@pytest.mark.parametrize("code", [*OF_SSE, *OF_BOTH, *OF_MMX, "0faef8", "0faee8", "0fc306"])
def test_older_models_have_none(model: str, code: str) -> None:
    """#UD."""
    assert mnemonic(code, model) == BAD
    assert vector(run(code, SYSTEM, model)[0]) == INVALID_OPCODE


def mnemonic(code: str, model: str) -> str:
    """What the bytes are to a model."""
    form = decode(bytes.fromhex(code).ljust(15, b"\0"), FLAT_USER._replace(model=model)).form
    assert isinstance(form, Form)
    return form.mnemonic


@pytest.mark.parametrize("code", ["0f2806", "f30f10c1", "0fe006", "0f7006 1b", "0faef8", "0fae16"])
def test_of_sse(code: str) -> None:
    """The Pentium III has them."""
    assert vector(run(code, SYSTEM, "pentium3")[0]) is None


@pytest.mark.parametrize(
    "code",
    ["660f2806", "f20f10c1", "660fe006", "660f7006 1b", "0faee8", "0faef0", "0fae3e", "0fc306",
     "660ffcc1", "0fd4c1", "0ff4c1", "0ffbc1", "f30f7ec1", "660fd7c1", "f20fd6c1"],
)  # fmt: skip
def test_of_sse2(code: str) -> None:
    """The Pentium III has none of them, the Pentium 4 has."""
    assert vector(run(code, SYSTEM, "pentium3")[0]) == INVALID_OPCODE
    assert vector(run(code, SYSTEM, "pentium4")[0]) is None


@pytest.mark.parametrize(
    "code",
    ["f20f12c1", "f30f12c1", "f30f16c1", "660fd0c1", "f20fd0c1", "f20ff006", "660f7cc1", "f20f7dc1",
     "660f3800c1", "0f3800c1", "660f3a0fc101", "f30fb8c1", "f20f2b06", "660f79c1", "660fae3e",
     "f30faee8", "660fae16", "f30ffcc1", "f20f6fc1", "f30f28c1", "f00f58c1", "f0f30f10c1",
     "660fc306", "f30f50c1", "0f6cc1", "0fd6c1", "660f12c1"],
)  # fmt: skip
def test_of_nobody(code: str) -> None:
    """SSE3 and later, LOCK, and prefixes that make nothing of an opcode."""
    assert vector(run(code, SYSTEM, "pentium4")[0]) == INVALID_OPCODE


def test_cpuid_tells() -> None:
    """SSE, SSE2 and CLFLUSH with its line, where they are."""
    found = {name: features(model, system=True) for name, model in MODELS.items()}
    assert {name for name, bits in found.items() if bits & SSE} == {"pentium3", "pentium4"}
    for bit in (SSE2, CLFLUSH):
        assert {name for name, bits in found.items() if bits & bit} == {"pentium4"}
    assert leaves(model_of("pentium4").identity, found["pentium4"])[1][1] == 8 << 8
    assert leaves(model_of("pentium3").identity, found["pentium3"])[1][1] == 0


@pytest.mark.parametrize("size", [16, 32])
def test_prefixes_in_any_order_and_code_of_any_size(size: int) -> None:
    """66 before or behind a segment; F2 and F3 before 66, and the last of them counts."""
    mode = FLAT_USER._replace(model=MODEL, code_size=size)
    names = {"660f10c1": "movupd", "2e660f10c1": "movupd", "662e0f10c1": "movupd",
             "66f30f10c1": "movss", "f3660f10c1": "movss", "f2f30f10c1": "movss",
             "f3f20f10c1": "movsd_xmm", "f2660f10c1": "movsd_xmm", "0f10c1": "movups"}  # fmt: skip
    for code, name in names.items():
        found = decode(bytes.fromhex(code).ljust(15, b"\0"), mode)
        assert isinstance(found.form, Form)
        assert (found.form.mnemonic, found.length) == (name, len(code) // 2)


def test_the_longest_instruction() -> None:
    """15 bytes are one, 16 are too many."""
    for count, expected in ((8, None), (9, GENERAL_PROTECTION)):
        code = "66" * count + "0f6f86 00000000"
        assert vector(run(code, SYSTEM, "pentium4")[0]) == expected


# -- engines among each other --------------------------------------------------------------------


def mixed(rng: random.Random) -> bytes:
    """An instruction of SSE, of registers or of memory at [esi + small]."""
    while True:
        modrm = 0xC0 | rng.randrange(64) if rng.random() < 0.5 else 0x46 | rng.randrange(8) << 3
        tail = bytes([rng.randrange(0, 120, 4)]) if modrm >> 6 == 1 else b""
        head = rng.choice(MANDATORY) + bytes([0x0F, rng.choice(sorted(PREFIXED)), modrm])
        code = head + tail + rng.randbytes(8)
        found = decode(code.ljust(15, b"\0"), FLAT_USER._replace(model=MODEL))
        assert isinstance(found.form, Form)
        if found.form.mnemonic not in (BAD, "fxrstor", "fxsave"):
            return code[: found.length]


def looped(rng: random.Random, length: int, at: int) -> bytes:
    """The instructions a few times over."""
    body = b"".join(mixed(rng) for _ in range(length))
    head = b"\xbb" + struct.pack("<I", rng.randrange(1, 4))
    return head + body + b"\x4b\x0f\x85" + struct.pack("<i", -len(body) - 7)


@pytest.fixture(scope="module")
def benches() -> dict[str, Bench]:
    """All engines; what compiles, compiles every block."""
    native = Native(hot=0, wait=True, level=QUICK, cache=DiskCache(None))
    return {
        "reference": Bench(Reference(), MODEL),
        "python-cold": Bench(Python(hot=1 << 60), MODEL),
        "python-hot": Bench(Python(hot=0), MODEL),
        "native-tier1": Bench(Native(hot=1 << 30, wait=True, cache=DiskCache(None)), MODEL),
        "native": Bench(native, MODEL),
    }


def program(rng: random.Random, length: int) -> X87Program:
    """Registers full of anything, and ESI mostly at a multiple of 16."""
    made = X87Program(rng, partial(looped, rng, length))
    for number in range(8):
        made.registers[f"xmm{number}"] = rng.getrandbits(128)
    if rng.random() < 0.7:
        made.registers["esi"] &= ~15
    return made


@pytest.mark.parametrize("number", range(8))
def test_engines_agree(benches: dict[str, Bench], number: int) -> None:
    """Loops of SSE's instructions stop everywhere in the same state."""
    rng = random.Random(number)
    agree(benches, program(rng, 2 + number % 5))


@pytest.mark.heavy
def test_many_engines_agree(benches: dict[str, Bench]) -> None:
    """More of them, and longer ones."""
    for number in range(100, 130):
        rng = random.Random(number)
        agree(benches, program(rng, 8))
