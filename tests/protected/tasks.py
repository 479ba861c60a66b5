"""The model's task switches (SDM volume 3, section 7.3)."""

from __future__ import annotations

from dataclasses import dataclass

from tests.protected.cpu import (
    FLAG_BITS,
    GENERAL,
    GP,
    NP,
    SEGMENTS,
    SS,
    TS,
    Cpu,
    Descriptor,
    Trap,
)
from tests.protected.segments import (
    access,
    code_of,
    load_v86,
    outside,
    place,
    push,
    read,
    require,
)


@dataclass
class Leaving:
    """How a task is left; `code` is an exception's, pushed in the new task."""

    pointer: int
    flags: int
    nests: bool = False
    returns: bool = False
    ext: int = 0
    code: int | None = None


def global_descriptor(cpu: Cpu, selector: int, vector: int, ext: int = 0) -> Descriptor:
    wrong = code_of(selector) == 0 or bool(selector & 4) or outside(cpu, selector)
    require(wrong, vector, code_of(selector) | ext)
    return read(cpu, selector)


def through_gate(cpu: Cpu, gate: Descriptor, leaving: Leaving) -> None:
    selector = gate.selector
    found = global_descriptor(cpu, selector, GP, leaving.ext)
    code = code_of(selector) | leaving.ext
    require(not found.system or found.type not in (1, 9), GP, code)
    require(not found.present, NP, code)
    switch(cpu, selector, found, leaving)


def back(cpu: Cpu) -> None:
    """IRET with NT."""
    selector = cpu.load(cpu.r["tr_base"], 2)
    found = global_descriptor(cpu, selector, TS)
    require(not found.system or found.type not in (3, 11), TS, code_of(selector))
    require(not found.present, NP, code_of(selector))
    switch(cpu, selector, found, Leaving(cpu.next, cpu.flags & ~0x4000, returns=True))


def switch(cpu: Cpu, selector: int, new: Descriptor, leaving: Leaving) -> None:
    code = code_of(selector) | leaving.ext
    require(new.limit < (0x67 if new.type & 8 else 0x2B), TS, code)
    old_wide = bool(cpu.r["tr_attributes"] & 8)
    require(cpu.r["tr_limit"] < (0x67 if old_wide else 0x2B), TS, code)
    _save(cpu, old_wide, leaving)
    if leaving.nests:
        cpu.store(new.base, 2, cpu.r["tr"])
    else:
        at = place(cpu, cpu.r["tr"]) + 5
        cpu.store(at, 1, cpu.load(at, 1) & ~2)
    if not leaving.returns:
        at = place(cpu, selector) + 5
        cpu.store(at, 1, cpu.load(at, 1) | 2)
    cpu.fill("tr", selector, new.base, new.limit, new.attributes | 2)
    _take_over(cpu, new, leaving)
    cpu.steps += 1
    _arrive(cpu, new, leaving)


def _save(cpu: Cpu, wide: bool, leaving: Leaving) -> None:
    base, size = cpu.r["tr_base"], 4 if wide else 2
    at = base + (0x20 if wide else 0x0E)
    for value in (leaving.pointer, leaving.flags, *(cpu.r[name] for name in GENERAL)):
        cpu.store(at, size, value)
        at += size
    for name in SEGMENTS if wide else SEGMENTS[:4]:
        cpu.store(at, 2, cpu.r[name])
        at += size


def _take_over(cpu: Cpu, new: Descriptor, leaving: Leaving) -> None:
    wide, size = bool(new.type & 8), 4 if new.type & 8 else 2
    at = new.base + (0x20 if wide else 0x0E)
    words = [cpu.load(at + n * size, size) for n in range(10)]
    cpu.r["eip"] = words[0]
    cpu.put_flags(words[1], " ".join(FLAG_BITS))
    for name, value in zip(GENERAL, words[2:], strict=True):
        cpu.r[name] = value if wide else value | 0xFFFF0000
    at += 10 * size
    for number, name in enumerate(SEGMENTS):
        known = wide or number < 4
        cpu.fill(name, cpu.load(at + number * size, 2) if known else 0, 0, 0, 0)
    cpu.r["ldtr"] = cpu.load(new.base + (0x60 if wide else 0x2A), 2)
    if leaving.nests:
        cpu.r["nt"] = 1
    cpu.r["ts"] = 1
    cpu.r["dr7"] &= ~0x155
    cpu.r["cpl"] = 3 if cpu.r["vm"] else cpu.r["cs"] & 3


def late(wrong: bool, vector: int, code: int) -> None:
    require(wrong, vector, code, late=True)


def _arrive(cpu: Cpu, new: Descriptor, leaving: Leaving) -> None:
    for name in ("ldt_base", "ldt_limit", "ldt_attributes"):
        cpu.r[name] = 0
    try:
        _load_table(cpu, leaving.ext)
        if cpu.v86:
            for name in SEGMENTS:
                load_v86(cpu, name, cpu.r[name])
        else:
            _load_segments(cpu, leaving.ext)
        if leaving.code is not None:
            _push_code(cpu, new, leaving)
    except Trap:
        cpu.steps += 1
        raise
    if new.type & 8 and cpu.load(new.base + 0x64, 2) & 1:
        cpu.r["pending"] |= 0x8000


def _push_code(cpu: Cpu, new: Descriptor, leaving: Leaving) -> None:
    pointer = cpu.r["esp"]
    try:
        push(cpu, 4 if new.type & 8 else 2, leaving.code or 0)
    except Trap:
        cpu.r["esp"] = pointer
        raise Trap(SS, leaving.ext, late=True) from None


def _load_table(cpu: Cpu, ext: int) -> None:
    selector = cpu.r["ldtr"]
    if code_of(selector) == 0:
        return
    code = code_of(selector) | ext
    late(bool(selector & 4) or outside(cpu, selector), TS, code)
    found = read(cpu, selector)
    late(not found.system or found.type != 2 or not found.present, TS, code)
    cpu.r["ldt_base"], cpu.r["ldt_limit"] = found.base, found.limit
    cpu.r["ldt_attributes"] = found.attributes


def _load_segments(cpu: Cpu, ext: int) -> None:
    for name in ("cs", "ss", "ds", "es", "fs", "gs"):
        selector = cpu.r[name]
        code = code_of(selector) | ext
        if code_of(selector) == 0 and name not in ("cs", "ss"):
            continue
        late(code_of(selector) == 0 or outside(cpu, selector), TS, code)
        found = read(cpu, selector)
        late(not _is_fit(cpu, name, selector, found), TS, code)
        late(not found.present, SS if name == "ss" else NP, code)
        access(cpu, name, selector, found)


def _is_fit(cpu: Cpu, name: str, selector: int, found: Descriptor) -> bool:
    rpl, dpl = selector & 3, found.dpl
    if name == "cs":
        return found.code and (dpl <= rpl if found.conforming else dpl == rpl)
    if name == "ss":
        return found.writable and rpl == dpl == cpu.cpl
    return found.readable and (found.conforming or dpl >= max(rpl, cpu.cpl))
