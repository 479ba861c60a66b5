"""What older processors make of bytes, told in bytes that mean the same to a newer one.

A decoder that knows newer processors can then read them. 8086: the encodings that its manual leaves
open, as `tests/test_real_mode_vectors.py` finds them in a real one; the coprocessor's: SDM volume
2, appendix B.17.
"""

from __future__ import annotations

from isa.hints import Final
from isa.record import NamedTuple
from isa.x86.models import Model

_POP_CS: Final = 0x0F
_POP_ES: Final = 0x07
_MOV_FROM_SEGMENT, _MOV_TO_SEGMENT = 0x8C, 0x8E
_ES, _CS = 0, 1
_ZERO_NOT_CHECKED: Final = (0x8F, 0xC6, 0xC7)  # POP r/m and MOV r/m, imm: ModRM.reg should be 0
_GROUP_5, _PUSH = 0xFF, 6
_SHIFTS: Final = range(0xD0, 0xD4)
_SETMO: Final = 6  # ModRM.reg


class Meant(NamedTuple):
    """Opcode and what follows it, for the decoder; what it is, if not what the decoder says;
    whether the segment register that the decoder will call ES is CS; and the bytes that the x87
    remembers, if the decoder gets others."""

    code: bytes
    mnemonic: str = ""
    es_is_cs: bool = False
    x87_opcode: bytes = b""


_X87_ALIASES: Final = {
    (0xDC, 0b11_010): (0xD8, 2),
    (0xDC, 0b11_011): (0xD8, 3),
    (0xDD, 0b11_001): (0xD9, 1),
    (0xDE, 0b11_010): (0xD8, 3),
    (0xDF, 0b11_001): (0xD9, 1),
    (0xDF, 0b11_010): (0xDD, 3),
    (0xDF, 0b11_011): (0xDD, 3),
}
"""Opcode, mod and reg of what the manual leaves out, and of FST, FCOM and FXCH that it means."""


def meant(code: bytes, model: Model) -> Meant:
    """What code without its prefixes means to a model; no byte more or less."""
    if len(code) < 1:
        return Meant(code)
    code = bytes([model.aliases.get(code[0], code[0])]) + code[1:]
    if model.is_8086 and code[0] == _POP_CS:
        return Meant(bytes([_POP_ES]) + code[1:], es_is_cs=True)
    if len(code) < 2:
        return Meant(code)
    if code[0] & 0xF8 == 0xD8 and not model.has_coprocessor:
        return Meant(_with(code, _PUSH, opcode=_GROUP_5), "esc")
    if (code[0], code[1] >> 3) in _X87_ALIASES:
        opcode, reg = _X87_ALIASES[code[0], code[1] >> 3]
        return Meant(_with(code, reg, opcode=opcode), x87_opcode=code[:2])
    return _on_8086(code) if model.is_8086 else Meant(code)


def _on_8086(code: bytes) -> Meant:
    """An 8086 looks at few bits, and takes what it sees."""
    opcode, reg = code[0], code[1] >> 3 & 7
    if opcode in (_MOV_FROM_SEGMENT, _MOV_TO_SEGMENT):
        to_code = opcode == _MOV_TO_SEGMENT and reg & 3 == _CS
        return Meant(_with(code, _ES if to_code else reg & 3), es_is_cs=to_code)
    if opcode in _ZERO_NOT_CHECKED:
        return Meant(_with(code, 0))
    if opcode == _GROUP_5 and reg == 7:
        return Meant(_with(code, _PUSH))
    return Meant(code, "setmo" if opcode in _SHIFTS and reg == _SETMO else "")


def _with(code: bytes, reg: int, opcode: int | None = None) -> bytes:
    """The same with another ModRM.reg, and perhaps another opcode."""
    first = code[0] if opcode is None else opcode
    return bytes([first, code[1] & 0xC7 | reg << 3]) + code[2:]
