"""Silicon judges SSE and SSE2 but for their arithmetic: every form, memory that bites."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from emu.engines.python import Python
from isa.x86.decode import MANDATORY, PREFIXED, decode
from isa.x86.form import Form, Mm, Xmm
from isa.x86.table import INSTRUCTIONS
from tests.silicon import cases
from tests.silicon.bulk import compiling, threaded
from tests.silicon.bulk_sse import DISPLACEMENT, SseBulk, pool
from tests.silicon.compare import check, compare, compare_forms
from tests.silicon.executor import SSE_MODE, WITH_SSE, Executor, sse_form_of
from tests.silicon.native import READ_ONLY, WINDOW, Case, Silicon
from tests.silicon.needed import needed_silicon

pytestmark = pytest.mark.heavy  # needs a compiler

FAMILIES = ("mmx", "sse_control", "sse_move", "sse_shuffle")
SAMPLE, OTHERS, STATES, FEW_STATES = 4_000, 500, 60, 6
SHIFTS_BY_BYTE, STATE = (0x71, 0x72, 0x73), 0xAE
WITH_IMMEDIATE = (0x70, *SHIFTS_BY_BYTE, 0xC4, 0xC5, 0xC6)
IMMEDIATES = (0, 1, 7, 8, 15, 16, 0x1B, 31, 32, 63, 64, 0xD2, 0xFF)
LOADS_STATUS = bytes.fromhex("0fae56")
MISALIGNED = 17  # AMD's bit of MXCSR: isa/DIVERGENCES.md
MASKED = {"maskmovdqu": "660ff7ca", "maskmovq": "0ff7ca"}
APART = {*MASKED, "ldmxcsr"}
"""Instructions that have tests of their own."""
FENCES = {"lfence", "mfence", "sfence"}  # few of the bytes that are drawn are one
SSE3 = ("movddup", "movsldup", "movshdup")


def ours(form: str) -> bool:
    """Whether a form is of an instruction that is judged here: SSE's, or MMX's on its registers."""
    entry = INSTRUCTIONS.get(form.split()[0])
    if entry is None:
        return False
    family = entry.meaning.__module__.rpartition(".")[2]
    return family in FAMILIES and (entry.since != "pentium2" or "xmm" in form)


def sse_form(code: bytes) -> str | None:
    """The form of such an instruction."""
    form = sse_form_of(code)
    return form if form and ours(form) else None


def sampled(code: bytes) -> str | None:
    """The same of what random cases are for."""
    form = sse_form(code)
    return None if form is None or form.split()[0] in APART else form


def entered() -> set[str]:
    """All their mnemonics."""
    return {name for name in INSTRUCTIONS if name != "emms" and ours(f"{name} xmm")}


@pytest.fixture(scope="module")
def silicon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silicon]:
    with needed_silicon(tmp_path_factory.mktemp("silicon")) as built:
        yield built


@pytest.fixture(scope="module")
def forms() -> cases.Forms:
    prefixes = [prefix + mandatory for prefix in (b"", b"\x67") for mandatory in MANDATORY]
    return cases.Forms(sampled, prefixes=tuple(prefixes))


def test_a_sample(
    silicon: Silicon, forms: cases.Forms, record_property: Callable[[str, object], None]
) -> None:
    """Some of each form on the reference engine: all kinds of addresses, faults, alignment."""
    executor = Executor(low=silicon.low, model=WITH_SSE)
    result = compare_forms(silicon, executor, forms, SAMPLE, seed="sse")
    record_property("measured", str(result).splitlines()[0])
    check(result)
    executed = {form.split()[0] for form in result.executed}
    assert executed | FENCES == entered() - APART | FENCES


def test_the_python_engine(silicon: Silicon, forms: cases.Forms) -> None:
    """The same where it translates."""
    executor = Executor(Python(hot=1 << 60), low=silicon.low, model=WITH_SSE)
    check(compare_forms(silicon, executor, forms, OTHERS, seed="python"))


def one(mandatory: bytes, opcode: int, modrm: int, immediate: int) -> bytes | None:
    """An instruction of registers, or of memory at the operand; None if it is not judged here."""
    displacement = bytes([DISPLACEMENT]) if modrm >> 6 == 1 else b""
    code = mandatory + bytes([0x0F, opcode, modrm]) + displacement + bytes([immediate] * 8)
    return code[: decode(code, SSE_MODE).length] if sse_form(code) else None


def moduli(opcode: int) -> list[int]:
    """ModRM bytes: pairs of registers (EAX, ECX or EDX where one is general), memory."""
    if opcode == STATE or opcode in SHIFTS_BY_BYTE:
        return [mod | reg << 3 for mod in (0x46, 0xC2) for reg in range(8)]
    return [0xCA, 0xC0, 0xC1, 0x4E]


def codes() -> list[bytes]:
    """Every instruction that leaves EDI and the pool alone."""
    found = []
    for mandatory, opcode in product(MANDATORY, sorted(PREFIXED)):
        immediates = IMMEDIATES if opcode in WITH_IMMEDIATE else (0,)
        for modrm, immediate in product(moduli(opcode), immediates):
            found.append(one(mandatory, opcode, modrm, immediate))
    distinct = dict.fromkeys(code for code in found if code)
    return [code for code in distinct if not code.startswith(LOADS_STATUS)]


def test_many(directory: Path, record_property: Callable[[str, object], None]) -> None:
    """What FXSAVE says after each instruction and each state, on the processor and here."""
    bulk = SseBulk(codes(), pool(random.Random("sse"), STATES))
    expected = bulk.host(directory)
    assert not (wrong := bulk.different(expected, bulk.engine(threaded()))), "\n".join(wrong)
    compared = len(bulk.codes) * STATES
    record_property("measured", f"{compared} of {len(bulk.codes)} instructions")
    assert compared >= 50_000


@pytest.mark.parametrize("name", ["python", "regions"])
def test_compiled_loops(directory: Path, name: str) -> None:
    """The same in loops that are compiled whole."""
    bulk = SseBulk(codes()[::7], pool(random.Random(name), FEW_STATES))
    assert not (wrong := bulk.different(bulk.host(directory), bulk.engine(compiling(name)))), wrong


def masked(rng: random.Random, name: str) -> Case:
    """A case of a masked store: to where memory is (or, of XMM registers, is not) to be written."""
    edges = [WINDOW.start, WINDOW.start - 16, WINDOW.stop - 16]
    if name == "maskmovdqu":
        edges += [READ_ONLY.start, WINDOW.start - 5, WINDOW.stop - 7, WINDOW.start - 1]
    at = rng.choice([rng.choice(edges), rng.randrange(WINDOW.start, WINDOW.stop - 16)])
    if name == "maskmovq":
        at = max(at, WINDOW.start)
    case = cases.make_case(bytes.fromhex(MASKED["maskmovdqu"]), rng)
    registers = {**case.registers, "edi": at}
    return replace(case, code=bytes.fromhex(MASKED[name]), registers=registers)


@pytest.mark.parametrize("name", MASKED)
def test_masked_stores(silicon: Silicon, name: str) -> None:
    """Memory is needed whatever the mask says. MASKMOVQ that faults: isa/DIVERGENCES.md."""
    rng = random.Random(name)
    executor = Executor(low=silicon.low, model=WITH_SSE)
    check(compare(silicon, executor, [(name, masked(rng, name)) for _ in range(400)]))


def test_status(silicon: Silicon) -> None:
    """LDMXCSR with each bit, and with random ones: #GP(0) for those that are reserved."""
    rng = random.Random("status")
    words = [1 << n for n in range(32)] + [rng.getrandbits(16) for _ in range(100)]
    code = bytes.fromhex("0fae10")  # of [EAX]
    made = []
    for word in (word for word in words if word != 1 << MISALIGNED):
        case = cases.make_case(code, rng)
        registers, memory = {**case.registers, "eax": WINDOW.start}, word.to_bytes(4, "little")
        made.append((f"{word:x}", replace(case, registers=registers, memory=memory)))
    check(compare(silicon, Executor(low=silicon.low, model=WITH_SSE), made))


