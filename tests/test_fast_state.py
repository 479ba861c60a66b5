"""FXSAVE and FXRSTOR: images by the processor and by every engine, faults, models."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emu.engines import Engine
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.native.layout import QUICK
from emu.engines.python import Python
from emu.engines.reference import Reference
from isa.x86.decode import BAD, decode
from isa.x86.form import Form
from tests.needs import missing
from tests.silicon import floats
from tests.silicon.bulk_sse import SseBulk, pool, record, state
from tests.silicon.compare import differences
from tests.silicon.executor import FLAT_MODE, SSE_MODE, WITH_SSE, Executor
from tests.silicon.native import READ_ONLY, WINDOW, Case, Fault, Fpu, Silicon, Sse
from tests.silicon.needed import needed_silicon
from tests.test_mmx import space_of
from tests.test_x87_system import DATA, INVALID_OPCODE, NO_DEVICE, run, vector

FXSAVE, FXRSTOR = bytes.fromhex("0fae06"), bytes.fromhex("0fae0e")  # of [ESI]
NOP, EMMS, MOVQ = bytes.fromhex("90"), bytes.fromhex("0f77"), bytes.fromhex("0f6fca")
AT = WINDOW.start + 0x100
POINTERS = range(AT + 8, AT + 24)
MXCSR_MASK = range(AT + 28, AT + 32)
GENERAL_PROTECTION = 13


def compiling() -> Native:
    """Native code for each instruction."""
    return Native(hot=1 << 30, wait=True, cache=DiskCache(None))


def regions() -> Native:
    """Native code for whole loops."""
    return Native(hot=0, wait=True, level=QUICK, cache=DiskCache(None))


ENGINES = {
    "reference": Reference, "python": lambda: Python(hot=0), "native": compiling,
    "regions": regions,
}  # fmt: skip


def saving(rng: random.Random, address: int = AT) -> Case:
    """A case that saves a random state."""
    sse, memory = floats.sse(rng), rng.randbytes(128)
    return Case(FXSAVE, {"esi": address}, memory=memory, fpu=floats.fpu(rng), sse=sse)


ADDRESSES = (
    AT, AT + 8, AT, AT, AT + 0x80, WINDOW.start + 0xF00, WINDOW.stop - 512, WINDOW.stop - 256,
    WINDOW.start - 256, READ_ONLY.start - 256, READ_ONLY.start - 1024,
)  # fmt: skip
"""Of images that are whole, lie askew, or are partly or not at all there or not to be written."""


def restoring(rng: random.Random, sse: Sse, fpu: Fpu) -> Case:
    """A case that restores the beginning of a state: memory repeats 128 bytes of an image."""
    memory = record(rng, sse, fpu)[:128]
    return replace(saving(rng), code=FXRSTOR, memory=memory)


# --- every engine -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENGINES)
def test_what_is_saved_is_restored(name: str) -> None:
    """A program that restores and saves writes out what it has read."""
    states = pool(random.Random(name), 8)
    (answers,) = SseBulk([NOP], states).engine(ENGINES[name]())
    before = np.frombuffer(states, np.uint8).reshape(answers.shape)
    kept = [n for n in range(512) if n not in range(8, 32) and n not in range(2, 4)]
    kept = [n for n in kept if n < 496]  # flags
    assert (answers[:, kept] == before[:, kept]).all()
    assert (answers[:, 24:28] == before[:, 24:28]).all()


@pytest.mark.parametrize("name", ENGINES)
def test_the_image(name: str) -> None:
    """Field by field, as table 10-2 of volume 1 has it."""
    engine: Engine = ENGINES[name]()
    execute = Executor(engine, model=WITH_SSE)
    stack = tuple(n << 64 | 1 << 63 | n for n in range(1, 9))
    fpu = Fpu(control=0x27F, status=0x3841, full=0b1000_0001, stack=stack)
    sse = Sse(0x1FA0, tuple(n << 120 | n for n in range(8)))
    outcome = execute(Case(FXSAVE, {"esi": AT}, memory=b"\xee" * 128, fpu=fpu, sse=sse))
    assert outcome is not None and outcome[0].fault is None
    image = bytes(outcome[0].memory.get(AT + n, 0xEE) for n in range(512))
    assert image[:8].hex() == "7f02413881000000"
    assert image[24:32].hex() == "a01f0000ffff0000"
    assert image[32:160] == b"".join(n.to_bytes(16, "little") for n in stack)
    assert image[160:288] == b"".join(n.to_bytes(16, "little") for n in sse.xmm)
    assert image[288:] == b"\xee" * 224


@pytest.mark.parametrize("code", [FXSAVE, FXRSTOR])
def test_faults(code: bytes) -> None:
    """An address that is no multiple of 16, and MXCSR with a bit that does not exist."""
    execute = Executor(model=WITH_SSE)
    memory = bytes(24) + (1 << 16).to_bytes(4, "little") + bytes(100)
    for address in range(AT, AT + 16):
        outcome = execute(Case(code, {"esi": address}, memory=memory))
        reserved = code == FXRSTOR and address % 16 == 0
        fault = Fault(GENERAL_PROTECTION) if reserved or address % 16 else None
        assert outcome is not None and outcome[0].fault == fault, hex(address)
        assert fault is None or not outcome[0].memory


@pytest.mark.parametrize(("model", "known"), [("user:pentium3", 0xFFBF), ("user:pentium4", 0xFFFF)])
def test_mxcsr_mask(model: str, known: int) -> None:
    """Denormals as zeros are no bit of a Pentium III, neither in the mask nor to be loaded."""
    execute = Executor(model=model)
    outcome = execute(Case(FXSAVE, {"esi": AT}))
    assert outcome is not None
    memory = outcome[0].memory
    assert memory[AT + 28] | memory[AT + 29] << 8 == known
    image = bytes(24) + (0x1FC0).to_bytes(4, "little") + bytes(100)
    outcome = execute(Case(FXRSTOR, {"esi": AT}, memory=image))
    assert outcome is not None
    assert (outcome[0].fault is None) == (known == 0xFFFF)


@pytest.mark.parametrize("code", [FXSAVE, FXRSTOR])
def test_older_processors_have_neither(code: bytes) -> None:
    """#UD, as ever."""
    for mode, exists in ((FLAT_MODE, False), (SSE_MODE, True)):
        form = decode(code.ljust(15, b"\0"), mode).form
        assert isinstance(form, Form) and (form.mnemonic != BAD) == exists


