"""What a VM entry checks before it enters (SDM volume 3, sections 26.2 and 26.3.1).

Each function answers whether all is well; only what this processor has is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from vmm.pc.vmx import reasons
from vmm.pc.vmx.controls import (
    CAPABILITIES,
    CR0_FIXED,
    CR0_UNRESTRICTED,
    CR3_TARGETS,
    CR4_FIXED,
    EPT_UNCACHEABLE,
    EPT_WALK_LENGTH,
    EPT_WRITE_BACK,
    HALT_SUPPORTED,
    Pin,
    Primary,
    Secondary,
)
from vmm.pc.vmx.fields import SEGMENT_ORDER, Field, segment_field
from vmm.pc.vmx.guest_area import UNUSABLE

Read = Callable[[int], int]
_PAGE: Final = 0xFFF
_NO_LINK: Final = (1 << 64) - 1
_LAST_EXCEPTION: Final = 31
_WITH_CODE: Final = frozenset({8, 10, 11, 12, 13, 14, 17})
_CODES: Final = frozenset({9, 11, 13, 15})  # types of accessed code segments
_BUSY: Final = frozenset({3, 11})  # of TSSs
_EFLAGS_RESERVED: Final = 0xFFC08028
_VM, _IF = 1 << 17, 1 << 9
_PE, _PG = 1, 1 << 31


def secondary(read: Read) -> int:
    """The secondary controls, which are 0 unless they are activated."""
    active = read(Field.PROCESSOR_BASED_CONTROLS) & Primary.ACTIVATE_SECONDARY
    return read(Field.SECONDARY_CONTROLS) if active else 0


def controls(read: Read) -> bool:
    """Section 26.2.1, but for the event to be injected."""
    return all(_controls(read))


def _controls(read: Read) -> Iterator[bool]:
    primary, second = read(Field.PROCESSOR_BASED_CONTROLS), secondary(read)
    for field, capability in CAPABILITIES.items():
        if field is not Field.SECONDARY_CONTROLS or primary & Primary.ACTIVATE_SECONDARY:
            yield capability.allows(read(field))
    yield read(Field.CR3_TARGET_COUNT) <= CR3_TARGETS
    if primary & Primary.USE_IO_BITMAPS:
        yield not any(_misplaced(read(f)) for f in (Field.IO_BITMAP_A, Field.IO_BITMAP_B))
    pin = read(Field.PIN_BASED_CONTROLS)
    yield bool(pin & Pin.NMI_EXITING) or not pin & Pin.VIRTUAL_NMIS
    if second & Secondary.ENABLE_EPT:
        yield _is_ept_pointer(read(Field.EPT_POINTER))
    yield not second & Secondary.UNRESTRICTED_GUEST or bool(second & Secondary.ENABLE_EPT)
    for count in (
        Field.EXIT_MSR_STORE_COUNT, Field.EXIT_MSR_LOAD_COUNT, Field.ENTRY_MSR_LOAD_COUNT
    ):  # fmt: skip
        yield read(count) == 0  # there are no MSRs to be switched by lists


def _misplaced(address: int) -> bool:
    """Whether it is not a page's address within 32 bits."""
    return bool(address & _PAGE or address >> 32)


def _is_ept_pointer(value: int) -> bool:
    memory_type, length = value & 7, (value >> 3 & 7) + 1
    rest = value & 0xFC0
    return (
        memory_type in (EPT_UNCACHEABLE, EPT_WRITE_BACK)
        and length == EPT_WALK_LENGTH
        and not rest
        and not value >> 32
    )


def event(read: Read, *, protected: bool) -> bool:
    """The event to be injected (section 26.2.1.3); `protected`: the guest's CR0.PE."""
    value = read(Field.ENTRY_INTERRUPTION)
    if not value & reasons.VALID:
        return True
    vector, kind = value & 0xFF, value >> 8 & 7
    length = read(Field.ENTRY_INSTRUCTION_LENGTH)
    software = kind in (reasons.SOFTWARE_INTERRUPT, reasons.SOFTWARE_EXCEPTION, 5)
    coded = bool(value & reasons.HAS_CODE)
    wants_code = protected and kind == reasons.HARDWARE_EXCEPTION and vector in _WITH_CODE
    return (
        kind not in (1, 7)
        and not value & 0x7FFFF000
        and (kind != reasons.NMI or vector == reasons.NMI)
        and (kind != reasons.HARDWARE_EXCEPTION or vector <= _LAST_EXCEPTION)
        and coded == wants_code
        and not (coded and read(Field.ENTRY_EXCEPTION_CODE) >> 15)
        and (not software or 1 <= length <= 15)
    )


