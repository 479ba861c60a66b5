"""The four kinds of operands that floating-point instructions have, by the ends of mnemonics."""

from __future__ import annotations

from typing import Final, NamedTuple


class Kind(NamedTuple):
    """Numbers of `width` bits, `whole` bits of them; `words` is how the manual says it."""

    suffix: str
    width: int
    whole: int
    since: str
    words: str


KINDS: Final = (
    Kind("ps", 32, 128, "pentium3", "Packed Single Precision Floating-Point Values"),
    Kind("ss", 32, 32, "pentium3", "Scalar Single Precision Floating-Point Values"),
    Kind("pd", 64, 128, "pentium4", "Packed Double Precision Floating-Point Values"),
    Kind("sd", 64, 64, "pentium4", "Scalar Double Precision Floating-Point Values"),
)
