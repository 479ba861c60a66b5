"""What a run of a few milliseconds asks of modules that take a tenth of it to import: `functools`,
`contextlib`, `collections`, `operator`, `types` and `weakref`.

What they have of C is there without them, and the rest does here what it does there, for readers
and for mypy, too.
"""

from __future__ import annotations

from isa.hints import TYPE_CHECKING, Any, Callable, Generator, Iterator

if TYPE_CHECKING:
    from collections import OrderedDict, defaultdict, deque
    from contextlib import contextmanager, suppress
    from functools import cache, cached_property, lru_cache, partial
    from operator import attrgetter
    from types import FunctionType, MappingProxyType
    from weakref import WeakSet
else:
    from _collections import OrderedDict, defaultdict, deque
    from _functools import _lru_cache_wrapper, partial
    from _operator import attrgetter
    from _weakref import ref

    FunctionType, MappingProxyType = type(lambda: None), type(type.__dict__)

    def _as(function: Callable, made: Any) -> Any:
        """Let what was made of a function look like it."""
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(made, name, getattr(function, name))
        made.__wrapped__ = function
        return made

    def lru_cache(maxsize: int | None) -> Callable:
        """Keep the last results of a function; `cache_info` is a plain tuple."""
        return lambda function: _as(
            function, _lru_cache_wrapper(function, maxsize, False, lambda *facts: facts)
        )

    cache = lru_cache(None)

    class cached_property:  # noqa: N801
        """An attribute that is computed when it is asked for first."""

        def __init__(self, function: Callable) -> None:
            self.func, self.__doc__ = function, function.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self.attrname = name

        def __get__(self, thing: Any, owner: type | None = None) -> Any:
            if thing is None:
                return self
            found = vars(thing)[self.attrname] = self.func(thing)
            return found

    class WeakSet:
        """Things, as long as somebody else keeps them."""

        def __init__(self) -> None:
            self._known: dict[int, ref] = {}

        def add(self, thing: Any) -> None:
            """One more."""
            number = id(thing)  # nobody else's while the thing is there
            self._known[number] = ref(thing, lambda _: self._known.pop(number, None))

        def __iter__(self) -> Iterator[Any]:
            found = [known() for known in list(self._known.values())]
            return (thing for thing in found if thing is not None)

    class suppress:  # noqa: N801
        """Let exceptions of some kinds end a block, and nothing else."""

        def __init__(self, *kinds: type[BaseException]) -> None:
            self._kinds = kinds

        def __enter__(self) -> None: ...

        def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
            return kind is not None and issubclass(kind, self._kinds)

    class _Context:
        """A block between the two parts of a generator."""

        def __init__(self, parts: Generator) -> None:
            self._parts = parts

        def __enter__(self) -> Any:
            return next(self._parts)

        def __exit__(self, kind: object, raised: BaseException | None, *_: object) -> bool:
            try:
                next(self._parts) if raised is None else self._parts.throw(raised)
            except StopIteration as end:
                return raised is not None and end is not raised
            except BaseException as other:
                ends = isinstance(raised, StopIteration) and other.__cause__ is raised
                if other is raised or ends:  # which Python makes another one of, in a generator
                    return False
                raise
            raise RuntimeError("generator didn't stop")

    def contextmanager(function: Callable) -> Callable:
        """A generator of one value as what stands around a block."""
        return _as(function, lambda *args, **named: _Context(function(*args, **named)))


__all__ = [
    "FunctionType", "MappingProxyType", "OrderedDict", "WeakSet", "attrgetter", "cache",
    "cached_property", "contextmanager", "defaultdict", "deque", "lru_cache", "partial", "suppress",
]  # fmt: skip
