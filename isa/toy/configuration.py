"""Configurations: which instructions a toy machine has and what each does in user mode (TOML).

    title = "…"                     what the machine is
    source = "…"                    where it comes from
    extends = "toy/clean"           a shipped name, or a path ending in .toml beside this file
    instructions = ["JRST1"]        added to those of the configuration it extends
    without = ["MUL"]               taken away from them
    [machine]                       words, granule, word, modes, unmapped: see isa.toy.shape
    [registers]                     NAME = { width = 3, role = "resource", doc = "…" }
    [user]                          NAME = "executes" | "traps" | "ignored" | "partly"

An instruction that `[user]` does not name does what its own row in the table says. A register's
width is a number of bits or "word"; its role is "general" or "flag" (part of a program's data) or
"resource" (shared: masks, system registers). `ipl` and `masked` hold interrupts back.
"""

from __future__ import annotations

import difflib
import errno
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from isa.hints import Any
from isa.registers import Role
from isa.toy.registers import Declaration, ToyRegisters
from isa.toy.shape import Shape
from isa.toy.table import INSTRUCTIONS, Behaviour

LARGEST_FILE = 1 << 16
NARROWEST_WORD = 20  # of any machine: opcode, two registers, and one more
_MACHINE: dict[str, type] = {
    "words": int,
    "granule": int,
    "word": int,
    "modes": int,
    "unmapped": bool,
}
_REGISTER: dict[str, type] = {"width": int, "role": str, "doc": str}
_ROLES = {r.value: r for r in (Role.GENERAL, Role.FLAG, Role.RESOURCE)}
_KEYS: dict[str, type] = {
    "title": str,
    "source": str,
    "extends": str,
    "instructions": list,
    "without": list,
    "machine": dict,
    "registers": dict,
    "user": dict,
}
_TYPE_NAMES = {
    str: "a text",
    list: "a list",
    dict: "a table",
    int: "a whole number",
    bool: "true or false",
}


