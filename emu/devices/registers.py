"""A chip's registers, a dataclass of plain values, to and from a snapshot."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass

from isa.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def save(registers: DataclassInstance) -> dict[str, object]:
    """A copy of all registers, nested ones too."""
    return asdict(registers)


def restore(registers: DataclassInstance, saved: Mapping[str, Any]) -> None:
    """Set all registers in place.

    Raises ValueError if `saved` is not a snapshot of such registers.
    """
    names = [field.name for field in fields(registers)]
    if sorted(saved) != sorted(names):
        raise ValueError(f"this is no snapshot of {type(registers).__qualname__}: {sorted(saved)}")
    for name in names:
        _restore_one(registers, name, saved[name])


def _restore_one(registers: DataclassInstance, name: str, value: Any) -> None:
    current = getattr(registers, name)
    if is_dataclass(current) and not isinstance(current, type):
        restore(current, value)
    elif isinstance(current, list) and current and is_dataclass(current[0]):
        for part, one in zip(current, value, strict=True):
            restore(part, one)
    else:
        setattr(registers, name, copy.deepcopy(value))
