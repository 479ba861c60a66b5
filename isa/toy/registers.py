"""The toy machine's registers and the one word that holds its state: the PSW."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from isa.registers import Register, RegisterSet, Role
from isa.toy.shape import Shape

GENERAL_REGISTERS = tuple(f"r{i}" for i in range(8))
STACK_POINTER = 7  # PUSH, POP, CALL and RET use r7; the assembler also calls it sp
SUPERVISOR, USER = 0, 1  # values of `mode`
MASKS = {"ipl": 4, "masked": 1}  # registers that hold interrupts back, from which value on


@dataclass(frozen=True, slots=True)
class Declaration:
    """A register that a configuration adds; a `width` of 0 means that of a word."""

    name: str
    width: int
    role: Role
    doc: str = ""


class ToyRegisters(RegisterSet):
    """M, P and R of the paper, and what it leaves out: general registers, a timer, trap latches.

    What a configuration declares comes after them, so that slots are the same on all machines.
    """

    def __init__(self, shape: Shape, declared: Iterable[Declaration] = ()) -> None:
        super().__init__()
        word = shape.word
        self.general = self.add_file(
            "r", GENERAL_REGISTERS, word, Role.GENERAL, "part of E: the same argument (theory)"
        )
        modes = "0 supervisor, 1 user" if shape.modes == 2 else "0 supervisor, 1 to 3 outer rings"
        self.m = self.add("mode", shape.m_bits, Role.MODE, f"M: {modes}")
        self.p = self.add("p", shape.p_bits, Role.PROGRAM_COUNTER, "P, relative to R")
        self.l = self.add("l", shape.l_bits, Role.RELOCATION, "base of R, in granules")
        self.b = self.add("b", shape.b_bits, Role.RELOCATION, "size of R's window, in granules")
        self.timer = self.add("timer", word, Role.RESOURCE, "machine time at which it fires")
        self.armed = self.add("armed", 1, Role.RESOURCE, "whether the timer is running")
        self.cause = self.add("cause", word, Role.RESOURCE, "number of the last trap")
        self.info = self.add("info", word, Role.RESOURCE, "what the last trap was about")
        self.declared: dict[str, Register] = {
            d.name: self.add(d.name, d.width or word, d.role, d.doc) for d in declared
        }
        self.masks = tuple(r for name, r in self.declared.items() if name in MASKS)
        self.psw = self.pack(
            "psw",
            word,
            {
                "b": 0,
                "l": shape.b_bits,
                "p": shape.b_bits + shape.l_bits,
                "mode": shape.b_bits + shape.l_bits + shape.p_bits,
            },
        )
