"""A synthesised guest as a program in toy assembly, so that everybody can run it.

Its kernel stands in the last words of storage. It prepares what only instructions can set, loads
the general registers and then (M, P, R), of which the instruction in question is the first to run.
A trap ends the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from isa.ops import mask
from isa.toy import Toy
from isa.toy.registers import GENERAL_REGISTERS, SUPERVISOR

KERNEL_WORDS: Final = 64
ENTER: Final = "enter"  # the label of the LPSW behind which all is as it should be
BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Preparation:
    """One instruction that a guest runs first, with these general registers, in this mode."""

    instruction: str
    in_user_mode: bool
    registers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Start:
    """Where a guest's first instruction is to find itself: registers by name, storage by address."""

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
        *_storage(isa, start, preparation),
        f"        .org  {kernel_address(isa)}",
        "trap:   halt",
        *_prepared(preparation),
        *_loads(start.registers, everything=preparation is not None),
        f"{ENTER}:  lpsw  state",
        *_words(isa, start, preparation),
    ]
    return "\n".join([*lines, ""])


def _storage(isa: Toy, start: Start, preparation: Preparation | None) -> list[str]:
    """The words that the instruction finds; E[1] leads to the end, or first to `prepared`."""
    first = "prepared" if _by_user(preparation) else "trap"
    p = start.registers["p"] + start.registers["l"] * isa.shape.granule
    words = {a: f".word {w:#x}" for a, w in start.storage.items() if w}
    words[1] = f".psw  s, {first}, 0, WORDS"
    words[p] = isa.text(start.storage[p].to_bytes(BYTES, "little"), p) + "  ; the first to run"
    return [line for a, text in sorted(words.items()) for line in _at(a, text)]


def _at(address: int, text: str) -> list[str]:
    return [f"        .org  {address}", f"        {text}"]


def _by_user(preparation: Preparation | None) -> bool:
    return preparation is not None and preparation.in_user_mode


def _prepared(preparation: Preparation | None) -> list[str]:
    """Code that runs the preparation; a user's comes back by a supervisor call."""
    if preparation is None:
        return ["start:"]
    begin = ["start:", *_loads(preparation.registers)]
    if not preparation.in_user_mode:
        return [*begin, f"        {preparation.instruction}"]
    return [
        *begin,
        "        lpsw  outside",
        f"user:   {preparation.instruction}",
        "        svc   0",
        "prepared:",
        "        lda   r1, ending",
        "        sta   r1, 1",
    ]


def _loads(registers: Mapping[str, int], *, everything: bool = False) -> list[str]:
    """Code that loads the general registers; those that hold 0 only if `everything` is asked."""
    return [
        f"        {line}"
        for name in GENERAL_REGISTERS
        if registers.get(name) or everything
        for line in _load(name, registers.get(name, 0))
    ]


def _load(name: str, value: int) -> list[str]:
    if value < 1 << 15:
        return [f"li    {name}, {value}"]
    high = [f"lui   {name}, {value >> 16:#x}"]
    return [*high, f"ori   {name}, {name}, {value & mask(16):#x}"] if value & mask(16) else high


def _words(isa: Toy, start: Start, preparation: Preparation | None) -> list[str]:
    m, p, base, bound = (start.registers[name] for name in ("mode", "p", "l", "b"))
    told = f"; M = {m}, P = {p:#x}, R = ({base}, {bound}) in granules"
    words = [f"state:  .word {_psw(isa, start.registers):#x}  {told}"]
    if _by_user(preparation):
        words += ["outside: .psw u, user, 0, WORDS", "ending: .psw s, trap, 0, WORDS"]
    return words
