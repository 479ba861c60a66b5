"""Kinds of flags that stitched code leaves pending (see `pending.py`), as tables have them."""

from __future__ import annotations

from isa.record import NamedTuple

WRITES, WORD, MASK, KIND, KEEPS = 8, 9, 12, 32, 48  # where what is in `FlagFacts.packed`
WORD_BITS, MASK_BITS, KIND_BITS = 3, 16, 16
READER, READER_BITS = 56, 8

_READ = "read"


class FlagFacts(NamedTuple):
    """What stitching has to know of a form: which status flags must be there before it, by number,
    as bits; whether it writes some; the name of the kind that it leaves pending, if it does; which
    word of a record must have some bit of a mask for that to hold (0: none); and which flags a form
    that leaves some pending does not change: those must be there if anybody may still read them;
    and whether it has more stencils, one for each kind that it may find pending (see `reader_of`).
    """

    needs: int = 0
    writes: bool = False
    kind: str = ""
    word: int = 0
    mask: int = 0
    keeps: int = 0
    is_reader: bool = False

    def packed(self, number: int, reader: int = 0) -> int:
        """The same in 64 bits, with the kind's number and the reader's (0: it is none)."""
        facts = self.needs | self.writes << WRITES | number << KIND
        facts |= self.word << WORD | self.mask << MASK | self.keeps << KEEPS
        return facts | reader << READER


def settler_of(kind: str) -> str:
    """The symbol of the function that computes all flags of a kind."""
    return f"settle.{kind}"


def is_settler(symbol: str) -> bool:
    """Whether a symbol is that of such a function."""
    return symbol.startswith(settler_of(""))


def evaluator_of(kind: str, flag: int) -> str:
    """The symbol of the stencil that computes one flag, by its number."""
    return f"evaluate.{kind}.{flag}"


def reader_of(kind: str, stencil: str) -> str:
    """The symbol of what does what a stencil does (by its symbol) while a kind is pending: it reads
    no flags, but what they follow from."""
    return f"{_READ}.{kind}.{stencil}"


def read_by(symbol: str) -> tuple[str, str] | None:
    """The kind and the stencil of such a symbol; None if it is another one's."""
    name, _, rest = symbol.partition(".")
    kind, _, stencil = rest.partition(".")
    return (kind, stencil) if name == _READ else None


def pending_hole(kind: str) -> str:
    """The symbol of the hole for a kind's number."""
    return f"pending.{kind}"