# --- a whole processor --------------------------------------------------------------------------

IMAGE = DATA + 16
REGISTERS = {"ebx": IMAGE, "xmm3_low": 5, "mxcsr": 0x1F81, "fcw": 0x37F}
SAVE, RESTORE = "0fae03", "0fae0b"  # of [EBX]


@pytest.mark.parametrize("code", [SAVE, RESTORE])
@pytest.mark.parametrize(
    ("registers", "expected"),
    [
        ({"em": 1}, NO_DEVICE),
        ({"ts": 1}, NO_DEVICE),
        ({"ts": 1, "ebx": IMAGE + 4}, NO_DEVICE),
        ({"ebx": IMAGE + 4}, GENERAL_PROTECTION),
        ({"fpu_flags": 1, "fcw": 0, "ne": 1}, None),
        ({"osfxsr": 1}, None),
    ],
)
def test_what_comes_first(code: str, registers: dict[str, int], expected: int | None) -> None:
    """#NM of EM and TS alike, then the address; an exception that is pending does not matter."""
    assert vector(run(code, REGISTERS | registers, "pentium3")[0]) == expected


@pytest.mark.parametrize("code", [SAVE, RESTORE])
def test_no_fxsr(code: str) -> None:
    """#UD on a Pentium II, whatever the system has set."""
    assert vector(run(code, REGISTERS | {"osfxsr": 1})[0]) == INVALID_OPCODE


