"""Vectors of real processors in real-address mode: reading them, and running one on an engine.

They lie beside the project, not in it; POPEK_VECTORS says where. Their README tells the format.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from emu.engines import Engine
from emu.exit import Exit
from emu.pc.memory import PhysicalMap
from emu.pc.paging import attach_memory
from emu.state import State
from isa.x86.machine import X86
from isa.x86.models import MODELS
from isa.x86.registers import SEGMENT_NAMES
from isa.x86.reset import reset_values
from tests.needs import missing

BESIDE: Final = Path(__file__).parents[2] / "shared" / "vectors"
VECTORS: Final = Path(os.environ.get("POPEK_VECTORS", BESIDE))
FOLDERS: Final = {"286": "i80286_real", "8086": "i8086_real"}
MEMORY: Final = 2 << 20  # real-mode addresses end at 10FFEF
MOST: Final = 1 << 10  # more instructions than any vector does
REPEATS: Final = frozenset({0xF2, 0xF3})
STORED_FLAGS: Final = 0x0FFF  # the others are constant in real-address mode

Bytes = dict[int, int]


def folder(name: str) -> Path:
    """A folder of vectors; without it the test is skipped, or fails under CI."""
    found = VECTORS / name
    if not found.exists():
        missing(f"there are no vectors at {found}")
    return found


@dataclass(frozen=True, slots=True)
class Vector:
    """An instruction, the processor before it, and what is different after it."""

    form: str
    number: int
    name: str
    code: bytes
    registers: Mapping[str, int]
    memory: Bytes
    after: Mapping[str, int]
    memory_after: Bytes
    exception: int | None
    flags_mask: int
    flags_address: int | None  # where an exception has pushed them

    def __str__(self) -> str:
        return f"{self.form} #{self.number} {self.name} [{self.code.hex(' ')}]"


@cache
def _masks(model: str) -> dict[str, int]:
    """The defined flags of each form that leaves others undefined."""
    opcodes = json.loads((folder(FOLDERS[model]) / "metadata.json").read_text())["opcodes"]
    masks = {}
    for opcode, facts in opcodes.items():
        members = {f"{opcode}.{n}": member for n, member in facts.get("reg", {}).items()}
        for form, told in ({opcode: facts} | members).items():
            masks[form] = told.get("flags-mask", 0xFFFF)
    return masks


def forms(model: str) -> list[str]:
    """The forms of which there are vectors."""
    return sorted(p.name.removesuffix(".jsonl.gz") for p in folder(FOLDERS[model]).glob("*.gz"))


def vectors(model: str, form: str, most: int | None = None) -> Iterator[Vector]:
    """The vectors of a form, at most so many."""
    lines = gzip.decompress((folder(FOLDERS[model]) / f"{form}.jsonl.gz").read_bytes()).splitlines()
    for line in lines[:most]:
        yield _vector(model, form, json.loads(line))


def _vector(model: str, form: str, told: dict[str, Any]) -> Vector:
    before, after = told["initial"], told["final"]
    return Vector(
        form, told["idx"], told["name"], bytes(told["bytes"]),
        before["regs"], dict(before["ram"]), after["regs"], dict(after["ram"]),
        told.get("exception", {}).get("number"), _masks(model)[form],
        _pushed(told, 0xFFFFF if model == "8086" else 0x1FFFFF),
    )  # fmt: skip


def _pushed(told: dict[str, Any], addresses: int) -> int | None:
    """Where flags were pushed, if three words were.

    8086 vectors do not tell, and those of a 286 tell an even address where it is an odd one.
    """
    before, after = told["initial"]["regs"], told["final"]["regs"]
    if (before["sp"] - after.get("sp", before["sp"])) & 0xFFFF != 6:
        return None
    return int((before["ss"] << 4) + (after["sp"] + 4 & 0xFFFF) & addresses)


class Bench:
    """One processor with its memory, on which an engine does one vector after the other."""

    def __init__(self, model: str, engine: Engine) -> None:
        self.model, self.engine = model, engine
        self.state = state = State(X86(model), {})
        self.memory = PhysicalMap(MEMORY)
        attach_memory(state, self.memory)
        self.memory.set_a20(model != "8086")
        for register, value in reset_values(MODELS[model]).items():
            state.write(register, value)
        state["idt_limit"] = 0x3FF
        self.start = state.save()
        state.handlers |= {"port_read": self._read_port, "port_write": lambda *_: None}

    def _read_port(self, _: int, size: int) -> Exit | None:
        self.state.reply = (1 << 8 * size) - 1
        return None

    def difference(self, vector: Vector, ignored: Collection[str] = ()) -> str | None:
        """What the engine does otherwise than the processor did, or None.

        `ignored` are registers that are not looked at.
        """
        self._prepare(vector)
        stop = self._run(vector)
        wrong = [*self._registers(vector, ignored), *self._bytes(vector)]
        self._poke(dict.fromkeys(vector.memory | vector.memory_after, 0))
        expected = {"halt"} if self.model == "286" else {"until", "halt"}
        if stop.reason not in expected:
            wrong.append(f"stopped with {stop}")
        return f"{vector}: {'; '.join(wrong)}" if wrong else None

    @property
    def is_clean(self) -> bool:
        """Whether no vector has left anything where none had reason to write."""
        return not self.memory.physical.array[:MEMORY].any()

    def _prepare(self, vector: Vector) -> None:
        state, told = self.state, vector.registers
        state.count, state.shut_down = 0, ()
        state.values[:] = self.start
        for name, value in told.items():
            state[_long(name)] = value & STORED_FLAGS if name == "flags" else value
        for name in SEGMENT_NAMES:
            state[f"{name}_base"] = told.get(name, 0) << 4
        self._poke(vector.memory)

    def _poke(self, values: Bytes) -> None:
        for address, value in values.items():
            self.memory.physical.write(address, bytes([value]))

    def _run(self, vector: Vector) -> Exit:
        """286: up to the HLT that follows; 8086: one instruction, and all its repetitions."""
        state, engine = self.state, self.engine
        if self.model == "286":
            return engine.run(state, MOST)
        start = state.pc
        rest = vector.code.lstrip(MODELS[self.model].prefixes)
        repeated = not REPEATS.isdisjoint(vector.code[: len(vector.code) - len(rest)])
        stop = engine.run(state, 1)
        while repeated and state.pc == start and state["ecx"]:
            stop = engine.run(state, state.count + 1)
        return stop

    def _registers(self, vector: Vector, ignored: Collection[str]) -> Iterator[str]:
        fixed = 0xF000 if self.model == "8086" else 0
        for name, before in vector.registers.items():
            mask = vector.flags_mask if name == "flags" else 0xFFFF
            if name == "flags" and self.model == "286":
                before &= STORED_FLAGS
            wanted = vector.after.get(name, before)
            found = self.state[_long(name)] | (fixed if name == "flags" else 0)
            if (found ^ wanted) & mask and name not in ignored:
                yield f"{name} {found:04X} instead of {wanted:04X}"

    def _bytes(self, vector: Vector) -> Iterator[str]:
        view, flags = self.memory.physical.view, vector.flags_address
        masks = {}
        if flags is not None:
            masks = {flags: vector.flags_mask & 0xFF, flags + 1: vector.flags_mask >> 8}
        for address, wanted in (vector.memory | vector.memory_after).items():
            found = view[address]
            if (found ^ wanted) & masks.get(address, 0xFF):
                yield f"[{address:05X}] {found:02X} instead of {wanted:02X}"


def _long(name: str) -> str:
    """The manual's name of the register of which the vectors name the lower half."""
    return name if name in SEGMENT_NAMES else f"e{name}"
