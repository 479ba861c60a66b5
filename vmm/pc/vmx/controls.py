"""VMX controls: bits by their positions in the SDM, and which this processor offers.

SDM volume 3, sections 24.6 to 24.8; appendix A: a capability MSR says of each bit whether it may be
0 and whether it may be 1. Bits that must be 1 are those of the `TRUE` capability MSRs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from vmm.pc.vmx.fields import Field


class Pin(IntFlag):
    """Pin-based VM-execution controls (table 24-5)."""

    EXTERNAL_INTERRUPT_EXITING = 1 << 0
    NMI_EXITING = 1 << 3
    VIRTUAL_NMIS = 1 << 5


class Primary(IntFlag):
    """Primary processor-based VM-execution controls (table 24-6)."""

    INTERRUPT_WINDOW_EXITING = 1 << 2
    USE_TSC_OFFSETTING = 1 << 3
    HLT_EXITING = 1 << 7
    INVLPG_EXITING = 1 << 9
    RDPMC_EXITING = 1 << 11
    RDTSC_EXITING = 1 << 12
    CR3_LOAD_EXITING = 1 << 15
    CR3_STORE_EXITING = 1 << 16
    MOV_DR_EXITING = 1 << 23
    UNCONDITIONAL_IO_EXITING = 1 << 24
    USE_IO_BITMAPS = 1 << 25
    ACTIVATE_SECONDARY = 1 << 31


class Secondary(IntFlag):
    """Secondary processor-based VM-execution controls (table 24-7)."""

    ENABLE_EPT = 1 << 1
    DESCRIPTOR_TABLE_EXITING = 1 << 2
    WBINVD_EXITING = 1 << 6
    UNRESTRICTED_GUEST = 1 << 7


class AtExit(IntFlag):
    """VM-exit controls (table 24-10)."""

    SAVE_DEBUG_CONTROLS = 1 << 2
    ACKNOWLEDGE_INTERRUPT = 1 << 15


class AtEntry(IntFlag):
    """VM-entry controls (table 24-12)."""

    LOAD_DEBUG_CONTROLS = 1 << 2


@dataclass(frozen=True, slots=True)
class Capability:
    """Bits that must be 1, and bits that may be."""

    always: int
    possible: int

    def allows(self, value: int) -> bool:
        """Whether a control field may have this value."""
        return not (self.always & ~value or value & ~(self.always | self.possible))

    def adjusted(self, wanted: int) -> int:
        """What software that wants some bits has to write."""
        return wanted | self.always


def _all(flags: type[IntFlag]) -> int:
    return sum(int(flag) for flag in flags)


CAPABILITIES: Final[Mapping[Field, Capability]] = {
    Field.PIN_BASED_CONTROLS: Capability(0x16, _all(Pin)),
    Field.PROCESSOR_BASED_CONTROLS: Capability(0x04006172, _all(Primary)),
    Field.SECONDARY_CONTROLS: Capability(0, _all(Secondary)),
    Field.EXIT_CONTROLS: Capability(0x36DFB, _all(AtExit)),
    Field.ENTRY_CONTROLS: Capability(0x11FB, _all(AtEntry)),
}
"""IA32_VMX_TRUE_PINBASED_CTLS and its like (appendix A.3 to A.5)."""
REVISION: Final = 0x50504B31
"""VMCS revision identifier (IA32_VMX_BASIC, bits 30:0)."""
REGION: Final = 4096  # bytes of a VMCS or VMXON region (IA32_VMX_BASIC, bits 44:32)
CR3_TARGETS: Final = 4  # IA32_VMX_MISC, bits 24:16
HALT_SUPPORTED: Final = 1  # the one activity state besides active (IA32_VMX_MISC, bit 6)
EPT_WRITE_BACK, EPT_UNCACHEABLE = 6, 0  # memory types (IA32_VMX_EPT_VPID_CAP, bits 14 and 8)
EPT_WALK_LENGTH: Final = 4  # bit 6
INVEPT_TYPES: Final = (1, 2)  # single-context, all-context (bits 25 and 26)
CR0_FIXED: Final = 1 << 31 | 1 << 5 | 1  # IA32_VMX_CR0_FIXED0: PG NE PE must be 1 …
CR0_UNRESTRICTED: Final = 1 << 31 | 1  # … of which an unrestricted guest may have these 0
CR4_FIXED: Final = 1 << 13  # IA32_VMX_CR4_FIXED0: VMXE
