"""Decoding with capstone: bytes -> form and operand fields.

capstone says what the bytes are; this file turns its answer into the manual's terms and mends the
places where capstone describes newer processors or spells two instructions alike.
"""

from __future__ import annotations

from functools import cache, lru_cache
from threading import Lock

import capstone
from capstone import x86 as cs

from isa.definition import Instruction, TruncatedError
from isa.hints import Any, Final
from isa.record import NamedTuple
from isa.words import mask
from isa.x86 import meanings
from isa.x86.dialect import Meant, meant
from isa.x86.encoding import PREFIXES
from isa.x86.form import Form, Imm, Level, Mem, Mm, Reg, Seg, Shape, Special, St, Xmm
from isa.x86.limits import MAX_LENGTH
from isa.x86.mode import Mode
from isa.x86.models import Model, model_of
from isa.x86.registers import SEGMENT_NAMES
from isa.x86.table import INSTRUCTIONS, Entry

assert meanings.__all__, "importing the meanings fills the table"

BAD: Final = "(bad)"  # not an instruction of this processor: #UD
TOO_LONG: Final = "(too long)"  # more bytes than an instruction may have: #GP
UNIMPLEMENTED: Final = "(unimplemented)"  # an instruction, but not in `isa` yet
ESCAPE: Final = "(escape)"  # the same of the coprocessor's, where there may be none

_RENAMED: Final = {
    "sal": "shl",
    "int1": "icebp",
    "jcxz": "jecxz",
}
_PREFIXES: Final = ("lock ", "notrack ")
_LOCKS: Final = b"\xf0\xf1"  # F1 only where it is a prefix at all
_REPEATS: Final = b"\xf2\xf3"
_RESERVED_NOPS: Final = frozenset({0x0D, *range(0x18, 0x20)})  # second bytes after 0F
_SEGMENTS_SINCE_386: Final = (Seg("fs"), Seg("gs"))
_ESCAPES: Final = range(0xD8, 0xE0)  # first bytes of the coprocessor's instructions
_REPEAT: Final = {0xF3: "rep", 0xF2: "repne"}
_LOCK, _OPERAND_SIZE, _ADDRESS_SIZE = 0xF0, 0x66, 0x67

PREFIXED: Final = frozenset(
    {*range(0x10, 0x18), *range(0x28, 0x30), *range(0x50, 0x80), 0xAE, *range(0xC2, 0xC7)}
    | {*range(0xD0, 0xFF)}
)
"""Second bytes after 0F of which, since SSE, 66, F3 or F2 makes other instructions, or none."""
MANDATORY: Final = (b"", b"\x66", b"\xf3", b"\xf2")
"""The prefixes that are part of such an opcode (SDM volume 2, section 2.1.2)."""
_STATE, _COMPARE, _FENCES = 0xAE, 0xC2, (5, 6, 7)
_SCALAR_DOUBLES: Final = {"movsd": "movsd_xmm", "cmpsd": "cmpsd_xmm"}  # XED's names for them
_WIDTHS: Final = {"lea": 0, "comisd": 64}  # of memory, where capstone gives another one
_AT_EDI: Final = ("maskmovq", "maskmovdqu")

_NEWER_GROUPS: Final = frozenset(
    getattr(cs, name)
    for name in dir(cs)
    if name.startswith("X86_GRP_")
    and any(part in name for part in ("SSE", "MMX", "AVX", "BMI", "3DNOW", "ADX", "AES", "SHA"))
)
_NEWER_MAPS: Final = (b"\x0f\x38", b"\x0f\x3a")
_NEWER: Final = (
    "clflush", "clflushopt", "cldemote", "clrssbsy", "clwb", "enclv", "encls", "enclu",
    "getsec", "incsspd", "monitor", "montmul", "movbe", "movdir64b", "movdiri", "mwait", "popcnt",
    "ptwrite", "rdpid", "rdrand", "rdseed", "rdsspd", "rdtscp", "rsm", "rstorssp", "saveprevssp",
    "setssbsy", "stac", "clac", "swapgs", "syscall", "sysenter", "sysexit", "sysret", "tpause",
    "umonitor", "umwait", "vmcall", "vmclear", "vmfunc", "vmlaunch", "vmload", "vmmcall",
    "vmptrld", "vmptrst", "vmread", "vmresume", "vmrun", "vmsave", "vmwrite", "vmxoff", "vmxon",
    "clgi", "stgi", "skinit", "invlpga", "invept", "invvpid", "invpcid", "wbnoinvd", "wrssd",
    "wrussd", "xabort", "xbegin", "xend", "xtest", "xcryptcbc", "xcryptcfb", "xcryptctr",
    "xcryptecb", "xcryptofb", "xgetbv", "xrstor", "xrstors", "xsave", "xsavec", "xsaveopt",
    "xsaves", "xsetbv", "xsha1", "xsha256", "xstore", "mfence", "lfence", "sfence", "crc32",
    "clzero", "invlpgb", "mcommit", "monitorx", "mwaitx", "pconfig", "rdpkru", "rdpru", "tlbsync",
    "wrpkru", "fisttp",
)  # fmt: skip
"""Instructions that CPUID does not promise."""

