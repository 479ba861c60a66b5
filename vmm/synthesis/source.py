"""A synthesised guest as a program in toy assembly, so that everybody can run it.

Its kernel stands in the last words of storage. It prepares what only instructions can set, loads
the general registers and then (M, P, R), of which the instruction in question is the first to run.
A trap ends the program.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from isa.toy import Toy
from isa.toy.registers import GENERAL_REGISTERS, SUPERVISOR
from isa.words import mask

KERNEL_WORDS: Final = 64
ENTER: Final = "enter"  # the label of the LPSW behind which all is as it should be
BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Preparation:
    """One instruction that a guest runs first, `loaded` in its general registers.

    It may have written those in `written`.
    """

    instruction: str
    loaded: Mapping[str, int]
    written: frozenset[str]

    @property
    def left(self) -> set[str]:
        """The general registers that may hold something afterwards."""
        return {name for name, value in self.loaded.items() if value} | self.written


@dataclass(frozen=True, slots=True)
class Start:
    """What the instruction is to find: registers by name, words of storage by address."""

    registers: Mapping[str, int]
    storage: Mapping[int, int]


def kernel_address(isa: Toy) -> int:
    """Where the kernel begins, on a machine with as much storage as `isa` has."""
    return isa.shape.storage - KERNEL_WORDS


def trap_psw(isa: Toy) -> int:
    """E[1] when the guest's first instruction runs: (s, the kernel's first word, (0, q))."""
    return _psw(isa, {"mode": SUPERVISOR, "p": kernel_address(isa), "b": isa.shape.all_granules})


def _psw(isa: Toy, values: Mapping[str, int]) -> int:
    by_slot = [0] * len(isa.known)
    for name, value in values.items():
        by_slot[isa.registers[name].slot] = value
    return isa.known.psw.pack(by_slot)


def source(isa: Toy, start: Start, preparation: Preparation | None = None) -> str:
    """The text of the program, for a machine with as much storage as `isa` has."""
    lines = [
        f"        .machine {isa.name}",
        *_storage(isa, start),
        f"        .org  {kernel_address(isa)}",
        "trap:   halt",
        "start:",
        *_prepared(preparation),
        *_loads(start.registers, set() if preparation is None else preparation.left),
        f"{ENTER}:  lpsw  state",
        _state(isa, start),
    ]
    return "\n".join([*lines, ""])


def _storage(isa: Toy, start: Start) -> list[str]:
    """E[1], and the words that the instruction finds."""
    p = start.registers["p"] + start.registers["l"] * isa.shape.granule
    words = {a: f".word {w:#x}" for a, w in start.storage.items() if w}
    words[1] = ".psw  s, trap, 0, WORDS"
    text = isa.text(start.storage[p].to_bytes(BYTES, "little"), p)
    words[p] = f"{text}  ; the first to run, at {start.registers['p']:#x} of its window"
    return [line for a, said in sorted(words.items()) for line in _at(a, said)]


def _at(address: int, text: str) -> list[str]:
    return [f"        .org  {address}", f"        {text}"]


def _prepared(preparation: Preparation | None) -> list[str]:
    """Code that runs the preparation."""
    if preparation is None:
        return []
    return [*_loads(preparation.loaded), f"        {preparation.instruction}"]


def _loads(registers: Mapping[str, int], left: Collection[str] = ()) -> list[str]:
    """Code that loads the general registers; 0 only where something is left."""
    return [
        f"        {line}"
        for name in GENERAL_REGISTERS
        if registers.get(name) or name in left
        for line in _load(name, registers.get(name, 0))
    ]


def _load(name: str, value: int) -> list[str]:
    if value < 1 << 15:
        return [f"li    {name}, {value}"]
    high = [f"lui   {name}, {value >> 16:#x}"]
    return [*high, f"ori   {name}, {name}, {value & mask(16):#x}"] if value & mask(16) else high


def _state(isa: Toy, start: Start) -> str:
    """The PSW to enter with."""
    m, p, base, bound = (start.registers[name] for name in ("mode", "p", "l", "b"))
    psw = _psw(isa, start.registers)
    return f"state:  .word {psw:#x}  ; M = {m}, P = {p:#x}, R = ({base}, {bound}) in granules"
