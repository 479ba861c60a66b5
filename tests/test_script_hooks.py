"""Hooks see the same on every engine: each instruction once, each access, at the right place."""

from __future__ import annotations

import random

import pytest
from machines import CODE, DATA, PAGE
from random_programs import PIECES

import emu

ENGINES = ("reference", "python", "native")
LIMIT = 800  # instructions of a program


def program(seed: int) -> bytes:
    """A random program, and HLT."""
    rng = random.Random(seed)
    code = b""
    while len(code) < 160:
        code += rng.choice(PIECES)(rng, CODE + len(code))
    return code + b"\xf4"


def guest_of(code: bytes, engine: str) -> emu.ScriptGuest:
    """The program in a machine with two pages of data and a third that is read-only."""
    guest = emu.code(code, CODE, engine=engine, memory=64 * PAGE)
    guest.memory.map(CODE, 2 * PAGE, "rwx")
    guest.memory.map(DATA, 2 * PAGE, "rw")
    guest.memory.map(DATA + 2 * PAGE, PAGE, "r")
    guest.memory[CODE : CODE + len(code)] = code
    guest.registers.esp = DATA + PAGE
    for name in ("esi", "edi", "ebp"):
        guest.registers[name] = DATA + 2 * PAGE - 24
    return guest


class Witness:
    """Sets hooks, some of them in mid-run, and writes down what they see."""

    def __init__(self, guest: emu.ScriptGuest, seed: int) -> None:
        self.guest, self.events = guest, []
        self._rng = random.Random(seed)
        self._turn = self._rng.randrange(1, 60)
        self._late = None
        guest.hook.instruction(self.instruction)
        guest.hook.block(lambda at: self.events.append(("block", at)))
        guest.hook.memory(lambda *access: self.events.append(access))
        guest.hook.interrupt(self.interrupt)
        guest.hook.fault(self.fault)
        self._faults = 0

    def fault(self, fault) -> bool:
        """Go on behind the instruction, if there is one."""
        self.events.append(("fault", fault.vector, fault.address, self.guest.count))
        self._faults += 1
        at = self.guest.registers.eip
        if self._faults > 25 or not CODE <= at < CODE + PAGE:
            return False
        self.guest.registers.eip = at + self.guest.disassemble(at)[0].length
        return True

    def interrupt(self, vector: int) -> bool:
        self.events.append(("int", vector, self.guest.count))
        return vector != 3

    def instruction(self, at: int) -> None:
        """Each tenth or so changes something."""
        guest, count = self.guest, self.guest.count
        assert at == guest.registers.eip
        self.events.append((at, count, guest.registers.eax, guest.registers.eflags))
        self._turn -= 1
        if self._turn:
            return
        self._turn = self._rng.randrange(1, 60)
        what = self._rng.randrange(5)
        if what == 0:
            guest.registers.eax = self._rng.getrandbits(32)
        elif what == 1:
            guest.registers.eip = at + guest.disassemble(at)[0].length
        elif what == 2:
            guest.memory[CODE + self._rng.randrange(160)] = 0x90
        elif self._late is None:
            self._late = guest.hook.instruction(lambda at: self.events.append(("late", at)))
        else:
            self._late.remove()
            self._late = None


def run(code: bytes, engine: str, seed: int) -> tuple:
    guest = guest_of(code, engine)
    witness = Witness(guest, seed)
    rng, endings = random.Random(seed), []
    while guest.count < LIMIT:
        ending = guest.run(count=min(guest.count + rng.randrange(1, 300), LIMIT))
        endings.append(str(ending))
        if ending.reason != "limit":
            break
    return witness.events, endings, guest.registers.general()


def first_difference(one: list, other: list) -> str:
    for n, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return f"event {n}: {a} != {b}; before: {one[max(n - 4, 0) : n]}"
    return f"{len(one)} != {len(other)} events"


SEEDS = [*range(8), *(pytest.param(seed, marks=pytest.mark.heavy) for seed in range(8, 80))]


@pytest.mark.parametrize("seed", SEEDS)
def test_hooks_see_the_same_on_every_engine(seed):
    """Instructions, blocks, accesses; hooks that come, go and change the machine in mid-run."""
    code = program(seed)
    expected = run(code, "reference", seed)
    for engine in ENGINES[1:]:
        got = run(code, engine, seed)
        assert got[0] == expected[0], (engine, first_difference(expected[0], got[0]))
        assert got[1:] == expected[1:], engine
