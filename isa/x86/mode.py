"""The x86's mode: what decoding and meanings depend on besides the bytes."""

from __future__ import annotations

from isa.hints import Final, Sequence
from isa.record import NamedTuple
from isa.registers import Register
from isa.x86.models import has_system
from isa.x86.registers import (
    AC,
    AM,
    ARRIVAL,
    CPL,
    DR7,
    PE,
    PENDING,
    RF,
    SEGMENT_NAMES,
    SEGMENTS,
    SHADOW,
    TF,
    VM,
)  # fmt: skip

ATTRIBUTE_BIG: Final = 1 << 10  # D/B of a descriptor


class Mode(NamedTuple):
    """A function of the mode registers; part of every form, so traces may rely on it.

    `flat` names the segments with base 0, limit 4 GiB - 1, present and fit for data (ES SS DS FS GS
    writable) or code (CS readable): a trace needs no segment check for them.
    """

    code_size: int  # 16 or 32: default operand and address size
    stack_size: int  # 16 or 32: width of the stack pointer
    flat: tuple[str, ...]
    cpl: int
    alignment: bool  # data accesses are checked for alignment
    single_step: bool  # a debug trap follows each instruction
    model: str = ""  # the processor, as `isa.x86.models.model_of` knows it
    real: bool = False  # real-address mode (CR0.PE is 0)
    v86: bool = False  # virtual-8086 mode
    shadow: bool = False  # interrupts are held back for this one instruction
    resume: bool = False  # RF: no instruction breakpoint here; this instruction clears it
    debugged: bool = False  # DR7 enables a breakpoint
    pending: bool = False  # a debug trap comes before the next instruction
    arriving: bool = False  # a task's segments are loaded before its next instruction

    @property
    def has_system(self) -> bool:
        """Whether the processor has a system half; a process machine's has none."""
        return has_system(self.model)

    @property
    def segments_are_paragraphs(self) -> bool:
        """Whether a selector is the base's upper 16 of 20 bits: real and virtual-8086 mode."""
        return self.real or self.v86


_CS, _SS = SEGMENTS["cs"], SEGMENTS["ss"]
_CODE_OR_DATA: Final = 0x9A, 0x92  # present, S, and readable code or writable data

MODE_REGISTERS: Final[frozenset[Register]] = frozenset(
    r for s in SEGMENTS.values() for r in (s.base, s.limit, s.attributes)
) | {CPL, AC, TF, AM, DR7, PE, RF, SHADOW, VM, PENDING, ARRIVAL}

DR7_ENABLES: Final = 0xFF


def mode_of(values: Sequence[int], model: str = "") -> Mode:
    """The mode of a machine whose registers hold `values`."""
    flat = tuple(name for name in SEGMENT_NAMES if _is_flat(name, values))
    system = has_system(model)
    return Mode(
        32 if values[_CS.attributes.slot] & ATTRIBUTE_BIG else 16,
        32 if values[_SS.attributes.slot] & ATTRIBUTE_BIG else 16,
        flat,
        values[CPL.slot],
        # A process machine's kernel has set CR0.AM, as every kernel does.
        bool(values[AC.slot] and values[CPL.slot] == 3 and (values[AM.slot] or not system)),
        bool(values[TF.slot]),
        *(_system(values, model) if system else (model,)),
    )


def _system(values: Sequence[int], model: str) -> tuple[str, *tuple[bool, ...]]:
    """What only a machine with a system half has."""
    protected = bool(values[PE.slot])
    return (
        model,
        not protected,
        protected and bool(values[VM.slot]),
        bool(values[SHADOW.slot]),
        bool(values[RF.slot]),
        bool(values[DR7.slot] & DR7_ENABLES),
        bool(values[PENDING.slot]),
        bool(values[ARRIVAL.slot]),
    )


def _is_flat(name: str, values: Sequence[int]) -> bool:
    segment = SEGMENTS[name]
    wanted = _CODE_OR_DATA[0 if name == "cs" else 1]
    kept = wanted | (0x0C if name != "cs" else 0x08)  # data: neither code nor expand-down
    return (
        values[segment.base.slot] == 0
        and values[segment.limit.slot] == 0xFFFFFFFF
        and values[segment.attributes.slot] & kept & 0x9E == wanted
    )


FLAT_USER: Final = Mode(32, 32, SEGMENT_NAMES, 3, alignment=False, single_step=False)
"""The mode of a 32-bit program whose segments all are flat; tools that see only bytes assume it."""
