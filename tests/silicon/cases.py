"""Cases for the silicon oracle: instruction bytes of the whole opcode map, and states that bite.

Nothing here knows an engine. `Forms` draws instruction bytes, balanced over the forms that the
caller's predicate names; `make_case` gives an instruction registers and memory such that its
memory operands mostly meet the data windows, and its values are mostly edge values.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import capstone
from capstone import x86_const as x86

from . import floats
from .native import (
    ARITHMETIC,
    CODE,
    DF,
    ID,
    LOW_WINDOW,
    NT,
    ORIGIN,
    PAGE,
    READ_ONLY,
    REGISTERS,
    TILE,
    WINDOW,
    Case,
    Fpu,
)  # fmt: skip

Accept = Callable[[bytes], str | None]
"""The form an instruction belongs to, or None when the caller does not want it."""

EDGES = (
    0, 1, 2, 0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0x80000000, 0x80000001, 0x7F, 0x80, 0x81, 0xFF,
    0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFFFFFF80, 0xFFFF8000, 0x0F, 0x10, 0x1F, 0x20, 0x99,
)  # fmt: skip

SEGMENT_PREFIXES = bytes.fromhex("26 2E 36 3E 64 65")
LEGACY_PREFIXES = SEGMENT_PREFIXES + bytes.fromhex("66 67 F0 F2 F3")
ESCAPES = range(0xD8, 0xE0)
"""First bytes of x87 instructions."""

PREFIXES = tuple(
    bytes.fromhex(text)
    for text in ("", "66", "67", "6667", "F2", "F3", "66F2", "66F3", "67F2", "67F3", "F0", "66F0")
)
REP_LIMIT = 64

_MASK = 0xFFFFFFFF
_HAS_MODRM = frozenset(
    [op for op in range(0x40) if op & 7 < 4]
    + [0x62, 0x63, 0x69, 0x6B, *range(0x80, 0x90), 0xC0, 0xC1, *range(0xC4, 0xC8)]
    + [*range(0xD0, 0xD4), *range(0xD8, 0xE0), 0xF6, 0xF7, 0xFE, 0xFF]
)
_NO_MODRM_0F = frozenset(
    {*range(0x04, 0x0D), 0x0E, *range(0x30, 0x38), 0x77, *range(0x80, 0x90)}
    | {0xA0, 0xA1, 0xA2, 0xA8, 0xA9, 0xAA, *range(0xC8, 0xD0)}
)


# --- what silicon must not be given, or answers differently -------------------------------------


def _opcode(code: bytes) -> tuple[bytes, bytes, int | None]:
    """Prefixes, opcode, and the byte that follows it."""
    start = next((i for i, byte in enumerate(code) if byte not in LEGACY_PREFIXES), len(code))
    end = start + (2 if code[start : start + 1] == b"\x0f" else 1)
    return code[:start], code[start:end], code[end] if end < len(code) else None


_TABLES = "depends on the host's descriptor tables"
_KERNEL = "enters the kernel"
_SHADOW = "holds the trap back for one instruction"
_VARIES = "its result is the host's own"
_GROUP_15 = b"\x0f\xae"
_WHOLE_STATES = (0, 1, 4, 5, 6)  # FXSAVE FXRSTOR (tests/test_fast_state.py), XSAVE XRSTOR XSAVEOPT
_UNSAFE = {
    "07": _TABLES, "1f": _TABLES, "17": _SHADOW, "8e": _TABLES, "c4": _TABLES, "c5": _TABLES,
    "9a": _TABLES, "ea": _TABLES, "ca": _TABLES, "cb": _TABLES, "cf": _TABLES,
    "f1": "looks like a single step", "0f00": _TABLES, "0f02": _TABLES, "0f03": _TABLES,
    "0f01": "the kernel emulates SGDT, SIDT and SMSW; VMMCALL, MWAITX and others live here",
    "0f05": _KERNEL, "0f07": _KERNEL, "0f34": _KERNEL, "0f35": _KERNEL, "0f31": _VARIES,
    "0f33": _VARIES, "0fa2": _VARIES, "0fa1": _TABLES, "0fa9": _TABLES, "0fb2": _SHADOW,
    "0fb4": _TABLES, "0fb5": _TABLES,
}  # fmt: skip


def unsafe(code: bytes) -> str | None:
    """Why an instruction must not be put to silicon, or None when it may."""
    _, opcode, after = _opcode(code)
    reg = None if after is None else after >> 3 & 7
    if opcode == b"\xcd" and after == 0x80:
        return _KERNEL
    if opcode == b"\xff" and reg in (3, 5):
        return _TABLES
    if opcode == b"\x0f\xc7" and reg in (6, 7):
        return _VARIES
    if opcode == _GROUP_15 and reg in _WHOLE_STATES and (after or 0) < 0xC0:
        return _VARIES
    return _UNSAFE.get(opcode.hex())


_NEWER = {
    ("f3", "0fb8"): "POPCNT",
    ("f3", "0fbc"): "TZCNT, where an i686 ignores F3 and scans forward",
    ("f3", "0fbd"): "LZCNT, where an i686 ignores F3 and scans in reverse",
    ("f3", "0f1e"): "ENDBR32, RDSSP",
    ("f3", "0fc7"): "RDPID, VMXON, SENDUIPI",
    ("f3", "0fae"): "RDFSBASE, INCSSP, PTWRITE, UMONITOR", ("f2", "0fae"): "UMWAIT",
    ("66", "0fae"): "CLFLUSHOPT, CLWB, TPAUSE",
    ("f0", "0f20"): "LOCK MOV CR0 is MOV CR8 on AMD", ("f0", "0f22"): "as LOCK 0F 20",
    ("", "0f38"): "SSSE3, SSE4, MOVBE, ADX, SHA", ("", "0f3a"): "SSSE3, SSE4, AES",
    ("", "0f0d"): "PREFETCHW", ("", "0f0f"): "3DNow!, gone again", ("", "0f0e"): "FEMMS",
    ("", "0f37"): "GETSEC", ("", "0f1a"): "MPX", ("", "0f1b"): "MPX",
}  # fmt: skip


def newer(code: bytes) -> str | None:
    """The feature younger than the i686 that gives these bytes another meaning, or None."""
    prefixes, opcode, after = _opcode(code)
    mod, reg = (None, None) if after is None else (after >> 6, after >> 3 & 7)
    if mod == 3 and opcode in (b"\x62", b"\xc4", b"\xc5"):
        return "EVEX and VEX, where an i686 has BOUND, LES and LDS of a register: #UD"
    if opcode == b"\x8f" and reg:
        return "XOP, where an i686 has #UD"
    if opcode in (b"\xc6", b"\xc7") and reg == 7:
        return "XABORT and XBEGIN"
    for (prefix, byte), feature in _NEWER.items():
        if byte == opcode.hex() and (not prefix or prefix in prefixes.hex(" ").split()):
            return feature
    return None


# --- instruction bytes --------------------------------------------------------------------------


@cache
def _decoder(detail: bool) -> capstone.Cs:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
    decoder.detail = detail
    return decoder


def decode(code: bytes, address: int = ORIGIN) -> capstone.CsInsn | None:
    """Capstone's reading of the first instruction, with operands."""
    return next(_decoder(True).disasm(code, address, 1), None)


