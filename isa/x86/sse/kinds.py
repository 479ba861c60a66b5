"""The four kinds of operands that floating-point instructions have, by the ends of mnemonics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isa.hints import Final
from isa.record import NamedTuple
from isa.x86.table import Meaning, instruction


class Kind(NamedTuple):
    """Numbers of `width` bits, `whole` bits of them."""

    suffix: str
    width: int
    whole: int
    since: str

    @property
    def words(self) -> str:
        """What the manual's headings call such a number."""
        return f"{'Single' if self.width == 32 else 'Double'} Precision Floating-Point"


PACKED: Final = Kind("ps", 32, 128, "pentium3"), Kind("pd", 64, 128, "pentium4")
SCALAR: Final = Kind("ss", 32, 32, "pentium3"), Kind("sd", 64, 64, "pentium4")
SINGLES: Final = PACKED[0], SCALAR[0]
_RENAMED: Final = {"cmpsd": "cmpsd_xmm"}  # CMPSD compares strings


def each_kind(
    name: str, of_packed: str, of_scalar: str, *parameters: object,
    kinds: Sequence[Kind] = PACKED + SCALAR,
) -> Callable[[Meaning], Meaning]:  # fmt: skip
    """Decorator: enter a meaning under a name and the ends of several kinds.

    Each has the parameters and its kind as parameters; in the manual's headings # stands for what
    the numbers are called.
    """

    def enter(meaning: Meaning) -> Meaning:
        for kind in kinds:
            mnemonic = name + kind.suffix
            heading = (of_packed if kind in PACKED else of_scalar).replace("#", kind.words)
            instruction(
                _RENAMED.get(mnemonic, mnemonic),
                heading=f"{mnemonic.upper()}—{heading}",
                parameters=(*parameters, kind),
                since=kind.since,
            )(meaning)
        return meaning

    return enter
