"""The control program in toy assembly behind itself: a guest under any number of monitors.

`programs/toy/vmm.asm` keeps the words below its label `guest`; from there on stands the machine it
makes. Whatever is put there runs in it: a program, or the monitor with a guest of its own.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from emu.toy.run import load_program
from isa.toy.assembler import Program
from isa.toy.shape import Shape

WORDS: Final = Shape().words
SOURCE: Final = Path(__file__).parent.parent / "programs" / "toy" / "vmm.asm"


@cache
def monitor() -> Program:
    """The assembled control program, with the guest that its source gives it."""
    return load_program(SOURCE)


def words_per_level() -> int:
    """The paper's k: words that each monitor takes from the machine it runs on."""
    return monitor().symbols["guest"]


def nest(guest: Program, depth: int) -> Program:
    """The guest under `depth` monitors, as one program for the bare machine.

    The guest stands at `depth * words_per_level()`. Raises ValueError if the image and that many
    monitors do not fit the machine.
    """
    for _ in range(depth):
        guest = _inside(monitor(), guest)
    return guest


def _inside(outer: Program, guest: Program) -> Program:
    k = outer.symbols["guest"]
    image = [*outer.image[:k], *[0] * (k - len(outer.image)), *guest.image]
    image[outer.symbols["vpsw"]] = guest.psw  # how the guest's machine begins
    if len(image) > WORDS:
        raise ValueError(
            f"the image takes {len(image)} words of {WORDS}: each monitor keeps "
            f"{k}; choose a smaller depth"
        )
    lines = {address: line for address, line in outer.lines.items() if address < k}
    lines |= {address + k: line for address, line in guest.lines.items()}
    return Program(image, outer.entry, outer.psw, outer.symbols, lines)
