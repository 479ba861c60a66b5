"""Code that ends in a jump which branches lead to: they may go where that goes themselves."""

from __future__ import annotations

from bisect import bisect_right

import capstone

from emu.engines.native.window import MARK
from isa.hints import Final
from isa.record import NamedTuple

JUMP: Final = b"\xe9"  # jmp rel32
_SHORT_JUMP: Final = 0xEB  # jmp rel8
_SHORT: Final = range(0x70, 0x80)  # jcc rel8
_NEAR: Final = range(0x80, 0x90)  # jcc rel32, behind 0x0f
_COUNTED: Final = range(0xE0, 0xE4)  # loop and jecxz, which have eight bits only
_DISTANCE: Final = 4  # bytes


class Branch(NamedTuple):
    """An instruction with a distance in it (SDM volume 2, Jcc and JMP; the mark before an access,
    see `window`): its bytes before that, what they are if it has 32 bits, and where it leads."""

    short: bytes
    long: bytes
    target: int


class Straight(NamedTuple):
    """Code without its last jump: where the 32-bit distances are of the branches that led to it,
    and for places in what it was, where they are now."""

    code: bytes
    away: list[int]
    moved: dict[int, int]


def _instructions(code: bytes) -> dict[int, bytes]:
    """Instructions by where they are. capstone's handles serve one thread at a time, and compilers
    are in several."""
    rows = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm_lite(code, 0)
    return {at: code[at : at + size] for at, size, *_ in rows}


def _branch(at: int, code: bytes) -> Branch | None:
    """The branch that an instruction is; None if it is none."""
    first, end = code[0], at + len(code)
    if first == _SHORT_JUMP or first in _SHORT:
        long = JUMP if first == _SHORT_JUMP else bytes((0x0F, first - _SHORT[0] + _NEAR[0]))
        return Branch(code[:1], long, end + _signed(code[1:]))
    if first == JUMP[0] or (first == 0x0F and code[1] in _NEAR) or code.startswith(MARK):
        return Branch(b"", code[:-_DISTANCE], end + _signed(code[-_DISTANCE:]))
    return None


def _signed(code: bytes) -> int:
    return int.from_bytes(code, "little", signed=True)


def straight(code: bytes, unknown: frozenset[int]) -> Straight | None:
    """Code without its last jump; None if that cannot be taken away. `unknown`: where 32 bits are
    to be filled in."""
    found = _instructions(code)
    last = len(code) - len(JUMP) - _DISTANCE
    before = max((at for at in found if at < last), default=None)
    falls = before is None or found[before][:1] != JUMP  # into the last jump
    if falls or found.get(last, b"")[:1] != JUMP or any(i[0] in _COUNTED for i in found.values()):
        return None
    del found[last]
    branches = {
        at: branch
        for at, text in found.items()
        if at + len(text) - _DISTANCE not in unknown and (branch := _branch(at, text)) is not None
    }
    return _Straightening(found, branches, last).result(unknown)


class _Straightening:
    """Lays instructions out again, with more room for the branches to what is left out."""

    def __init__(self, found: dict[int, bytes], branches: dict[int, Branch], last: int) -> None:
        self._found = found
        self._branches = branches
        self._last = last
        self._at: dict[int, int] = {}
        size = 0
        for at, text in found.items():
            self._at[at] = size
            size += len(branches[at].long) + _DISTANCE if self._leads_away(at) else len(text)

    def _leads_away(self, at: int) -> bool:
        return at in self._branches and self._branches[at].target == self._last

    def result(self, unknown: frozenset[int]) -> Straight | None:
        """The code; None if a short branch is too far from its target now."""
        code, away = bytearray(), []
        for at, text in self._found.items():
            if self._leads_away(at):
                code += self._branches[at].long + bytes(_DISTANCE)
                away.append(len(code) - _DISTANCE)
            elif at in self._branches:
                again = self._again(self._branches[at], len(text), len(code))
                if again is None:
                    return None
                code += again
            else:
                code += text
        return Straight(bytes(code), away, {place: self._moved(place) for place in unknown})

    def _again(self, branch: Branch, size: int, at: int) -> bytes | None:
        """A branch that has as many bytes as before."""
        distance = self._at[branch.target] - (at + size)
        begin = branch.short or branch.long
        bits = 8 * (size - len(begin))
        if not -1 << bits - 1 <= distance < 1 << bits - 1:
            return None
        return begin + distance.to_bytes(bits // 8, "little", signed=True)

    def _moved(self, place: int) -> int:
        starts = list(self._at)
        start = starts[bisect_right(starts, place) - 1]
        return place - start + self._at[start]
