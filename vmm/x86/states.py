"""States of an x86 on symbols: what is M, R, a resource and E, and what holds of every state.

A state is numbers for M and variables for the rest. Where CPL stands besides CPL itself – in the
selectors and descriptors of CS and SS – is no choice of the state, so it follows M. Only a
conforming CS may have a DPL below CPL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from isa.ops import z3
from isa.registers import Register, Role
from isa.smt import Symbols
from isa.x86.machine import X86
from isa.x86.real import DATA, V86_DATA
from isa.x86.registers import (
    AC,
    ARRIVAL,
    CPL,
    DR7,
    EIP,
    IOPL,
    PE,
    PENDING,
    REGISTERS,
    RF,
    SEGMENTS,
    SHADOW,
    TF,
    VM,
)  # fmt: skip
from vmm.x86.configuration import X86Configuration

Term = Any
Condition = Any

QUIET: Final = (AC, TF, RF, SHADOW, PENDING, ARRIVAL)
"""Registers that are 0: no debugging, no alignment checks, nothing left of the last instruction."""
BORDER: Final = 1 << 31
"""The monitor's tables lie above, its guest's memory below."""

_TYPE, _FIXED_CODE, _FIXED_DATA = 0xE, 0x98, 0x92  # present, S; code, or writable data
_CONFORMING, _CODE, _BIG, _LONG, _DPL = 0x4, 0x8, 0x400, 0x200, 0x60


@dataclass(frozen=True, slots=True)
class Parts:
    """The registers by what they are to the theory."""

    mode: tuple[Register, ...]
    relocation: tuple[Register, ...]
    resources: tuple[Register, ...]
    program: tuple[Register, ...]  # E, with general registers, flags and P
    user: Mapping[Register, int]  # what makes a state one of u

    @staticmethod
    def of(configuration: X86Configuration) -> Parts:
        """By the roles of the registers, and by what the configuration says of segments.

        In non-root operation all is the guest's own but what is there once; M is no register.

        IOPL is a resource: it says who may use interrupts and ports. What lasts no longer than
        the next instruction is none.
        """
        if configuration.nonroot is not None:
            real = tuple(r for r in REGISTERS if r in configuration.nonroot.real)
            guest = tuple(r for r in REGISTERS if r not in real and r not in QUIET)
            return Parts((), (), real, guest, configuration.user)
        segments = {r for s in SEGMENTS.values() for r in parts_of(s)}
        mode = (CPL, PE, VM)
        lasting = (r for r in REGISTERS.with_role(Role.RESOURCE) if r not in QUIET)
        resources = (*lasting, IOPL)
        system = [
            r for r in REGISTERS.with_role(Role.RELOCATION, Role.MODE)
            if r not in mode and r is not IOPL
        ]  # fmt: skip
        relocation = [r for r in system if r not in segments]
        program = REGISTERS.with_role(Role.GENERAL, Role.FLAG, Role.PROGRAM_COUNTER)
        if configuration.segments_are_program:  # but for attributes, which follow M
            follow = {segment.attributes for segment in SEGMENTS.values()}
            program = (*program, *(r for r in system if r in segments - follow))
        else:
            relocation = system
        return Parts(mode, tuple(relocation), resources, program, configuration.user)


def parts_of(segment: Any) -> tuple[Register, ...]:
    """A segment's selector and descriptor cache."""
    return segment.selector, segment.base, segment.limit, segment.attributes


