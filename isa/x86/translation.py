"""Who translates linear addresses is told what to forget, by an exit "invalidate".

SDM volume 3, section 4.10.4. Its values are an address and `PAGE`, `NOT_GLOBAL` or `EVERYTHING`.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder

PAGE: Final = 0
NOT_GLOBAL: Final = 1
EVERYTHING: Final = 2


def invalidate(m: X86Builder, what: int, address: Bits | None = None) -> None:
    """Forget the page at `address`, or all that were translated before."""
    m.exit("invalidate", Bits.of(0, 32) if address is None else address, Bits.of(what, 2))
