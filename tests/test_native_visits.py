"""Regions that are left soon are given up, in later runs too; those that pay stay."""

from __future__ import annotations

import pytest
from machines import CODE, NO_CACHE, agrees

from emu.engines.native import engine as engine_module
from emu.engines.native import regions as regions_module
from emu.engines.native import visits as visits_module
from emu.engines.native.build import RegionBuilder
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native

TIMES = 600
NEVER = (1 << 31) - 1
THUNK, INNER = CODE + 0x20, CODE + 11
# mov ecx, TIMES; call THUNK, three times; dec ecx; jnz to the first; int 0x80; mov ebx, [esp]; ret
CALLS = bytes.fromhex(
    "b958020000 e816000000 e811000000 e80c000000 49 75ee cd80" + "cc" * 7 + "8b1c24 c3"
)
# nop; mov edx, TIMES; mov ecx, 50; INNER: add eax, ecx; dec ecx; jnz INNER; dec edx; jnz; int 0x80
LOOPS = bytes.fromhex("90 ba58020000 b932000000 01c8 49 75fb 4a 75f3 cd80")


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Judge after so few instructions and visits that a test need not be long."""
    monkeypatch.setattr(engine_module, "JUDGE", 500)
    monkeypatch.setattr(engine_module, "SLICE", 2_000)
    monkeypatch.setattr(visits_module, "ENOUGH", 100)
    monkeypatch.setattr(regions_module, "DOUBT", 1 << 20)


def run(program, cache=None, **options):
    """The regions of a session that has run a program as the reference engine does."""
    engine = Native(wait=True, cache=cache or NO_CACHE, **({"hot": 50, "stitch": NEVER} | options))
    state = agrees(program, engine)
    session = engine._session_of(state)
    session.tier1.keep()
    return session.regions


@pytest.fixture
def compiled(monkeypatch):
    """How often a region was compiled from THUNK or INNER, as a list; no other block gets one."""
    found = []
    compile_region = RegionBuilder.compile

    def note(builder, compiler):
        if builder.head not in (THUNK, INNER):
            return None
        found.append(builder.head)
        return compile_region(builder, compiler)

    monkeypatch.setattr(RegionBuilder, "compile", note)
    return found


@pytest.mark.usefixtures("compiled")
def test_what_is_left_soon_is_given_up():
    regions = run(CALLS)
    assert THUNK in regions.given_up
    assert THUNK not in regions.served


@pytest.mark.usefixtures("compiled")
def test_what_stays_inside_pays(monkeypatch):
    monkeypatch.setattr(RegionBuilder, "_following", lambda builder, planned: {INNER})
    regions = run(LOOPS)
    visits, instructions = regions.visits.of(INNER)
    assert visits > TIMES / 2
    assert 3 * 30 <= instructions / visits <= 3 * 50  # samples end some
    assert not regions.given_up
    assert INNER in regions.served


@pytest.mark.usefixtures("compiled")
def test_few_visits_tell_nothing(monkeypatch):
    """One thunk is two instructions."""
    monkeypatch.setattr(visits_module, "ENOUGH", 1 << 30)
    regions = run(CALLS)
    visits, instructions = regions.visits.of(THUNK)
    assert visits > TIMES
    assert 1.9 * visits <= instructions <= 2 * visits  # samples end some before they do anything
    assert THUNK in regions.served


def test_later_runs_know_what_did_not_pay(compiled, tmp_path):
    """They compile nothing of it."""
    cache = DiskCache(tmp_path)
    run(CALLS, cache)
    assert compiled == [THUNK]
    regions = run(CALLS, cache)
    assert compiled == [THUNK]
    assert THUNK in regions.given_up
    assert THUNK not in {place.pc for place in regions.warmth._all()}


def test_a_second_chance_takes_more_entries(compiled, monkeypatch):
    """The block is judged again, as it still does not pay."""
    monkeypatch.setattr(regions_module, "DOUBT", 3)
    regions = run(CALLS)
    assert len(compiled) > 1
    assert THUNK in regions.given_up


@pytest.mark.parametrize("until", [*range(4_000, 4_010), 6_600])
def test_counts_are_exact_where_a_region_is_given_up(until):
    engine = Native(wait=True, cache=NO_CACHE, hot=50, stitch=NEVER)
    assert agrees(CALLS, engine, until=until).count == until
