"""MOV to and from debug registers (SDM volume 3, section 17.2)."""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import Final
from isa.x86.builder import Operand, X86Builder, special_name
from isa.x86.debug import ACCESS_DETECTED
from isa.x86.meanings.privilege import require_level_0
from isa.x86.registers import DE, DR, DR6, DR7
from isa.x86.vectors import DEBUG, INVALID_OPCODE

STATUS: Final = 0xE00F  # B0–B3, BD, BS, BT
STATUS_FIXED: Final = 0xFFFF0FF0
CONTROL: Final = 0xFFFF23FF  # L0–G3, LE, GE, GD, R/W and LEN
CONTROL_FIXED: Final = 0x400

_ALIASES: Final = {"dr4": "dr6", "dr5": "dr7"}
NAMES: Final = frozenset({"dr0", "dr1", "dr2", "dr3", "dr6", "dr7"}) | frozenset(_ALIASES)
_CHANGEABLE: Final = {
    "dr6": (DR6, STATUS, STATUS_FIXED),
    "dr7": (DR7, CONTROL, CONTROL_FIXED),
}


def read_debug(m: X86Builder, dst: Operand, src: Operand) -> None:
    """MOV r32, DRn."""
    name = _accessed(m, src)
    if name not in _CHANGEABLE:
        m.write(dst, m.get(DR.members[int(name[2])]))
        return
    register, _, fixed = _CHANGEABLE[name]
    m.write(dst, m.get(register) | fixed)


def write_debug(m: X86Builder, dst: Operand, src: Operand) -> None:
    """MOV DRn, r32."""
    name, value = _accessed(m, dst), m.read(src)
    if name not in _CHANGEABLE:
        m.put(DR.members[int(name[2])], value)
        return
    register, changeable, fixed = _CHANGEABLE[name]
    m.put(register, value & changeable | fixed)


def _accessed(m: X86Builder, operand: Operand) -> str:
    """Which register is meant, if it may be accessed: DR7.GD lets its owner be asked first."""
    name = special_name(operand)
    if name in _ALIASES:
        m.fault_when(m.get(DE), INVALID_OPCODE)
    require_level_0(m)
    with m.when(m.get(DR7).bit(13)):
        m.fault(DEBUG, None, Bits.of(ACCESS_DETECTED, 32))
    return _ALIASES.get(name, name)
