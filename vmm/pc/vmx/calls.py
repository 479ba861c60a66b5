"""The VMX instructions, as the monitor's calls (SDM volume 3, chapter 30).

Each answers with SUCCEED, FAIL_INVALID, FAULT, or the number of VMfailValid, which then is also in
the current VMCS. None of them writes to anything but the VMCS that it names.
"""

from __future__ import annotations

from typing import Final

from emu.memory import PAGE_MASK, PAGE_SIZE
from emu.pc.memory import PhysicalMap
from isa.x86.registers import PE
from vmm.pc.vmx import checks
from vmm.pc.vmx.controls import INVEPT_TYPES, REVISION
from vmm.pc.vmx.errors import FAIL_INVALID, FAULT, SUCCEED, Error
from vmm.pc.vmx.fields import EXIT_INFORMATION, FIELDS, GUEST, HALF, HOST, Field, area, width
from vmm.pc.vmx.guest_area import GuestArea
from vmm.pc.vmx.reasons import ENTRY_FAILURE, VALID, Reason
from vmm.pc.vmx.vmcs import Vmcs

ENTRY_FAILED: Final = -3
"""The guest's state was invalid: the exit reason tells."""
NO_POINTER: Final = (1 << 64) - 1
_EVENT: Final = frozenset(
    {Field.ENTRY_INTERRUPTION, Field.ENTRY_EXCEPTION_CODE, Field.ENTRY_INSTRUCTION_LENGTH}
)


