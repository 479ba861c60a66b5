"""What is here instead of parts of the standard library does what they do."""

from __future__ import annotations

import contextlib
import functools
import gc
import weakref
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from isa import light


@pytest.fixture(params=["real", "ours"])
def tools(request: pytest.FixtureRequest) -> Any:
    if request.param == "ours":
        return light
    both = ModuleType("both")
    vars(both).update({**vars(functools), **vars(contextlib), **vars(weakref)})
    return both


def test_results_are_kept(tools: Any) -> None:
    asked = []

    @tools.cache
    def twice(number: int) -> int:
        """Two times a number."""
        asked.append(number)
        return 2 * number

    assert [twice(1), twice(1), twice(2)] == [2, 2, 4]
    assert asked == [1, 2]
    assert (twice.__name__, twice.__doc__) == ("twice", "Two times a number.")
    assert twice.__wrapped__(1) == 2
    assert tuple(twice.cache_info()) == (1, 2, None, 2)
    twice.cache_clear()
    twice(1)
    assert asked == [1, 2, 1, 1]


def test_only_so_many_results_are_kept(tools: Any) -> None:
    asked = []

    @tools.lru_cache(maxsize=1)
    def same(number: int) -> int:
        asked.append(number)
        return number

    assert [same(1), same(1), same(2), same(1)] == [1, 1, 2, 1]
    assert asked == [1, 2, 1]


def test_an_attribute_is_computed_once(tools: Any) -> None:
    class Thing:
        made = 0

        @tools.cached_property
        def value(self) -> int:
            """A value."""
            self.made += 1
            return self.made

    thing = Thing()
    assert [thing.value, thing.value] == [1, 1]
    del thing.value
    assert thing.value == 2
    thing.value = 7
    assert thing.value == 7
    assert Thing.value.__doc__ == "A value."


def test_exceptions_of_some_kinds_are_forgotten(tools: Any) -> None:
    with tools.suppress(KeyError, OSError):
        raise FileNotFoundError
    with tools.suppress(KeyError):
        pass
    with pytest.raises(ValueError, match="other"), tools.suppress(KeyError, OSError):
        raise ValueError("other")


def test_a_generator_stands_around_a_block(tools: Any) -> None:
    done: list[object] = []

    @tools.contextmanager
    def around(name: str) -> Iterator[str]:
        """Around."""
        done.append("before")
        try:
            yield name
        except KeyError:
            done.append("forgotten")
        finally:
            done.append("behind")

    with around("name") as given:
        done.append(given)
    with around(name="name"):
        raise KeyError
    error = ValueError()
    with pytest.raises(ValueError) as told, around(""):
        raise error
    assert told.value is error
    whole = ["before", "name", "behind"]
    assert done == [*whole, "before", "forgotten", "behind", "before", "behind"]
    assert (around.__name__, around.__doc__) == ("around", "Around.")


def test_what_a_generator_raises_leaves_the_block(tools: Any) -> None:
    @tools.contextmanager
    def around() -> Iterator[None]:
        try:
            yield
        except KeyError as error:
            raise OSError("instead") from error

    with pytest.raises(OSError, match="instead") as told, around():
        raise KeyError
    assert isinstance(told.value.__cause__, KeyError)


@pytest.mark.parametrize("raises", [False, True])
def test_a_generator_has_one_value(tools: Any, raises: bool) -> None:
    @tools.contextmanager
    def around() -> Iterator[None]:
        with contextlib.suppress(KeyError):
            yield
        yield

    with pytest.raises(RuntimeError, match="didn't stop"), around():
        if raises:
            raise KeyError


def test_a_block_that_ends_an_iteration_does(tools: Any) -> None:
    @tools.contextmanager
    def around() -> Iterator[None]:
        yield

    stop = StopIteration("of the block")
    with pytest.raises(StopIteration) as told, around():
        raise stop
    assert told.value is stop


def test_a_weak_set_has_things_as_long_as_they_are_there(tools: Any) -> None:
    class Thing:
        pass

    known, things = tools.WeakSet(), [Thing() for _ in range(3)]
    for thing in (*things, things[0]):
        known.add(thing)
    assert sorted(map(id, known)) == sorted(map(id, things))
    seen = iter(known)  # while things go
    del things[1], thing
    gc.collect()
    assert sum(one is not None for one in seen) >= 2
    assert sorted(map(id, known)) == sorted(map(id, things))
    del seen
    things.clear()
    gc.collect()
    assert not list(known)