def text(code: bytes, address: int = ORIGIN) -> str:
    """Assembly text, a line for a case."""
    lines = _decoder(False).disasm_lite(code, address)
    return "; ".join(f"{mnemonic} {operands}".strip() for _, _, mnemonic, operands in lines) or "?"


def _length(code: bytes) -> int | None:
    return next((size for _, size, _, _ in _decoder(False).disasm_lite(code, ORIGIN, 1)), None)


@dataclass(frozen=True, slots=True)
class Template:
    """Instructions alike but for registers in r/m and SIB, displacement and immediate.

    `kind` is how r/m is encoded: register, base, sib, table (SIB without base), absolute; None
    without ModRM.
    """

    prefixes: bytes
    opcode: bytes
    mod: int = 0
    reg: int = 0
    kind: str | None = None

    def build(self, rng: random.Random) -> bytes | None:
        """One instruction of the template; None when capstone does not know it."""
        short = 0x67 in self.prefixes
        body = b"" if self.kind is None else self._modrm(rng, short)
        head = self.prefixes + self.opcode + body
        code = (head + self._immediate(rng, short))[:15]
        size = _length(code)
        return None if size is None or size < len(head) else code[:size]

    def _modrm(self, rng: random.Random, short: bool) -> bytes:
        if self.kind == "register":
            return self._byte(rng.randrange(8))
        if short:
            return self._modrm16(rng)
        if self.kind == "absolute":
            return self._byte(5) + target(rng).to_bytes(4, "little")
        if self.kind == "base":
            rms = (0, 1, 2, 3, 6, 7) if self.mod == 0 else (0, 1, 2, 3, 5, 6, 7)
            return self._byte(rng.choice(rms)) + self._displacement(rng, 4)
        scale_index = rng.randrange(32) << 3
        if self.kind == "table":
            return self._byte(4) + bytes([scale_index | 5]) + target(rng).to_bytes(4, "little")
        bases = (0, 1, 2, 3, 4, 6, 7) if self.mod == 0 else range(8)
        return self._byte(4) + bytes([scale_index | rng.choice(bases)]) + self._displacement(rng, 4)

    def _modrm16(self, rng: random.Random) -> bytes:
        if self.kind == "absolute":
            return self._byte(6) + target16(rng).to_bytes(2, "little")
        rms = (0, 1, 2, 3, 4, 5, 7) if self.mod == 0 else range(8)
        return self._byte(rng.choice(rms)) + self._displacement(rng, 2)

    def _displacement(self, rng: random.Random, wide: int) -> bytes:
        size = (0, 1, wide)[self.mod]
        return (value(rng) & (1 << 8 * size) - 1).to_bytes(size, "little")

    def _byte(self, rm: int) -> bytes:
        return bytes([self.mod << 6 | self.reg << 3 | rm])

    def _immediate(self, rng: random.Random, short: bool) -> bytes:
        if len(self.opcode) == 1 and self.opcode[0] in range(0xA0, 0xA4):
            address, size = (target16(rng), 2) if short else (target(rng), 4)
            return address.to_bytes(size, "little")
        return value(rng).to_bytes(4, "little") + rng.randbytes(4)


