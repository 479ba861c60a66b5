"""The toy machine's registers and the one word that holds its state: the PSW."""

from __future__ import annotations

from isa.registers import RegisterSet, Role
from isa.toy.shape import Shape

GENERAL_REGISTERS = tuple(f"r{i}" for i in range(8))
STACK_POINTER = 7  # PUSH, POP, CALL and RET use r7; the assembler also calls it sp
SUPERVISOR, USER = 0, 1  # values of `mode`


class ToyRegisters(RegisterSet):
    """M, P and R of the paper, and what it leaves out: general registers, a timer, trap latches."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        word = shape.word
        self.general = self.add_file(
            "r", GENERAL_REGISTERS, word, Role.GENERAL, "part of E: the same argument (theory)"
        )
        self.m = self.add("mode", 1, Role.MODE, "M: 0 supervisor, 1 user")
        self.p = self.add("p", shape.p_bits, Role.PROGRAM_COUNTER, "P, relative to R")
        self.l = self.add("l", shape.l_bits, Role.RELOCATION, "base of R, in granules")
        self.b = self.add("b", shape.b_bits, Role.RELOCATION, "size of R's window, in granules")
        self.timer = self.add("timer", word, Role.RESOURCE, "machine time at which it fires")
        self.armed = self.add("armed", 1, Role.RESOURCE, "whether the timer is running")
        self.cause = self.add("cause", word, Role.RESOURCE, "number of the last trap")
        self.info = self.add("info", word, Role.RESOURCE, "what the last trap was about")
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
