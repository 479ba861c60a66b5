"""What MXCSR says about arithmetic (SDM volume 1, section 10.2.3)."""

from __future__ import annotations

from dataclasses import dataclass

from isa.bits import Bits
from isa.hints import Final
from isa.semantics import Builder
from isa.x86.registers import DAZ, FTZ, SSE_MASKS, SSE_ROUNDING
from isa.x86.x87.rounding import Control, Format

WIDTH: Final = 10


@dataclass(frozen=True, slots=True)
class Settings(Control):
    """MXCSR from its bit 6 on, read as the x87's control word is; a format has one precision."""

    form: Format

    @property
    def to(self) -> Format:
        """The format of results."""
        return self.form

    @property
    def mode(self) -> Bits:
        """The rounding mode."""
        return self.word.bits(7, 2)

    @property
    def unit(self) -> Bits:
        """The last place of a wide significand that the format keeps."""
        return self.form.unit

    def masked(self, exception: int) -> Bits:
        """Whether an exception is masked."""
        return self.word.bit(exception.bit_length())

    @property
    def flushes(self) -> Bits:
        """Whether masked underflows give zeros (FTZ)."""
        return self.word.bit(9)

    @property
    def ignores_denormals(self) -> Bits:
        """Whether denormal operands are zeros (DAZ)."""
        return self.word.bit(0)


def settings(m: Builder) -> Bits:
    """The word of `Settings`: a family's last argument."""
    upper = m.get(FTZ).concat(m.get(SSE_ROUNDING))
    return upper.concat(m.get(SSE_MASKS)).concat(m.get(DAZ))
