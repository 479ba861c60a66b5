"""SSE's arithmetic: against exact fractions and numpy, and what its exceptions leave behind."""

from __future__ import annotations

import operator
import random
import struct
from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.engines.reference import Reference
from emu.memory import AddressSpace
from isa.bits import Bits
from isa.functions import Family
from isa.x86.models import MODELS
from isa.x86.registers import MXCSR_INITIAL, SEGMENT_NAMES
from isa.x86.sse import approximation, arithmetic, comparison, conversion
from isa.x86.x87.result import Result
from tests import sse_oracle as oracle
from tests.machines import CODE, DATA, engines, picture, x86_machine
from tests.silicon import floats
from tests.test_x87_system import INVALID_OPCODE, NO_DEVICE, run, vector

MODEL = "user:pentium4"
SIMD, GENERAL_PROTECTION, ERROR = 19, 13, 16
IE, DE, ZE, OE, UE, PE = oracle.IE, oracle.DE, oracle.ZE, oracle.OE, oracle.UE, oracle.PE
EXAMPLES = 200
SEEDS, WIDTHS = st.integers(0, 1 << 64), st.sampled_from((32, 64))
SETTINGS = st.integers(0, (1 << 10) - 1)  # MXCSR from DAZ on


def number(rng: random.Random, width: int) -> int:
    """A number of any class."""
    if rng.random() < 0.2:
        return rng.getrandbits(width)
    return int.from_bytes(floats.short(rng, width // 8), "little")


def outcome(packed: Bits) -> tuple[int, int]:
    """Value and flags."""
    result = Result.unpack(packed)
    return result.value.value, result.flags.value


def do(family: Family, *numbers: int, width: int, mxcsr: int = MXCSR_INITIAL) -> tuple[int, int]:
    """Value and flags of an operation."""
    values = [Bits.of(n, width) for n in numbers]
    return outcome(family(*values, Bits.of(mxcsr >> 6, 10))["result"])


BINARY: dict[str, tuple[Family, Callable[[Fraction, Fraction], Fraction]]] = {
    "add": (arithmetic.add, operator.add),
    "subtract": (arithmetic.subtract, operator.sub),
    "multiply": (arithmetic.multiply, operator.mul),
    "divide": (arithmetic.divide, operator.truediv),
}


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=SEEDS, width=WIDTHS, word=SETTINGS)
def test_against_fractions(name: str, seed: int, width: int, word: int) -> None:
    """Finite numbers in all modes; unmasked overflow and underflow give flags, but no value."""
    rng, mxcsr = random.Random(seed), word << 6
    family, operation = BINARY[name]
    a, b = number(rng, width), number(rng, width)
    if not (oracle.is_finite(a, width) and oracle.is_finite(b, width)):
        return
    expected = oracle.binary(operation, a, b, width, mxcsr)
    if expected is not None:
        value, flags = do(family, a, b, width=width, mxcsr=mxcsr)
        assert flags == expected[1]
        if not flags & ~(mxcsr >> 7):
            assert value == expected[0]


NUMPY: dict[str, tuple[Family, Callable[..., object], int]] = {
    "add": (arithmetic.add, np.add, 2),
    "subtract": (arithmetic.subtract, np.subtract, 2),
    "multiply": (arithmetic.multiply, np.multiply, 2),
    "divide": (arithmetic.divide, np.divide, 2),
    "square_root": (arithmetic.square_root, np.sqrt, 1),
}


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("name", NUMPY)
def test_against_numpy(name: str, width: int) -> None:
    """To nearest, everything masked; a NaN is a NaN there."""
    family, operation, count = NUMPY[name]
    rng, size = random.Random(name), width // 8
    operands = [[number(rng, width) for _ in range(count)] for _ in range(100)]
    numbers = np.array(operands, f"<u{size}").view(f"<f{size}")
    with np.errstate(all="ignore"):
        expected = np.asarray(operation(*numbers.T))
    values = np.array([do(family, *row, width=width)[0] for row in operands], f"<u{size}")
    assert np.array_equal(values.view(f"<f{size}"), expected, equal_nan=True)
    ordinary = ~np.isnan(expected)
    assert (values[ordinary] == expected.view(f"<u{size}")[ordinary]).all()  # signs of zeros, too


# -- by the manual -------------------------------------------------------------------------------

ONE, TWO, HALF, INFINITE, ZERO, MINUS_ZERO = (
    0x3F800000, 0x40000000, 0x3F000000, 0x7F800000, 0, 0x80000000,
)  # fmt: skip
QUIET, OTHER, SIGNALING, INDEFINITE = 0x7FC12345, 0xFFC54321, 0x7F812345, 0xFFC00000
TINY, LARGEST, LEAST, THIRD = 0x00000001, 0x7F7FFFFF, 0x00800000, 0x3EAAAAAB


@pytest.mark.parametrize(
    ("family", "a", "b", "value", "flags"),
    [
        (arithmetic.add, QUIET, OTHER, QUIET, 0),
        (arithmetic.add, OTHER, QUIET, OTHER, 0),
        (arithmetic.add, QUIET, SIGNALING, QUIET, IE),
        (arithmetic.add, SIGNALING, OTHER, SIGNALING | 1 << 22, IE),
        (arithmetic.add, TINY, OTHER, OTHER, 0),
        (arithmetic.add, INFINITE, INFINITE | 1 << 31, INDEFINITE, IE),
        (arithmetic.multiply, TINY, INFINITE, INFINITE, DE),
        (arithmetic.multiply, ZERO, INFINITE, INDEFINITE, IE),
        (arithmetic.divide, TINY, ZERO, INFINITE, ZE),
        (arithmetic.divide, ONE, MINUS_ZERO, INFINITE | 1 << 31, ZE),
        (arithmetic.divide, ZERO, ZERO, INDEFINITE, IE),
        (arithmetic.minimum, ZERO, MINUS_ZERO, MINUS_ZERO, 0),
        (arithmetic.maximum, ZERO, MINUS_ZERO, MINUS_ZERO, 0),
        (arithmetic.maximum, MINUS_ZERO, ZERO, ZERO, 0),
        (arithmetic.minimum, QUIET, ONE, ONE, IE),
        (arithmetic.minimum, ONE, SIGNALING, SIGNALING, IE),
        (arithmetic.maximum, TINY, ONE, ONE, DE),
        (comparison.ordered, ONE, TWO, 0b001, 0),
        (comparison.ordered, TWO, ONE, 0b000, 0),
        (comparison.ordered, ZERO, MINUS_ZERO, 0b100, 0),
        (comparison.ordered, ONE, QUIET, 0b111, IE),
        (comparison.unordered, ONE, QUIET, 0b111, 0),
        (comparison.unordered, SIGNALING, ONE, 0b111, IE),
        (comparison.unordered, TINY, ONE, 0b001, DE),
    ],
)
def test_special_operands(family: Family, a: int, b: int, value: int, flags: int) -> None:
    """NaNs, zeros and infinities (SDM volume 1, table 4-7 and section 4.9.2)."""
    assert do(family, a, b, width=32) == (value, flags)


DAZ, FTZ = oracle.DAZ, oracle.FTZ


@pytest.mark.parametrize(
    ("family", "numbers", "switches", "value", "flags"),
    [
        (arithmetic.add, (TINY, ONE), 0, ONE, DE | PE),
        (arithmetic.add, (TINY, ONE), DAZ, ONE, 0),
        (arithmetic.multiply, (TINY | 1 << 31, ONE), DAZ, MINUS_ZERO, 0),
        (arithmetic.divide, (ONE, TINY), DAZ, INFINITE, ZE),
        (arithmetic.maximum, (TINY, ZERO), DAZ, ZERO, 0),
        (arithmetic.minimum, (ONE, TINY), DAZ, ZERO, 0),
        (arithmetic.square_root, (TINY | 1 << 31,), 0, INDEFINITE, IE),
        (arithmetic.square_root, (TINY | 1 << 31,), DAZ, MINUS_ZERO, 0),
        (comparison.ordered, (TINY, ZERO), DAZ, 0b100, 0),
        (arithmetic.multiply, (LEAST, HALF), 0, LEAST >> 1, 0),
        (arithmetic.multiply, (LEAST, HALF), FTZ, ZERO, UE | PE),
        (arithmetic.multiply, (LEAST | 1 << 31, HALF), FTZ, MINUS_ZERO, UE | PE),
        (arithmetic.multiply, (LEAST, THIRD), 0, 0x002AAAAB, UE | PE),
        (conversion.to_integer, (TINY,), 0, 0, PE),
        (conversion.to_integer, (TINY,), DAZ, 0, 0),
        (conversion.to_integer, (0x4F000000,), 0, 1 << 31, IE),
        (conversion.to_integer, (0xCF000000,), 0, 1 << 31, 0),
        (conversion.truncate, (0xBFFFFFFF,), 0, 0xFFFFFFFF, PE),
        (conversion.to_integer, (QUIET,), 0, 1 << 31, IE),
        (conversion.to_double, (TINY,), 0, 0x36A0000000000000, DE),
        (conversion.to_double, (TINY,), DAZ, 0, 0),
        (conversion.to_double, (SIGNALING,), 0, 0x7FF82468A0000000, IE),
        (conversion.integer_to_single, (0x01000001,), 0, 0x4B800000, PE),
        (conversion.integer_to_double, (0x80000000,), 0, 0xC1E0000000000000, 0),
    ],
)  # fmt: skip
def test_switches(
    family: Family, numbers: tuple[int, ...], switches: int, value: int, flags: int
) -> None:
    """Denormals as zeros, flushing to zero, conversions (SDM volume 1, section 10.2.3)."""
    assert do(family, *numbers, width=32, mxcsr=MXCSR_INITIAL | switches) == (value, flags)


TRUE = {"eq": "=", "lt": "<", "le": "<=", "unord": "?", "neq": "<>?", "nlt": "=>?", "nle": ">?",
        "ord": "<=>"}  # fmt: skip


@pytest.mark.parametrize("name", comparison.PREDICATES)
def test_predicates(name: str) -> None:
    """Eight predicates of a number less, equal, greater, or none (SDM volume 2, table 3-1)."""
    predicate = Bits.of(comparison.PREDICATES.index(name), 3)
    for other, relation in ((TWO, "<"), (ONE, "="), (HALF, ">"), (QUIET, "?")):
        numbers = Bits.of(ONE, 32), Bits.of(other, 32)
        settings = Bits.of(MXCSR_INITIAL >> 6, 10)
        value, flags = outcome(comparison.holds(*numbers, predicate, settings)["result"])
        held = any(relation == "<=" or letter == relation for letter in TRUE[name])
        assert value == (0xFFFFFFFF if held else 0)
        assert flags == (IE if relation == "?" and name in ("lt", "le", "nlt", "nle") else 0)


@pytest.mark.parametrize(
    ("family", "power"),
    [(approximation.reciprocal, -1), (approximation.reciprocal_square_root, -0.5)],
)
def test_approximations(family: Family, power: float) -> None:
    """What the manual promises of every number that has a result."""
    rng = random.Random(power)
    for _ in range(300):
        bits = rng.randrange(LEAST, 0x7E800000)
        (x,) = struct.unpack("<f", struct.pack("<I", bits))
        (found,) = struct.unpack("<f", struct.pack("<I", family(Bits.of(bits, 32))["value"].value))
        assert abs(found / x**power - 1) <= 1.5 * 2**-12
    special = {TINY | 1 << 31: 0xFF800000, INFINITE: 0, SIGNALING: SIGNALING | 1 << 22}
    for bits, expected in special.items():
        assert family(Bits.of(bits, 32))["value"].value == expected


# -- on every engine -----------------------------------------------------------------------------

ADDPS, DIVPS, MULPS, ADDSD, COMISS, CVTPS2PI = (
    "0f58c1", "0f5ec1", "0f59c1", "f20f58c1", "0f2fc1", "0f2dc1",
)  # fmt: skip


def lanes(*numbers: int) -> int:
    """128 bits, the lowest lane first."""
    return sum(n << 32 * place for place, n in enumerate(numbers))


def unmasked(*exceptions: int) -> int:
    """MXCSR with some exceptions unmasked."""
    return MXCSR_INITIAL & ~(sum(exceptions) << 7)


@pytest.mark.parametrize("name", engines())
@pytest.mark.parametrize(
    ("code", "mxcsr", "one", "other", "left", "faults"),
    [
        (ADDPS, MXCSR_INITIAL, lanes(ONE, SIGNALING), lanes(THIRD, 0), IE | PE, False),
        (ADDPS, unmasked(PE), lanes(ONE, TINY), lanes(THIRD, ONE), DE | PE, True),
        (ADDPS, unmasked(DE), lanes(ONE, TINY), lanes(THIRD, ONE), DE, True),
        (ADDPS, unmasked(IE), lanes(ONE, SIGNALING, TINY), lanes(THIRD, 0, 0), IE | DE, True),
        (ADDPS, unmasked(IE) | OE, lanes(SIGNALING), 0, IE | OE, True),
        (ADDPS, unmasked(OE) | OE, lanes(ONE), lanes(ONE), OE, False),
        (DIVPS, unmasked(ZE), lanes(ONE, ONE), lanes(THIRD, 0), ZE | IE, True),
        (MULPS, unmasked(OE), lanes(LARGEST, THIRD), lanes(TWO, THIRD), OE | PE, True),
        (MULPS, unmasked(UE), lanes(LEAST), lanes(HALF), UE, True),
        (MULPS, unmasked(UE) | FTZ, lanes(LEAST), lanes(HALF), UE, True),
        (COMISS, unmasked(IE), lanes(QUIET), lanes(ONE), IE, True),
        (CVTPS2PI, unmasked(IE), 0, lanes(0x4F000000), IE, True),
    ],
)
def test_what_exceptions_leave(
    name: str, code: str, mxcsr: int, one: int, other: int, left: int, faults: bool
) -> None:
    """#XM leaves its flags in MXCSR, and nothing else."""
    registers = {"mxcsr": mxcsr, "xmm0": one, "xmm1": other, "st_top": 3, "fcw": 0x37F}
    filled = "0f28d8" + code  # movaps xmm3, xmm0: a block of two
    state = x86_machine(bytes.fromhex(filled), registers, model=MODEL)
    stop = engines()[name].run(state, 2)  # type: ignore[attr-defined]
    assert state["mxcsr"] == mxcsr & ~0x3F | left | mxcsr & 0x3F
    assert (stop.fault is not None) == faults
    if faults:
        assert (stop.fault.vector, stop.fault.code, stop.fault.address) == (SIMD, None, None)
        assert (state["xmm0"], state["xmm3"], state["eip"]) == (one, one, CODE + 3)
        assert (state.count, state["eflags"]) == (1, 0x202)
        moved = code == CVTPS2PI  # the x87 is MMX's, whose register is not written
        assert (state["st_top"], state["st_full"], state["st5"]) == (
            (0, 0xFF, 0) if moved else (3, 0, 0)
        )


FAMILIES = (
    *(bytes([0x0F, op]) for op in (0x51, 0x58, 0x59, 0x5A, 0x5B, 0x5C, 0x5D, 0x5E, 0x5F, 0xC2)),
    b"\x0f\xe6", b"\x0f\x2a", b"\x0f\x2c", b"\x0f\x2d", b"\x0f\x2e", b"\x0f\x2f",
    b"\x0f\x52", b"\x0f\x53",
)  # fmt: skip


def program(rng: random.Random) -> bytes:
    """Instructions with any prefix, of registers and of memory at [ESI + small], 3 times over."""
    body = b""
    for _ in range(6):
        prefix, opcode = rng.choice((b"", b"\x66", b"\xf2", b"\xf3")), rng.choice(FAMILIES)
        if opcode[1] in (0x2E, 0x2F, 0x52, 0x53):
            prefix = b""
        elif (opcode[1] == 0x5B and prefix == b"\xf2") or (opcode[1] == 0xE6 and not prefix):
            prefix = b"\x66"
        modrm = 0xC0 | rng.randrange(64)
        tail = b""
        if rng.random() < 0.4:
            modrm, tail = 0x46 | rng.randrange(8) << 3, bytes([16 * rng.randrange(7)])
        immediate = bytes([rng.randrange(256)]) if opcode[1] == 0xC2 else b""
        body += prefix + opcode + bytes([modrm]) + tail + immediate
    return b"\xbd\3\0\0\0" + body + b"\x4d\x0f\x85" + struct.pack("<i", -len(body) - 7)


@pytest.mark.parametrize("seed", range(3))
def test_engines_agree(seed: int) -> None:
    """Programs of all these instructions; where one faults, all engines leave the same behind."""
    rng = random.Random(seed)
    code = program(rng)
    registers = {f"xmm{n}": int.from_bytes(floats.packed(rng), "little") for n in range(8)}
    registers |= {"mxcsr": floats.mxcsr(rng, masked=0.8), "esi": DATA, "fcw": 0x37F, "eax": 7}
    tile, seen = floats.sse_tile(rng), {}
    for name, engine in engines().items():
        state = x86_machine(code, registers, tile, MODEL)
        seen[name] = picture(state, engine.run(state, 19))  # type: ignore[attr-defined]
    assert all(found == seen["reference"] for found in seen.values())


# -- systems and models --------------------------------------------------------------------------

CODE_OF_SYSTEM, DATA_OF_SYSTEM = 0x10000, 0x20000
SYSTEM = {"osfxsr": 1, "osxmmexcpt": 1}
INVALID = {"mxcsr": unmasked(IE), "xmm0": SIGNALING}


@pytest.mark.parametrize(
    ("registers", "expected"),
    [
        (SYSTEM, SIMD),
        ({"osfxsr": 1}, INVALID_OPCODE),
        ({"osxmmexcpt": 1}, INVALID_OPCODE),
        (SYSTEM | {"em": 1}, INVALID_OPCODE),
        (SYSTEM | {"ts": 1}, NO_DEVICE),
    ],
)
def test_conditions(registers: Mapping[str, int], expected: int) -> None:
    """#UD, #NM and #XM; an exception that the system does not know is #UD, and in MXCSR."""
    stop, state = run(ADDPS, INVALID | registers, "pentium4")
    assert vector(stop) == expected
    computed = registers.get("osfxsr") and not registers.keys() & {"em", "ts"}
    assert state["sse_flags"] == (IE if computed else 0)


@pytest.mark.parametrize("code", ["0f2ac0", "0f2a03", "0f2dc1", "660f2cc1"])
def test_conversions_wait_for_the_x87(code: str) -> None:
    """#MF where MMX registers are met, and where the manual says so."""
    stop, _ = run(code, SYSTEM | {"fcw": 0x37E, "fpu_flags": 1, "ne": 1}, "pentium4")
    assert vector(stop) == ERROR
    stop, state = run(code, SYSTEM | {"fcw": 0x37F, "st_top": 5, "ebx": DATA_OF_SYSTEM}, "pentium4")
    assert (vector(stop), state["st_top"], state["st_full"]) == (None, 0, 0xFF)


def test_a_conversion_that_does_not_wait() -> None:
    """CVTPI2PD of memory leaves the x87 alone."""
    pending = {"fcw": 0x37E, "fpu_flags": 1, "ne": 1, "st_top": 5, "ebx": DATA_OF_SYSTEM}
    stop, state = run("660f2a03", SYSTEM | pending, "pentium4")
    assert (vector(stop), state["st_top"]) == (None, 5)


@pytest.mark.parametrize("code", [ADDSD, "660f58c1", "660f2ec1", "f30fe6c1", "f20f5ac1", "0f5bc1"])
@pytest.mark.parametrize("model", MODELS)
def test_models(model: str, code: str) -> None:
    """SSE2 came with the Pentium 4, SSE with the Pentium III."""
    if MODELS[model].has("386"):
        has_sse = MODELS[model].has("pentium3")
        has_sse2 = MODELS[model].has("pentium4")
        ready = SYSTEM | {"mxcsr": MXCSR_INITIAL}
        assert vector(run(code, ready, model)[0]) == (None if has_sse2 else INVALID_OPCODE)
        assert vector(run(ADDPS, ready, model)[0]) == (None if has_sse else INVALID_OPCODE)


def test_alignment() -> None:
    """#GP(0) for 128 bits askew; scalars and halves may lie anywhere."""
    for code, expected in (("0f5803", GENERAL_PROTECTION), ("f30f5803", None), ("0f5a03", None)):
        stop, _ = run(
            code, SYSTEM | {"ebx": DATA_OF_SYSTEM + 4, "mxcsr": MXCSR_INITIAL}, "pentium4"
        )
        assert vector(stop) == expected


def test_delivery() -> None:
    """A handler in real-address mode finds MXCSR's flags, and the instruction to return to."""
    registers = INVALID | SYSTEM | {"pe": 0, "eip": 0, "esp": 0x100, "idt_base": DATA_OF_SYSTEM}
    registers |= {f"{name}_limit": 0xFFFF for name in SEGMENT_NAMES} | {"idt_limit": 0x3FF}
    registers |= {"cs_base": CODE_OF_SYSTEM, "ss_base": DATA_OF_SYSTEM + 0x400}
    stop, state = run(ADDPS, registers, "pentium4")
    space = state.memory["linear"]
    assert isinstance(space, AddressSpace)
    space.poke(DATA_OF_SYSTEM + 4 * SIMD, struct.pack("<HH", 0x1234, 0x5678))
    assert stop.fault is not None and Reference().deliver(state, stop.fault)
    assert (state["eip"], state["cs"], state["sse_flags"]) == (0x1234, 0x5678, IE)
    assert space.read(DATA_OF_SYSTEM + 0x4FA, 2) == struct.pack("<H", 0)  # EIP
