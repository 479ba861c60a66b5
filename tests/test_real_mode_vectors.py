"""Real-address mode against what an 80286 and an 8086 of silicon have done.

By default a few vectors of each form; `heavy` all of them, on compiling engines a part of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from emu.engines import Engine
from emu.engines.native.engine import Native
from emu.engines.native.layout import QUICK
from emu.engines.python import Python
from emu.engines.reference import Reference
from tests.machines import NO_CACHE
from tests.vectors import FOLDERS, Bench, Vector, forms, vectors

MODELS = tuple(FOLDERS)
FEW = 2  # vectors of each form that everybody runs
BATCH = 100


@dataclass(frozen=True)
class Divergence:
    """Vectors that differ, and why: all of some forms that end in an exception, or those told.

    `registers` are what differs (nothing told: anything); isa/DIVERGENCES.md has the same.
    """

    why: str
    model: str
    forms: tuple[str, ...]
    registers: tuple[str, ...] = ()
    exception: int | None = None
    numbers: tuple[int, ...] = ()

    def holds(self, vector: Vector) -> bool:
        """Whether the vector is one of them."""
        if vector.form not in self.forms:
            return False
        if self.numbers:
            return vector.number in self.numbers
        return vector.exception == self.exception


DIVERGENCES = (
    Divergence(
        "a 286 has moved SI, DI and CX before it finds that a word is beyond the segment",
        "286", ("6D", "6F", "A5", "A7", "AB", "AD", "AF"), ("si", "di", "cx"), exception=13,
    ),
    Divergence(
        "a 286 has moved SP before POP finds that its destination is beyond the segment",
        "286", ("8F",), exception=13,
    ),
    Divergence(
        "a 286 once finds the quotient 80h where it is too large", "286", ("F6.7",), numbers=(2653,)
    ),
    Divergence(
        "a 286 once pushes SS instead of CS after an invalid opcode", "286", ("FF.3",),
        numbers=(1141,),
    ),
    Divergence("code goes on behind offset FFFFh, not at 0", "8086", ("80.6",), numbers=(1311,)),
    Divergence("code goes on behind offset FFFFh, not at 0", "8086", ("B7",), numbers=(658,)),
)  # fmt: skip


def known(model: str, vector: Vector) -> Divergence | None:
    """The divergence to which a vector belongs."""
    return next((d for d in DIVERGENCES if d.model == model and d.holds(vector)), None)


def differences(
    model: str, engine: Callable[[], Engine], most: int | None, every: int = 1
) -> Iterator[str]:
    """What an engine does otherwise, in every so manieth vector of the first ones of each form."""
    shared = engine()
    for number, form in enumerate(forms(model)):
        for some in batched(list(vectors(model, form, most))[number % every :: every]):
            bench = Bench(model, shared)
            for vector in some:
                divergence = known(model, vector)
                if divergence is None or divergence.registers:
                    found = bench.difference(vector, divergence.registers if divergence else ())
                    if found:
                        yield found
            if not bench.is_clean:
                yield f"{form}: memory was written that no vector names"


def batched(found: list[Vector]) -> Iterator[list[Vector]]:
    """As many as one bench does: engines remember each CS base that they have seen."""
    for start in range(0, len(found), BATCH):
        yield found[start : start + BATCH]


def check(model: str, engine: Callable[[], Engine], most: int | None, every: int = 1) -> None:
    """Assert that there is no difference but those known."""
    found = list(differences(model, engine, most, every))
    assert not found, f"{len(found)} differences:\n" + "\n".join(found[:20])


@pytest.mark.parametrize("engine", [Reference, Python], ids=["reference", "python"])
@pytest.mark.parametrize("model", MODELS)
def test_some_vectors_of_each_form(model: str, engine: Callable[[], Engine]) -> None:
    """A few vectors of each form end as they did on the processor."""
    check(model, engine, FEW)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("engine", "every"),
    [
        pytest.param(Reference, 1, id="reference"),
        pytest.param(lambda: Python(hot=1 << 60), 1, id="python-cold"),
        pytest.param(lambda: Python(hot=0), 40, id="python-hot"),
        pytest.param(lambda: Native(hot=1 << 30, wait=True, cache=NO_CACHE), 1, id="native-tier1"),
        pytest.param(
            lambda: Native(hot=0, wait=True, level=QUICK, cache=NO_CACHE),
            200,
            id="native-hurried",
        ),
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_vectors(model: str, engine: Callable[[], Engine], every: int) -> None:
    """Every vector (where code is compiled for each, every so manieth) ends as it did."""
    check(model, engine, None, every)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="see isa/DIVERGENCES.md")
@pytest.mark.parametrize("divergence", DIVERGENCES, ids=lambda d: f"{d.model} {d.forms[0]}")
def test_divergences(divergence: Divergence) -> None:
    """What is known to differ still does."""
    bench = Bench(divergence.model, Reference())
    found = [
        bench.difference(vector)
        for form in divergence.forms
        for vector in vectors(divergence.model, form)
        if divergence.holds(vector)
    ]
    assert not any(found)
