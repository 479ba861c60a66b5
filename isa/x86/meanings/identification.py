"""CPUID: what the processor says of itself follows from what the table and its model contain."""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import Final
from isa.x86.builder import X86Builder
from isa.x86.models import Identity, Model
from isa.x86.registers import CR4, EAX, EBX, ECX, EDX
from isa.x86.table import INSTRUCTIONS, instruction

Answer = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""

_FEATURES: Final = {
    "fld": 0, "rdtsc": 4, "cmpxchg8b": 8, "cmove": 15, "clflush": 19, "emms": 23, "fxsave": 24,
    "movaps": 25, "movdqa": 26,
}  # fmt: skip
"""An instruction, and the bit of EDX that promises it and its like (SDM 2, CPUID, leaf 1)."""
_LINE: Final = 64 // 8 << 8
"""EBX of leaf 1: how many quadwords CLFLUSH flushes."""
_SYSTEM_FEATURES: Final = {"rdmsr": 5, "sysenter": 11}
"""The same of what a process machine's kernel keeps for itself."""
_CONTROLS: Final = {"vme": 1, "de": 2, "pse": 3, "pge": 13}
"""A bit of CR4, and the feature that it switches on."""


def features(model: Model, *, system: bool) -> int:
    """Leaf 1's EDX; `system`: of a processor whose system half is there."""
    promised = {**_FEATURES, **(_SYSTEM_FEATURES if system else {})}
    found = sum(1 << bit for name, bit in promised.items() if _has(model, name))
    if system:
        places = {register.name: low for register, low in CR4.fields}
        found |= sum(1 << bit for name, bit in _CONTROLS.items() if model.cr4 >> places[name] & 1)
    return found


def _has(model: Model, mnemonic: str) -> bool:
    entry = INSTRUCTIONS.get(mnemonic)
    if entry is None or (mnemonic.startswith("f") and not model.has_coprocessor):
        return False
    return model.has(entry.since)


def leaves(identity: Identity, feature_bits: int) -> dict[int, Answer]:
    """The basic leaves, and the first extended one, which says that there are no more."""
    vendor = identity.vendor
    first, second, third = (int.from_bytes(vendor[n : n + 4], "little") for n in (0, 4, 8))
    caches = identity.caches
    highest = 1 if caches is None else 2
    line = _LINE if feature_bits >> _FEATURES["clflush"] & 1 else 0
    basic = {1: (identity.signature, line, 0, feature_bits)}
    if caches is not None:
        basic[2] = caches
    extended = {0x80000000: (0x80000000, 0, 0, 0)}
    return {0: (highest, first, third, second), **extended, **basic}


@instruction("cpuid", heading="CPUID—CPU Identification", since="pentium")
def cpuid(m: X86Builder) -> None:
    """A leaf that does not exist answers as the highest basic one does."""
    leaf = m.get(EAX)
    feature_bits = features(m.model, system=m.mode.has_system)
    *others, (_, last) = leaves(m.model.identity, feature_bits).items()
    for number, register in enumerate((EAX, EBX, ECX, EDX)):
        value = Bits.of(last[number], 32)
        for key, answer in others:
            value = (leaf == key).select(answer[number], value)
        m.put(register, value)