def test_every_shuffle(silicon: Silicon) -> None:
    """All 256 orders."""
    rng = random.Random("orders")
    heads = ("0f70ca", "660f70ca", "f20f70ca", "f30f70ca", "0fc6ca", "660fc6ca", "660fc4ca")
    made = [bytes.fromhex(head) + bytes([n]) for head in heads for n in range(256)]
    executor = Executor(low=silicon.low, model=WITH_SSE)
    check(compare(silicon, executor, [(code.hex(), cases.make_case(code, rng)) for code in made]))


def test_what_is_none_is_none_for_the_processor(silicon: Silicon) -> None:
    """Two prefixes of which one counts, LOCK, prefixes where none may be: #UD or not."""
    rng = random.Random("prefixes")
    prefixes = ("66f3", "f366", "66f2", "f266", "f2f3", "f3f2", "6666", "66f366", "f0", "f066")
    opcodes = ("10ca", "1002", "12ca", "28ca", "60ca", "6fca", "7eca", "d6ca", "70ca1b", "c6ca1b",
               "c302", "e702", "14ca", "57ca", "f8ca", "50ca", "d7ca", "aee8")  # fmt: skip
    made = [bytes.fromhex(f"{prefix}0f{opcode}") for prefix in prefixes for opcode in opcodes]
    found = []
    for code in made:
        if cases.newer(code) is None and not cases.text(code).startswith(SSE3):
            case = cases.make_case(code, rng)
            registers = {**case.registers, "edx": WINDOW.start}
            found.append((code.hex(), replace(case, registers=registers)))
    check(compare(silicon, Executor(low=silicon.low, model=WITH_SSE), found))


def test_forms_have_the_registers_of_their_prefixes() -> None:
    """What the table above selects has MMX or XMM registers as the manual says."""
    kinds = set()
    for code in codes():
        form = decode(code, SSE_MODE).form
        assert isinstance(form, Form)
        shapes = {type(shape) for shape in form.shapes}
        kinds.add((code[0] == 0x0F, Mm in shapes, Xmm in shapes))
    assert {(True, True, False), (False, False, True), (True, False, True)} <= kinds
