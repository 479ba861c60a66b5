"""What is tried: each family as a product of a few properties, each product a condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from tests.protected.instructions import INT_VECTOR, MSRS, OPERATIONS, OVERRIDES, POINTER
from tests.protected.machine import (
    FIRST_TSS,
    GDT,
    IDT,
    LDT,
    LOCAL,
    NARROW_TSS,
    OUTSIDE,
    PLACES,
    SECOND,
    SUBJECT,
    TABLE,
    THIRD,
    TSS,
    TSS_NARROW,
    TSS_WIDE,
    WIDE_TSS,
    Condition,
    Patch,
    code_selector,
    data_selector,
    descriptor,
    flat,
    gate,
    narrow_task,
    stack_top,
    wide_task,
    words,
)

Family = Callable[[], Iterator[Condition]]
FAMILIES: list[Family] = []

LEVELS = range(4)
PRESENT = 0x80
SEGMENT_TYPES = range(0x10, 0x20)  # S, and type
SYSTEM_TYPES = range(0x10)
CODES = 0x18, 0x1A, 0x1C, 0x1E  # execute only, readable, conforming, both
SOME_TYPES = 0x02, 0x04, 0x05, 0x09, 0x0B, 0x0C, 0x0E, 0x10, 0x12, 0x16, 0x18, 0x1A, 0x1C, 0x1E
TARGET = 0x8900


def family(function: Family) -> Family:
    FAMILIES.append(function)
    return function


def every() -> list[Condition]:
    """All conditions, each once."""
    return list(dict.fromkeys(c for function in FAMILIES for c in function()))


def access(kind: int, dpl: int, present: bool = True) -> int:
    return kind | dpl << 5 | (PRESENT if present else 0)


def subject(kind: int, dpl: int, present: bool = True, limit: int = 0xFFFFF) -> Patch:
    """The descriptor that the condition is about."""
    return GDT + SUBJECT, descriptor(0, limit, access(kind, dpl, present), 0xC)


def second(kind: int, dpl: int, present: bool = True, limit: int = 0xFFFFF) -> Patch:
    """The descriptor that the subject, a gate, leads to."""
    return GDT + SECOND, descriptor(0, limit, access(kind, dpl, present), 0xC)


def pointer(selector: int, offset: int = TARGET, size: int = 4) -> Patch:
    return POINTER, words((offset,), size) + words((selector,), 2)


def on_stack(level: int, values: list[int], size: int = 4) -> Patch:
    return stack_top(level), words(values, size)


def in_register(operation: str) -> str:
    return "ecx" if operation.split()[0] in ("lar", "lsl", "verr", "verw") else "eax"


# -- segment registers ----------------------------------------------------------------------------

ODD_SELECTORS = 0, 1, 2, 3, OUTSIDE, OUTSIDE | 3, 0x24, 0x27, LOCAL, LOCAL | 3, 4


@family
def segment_loads() -> Iterator[Condition]:
    kinds = (*SEGMENT_TYPES, 0x02, 0x05, 0x09, 0x0C, 0x0E)
    for name, level, kind, dpl, rpl in product(("ds", "ss"), (0, 1, 3), kinds, LEVELS, LEVELS):
        for present in (True, False):
            patches = (subject(kind, dpl, present),)
            yield Condition(f"mov {name}", level, patches, (("eax", SUBJECT | rpl),))


@family
def other_segment_loads() -> Iterator[Condition]:
    for level, selector in product(LEVELS, ODD_SELECTORS):
        for name in ("es", "ss", "ds", "fs", "gs"):
            yield Condition(f"mov {name}", level, (), (("eax", selector),))
            yield Condition(f"pop {name}", level, (on_stack(level, [selector]),))
            yield Condition(f"l{name}", level, (pointer(selector),))
    for name, (kind, dpl) in product(("es", "fs", "gs"), ((0x12, 3), (0x18, 3), (0x1E, 0))):
        for present in (True, False):
            patches = (subject(kind, dpl, present), pointer(SUBJECT))
            yield Condition(f"mov {name}", 3, patches, (("eax", SUBJECT),))
            yield Condition(f"l{name}", 3, patches)
    for name in ("es", "ss", "ds", "fs", "gs"):
        yield Condition(f"mov {name} v86", 3, (), (("eax", 0x1234),))
    yield Condition("mov cs")
    yield Condition("mov ss", 0, (), (("eax", data_selector(0)), ("shadow", 1)))


@family
def looks() -> Iterator[Condition]:
    kinds = (*SYSTEM_TYPES, *SEGMENT_TYPES)
    reach = ((0, 0, 0), (3, 3, 3), (3, 0, 0), (0, 3, 2), (2, 3, 1), (1, 0, 1))
    for name, kind, (dpl, level, rpl) in product(("lar", "lsl", "verr", "verw"), kinds, reach):
        yield Condition(name, level, (subject(kind, dpl),), (("ecx", SUBJECT | rpl),))
    for name, selector in product(("lar", "lsl", "verr", "verw"), ODD_SELECTORS):
        yield Condition(name, 0, (), (("ecx", selector),))
    for name in ("lar", "lsl", "verr", "verw", "arpl"):
        yield Condition(f"{name} v86", 3, (), (("ecx", SUBJECT),))
    for low, wanted in product(LEVELS, LEVELS):
        yield Condition("arpl", 3, (), (("eax", 0x100 | low), ("ecx", 0x200 | wanted)))


LIMITS = 0x70FC, 0x7100, 0x7102, 0x7103, 0x7104, 0x80


@family
def limits() -> Iterator[Condition]:
    """Reads and writes through segments of every type, about their limits."""
    for name, kind, limit, size in product(("ds", "ss"), range(0x10, 0x20, 2), LIMITS, (1, 2, 4)):
        for write in ("read", "write"):
            changes = (
                (f"{name}_limit", limit),
                (f"{name}_attributes", access(kind | 1, 0) | 0x400),
            )
            yield Condition(f"{write} {name} {size}", 0, (), changes)
    for name, write, size in product(OVERRIDES, ("read", "write"), (1, 2, 4)):
        if name != "cs":
            gone = ((name, 0), (f"{name}_attributes", 0), (f"{name}_limit", 0))
            yield Condition(f"{write} {name} {size}", 0, (), gone)
        yield Condition(f"{write} {name} {size}", 0)
    for big, offset in product((0, 0x400), (0xFFFE, 0xFFFF, 0x7100)):
        changes = (("ds_limit", 0x6FFF), ("ds_attributes", 0x97 | big), ("ebx", offset))
        yield Condition("read ds 1", 0, (), changes)
        yield Condition("read ds 4", 0, (), (*changes, ("ds_base", 0xFFFF9000)))


# -- tables, tasks, registers of the system -------------------------------------------------------


@family
def tables() -> Iterator[Condition]:
    kinds = (*SYSTEM_TYPES, 0x12, 0x1A)
    for name, kind, present, rpl in product(("lldt", "ltr"), kinds, (True, False), (0, 3)):
        yield Condition(name, 0, (subject(kind, 0, present),), (("eax", SUBJECT | rpl),))
    for name, level in product(("lldt", "ltr"), LEVELS):
        for selector in (*ODD_SELECTORS, TABLE, WIDE_TSS, NARROW_TSS, FIRST_TSS):
            yield Condition(name, level, (), (("eax", selector),))
    for name in ("lldt", "ltr", "sldt", "str", "smsw", "lmsw"):
        yield Condition(f"{name} v86", 3)
    for name, level in product(("sgdt", "sidt", "lgdt", "lidt", "lgdt 16", "lidt 16"), LEVELS):
        table = ((POINTER, words((0x1234, 0x5678, 0x9ABC), 2)),)
        yield Condition(name, level, table)
        yield Condition(name, level, table, (("ds_limit", POINTER + 4), ("umip", 1)))
    for name, level in product(("sgdt", "sidt", "sldt", "str", "smsw"), LEVELS):
        yield Condition(name, level, (), (("umip", 1), ("ts", 1), ("cd", 1)))
        yield Condition(name, level)
    for name in ("lgdt register", "lidt register", "invlpg register"):
        yield Condition(name)
        yield Condition(name, 3)


@family
def control_registers() -> Iterator[Condition]:
    for pg, pe, nw, cd in product((0, 1), repeat=4):
        for rest in (0, 0x0005003E, 0x1FFAFFD0):
            value = pg << 31 | cd << 30 | nw << 29 | pe | rest
            yield Condition("mov cr0, eax", 0, (), (("eax", value),))
    for bit in range(32):
        yield Condition("mov cr4, eax", 0, (), (("eax", 1 << bit),))
    for value, pge in product((0, 0x80, 0x90, 0x99F, 0x9FF), (0, 1)):
        yield Condition("mov cr4, eax", 0, (), (("eax", value), ("pge", pge)))
    names = [n for n in OPERATIONS if n.startswith(("mov cr", "mov eax, cr")) and "v86" not in n]
    for name, level in product(names, LEVELS):
        yield Condition(name, level)
        yield Condition(f"{name} v86", 3)
    for value, level in product(range(16), (0, 3)):
        for old in (0, 14):
            changes = (("mp", old >> 1 & 1), ("em", old >> 2 & 1), ("ts", old >> 3 & 1))
            yield Condition("lmsw", level, (), (("eax", 0xFFF0 | value), *changes))
    for level, ts in product(LEVELS, (0, 1)):
        yield Condition("clts", level, (), (("ts", ts),))


@family
def debug_registers() -> Iterator[Condition]:
    names = [n for n in OPERATIONS if n.startswith(("mov dr", "mov eax, dr")) and "v86" not in n]
    for name, level, de, gd in product(names, (0, 1, 3), (0, 1), (0, 0x2000)):
        changes = (("de", de), ("dr7", 0x400 | gd), ("dr2", 0x22))
        yield Condition(name, level, (), changes)
        yield Condition(f"{name} v86", 3, (), changes)


@family
def privileged() -> Iterator[Condition]:
    for name, level in product(("invd", "wbinvd", "hlt", "invlpg"), LEVELS):
        yield Condition(name, level)
    for name in ("invd", "wbinvd", "hlt", "rdmsr", "wrmsr", "sysexit", "clts"):
        yield Condition(f"{name} v86", 3)
    for name, level, number in product(
        ("rdmsr", "wrmsr"), (0, 3), (*MSRS, 0x11, 0x173, 0xC0000080)
    ):
        kept = (("sysenter_cs", 0x11), ("sysenter_esp", 0x22), ("tsc_offset", 0x500000001))
        yield Condition(name, level, (), (("ecx", number), *kept))
    for level, flag in product(LEVELS, (0, 1)):
        yield Condition("rdtsc", level, (), (("tsd", flag), ("tsc_offset", 77)))
        yield Condition("rdpmc", level, (), (("pce", flag), ("ecx", 1)))
        yield Condition("rdpmc", level, (), (("pce", flag), ("ecx", 2)))
    for flag in (0, 1):
        yield Condition("rdtsc v86", 3, (), (("tsd", flag),))
        yield Condition("rdpmc v86", 3, (), (("pce", flag), ("ecx", 0)))
    for level, selector in product(LEVELS, (0, 3, 0x08, 0x1B)):
        changes = (("sysenter_cs", selector), ("sysenter_esp", 0x5000), ("sysenter_eip", 0x8800))
        yield Condition("sysenter", level, (), changes)
        yield Condition("sysexit", level, (), (*changes, ("edx", TARGET), ("ecx", 0x6800)))
        yield Condition("sysenter v86", 3, (), changes)
    for name, em, mp, ts in product(("wait", "fnclex", "fnstsw"), (0, 1), (0, 1), (0, 1)):
        yield Condition(name, 3, (), (("em", em), ("mp", mp), ("ts", ts)))
        yield Condition(f"{name} v86", 3, (), (("em", em), ("mp", mp), ("ts", ts)))


# -- ports and IF ---------------------------------------------------------------------------------


@family
def ports() -> Iterator[Condition]:
    names = "in", "out", "ins", "outs"
    for name, size, level, iopl in product(names, (1, 2, 4), LEVELS, LEVELS):
        yield Condition(f"{name} {size}", level, (), (("edx", 0x3F8), ("iopl", iopl)))
    maps = (
        (0x88, 0x3F8 // 8, 0x00, 0xFF), (0x88, 0, 0xFE, 0xFF), (0x88, 0, 0xF0, 0xFF),
        (0x88, 0, 0x3F, 0xFF), (0x88, 0, 0x0F, 0xFE), (0x88, 0x76, 0, 0), (0x88, 0x77, 0, 0),
        (0xFE, 0, 0, 0), (0xFF, 0, 0, 0), (0x67, 0, 0, 0), (0xFFFF, 0, 0, 0),
    )  # fmt: skip
    for (base, byte, low, high), bit, size in product(maps, (0, 4, 7), (1, 2, 4)):
        patches = ((TSS + 102, words((base,), 2)), (TSS + base + byte, bytes((low, high))))
        patches = patches[: 1 if base + byte > 0xFF else 2]
        for mode in ("", " v86"):
            changes = (("edx", byte * 8 + bit), ("iopl", 3 if mode else 0))
            yield Condition(f"in {size}{mode}", 3, patches, changes)
            yield Condition(f"out {size}{mode}", 3, patches, changes)
        for name in ("ins", "outs"):
            yield Condition(f"{name} {size}", 3, patches, (("edx", byte * 8 + bit),))
    for attributes, limit in product((0x8B, 0x83), (0x2B, 101, 102, 103, 0x88, 0x89)):
        patches = ((TSS + 102, words((0x88,), 2)), (TSS + 0x88, bytes(2)))
        changes = (("edx", 0), ("tr_attributes", attributes), ("tr_limit", limit))
        yield Condition("in 1", 3, patches, changes)


@family
def interrupt_flag() -> Iterator[Condition]:
    for name, level, iopl, pvi, vip in product(("cli", "sti"), LEVELS, LEVELS, (0, 1), (0, 1)):
        for old in (0, 1):
            changes = (("iopl", iopl), ("pvi", pvi), ("vip", vip), ("if", old), ("vif", 1 - old))
            yield Condition(name, level, (), changes)
    for name, iopl, vme, vip in product(("cli", "sti"), LEVELS, (0, 1), (0, 1)):
        for old in (0, 1):
            changes = (("iopl", iopl), ("vme", vme), ("vip", vip), ("if", old), ("vif", 1 - old))
            yield Condition(f"{name} v86", 3, (), changes)
    for shadow in (0, 1):
        yield Condition("sti", 0, (), (("if", 0), ("shadow", shadow)))


IMAGES = 0x0, 0x200, 0x100, 0x4ED5, 0x3000, 0x7FD7, 0x3F7FD7, 0x240000, 0x180200, 0x10002


@family
def flag_images() -> Iterator[Condition]:
    for size, level, iopl, image in product((2, 4), LEVELS, (0, 1, 3), IMAGES):
        changes = (("iopl", iopl), ("vif", 1), ("rf", 1))
        yield Condition(f"popf {size}", level, (on_stack(level, [image]),), changes)
        if image == 0:
            yield Condition(f"pushf {size}", level, (), (*changes, ("nt", 1), ("id", 1)))
    for size, iopl, vme, vip, image in product((2, 4), (0, 2, 3), (0, 1), (0, 1), IMAGES):
        changes = (("iopl", iopl), ("vme", vme), ("vip", vip), ("vif", 1), ("if", 0))
        yield Condition(f"popf {size} v86", 3, ((0x6800, words((image,), 4)),), changes)
        if image in (0, 0x200):
            yield Condition(f"pushf {size} v86", 3, (), (*changes, ("nt", 1)))
        back = (0x6800, words((0x120, 0x4321, image), size))
        yield Condition(f"iret {size} v86", 3, (back,), changes)
    far = (0x6800, words((0x10000, 0x4321, 2), 4))
    yield Condition("iret 4 v86", 3, (far,), (("iopl", 3),))


# -- far transfers --------------------------------------------------------------------------------


@family
def direct_transfers() -> Iterator[Condition]:
    kinds = (*CODES, 0x12, 0x16, 0x02, 0x0E)
    for name, level, kind, dpl, rpl in product(("jmp", "call"), (0, 2, 3), kinds, LEVELS, LEVELS):
        for present in (True, False):
            patches = (subject(kind, dpl, present), pointer(SUBJECT | rpl))
            yield Condition(f"{name} far 4", level, patches)
    for name, level, selector in product(("jmp", "call"), LEVELS, ODD_SELECTORS):
        yield Condition(f"{name} far 4", level, (pointer(selector),))
    for name, size, limit in product(("jmp", "call"), (2, 4), (TARGET - 1, TARGET)):
        target = (GDT + SUBJECT, descriptor(0, limit, 0x9A, 4))
        yield Condition(f"{name} far {size}", 0, (target, pointer(SUBJECT, TARGET, size)))
        for top in (stack_top(0) - 1, stack_top(0) - 5, stack_top(0) - 9):
            patches = (target, pointer(SUBJECT, TARGET, size))
            yield Condition(f"{name} far {size}", 0, patches, (("ss_limit", top),))
    local = (LDT + (LOCAL & ~7), flat(0x9A))
    yield Condition("jmp far 4", 0, (local, pointer(LOCAL)))
    yield Condition("jmp far 4", 0, (local, pointer(LOCAL)), (("ldt_limit", 14),))


def call_gate(
    kind: int, dpl: int, target: int, present: bool = True, count: int = 0, offset: int = TARGET
) -> Patch:
    return GDT + SUBJECT, gate(target, offset, access(kind, dpl, present), count)


@family
def call_gates() -> Iterator[Condition]:
    for name, kind, level, dpl, rpl in product(("jmp", "call"), (4, 12), (0, 2, 3), LEVELS, LEVELS):
        for present in (True, False):
            patches = (call_gate(kind, dpl, code_selector(level), present), pointer(SUBJECT | rpl))
            yield Condition(f"{name} far 4", level, patches)
    for name, level, code, dpl in product(("jmp", "call"), (0, 1, 3), SOME_TYPES, LEVELS):
        for present in (True, False):
            patches = (call_gate(12, 3, SECOND), second(code, dpl, present), pointer(SUBJECT | 3))
            yield Condition(f"{name} far 4", level, patches)
    for name, selector, kind in product(("jmp", "call"), ODD_SELECTORS, (4, 12)):
        yield Condition(f"{name} far 4", 3, (call_gate(kind, 3, selector), pointer(SUBJECT | 3)))
    for name, limit, kind, dpl in product(("jmp", "call"), (TARGET - 1, TARGET), (4, 12), (0, 3)):
        target = (GDT + SECOND, descriptor(0, limit, 0x9A | dpl << 5, 4))
        yield Condition(
            f"{name} far 4", 3, (call_gate(kind, 3, SECOND), target, pointer(SUBJECT | 3))
        )


@family
def inner_calls() -> Iterator[Condition]:
    """Calls to an inner level: parameters, the TSS, and everything wrong with the new stack."""
    parameters = (stack_top(3), words(range(0x101, 0x141), 4))
    for kind, inner, count in product((4, 12), (0, 1, 2), (0, 1, 2, 7, 30, 31)):
        patches = (
            call_gate(kind, 3, code_selector(inner), count=count),
            pointer(SUBJECT | 3),
            parameters,
        )
        yield Condition("call far 4", 3, patches)
        yield Condition("call far 2", 3, (*patches[:1], pointer(SUBJECT | 3, 0, 2), parameters))
        edge = (("ss_limit", stack_top(3) + 8),)
        yield Condition("call far 4", 3, patches, edge)
        narrow = (("ss_attributes", 0xF3), ("ss_limit", 0xFFFF))
        yield Condition("call far 4", 3, patches, narrow)
    for kind, (changes, patches) in product((4, 12), list(stacks())):
        through = (call_gate(kind, 3, code_selector(0), count=2), pointer(SUBJECT | 3))
        yield Condition("call far 4", 3, (*through, *patches), changes)


def stacks() -> Iterator[tuple[tuple[tuple[str, int], ...], tuple[Patch, ...]]]:
    """The stack of level 0 in every state."""
    at = TSS + 8
    for selector in (*ODD_SELECTORS, data_selector(1), data_selector(3), code_selector(0)):
        yield (), ((at, words((selector,), 2)),)
    for kind, dpl, present in product(SOME_TYPES, (0, 1, 3), (True, False)):
        yield (), ((at, words((THIRD,), 2)), _third(kind, dpl, present, 0xFFFFF, 0xC))
    for limit, flags in product((*range(0x4FDB, 0x5000, 4), 0x5000), (0x0, 0x4)):
        yield (), ((at, words((THIRD,), 2)), _third(0x12, 0, True, limit, flags))
    for limit in (0x4FCF, 0x4FD7, 0x4FDB, 0x4FDF, 0x4FE3, 0x4FE7, 0x4FEB, 0x4FEF, 0x4FF7, 0x4FFB):
        yield (), ((at, words((THIRD,), 2)), _third(0x16, 0, True, limit, 4))
    for limit in range(0x2, 0x10):
        yield (("tr_limit", limit),), ()
    yield (("tr_attributes", 0x83),), ((TSS, narrow_task()),)
    for limit in range(0x1, 0x8):
        yield (("tr_attributes", 0x83), ("tr_limit", limit)), ((TSS, narrow_task()),)
    yield (("tr_attributes", 0x83),), ((TSS, narrow_task(ss0=0x13)),)


def _third(kind: int, dpl: int, present: bool, limit: int, flags: int) -> Patch:
    """A descriptor behind the subject and its target, where the table's last entry is."""
    return GDT + THIRD, descriptor(0, limit, access(kind, dpl, present), flags)


