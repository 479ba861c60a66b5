"""Named tuples whose classes are made in a fifth of the time that `typing.NamedTuple` takes.

That compiles a constructor for each class when it is defined, and parses annotations that nobody
asks for: for the sixty records of a run of a few milliseconds, a tenth of the run. Here a
constructor is compiled when a few objects have been made. Otherwise the same, for readers and for
mypy.
"""

from __future__ import annotations

from isa.hints import TYPE_CHECKING, Any, Iterable

FEW = 8  # objects of a class, which take less time together than to compile a constructor

if TYPE_CHECKING:
    from typing import NamedTuple, Self
else:
    from _collections import _tuplegetter

    class _Record(tuple):
        """What all records have in common."""

        __slots__ = ()

        def __new__(cls, /, *values: Any, **named: Any) -> Self:
            """The first objects of a class: those after them find a constructor of its own."""
            owner = next(base for base in cls.__mro__ if "_fields" in base.__dict__)
            owner._made += 1
            rest, known = owner._fields[len(values) :], owner._field_defaults | named
            whole = len(values) + len(rest) == len(owner._fields) and known.keys() >= set(rest)
            if owner._made <= FEW and whole and named.keys() <= set(rest):
                return tuple.__new__(cls, (*values, *[known[name] for name in rest]))
            owner.__new__ = staticmethod(_constructor(owner))
            return owner.__new__(cls, *values, **named)

        @classmethod
        def _make(cls, values: Iterable[Any]) -> Self:
            """A record of as many values as there are fields."""
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **changes: Any) -> Self:
            """The same but for the fields that are named."""
            made = self._make(map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"Got unexpected field names: {list(changes)!r}")
            return made

        def _asdict(self) -> dict[str, Any]:
            """Values by field."""
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            values = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({values})"

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

    def _constructor(owner: type[_Record]) -> Any:
        """`__new__` of a class: its parameters are the fields."""
        names = "".join(f"{name}, " for name in owner._fields)
        made = eval(f"lambda _cls, {names}: _new(_cls, ({names}))", {"_new": tuple.__new__})
        made.__name__, made.__qualname__ = "__new__", f"{owner.__qualname__}.__new__"
        made.__defaults__ = tuple(owner._field_defaults.values())
        return made

    class _RecordType(type):
        """Makes a class that is a plain `type` of what is written under `class …(NamedTuple)`."""

        def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
            fields = tuple(namespace.get("__annotations__", ()))
            defaults = {field: namespace[field] for field in fields if field in namespace}
            if tuple(defaults) != fields[len(fields) - len(defaults) :]:
                raise TypeError(f"{name}: a field without a default stands behind one that has one")
            for index, field in enumerate(fields):
                namespace[field] = _tuplegetter(index, f"Field {index}")
            namespace |= {"_fields": fields, "_field_defaults": defaults, "__match_args__": fields}
            namespace["_made"] = 0
            namespace.setdefault("__slots__", ())
            return type(name, (_Record,), namespace)

    NamedTuple = type.__new__(_RecordType, "NamedTuple", (), {})

__all__ = ["NamedTuple"]
