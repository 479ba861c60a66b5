"""The processor after RESET (SDM volume 3, section 9.1.1 and table 9-1)."""

from __future__ import annotations

from isa.registers import Register
from isa.x86.models import Model
from isa.x86.registers import (
    CR0,
    DR6,
    DR7,
    EDX,
    EFLAGS,
    EIP,
    FCW,
    FULL,
    GDT_LIMIT,
    IDT_LIMIT,
    LDT_ATTRIBUTES,
    LDT_LIMIT,
    MXCSR,
    MXCSR_INITIAL,
    REGISTERS,
    SEGMENTS,
    TR_ATTRIBUTES,
    TR_LIMIT,
)  # fmt: skip

WRITABLE_DATA, LDT, BUSY_TSS = 0x93, 0x82, 0x8B  # descriptor attributes, present
CACHE_OFF_AND_X87_TYPE = 0x60000010  # CR0: CD, NW, ET


def reset_values(model: Model) -> dict[Register, int]:
    """Every register's value; EDX tells family, model and stepping."""
    values = dict.fromkeys(REGISTERS, 0)
    for segment in SEGMENTS.values():
        values |= {segment.limit: 0xFFFF, segment.attributes: WRITABLE_DATA}
    code = SEGMENTS["cs"]
    values |= dict(zip((code.selector, code.base, EIP), model.start, strict=True))
    signature = model.identity.signature
    values |= {GDT_LIMIT: 0xFFFF, IDT_LIMIT: 0xFFFF, EDX: signature, DR6: 0xFFFF0FF0, DR7: 0x400}
    values |= {LDT_LIMIT: 0xFFFF, LDT_ATTRIBUTES: LDT, TR_LIMIT: 0xFFFF, TR_ATTRIBUTES: BUSY_TSS}
    values |= {FCW: 0x40, FULL: 0xFF}  # all registers hold zeros (SDM volume 3, table 9-1)
    values |= MXCSR.unpack(MXCSR_INITIAL if model.has("pentium3") else 0)
    return values | CR0.unpack(CACHE_OFF_AND_X87_TYPE & model.cr0) | EFLAGS.unpack(2)
