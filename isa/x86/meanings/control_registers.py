"""Control registers: MOV CRn, LMSW SMSW CLTS, and the translations that depend on them: INVLPG.

SDM volume 3, sections 2.5 and 4.10.4.
"""

from __future__ import annotations

from collections.abc import Iterable

from isa.bits import Bits, any_of
from isa.hints import Final
from isa.registers import PackedRegister, Register
from isa.x86.builder import Operand, X86Builder, special_name
from isa.x86.meanings.privilege import require_level_0, require_visible, unimplemented_in_process
from isa.x86.meanings.tables import store_word
from isa.x86.registers import (
    CD,
    CR0,
    CR2,
    CR3,
    CR4,
    EM,
    ET,
    MP,
    NW,
    PAE,
    PE,
    PG,
    PGE,
    PSE,
    SEGMENTS,
    TS,
    WP,
)
from isa.x86.table import instruction
from isa.x86.translation import EVERYTHING, NOT_GLOBAL, PAGE, invalidate
from isa.x86.vectors import GENERAL_PROTECTION

_PLAIN: Final = {"cr2": CR2, "cr3": CR3}
_PACKED: Final = {"cr0": CR0, "cr4": CR4}
NAMES: Final = frozenset(_PLAIN) | frozenset(_PACKED)


def read_control(m: X86Builder, dst: Operand, src: Operand) -> None:
    """MOV r32, CRn."""
    require_level_0(m)
    name = special_name(src)
    m.write(dst, packed(m, _PACKED[name]) if name in _PACKED else m.get(_PLAIN[name]))


def packed(m: X86Builder, register: PackedRegister) -> Bits:
    """A register that is kept bit by bit, as a whole."""
    image = Bits.of(register.fixed, 32)
    for part, low in register.fields:
        image = image | m.get(part).zext(32) << low
    return image


def write_control(m: X86Builder, dst: Operand, src: Operand) -> None:
    """MOV CRn, r32."""
    require_level_0(m)
    name, value = special_name(dst), m.read(src)
    if name == "cr0":
        _write_cr0(m, value)
    elif name == "cr4":
        _write_cr4(m, value)
    else:
        m.put(_PLAIN[name], value)
    if name == "cr3":
        invalidate(m, NOT_GLOBAL)


def _write_cr0(m: X86Builder, value: Bits) -> None:
    """#GP(0): paging without protection, NW without CD. ET is wired; reserved bits are ignored."""
    value = value & m.model.cr0
    new = {part: value.bit(low) for part, low in CR0.fields if part is not ET}
    wrong = (new[PG] & ~new[PE]) | (new[NW] & ~new[CD])
    m.fault_when(wrong, GENERAL_PROTECTION, 0)
    _put_bits(m, new, (PG, PE, WP))


def _write_cr4(m: X86Builder, value: Bits) -> None:
    m.fault_when((value & ~m.model.cr4) != 0, GENERAL_PROTECTION, 0)
    _put_bits(m, {part: value.bit(low) for part, low in CR4.fields}, (PSE, PAE, PGE))


def _put_bits(m: X86Builder, new: dict[Register, Bits], translating: Iterable[Register]) -> None:
    """Put the parts of a register; nothing translated before holds if one of these changes."""
    for part, value in new.items():
        m.put(part, value)
    with m.when(any_of(*(new[part] ^ m.get(part) for part in translating))):
        invalidate(m, EVERYTHING)


@instruction("invlpg", heading="INVLPG—Invalidate TLB Entries", since="486")
def invlpg(m: X86Builder, page: Operand) -> None:
    """The address is not checked against its segment, for nothing is accessed."""
    if not page.is_memory:
        m.invalid_opcode()
        return
    require_level_0(m)
    base = m.get(SEGMENTS[m.segment_of(page)].base)
    invalidate(m, PAGE, base + m.address(page))


@instruction("invd", heading="INVD—Invalidate Internal Caches", since="486")
@instruction("wbinvd", heading="WBINVD—Write Back and Invalidate Cache", since="486")
def invalidate_caches(m: X86Builder) -> None:
    """There is no cache."""
    require_level_0(m)


@instruction("clts", heading="CLTS—Clear Task-Switched Flag in CR0", since="286")
def clts(m: X86Builder) -> None:
    require_level_0(m)
    m.put(TS, Bits.of(0, 1))


@instruction("smsw", heading="SMSW—Store Machine Status Word", since="286")
def smsw(m: X86Builder, dst: Operand) -> None:
    if unimplemented_in_process(m):
        return
    require_visible(m)
    store_word(m, dst, packed(m, CR0))


@instruction("lmsw", heading="LMSW—Load Machine Status Word", since="286")
def lmsw(m: X86Builder, src: Operand) -> None:
    """PE MP EM TS; it cannot leave protected mode."""
    require_level_0(m)
    value = m.read_selector(src)
    m.put(PE, m.get(PE) | value.bit(0))
    for number, part in enumerate((MP, EM, TS), 1):
        m.put(part, value.bit(number))
    with m.when(value.bit(0) & ~m.get(PE)):
        invalidate(m, EVERYTHING)