class Vmx:
    """A logical processor's VMX operation.

    Regions lie in pages `first` .. `end` - 1 of the physical memory, which are the monitor's: any
    other address is an invalid one.
    """

    def __init__(self, memory: PhysicalMap, first: int, end: int, guest: GuestArea) -> None:
        self._memory = memory
        self._range = range(first, end, PAGE_SIZE)
        self._guest = guest
        self.root: int | None = None  # the VMXON pointer
        self.current: Vmcs | None = None
        self.entered = False  # in non-root operation
        self._in_processor = False  # the guest-state area is kept in the processor
        self._changed: set[int] = set()  # areas of fields written since they were checked
        self._event_changed = False

    # -- VMX operation -----------------------------------------------------------------------

    def vmxon(self, address: int) -> int:
        """Enter VMX operation."""
        if self.root is not None:
            return self._fail(Error.VMXON_IN_ROOT)
        if not self._is_region(address) or Vmcs(self._memory, address).revision != REVISION:
            return FAIL_INVALID
        self.root = address
        return SUCCEED

    def vmxoff(self) -> int:
        """Leave it."""
        if self._forbidden:
            return FAULT
        self._put_away()
        self.root = None
        return SUCCEED

    @property
    def _forbidden(self) -> bool:
        return self.root is None or self.entered

    def _is_region(self, address: int) -> bool:
        return not address & PAGE_MASK and address in self._range

    def _fail(self, error: Error) -> int:
        """VMfail (section 30.2)."""
        if self.current is None:
            return FAIL_INVALID
        self.current.write(Field.INSTRUCTION_ERROR, error)
        return error

    # -- VMCS pointers -----------------------------------------------------------------------

    def vmclear(self, address: int) -> int:
        """Make a VMCS clear and not current, and all of it be in its region."""
        if self._forbidden:
            return FAULT
        if not self._is_region(address):
            return self._fail(Error.VMCLEAR_ADDRESS)
        if address == self.root:
            return self._fail(Error.VMCLEAR_VMXON_POINTER)
        if self.current is not None and self.current.address == address:
            self._put_away()
        Vmcs(self._memory, address).launched = False
        return SUCCEED

    def vmptrld(self, address: int) -> int:
        """Make a VMCS current."""
        if self._forbidden:
            return FAULT
        if not self._is_region(address):
            return self._fail(Error.VMPTRLD_ADDRESS)
        if address == self.root:
            return self._fail(Error.VMPTRLD_VMXON_POINTER)
        found = Vmcs(self._memory, address)
        if found.revision != REVISION:
            return self._fail(Error.VMPTRLD_REVISION)
        self._put_away()
        self.current = found
        self._changed, self._event_changed = {0, GUEST, HOST}, True
        return SUCCEED

    def vmptrst(self) -> tuple[int, int]:
        """The current VMCS pointer."""
        if self._forbidden:
            return FAULT, 0
        return SUCCEED, NO_POINTER if self.current is None else self.current.address

    def _put_away(self) -> None:
        self._store_guest()
        self.current = None

    def _store_guest(self) -> None:
        if self._in_processor and self.current is not None:
            self._guest.store(self.current)
        self._in_processor = False

    # -- fields ------------------------------------------------------------------------------

    def vmread(self, encoding: int) -> tuple[int, int]:
        """A field, or the lower or upper half of one of 64 bits; what happened and the value."""
        if self._forbidden:
            return FAULT, 0
        if self.current is None:
            return FAIL_INVALID, 0
        field = encoding & ~HALF
        if not _exists(encoding):
            return self._fail(Error.UNSUPPORTED_FIELD), 0
        if area(field) == GUEST:
            self._store_guest()
        value = self.current.read(field)
        return SUCCEED, value >> 32 if encoding & HALF else value & 0xFFFFFFFF

    def vmwrite(self, encoding: int, value: int) -> int:
        """Set a field; the lower half of one of 64 bits clears the upper half."""
        if self._forbidden:
            return FAULT
        if self.current is None:
            return FAIL_INVALID
        field, value = encoding & ~HALF, value & 0xFFFFFFFF
        if not _exists(encoding):
            return self._fail(Error.UNSUPPORTED_FIELD)
        if area(field) == EXIT_INFORMATION:
            return self._fail(Error.READ_ONLY_FIELD)
        if area(field) == GUEST:
            self._store_guest()
        if encoding & HALF:
            value = value << 32 | self.current.read(field) & 0xFFFFFFFF
        self.current.write(field, value)
        if field in _EVENT:
            self._event_changed = True
        else:
            self._changed.add(area(field))
        return SUCCEED

    # -- entries and exits -------------------------------------------------------------------

    def vmlaunch(self) -> int:
        """Enter the guest of a clear VMCS."""
        return self._enter(launch=True)

    def vmresume(self) -> int:
        """Enter the guest of a launched one."""
        return self._enter(launch=False)

    def _enter(self, *, launch: bool) -> int:
        if self._forbidden:
            return FAULT
        vmcs = self.current
        if vmcs is None:
            return FAIL_INVALID
        if vmcs.launched == launch:
            return self._fail(Error.VMLAUNCH_NOT_CLEAR if launch else Error.VMRESUME_NOT_LAUNCHED)
        error = self._checked(vmcs)
        if error is not None:
            return self._fail(error)
        if GUEST in self._changed and not checks.guest(vmcs.read):
            vmcs.write(Field.EXIT_REASON, ENTRY_FAILURE | Reason.INVALID_GUEST_STATE)
            vmcs.write(Field.EXIT_QUALIFICATION, 0)
            return ENTRY_FAILED
        if not self._in_processor:
            self._guest.load(vmcs)
        self._changed.clear()
        self._event_changed, self._in_processor, self.entered = False, True, True
        vmcs.launched = True
        return SUCCEED

    def _checked(self, vmcs: Vmcs) -> Error | None:
        """What was not checked since it was written."""
        read = vmcs.read
        if 0 in self._changed and not checks.controls(read):
            return Error.ENTRY_CONTROLS
        if self._event_changed and not checks.event(read, protected=self._protected(vmcs)):
            return Error.ENTRY_CONTROLS
        if HOST in self._changed and not checks.host(read):
            return Error.ENTRY_HOST_STATE
        return None

    def _protected(self, vmcs: Vmcs) -> bool:
        if self._in_processor:
            return bool(self._guest.state.values[PE.slot])
        return bool(vmcs.read(Field.GUEST_CR0) & 1)

    def exit(
        self, reason: int, qualification: int = 0, interruption: int = 0, code: int = 0
    ) -> None:
        """Leave the guest, as the processor does (section 27.2)."""
        vmcs = self.current
        assert vmcs is not None and self.entered, "only a guest exits"
        self.entered = False
        vmcs.write(Field.EXIT_REASON, reason)
        vmcs.write(Field.EXIT_QUALIFICATION, qualification)
        vmcs.write(Field.EXIT_INTERRUPTION, interruption)
        if interruption:
            vmcs.write(Field.EXIT_INTERRUPTION_CODE, code)
        pending = vmcs.read(Field.ENTRY_INTERRUPTION)
        if pending & VALID:
            vmcs.write(Field.ENTRY_INTERRUPTION, pending & ~VALID)

    def invept(self, kind: int, pointer: int) -> int:
        """Whether translations can be forgotten that way; the caller's memory forgets them."""
        if self._forbidden:
            return FAULT
        if kind not in INVEPT_TYPES or (kind == 1 and pointer & PAGE_MASK & ~0x3F):
            return self._fail(Error.INVEPT_OPERAND)
        return SUCCEED

    def vmcall(self) -> int:
        """In root operation there is nobody to call: no SMM monitor."""
        return FAULT if self._forbidden else self._fail(Error.VMCALL_IN_ROOT)


def _exists(encoding: int) -> bool:
    """Whether an encoding is that of a field; an upper half only of 64 bits."""
    return encoding & ~HALF in FIELDS and (not encoding & HALF or width(encoding) == 64)
