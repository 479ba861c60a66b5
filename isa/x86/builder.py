"""The x86's builder: operands, flags, segments and the stack, as its meanings use them."""

from __future__ import annotations

from isa.bits import Bits
from isa.registers import Register
from isa.semantics import Builder
from isa.x86 import debug, segmentation
from isa.x86.flags import STATUS_FLAGS
from isa.x86.form import Form, Imm, Level, Mem, Reg, Seg, Shape, Special, Xmm
from isa.x86.models import model_of
from isa.x86.registers import EIP, ESP, GPR, RF, SEGMENTS, SHADOW, XMM_HIGH, XMM_LOW
from isa.x86.vectors import GENERAL_PROTECTION, INVALID_OPCODE, STACK_FAULT


class Operand:
    """An operand of the instruction being traced: a shape, and its number for field names."""

    def __init__(self, shape: Shape, number: int) -> None:
        self.shape = shape
        self.number = number

    @property
    def width(self) -> int:
        """Width in bits of what `read` returns."""
        return 16 if isinstance(self.shape, Seg) else getattr(self.shape, "width", 32)

    @property
    def is_memory(self) -> bool:
        """Whether the operand lies in memory."""
        return isinstance(self.shape, Mem)

    @property
    def is_immediate(self) -> bool:
        """Whether the operand stands in the instruction itself."""
        return isinstance(self.shape, Imm)