# -- returns --------------------------------------------------------------------------------------


def frames(
    kind: str, selector: int, stack: int, level: int, size: int = 4, flags: int = 0x202
) -> Patch:
    """What RETF or IRET finds: its own values and an outer stack's."""
    middle = [flags] if kind.startswith("iret") else []
    outer = [0x6F00, stack]
    release = [0, 0] if kind.endswith("8") else []
    release = [0] * (8 // size) if release else []
    return on_stack(level, [TARGET, selector, *middle, *release, *outer], size)


RETURNS = "retf 4", "iret 4"


@family
def returns() -> Iterator[Condition]:
    for name, level, kind, dpl, rpl in product(
        RETURNS, (0, 2, 3), (*CODES, 0x12, 0x0C), LEVELS, LEVELS
    ):
        for present in (True, False):
            patches = (
                subject(kind, dpl, present),
                frames(name, SUBJECT | rpl, data_selector(rpl), level),
            )
            yield Condition(name, level, patches)
    for name, level, selector in product(RETURNS, (0, 3), ODD_SELECTORS):
        yield Condition(name, level, (frames(name, selector, data_selector(3), level),))
        if level == 0:
            yield Condition(name, 0, (frames(name, code_selector(3), selector, 0),))
    for name, kind, dpl, rpl in product(RETURNS, SOME_TYPES, (0, 1, 3), (0, 1, 3)):
        for present in (True, False):
            patches = (
                subject(kind, dpl, present),
                frames(name, code_selector(3), SUBJECT | rpl, 0),
            )
            yield Condition(name, 0, patches)


@family
def returns_to_limits() -> Iterator[Condition]:
    for name, size, outer in product(("retf", "retf 8", "iret"), (2, 4), (0, 1, 3)):
        operation = f"retf {size}, 8" if name == "retf 8" else f"{name} {size}"
        for limit, stack in product((TARGET - 1, TARGET), (0xF3, 0xF3 | 0x400)):
            code = (GDT + SUBJECT, descriptor(0, limit, access(0x1A, outer), 4))
            ss = (GDT + SECOND, descriptor(0, 0xFFFF, access(0x12, outer), stack >> 8))
            frame = frames(name, SUBJECT | outer, SECOND | outer, 0, size)
            yield Condition(operation, 0, (code, ss, frame))
        for top in range(stack_top(0), stack_top(0) + 24, 2):
            frame = frames(name, code_selector(outer), data_selector(outer), 0, size)
            yield Condition(operation, 0, (frame,), (("ss_limit", top), ("nmi_blocked", 1)))


@family
def returns_that_take_away() -> Iterator[Condition]:
    for name, outer, kind, dpl in product(RETURNS, (1, 2, 3), (0x12, 0x1A, 0x1E), LEVELS):
        changes = tuple((f"{s}_attributes", access(kind, dpl) | 0xC00) for s in ("es", "ds", "gs"))
        frame = frames(name, code_selector(outer), data_selector(outer), 0)
        yield Condition(name, 0, (frame,), (*changes, ("fs", 0), ("fs_attributes", 0)))


@family
def returned_flags() -> Iterator[Condition]:
    for size, level, iopl, image in product(
        (2, 4), LEVELS, (0, 2, 3), (*IMAGES, 0x1FFFFF & ~0x20000)
    ):
        if image & 0x20000 and level == 0:
            continue
        frame = frames("iret", code_selector(level), data_selector(level), level, size, image)
        yield Condition(f"iret {size}", level, (frame,), (("iopl", iopl), ("vip", 1)))
    for image, offset in product((0x20202, 0x3BFED7, 0x23202), (0x100, 0xFFFF, 0x10000)):
        values = [offset, 0x1111, image, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666, 0x7777]
        for level in (0, 1):
            changes = (("iopl", 1), ("nmi_blocked", 1))
            yield Condition("iret 4", level, (on_stack(level, values),), changes)
        for top in range(stack_top(0) + 11, stack_top(0) + 36, 4):
            yield Condition("iret 4", 0, (on_stack(0, values),), (("ss_limit", top),))


# -- interrupts -----------------------------------------------------------------------------------

SOURCES = (f"int {INT_VECTOR:x}h", INT_VECTOR), ("int3", 3), ("into", 4), ("int1", 1), ("ud2", 6)
CAUSES = (*SOURCES, ("div by zero", 0), ("clts", 13))
"""Operations and the vector that they ask for; the last, at level 3, is one with an error code."""


def idt_gate(vector: int, target: int, kind: int, dpl: int = 3, present: bool = True) -> Patch:
    return IDT + vector * 8, gate(target, TARGET, access(kind, dpl, present))


def set_up(name: str) -> tuple[tuple[str, int], ...]:
    return (("of", 1),) if name.startswith("into") else ()


@family
def idt_entries() -> Iterator[Condition]:
    for (name, vector), kind, present in product(
        CAUSES, (*SYSTEM_TYPES, 0x1E, 0x16), (True, False)
    ):
        target = WIDE_TSS if kind == 5 else code_selector(0)
        yield Condition(name, 3, (idt_gate(vector, target, kind, 3, present),), set_up(name))
    for (name, vector), kind, level, dpl in product(CAUSES, (5, 6, 7, 14, 15), LEVELS, LEVELS):
        target = WIDE_TSS if kind == 5 else code_selector(0)
        yield Condition(name, level, (idt_gate(vector, target, kind, dpl),), set_up(name))
    for (name, vector), past in product(CAUSES, (-1, 0)):
        yield Condition(name, 3, (), (("idt_limit", vector * 8 + 7 + past), *set_up(name)))
    for level in LEVELS:
        yield Condition("int 50h", level)
        yield Condition("into", level, (), (("of", 0),))


@family
def handlers() -> Iterator[Condition]:
    causes = (SOURCES[0], CAUSES[-1], SOURCES[4])
    for (name, vector), level, kind, dpl in product(causes, (0, 2, 3), SOME_TYPES, LEVELS):
        for present in (True, False):
            patches = (idt_gate(vector, SECOND, 14), second(kind, dpl, present))
            yield Condition(name, level, patches)
    for (name, vector), selector, kind in product(causes, ODD_SELECTORS, (6, 15)):
        yield Condition(name, 3, (idt_gate(vector, selector, kind),))
    for (name, vector), limit, kind, dpl in product(causes, (TARGET - 1, TARGET), (6, 15), (0, 3)):
        target = (GDT + SECOND, descriptor(0, limit, access(0x1A, dpl), 4))
        yield Condition(name, 3, (idt_gate(vector, SECOND, kind), target))
    for (name, vector), kind, (changes, patches) in product(causes, (6, 14), list(stacks())):
        through = idt_gate(vector, code_selector(0), kind)
        yield Condition(name, 3, (through, *patches), changes)
    for (name, vector), kind, flags in product(
        causes, (6, 7, 14, 15), (0x0, 0x4100, 0x10200, 0x3F4FD5)
    ):
        values = tuple(
            (f, flags >> b & 1) for f, b in (("if", 9), ("nt", 14), ("rf", 16), ("ac", 18))
        )
        yield Condition(name, 3, (idt_gate(vector, code_selector(0), kind),), (*values, ("am", 0)))


@family
def same_level_stacks() -> Iterator[Condition]:
    """The frame at the same level about the stack's limit; the handler's #SS needs a task."""
    for (name, vector), kind, size in product(
        (SOURCES[0], SOURCES[4], ("mov ds", 13)), (6, 14), range(0, 20, 2)
    ):
        escape = (idt_gate(12, WIDE_TSS, 5, 0), idt_gate(8, WIDE_TSS, 5, 0))
        gates = (idt_gate(vector, code_selector(0), kind), *escape)
        changes = (
            ("ss_attributes", 0x497),
            ("ss_limit", stack_top(0) - size - 1),
            ("eax", OUTSIDE),
        )
        yield Condition(name, 0, gates, changes)


@family
def external_interrupts() -> Iterator[Condition]:
    for vector, level, kind, dpl in product((0x20, 0x3F, 2), LEVELS, (5, 6, 7, 14, 15), (0, 3)):
        target = WIDE_TSS if kind == 5 else code_selector(0)
        yield Condition("nop", level, (idt_gate(vector, target, kind, dpl),), event=vector)
    for kind, present in product(range(0x10), (True, False)):
        yield Condition("nop", 3, (idt_gate(0x20, code_selector(0), kind, 3, present),), event=0x20)
    for level, selector in product((0, 3), ODD_SELECTORS):
        yield Condition("nop", level, (idt_gate(0x20, selector, 14),), event=0x20)
    for changes, patches in stacks():
        yield Condition("nop", 3, patches, changes, event=0x21)
    yield Condition("nop", 3, (), (("idt_limit", 0xFF),), event=0x20)
    yield Condition("nop v86", 3, (), (("iopl", 1),), event=0x20)


@family
def double_faults() -> Iterator[Condition]:
    """A fault, a fault of its gate, of the double fault's gate: shutdown."""
    broken = (0x0F, False), (0x02, True), (0x0E, True)
    causes = CAUSES[4:]
    for (name, vector), (first, there), dpl in product(causes, broken, (0, 3)):
        for other, gone in product(((11, False), (8, False), (13, False)), (True, False)):
            gates = [idt_gate(vector, code_selector(0), first, dpl, there)]
            if gone:
                gates.append(idt_gate(other[0], code_selector(0), 14, 0, False))
            yield Condition(name, 3, tuple(gates))
    for name, _ in CAUSES:
        yield Condition(name, 3, (), (("idt_limit", 0x17), *set_up(name)))
        yield Condition(name, 3, (), (("idt_limit", 0x67), *set_up(name)))
        yield Condition(name, 3, (), (("tr_limit", 0), *set_up(name)))


@family
def v86_interrupts() -> Iterator[Condition]:
    names = [(f"{name} v86", vector) for name, vector in CAUSES[:-1]] + [("hlt v86", 13)]
    for (name, vector), kind, iopl in product(names, (5, 6, 7, 14, 15), (0, 3)):
        for target in (code_selector(0), code_selector(1), code_selector(3), SECOND):
            patches = (idt_gate(vector, WIDE_TSS if kind == 5 else target, kind), second(0x1E, 0))
            yield Condition(name, 3, patches, (("iopl", iopl), *set_up(name)))
    for (name, vector), dpl in product(names, LEVELS):
        yield Condition(
            name, 3, (idt_gate(vector, code_selector(0), 14, dpl),), (("iopl", 3), *set_up(name))
        )
    for kind, (changes, patches) in product((6, 14), list(stacks())):
        through = idt_gate(INT_VECTOR, code_selector(0), kind)
        yield Condition("int 30h v86", 3, (through, *patches), (*changes, ("iopl", 3)))


@family
def redirection() -> Iterator[Condition]:
    for vme, iopl, vif, old in product((0, 1), LEVELS, (0, 1), (0, 1)):
        for byte in (0xFF, 0xFE, 0x00, 0x01):
            patches = (
                (TSS + 0x88 - 32 + INT_VECTOR // 8, bytes((byte,))),
                idt_gate(INT_VECTOR, code_selector(0), 14),
            )
            changes = (("vme", vme), ("iopl", iopl), ("vif", vif), ("if", old))
            yield Condition("int 30h v86", 3, patches, changes)
    for limit, base in product((102, 103, 0x6D, 0x6E, 0x6F), (0x88, 0x100, 0x20)):
        patches = ((TSS + 102, words((base,), 2)),)
        yield Condition("int 30h v86", 3, patches, (("vme", 1), ("tr_limit", limit)))


# -- tasks ----------------------------------------------------------------------------------------


def departures(
    selector: int,
) -> Iterator[tuple[str, int, tuple[Patch, ...], tuple[tuple[str, int], ...]]]:
    """Every way to a task: JMP, CALL, task gates, interrupts, exceptions, IRET."""
    through = (GDT + SUBJECT, gate(selector, 0, access(5, 3)))
    for name in ("jmp far 4", "call far 4"):
        yield name, 0, (pointer(selector),), ()
        yield name, 3, (through, pointer(SUBJECT)), ()
    yield f"int {INT_VECTOR:x}h", 0, (idt_gate(INT_VECTOR, selector, 5),), ()
    yield "clts", 3, (idt_gate(13, selector, 5),), (("rf", 1),)
    yield "ud2", 1, (idt_gate(6, selector, 5),), ()
    yield "iret 4", 0, ((TSS, words((selector,), 2)),), (("nt", 1), ("nmi_blocked", 1))


def task_descriptor(
    selector: int, kind: int, present: bool = True, limit: int | None = None, dpl: int = 3
) -> Patch:
    wide = selector == WIDE_TSS
    base = TSS_WIDE if wide else TSS_NARROW
    limit = (0x67 if wide else 0x2B) if limit is None else limit
    return GDT + selector, descriptor(base, limit, access(kind, dpl, present), 0)


def kind_for(name: str, selector: int) -> int:
    """The type that the way needs: a busy task for IRET."""
    return (9 if selector == WIDE_TSS else 1) | (2 if name.startswith("iret") else 0)


@family
def task_descriptors() -> Iterator[Condition]:
    for selector in (WIDE_TSS, NARROW_TSS):
        for name, level, patches, changes in departures(selector):
            for kind, present in product((*SYSTEM_TYPES, 0x12), (True, False)):
                there = task_descriptor(selector, kind, present)
                yield Condition(name, level, (*patches, there), changes)
            for limit in (0x2A, 0x2B, 0x66, 0x67):
                there = task_descriptor(selector, kind_for(name, selector), True, limit)
                yield Condition(name, level, (*patches, there), changes)
                yield Condition(name, level, (*patches, there), (*changes, ("tr_limit", limit)))
    for selector in (0, 3, OUTSIDE, LOCAL, TABLE):
        for name, level, patches, changes in departures(selector):
            yield Condition(name, level, patches, changes)
    for name, level, dpl, rpl in product(("jmp far 4", "call far 4"), (0, 2, 3), LEVELS, LEVELS):
        there = task_descriptor(WIDE_TSS, 9, dpl=dpl)
        yield Condition(name, level, (there, pointer(WIDE_TSS | rpl)))
        through = (GDT + SUBJECT, gate(WIDE_TSS, 0, access(5, dpl)))
        yield Condition(name, level, (through, pointer(SUBJECT | rpl)))
        yield Condition(name, level, (through, pointer(SUBJECT | rpl)), (("tr_attributes", 0x83),))


WRONG_SEGMENTS = (
    {}, {"ldt": 0}, {"ldt": 4}, {"ldt": OUTSIDE}, {"ldt": 0x10}, {"cs": 0}, {"cs": OUTSIDE},
    {"cs": 0x0B}, {"cs": 0x10}, {"ss": 0}, {"ss": OUTSIDE}, {"ss": 0x13}, {"ss": 0x08},
    {"ss": 0x41},
    {"ds": OUTSIDE}, {"ds": 0x13}, {"ds": FIRST_TSS}, {"ds": 0}, {"es": OUTSIDE}, {"es": 0x27},
    {"cs": code_selector(3), "ss": data_selector(3), "ds": data_selector(3), "es": 0},
    {"cs": code_selector(3), "ss": data_selector(3), "ds": data_selector(0)},
    {"cs": code_selector(2), "ss": data_selector(1), "ds": 0},
    {"ds": LOCAL}, {"cs": 0x1C, "ldt": TABLE},
)  # fmt: skip
SEGMENTS_BY_SUBJECT = ("cs", "ss", "ds", "es", "fs", "gs", "ldt")


@family
def task_segments() -> Iterator[Condition]:
    """What may be wrong after the switch: faults of the new task."""
    for selector, make in ((WIDE_TSS, wide_task), (NARROW_TSS, narrow_task)):
        base = TSS_WIDE if selector == WIDE_TSS else TSS_NARROW
        for name, level, patches, changes in departures(selector):
            there = task_descriptor(selector, kind_for(name, selector))
            for wrong in WRONG_SEGMENTS:
                if (name, selector, "ss" in wrong) == ("clts", NARROW_TSS, True):
                    continue  # its error code would go beyond our memory: ESP is FFFF5C00h
                task = (base, make(**wrong))
                yield Condition(name, level, (*patches, there, task), changes)
    for segment, kind, dpl, present in product(
        SEGMENTS_BY_SUBJECT, SOME_TYPES, (0, 3), (True, False)
    ):
        if (kind, segment) != (0x12, "ss") or present:
            task = (TSS_WIDE, wide_task(**{segment: SUBJECT}))
            yield Condition("jmp far 4", 0, (subject(kind, dpl, present), task, pointer(WIDE_TSS)))


@family
def task_contents() -> Iterator[Condition]:
    """Flags, virtual-8086 tasks, the T flag, CR3, error codes on the new stack, DR7."""
    for name, level, patches, changes in departures(WIDE_TSS):
        there = task_descriptor(WIDE_TSS, kind_for(name, WIDE_TSS))
        contents: list[dict[str, int]] = [
            {"eflags": 0x3F7FD7 & ~0x20000}, {"eflags": 0x20202}, {"eflags": 0x10002},
            {"trap": 0x680001}, {"cr3": 0x9000}, {"esp": 4}, {"ss": SUBJECT, "esp": 0x5001},
        ]  # fmt: skip
        for content in contents:
            task = (TSS_WIDE, wide_task(**content))
            stack = (GDT + THIRD, descriptor(0, 0x5000, 0x92, 4))
            yield Condition(name, level, (*patches, there, task, stack), (*changes, ("dr7", 0x7FF)))
        paged = (*changes, ("cr3", 0x3000), ("dr7", 0x455), ("ts", 0))
        yield Condition(name, level, (*patches, there), paged)


# -- debugging ------------------------------------------------------------------------------------

STEPPED = (
    "nop", "mov ss", "mov ds", "cli", "popf 4", "int3", f"int {INT_VECTOR:x}h", "iret 4", "hlt",
    "jmp far 4", "pushf 4", "ud2",
)  # fmt: skip


@family
def single_steps() -> Iterator[Condition]:
    for name, level in product(STEPPED, (0, 3)):
        patches = (
            pointer(code_selector(level)),
            frames("iret", code_selector(level), 0, level, 4, 0x302),
        )
        stepped = (("tf", 1), ("eax", data_selector(level)), ("iopl", 3))
        yield Condition(name, level, patches, stepped)
        yield Condition(name, level, patches, (*stepped, ("rf", 1)))


@family
def pending_traps() -> Iterator[Condition]:
    """#DB before an instruction, and what it adds to DR6; GD ends there, RF is kept."""
    for level, status in product(LEVELS, (0x4000, 0x8000, 1, 0x400F)):
        for rf, old in product((0, 1), (0xFFFF0FF0, 0xFFFF6FFC)):
            changes = (("pending", status), ("rf", rf), ("dr6", old), ("dr7", 0x2400))
            yield Condition("nop", level, (), changes)
    yield Condition("nop v86", 3, (), (("pending", 0x4000),))
    yield Condition("nop", 0, (idt_gate(1, WIDE_TSS, 5),), (("pending", 0x4000),))


def watching(number: int, kind: int, length: int) -> int:
    """DR7 with one breakpoint."""
    return 0x400 | 2 << 2 * number | kind << 16 + 4 * number | length << 18 + 4 * number


@family
def breakpoints() -> Iterator[Condition]:
    for number, kind, length, offset in product((0, 3), range(4), range(4), range(-3, 6)):
        for name in ("read ds 4", "write ds 2", "write ss 1"):
            where = (f"dr{number}", 0x7100 + offset), ("dr7", watching(number, kind, length))
            yield Condition(name, 0, (), where)
    both = watching(0, 3, 3) | watching(2, 1, 0)
    yield Condition("write ds 4", 3, (), (("dr0", 0x7100), ("dr2", 0x7103), ("dr7", both)))
    yield Condition("read ds 4", 3, (), (("dr0", 0x7100), ("dr7", both), ("tf", 1)))
    for name, size, de, port in product(("in", "out"), (1, 2, 4), (0, 1), (0x77, 0x78, 0x7B, 0x7C)):
        for kind in (2, 3):
            where = ("dr1", port), ("dr7", watching(1, kind, 0)), ("de", de), ("edx", 0x78)
            yield Condition(f"{name} {size}", 0, (), where)


@family
def watched_frames() -> Iterator[Condition]:
    frame = frames("iret", code_selector(3), data_selector(3), 0)
    for name, level, kind, off in product(
        (f"int {INT_VECTOR:x}h", "ud2", "pushf 4", "popf 2", "iret 4"),
        (0, 3),
        (1, 3),
        range(-24, 24, 4),
    ):
        top = 0x5000 if level and name in ("int 30h", "ud2") else stack_top(level)
        patches = (idt_gate(INT_VECTOR, code_selector(0), 15), frame)
        where = ("dr3", top + off), ("dr7", watching(3, kind, 3))
        yield Condition(name, level, patches, where)
    parameters = (call_gate(12, 3, code_selector(0), count=3), pointer(SUBJECT | 3))
    for place in (*range(0x4FE0, 0x5000, 4), *range(stack_top(3), stack_top(3) + 16, 4)):
        where = ("dr0", place), ("dr7", watching(0, 3, 3))
        yield Condition("call far 4", 3, parameters, where)


@family
def instruction_breakpoints() -> Iterator[Condition]:
    for name, off, rf, enable in product(("nop", "ud2", "hlt"), (-1, 0, 1), (0, 1), (0, 1)):
        dr7 = watching(2, 0, 0) if enable else 0x400
        where = ("dr2", PLACES[name] + off), ("dr7", dr7), ("rf", rf)
        yield Condition(name, 0, (), where)
        yield Condition(name, 3, (), where)
        yield Condition(name, 0, (), (*where, ("tf", 1)))


@family
def code_limits() -> Iterator[Condition]:
    for name, level, off in product(("nop", "int3"), (0, 3), (-1, 0, 1)):
        yield Condition(name, level, (), (("cs_limit", PLACES[name] + off),))
