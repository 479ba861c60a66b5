"""The unit in memory: its environment in four formats (SDM volume 1, figures 8-9 to 8-12), and all
of its state."""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import Final
from isa.record import NamedTuple
from isa.x86.builder import X86Builder
from isa.x86.registers import FCS, FCW, FDP, FDS, FIP, FOP, FULL, ST, STX, TOP
from isa.x86.x87.number import WIDTH
from isa.x86.x87.words import (
    full_of,
    put_control_word,
    put_status_word,
    status_word,
    tag_word,
)

REGISTERS_SIZE: Final = 8 * WIDTH  # bits of the stack behind an environment


class Environment(NamedTuple):
    """What an image holds."""

    control: Bits
    status: Bits
    tags: Bits
    instruction: tuple[Bits, Bits]  # selector and offset
    operand: tuple[Bits, Bits]
    opcode: Bits


def size(m: X86Builder) -> int:
    """Bytes of an environment."""
    return 7 * m.form.operand_size // 8


def pack(m: X86Builder) -> Bits:
    """The environment of now."""
    words = [m.get(FCW), status_word(m), tag_word(m)]
    pointers = _pack_linear(m) if m.mode.segments_are_paragraphs else _pack_far(m)
    if m.form.operand_size == 32:
        ones = Bits.of(0xFFFF, 16)
        words = [ones.concat(word) for word in words]
    return join([*words, *pointers])


def join(parts: list[Bits]) -> Bits:
    """One value of parts, the first lowest."""
    whole = parts[0]
    for part in parts[1:]:
        whole = part.concat(whole)
    return whole


def _pack_far(m: X86Builder) -> list[Bits]:
    """Protected mode: selectors and offsets."""
    fields = [m.get(FIP), m.get(FCS), m.get(FDP), m.get(FDS)]
    if m.form.operand_size == 16:
        return [field.low(16) for field in fields]
    code = Bits.of(0, 5).concat(m.get(FOP)).concat(fields[1])
    return [fields[0], code, fields[2], Bits.of(0xFFFF, 16).concat(fields[3])]


def _pack_linear(m: X86Builder) -> list[Bits]:
    """Real-address and virtual-8086 mode: linear addresses, the upper part above the opcode."""
    code, data = _linear(m.get(FCS), m.get(FIP)), _linear(m.get(FDS), m.get(FDP))
    opcode = m.get(FOP).zext(12)
    if m.form.operand_size == 16:
        return [
            code.low(16), code.bits(16, 4).concat(opcode),
            data.low(16), data.bits(16, 4).concat(Bits.of(0, 12)),
        ]  # fmt: skip
    top = Bits.of(0, 4)
    return [
        code.low(16).zext(32), top.concat(code.bits(16, 16)).concat(opcode),
        data.low(16).zext(32), top.concat(data.bits(16, 16)).concat(Bits.of(0, 12)),
    ]  # fmt: skip


def _linear(selector: Bits, offset: Bits) -> Bits:
    return (selector.zext(32) << 4) + offset


def unpack(m: X86Builder, image: Bits) -> Environment:
    """What an image holds; where it has linear addresses, their selectors are 0."""
    step = m.form.operand_size
    fields = [image.bits(number * step, step) for number in range(7)]
    if m.mode.segments_are_paragraphs:
        opcode = fields[4].low(11)
        instruction = Bits.of(0, 16), _offset(fields[3], fields[4])
        operand = Bits.of(0, 16), _offset(fields[5], fields[6])
    else:
        opcode = fields[4].bits(16, 11) if step == 32 else m.get(FOP)
        instruction = fields[4].low(16), fields[3].zext(32)
        operand = fields[6].low(16), fields[5].zext(32)
    control, status, tags = (field.low(16) for field in fields[:3])
    return Environment(control, status, tags, instruction, operand, opcode)


def put(m: X86Builder, found: Bits) -> Bits:
    """Make an environment the unit's; returns its TOP."""
    environment = unpack(m, found)
    top = put_environment(m, environment)
    m.put(FULL, full_of(environment.tags, top))
    return top


def put_environment(m: X86Builder, environment: Environment) -> Bits:
    """All of it but what the tags say; returns its TOP."""
    top = environment.status.bits(11, 3)
    put_control_word(m, environment.control)
    put_status_word(m, environment.status)
    m.put(TOP, top)
    for registers, pointer in (((FCS, FIP), environment.instruction),
                               ((FDS, FDP), environment.operand)):  # fmt: skip
        for part, value in zip(registers, pointer, strict=True):
            m.put(part, value)
    m.put(FOP, environment.opcode)
    return top


def pack_all(m: X86Builder) -> Bits:
    """The state of now: environment and stack, ST(0) first."""
    registers = [m.get(x).concat(m.get(s)) for s, x in zip(ST.members, STX.members, strict=True)]
    return join([pack(m), *registers])


def put_all(m: X86Builder, whole: Bits) -> None:
    """Make a state the unit's."""
    head = 8 * size(m)
    put(m, whole.low(head))
    put_registers(m, whole.bits(head, REGISTERS_SIZE), WIDTH)


def put_registers(m: X86Builder, stack: Bits, step: int) -> None:
    """Make the stack what `stack` holds, ST(0) first, each register in `step` bits."""
    for number, (significand, exponent) in enumerate(zip(ST.members, STX.members, strict=True)):
        value = stack.bits(number * step, WIDTH)
        m.put(significand, value.low(64))
        m.put(exponent, value.bits(64, 16))


def _offset(low: Bits, high: Bits) -> Bits:
    return high.bits(12, min(high.width - 12, 16)).zext(16).concat(low.low(16))
