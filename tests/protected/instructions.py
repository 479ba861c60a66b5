"""The model's instructions: bytes, and what the manual says of them (SDM volume 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.protected import interrupts, transfers
from tests.protected.cpu import DB, GP, NM, NP, UD, Cpu, Trap
from tests.protected.interrupts import Event
from tests.protected.segments import (
    code_of,
    linear,
    load,
    outside,
    place,
    pop,
    push,
    read,
    require,
)
from tests.protected.tasks import global_descriptor

POINTER = 0x7000  # far pointers and other operands in memory
DISP = POINTER.to_bytes(4, "little")
DISP16 = (POINTER - 0x7000).to_bytes(2, "little")  # in virtual-8086 mode, DS is 700h


class Operation(NamedTuple):
    """An instruction; `v86`: written for code of 16 bits."""

    code: bytes
    act: Callable[[Cpu], None]
    v86: bool = False


OPERATIONS: dict[str, Operation] = {}


def add(name: str, code: str, act: Callable[[Cpu], None], *, v86: bool = False) -> None:
    data = bytes.fromhex(code.replace("P32", DISP.hex()).replace("P16", DISP16.hex()))
    OPERATIONS[name] = Operation(data, act, v86)


def require_ring0(cpu: Cpu) -> None:
    require(cpu.cpl != 0, GP, 0)


def require_protected(cpu: Cpu) -> None:
    if cpu.v86:
        raise Trap(UD)


# -- segment registers ----------------------------------------------------------------------------


def shadow(cpu: Cpu, name: str) -> None:
    if name == "ss" and not cpu.before["shadow"]:
        cpu.r["shadow"] = 1


def mov_segment(name: str) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        load(cpu, name, cpu.r["eax"] & 0xFFFF)
        shadow(cpu, name)

    return act


def pop_segment(name: str) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        selector = pop(cpu, 4) & 0xFFFF
        load(cpu, name, selector)
        shadow(cpu, name)

    return act


def far_load(name: str) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        load(cpu, name, cpu.load(POINTER + 4, 2))
        cpu.r["eax"] = cpu.load(POINTER, 4)

    return act


def ud(cpu: Cpu) -> None:
    raise Trap(UD)


for number, segment in enumerate(("es", "cs", "ss", "ds", "fs", "gs")):
    if segment == "cs":
        add("mov cs", "8E C8", ud)
        continue
    add(f"mov {segment}", f"8E {0xC0 | number << 3:02X}", mov_segment(segment))
    add(f"mov {segment} v86", f"8E {0xC0 | number << 3:02X}", mov_segment(segment), v86=True)
for segment, code in (("es", "07"), ("ss", "17"), ("ds", "1F"), ("fs", "0FA1"), ("gs", "0FA9")):
    add(f"pop {segment}", code, pop_segment(segment))
for segment, code in (
    ("es", "C4"), ("ds", "C5"), ("ss", "0FB2"), ("fs", "0FB4"), ("gs", "0FB5"),
):  # fmt: skip
    add(f"l{segment}", f"{code} 05 P32", far_load(segment))


# -- looking at descriptors -----------------------------------------------------------------------


def visible(cpu: Cpu, types: tuple[int, ...]) -> bool:
    """LAR, LSL, VERR, VERW: whether the selector in CX may be looked at."""
    require_protected(cpu)
    selector = cpu.r["ecx"] & 0xFFFF
    if code_of(selector) == 0 or outside(cpu, selector):
        return False
    found = read(cpu, selector)
    if found.system and found.type not in types:
        return False
    return found.conforming or found.dpl >= max(cpu.cpl, selector & 3)


def look(which: str) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        types = (1, 2, 3, 9, 11) if which == "lsl" else (1, 2, 3, 4, 5, 9, 11, 12)
        good = visible(cpu, types)
        cpu.r["zf"] = int(good)
        if good:
            found = read(cpu, cpu.r["ecx"] & 0xFFFF)
            cpu.r["eax"] = found.limit if which == "lsl" else found.high & 0xFFFF00

    return act


def verify(which: str) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        good = visible(cpu, ())
        if good:
            found = read(cpu, cpu.r["ecx"] & 0xFFFF)
            good = found.writable if which == "verw" else found.readable
        cpu.r["zf"] = int(good)

    return act


def arpl(cpu: Cpu) -> None:
    require_protected(cpu)
    low, wanted = cpu.r["eax"] & 3, cpu.r["ecx"] & 3
    cpu.r["zf"] = int(low < wanted)
    cpu.r["eax"] = cpu.r["eax"] & ~3 | max(low, wanted)


for bits, suffix in ((False, ""), (True, " v86")):
    add(f"lar{suffix}", "0F02C1", look("lar"), v86=bits)
    add(f"lsl{suffix}", "0F03C1", look("lsl"), v86=bits)
    add(f"verr{suffix}", "0F00E1", verify("verr"), v86=bits)
    add(f"verw{suffix}", "0F00E9", verify("verw"), v86=bits)
    add(f"arpl{suffix}", "63C8", arpl, v86=bits)


# -- tables and tasks -----------------------------------------------------------------------------


def lldt(cpu: Cpu) -> None:
    require_protected(cpu)
    require_ring0(cpu)
    selector = cpu.r["eax"] & 0xFFFF
    base = limit = attributes = 0
    if code_of(selector):
        found = global_descriptor(cpu, selector, GP)
        require(not found.system or found.type != 2, GP, code_of(selector))
        require(not found.present, NP, code_of(selector))
        base, limit, attributes = found.base, found.limit, found.attributes
    cpu.r.update(ldtr=selector, ldt_base=base, ldt_limit=limit, ldt_attributes=attributes)


def ltr(cpu: Cpu) -> None:
    require_protected(cpu)
    require_ring0(cpu)
    selector = cpu.r["eax"] & 0xFFFF
    found = global_descriptor(cpu, selector, GP)
    require(not found.system or found.type not in (1, 9), GP, code_of(selector))
    require(not found.present, NP, code_of(selector))
    at = place(cpu, selector) + 5
    cpu.store(at, 1, cpu.load(at, 1) | 2)
    cpu.fill("tr", selector, found.base, found.limit, found.attributes | 2)


def store_selector(name: str) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        require_protected(cpu)
        require(bool(cpu.r["umip"]) and cpu.cpl > 0, GP, 0)
        cpu.r["eax"] = cpu.r[name]

    return act


def cr0(cpu: Cpu) -> int:
    return sum(cpu.r[name] << bit for name, bit in CR0.items())


CR0 = {
    "pe": 0, "mp": 1, "em": 2, "ts": 3, "et": 4, "ne": 5, "wp": 16, "am": 18, "nw": 29, "cd": 30,
    "pg": 31,
}  # fmt: skip
CR4 = {
    "vme": 0, "pvi": 1, "tsd": 2, "de": 3, "pse": 4, "pae": 5, "mce": 6, "pge": 7, "pce": 8,
    "umip": 11,
}  # fmt: skip


def smsw(cpu: Cpu) -> None:
    require(bool(cpu.r["umip"]) and cpu.cpl > 0, GP, 0)
    cpu.r["eax"] = cr0(cpu)


def lmsw(cpu: Cpu) -> None:
    require_ring0(cpu)
    cpu.r["pe"] |= cpu.r["eax"] & 1
    for name, bit in (("mp", 1), ("em", 2), ("ts", 3)):
        cpu.r[name] = cpu.r["eax"] >> bit & 1


def store_table(name: str) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        require(bool(cpu.r["umip"]) and cpu.cpl > 0, GP, 0)
        for offset, size, part in ((0, 2, "limit"), (2, 4, "base")):
            at = linear(cpu, "ds", POINTER + offset, size, write=True)
            cpu.store(at, size, cpu.r[f"{name}_{part}"])

    return act


def load_table(name: str, width: int) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        require_ring0(cpu)
        limit = cpu.load(linear(cpu, "ds", POINTER, 2, write=False), 2)
        base = cpu.load(linear(cpu, "ds", POINTER + 2, 4, write=False), 4)
        cpu.r[f"{name}_limit"], cpu.r[f"{name}_base"] = limit, base & (1 << width) - 1

    return act


for bits, suffix in ((False, ""), (True, " v86")):
    add(f"lldt{suffix}", "0F00D0", lldt, v86=bits)
    add(f"ltr{suffix}", "0F00D8", ltr, v86=bits)
    prefix = "66" if bits else ""
    add(f"sldt{suffix}", f"{prefix} 0F00C0", store_selector("ldtr"), v86=bits)
    add(f"str{suffix}", f"{prefix} 0F00C8", store_selector("tr"), v86=bits)
    add(f"smsw{suffix}", f"{prefix} 0F01E0", smsw, v86=bits)
    add(f"lmsw{suffix}", "0F01F0", lmsw, v86=bits)
for number, (table, kind) in enumerate((("gdt", "s"), ("idt", "s"), ("gdt", "l"), ("idt", "l"))):
    memory = f"0F01 {5 | number << 3:02X} P32"
    if kind == "s":
        add(f"s{table}", memory, store_table(table))
    else:
        add(f"l{table}", memory, load_table(table, 32))
        add(f"l{table} 16", "66" + memory, load_table(table, 24))
        add(f"l{table} register", f"0F01 {0xC0 | number << 3:02X}", ud)


# -- control and debug registers ------------------------------------------------------------------


def clts(cpu: Cpu) -> None:
    require_ring0(cpu)
    cpu.r["ts"] = 0


def write_cr0(cpu: Cpu) -> None:
    require_ring0(cpu)
    value, old = cpu.r["eax"], cr0(cpu)
    require(value >> 31 > value & 1 or value >> 29 & 1 > value >> 30 & 1, GP, 0)
    for name, bit in CR0.items():
        if name != "et":
            cpu.r[name] = value >> bit & 1
    if (value ^ old) & (1 << 31 | 1 << 16 | 1):
        cpu.invalidated.append((0, 2))


def write_cr4(cpu: Cpu) -> None:
    require_ring0(cpu)
    value = cpu.r["eax"]
    require(bool(value & ~0x99F), GP, 0)  # PAE and MCE: CPUID does not promise them
    old = sum(cpu.r[name] << bit for name, bit in CR4.items())
    for name, bit in CR4.items():
        cpu.r[name] = value >> bit & 1
    if (value ^ old) & 0xB0:
        cpu.invalidated.append((0, 2))


def write_plain(name: str) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        require_ring0(cpu)
        cpu.r[name] = cpu.r["eax"]
        if name == "cr3":
            cpu.invalidated.append((0, 1))

    return act


def read_control(number: int) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        require_ring0(cpu)
        whole = {0: CR0, 4: CR4}.get(number)
        if whole:
            cpu.r["eax"] = sum(cpu.r[name] << bit for name, bit in whole.items())
        else:
            cpu.r["eax"] = cpu.r[f"cr{number}"]

    return act


def debug_number(cpu: Cpu, number: int) -> int:
    if number in (4, 5):
        if cpu.r["de"]:
            raise Trap(UD)
        number += 2
    require_ring0(cpu)
    if cpu.r["dr7"] & 0x2000:
        raise Trap(DB, status=0x2000)
    return number


def write_debug(number: int) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        which, value = debug_number(cpu, number), cpu.r["eax"]
        if which == 6:
            value = value & 0xE00F | 0xFFFF0FF0
        elif which == 7:
            value = value & 0xFFFF23FF | 0x400
        cpu.r[f"dr{which}"] = value

    return act


def read_debug(number: int) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        which = debug_number(cpu, number)
        cpu.r["eax"] = cpu.r[f"dr{which}"] | {6: 0xFFFF0FF0, 7: 0x400}.get(which, 0)

    return act


for bits, suffix in ((False, ""), (True, " v86")):
    add(f"clts{suffix}", "0F06", clts, v86=bits)
    writers = {0: write_cr0, 2: write_plain("cr2"), 3: write_plain("cr3"), 4: write_cr4}
    for number, writer in writers.items():
        modrm = f"{0xC0 | number << 3:02X}"
        add(f"mov cr{number}, eax{suffix}", f"0F22 {modrm}", writer, v86=bits)
        add(f"mov eax, cr{number}{suffix}", f"0F20 {modrm}", read_control(number), v86=bits)
    for number in (1, 5, 6, 7):
        add(f"mov cr{number}, eax{suffix}", f"0F22 {0xC0 | number << 3:02X}", ud, v86=bits)
        add(f"mov eax, cr{number}{suffix}", f"0F20 {0xC0 | number << 3:02X}", ud, v86=bits)
    for number in range(8):
        modrm = f"{0xC0 | number << 3:02X}"
        add(f"mov dr{number}, eax{suffix}", f"0F23 {modrm}", write_debug(number), v86=bits)
        add(f"mov eax, dr{number}{suffix}", f"0F21 {modrm}", read_debug(number), v86=bits)


# -- others of ring 0 -----------------------------------------------------------------------------


def nothing(cpu: Cpu) -> None:
    require_ring0(cpu)


def invlpg(cpu: Cpu) -> None:
    require_ring0(cpu)
    cpu.invalidated.append((POINTER, 0))


def hlt(cpu: Cpu) -> None:
    require_ring0(cpu)
    if not cpu.before["tf"]:
        cpu.stop = ("halt", ())


MSRS = {
    0x10: None, 0x17: 0, 0x1B: 0xFEE00100, 0x3A: 0, 0x8B: 0, 0xCE: 0, 0x140: 0, 0x179: 0, 0x17A: 0,
    0x1A0: 1, 0x174: "sysenter_cs", 0x175: "sysenter_esp", 0x176: "sysenter_eip",
}  # fmt: skip


def rdmsr(cpu: Cpu) -> None:
    require_ring0(cpu)
    require(cpu.r["ecx"] not in MSRS, GP, 0)
    found = MSRS[cpu.r["ecx"]]
    value = cpu.r[found] if isinstance(found, str) else found
    value = cpu.r["tsc_offset"] if value is None else value
    cpu.r["eax"], cpu.r["edx"] = value & 0xFFFFFFFF, value >> 32


def wrmsr(cpu: Cpu) -> None:
    require_ring0(cpu)
    require(cpu.r["ecx"] not in MSRS, GP, 0)
    found = MSRS[cpu.r["ecx"]]
    if isinstance(found, str):
        cpu.r[found] = cpu.r["eax"]
    elif found is None:
        cpu.r["tsc_offset"] = cpu.r["edx"] << 32 | cpu.r["eax"]


def rdtsc(cpu: Cpu) -> None:
    require(bool(cpu.r["tsd"]) and cpu.cpl > 0, GP, 0)
    value = cpu.r["tsc_offset"]
    cpu.r["eax"], cpu.r["edx"] = value & 0xFFFFFFFF, value >> 32


def rdpmc(cpu: Cpu) -> None:
    require((not cpu.r["pce"] and cpu.cpl > 0) or cpu.r["ecx"] > 1, GP, 0)
    cpu.r["eax"] = cpu.r["edx"] = 0


def flat(cpu: Cpu, code: int, level: int) -> None:
    cpu.fill("cs", code, 0, 0xFFFFFFFF, 0xC9B | level << 5)
    cpu.fill("ss", code + 8, 0, 0xFFFFFFFF, 0xC93 | level << 5)
    cpu.r["cpl"] = level


def sysenter(cpu: Cpu) -> None:
    require(cpu.r["sysenter_cs"] & 0xFFFC == 0, GP, 0)
    flat(cpu, cpu.r["sysenter_cs"] & 0xFFFC, 0)
    cpu.r["esp"], cpu.r["eip"] = cpu.r["sysenter_esp"], cpu.r["sysenter_eip"]
    cpu.r["vm"] = cpu.r["if"] = 0


def sysexit(cpu: Cpu) -> None:
    require(cpu.cpl != 0 or cpu.r["sysenter_cs"] & 0xFFFC == 0, GP, 0)
    flat(cpu, cpu.r["sysenter_cs"] + 16 | 3, 3)
    cpu.r["esp"], cpu.r["eip"] = cpu.r["ecx"], cpu.r["edx"]


RING0 = {
    "invd": ("0F08", nothing), "wbinvd": ("0F09", nothing), "hlt": ("F4", hlt),
    "rdmsr": ("0F32", rdmsr), "wrmsr": ("0F30", wrmsr), "rdtsc": ("0F31", rdtsc),
    "rdpmc": ("0F33", rdpmc), "sysenter": ("0F34", sysenter), "sysexit": ("0F35", sysexit),
}  # fmt: skip
for mnemonic, (code, act) in RING0.items():
    add(mnemonic, code, act)
    add(f"{mnemonic} v86", code, act, v86=True)
add("invlpg", "0F01 3D P32", invlpg)
add("invlpg register", "0F01 FB", ud)


# -- ports and IF ---------------------------------------------------------------------------------


def require_port(cpu: Cpu, size: int) -> None:
    if not cpu.v86 and cpu.cpl <= cpu.r["iopl"]:
        return
    limit, base, port = cpu.r["tr_limit"], cpu.r["tr_base"], cpu.r["edx"] & 0xFFFF
    require(not cpu.r["tr_attributes"] & 8 or limit < 103, GP, 0)
    at = cpu.load(base + 102, 2) + port // 8
    require(at + 1 > limit, GP, 0)
    require(bool(cpu.load(base + at, 2) >> port % 8 & (1 << size) - 1), GP, 0)


def watch_port(cpu: Cpu, size: int) -> None:
    if cpu.r["de"]:
        cpu.r["pending"] |= cpu.breakpoints(cpu.r["edx"] & 0xFFFF, size, 2)


def in_(size: int) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        require_port(cpu, size)
        watch_port(cpu, size)
        cpu.stop = ("port_read", (cpu.r["edx"] & 0xFFFF, size))

    return act


def out(size: int) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        require_port(cpu, size)
        value = cpu.r["eax"] & (1 << 8 * size) - 1
        watch_port(cpu, size)
        cpu.stop = ("port_write", (cpu.r["edx"] & 0xFFFF, size, value))

    return act


def outs(size: int) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        require_port(cpu, size)
        watch_port(cpu, size)
        value = cpu.load(linear(cpu, "ds", cpu.r["esi"], size, write=False), size)
        cpu.r["esi"] += size
        cpu.stop = ("port_write", (cpu.r["edx"] & 0xFFFF, size, value))

    return act


for size, last, prefix in ((1, "C", ""), (2, "D", "66"), (4, "D", "")):
    add(f"ins {size}", f"{prefix} 6{last}", in_(size))
    add(f"outs {size}", f"{prefix} 6{last.replace('D', 'F').replace('C', 'E')}", outs(size))
for bits, suffix in ((False, ""), (True, " v86")):
    for size, wide in ((1, "EC"), (2, "ED"), (4, "ED")):
        prefix = "66" if size == (4 if bits else 2) else ""
        add(f"in {size}{suffix}", prefix + wide, in_(size), v86=bits)
        opcode = "EE" if size == 1 else "EF"
        add(f"out {size}{suffix}", prefix + opcode, out(size), v86=bits)


def cli(cpu: Cpu) -> None:
    if cpu.cpl <= cpu.r["iopl"]:
        cpu.r["if"] = 0
    elif cpu.cpl == 3 and cpu.r["vme" if cpu.v86 else "pvi"]:
        cpu.r["vif"] = 0
    else:
        raise Trap(GP, 0)


def sti(cpu: Cpu) -> None:
    if cpu.cpl <= cpu.r["iopl"]:
        cpu.r["shadow"] = int(not cpu.r["if"] and not cpu.before["shadow"])
        cpu.r["if"] = 1
    elif cpu.cpl == 3 and cpu.r["vme" if cpu.v86 else "pvi"] and not cpu.r["vip"]:
        cpu.r["vif"] = 1
    else:
        raise Trap(GP, 0)


def pushf(size: int) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        image = cpu.flags & 0xFCFFFF
        if cpu.v86 and cpu.r["iopl"] < 3:
            require(not cpu.r["vme"] or size == 4, GP, 0)
            image = image & ~0x200 | cpu.r["vif"] << 9 | 0x3000
        push(cpu, size, image)

    return act


def popf(size: int) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        if cpu.v86:
            require(cpu.r["iopl"] < 3 and not (cpu.r["vme"] and size == 2), GP, 0)
            transfers.v86_flags(cpu, pop(cpu, size), size)
            return
        image, level, iopl = pop(cpu, size), cpu.cpl, cpu.r["iopl"]
        names = "cf pf af zf sf tf df of nt" + (" ac id" if size == 4 else "")
        names += " if" if level <= iopl else ""
        cpu.put_flags(image, names + (" iopl" if level == 0 else ""))

    return act


def iret(size: int) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        cpu.r["nmi_blocked"] = 0
        transfers.interrupt_return(cpu, size)

    return act


for bits, suffix in ((False, ""), (True, " v86")):
    add(f"cli{suffix}", "FA", cli, v86=bits)
    add(f"sti{suffix}", "FB", sti, v86=bits)
    for size in (2, 4):
        prefix = "66" if (size == 2) != bits else ""
        add(f"pushf {size}{suffix}", prefix + "9C", pushf(size), v86=bits)
        add(f"popf {size}{suffix}", prefix + "9D", popf(size), v86=bits)
        add(f"iret {size}{suffix}", prefix + "CF", iret(size), v86=bits)


# -- far transfers and interrupts -----------------------------------------------------------------


def far(size: int, *, call: bool) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        offset, selector = cpu.load(POINTER, size), cpu.load(POINTER + size, 2)
        transfers.transfer(cpu, selector, offset, size, call=call)

    return act


def retf(size: int, release: int) -> Callable[[Cpu], None]:
    return lambda cpu: transfers.far_return(cpu, size, release)


for size, prefix in ((4, ""), (2, "66")):
    add(f"jmp far {size}", prefix + "FF2D P32", far(size, call=False))
    add(f"call far {size}", prefix + "FF1D P32", far(size, call=True))
    add(f"retf {size}", prefix + "CB", retf(size, 0))
    add(f"retf {size}, 8", prefix + "CA0800", retf(size, 8))


def software(vector: int, *, trusted: bool = False) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        cpu.r["shadow"] = 0
        event = Event(vector, None, not trusted, 0, cpu.next)
        cpu.r["pending"] = 0
        interrupts.enter(cpu, event)

    return act


def int_n(vector: int) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        cpu.r["pending"] = 0
        if not (cpu.v86 and transfers.interrupt_in_v86(cpu, vector)):
            software(vector)(cpu)

    return act


def into(cpu: Cpu) -> None:
    if cpu.r["of"]:
        software(4)(cpu)


def trap(vector: int, code: int | None = None) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        raise Trap(vector, code)

    return act


INT_VECTOR = 0x30
for bits, suffix in ((False, ""), (True, " v86")):
    add(f"int 30h{suffix}", f"CD{INT_VECTOR:02X}", int_n(INT_VECTOR), v86=bits)
    add(f"int 50h{suffix}", "CD50", int_n(0x50), v86=bits)  # beyond the table
    add(f"int3{suffix}", "CC", software(3), v86=bits)
    add(f"into{suffix}", "CE", into, v86=bits)
    add(f"int1{suffix}", "F1", software(1, trusted=True), v86=bits)
    add(f"ud2{suffix}", "0F0B", ud, v86=bits)
    add(f"div by zero{suffix}", "F6F1", trap(0), v86=bits)  # with CL = 0


# -- coprocessor, accesses ------------------------------------------------------------------------


def escape(cpu: Cpu) -> None:
    if cpu.r["em"] or cpu.r["ts"]:
        raise Trap(NM)


def store_status(cpu: Cpu) -> None:
    escape(cpu)
    cpu.r["eax"] &= 0xFFFF0000  # nothing has happened in the unit


def wait(cpu: Cpu) -> None:
    if cpu.r["mp"] and cpu.r["ts"]:
        raise Trap(NM)


def access(name: str, size: int, *, write: bool) -> Callable[[Cpu], None]:
    def act(cpu: Cpu) -> None:
        at = linear(cpu, name, cpu.r["ebx"], size, write=write)
        mask = (1 << 8 * size) - 1
        cpu.r["pending"] |= cpu.breakpoints(at, size, *((1, 3) if write else (3,)))
        if write:
            cpu.store(at, size, cpu.r["eax"])
        else:
            cpu.r["eax"] = cpu.r["eax"] & ~mask | cpu.load(at, size)

    return act


for bits, suffix in ((False, ""), (True, " v86")):
    add(f"fnclex{suffix}", "DBE2", escape, v86=bits)
    add(f"fnstsw{suffix}", "DFE0", store_status, v86=bits)
    add(f"wait{suffix}", "9B", wait, v86=bits)
OVERRIDES = {"es": "26", "cs": "2E", "ss": "36", "ds": "3E", "fs": "64", "gs": "65"}
for segment, prefix in OVERRIDES.items():
    for size, opcode in ((1, "8A03"), (2, "668B03"), (4, "8B03")):
        add(f"read {segment} {size}", prefix + opcode, access(segment, size, write=False))
        store = opcode.replace("8A", "88").replace("8B", "89")
        add(f"write {segment} {size}", prefix + store, access(segment, size, write=True))

add("nop", "90", lambda cpu: None)
add("nop v86", "90", lambda cpu: None, v86=True)