_REGISTERS: Final[dict[str, tuple[Reg, int]]] = {
    name: (Reg(width, high), number)
    for width, high, names in (
        (32, False, "eax ecx edx ebx esp ebp esi edi"),
        (16, False, "ax cx dx bx sp bp si di"),
        (8, False, "al cl dl bl"),
        (8, True, "ah ch dh bh"),
    )
    for number, name in enumerate(names.split())
}


@cache
def _disassembler(bits: int) -> Any:
    mode = capstone.CS_MODE_32 if bits == 32 else capstone.CS_MODE_16
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, mode)
    disassembler.detail = True
    return disassembler


_capstone = Lock()  # its handles serve one thread at a time; compilers decode in theirs


def first(code: bytes, bits: int, address: int = 0) -> Any:
    """capstone's first instruction of `code`, or None."""
    with _capstone:
        return next(_disassembler(bits).disasm(code, address, 1), None)


@lru_cache(maxsize=1 << 16)
def decode(code: bytes, mode: Mode) -> Instruction:
    """Decode the first instruction of `code`; raises TruncatedError if it is incomplete."""
    model, looked_at = model_of(mode.model), min(len(code), MAX_LENGTH)
    plain = _plain(code[:MAX_LENGTH], model, mode)
    code, room = plain.code, MAX_LENGTH - plain.removed
    if plain.what.code and plain.what.code[0] in PREFIXES:
        return _none(BAD, looked_at, mode)  # a prefix of newer models
    found = first(code, plain.bits)
    if found is None:
        if len(code) < room and first(code.ljust(room, b"\0"), plain.bits):
            raise TruncatedError
        return _none(TOO_LONG if _goes_on(plain, model) else BAD, looked_at, mode)
    if found.size + plain.removed > model.longest:
        return _none(TOO_LONG, looked_at, mode)
    return _Translation(found, mode, plain, model).instruction()


def _goes_on(plain: _Plain, model: Model) -> bool:
    """Whether 15 bytes are the beginning of a longer instruction, for they repeat prefixes."""
    code = plain.code
    if len(code) + plain.removed < MAX_LENGTH:
        return False
    rest = code.lstrip(model.prefixes)
    prefixes = bytes(dict.fromkeys(code[: len(code) - len(rest)]))
    return not rest or first((prefixes + rest).ljust(MAX_LENGTH, b"\0"), plain.bits) is not None


class _Plain(NamedTuple):
    """The code as capstone should see it, in a mode of so many `bits`, and what the opcode means.

    `removed` is how many bytes more there were before, `repeat` which of F2 and F3 is among them
    and `locked` whether LOCK is. `mandatory` is that of MANDATORY which is part of the opcode, None
    where none can be.
    """

    code: bytes
    bits: int
    removed: int
    what: Meant
    repeat: str = ""
    mandatory: bytes | None = None
    locked: bool = False


def _plain(code: bytes, model: Model, mode: Mode) -> _Plain:
    """Mend what capstone would take otherwise than the model does.

    F2 and F3 are taken off the prefixes where they are no part of the opcode: capstone reads them
    as one (SSE, BMI) or as HLE hints, which hides LOCK, and gives some instructions that have them
    operands of another size. LOCK is taken off where the model has it before anything.
    """
    rest = code.lstrip(model.prefixes)
    prefixes = code[: len(code) - len(rest)]
    if model.has("pentium3") and len(rest) > 1 and rest[0] == 0x0F and rest[1] in PREFIXED:
        return _with_mandatory(prefixes, _plain_fence(rest), mode)
    without = _REPEATS if model.checks_lock else _REPEATS + _LOCKS
    what = meant(_plain_nop(rest), model)
    kept = prefixes.translate(None, without)
    repeats = [prefix for prefix in prefixes if prefix in _REPEAT]
    repeat = _REPEAT[repeats[-1]] if repeats else ""
    removed = len(prefixes) - len(kept)
    return _Plain(kept + what.code, mode.code_size, removed, what, repeat)


def _with_mandatory(prefixes: bytes, rest: bytes, mode: Mode) -> _Plain:
    """The one prefix that is part of the opcode; what capstone finds there in 32-bit code only."""
    mandatory, short = _mandatory(prefixes), (_ADDRESS_SIZE in prefixes) == (mode.code_size == 32)
    segments = prefixes.translate(None, _REPEATS + bytes((_OPERAND_SIZE, _ADDRESS_SIZE, _LOCK)))
    kept = segments[-1:] + (bytes([_ADDRESS_SIZE]) if short else b"") + mandatory
    removed, locked = len(prefixes) - len(kept), _LOCK in prefixes
    return _Plain(kept + rest, 32, removed, Meant(rest), mandatory=mandatory, locked=locked)


