"""x86 configurations: which processor, what is s and what is u, what the monitor keeps (TOML).

title = "…"                what the machine is
source = "…"               where its rules stand
processor = "pentium2"     one of `isa.x86.models`
code = 32                  size of code: 16 or 32
segments = "relocation"    segment registers belong to R, or to the "program" (to E)
[supervisor]  [user]       the registers that make M, and what they hold in s and in u
[kept]                     REGISTER = [least, greatest] while the guest runs directly
[nonroot]  [exits]         hardware assist, see `NonRoot`
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

from emu.errors import GuestFileError
from isa.registers import Register
from isa.x86.mode import Mode
from isa.x86.models import MODELS
from isa.x86.registers import CPL, PE, REGISTERS, VM

FOLDER: Final = "x86"
_KEYS: Final[dict[str, type]] = {
    "title": str, "source": str, "processor": str, "code": int, "segments": str,
    "supervisor": dict, "user": dict, "kept": dict,
}  # fmt: skip
_OPTIONAL: Final[dict[str, type]] = {"nonroot": dict, "exits": dict}


@dataclass(frozen=True, slots=True)
class NonRoot:
    """Hardware assist: u is non-root operation, where a guest has registers of its own.

    `levels` are the CPLs that a guest is asked about; `real` the registers that are there once for
    all; a change of a `masked` one exits. `exits` are the rows of the table that always exit, by
    the control of the VMCS that makes them.
    """

    levels: tuple[int, ...]
    real: frozenset[Register]
    masked: tuple[Register, ...]
    exits: Mapping[str, tuple[str, ...]]

    def control(self, row: str) -> str:
        """What makes a row exit; "" if nothing does."""
        return next((control for control, rows in self.exits.items() if row in rows), "")


@dataclass(frozen=True, slots=True)
class X86Configuration:
    """A checked configuration. `kept` are invariants: what the monitor lets no guest change."""

    name: str
    title: str
    source: str
    processor: str
    code: int
    segments_are_program: bool
    supervisor: Mapping[Register, int]
    user: Mapping[Register, int]
    kept: Mapping[Register, tuple[int, int]]
    nonroot: NonRoot | None = None

    @staticmethod
    def names() -> list[str]:
        """The shipped configurations."""
        folder = resources.files("isa") / "configs" / FOLDER
        found = (f.name for f in folder.iterdir() if f.name.endswith(".toml"))
        return sorted(f"{FOLDER}/{f.removesuffix('.toml')}" for f in found)

    @staticmethod
    def load(name: str) -> X86Configuration:
        """Load one by name ("x86/ia32"). Raises GuestFileError."""
        if name not in X86Configuration.names():
            close = difflib.get_close_matches(name, X86Configuration.names(), 1)
            known = close or X86Configuration.names()
            raise GuestFileError(
                f"There is no configuration {name!r}", advice=f"Try {', '.join(known)}"
            )
        return _read(name, (resources.files("isa") / "configs" / f"{name}.toml").read_text())

    def variants(self) -> Iterator[X86Configuration]:
        """The configuration for each level of a guest that has levels of its own."""
        if self.nonroot is None:
            yield self
            return
        for level in self.nonroot.levels:
            s, u = ({**side, CPL: level} for side in (self.supervisor, self.user))
            yield replace(self, supervisor=s, user=u)

    def mode(self, side: Mapping[Register, int]) -> Mode:
        """What traces of one side rely on. No segment is flat, so that all checks are in them."""
        protected, virtual = bool(side[PE]), bool(side[VM])
        return Mode(
            self.code, self.code, (), side[CPL], alignment=False, single_step=False,
            model=self.processor, real=not protected, v86=protected and virtual,
        )  # fmt: skip


def is_x86(name: str) -> bool:
    """Whether the name is one of an x86 configuration, or of the instruction set."""
    return Path(name).parts[:1] == (FOLDER,)


def _read(name: str, text: str) -> X86Configuration:
    data = tomllib.loads(text)
    for key, kind in _KEYS.items():
        _require(isinstance(data.get(key), kind), name, f"{key} is missing, or is no {kind}")
    known = _KEYS.keys() | _OPTIONAL.keys()
    _require(data.keys() <= known, name, f"unknown: {data.keys() - known}")
    _require(("nonroot" in data) == ("exits" in data), name, "nonroot and exits go together")
    _require(data["processor"] in MODELS, name, f"processor is one of {', '.join(MODELS)}")
    _require(data["code"] in (16, 32), name, "code is 16 or 32")
    _require(data["segments"] in ("relocation", "program"), name, "segments is wrong")
    return X86Configuration(
        name, data["title"], data["source"], data["processor"], data["code"],
        data["segments"] == "program", _registers(data["supervisor"]), _registers(data["user"]),
        {r: (low, high) for r, (low, high) in _registers(data["kept"]).items()},
        _nonroot(data["nonroot"], data["exits"]) if "nonroot" in data else None,
    )  # fmt: skip


def _nonroot(data: Mapping[str, Any], exits: Mapping[str, list[str]]) -> NonRoot:
    return NonRoot(
        tuple(data["levels"]),
        frozenset(REGISTERS[name] for name in data["real"]),
        tuple(REGISTERS[name] for name in data["masked"]),
        {control: tuple(rows) for control, rows in exits.items()},
    )


def _registers(table: Mapping[str, Any]) -> dict[Register, Any]:
    return {REGISTERS[name]: value for name, value in table.items()}


def _require(condition: bool, name: str, what: str) -> None:
    if not condition:
        raise GuestFileError(f"{name}: {what}", advice="vmm/x86/configuration.py has the keys")
