"""Gates of protected mode (SDM volume 3, sections 5.8 and 6.10–6.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder
    from isa.x86.delivery import Event


def interrupt(m: X86Builder, event: Event) -> None:
    """Go through the vector's gate of the interrupt descriptor table."""
    m.exit("unimplemented")
