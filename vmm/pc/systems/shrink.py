"""A smaller system with the same property: what a divergence needs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from vmm.pc.systems.generator import System

Wanted = Callable[[System], bool]


def shrink(system: System, wanted: Wanted) -> System:
    """Leave out activities, then steps, then options, as long as it stays `wanted`."""
    while True:
        smaller = next((s for s in _smaller(system) if wanted(s)), None)
        if smaller is None:
            return system
        system = smaller


def _smaller(system: System) -> Iterator[System]:
    activities = system.activities
    for size in (len(activities) // 2, 1):
        for first in range(0, len(activities) if size else 0, size or 1):
            rest = (*activities[:first], *activities[first + size :])
            yield replace(system, activities=rest)
    for number, activity in enumerate(activities):
        for size in sorted({len(activity.steps) // 2, 1} - {0}, reverse=True):
            for first in range(0, len(activity.steps), size):
                steps = (*activity.steps[:first], *activity.steps[first + size :])
                changed = replace(activity, steps=steps)
                yield replace(
                    system, activities=(*activities[:number], changed, *activities[number + 1 :])
                )
    yield from _plainer(system)


def _plainer(system: System) -> Iterator[System]:
    for option in fields(System):
        if option.name != "activities" and getattr(system, option.name) != option.default:
            plain: dict[str, Any] = {option.name: option.default}
            yield replace(system, **plain)
