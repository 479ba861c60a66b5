"""Generated kernels and programs under every monitor of the PC, in lock-step with the bare PC."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emu.engines.native.engine import Native
from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.engines.stepper import Stepper
from tests.machines import NO_CACHE
from vmm.pc import translated
from vmm.pc.systems.generator import PASSES, Activity, Step, System, generate, image
from vmm.pc.systems.laboratory import CURES, Bench, Laboratory, new_bare
from vmm.pc.systems.shrink import shrink
from vmm.pc.systems.templates import TEMPLATES, assembled, drawn

ENGINES = {"python": Python, "native": lambda: Native(cache=NO_CACHE)}
FIXED = 5  # systems of the default suite
HEAVY = 3_000
CHUNKS = 6
few = settings(deadline=None, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 2**48)


@cache
def laboratory(engine: str) -> Laboratory:
    return Laboratory(ENGINES[engine])


def check(system: System, engine: str = "python") -> None:
    """No monitor may differ; if one does, the smallest system that shows it is told."""
    found = laboratory(engine).violation(system)
    if found is None:
        return
    lab = Laboratory(ENGINES[engine], [found.monitor])
    small = shrink(system, lambda s: lab.violation(s) is not None)
    pytest.fail(f"{found}\n{lab.explain(small, found.monitor)}\n{small}")


# -- equivalence ---------------------------------------------------------------------------------


WHERE_NOTHING_IS = [20692, "5 464", "2 1508", "0 220629"]  # write there, and are marked dirty


@pytest.mark.parametrize("seed", [*range(FIXED), *WHERE_NOTHING_IS])
def test_a_few_systems(seed: int | str) -> None:
    """Paging, interrupts, faults, self-modifying code, all rings, V86 and real mode, tasks."""
    check(generate(Random(seed)))


@pytest.mark.heavy
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_many_systems(chunk: int) -> None:
    """HEAVY systems that Hypothesis draws, under each cure."""

    @settings(few, max_examples=HEAVY // CHUNKS)
    @given(seed=SEEDS)
    def holds(seed: int) -> None:
        check(generate(Random(f"{chunk} {seed}")))

    holds()


@pytest.mark.heavy
@settings(few, max_examples=60)
@given(seed=SEEDS)
def test_systems_on_native_code(seed: int) -> None:
    check(generate(Random(seed)), "native")


@pytest.mark.parametrize("kind", ["user", "kernel"])
def test_an_entry_that_changes_without_invlpg(kind: str) -> None:
    """What the manual leaves open is decided as on the bare PC: by what was translated before."""
    texts = ("mov [{page}], eax", "xor dword ptr [{entry}], {bit}\nmov eax, [{page}]")
    steps = tuple(_step(text, page=0x13000, entry=0x204C, bit=0x7000) for text in texts)
    check(System((Activity("kernel", 2, steps), Activity(kind, 2, steps[:1]))))


def _step(text: str, **numbers: int) -> Step:
    """The template that begins so."""
    head = text.split("\n")[0]
    template = next(t for t in TEMPLATES if t.bits == 32 and head in t.text)
    names = [name for name in template.holes if not name.endswith("_page")]
    return Step(template, tuple((name, numbers[name]) for name in names))


# -- what is generated ---------------------------------------------------------------------------


def test_systems_are_of_all_kinds() -> None:
    """Every template occurs, and every way to enter an activity."""
    systems = [generate(Random(seed)) for seed in range(600)]
    activities = [activity for system in systems for activity in system.activities]
    assert {a.kind for a in activities} == {
        "kernel", "user", "ring 1", "v86", "task", "called task", "real",
    }  # fmt: skip
    assert {step.template for a in activities for step in a.steps} == set(TEMPLATES)
    assert len({image(system) for system in systems[:20]}) == 20


def test_templates_are_assembled_as_they_are_shown() -> None:
    """The holes of one are filled in where the assembler has put its numbers."""
    random = Random(1)
    for template in TEMPLATES:
        numbers = drawn(random, template.holes)
        code, places = assembled().codes[template]
        assert {name for _, name in places} == set(template.holes)
        filled = assembled().code(template, numbers)
        assert len(filled) == len(code)
        assert "{" not in template.shown(numbers)


def test_an_activity_is_entered_twice() -> None:
    """So that code which was looked at once is met again."""
    lab = Laboratory(monitors=["hybrid"])
    system = System((Activity("user", 0x202, ()),))
    user = [s for s in lab.note(system).states.values() if s[_cpl()] == 3]
    assert len(user) == PASSES


def _cpl() -> int:
    from isa.x86.registers import CPL

    return CPL.slot


# -- what is found is told -----------------------------------------------------------------------


def test_a_divergence_is_shrunk_and_told_as_assembly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor that lets everything run directly: the critical instruction is all that is left."""
    monkeypatch.setattr(translated, "kind", lambda *_: translated.IDENTICAL)
    lab = Laboratory(monitors=["translation"])
    pushes = next(t for t in TEMPLATES if t.text == "pushfd\npop eax")
    other = next(t for t in TEMPLATES if t.text == "nop" and t.bits == 32)
    kernel = Activity("kernel", 2, (Step(other), Step(pushes), Step(other)))
    system = System((Activity("user", 0x202, (Step(other),)), kernel), period=13)
    assert lab.violation(system) is not None
    small = shrink(system, lambda s: lab.violation(s) is not None)
    assert len(str(small)) < len(str(system))
    assert small.period == 0
    assert sum(len(a.steps) for a in small.activities) <= 2  # the kernel itself goes wrong too


def test_shrinking_keeps_what_is_wanted() -> None:
    system = generate(Random(3))
    wanted = system.activities[0].steps[0].template
    small = shrink(
        system, lambda s: any(t.template == wanted for a in s.activities for t in a.steps)
    )
    assert [len(a.steps) for a in small.activities] == [1]
    assert small == replace(System(small.activities))


def test_machines_are_set_back() -> None:
    """A system that was run after others is what it is on new machines."""
    used, system = laboratory("python"), generate(Random(7))
    check(generate(Random(8)))
    fresh = Laboratory(monitors=CURES)
    assert used.note(system).digest == fresh.note(system).digest
    assert fresh.violation(system) is None


@pytest.mark.heavy
def test_the_whole_machinery_agrees() -> None:
    """`first_divergence`, which makes machines anew, finds nothing either."""
    lab = Laboratory(monitors=[])
    assert lab.explain(generate(Random(5)), "translation") is None


def test_engines_agree_on_systems() -> None:
    """The bare machine that is compared with is no engine's own: the reference is the judge."""
    makers = (Reference, Stepper, Python)
    labs = [Laboratory(monitors=[], bare=Bench(new_bare(make()))) for make in makers]
    for seed in (2,):
        noted = [lab.note(generate(Random(seed)), 200) for lab in labs]
        assert all(other.digest == noted[0].digest for other in noted)
        assert all(other.states == noted[0].states for other in noted)
