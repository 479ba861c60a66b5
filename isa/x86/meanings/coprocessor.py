"""What there is of the coprocessor's instructions beside their meanings."""

from __future__ import annotations

from isa.x86.builder import X86Builder
from isa.x86.x87.entry import require_unit


def escape(m: X86Builder) -> None:
    """An instruction that is not in `isa` yet: #NM, where there may be a unit, comes first."""
    require_unit(m)
    m.exit("unimplemented")
