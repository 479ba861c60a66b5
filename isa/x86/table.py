"""The table of instructions: mnemonic -> meaning, filled by the `instruction` decorator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isa.hints import Any, Final

Meaning = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One mnemonic: its meaning, the manual's heading, and what decoding needs to know of it.

    `lockable`: LOCK may stand before it if its destination is memory. `repeatable`: F3 and F2
    repeat it. `implied_operands`: its operands are fixed registers and (segment):eSI, ES:eDI or
    (segment):eBX, so the form has none. `since` is the first model (`isa.x86.models`) that has it,
    `escaped_since` the first that has it as an opcode after 0F, `wide_since` the first that has it
    for XMM registers. `negatable`: F2 and F3 make an 8086 negate its result. `multimedia`: it is
    for MMX registers (perhaps others, too); 66, F2 or F3 before it make it another instruction, of
    newer processors.
    """

    mnemonic: str
    meaning: Meaning
    heading: str
    parameters: tuple[Any, ...] = ()
    lockable: bool = False
    repeatable: bool = False
    implied_operands: bool = False
    negatable: bool = False
    multimedia: bool = False
    since: str = "8086"
    escaped_since: str = ""
    wide_since: str = ""


INSTRUCTIONS: Final[dict[str, Entry]] = {}


def instruction(
    *mnemonics: str,
    heading: str,
    parameters: tuple[Any, ...] = (),
    since: str = "8086",
    escaped_since: str = "",
    wide_since: str = "",
    **facts: bool,
) -> Callable[[Meaning], Meaning]:
    """Decorator: enter a meaning under its mnemonics (capstone's spelling).

    `heading` is the title of its section in SDM volume 2; the others are of `Entry`; what has no
    `escaped_since` is as old after 0F, what has no `wide_since` is as old for XMM registers. The
    meaning is called as meaning(m, *parameters, *operands). Raises ValueError if a mnemonic is
    taken.
    """

    def enter(meaning: Meaning) -> Meaning:
        for mnemonic in mnemonics:
            if mnemonic in INSTRUCTIONS:
                raise ValueError(f"{mnemonic} has two meanings")
            INSTRUCTIONS[mnemonic] = Entry(
                mnemonic, meaning, heading, parameters, since=since,
                escaped_since=escaped_since or since, wide_since=wide_since or since, **facts,
            )  # fmt: skip
        return meaning

    return enter