class Side:
    """A state on one side (in s, or in u): the terms of its registers, and its memory.

    Sides share variables unless `apart` names registers to have others. `own_system`: what lies in
    the tables differs too.
    """

    def __init__(
        self,
        configuration: X86Configuration,
        mode: Mapping[Register, int],
        *,
        apart: Iterable[Register] = (),
        own_system: bool = False,
        own_devices: bool = False,
        opaque: bool = False,
    ) -> None:
        self.configuration = configuration
        self.mode = mode
        self._apart = frozenset(apart)
        self.symbols = Symbols(X86.spaces, opaque=opaque, defined=True)
        memory = _array("memory")
        data = "linear" if mode[CPL] == 3 else "system"
        self.symbols.memory = {
            "linear": memory, "system": memory,
            "port": _array("port'" if own_devices else "port"),
        }  # fmt: skip
        if own_system and data == "linear":
            self.symbols.memory["system"] = _array("system'")
        if own_devices:
            self.symbols.clock = z3.BitVec("clock'", 64)
        self.registers = {r: self._term(r) for r in REGISTERS}
        self._carry_mode()
        self.symbols.registers = self.registers

    def _term(self, register: Register) -> Term:
        known = {**self.mode, **dict.fromkeys(QUIET, 0)}
        if register in known:
            return z3.BitVecVal(known[register], register.width)
        low, high = self.configuration.kept.get(register, (0, -1))
        if low == high:
            return z3.BitVecVal(low, register.width)
        return self.variable(register)

    def variable(self, register: Register) -> Term:
        """The register's variable; another one if it is to differ."""
        mark = "'" if register in self._apart else ""
        return z3.BitVec(f"{register.name}{mark}", register.width)

    def _carry_mode(self) -> None:
        """CS and SS carry CPL; without descriptors every base follows from its selector."""
        if self.mode[PE] and not self.mode[VM]:
            self._descriptors()
        else:
            self._paragraphs()

    def _descriptors(self) -> None:
        cpl, big = self.mode[CPL], _BIG if self.configuration.code == 32 else 0
        for name, fixed, read_as in (
            ("cs", _FIXED_CODE, _CODE), ("ss", _FIXED_DATA, _CODE | 2),
        ):  # fmt: skip
            segment = SEGMENTS[name]
            selector, attributes = (
                self.variable(r) for r in (segment.selector, segment.attributes)
            )
            said = read_as | 0x90 | _DPL | _BIG | _LONG
            kept = attributes & z3.BitVecVal(0xFFF & ~said, 12)
            level = z3.BitVecVal(cpl << 5, 12)
            if name == "cs":
                level = z3.If(_is_conforming(attributes), attributes & _DPL, level)
            self.registers[segment.attributes] = kept | level | z3.BitVecVal(fixed | big, 12)
            self.registers[segment.selector] = z3.Concat(
                z3.Extract(15, 2, selector), z3.BitVecVal(cpl, 2)
            )

    def _paragraphs(self) -> None:
        attributes = V86_DATA if self.mode[VM] else DATA
        for segment in SEGMENTS.values():
            wide = z3.ZeroExt(16, self.registers[segment.selector])
            self.registers[segment.base] = wide << 4
            self.registers[segment.limit] = z3.BitVecVal(0xFFFF, 32)
            self.registers[segment.attributes] = z3.BitVecVal(attributes, 12)

    def invariants(self) -> list[Condition]:
        """What holds of the state: what the monitor keeps, that no breakpoint is set, CS's DPL."""
        held = [self.registers[DR7] & 0xFF == 0]
        if self.mode[PE] and not self.mode[VM]:
            attributes = self.registers[SEGMENTS["cs"].attributes]
            level = z3.BitVecVal(self.mode[CPL] << 5, 12)
            held.append(z3.ULE(attributes & _DPL, level))
        for register, (low, high) in self.configuration.kept.items():
            term = self.registers[register]
            held += [z3.UGE(term, low), z3.ULE(term, high)] if low != high else []
        return held

    def stands(self, code: bytes) -> list[Condition]:
        """That these bytes are at CS:EIP, below the border."""
        at = self.registers[SEGMENTS["cs"].base] + self.registers[EIP]
        memory = self.symbols.memory["linear"]
        here = [z3.Select(memory, at + n) == byte for n, byte in enumerate(code)]
        ends = z3.ULE(self.registers[EIP], self.registers[SEGMENTS["cs"].limit] - 15)
        return [
            *here,
            z3.ULE(at, BORDER >> 1),
            z3.UGE(self.registers[SEGMENTS["cs"].limit], 15),
            ends,
        ]


def _is_conforming(attributes: Term) -> Condition:
    return attributes & _CONFORMING != 0


def _array(name: str) -> Any:
    return z3.Array(name, z3.BitVecSort(32), z3.BitVecSort(8))
