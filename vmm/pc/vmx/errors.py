"""VM-instruction error numbers (SDM volume 3, section 30.4)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Error(IntEnum):
    """Numbers that VMfailValid leaves in the field INSTRUCTION_ERROR."""

    VMCALL_IN_ROOT = 1
    VMCLEAR_ADDRESS = 2
    VMCLEAR_VMXON_POINTER = 3
    VMLAUNCH_NOT_CLEAR = 4
    VMRESUME_NOT_LAUNCHED = 5
    ENTRY_CONTROLS = 7
    ENTRY_HOST_STATE = 8
    VMPTRLD_ADDRESS = 9
    VMPTRLD_VMXON_POINTER = 10
    VMPTRLD_REVISION = 11
    UNSUPPORTED_FIELD = 12
    READ_ONLY_FIELD = 13
    VMXON_IN_ROOT = 15
    ENTRY_MOV_SS = 26
    INVEPT_OPERAND = 28


SUCCEED: Final = 0
"""VMsucceed: all of CF PF AF ZF SF OF are 0."""
FAIL_INVALID: Final = -1
"""VMfailInvalid: CF; there is no current VMCS to tell more."""
FAULT: Final = -2
"""#UD, as the processor is not in VMX operation, or #GP as it cannot get there."""


class VmxError(Exception):
    """A call of the monitor's own failed: a bug of ours, never a guest's."""

    def __init__(self, call: str, outcome: int) -> None:
        told = {FAIL_INVALID: "VMfailInvalid", FAULT: "a fault"}.get(outcome)
        super().__init__(f"{call}: {told or f'VMfailValid({outcome}), {Error(outcome).name}'}")