class X86Builder(Builder):
    """Builder for one form. Offsets and addresses are 32 bits wide, whatever the address size.

    `modified` are the numbers of memory operands that the meaning both reads and writes, as a first
    trace of it has found: their reads already need the right to write (`modified_operands`).
    """

    def __init__(self, form: Form, modified: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self._modified = modified
        self._read_numbers: set[int] = set()
        self._written_numbers: set[int] = set()
        self.form = form
        self.mode = form.mode
        self.model = model_of(form.mode.model)
        self.operands = tuple(Operand(shape, n) for n, shape in enumerate(form.shapes))
        self.stack_pointer = self.get(ESP)  # as the pushes and pops so far leave it
        self.put(EIP, self.next)  # unless the instruction jumps
        if self.mode.shadow:
            self.put(SHADOW, Bits.of(0, 1))
        if self.mode.resume and self.mode.has_system:
            self.put(RF, Bits.of(0, 1))

    # -- program counter -----------------------------------------------------------------------

    @property
    def here(self) -> Bits:
        """EIP of this instruction."""
        return self.get(EIP)

    @property
    def next(self) -> Bits:
        """EIP of the instruction that follows in memory; the older models' IP has 16 bits."""
        following = self.here + self.field("length", 32)
        return following if self.model.has("386") else following.low(16).zext(32)

    def jump(self, target: Bits) -> None:
        """Go to `target`, cut to the operand size (SDM volume 2, JMP)."""
        self.go(target.low(16).zext(32) if self.form.operand_size == 16 else target, check=True)

    def go(self, target: Bits, *, check: bool = False) -> None:
        """Put EIP; `check`: #GP(0) if it lies beyond the limit of the present code segment."""
        if check and "cs" not in self.mode.flat:
            self.fault_when(self.get(SEGMENTS["cs"].limit).ult(target), GENERAL_PROTECTION, 0)
        self.put(EIP, target)

    # -- operands ------------------------------------------------------------------------------

    def read(self, operand: Operand, *, modify: bool = True) -> Bits:
        """The operand's value; not `modify`: its read needs no right to write, written or not."""
        shape, n = operand.shape, operand.number
        if isinstance(shape, Reg):
            whole = self.get_indexed(GPR, self.field(f"reg{n}", 3))
            return whole.bits(8, 8) if shape.high else whole.low(shape.width)
        if isinstance(shape, Xmm):
            number = self.field(f"reg{n}", 3)
            high, low = (self.get_indexed(half, number) for half in (XMM_HIGH, XMM_LOW))
            return high.concat(low)
        if isinstance(shape, Imm):
            return self.field(f"imm{n}", shape.width)
        if isinstance(shape, Seg):
            return self.get(SEGMENTS[shape.name].selector)
        if isinstance(shape, Mem):
            if modify:
                self._read_numbers.add(n)
            for_write = n in self._modified
            return self.load(shape.segment, self.address(operand), shape.width, for_write=for_write)
        raise AssertionError(f"{shape} cannot be read")

    def write(self, operand: Operand, value: Bits) -> None:
        """Make `value` the operand's."""
        shape, n = operand.shape, operand.number
        if isinstance(shape, Reg):
            index = self.field(f"reg{n}", 3)
            self.put_indexed(GPR, index, self._merged(shape, index, value))
        elif isinstance(shape, Xmm):
            for half, part in ((XMM_LOW, value.low(64)), (XMM_HIGH, value.bits(64, 64))):
                self.put_indexed(half, self.field(f"reg{n}", 3), part)
        elif isinstance(shape, Mem):
            self._written_numbers.add(n)
            self.store(shape.segment, self.address(operand), value)
        else:
            raise AssertionError(f"{shape} cannot be written")

    def _merged(self, shape: Reg, index: Bits, value: Bits) -> Bits:
        """The whole 32-bit register after a write to a part of it."""
        if shape.width == 32:
            return value
        return insert(self._so_far(index), 8 if shape.high else 0, value)

    def _so_far(self, index: Bits) -> Bits:
        """A general register as this instruction's writes leave it: AL and AH may both be put."""
        whole = self.get_indexed(GPR, index)
        for key, value in self._puts.items():
            if key[1] is GPR:
                whole = (index == self._indices[key]).select(value, whole)
            elif key[1] in GPR.members:
                whole = (index == GPR.members.index(key[1])).select(value, whole)
        return whole

    def read_part(self, register: Register, width: int) -> Bits:
        """The low `width` bits of a general register (the accumulator by operand size)."""
        return self.get(register).low(width)

    def write_part(self, register: Register, value: Bits) -> None:
        """Write the low bits of a general register, leaving the others."""
        self.put(register, insert(self._so_far(Bits.of(register.slot, 3)), 0, value))

    def read_selector(self, operand: Operand) -> Bits:
        """The 16 bits of a selector in a register or in memory, whatever the operand size."""
        if operand.is_memory:
            return self.load(self.segment_of(operand), self.address(operand), 16)
        return self.read(operand).low(16)

    def segment_of(self, operand: Operand) -> str:
        """The segment of a memory operand."""
        assert isinstance(operand.shape, Mem)
        return operand.shape.segment

    def address(self, operand: Operand, stack_pointer: Bits | None = None) -> Bits:
        """The effective address: offset in the operand's segment, cut to the address size.

        `stack_pointer` stands in for ESP as base (POP counts with ESP after its increment).
        """
        shape, n = operand.shape, operand.number
        assert isinstance(shape, Mem)
        offset = self.field(f"disp{n}", 32)
        if shape.has_base:
            index = self.field(f"base{n}", 3)
            base = self.get_indexed(GPR, index)
            if stack_pointer is not None:
                base = (index == ESP.slot).select(stack_pointer, base)
            offset = base + offset
        if shape.has_index:
            offset = offset + self._scaled(n, shape.scale)
        return self.wrap(offset)

    def _scaled(self, n: int, scale: int) -> Bits:
        return self.get_indexed(GPR, self.field(f"index{n}", 3)) << (scale.bit_length() - 1)

    def wrap(self, offset: Bits) -> Bits:
        """Cut an offset to the address size."""
        return offset.low(16).zext(32) if self.form.address_size == 16 else offset

    def is_stack_pointer(self, operand: Operand) -> Bits:
        """Whether the operand is all of SP or ESP."""
        if not isinstance(operand.shape, Reg) or operand.width == 8:
            return Bits.of(0, 1)
        return self.field(f"reg{operand.number}", 3) == ESP.slot

    # -- memory --------------------------------------------------------------------------------

    def load(self, segment: str, offset: Bits, width: int, *, for_write: bool = False) -> Bits:
        """Read `width` bits at `segment`:`offset`; `for_write`: with the right to write there."""
        if self.model.is_8086 and width > 8:  # an access goes on at the segment's beginning
            high = self.load(segment, self.wrap(offset + 1), width - 8, for_write=for_write)
            return high.concat(self.load(segment, offset, 8, for_write=for_write))
        address = segmentation.linear(self, segment, offset, width // 8, write=for_write)
        debug.watch(self, address, width // 8, debug.ACCESSED)
        if for_write:
            return self.load_for_write_space(self.data_space, address, width)
        return self.load_space(self.data_space, address, width)

    @property
    def data_space(self) -> str:
        """Where data lies: linear addresses with the rights of the privilege level."""
        return "linear" if self.mode.cpl == 3 else "system"

    @property
    def modified_operands(self) -> frozenset[int]:
        """Numbers of the memory operands that were read and written so far."""
        return frozenset(self._read_numbers & self._written_numbers)

    def store(self, segment: str, offset: Bits, value: Bits) -> None:
        """Write at `segment`:`offset`."""
        if self.model.is_8086 and value.width > 8:
            self.store(segment, offset, value.low(8))
            self.store(segment, self.wrap(offset + 1), value.bits(8, value.width - 8))
            return
        address = segmentation.linear(self, segment, offset, value.width // 8, write=True)
        debug.watch(self, address, value.width // 8, debug.WRITTEN, debug.ACCESSED)
        self.store_space(self.data_space, address, value)

    # -- stack ---------------------------------------------------------------------------------

    def _moved(self, by: Bits | int) -> Bits:
        moved = self.stack_pointer + by
        if self.mode.stack_size == 32:
            return moved
        return insert(self.stack_pointer, 0, moved.low(16))

    def stack_offset(self, pointer: Bits) -> Bits:
        """The offset in SS that a stack or frame pointer means."""
        return pointer if self.mode.stack_size == 32 else pointer.low(16).zext(32)

    def push(self, value: Bits) -> None:
        """Push a value of 16 or 32 bits; ESP moves with the instruction's other writes."""
        self.stack_pointer = self._moved(-value.width // 8)
        self.store("ss", self.stack_offset(self.stack_pointer), value)
        self.put(ESP, self.stack_pointer)

    def pop(self, width: int) -> Bits:
        """Pop a value of 16 or 32 bits."""
        value = self.load("ss", self.stack_offset(self.stack_pointer), width)
        self.stack_pointer = self._moved(width // 8)
        self.put(ESP, self.stack_pointer)
        return value

    def release(self, count: Bits) -> None:
        """Move the stack pointer up by `count` bytes."""
        self.stack_pointer = self._moved(count)
        self.put(ESP, self.stack_pointer)

    def set_stack_pointer(self, pointer: Bits) -> None:
        """Let the stack pointer, as wide as the stack is, begin elsewhere."""
        self.stack_pointer = self._moved(pointer - self.stack_pointer)
        self.put(ESP, self.stack_pointer)

    # -- flags ---------------------------------------------------------------------------------

    def flag(self, register: Register) -> Bits:
        """A flag before the instruction."""
        return self.get(register)

    def set_flags(
        self, values: dict[str, Bits], undefined: str = "", when: Bits | None = None
    ) -> None:
        """Put status flags by name; `undefined` names flags that the manual leaves undefined.

        If `when` is given, all of it holds only if that is 1, and the flags stay otherwise.
        """
        for name, value in values.items():
            flag = STATUS_FLAGS[name]
            self.put(flag, value if when is None else when.select(value, self.get(flag)))
        for name in undefined.split():
            self.undefined(STATUS_FLAGS[name], when)

    # -- faults --------------------------------------------------------------------------------

    def general_protection(self, code: Bits | int = 0) -> None:
        """#GP(code)."""
        self.fault(GENERAL_PROTECTION, code)

    def invalid_opcode(self) -> None:
        """#UD; an 8086 has none, and does what nobody has written down."""
        if self.model.is_8086:
            self.exit("unimplemented")
        else:
            self.fault(INVALID_OPCODE)

    def segment_fault(self, segment: str, condition: Bits) -> None:
        """#SS(0) for the stack segment, #GP(0) for the others, if `condition`.

        A 286 in real-address mode calls both a segment overrun, interrupt 13 (80286 Programmer's
        Reference Manual, section 5.1.2).
        """
        has_stack_fault = self.model.has("386") or not self.mode.real
        vector = STACK_FAULT if segment == "ss" and has_stack_fault else GENERAL_PROTECTION
        self.fault_when(condition, vector, 0)


def insert(whole: Bits, low: int, part: Bits) -> Bits:
    """`whole` with its bits from `low` on replaced by `part`."""
    if part.width == whole.width:
        return part
    high = low + part.width
    result = part if low == 0 else part.concat(whole.low(low))
    return result if high == whole.width else whole.bits(high, whole.width - high).concat(result)


def is_special(operand: Operand) -> bool:
    """Whether the operand is a control or debug register."""
    return isinstance(operand.shape, Special)


def special_name(operand: Operand) -> str:
    """Which control or debug register an operand is; "" if none."""
    return operand.shape.name if isinstance(operand.shape, Special) else ""


def is_segment(operand: Operand) -> bool:
    """Whether the operand is a segment register."""
    return isinstance(operand.shape, Seg)


def segment_name(operand: Operand) -> str:
    """Which segment register an operand is."""
    assert isinstance(operand.shape, Seg)
    return operand.shape.name


def level_of(operand: Operand) -> int:
    """ENTER's nesting level."""
    assert isinstance(operand.shape, Level)
    return operand.shape.number