def _mandatory(prefixes: bytes) -> bytes:
    """The prefix that is part of the opcode: the last of F2 and F3 comes before 66.

    The manual does not say which of them counts; processors agree.
    """
    repeats = [p for p in prefixes if p in _REPEATS]
    if repeats:
        return bytes(repeats[-1:])
    return b"\x66" if _OPERAND_SIZE in prefixes else b""


def _plain_fence(rest: bytes) -> bytes:
    """LFENCE, MFENCE and SFENCE ignore ModRM.rm; capstone knows 0 only."""
    if rest[1] == _STATE and rest[2:3] and rest[2] >> 6 == 3 and rest[2] >> 3 & 7 in _FENCES:
        return rest[:2] + bytes([rest[2] & 0xF8]) + rest[3:]
    return rest


def _plain_nop(rest: bytes) -> bytes:
    """Hints and reserved NOPs as 0F 1F /0, the NOP of many bytes (SDM volume 2, NOP).

    capstone names what newer processors have made of them (PREFETCH, ENDBR, BNDMOV …).
    """
    if len(rest) > 2 and rest[0] == 0x0F and rest[1] in _RESERVED_NOPS:
        return b"\x0f\x1f" + bytes([rest[2] & 0xC7]) + rest[3:]
    return rest


def _unknown(name: str, length: int, mode: Mode, behind: int = 0) -> Instruction:
    form = Form(name, (), mode.code_size, mode.code_size, "", False, "ds", mode)
    return Instruction(form, {"length": length}, length, behind)


def _none(name: str, looked_at: int, mode: Mode) -> Instruction:
    """Bytes that are no instruction, so many of which were looked at."""
    return _unknown(name, 1, mode, looked_at - 1)