def _opcodes() -> Iterator[tuple[bytes, bool]]:
    """Every opcode of the one-byte and 0F maps, and whether ModRM follows."""
    for op in range(256):
        if op != 0x0F and op not in LEGACY_PREFIXES:
            yield bytes([op]), op in _HAS_MODRM
    for op in range(256):
        if op not in (0x38, 0x3A):
            yield bytes([0x0F, op]), op not in _NO_MODRM_0F


def templates(prefixes: Sequence[bytes] = PREFIXES) -> Iterator[Template]:
    """The opcode map with all classes of ModRM, under each group of prefixes."""
    for prefix in prefixes:
        shapes = [(3, "register"), (0, "absolute"), (0, "base"), (1, "base"), (2, "base")]
        if 0x67 not in prefix:
            shapes += [(0, "sib"), (1, "sib"), (2, "sib"), (0, "table")]
        for opcode, has_modrm in _opcodes():
            if not has_modrm:
                yield Template(prefix, opcode)
                continue
            for reg in range(8):
                for mod, kind in shapes:
                    yield Template(prefix, opcode, mod, reg, kind)


class Forms:
    """Instruction bytes for every form that `accept` names, in equal numbers.

    Reads the whole opcode map once at construction (a few seconds). `accept` sees one complete
    instruction at a time; what `unsafe` or `newer` name never reaches it.
    """

    def __init__(self, accept: Accept, *, prefixes: Sequence[bytes] = PREFIXES) -> None:
        self._accept = accept
        self.templates: dict[str, list[Template]] = {}
        self.counts: Counter[str] = Counter()
        rng = random.Random(0)
        for template in templates(prefixes):
            code = template.build(rng)
            form = None if code is None else self.form(code)
            if form is not None:
                self.templates.setdefault(form, []).append(template)

    def form(self, code: bytes) -> str | None:
        """The form of one instruction, None when it is not to be executed."""
        return None if unsafe(code) or newer(code) else self._accept(code)

    def draw(self, rng: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
        """Form and bytes, `count` times, form after form."""
        order = sorted(self.templates, key=lambda form: (self.counts[form], rng.random()))
        for number in range(count):
            yield self.one(rng, order[number % len(order)])

    def one(self, rng: random.Random, wanted: str) -> tuple[str, bytes]:
        """One instruction of a form; of a neighbour, if the draw keeps changing it."""
        for attempt in itertools.count():
            template = rng.choice(self.templates[wanted])
            code = template.build(rng)
            if code is not None and rng.random() < 0.08:
                code = self._with_segment(rng, code)
            form = None if code is None else self.form(code)
            if code is not None and (form == wanted or (form is not None and attempt > 50)):
                self.counts[form] += 1
                return form, code
        raise AssertionError("unreachable")

    def _with_segment(self, rng: random.Random, code: bytes) -> bytes:
        decorated = bytes([rng.choice(SEGMENT_PREFIXES)]) + code
        return decorated if len(decorated) <= 15 and self.form(decorated) else code

    def cases(self, rng: random.Random, count: int) -> Iterator[tuple[str, Case]]:
        """Form and complete case, `count` times."""
        for form, code in self.draw(rng, count):
            yield form, make_case(code, rng)

    def summary(self) -> str:
        """Coverage as a table: how many cases each form has had."""
        width = max(map(len, self.templates), default=0)
        rows = [f"{form:<{width}}  {self.counts[form]:>8}" for form in sorted(self.templates)]
        missed = sum(not self.counts[form] for form in self.templates)
        total = f"{sum(self.counts.values())} cases, {len(rows)} forms, {missed} without a case"
        return "\n".join([*rows, total])


# --- values and addresses -----------------------------------------------------------------------


def value(rng: random.Random) -> int:
    """A 32-bit value, mostly an edge."""
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(EDGES)
    if kind < 0.7:
        return 1 << rng.randrange(32)
    if kind < 0.8:
        return rng.choice(EDGES) + rng.randrange(-3, 4) & _MASK
    return rng.getrandbits(32)


def target(rng: random.Random, size: int = 4) -> int:
    """An address for a 32-bit memory operand: mostly in WINDOW, often at an edge."""
    kind = rng.random()
    inside = rng.randrange(WINDOW.start + 0x200, WINDOW.stop - 0x200)
    if kind < 0.5:
        return inside & ~(max(size, 4) - 1)
    if kind < 0.72:
        return inside
    near = rng.randrange(-size - 1, 3)
    if kind < 0.80:
        return WINDOW.start + PAGE + near
    if kind < 0.87:
        return WINDOW.stop + near
    if kind < 0.92:
        return WINDOW.start + near
    if kind < 0.95:
        return rng.choice(READ_ONLY)
    if kind < 0.98:
        return READ_ONLY.start + near
    return rng.choice(CODE)


def target16(rng: random.Random, size: int = 4) -> int:
    """An address for a 16-bit memory operand: mostly in the first half of LOW_WINDOW."""
    kind = rng.random()
    if kind < 0.85:
        return rng.randrange(LOW_WINDOW.start, 0x10000)
    near = rng.randrange(-size - 1, 3)
    return (near if kind < 0.95 else LOW_WINDOW.start + near) & 0xFFFF


def tile(rng: random.Random) -> bytes:
    """What the data pages hold: edges, noise, one value again and again, or addresses."""
    kind = rng.random()
    if kind < 0.4:
        return b"".join(value(rng).to_bytes(4, "little") for _ in range(TILE // 4))
    if kind < 0.6:
        return rng.randbytes(TILE)
    if kind < 0.85:
        same = bytearray(value(rng).to_bytes(4, "little") * (TILE // 4))
        if rng.random() < 0.5:
            same[rng.randrange(TILE)] ^= 1 << rng.randrange(8)
        return bytes(same)
    return b"".join(target(rng).to_bytes(4, "little") for _ in range(TILE // 4))


def _eflags(rng: random.Random) -> int:
    flags = rng.getrandbits(32) & ARITHMETIC | 0x202
    for flag, chance in ((DF, 0.2), (NT, 0.03), (ID, 0.03)):
        flags |= flag if rng.random() < chance else 0
    return flags


# --- states -------------------------------------------------------------------------------------

_STRINGS = frozenset(["movs", "cmps", "scas", "lods", "stos", "ins", "outs"])
_REGISTER_OF = {
    name: (wide, mask)
    for wide in REGISTERS
    for name, mask in ((wide, _MASK), (wide[1:], 0xFFFF))
}  # fmt: skip


class _State:
    """A case in the making."""

    def __init__(self, code: bytes, rng: random.Random) -> None:
        self.code, self.rng = code, rng
        self.memory = tile(rng)
        self.registers = {name: self._register() for name in REGISTERS}
        self.registers["esp"] = target(rng)
        self.limit = 1

    def _register(self) -> int:
        kind = self.rng.random()
        if kind < 0.12:
            offset = self.rng.randrange(0, TILE, 4)
            return int.from_bytes(self.memory[offset : offset + 4], "little")
        return target(self.rng) if kind < 0.2 else value(self.rng)

    def prepare(self, insn: capstone.CsInsn) -> None:
        """Values first, then addresses, which may take registers back."""
        stem = insn.mnemonic.split()[-1]
        if stem[:4] in _STRINGS and len(stem) == 5:
            self._count(insn)
        for prefix, method in _SPECIAL.items():
            if stem.startswith(prefix) and self.rng.random() < 0.7:
                method(self, insn)
        for operand in insn.operands:
            if operand.type == x86.X86_OP_MEM:
                self._aim(insn, operand)

    def _count(self, insn: capstone.CsInsn) -> None:
        if any(byte in (0xF2, 0xF3) for byte in insn.prefix):
            self.limit = REP_LIMIT
        counts = (0, 1, 1, 2, 3, 4, 5, 7, 9, 17, 100, 0x10000, 0x10002, 0xFFFF0003)
        self.registers["ecx"] = self.rng.choice(counts)

    def _loop(self, insn: capstone.CsInsn) -> None:
        self.registers["ecx"] = self.rng.choice((0, 1, 2, 0x10000, 0x10001, 0xFFFF0000))

    def _divide(self, insn: capstone.CsInsn) -> None:
        """A quotient that fits: the high half small, or the sign of the low half."""
        low = value(self.rng) >> self.rng.choice((0, 0, 17, 24))
        self.registers["eax"] = low
        self.registers["edx"] = self.rng.choice((0, 0, 1, _MASK if low >> 31 else 0))

    def _exchange(self, insn: capstone.CsInsn) -> None:
        """Something for CMPXCHG to find equal."""
        same = value(self.rng)
        self.memory = same.to_bytes(4, "little") * (TILE // 4)
        self.registers["eax"] = self.registers["edx"] = same
        first = insn.operands[0]
        if first.type == x86.X86_OP_REG and insn.reg_name(first.reg) in _REGISTER_OF:
            self.registers[_REGISTER_OF[insn.reg_name(first.reg)][0]] = same

    def _bit(self, insn: capstone.CsInsn) -> None:
        """A bit offset that stays near the window."""
        second = insn.operands[-1]
        if second.type == x86.X86_OP_REG:
            wide, mask = _REGISTER_OF[insn.reg_name(second.reg)]
            offset = self.rng.randrange(-4096, 4096)
            self._set(wide, mask, offset)

    def _table(self, insn: capstone.CsInsn) -> None:
        self.registers["ebx"] = target(self.rng, 1) - (self.registers["eax"] & 0xFF) & _MASK
        if 0x67 in insn.prefix:
            self._set("ebx", 0xFFFF, target16(self.rng, 1) - (self.registers["eax"] & 0xFF))

    def _frame(self, insn: capstone.CsInsn) -> None:
        self.registers["ebp"] = target(self.rng)

    def _set(self, wide: str, mask: int, number: int) -> None:
        self.registers[wide] = self.registers[wide] & ~mask & _MASK | number & mask

    def _aim(self, insn: capstone.CsInsn, operand: capstone.x86.X86Op) -> None:
        """Solve base + index × scale + displacement for a chosen address."""
        memory = operand.mem
        base = _REGISTER_OF.get(insn.reg_name(memory.base) or "")
        index = _REGISTER_OF.get(insn.reg_name(memory.index) or "")
        if (not base and not index) or self.rng.random() < 0.03:
            return
        mask = (base or index or ("", _MASK))[1]
        choose = target16 if mask == 0xFFFF else target
        rest = choose(self.rng, max(operand.size, 1)) - memory.disp
        if base and index and base[0] != index[0]:
            if self.rng.random() < 0.7:
                self._set(index[0], mask, self.rng.randrange(-64, 64))
            self._set(base[0], mask, rest - self.registers[index[0]] * memory.scale)
            return
        factor = (memory.scale if index else 0) + bool(base)
        self._set((base or index or ("esp", 0))[0], mask, (rest & mask) // factor)


_SPECIAL: dict[str, Callable[[_State, capstone.CsInsn], None]] = {
    "loop": _State._loop, "jcxz": _State._loop, "jecxz": _State._loop,
    "div": _State._divide, "idiv": _State._divide, "cmpxchg": _State._exchange,
    "bt": _State._bit, "xlat": _State._table, "leave": _State._frame, "enter": _State._frame,
}  # fmt: skip


def make_case(code: bytes, rng: random.Random) -> Case:
    """A case for one instruction. `rng` may be one of Hypothesis' own (`st.randoms()`)."""
    state = _State(code, rng)
    insn, fpu, sse = decode(code), Fpu(), None
    if insn is not None:
        state.prepare(insn)
    if code.lstrip(LEGACY_PREFIXES)[0] in ESCAPES:
        fpu = floats.fpu(rng)
        if rng.random() < 0.8:
            state.memory = floats.tile(rng)
    if _uses_sse(code, insn):
        fpu, sse = floats.fpu(rng), floats.sse(rng)
        if rng.random() < 0.8:
            state.memory = floats.sse_tile(rng)
    flags = _eflags(rng)
    return Case(code, state.registers, flags, state.memory, limit=state.limit, fpu=fpu, sse=sse)


def _uses_sse(code: bytes, insn: capstone.CsInsn | None) -> bool:
    """Whether an instruction has to do with XMM registers or MXCSR."""
    if insn is None or _opcode(code)[1] == _GROUP_15:
        return insn is not None
    registers = (o.reg for o in insn.operands if o.type == x86.X86_OP_REG)
    return any(insn.reg_name(register).startswith("xmm") for register in registers)
