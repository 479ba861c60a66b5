"""Silicon judges the x87: every form, with states, control words and memory that bite."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.python import Python
from tests.silicon import cases
from tests.silicon.compare import check, compare, compare_forms
from tests.silicon.executor import Executor, form_of
from tests.silicon.native import Case, Fpu, Silicon
from tests.silicon.needed import needed_silicon

pytestmark = pytest.mark.heavy  # needs a compiler

SAMPLE, MANY = 600, 22_000


def x87_form(code: bytes) -> str | None:
    """The form of an x87 instruction."""
    return form_of(code) if code.lstrip(cases.LEGACY_PREFIXES)[0] in cases.ESCAPES else None


@pytest.fixture(scope="module")
def silicon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silicon]:
    with needed_silicon(tmp_path_factory.mktemp("silicon")) as built:
        yield built


@pytest.fixture(scope="module")
def forms() -> cases.Forms:
    return cases.Forms(x87_form, prefixes=(b"", b"\x66"))


def test_a_sample(silicon: Silicon, forms: cases.Forms) -> None:
    """Each form a few times."""
    check(compare_forms(silicon, Executor(low=silicon.low), forms, SAMPLE, seed="sample"))


def test_many(
    silicon: Silicon, forms: cases.Forms, record_property: Callable[[str, object], None]
) -> None:
    """A hundred of each form on the reference engine."""
    result = compare_forms(silicon, Executor(low=silicon.low), forms, MANY, seed="many")
    record_property("measured", str(result).splitlines()[0])
    check(result)


@pytest.mark.parametrize("name", ["python", "native"])
def test_other_engines(silicon: Silicon, forms: cases.Forms, name: str) -> None:
    """The same on the engines that translate."""
    handlers = Native(hot=1 << 30, wait=True, cache=DiskCache(None))
    engine = handlers if name == "native" else Python(hot=1 << 60)
    executor = Executor(engine, low=silicon.low)
    check(compare_forms(silicon, executor, forms, MANY // 10, seed=name))


def test_zero_divide_is_graver_than_a_denormal_operand(silicon: Silicon) -> None:
    """SDM volume 1, section 4.9.2: only the graver exception is told."""
    small = 0x1234
    made = [
        (code, Case(bytes.fromhex(code), {}, fpu=Fpu(0x340 | masks, 0, 0xFF, stack)))
        for code in ("def1", "d8f1", "def9", "d9fa", "d9f4")
        for stack in ((small, *(0,) * 7), (0, small, *(0,) * 6), (small, small, *(0,) * 6))
        for masks in (0x3F, 0x3D, 0x3B, 0x39, 0x2F, 0)
    ]
    check(compare(silicon, Executor(low=silicon.low), made))


def test_pending_exceptions(silicon: Silicon, forms: cases.Forms) -> None:
    """#MF comes before whatever else an instruction does, but not before those that do not wait."""
    made = []
    for form, code in forms.draw(random.Random(1), len(forms.templates)):
        case = cases.make_case(code, random.Random(2))
        fpu = replace(case.fpu, control=0x340, status=0x8081)
        made.append((form, replace(case, fpu=fpu)))
    check(compare(silicon, Executor(low=silicon.low), made))


ALIASES = tuple(
    bytes([escape, 0xC0 | reg << 3 | number])
    for escape, reg in ((0xD9, 3), (0xDC, 2), (0xDC, 3), (0xDD, 1), (0xDE, 2), (0xDF, 1), (0xDF, 2),
                        (0xDF, 3))
    for number in range(8)
)  # fmt: skip
"""What the manual leaves out."""


def test_undocumented_encodings(silicon: Silicon) -> None:
    """FST, FCOM and FXCH once more, and FSTPNCE."""
    rng = random.Random(3)
    made = [(code.hex(), cases.make_case(code, rng)) for code in ALIASES * 8]
    check(compare(silicon, Executor(low=silicon.low), made))
