"""Where a synthesised guest has what: a kernel with flat segments, all of it within one image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from isa.registers import Register
from isa.x86 import registers as r

ORIGIN: Final = 0x100000
CRITICAL: Final = 0x101000  # the instruction in question, and behind it the end
END: Final = 0x101800  # another place at which a guest ends: where a transfer may lead
GDT: Final = 0x102000
IDT: Final = 0x103000
TSS: Final = 0x104000
DATA: Final = 0x105000
DATA_END: Final = 0x108000
KERNEL_STACK: Final = 0x109000

CODE_0, DATA_0, CODE_3, DATA_3, TASK = 0x08, 0x10, 0x18, 0x20, 0x28
DESCRIPTORS: Final[Mapping[int, int]] = {
    0: 0,
    CODE_0: 0x00CF9B000000FFFF,
    DATA_0: 0x00CF93000000FFFF,
    CODE_3: 0x00CFFB000000FFFF,
    DATA_3: 0x00CFF3000000FFFF,
    TASK: 0x00008B0000000067 | (TSS & 0xFFFFFF) << 16 | TSS >> 24 << 56,
}
"""The kernel's own, as they are when it has loaded TR; all others are the witness's."""
GDT_LIMIT, IDT_LIMIT, TSS_LIMIT = 0xFFF, 0x7FF, 0x67

_CODE, _DATA, _BUSY_TASK = 0xC9B, 0xC93, 0x08B

KERNEL: Final[Mapping[Register, int]] = {
    r.PE: 1, r.ET: 1, r.CPL: 0, r.IOPL: 0, r.NT: 0, r.ID: 0, r.VIF: 0, r.VIP: 0, r.OF: 0,
    **dict.fromkeys((r.MP, r.EM, r.TS, r.NE, r.WP, r.AM, r.PG, r.CR2, r.CR3), 0),
    **dict.fromkeys((r.NW, r.CD), 1),  # as a reset leaves them
    **dict.fromkeys((r.VME, r.PVI, r.TSD, r.DE, r.PSE, r.PAE, r.MCE, r.PGE, r.PCE, r.UMIP), 0),
    **dict.fromkeys((*r.DR.members, r.SYSENTER_CS, r.SYSENTER_ESP, r.SYSENTER_EIP), 0),
    r.GDT_BASE: GDT, r.GDT_LIMIT: GDT_LIMIT, r.IDT_BASE: IDT, r.IDT_LIMIT: IDT_LIMIT,
    r.LDTR: 0, r.LDT_BASE: 0, r.LDT_LIMIT: 0, r.LDT_ATTRIBUTES: 0,
    r.TR: TASK, r.TR_BASE: TSS, r.TR_LIMIT: TSS_LIMIT, r.TR_ATTRIBUTES: _BUSY_TASK,
    r.ARRIVAL: 0, r.ARRIVAL_CODE: 0, r.NMI_BLOCKED: 0, r.TSC_OFFSET: 0, r.DR7: 0x400,
    r.EIP: CRITICAL,
}  # fmt: skip
"""What the kernel's instructions have made of the processor when it is there."""


def segments() -> Iterator[tuple[Register, int]]:
    """Flat ones of level 0."""
    for name, segment in r.SEGMENTS.items():
        code = name == "cs"
        yield segment.selector, CODE_0 if code else DATA_0
        yield segment.base, 0
        yield segment.limit, 0xFFFFFFFF
        yield segment.attributes, _CODE if code else _DATA


def fixed_memory() -> Iterator[tuple[int, int]]:
    """Bytes that are the kernel's own."""
    for selector, descriptor in DESCRIPTORS.items():
        for n, byte in enumerate(descriptor.to_bytes(8, "little")):
            yield GDT + selector + n, byte


CONFORMING: Final = 0x30  # code of level 0 that every level may execute
_FILLED: Final = 0x0B08  # the descriptor that a sample's own bytes name: missing
_LEADS: Final = END.to_bytes(4, "little") + CONFORMING.to_bytes(2, "little")


def _bytes(address: int, data: bytes) -> dict[int, int]:
    return {address + n: byte for n, byte in enumerate(data)}


STACK: Final = DATA + 0x2000
_RETURN: Final = b"".join(n.to_bytes(4, "little") for n in (END, CODE_3 | 3))
_OUTER_STACK: Final = b"".join(n.to_bytes(4, "little") for n in (STACK, DATA_3 | 3))
_RELEASED: Final = 0x0B0B  # bytes of parameters that a sample's own bytes release
TRANSFERS: Final[Mapping[int, int]] = {
    **_bytes(GDT + CONFORMING, 0x00CF9F000000FFFF.to_bytes(8, "little")),
    **_bytes(GDT + _FILLED, bytes(8)),
    **_bytes(DATA, _LEADS),
    **_bytes(STACK, _RETURN + _OUTER_STACK),
    **_bytes(STACK + len(_RETURN) + _RELEASED, _OUTER_STACK),
}
"""Memory offered to meanings with many paths.

At DATA is a far pointer to the end of the guest, and on the stack a return there, to level 3.
"""
_VECTORS: Final = 1, 3, 4, 0xC3  # of instructions without one, and what a sample's own byte names
_TRAP_GATE: Final = (END & 0xFFFF | CONFORMING << 16 | 0xEF << 40 | END >> 16 << 48).to_bytes(
    8, "little"
)
OPEN_GATES: Final[Mapping[int, int]] = {
    **_bytes(GDT + CONFORMING, 0x00CF9F000000FFFF.to_bytes(8, "little")),
    **{a: b for vector in _VECTORS for a, b in _bytes(IDT + 8 * vector, _TRAP_GATE).items()},
}
"""Memory offered where gates of the kernel's may be gone through: some for every level, to the end
of the guest."""
SELECTOR: Final[Mapping[int, int]] = _bytes(STACK, (DATA_3 | 3).to_bytes(4, "little"))
"""Memory offered to what takes a selector from the stack."""
