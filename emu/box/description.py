"""Boxes from a TOML file: a table for each, with the fields of `Box` spelled as options are."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

from emu import sizes
from emu.box.box import Box
from emu.errors import GuestFileError
from isa.hints import Any


def _size(value: object) -> int:
    found = sizes.parsed(str(value))
    if found is None:
        raise ValueError("is not a size; write 64M, 1G or a number of bytes")
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("is not a list of texts")
    return tuple(_text(item) for item in value)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("is not a number")
    return value


def _yes(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _table(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("is not a table of texts")
    return {name: _text(item) for name, item in value.items()}


FIELDS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "program": ("program", _text),
    "arguments": ("arguments", _texts),
    "root": ("root", _text),
    "writable": ("writable", _yes),
    "net": ("net", _yes),
    "hostname": ("host_name", _text),
    "memory": ("memory", _size),
    "instructions": ("instructions", _number),
    "processes": ("processes", _number),
    "files": ("files", _number),
    "storage": ("storage", _size),
    "share": ("share", _number),
    "env": ("environment", _table),
    "cwd": ("cwd", _text),
    "seed": ("seed", _number),
    "engine": ("engine", _text),
    "cpu": ("cpu", _text),
}


def read_boxes(path: Path) -> list[Box]:
    """The boxes of a file. Raises GuestFileError with the box and the field."""
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise GuestFileError(
            f"{path} describes no boxes", why=str(error), advice="See emu/box/README.md"
        ) from None
    if not tables:
        raise GuestFileError(f"{path} describes no boxes", advice="Write a table for each: [name]")
    return [_box(path, name, table) for name, table in tables.items()]


def _box(path: Path, name: str, table: object) -> Box:
    where = f"{path}, [{name}]"
    if not isinstance(table, dict):
        raise GuestFileError(f"{name!r} is not a table", where=where, advice=f"Write [{name}]")
    unknown = sorted(set(table) - set(FIELDS))
    if unknown or "program" not in table:
        what = f"There is no field {unknown[0]!r}" if unknown else "It has no program"
        raise GuestFileError(what, where=where, advice=f"Fields are {', '.join(FIELDS)}")
    chosen: dict[str, Any] = {}
    for key, value in table.items():
        field, read = FIELDS[key]
        try:
            chosen[field] = read(value)
        except ValueError as error:
            raise GuestFileError(f"{key} = {value!r} {error}", where=where) from None
    root = chosen.pop("root", None)
    return Box(name, root=root and path.parent / root, **chosen)
