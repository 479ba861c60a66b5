"""Instruction forms: mnemonic, operand shapes and sizes; everything a trace depends on."""

from __future__ import annotations

from isa.record import NamedTuple
from isa.x86.mode import Mode


class Reg(NamedTuple):
    """A general register; which one is field `reg<n>`. `high`: AH CH DH BH, numbered 0–3."""

    width: int
    high: bool = False


class Imm(NamedTuple):
    """An immediate of the operation's width, already extended; field `imm<n>`."""

    width: int


class Level(NamedTuple):
    """ENTER's nesting level, part of the form: it says how many values are pushed."""

    number: int


class Mem(NamedTuple):
    """Memory; fields `base<n>`, `index<n>` (if present) and `disp<n>`."""

    width: int  # 0: no access of its own (LEA)
    segment: str
    has_base: bool
    has_index: bool
    scale: int


class Seg(NamedTuple):
    """A segment register."""

    name: str


class Special(NamedTuple):
    """A control, debug or other register that only privileged instructions name."""

    name: str


class St(NamedTuple):
    """A register of the x87 stack; which one is field `reg<n>`."""

    width: int = 80


class Mm(NamedTuple):
    """An MMX register; which one is field `reg<n>`."""

    width: int = 64


class Xmm(NamedTuple):
    """An SSE register; which one is field `reg<n>`."""

    width: int = 128


Shape = Reg | Imm | Level | Mem | Seg | Special | St | Mm | Xmm


class Form(NamedTuple):
    """All instructions of one form share one trace."""

    mnemonic: str
    shapes: tuple[Shape, ...]
    operand_size: int
    address_size: int
    repeat: str  # "", "rep" (F3) or "repne" (F2), for string instructions
    lock: bool
    segment: str  # of the memory source of string instructions and XLAT
    mode: Mode
