"""Silicon judges every engine: all forms, sequences of instructions, the same answer everywhere."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from emu.engines import Engine
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.native.layout import BEST, QUICK
from emu.engines.python import Python
from emu.engines.reference import Reference
from tests.silicon import cases
from tests.silicon.compare import compare, compare_forms
from tests.silicon.executor import Executor, form_of
from tests.silicon.native import WINDOW, Case, Silicon
from tests.silicon.needed import needed_silicon

pytestmark = pytest.mark.heavy

EACH = 4  # cases of each form in a chunk; one where each case costs a compilation
SEQUENCES = 1_000

ENGINES: dict[str, Callable[[], Engine]] = {
    "reference": Reference,
    "python-handlers": lambda: Python(hot=1 << 60),
    "python-compiled": lambda: Python(hot=0),
    "native-stitched": lambda: Native(hot=1 << 30, wait=True, stitch=0, cache=DiskCache(None)),
    "native-quick": lambda: Native(hot=0, wait=True, level=QUICK, cache=DiskCache(None)),
    "native-best": lambda: Native(hot=0, wait=True, level=BEST, cache=DiskCache(None)),
}
CHUNKS_OF = {"reference": 9, "python-handlers": 9, "python-compiled": 2}
HALVES = {"native-quick": 0, "native-best": 1}  # one of the two ways of compiling for each form

NOT_IN_SEQUENCES = {
    "popa": "faults half done", "popad": "the same", "pusha": "the same", "pushad": "the same",
    "enter": "the same", "popf": "may set TF, which the oracle needs", "popfd": "the same",
}  # fmt: skip


@pytest.fixture(scope="session")
def silicon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silicon]:
    with needed_silicon(tmp_path_factory.mktemp("silicon")) as built:
        yield built


@pytest.fixture(scope="session")
def forms() -> cases.Forms:
    return cases.Forms(form_of)


@pytest.fixture(scope="session")
def executors(silicon: Silicon) -> dict[str, Executor]:
    """One for each engine, kept: a new one would translate every form again."""
    return {name: Executor(make(), low=silicon.low) for name, make in ENGINES.items()}


Record = Callable[[str, object], None]


@pytest.mark.parametrize(
    ("engine", "chunk"), [(e, n) for e in ENGINES for n in range(CHUNKS_OF.get(e, 1))]
)
def test_every_form(
    silicon: Silicon, forms: cases.Forms, executors: dict[str, Executor], record_property: Record,
    engine: str, chunk: int,
) -> None:  # fmt: skip
    """Each form in states that bite; all of `isa`'s user half is met in each chunk."""
    forms = half(forms, HALVES[engine]) if engine in HALVES else forms
    count = len(forms.templates) * (EACH if engine in CHUNKS_OF else 1)
    result = compare_forms(silicon, executors[engine], forms, count, seed=f"{engine} {chunk}")
    record_property("measured", str(result).splitlines()[0])
    assert not result.differing and not result.lost, str(result)
    assert sum(result.refused.values()) < count // 200  # those that wrap: isa/DIVERGENCES.md
    missed = forms.templates.keys() - result.executed.keys()
    assert len(missed) <= (0 if engine in CHUNKS_OF else len(forms.templates) // 50), missed


def half(forms: cases.Forms, first: int) -> cases.Forms:
    """Every other form."""
    some = copy(forms)
    some.templates = {form: forms.templates[form] for form in sorted(forms.templates)[first::2]}
    return some


SEGMENT_CODE = tuple(
    map(
        bytes.fromhex,
        (
            "8ed8", "8ec0", "8ee0", "8ee8", "668ed8", "8e1e", "8e26", "1f", "07", "0fa1", "0fa9",
            "661f", "660fa9", "c506", "c406", "0fb406", "0fb506", "66c506", "0f02c8", "660f02c8",
            "0f03c8", "660f03c8", "0f020e", "0f030e", "0f00e0", "0f00e8", "0f0026", "0f002e",
            "8ed88b06", "8ed88906", "8ec0aa", "8ee0648806", "8ee8658b06", "8ed88cd8", "8ee00fa0",
        ),
    )
)  # fmt: skip
"""Loads of DS ES FS GS, LAR LSL VERR VERW, and what comes after a load; the selector is in AX and
at [ESI] and [ESP]. Not SS, whose load holds the oracle's trap back."""

SELECTORS = [0, *(n for n in range(4, 19 * 8) if n & ~7 != 0x78), 0x7F, 0xFFF8, 0xFFFF]
"""All of GDT and LDT but one, whose limit is the number of the host's processor, and but null
selectors with an RPL, which the kernel's return to the helper has made 0 (SDM volume 2, IRET)."""


@pytest.mark.parametrize("engine", ENGINES)
def test_segment_loads(
    silicon: Silicon, executors: dict[str, Executor], record_property: Record, engine: str
) -> None:
    """Selectors of all kinds, given to instructions that the general test must leave out."""
    made = []
    for code in SEGMENT_CODE:
        for selector in SELECTORS:
            given = {"eax": 0xABCD0000 | selector, "ecx": 0x12345678, "esi": WINDOW.start}
            given |= {"esp": WINDOW.start + 0x80, "edi": WINDOW.start}
            memory = selector.to_bytes(2, "little") * 64
            made.append((code.hex(), Case(code, given, memory=memory, limit=2)))
    result = compare(silicon, executors[engine], made)
    record_property("measured", str(result).splitlines()[0])
    assert not result.differing and not result.lost and not result.refused, str(result)


@pytest.fixture(scope="session")
def short_forms(forms: cases.Forms) -> list[str]:
    """The forms that may stand in a sequence."""
    return sorted(f for f in forms.templates if NOT_IN_SEQUENCES.keys().isdisjoint(f.split()))


def sequence(forms: cases.Forms, names: list[str], seed: int) -> Case:
    """As many instructions of the forms named as a case can hold, half the registers pointers."""
    rng = random.Random(seed)
    code = forms.one(rng, names[0])[1]
    for name in names[1:]:
        follower = forms.one(rng, name)[1]
        code += follower if len(code + follower) <= 15 else b""
    case = cases.make_case(code, rng)
    pointers = {name: cases.target(rng) for name in case.registers if rng.random() < 0.5}
    return replace(case, registers={**case.registers, **pointers}, limit=cases.REP_LIMIT)


def test_sequences(
    silicon: Silicon, forms: cases.Forms, executors: dict[str, Executor], short_forms: list[str],
    record_property: Record,
) -> None:  # fmt: skip
    """Two to five instructions in a row, until one reads what another left undefined."""
    done: Counter[str] = Counter()

    @settings(
        max_examples=SEQUENCES, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(st.lists(st.sampled_from(short_forms), min_size=2, max_size=5), st.integers(0, 1 << 32))
    def check(names: list[str], seed: int) -> None:
        case = sequence(forms, names, seed)
        case = replace(case, limit=executors["reference"].defined(case))
        for name, executor in executors.items():
            result = compare(silicon, executor, [(" · ".join(names), case)])
            assert not result.differing and not result.lost, f"{name}: {result}"
            done[name] += sum(result.executed.values())

    check()
    record_property("measured", ", ".join(f"{n} sequences on {e}" for e, n in done.items()))
    assert min(done.values()) > 0.9 * SEQUENCES
