"""SSE's conversions (SDM volume 1, sections 10.4.3 and 11.4.1.4)."""

from __future__ import annotations

from isa.functions import Family
from isa.hints import Final
from isa.record import NamedTuple
from isa.x86.builder import Operand, X86Builder
from isa.x86.form import Mm
from isa.x86.lanes import lanes, packed
from isa.x86.sse import conversion, entry
from isa.x86.sse.exceptions import settle
from isa.x86.sse.settings import settings
from isa.x86.table import Meaning, instruction
from isa.x86.x87.multimedia import Multimedia
from isa.x86.x87.result import Result

SSE, SSE2 = "pentium3", "pentium4"
_INTEGERS, _SINGLES, _DOUBLES = (
    "Packed Doubleword Integers",
    "Packed Single Precision Floating-Point Values",
    "Packed Double Precision Floating-Point Values",
)
_INTEGER, _SINGLE, _DOUBLE = (
    "Doubleword Integer",
    "Scalar Single Precision Floating-Point Value",
    "Scalar Double Precision Floating-Point Value",
)


class Conversion(NamedTuple):
    """One mnemonic: `lanes` numbers of `width` bits, each converted by `family`.

    `clears`: the upper half of the destination becomes 0. `moves`: the unit becomes MMX's even
    where no MMX register is named.
    """

    mnemonic: str
    family: Family
    width: int
    lanes: int
    since: str
    source: str
    target: str
    clears: bool = False
    moves: bool = False

    @property
    def heading(self) -> str:
        """The title of its section in the manual."""
        how = " With Truncation" if self.mnemonic.startswith("cvtt") else ""
        return f"{self.mnemonic.upper()}—Convert{how} {self.source} to {self.target}"


_FROM_INTEGER = conversion.integer_to_single, conversion.integer_to_double
_TO_INTEGER, _TRUNCATE = conversion.to_integer, conversion.truncate
_CONVERSIONS: Final = (
    Conversion("cvtpi2ps", _FROM_INTEGER[0], 32, 2, SSE, _INTEGERS, _SINGLES, moves=True),
    Conversion("cvtpi2pd", _FROM_INTEGER[1], 32, 2, SSE2, _INTEGERS, _DOUBLES),
    Conversion("cvtdq2ps", _FROM_INTEGER[0], 32, 4, SSE2, _INTEGERS, _SINGLES),
    Conversion("cvtdq2pd", _FROM_INTEGER[1], 32, 2, SSE2, _INTEGERS, _DOUBLES),
    Conversion("cvtsi2ss", _FROM_INTEGER[0], 32, 1, SSE, _INTEGER, _SINGLE),
    Conversion("cvtsi2sd", _FROM_INTEGER[1], 32, 1, SSE2, _INTEGER, _DOUBLE),
    Conversion("cvtps2pi", _TO_INTEGER, 32, 2, SSE, _SINGLES, _INTEGERS),
    Conversion("cvttps2pi", _TRUNCATE, 32, 2, SSE, _SINGLES, _INTEGERS),
    Conversion("cvtpd2pi", _TO_INTEGER, 64, 2, SSE2, _DOUBLES, _INTEGERS),
    Conversion("cvttpd2pi", _TRUNCATE, 64, 2, SSE2, _DOUBLES, _INTEGERS),
    Conversion("cvtps2dq", _TO_INTEGER, 32, 4, SSE2, _SINGLES, _INTEGERS),
    Conversion("cvttps2dq", _TRUNCATE, 32, 4, SSE2, _SINGLES, _INTEGERS),
    Conversion("cvtpd2dq", _TO_INTEGER, 64, 2, SSE2, _DOUBLES, _INTEGERS, clears=True),
    Conversion("cvttpd2dq", _TRUNCATE, 64, 2, SSE2, _DOUBLES, _INTEGERS, clears=True),
    Conversion("cvtss2si", _TO_INTEGER, 32, 1, SSE, _SINGLE, _INTEGER),
    Conversion("cvttss2si", _TRUNCATE, 32, 1, SSE, _SINGLE, _INTEGER),
    Conversion("cvtsd2si", _TO_INTEGER, 64, 1, SSE2, _DOUBLE, _INTEGER),
    Conversion("cvttsd2si", _TRUNCATE, 64, 1, SSE2, _DOUBLE, _INTEGER),
    Conversion("cvtps2pd", conversion.to_double, 32, 2, SSE2, _SINGLES, _DOUBLES),
    Conversion("cvtpd2ps", conversion.to_single, 64, 2, SSE2, _DOUBLES, _SINGLES, clears=True),
    Conversion("cvtss2sd", conversion.to_double, 32, 1, SSE2, _SINGLE, _DOUBLE),
    Conversion("cvtsd2ss", conversion.to_single, 64, 1, SSE2, _DOUBLE, _SINGLE),
)


def _enter(meaning: Meaning) -> Meaning:
    for found in _CONVERSIONS:
        instruction(found.mnemonic, heading=found.heading, parameters=(found,), since=found.since)(
            meaning
        )
    return meaning


@_enter
def convert(m: X86Builder, how: Conversion, dst: Operand, src: Operand) -> None:
    """#XM does not take back that the unit became MMX's: so silicon, where the manual is silent."""
    entry.begin(m)
    named = any(isinstance(operand.shape, Mm) for operand in (dst, src))
    unit = Multimedia(m) if named or how.moves else None
    whole = how.width * how.lanes
    from_unit = unit is not None and isinstance(src.shape, Mm)
    value = unit.read(src) if unit and from_unit else entry.read(m, src, whole)
    word = settings(m)
    results = [Result.unpack(how.family(x, word)["result"]) for x in lanes(value, how.width)]
    settle(m, results, unit.turned if unit else {})
    found = packed([result.value for result in results])
    if unit is not None and isinstance(dst.shape, Mm):
        unit.write(dst, found)
    else:
        entry.write(m, dst, found.zext(entry.WIDTH) if how.clears else found)
