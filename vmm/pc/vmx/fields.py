"""The fields of a VMCS by their encodings (SDM volume 3, section 24.11.2 and appendix B).

An encoding tells by itself what kind of field it is: bit 0 is the access type (1: the upper half of
64 bits), 9:1 the index, 11:10 the area, 14:13 the width.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from isa.x86.registers import SEGMENT_NAMES

CONTROL, EXIT_INFORMATION, GUEST, HOST = range(4)  # areas
_WIDTHS: Final = (16, 64, 32, 32)  # natural width is that of the processor: 32 bits


class Field(IntEnum):
    """Fields that this processor has, by their names in the manual."""

    # Controls.
    IO_BITMAP_A = 0x2000
    IO_BITMAP_B = 0x2002
    MSR_BITMAP = 0x2004
    EXIT_MSR_STORE_ADDRESS = 0x2006
    EXIT_MSR_LOAD_ADDRESS = 0x2008
    ENTRY_MSR_LOAD_ADDRESS = 0x200A
    EXECUTIVE_VMCS_POINTER = 0x200C
    TSC_OFFSET = 0x2010
    EPT_POINTER = 0x201A
    PIN_BASED_CONTROLS = 0x4000
    PROCESSOR_BASED_CONTROLS = 0x4002
    EXCEPTION_BITMAP = 0x4004
    PAGE_FAULT_MASK = 0x4006
    PAGE_FAULT_MATCH = 0x4008
    CR3_TARGET_COUNT = 0x400A
    EXIT_CONTROLS = 0x400C
    EXIT_MSR_STORE_COUNT = 0x400E
    EXIT_MSR_LOAD_COUNT = 0x4010
    ENTRY_CONTROLS = 0x4012
    ENTRY_MSR_LOAD_COUNT = 0x4014
    ENTRY_INTERRUPTION = 0x4016
    ENTRY_EXCEPTION_CODE = 0x4018
    ENTRY_INSTRUCTION_LENGTH = 0x401A
    SECONDARY_CONTROLS = 0x401E
    CR0_MASK = 0x6000
    CR4_MASK = 0x6002
    CR0_READ_SHADOW = 0x6004
    CR4_READ_SHADOW = 0x6006
    CR3_TARGET_0 = 0x6008
    CR3_TARGET_1 = 0x600A
    CR3_TARGET_2 = 0x600C
    CR3_TARGET_3 = 0x600E

    # What an exit tells; read-only.
    GUEST_PHYSICAL_ADDRESS = 0x2400
    INSTRUCTION_ERROR = 0x4400
    EXIT_REASON = 0x4402
    EXIT_INTERRUPTION = 0x4404
    EXIT_INTERRUPTION_CODE = 0x4406
    VECTORING = 0x4408
    VECTORING_CODE = 0x440A
    EXIT_INSTRUCTION_LENGTH = 0x440C
    EXIT_INSTRUCTION_INFORMATION = 0x440E
    EXIT_QUALIFICATION = 0x6400
    GUEST_LINEAR_ADDRESS = 0x640A

    # The guest's state.
    GUEST_ES_SELECTOR = 0x0800
    GUEST_CS_SELECTOR = 0x0802
    GUEST_SS_SELECTOR = 0x0804
    GUEST_DS_SELECTOR = 0x0806
    GUEST_FS_SELECTOR = 0x0808
    GUEST_GS_SELECTOR = 0x080A
    GUEST_LDTR_SELECTOR = 0x080C
    GUEST_TR_SELECTOR = 0x080E
    LINK_POINTER = 0x2800
    GUEST_DEBUGCTL = 0x2802
    GUEST_ES_LIMIT = 0x4800
    GUEST_CS_LIMIT = 0x4802
    GUEST_SS_LIMIT = 0x4804
    GUEST_DS_LIMIT = 0x4806
    GUEST_FS_LIMIT = 0x4808
    GUEST_GS_LIMIT = 0x480A
    GUEST_LDTR_LIMIT = 0x480C
    GUEST_TR_LIMIT = 0x480E
    GUEST_GDTR_LIMIT = 0x4810
    GUEST_IDTR_LIMIT = 0x4812
    GUEST_ES_RIGHTS = 0x4814
    GUEST_CS_RIGHTS = 0x4816
    GUEST_SS_RIGHTS = 0x4818
    GUEST_DS_RIGHTS = 0x481A
    GUEST_FS_RIGHTS = 0x481C
    GUEST_GS_RIGHTS = 0x481E
    GUEST_LDTR_RIGHTS = 0x4820
    GUEST_TR_RIGHTS = 0x4822
    GUEST_INTERRUPTIBILITY = 0x4824
    GUEST_ACTIVITY = 0x4826
    GUEST_SMBASE = 0x4828
    GUEST_SYSENTER_CS = 0x482A
    GUEST_CR0 = 0x6800
    GUEST_CR3 = 0x6802
    GUEST_CR4 = 0x6804
    GUEST_ES_BASE = 0x6806
    GUEST_CS_BASE = 0x6808
    GUEST_SS_BASE = 0x680A
    GUEST_DS_BASE = 0x680C
    GUEST_FS_BASE = 0x680E
    GUEST_GS_BASE = 0x6810
    GUEST_LDTR_BASE = 0x6812
    GUEST_TR_BASE = 0x6814
    GUEST_GDTR_BASE = 0x6816
    GUEST_IDTR_BASE = 0x6818
    GUEST_DR7 = 0x681A
    GUEST_ESP = 0x681C
    GUEST_EIP = 0x681E
    GUEST_EFLAGS = 0x6820
    GUEST_PENDING_DEBUG = 0x6822
    GUEST_SYSENTER_ESP = 0x6824
    GUEST_SYSENTER_EIP = 0x6826

    # The host's.
    HOST_ES_SELECTOR = 0x0C00
    HOST_CS_SELECTOR = 0x0C02
    HOST_SS_SELECTOR = 0x0C04
    HOST_DS_SELECTOR = 0x0C06
    HOST_FS_SELECTOR = 0x0C08
    HOST_GS_SELECTOR = 0x0C0A
    HOST_TR_SELECTOR = 0x0C0C
    HOST_SYSENTER_CS = 0x4C00
    HOST_CR0 = 0x6C00
    HOST_CR3 = 0x6C02
    HOST_CR4 = 0x6C04
    HOST_FS_BASE = 0x6C06
    HOST_GS_BASE = 0x6C08
    HOST_TR_BASE = 0x6C0A
    HOST_GDTR_BASE = 0x6C0C
    HOST_IDTR_BASE = 0x6C0E
    HOST_SYSENTER_ESP = 0x6C10
    HOST_SYSENTER_EIP = 0x6C12
    HOST_ESP = 0x6C14
    HOST_EIP = 0x6C16


FIELDS: Final = frozenset(map(int, Field))
SEGMENT_ORDER: Final = (*SEGMENT_NAMES, "ldtr", "tr")
HALF: Final = 1  # the access type of the upper half


def area(encoding: int) -> int:
    """Bits 11:10: controls, what an exit tells, the guest's state, the host's."""
    return encoding >> 10 & 3


def width(encoding: int) -> int:
    """Bits 14:13, in bits of the field."""
    return _WIDTHS[encoding >> 13 & 3]


def segment_field(kind: str, name: str) -> Field:
    """The guest's field of a segment register: its selector, limit, rights or base."""
    return Field[f"GUEST_{name.upper()}_{kind.upper()}"]
