"""The model's far JMP, CALL, RET and IRET (SDM volume 2; volume 3, section 5.8)."""

from __future__ import annotations

from tests.protected import tasks
from tests.protected.cpu import GP, NP, SS, Cpu, Descriptor
from tests.protected.interrupts import inner_stack
from tests.protected.segments import (
    access,
    code_of,
    find,
    fits,
    is_big,
    linear,
    load_v86,
    move_pointer,
    pop,
    push,
    require,
    stack_offset,
)


def transfer(cpu: Cpu, selector: int, offset: int, size: int, *, call: bool) -> None:
    """Far JMP or CALL."""
    found = find(cpu, selector, GP)
    if found.code:
        _direct(cpu, selector, found, offset, size, call=call)
        return
    code, reach = code_of(selector), max(cpu.cpl, selector & 3)
    known = found.system and found.type in (1, 4, 5, 9, 12)
    require(not known or found.dpl < reach, GP, code)
    require(found.type in (1, 9) and bool(selector & 4), GP, code)
    require(not found.present, NP, code)
    if found.type in (4, 12):
        _call_gate(cpu, found, call=call)
        return
    leaving = tasks.Leaving(cpu.next, cpu.flags & ~0x10000, nests=call)
    if found.type == 5:
        tasks.through_gate(cpu, found, leaving)
    else:
        tasks.switch(cpu, selector, found, leaving)


def _direct(
    cpu: Cpu, selector: int, found: Descriptor, offset: int, size: int, *, call: bool
) -> None:
    code, cpl = code_of(selector), cpu.cpl
    if found.conforming:
        require(found.dpl > cpl, GP, code)
    else:
        require(selector & 3 > cpl or found.dpl != cpl, GP, code)
    require(not found.present, NP, code)
    require(offset > found.limit, GP, 0)
    if call:
        push(cpu, size, cpu.r["cs"])
        push(cpu, size, cpu.next)
    _go(cpu, selector, found, offset, cpl)


def _go(cpu: Cpu, selector: int, found: Descriptor, offset: int, level: int) -> None:
    access(cpu, "cs", selector & 0xFFFC | level, found)
    cpu.r["cpl"], cpu.r["eip"] = level, offset


def _call_gate(cpu: Cpu, gate: Descriptor, *, call: bool) -> None:
    selector, cpl = gate.selector, cpu.cpl
    target = find(cpu, selector, GP)
    wrong = not target.code or target.dpl > cpl
    if not call and not target.conforming:
        wrong = wrong or target.dpl != cpl
    require(wrong, GP, code_of(selector))
    require(not target.present, NP, code_of(selector))
    level, old_cs = cpl, cpu.r["cs"]
    if call and not target.conforming and target.dpl < cpl:
        level = target.dpl
        _to_inner_stack(cpu, gate, level)
        code = code_of(cpu.r["ss"])
    else:
        code = 0
    if call:
        push(cpu, gate.size, old_cs, code)
        push(cpu, gate.size, cpu.next, code)
    require(gate.offset > target.limit, GP, 0)
    _go(cpu, selector, target, gate.offset, level)


def _to_inner_stack(cpu: Cpu, gate: Descriptor, level: int) -> None:
    size, count = gate.size, gate.high & 31
    old = cpu.r["ss"], cpu.r["esp"]
    places = [stack_offset(cpu, old[1] + n * size) for n in range(count)]
    outer = {name: cpu.r[f"ss_{name}"] for name in ("base", "limit", "attributes")}
    inner_stack(cpu, level, 0)
    code = code_of(cpu.r["ss"])
    for value in old:
        push(cpu, size, value, code)
    good = all(fits(outer["attributes"], outer["limit"], place, size) for place in places)
    require(not good, SS, 0)
    for place in reversed(places):
        at = outer["base"] + place
        cpu.r["pending"] |= cpu.breakpoints(at, size, 3)
        push(cpu, size, cpu.load(at, size), code)


# -- returns --------------------------------------------------------------------------------------


def far_return(cpu: Cpu, size: int, release: int) -> None:
    """RETF."""
    offset, selector = pop(cpu, size), pop(cpu, size) & 0xFFFF
    move_pointer(cpu, release)
    _return(cpu, selector, offset, size, release)


def _return(cpu: Cpu, selector: int, offset: int, size: int, release: int) -> None:
    found = find(cpu, selector, GP)
    rpl, code = selector & 3, code_of(selector)
    require(not found.code or rpl < cpu.cpl, GP, code)
    require(found.dpl > rpl if found.conforming else found.dpl != rpl, GP, code)
    require(not found.present, NP, code)
    if rpl == cpu.cpl:
        require(offset > found.limit, GP, 0)
        _go(cpu, selector, found, offset, rpl)
        return
    _return_outward(cpu, selector, found, offset, size, release)