class ConfigurationError(Exception):
    """A configuration cannot be used: the text says which file and line, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A checked configuration; `behaviours` has every instruction that exists, in table order."""

    name: str
    title: str
    source: str
    shape: Shape
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    registers: tuple[Declaration, ...] = ()

    @staticmethod
    def load(name: str | Path) -> Configuration:
        """Load a shipped configuration by name ("toy/clean") or any by path; ConfigurationError."""
        layers = _layers(str(name))
        return _combine(layers)

    @staticmethod
    def names() -> list[str]:
        """The shipped configurations."""
        folder = resources.files("isa") / "configs" / "toy"
        found = (f.name for f in folder.iterdir() if f.name.endswith(".toml"))
        return sorted("toy/" + f.removesuffix(".toml") for f in found)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One file: its display name, its text (to find lines in), and its contents."""

    file: str
    path: Path | None
    text: str
    data: dict[str, Any]

    def error(self, what: str, key: str | None = None) -> ConfigurationError:
        line = None if key is None else _line_of(self.text, key)
        return ConfigurationError(f"{self.file}{f':{line}' if line else ''}: {what}")


def _line_of(text: str, key: str) -> int | None:
    """The line that says `key` as a key or a value, counted from 1."""
    word = re.compile(rf'(^|[\s\["\'.,{{]){re.escape(key)}(?=[\s\]"\'=.,])')
    for number, line in enumerate(text.splitlines(), 1):
        if word.search(line.split("#")[0] + " "):
            return number
    return None


# -- reading files ------------------------------------------------------------------------------


def _layers(name: str) -> list[_Layer]:
    """The named configuration and those it extends, the most basic one first."""
    layers: list[_Layer] = []
    beside: Path | None = None
    while True:
        layer = _read(name, beside, layers[-1] if layers else None)
        layers.append(layer)
        if any(layer.file == earlier.file for earlier in layers[:-1]):
            chain = " extends ".join(part.file for part in layers)
            raise layers[0].error(f"{chain}: it extends itself; remove one `extends`", "extends")
        _check_keys(layer)
        if "extends" not in layer.data:
            return layers[::-1]
        name = layer.data["extends"]
        beside = None if layer.path is None else layer.path.parent


def _read(name: str, beside: Path | None, extending: _Layer | None) -> _Layer:
    path = _path(name, beside)
    file = f"{name}.toml" if path is None else str(path)
    try:
        with _source(name, path).open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        reason = error.strerror
        known = ", ".join(Configuration.names())
        message = f"{name}: {reason}; shipped are {known}, others are given as a path to a .toml"
        if extending is None:
            raise ConfigurationError(message) from None
        raise extending.error(f"extends {message}", "extends") from None
    text = _text(file, data)
    return _Layer(file, path, text, _parse(file, text))


def _source(name: str, path: Path | None) -> Traversable:
    if path is not None:
        return path
    if name not in Configuration.names():
        raise OSError(errno.ENOENT, "there is no such configuration")
    return resources.files("isa") / "configs" / f"{name}.toml"


def _path(name: str, beside: Path | None) -> Path | None:
    """The file that a name means, or None if it is the name of a shipped configuration."""
    if not name.endswith(".toml") or "\0" in name:
        return None
    path = Path(name)
    return (path if beside is None else beside / path).resolve()


def _text(file: str, data: bytes) -> str:
    if len(data) > LARGEST_FILE:
        raise ConfigurationError(
            f"{file}: more than {LARGEST_FILE} bytes are no configuration; give the right file"
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{file}:{line}: not a text in UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None


def _parse(file: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a TOMLDecodeError, or too many digits
        found = re.search(r"\(at line (\d+)", str(error))
        line = found[1] if found else len(text.splitlines())
        raise ConfigurationError(f"{file}:{line}: not TOML: {error}") from None


# -- checking -----------------------------------------------------------------------------------


def _check_keys(layer: _Layer) -> None:
    for key, value in layer.data.items():
        if key not in _KEYS:
            raise layer.error(f"unknown key {key!r}{_advice(key, _KEYS)}", key)
        _check_type(layer, key, value, _KEYS[key])
    for key in ("instructions", "without"):
        for name in layer.data.get(key, ()):
            _check_type(layer, f"an element of {key}", name, str)
            _check_instruction(layer, name)
    for key, value in layer.data.get("machine", {}).items():
        if key not in _MACHINE:
            raise layer.error(f"unknown key {key!r} in [machine]{_advice(key, _MACHINE)}", key)
        _check_type(layer, key, value, _MACHINE[key])
        if not isinstance(value, bool) and not 0 < value < 1 << 32:
            raise layer.error(f"{key} must be a number from 1 to {2**32 - 1}", key)
    for name, declared in layer.data.get("registers", {}).items():
        _check_register(layer, name, declared)
    for name, behaviour in layer.data.get("user", {}).items():
        _check_instruction(layer, name)
        _check_behaviour(layer, name, behaviour)


def _check_register(layer: _Layer, name: str, declared: object) -> None:
    _check_type(layer, name, declared, dict)
    assert isinstance(declared, dict)
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,15}", name) or name in ToyRegisters(Shape()):
        raise layer.error(
            f"{_shortened(name)} cannot be a register's name; choose one of at most 16 small "
            "letters, digits and _ that the clean machine does not have",
            name,
        )
    for key, value in declared.items():
        if key not in _REGISTER:
            raise layer.error(f"{name}: unknown key {key!r}{_advice(key, _REGISTER)}", name)
        if (key, value) != ("width", "word"):
            _check_type(layer, key, value, _REGISTER[key])
    role, width = declared.get("role"), declared.get("width")
    roles = ", ".join(_ROLES)
    if role is None:
        raise layer.error(f"register {name} has no role; say role = one of {roles}", name)
    if role not in _ROLES:
        known = f"{_advice(role, _ROLES)}"
        raise layer.error(f"register {name}: unknown role {_shortened(role)}{known}", name)
    if width != "word" and not 0 < (width or 0) <= NARROWEST_WORD:
        wanted = f'width = 1 to {NARROWEST_WORD}, or "word"'
        raise layer.error(f"register {name} has no width a word holds; say {wanted}", name)


def _check_type(layer: _Layer, key: str, value: object, wanted: type) -> None:
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise layer.error(f"{key} must be {_TYPE_NAMES[wanted]}, not {_shortened(value)}", key)


def _check_instruction(layer: _Layer, name: str) -> None:
    if name not in INSTRUCTIONS:
        advice = _advice(name, INSTRUCTIONS)
        raise layer.error(f"unknown instruction {_shortened(name)}{advice}", name)


def _check_behaviour(layer: _Layer, name: str, value: object) -> None:
    known = [b.value for b in Behaviour]
    if value not in known:
        advice = _advice(str(value), known)
        raise layer.error(f"{name}: unknown behaviour {_shortened(value)}{advice}", name)
    if value == Behaviour.PARTLY.value and INSTRUCTIONS[name].user_meaning is None:
        partial = ", ".join(r.name for r in INSTRUCTIONS.values() if r.user_meaning)
        raise layer.error(
            f'{name}: "partly" needs a meaning of its own in user mode, which only {partial} has; '
            'choose "executes", "traps" or "ignored", or write one with `@….partly`',
            name,
        )


def _advice(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, 1) or difflib.get_close_matches(
        word.upper(), known, 1
    )
    if close:
        return f"; did you mean {close[0]!r}?"
    known = list(known)
    return f"; known are {', '.join(known)}" if len(known) < 12 else "; see isa/toy for the table"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"


# -- combining ----------------------------------------------------------------------------------


def _combine(layers: list[_Layer]) -> Configuration:
    sizes: dict[str, Any] = {}
    chosen: dict[str, Behaviour] = {}
    registers: dict[str, Declaration] = {}
    for layer in layers:
        sizes |= layer.data.get("machine", {})
        _combine_registers(layer, registers)
        _combine_instructions(layer, chosen, registers)
    last = layers[-1]
    if not chosen:
        raise last.error('it has no instructions; list some, or say extends = "toy/clean"')
    return Configuration(
        name=last.file.removesuffix(".toml") if last.path is None else last.path.stem,
        title=last.data.get("title", ""),
        source=last.data.get("source", ""),
        shape=_shape(last, sizes),
        behaviours={name: chosen[name] for name in INSTRUCTIONS if name in chosen},
        registers=tuple(registers.values()),
    )


def _combine_registers(layer: _Layer, registers: dict[str, Declaration]) -> None:
    for name, data in layer.data.get("registers", {}).items():
        width = 0 if data["width"] == "word" else data["width"]
        new = Declaration(name, width, _ROLES[data["role"]], data.get("doc", ""))
        old = registers.setdefault(name, new)
        if (old.width, old.role) != (new.width, new.role):
            raise layer.error(
                f"register {name} is declared otherwise by what it extends "
                f"(width = {old.width or 'word'}, role = {old.role.value}); leave it out",
                name,
            )


def _combine_instructions(
    layer: _Layer, chosen: dict[str, Behaviour], registers: Mapping[str, Declaration]
) -> None:
    for name in layer.data.get("without", ()):
        if chosen.pop(name, None) is None:
            raise layer.error(f"without {name}: what it extends does not have it either", name)
    for name in layer.data.get("instructions", ()):
        if name in layer.data.get("without", ()):
            raise layer.error(f"{name} is both in `instructions` and in `without`", name)
        for register in INSTRUCTIONS[name].registers:
            if register not in registers:
                raise layer.error(
                    f"{name} works on a register {register}, which is not declared; say under "
                    f'[registers]: {register} = {{ width = …, role = "resource" }}',
                    name,
                )
        chosen.setdefault(name, INSTRUCTIONS[name].user)
    for name, behaviour in layer.data.get("user", {}).items():
        if name not in chosen:
            raise layer.error(f"[user] names {name}, which does not exist; add it", name)
        chosen[name] = Behaviour(behaviour)


def _shape(layer: _Layer, sizes: dict[str, Any]) -> Shape:
    try:
        return Shape(**sizes)
    except ValueError as error:
        raise layer.error(str(error), str(error).split(" ")[0]) from None