@pytest.mark.parametrize("osfxsr", [0, 1])
def test_without_osfxsr(osfxsr: int) -> None:
    """XMM registers are neither saved nor restored, and MXCSR is not restored."""
    stop, state = run(SAVE, REGISTERS | {"osfxsr": osfxsr}, "pentium4")
    assert stop.fault is None
    saved = space_of(state).read(IMAGE, 512)
    assert saved[24:26] == (0x1F81).to_bytes(2, "little")
    assert saved[160 + 48] == (5 if osfxsr else 0)
    stop, state = run(RESTORE, REGISTERS | {"osfxsr": osfxsr}, "pentium4")
    assert (state["mxcsr"], state["xmm3"]) == ((0, 0) if osfxsr else (0x1F81, 5))
    assert state["fcw"] == 0x40  # what FCW has wired


@pytest.mark.parametrize(("model", "known"), [("pentium2", False), ("pentium3", True)])
def test_cr4(model: str, known: bool) -> None:
    """OSFXSR and OSXMMEXCPT are bits of CR4 since the Pentium III; of others #GP(0)."""
    for bit in (1 << 9, 1 << 10, 3 << 9):
        stop, state = run("0f22e0", {"eax": bit}, model)  # MOV CR4, EAX
        assert vector(stop) == (None if known else GENERAL_PROTECTION)
        assert state["cr4"] == (bit if known else 0)


# --- the processor ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def silicon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silicon]:
    with needed_silicon(tmp_path_factory.mktemp("silicon")) as built:
        yield built


@pytest.mark.heavy
def test_images_of_the_processor(silicon: Silicon) -> None:
    """FXSAVE into memory, all but the pointers and the mask, which is the host's."""
    rng, execute = random.Random("fxsave"), Executor(low=silicon.low, model=WITH_SSE)
    made = [saving(rng, rng.choice(ADDRESSES)) for _ in range(300)]
    for case, expected in zip(made, silicon.run(made), strict=True):
        outcome = execute(case)
        assert outcome is not None
        got, start = outcome[0], case.registers["esi"]
        left_out = [start + n for n in (*range(8, 24), *range(28, 32))]
        sides = [
            replace(side, memory={a: b for a, b in side.memory.items() if a not in left_out})
            for side in (expected, got)
        ]
        assert not differences(sides[0], sides[1]), f"{case}\n{differences(*sides)}"


@pytest.mark.heavy
def test_restoring_on_the_processor(silicon: Silicon) -> None:
    """The first 128 bytes of images again and again; any MXCSR."""
    rng, execute = random.Random("fxrstor"), Executor(low=silicon.low, model=WITH_SSE)
    made = []
    for _ in range(300):
        sse, fpu = state(rng)
        if rng.random() < 0.3:
            sse = replace(sse, mxcsr=rng.choice((1 << 16, 1 << 31, 0xFFFF, 0, 0x40)))
        case = restoring(rng, sse, replace(fpu, status=rng.getrandbits(16)))
        made.append(replace(case, registers={"esi": rng.choice(ADDRESSES[2:])}))
    for case, expected in zip(made, silicon.run(made), strict=True):
        outcome = execute(case)
        assert outcome is not None
        assert not differences(expected, outcome[0]), f"{case}\n{differences(expected, outcome[0])}"


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["python", "native", "regions"])
def test_many(tmp_path: Path, name: str) -> None:
    """States through FXRSTOR, an MMX instruction, FXSAVE."""
    if (reason := Silicon.available()) is not None:
        missing(reason)
    bulk = SseBulk([NOP, EMMS, MOVQ], pool(random.Random(name), 200))
    expected, got = bulk.host(tmp_path), bulk.engine(ENGINES[name]())
    for number, code in enumerate(bulk.codes):
        wrong = np.flatnonzero((expected[number] != got[number]).any(axis=1))
        assert not wrong.size, bulk.told(code, int(wrong[0]), expected[number], got[number])