class _Translation:
    """One capstone instruction on its way to a form and fields."""

    def __init__(self, found: Any, mode: Mode, plain: _Plain, model: Model) -> None:
        self.found = found
        self.what = plain.what
        self.mandatory = plain.mandatory
        self.model = model
        self.repeat = plain.repeat
        self.length = found.size + plain.removed
        self.mode = mode
        self.prefix = found.prefix  # group 1, segment, operand size, address size
        self.locked = plain.locked or found.prefix[0] == _LOCK
        self.fields: dict[str, int] = {"length": self.length}
        self.relative = cs.X86_GRP_BRANCH_RELATIVE in found.groups
        other = 48 - mode.code_size
        has_other = found.prefix[2] and plain.mandatory is None
        self.operand_size = other if has_other else mode.code_size
        self.address_size = found.addr_size * 8

    def instruction(self) -> Instruction:
        mnemonic = self.mnemonic()
        entry = INSTRUCTIONS.get(mnemonic)
        if entry is None:
            return _unknown(self.missing(), self.length, self.mode)
        if entry.implied_operands:
            shapes: tuple[Shape, ...] = ()
        else:
            shapes = tuple(self.shape(n, op) for n, op in enumerate(self.found.operands))
            shapes = self.completed(shapes)
        if not self.exists(entry, shapes):
            return _unknown(BAD, self.length, self.mode)
        if self.found.opcode[0] in _ESCAPES:
            first, second = self.what.x87_opcode or (self.found.opcode[0], self.found.modrm)
            self.fields |= {"escape": first & 7, "modrm": second}
        form = Form(
            mnemonic,
            shapes,
            self.operand_size,
            self.address_size,
            self.repeat if entry.repeatable or (entry.negatable and self.model.is_8086) else "",
            self.locked,
            self.segment("ds") if entry.implied_operands else "",
            self.mode,
        )
        return Instruction(form, self.fields, self.length)

    def completed(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        """With an operand that capstone hides: CMPPS's predicate in its name, memory at EDI."""
        if self.mandatory is not None and self.found.opcode[1] == _COMPARE:
            self.fields["imm2"] = self.found.bytes[-1]
            return (*shapes[:2], Imm(8))
        if self.found.mnemonic in _AT_EDI:
            self.fields |= {"base2": 7, "disp2": 0}
            width = 128 if self.mandatory else 64
            return (*shapes, Mem(width, self.segment("ds"), True, False, 1))
        return shapes

    def exists(self, entry: Entry, shapes: tuple[Shape, ...]) -> bool:
        """Whether the model has the instruction in this encoding, and its segment registers."""
        if not self.may_have_prefixes(entry):
            return False
        since = entry.escaped_since if self.found.opcode[0] == 0x0F else entry.since
        if any(isinstance(shape, Xmm) for shape in shapes):
            since = entry.wide_since
        newer = [shape for shape in shapes if shape in _SEGMENTS_SINCE_386]
        return self.model.has(since) and (not newer or self.model.has("386"))

    def may_have_prefixes(self, entry: Entry) -> bool:
        """Whether the prefixes do not make it one of SSE's, or one of nobody's."""
        if self.mandatory is None:
            return not (entry.multimedia and (self.repeat or self.prefix[2]))
        ignored = self.mandatory and self.found.opcode[1] == _STATE  # by capstone
        return not (self.locked or ignored)

    def mnemonic(self) -> str:
        if self.what.mnemonic:
            return self.what.mnemonic
        name: str = self.found.mnemonic
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        name = _RENAMED.get(name, name)
        opcode = self.found.opcode
        if opcode[0] == 0x0F and opcode[1] == _COMPARE:
            name = f"cmp{name[-2:]}"  # capstone's has the predicate in it
        if opcode[0] == 0x0F and name in _SCALAR_DOUBLES:
            return _SCALAR_DOUBLES[name]  # not the string instructions
        if opcode[0] == 0xFF and self.found.modrm >> 3 & 7 in (3, 5):
            # capstone spells far ones "call" with one size of operand, "lcall" with another
            return "lcall" if name in ("call", "lcall") else "ljmp"
        return name

    def missing(self) -> str:
        """Whether an instruction without a meaning is one that the processor has."""
        newer = (
            self.mandatory is not None
            or self.what.code[:2] in _NEWER_MAPS
            or self.found.mnemonic in _NEWER
            or set(self.found.groups) & _NEWER_GROUPS
        )
        if self.mode.has_system and self.found.opcode[0] in _ESCAPES and not newer:
            return ESCAPE
        return BAD if newer else UNIMPLEMENTED

    def shape(self, n: int, operand: Any) -> Shape:
        if operand.type == cs.X86_OP_REG:
            return self.register(n, self.found.reg_name(operand.reg))
        if operand.type == cs.X86_OP_IMM:
            return self.immediate(n, operand)
        return self.memory(n, operand)

    def register(self, n: int, name: str) -> Shape:
        if name in SEGMENT_NAMES:
            return Seg("cs" if self.what.es_is_cs else name)
        if name.startswith("st("):
            self.fields[f"reg{n}"] = int(name[3])
            return St()
        if name.startswith("mm"):
            self.fields[f"reg{n}"] = int(name[2])
            return Mm()
        if name.startswith("xmm"):
            self.fields[f"reg{n}"] = int(name[3])
            return Xmm()
        if name not in _REGISTERS:
            return Special(name)
        shape, self.fields[f"reg{n}"] = _REGISTERS[name]
        return shape

    def immediate(self, n: int, operand: Any) -> Shape:
        value, width = operand.imm, operand.size * 8 or 8  # capstone: 0 for the 1 of RCL r/m, 1
        if n == 1 and self.found.mnemonic == "enter":
            return Level(value & 31)
        if self.relative:
            value, width = self.displacement(), 32
        self.fields[f"imm{n}"] = value & mask(width)
        return Imm(width)

    def displacement(self) -> int:
        """A relative jump's last bytes; capstone cuts its target to the address size."""
        opcode = self.found.opcode[0]
        short = 0x70 <= opcode <= 0x7F or 0xE0 <= opcode <= 0xE3 or opcode == 0xEB
        size = 1 if short else self.operand_size // 8
        return int.from_bytes(self.found.bytes[-size:], "little", signed=True)

    def memory(self, n: int, operand: Any) -> Shape:
        memory = operand.mem
        base, index = self.number(memory.base), self.number(memory.index)
        if base is not None:
            self.fields[f"base{n}"] = base
        if index is not None:
            self.fields[f"index{n}"] = index
        self.fields[f"disp{n}"] = memory.disp & 0xFFFFFFFF
        default = "ss" if base in (4, 5) else "ds"  # ESP, EBP (SDM volume 1, table 3-5)
        width = _WIDTHS.get(self.found.mnemonic, operand.size * 8)
        segment = "" if width == 0 else self.segment(default)
        scale = memory.scale if index is not None else 1
        return Mem(width, segment, base is not None, index is not None, scale)

    def number(self, register: int) -> int | None:
        """A base or index register's number; 16-bit ones are the low halves."""
        name = self.found.reg_name(register) if register else None
        return None if name is None or name not in _REGISTERS else _REGISTERS[name][1]

    def segment(self, default: str) -> str:
        """The segment override, or the default segment."""
        overrides = {0x26: "es", 0x2E: "cs", 0x36: "ss", 0x3E: "ds", 0x64: "fs", 0x65: "gs"}
        return overrides.get(self.prefix[1], default)