def host(read: Read) -> bool:
    """Section 26.2.2 and 26.2.3: a host of 32 bits."""
    selectors = [read(f) for f in Field if f.name.startswith("HOST") and "SELECTOR" in f.name]
    return (
        read(Field.HOST_CR0) & CR0_FIXED == CR0_FIXED
        and read(Field.HOST_CR4) & CR4_FIXED == CR4_FIXED
        and not any(selector & 7 for selector in selectors)
        and all(read(f) for f in (
            Field.HOST_CS_SELECTOR, Field.HOST_TR_SELECTOR, Field.HOST_SS_SELECTOR
        ))
    )  # fmt: skip


def guest(read: Read) -> bool:
    """Section 26.3.1."""
    return all(_registers(read)) and all(_segments(read)) and all(_rest(read))


def _registers(read: Read) -> Iterator[bool]:
    cr0, flags = read(Field.GUEST_CR0), read(Field.GUEST_EFLAGS)
    free = CR0_UNRESTRICTED if secondary(read) & Secondary.UNRESTRICTED_GUEST else 0
    yield cr0 & CR0_FIXED & ~free == CR0_FIXED & ~free
    yield not cr0 & _PG or bool(cr0 & _PE)
    yield read(Field.GUEST_CR4) & CR4_FIXED == CR4_FIXED
    yield not flags & _EFLAGS_RESERVED and bool(flags & 2)
    yield not flags & _VM or bool(cr0 & _PE)
    pending = read(Field.ENTRY_INTERRUPTION)
    external = pending & reasons.VALID and pending >> 8 & 7 == reasons.EXTERNAL
    yield not external or bool(flags & _IF)


def _segments(read: Read) -> Iterator[bool]:
    is_v86 = bool(read(Field.GUEST_EFLAGS) & _VM)
    unrestricted = bool(secondary(read) & Secondary.UNRESTRICTED_GUEST)
    for name in SEGMENT_ORDER:
        value = read(segment_field("rights", name))
        usable = not value & UNUSABLE
        yield not value & 0xFFFE0F00
        if name == "tr":
            yield usable and value & 0xF in _BUSY and not value & 0x10 and bool(value & 0x80)
        elif name == "ldtr":
            yield not usable or (value & 0x1F == 2 and bool(value & 0x80))
        elif is_v86:
            yield value == 0xF3
        elif name == "cs":
            yield usable and bool(value & 0x10) and bool(value & 0x80)
            yield value & 0xF in _CODES or (unrestricted and value & 0xF == 3)
        elif usable:
            yield bool(value & 0x10) and bool(value & 1) and bool(value & 0x80)
    if not is_v86 and not unrestricted:
        selectors = [read(segment_field("selector", name)) & 3 for name in ("cs", "ss")]
        yield selectors[0] == selectors[1]


def _rest(read: Read) -> Iterator[bool]:
    yield read(Field.LINK_POINTER) == _NO_LINK
    yield read(Field.GUEST_ACTIVITY) <= HALT_SUPPORTED
    blocked, flags = read(Field.GUEST_INTERRUPTIBILITY), read(Field.GUEST_EFLAGS)
    yield not blocked & ~0x1F and blocked & 3 != 3
    yield not blocked & 1 or bool(flags & _IF)
    yield not read(Field.GUEST_PENDING_DEBUG) & ~0x500F
    yield not read(Field.GUEST_GDTR_LIMIT) >> 16 and not read(Field.GUEST_IDTR_LIMIT) >> 16
    yield not read(Field.GUEST_DEBUGCTL) & ~3
