"""The guest-state area and the registers that it holds (SDM volume 3, section 24.4).

While a VMCS is current the processor may keep this area in itself (section 24.1): it is stored when
somebody asks for it, and loaded at the next entry if somebody has changed it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from emu.state import State
from isa.registers import Register
from isa.x86 import registers as r
from vmm.pc.vmx.fields import SEGMENT_ORDER, Field, segment_field
from vmm.pc.vmx.vmcs import Vmcs

UNUSABLE: Final = 1 << 16  # of access rights: there is no segment
BLOCKED_BY_STI, BLOCKED_BY_MOV_SS, BLOCKED_BY_NMI = 1, 2, 8  # interruptibility

PLAIN: Final[dict[Field, Register]] = {
    Field.GUEST_LDTR_SELECTOR: r.LDTR, Field.GUEST_LDTR_BASE: r.LDT_BASE,
    Field.GUEST_LDTR_LIMIT: r.LDT_LIMIT, Field.GUEST_TR_SELECTOR: r.TR,
    Field.GUEST_TR_BASE: r.TR_BASE, Field.GUEST_TR_LIMIT: r.TR_LIMIT,
    Field.GUEST_GDTR_BASE: r.GDT_BASE, Field.GUEST_GDTR_LIMIT: r.GDT_LIMIT,
    Field.GUEST_IDTR_BASE: r.IDT_BASE, Field.GUEST_IDTR_LIMIT: r.IDT_LIMIT,
    Field.GUEST_ESP: r.ESP, Field.GUEST_EIP: r.EIP, Field.GUEST_DR7: r.DR7,
    Field.GUEST_PENDING_DEBUG: r.PENDING, Field.GUEST_SYSENTER_CS: r.SYSENTER_CS,
    Field.GUEST_SYSENTER_ESP: r.SYSENTER_ESP, Field.GUEST_SYSENTER_EIP: r.SYSENTER_EIP,
}  # fmt: skip
"""Fields that are a register as it is."""
for _name, _segment in r.SEGMENTS.items():
    PLAIN[segment_field("selector", _name)] = _segment.selector
    PLAIN[segment_field("base", _name)] = _segment.base
    PLAIN[segment_field("limit", _name)] = _segment.limit
_ATTRIBUTES: Final = {
    **{name: segment.attributes for name, segment in r.SEGMENTS.items()},
    "ldtr": r.LDT_ATTRIBUTES, "tr": r.TR_ATTRIBUTES,
}  # fmt: skip
RIGHTS: Final = {segment_field("rights", name): _ATTRIBUTES[name] for name in SEGMENT_ORDER}
"""Fields that are a segment's attributes, spread as in a descriptor."""


def rights(attributes: int) -> int:
    """A segment's attributes as access rights (table 24-2)."""
    spread = attributes & 0xFF | (attributes & 0xF00) << 4
    return spread if attributes else UNUSABLE


def attributes_of(value: int) -> int:
    """The other way round."""
    return 0 if value & UNUSABLE else value & 0xFF | value >> 4 & 0xF00


class GuestArea:
    """The registers of the guest's processor; `own_cr3`: its CR3 is what the guest has loaded."""

    def __init__(self, state: State, *, own_cr3: bool) -> None:
        self.state = state
        self._plain = dict(PLAIN)
        if own_cr3:
            self._plain[Field.GUEST_CR3] = r.CR3

    def store(self, vmcs: Vmcs) -> None:
        """The registers into the VMCS, as at an exit; the host keeps its bits of CR0 and CR4."""
        for field, value in self.fields():
            if field in (Field.GUEST_CR0, Field.GUEST_CR4):
                mask = vmcs.read(Field[f"{field.name[-3:]}_MASK"])
                value = value & ~mask | vmcs.read(field) & mask
            vmcs.write(field, value)

    def fields(self) -> Iterator[tuple[Field, int]]:
        """What the registers make of each field."""
        values = self.state.values
        for field, register in self._plain.items():
            yield field, values[register.slot]
        for field, register in RIGHTS.items():
            yield field, rights(values[register.slot])
        yield Field.GUEST_CR0, r.CR0.pack(values)
        yield Field.GUEST_CR4, r.CR4.pack(values)
        yield Field.GUEST_EFLAGS, r.EFLAGS.pack(values)
        yield Field.GUEST_INTERRUPTIBILITY, self._interruptibility()

    def _interruptibility(self) -> int:
        values = self.state.values
        held = BLOCKED_BY_STI if values[r.IF.slot] else BLOCKED_BY_MOV_SS
        blocked = BLOCKED_BY_NMI if values[r.NMI_BLOCKED.slot] else 0
        return (held if values[r.SHADOW.slot] else 0) | blocked

    def load(self, vmcs: Vmcs) -> None:
        """The VMCS into the registers, as at an entry. Of the bits of CR0 and CR4 that the host
        owns the guest sees the read shadow's."""
        state = self.state
        for field, register in self._plain.items():
            state.write(register, vmcs.read(field))
        for field, register in RIGHTS.items():
            state.write(register, attributes_of(vmcs.read(field)))
        for name in ("CR0", "CR4"):
            mask = vmcs.read(Field[f"{name}_MASK"])
            mine = vmcs.read(Field[f"GUEST_{name}"]) & ~mask
            state[name.lower()] = mine | vmcs.read(Field[f"{name}_READ_SHADOW"]) & mask
        state["eflags"] = vmcs.read(Field.GUEST_EFLAGS)
        blocked = vmcs.read(Field.GUEST_INTERRUPTIBILITY)
        state.write(r.SHADOW, int(bool(blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS))))
        state.write(r.NMI_BLOCKED, int(bool(blocked & BLOCKED_BY_NMI)))
        state.write(r.CPL, vmcs.read(Field.GUEST_SS_RIGHTS) >> 5 & 3)