def _return_outward(
    cpu: Cpu, selector: int, found: Descriptor, offset: int, size: int, release: int
) -> None:
    rpl, pointer, stack = selector & 3, pop(cpu, size), pop(cpu, size) & 0xFFFF
    below = cpu.r["esp"]
    ss = find(cpu, stack, GP)
    wrong = stack & 3 != rpl or not ss.writable or ss.dpl != rpl
    require(wrong, GP, code_of(stack))
    require(not ss.present, SS, code_of(stack))
    require(offset > found.limit, GP, 0)
    access(cpu, "ss", stack, ss)
    cpu.r["esp"] = pointer if is_big(cpu) else below & 0xFFFF0000 | pointer & 0xFFFF
    move_pointer(cpu, release)
    _go(cpu, selector, found, offset, rpl)
    for name in ("es", "ds", "fs", "gs"):
        attributes = cpu.r[f"{name}_attributes"]
        if attributes >> 5 & 3 < rpl and attributes & 0xC != 0xC:
            cpu.fill(name, 0, 0, 0, 0)


def interrupt_return(cpu: Cpu, size: int) -> None:
    """IRET."""
    if cpu.v86:
        _return_in_v86(cpu, size)
        return
    if cpu.r["nt"]:
        tasks.back(cpu)
        return
    level, iopl = cpu.cpl, cpu.r["iopl"]
    offset, selector, image = pop(cpu, size), pop(cpu, size) & 0xFFFF, pop(cpu, size)
    if size == 4 and image & 0x20000 and level == 0:
        _return_to_v86(cpu, selector, offset, image)
        return
    _return(cpu, selector, offset, size, 0)
    names = "cf pf af zf sf tf df of nt" + (" rf ac id" if size == 4 else "")
    names += " if" if level <= iopl else ""
    names += " iopl" if level == 0 else ""
    names += " vif vip" if level == 0 and size == 4 else ""
    cpu.put_flags(image, names)


def _return_to_v86(cpu: Cpu, selector: int, offset: int, image: int) -> None:
    require(offset > 0xFFFF, GP, 0)
    pointer = pop(cpu, 4)
    segments = [(name, pop(cpu, 4) & 0xFFFF) for name in ("ss", "es", "ds", "fs", "gs")]
    for name, value in [*segments, ("cs", selector)]:
        load_v86(cpu, name, value)
    cpu.put_flags(image, "cf pf af zf sf tf if df of iopl nt rf vm ac vif vip id")
    cpu.r["esp"], cpu.r["eip"], cpu.r["cpl"] = pointer, offset, 3


def _return_in_v86(cpu: Cpu, size: int) -> None:
    iopl = cpu.r["iopl"]
    require(iopl < 3 and not (cpu.r["vme"] and size == 2), GP, 0)
    offset, selector, image = pop(cpu, size), pop(cpu, size) & 0xFFFF, pop(cpu, size)
    require(offset > cpu.r["cs_limit"], GP, 0)
    load_v86(cpu, "cs", selector)
    cpu.r["eip"] = offset
    v86_flags(cpu, image, size)
    if size == 4:
        cpu.put_flags(image, "rf")


def v86_flags(cpu: Cpu, image: int, size: int) -> None:
    """What POPF and IRET put in virtual-8086 mode."""
    names = "cf pf af zf sf tf df of nt" + (" ac id" if size == 4 else "")
    if cpu.r["iopl"] == 3:
        cpu.put_flags(image, names + " if")
        return
    wants = image >> 9 & 1
    require(bool(image & 0x100) or bool(wants and cpu.r["vip"]), GP, 0)
    cpu.put_flags(image, names)
    cpu.r["vif"] = wants


def interrupt_in_v86(cpu: Cpu, vector: int) -> bool:
    """INT n in virtual-8086 mode, if it is the program's own; else whether it may go on."""
    if cpu.r["vme"] and not _redirection_bit(cpu, vector):
        _own_handler(cpu, vector)
        return True
    require(cpu.r["iopl"] < 3, GP, 0)
    return False


def _redirection_bit(cpu: Cpu, vector: int) -> int:
    require(cpu.r["tr_limit"] < 103, GP, 0)
    at = cpu.load(cpu.r["tr_base"] + 102, 2) - 32 + vector // 8
    require(at > cpu.r["tr_limit"], GP, 0)
    return cpu.load(cpu.r["tr_base"] + at, 1) >> vector % 8 & 1


def _own_handler(cpu: Cpu, vector: int) -> None:
    flags = cpu.flags & 0xFFFF
    free = cpu.r["iopl"] == 3
    if not free:
        flags = flags & ~0x200 | cpu.r["vif"] << 9 | 0x3000
    for value in (flags, cpu.r["cs"], cpu.next):
        push(cpu, 2, value)
    cpu.r["tf"] = cpu.r["if" if free else "vif"] = 0
    load_v86(cpu, "cs", cpu.load(vector * 4 + 2, 2))
    cpu.r["eip"] = cpu.load(vector * 4, 2)


def access_memory(cpu: Cpu, name: str, offset: int, size: int, *, write: bool) -> int:
    """A load's value, or a store of 0."""
    at = linear(cpu, name, offset, size, write=write)
    if write:
        cpu.store(at, size, 0)
        return 0
    return cpu.load(at, size)
