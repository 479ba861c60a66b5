"""The jump cache: where native code finds native code by program counter, without Python.

Two entries side by side can hold a program counter, so that two that fall together do not push each
other out in turns.
"""

from __future__ import annotations

from emu.engines.native.layout import JUMP_WORDS, JUMPS, NOWHERE
from emu.room import Room


class JumpCache:
    """Entries of a program counter, a function and what to call it with (see `pieces.chain`).

    An entry of zeros holds nothing: program counter 0 is not looked for there but in the first two.
    """

    def __init__(self) -> None:
        room = Room(8 * JUMP_WORDS * JUMPS, dense=True)
        self.address, self._bytes = room.address, room.view
        self._words = room.words()  # an entry's begin at JUMP_WORDS times its place
        self._empty()

    def clear(self) -> None:
        """Forget everything."""
        self._bytes[:] = bytes(len(self._bytes))
        self._empty()

    def _empty(self) -> None:
        """Let nobody find program counter 0 in entries of zeros."""
        self._words[0] = self._words[JUMP_WORDS] = NOWHERE

    def has(self, pc: int) -> bool:
        """Whether native code finds something at a program counter."""
        return self._at(pc) is not None

    def enter(self, pc: int, function: int, number: int) -> None:
        """Let native code find a function; the entry that was entered last stays, if it can."""
        words, at = self._words, self._at(pc)
        if at is None:
            at = pc % JUMPS * JUMP_WORDS
            if words[at + 1]:
                other = (pc % JUMPS ^ 1) * JUMP_WORDS
                words[other : other + JUMP_WORDS] = words[at : at + JUMP_WORDS]
        words[at], words[at + 1], words[at + 2], words[at + 3] = pc, function, number, 0

    def remove(self, pc: int, function: int, number: int | None = None) -> None:
        """Forget a program counter's entry if it leads to a function (called with a number)."""
        at = self._at(pc)
        if at is None or self._words[at + 1] != function:
            return
        if number is None or self._words[at + 2] == number:
            self._words[at], self._words[at + 1] = NOWHERE, 0

    def _at(self, pc: int) -> int | None:
        """Where the words of a program counter's entry begin."""
        for place in (pc % JUMPS, pc % JUMPS ^ 1):
            if self._words[place * JUMP_WORDS] == pc:
                return place * JUMP_WORDS
        return None
