"""The model's segment registers: loading them, and accesses through them (SDM 2, MOV; 3, 5.3)."""

from __future__ import annotations

from tests.protected.cpu import GP, NP, SS, Cpu, Descriptor, Trap


def outside(cpu: Cpu, selector: int) -> bool:
    """Whether the table has no such entry."""
    limit = cpu.r["ldt_limit"] if selector & 4 else cpu.r["gdt_limit"]
    return (selector | 7) > limit


def place(cpu: Cpu, selector: int) -> int:
    base = cpu.r["ldt_base"] if selector & 4 else cpu.r["gdt_base"]
    return base + (selector & 0xFFF8)


def read(cpu: Cpu, selector: int) -> Descriptor:
    at = place(cpu, selector)
    return Descriptor(cpu.load(at, 4), cpu.load(at + 4, 4))


def code_of(selector: int) -> int:
    return selector & 0xFFFC


def require(wrong: bool, vector: int, code: int, *, late: bool = False) -> None:
    if wrong:
        raise Trap(vector, code, late=late)


def find(cpu: Cpu, selector: int, vector: int, ext: int = 0) -> Descriptor:
    """Not null, in its table."""
    require(code_of(selector) == 0, vector, ext)
    require(outside(cpu, selector), vector, code_of(selector) | ext)
    return read(cpu, selector)


def access(cpu: Cpu, name: str, selector: int, descriptor: Descriptor) -> None:
    """Fill a segment register, and mark the descriptor accessed."""
    at = place(cpu, selector) + 5
    cpu.store(at, 1, cpu.load(at, 1) | 1)
    cpu.fill(name, selector, descriptor.base, descriptor.limit, descriptor.attributes | 1)


def load(cpu: Cpu, name: str, selector: int) -> None:
    """MOV to a segment register."""
    if cpu.v86:
        load_v86(cpu, name, selector)
    elif name == "ss":
        _load_stack(cpu, selector)
    elif code_of(selector) == 0:
        cpu.fill(name, selector, 0, 0, 0)
    else:
        _load_data(cpu, name, selector)


def load_v86(cpu: Cpu, name: str, selector: int) -> None:
    cpu.fill(name, selector, selector * 16, 0xFFFF, 0xF3)


def _load_stack(cpu: Cpu, selector: int) -> None:
    found = find(cpu, selector, GP)
    wrong = selector & 3 != cpu.cpl or not found.writable or found.dpl != cpu.cpl
    require(wrong, GP, code_of(selector))
    require(not found.present, SS, code_of(selector))
    access(cpu, "ss", selector, found)


def _load_data(cpu: Cpu, name: str, selector: int) -> None:
    found = find(cpu, selector, GP)
    require(not found.readable, GP, code_of(selector))
    if not found.conforming:
        require(selector & 3 > found.dpl or cpu.cpl > found.dpl, GP, code_of(selector))
    require(not found.present, NP, code_of(selector))
    access(cpu, name, selector, found)


def fits(attributes: int, limit: int, offset: int, size: int) -> bool:
    """Whether an access lies within its segment; data with E set lies above the limit."""
    last = offset + size - 1
    if attributes & 0xC == 4:
        return offset > limit and last <= (0xFFFFFFFF if attributes & 0x400 else 0xFFFF)
    return last <= limit


def linear(cpu: Cpu, name: str, offset: int, size: int, *, write: bool) -> int:
    """The address of an access, or #GP(0) or #SS(0)."""
    attributes, limit = cpu.r[f"{name}_attributes"], cpu.r[f"{name}_limit"]
    code = bool(attributes & 8)
    allowed = bool(attributes & 2) and not code if write else not code or bool(attributes & 2)
    good = attributes & 0x80 and allowed and fits(attributes, limit, offset, size)
    require(not good, SS if name == "ss" else GP, 0)
    return cpu.r[f"{name}_base"] + offset & 0xFFFFFFFF


# -- the stack ------------------------------------------------------------------------------------


def is_big(cpu: Cpu) -> bool:
    return bool(cpu.r["ss_attributes"] & 0x400)


def stack_offset(cpu: Cpu, pointer: int) -> int:
    return pointer & (0xFFFFFFFF if is_big(cpu) else 0xFFFF)


def move_pointer(cpu: Cpu, by: int) -> None:
    old = cpu.r["esp"]
    moved = old + by & 0xFFFFFFFF
    cpu.r["esp"] = moved if is_big(cpu) else old & 0xFFFF0000 | moved & 0xFFFF


def push(cpu: Cpu, size: int, value: int, code: int = 0) -> None:
    """Push, or #SS(code)."""
    move_pointer(cpu, -size)
    try:
        at = linear(cpu, "ss", stack_offset(cpu, cpu.r["esp"]), size, write=True)
    except Trap:
        raise Trap(SS, code) from None
    cpu.r["pending"] |= cpu.breakpoints(at, size, 1, 3)
    cpu.store(at, size, value)


def pop(cpu: Cpu, size: int) -> int:
    at = linear(cpu, "ss", stack_offset(cpu, cpu.r["esp"]), size, write=False)
    move_pointer(cpu, size)
    cpu.r["pending"] |= cpu.breakpoints(at, size, 3)
    return cpu.load(at, size)
