"""The bulk decoder in LLVM IR: `isa.x86.encoding.split` and recipes, over flat tables.

One small function for each step, all inlined into `decode_run`. Everything is reached from pointer
arguments. Names and layouts are those of `isa.x86.encoding` and `decode_tables` beside this file.
"""

from __future__ import annotations

from emu.engines.native.decode_tables import (
    ASK,
    HASH_FACTOR,
    HASH_SHIFT,
    NO_SIB,
    SLOTS,
    Flag,
    Stop,
)
from isa.hints import Final
from isa.x86.encoding import ADDRESS_SIZE, REGISTER, SOURCES
from isa.x86.limits import CONSTANT, CONSTANTS, LONGEST, MAX_LENGTH, MOST_PREFIXES, OPCODES

_TYPES: Final = f"""
%entry = type {{ i32, i32, [{SLOTS} x i8], i8, i8 }} ; key, form, sources, immediate bytes
%tables = type {{ i32, i32, [256 x i16], [{OPCODES} x i32], [2 x [32 x i32]], [3 x [256 x i32]],
                 [0 x %entry] }} ; slots - 1, unused, prefixes, opcodes, ModRM by size, SIB by mod
%record = type {{ i32, [{SLOTS} x i32], i32 }} ; form, fields, length
"""

_PREFIXES: Final = f"""
; prefixes in effect | their number << 8
define internal i32 @prefixes(ptr %tables, ptr %code) alwaysinline {{
entry:
  br label %next
next:
  %count = phi i32 [ 0, %entry ], [ %more, %prefix ]
  %effect = phi i32 [ 0, %entry ], [ %changed, %prefix ]
  %at = getelementptr i8, ptr %code, i32 %count
  %byte = load i8, ptr %at
  %number = zext i8 %byte to i32
  %where = getelementptr %tables, ptr %tables, i32 0, i32 2, i32 %number
  %found = load i16, ptr %where
  %is_prefix = icmp ne i16 %found, 0
  %room = icmp ule i32 %count, {MOST_PREFIXES}
  %go_on = and i1 %is_prefix, %room
  br i1 %go_on, label %prefix, label %done
prefix: ; %found: kind | value << 8
  %wide = zext i16 %found to i32
  %kind = and i32 %wide, 255
  %value = lshr i32 %wide, 8
  %others = xor i32 %kind, 255
  %kept = and i32 %effect, %others
  %changed = or i32 %kept, %value
  %more = add i32 %count, 1
  br label %next
done:
  %shifted = shl i32 %count, 8
  %result = or i32 %effect, %shifted
  ret i32 %result
}}
"""

_OPCODE: Final = """
; number of the opcode | its bytes << 16
define internal i32 @opcode(ptr %code) alwaysinline {
  %first = load i8, ptr %code
  %first32 = zext i8 %first to i32
  %one = or i32 %first32, 65536
  %at1 = getelementptr i8, ptr %code, i32 1
  %second = load i8, ptr %at1
  %second32 = zext i8 %second to i32
  %two = or i32 %second32, 131328
  %at2 = getelementptr i8, ptr %code, i32 2
  %third = load i8, ptr %at2
  %third32 = zext i8 %third to i32
  %three38 = or i32 %third32, 197120
  %three3a = or i32 %third32, 197376
  %is38 = icmp eq i8 %second, 56
  %is3a = icmp eq i8 %second, 58
  %a = select i1 %is38, i32 %three38, i32 %two
  %b = select i1 %is3a, i32 %three3a, i32 %a
  %escaped = icmp eq i8 %first, 15
  %result = select i1 %escaped, i32 %b, i32 %one
  ret i32 %result
}
"""

_ADDRESS: Final = f"""
; the packed address of ModRM and SIB
define internal i32 @address(ptr %tables, ptr %code, i32 %modrm, i32 %effect) alwaysinline {{
entry:
  %mod = lshr i32 %modrm, 6
  %mod8 = shl i32 %mod, 3
  %rm = and i32 %modrm, 7
  %index = or i32 %mod8, %rm
  %prefixed = and i32 %effect, {ADDRESS_SIZE}
  %other = lshr i32 %prefixed, {ADDRESS_SIZE.bit_length() - 1}
  %where = getelementptr %tables, ptr %tables, i32 0, i32 4, i32 %other, i32 %index
  %direct = load i32, ptr %where
  %no_sib = icmp ne i32 %direct, {NO_SIB}
  br i1 %no_sib, label %done, label %sib
sib:
  %at = getelementptr i8, ptr %code, i32 1
  %byte = load i8, ptr %at
  %number = zext i8 %byte to i32
  %there = getelementptr %tables, ptr %tables, i32 0, i32 5, i32 %mod, i32 %number
  %indirect = load i32, ptr %there
  br label %done
done:
  %result = phi i32 [ %direct, %entry ], [ %indirect, %sib ]
  ret i32 %result
}}
"""

_DISPLACEMENT: Final = """
; 0, 1, 2 or 4 bytes, sign-extended
define internal i32 @displacement(ptr %code, i32 %bytes) alwaysinline {
  %raw = load i32, ptr %code, align 1
  %bits = shl i32 %bytes, 3
  %missing = sub i32 32, %bits
  %shift = and i32 %missing, 31
  %up = shl i32 %raw, %shift
  %value = ashr i32 %up, %shift
  %none = icmp eq i32 %bytes, 0
  %result = select i1 %none, i32 0, i32 %value
  ret i32 %result
}
"""

_FIND: Final = f"""
; the entry of a key, or the empty one at which the search ends
define internal ptr @find(ptr %tables, i32 %key) alwaysinline {{
entry:
  %last = load i32, ptr %tables
  %product = mul i32 %key, {HASH_FACTOR}
  %hash = lshr i32 %product, {HASH_SHIFT}
  br label %probe
probe:
  %number = phi i32 [ %hash, %entry ], [ %next, %other ]
  %slot = and i32 %number, %last
  %found = getelementptr %tables, ptr %tables, i32 0, i32 6, i32 %slot
  %there = load i32, ptr %found
  %same = icmp eq i32 %there, %key
  %empty = icmp eq i32 %there, -1
  %end = or i1 %same, %empty
  br i1 %end, label %done, label %other
other:
  %next = add i32 %slot, 1
  br label %probe
done:
  ret ptr %found
}}
"""


def _parts() -> str:
    """A store for each source, in the order of `SOURCES`."""
    values = {
        "reg": "%reg", "reg & 3": "%reg3", "rm": "%rm", "rm & 3": "%rm3",
        "base": "%base", "index": "%index", "displacement": "%displacement",
        "imm8": "%u8", "imm8 to 16": "%s8_16", "imm8 to 32": "%s8",
        "imm16": "%u16", "imm16 to 32": "%s16", "imm32": "%u32",
        "imm16 after 16": "%second", "imm16 after 32": "%third", "modrm": "%modrm",
    }  # fmt: skip
    return "\n".join(
        f"  %part{n} = getelementptr i32, ptr %parts, i32 {n}\n"
        f"  store i32 {values[name]}, ptr %part{n}"
        for n, (name, _) in enumerate(SOURCES)
    )


_FILL: Final = f"""
; everything that a field may be: the sources, by number
define internal void @fill(ptr %parts, i32 %modrm, i32 %reg, i32 %rm, i32 %base, i32 %index,
                           i32 %displacement, ptr %rest) alwaysinline {{
  %reg3 = and i32 %reg, 3
  %rm3 = and i32 %rm, 3
  %u32 = load i32, ptr %rest, align 1
  %u16 = and i32 %u32, 65535
  %u8 = and i32 %u32, 255
  %second = lshr i32 %u32, 16
  %short = trunc i32 %u32 to i16
  %s16 = sext i16 %short to i32
  %byte = trunc i32 %u32 to i8
  %s8 = sext i8 %byte to i32
  %s8_16 = and i32 %s8, 65535
  %at4 = getelementptr i8, ptr %rest, i32 4
  %last = load i16, ptr %at4, align 1
  %third = zext i16 %last to i32
{_parts()}
  ret void
}}
"""


def _write() -> str:
    return "\n".join(
        f"""
  %from{n} = getelementptr %entry, ptr %entry, i32 0, i32 2, i32 {n}
  %source{n} = load i8, ptr %from{n}
  %number{n} = zext i8 %source{n} to i32
  %part{n} = getelementptr i32, ptr %parts, i32 %number{n}
  %value{n} = load i32, ptr %part{n}
  %to{n} = getelementptr %record, ptr %record, i32 0, i32 1, i32 {n}
  store i32 %value{n}, ptr %to{n}, align 4"""
        for n in range(SLOTS)
    )


_WRITE: Final = f"""
; the record of an instruction, by its recipe
define internal void @write(ptr %record, ptr %entry, ptr %parts, i32 %form, i32 %length)
    alwaysinline {{
  store i32 %form, ptr %record, align 4
{_write()}
  %where = getelementptr %record, ptr %record, i32 0, i32 2
  store i32 %length, ptr %where, align 4
  ret void
}}
"""

_ONE: Final = f"""
; decodes one instruction: its length | why to stop << 8; writes a record if there is a length
define internal i32 @one(ptr %code, i64 %left, ptr %tables, ptr %flags, i8 %stop, ptr %record,
                         ptr %parts) alwaysinline {{
entry:
  %p = call i32 @prefixes(ptr %tables, ptr %code)
  %effect = and i32 %p, 255
  %count = lshr i32 %p, 8
  %too_many = icmp ugt i32 %count, {MOST_PREFIXES}
  br i1 %too_many, label %ask, label %few
few:
  %after_prefixes = getelementptr i8, ptr %code, i32 %count
  %o = call i32 @opcode(ptr %after_prefixes)
  %opcode = and i32 %o, 65535
  %opcode_size = lshr i32 %o, 16
  %after_opcode = getelementptr i8, ptr %after_prefixes, i32 %opcode_size
  %opcode_at = getelementptr %tables, ptr %tables, i32 0, i32 3, i32 %opcode
  %facts = load i32, ptr %opcode_at ; has ModRM, known, and three bits each of Opcode's masks
  %known_bit = and i32 %facts, 2
  %known = icmp ne i32 %known_bit, 0
  br i1 %known, label %known_opcode, label %unknown
known_opcode:
  %modrm_bit = and i32 %facts, 1
  %has_modrm = icmp ne i32 %modrm_bit, 0
  br i1 %has_modrm, label %modrm, label %lookup
modrm:
  %modrm_byte = load i8, ptr %after_opcode
  %modrm_number = zext i8 %modrm_byte to i32
  %found = call i32 @address(ptr %tables, ptr %after_opcode, i32 %modrm_number, i32 %effect)
  %reg_up = lshr i32 %modrm_number, 3
  %reg_found = and i32 %reg_up, 7
  %rm_found = and i32 %modrm_number, 7
  br label %lookup
lookup:
  %address = phi i32 [ 0, %known_opcode ], [ %found, %modrm ]
  %modrm_or_0 = phi i32 [ 0, %known_opcode ], [ %modrm_number, %modrm ]
  %reg = phi i32 [ 0, %known_opcode ], [ %reg_found, %modrm ]
  %rm = phi i32 [ 0, %known_opcode ], [ %rm_found, %modrm ]
  %shape = and i32 %address, 255
  %is_register = icmp eq i32 %shape, {REGISTER}
  %memory_masks = lshr i32 %facts, 8
  %register_masks = lshr i32 %facts, 16
  %masks = select i1 %is_register, i32 %register_masks, i32 %memory_masks
  %reg_mask = and i32 %masks, 7
  %rm_up = lshr i32 %masks, 3
  %rm_mask = and i32 %rm_up, 7
  %reg_key = and i32 %reg, %reg_mask
  %rm_key = and i32 %rm, %rm_mask
  %key1 = shl i32 %opcode, 8
  %key2 = shl i32 %shape, 18
  %key3 = shl i32 %reg_key, 24
  %key4 = shl i32 %rm_key, 27
  %key12 = or i32 %key1, %key2
  %key34 = or i32 %key3, %key4
  %key14 = or i32 %key12, %key34
  %key = or i32 %key14, %effect
  %entry_at = call ptr @find(ptr %tables, i32 %key)
  %key_there = load i32, ptr %entry_at
  %learned = icmp eq i32 %key_there, %key
  br i1 %learned, label %recipe, label %unknown
recipe:
  %form_at = getelementptr %entry, ptr %entry_at, i32 0, i32 1
  %form = load i32, ptr %form_at
  %no_recipe = icmp eq i32 %form, {ASK}
  br i1 %no_recipe, label %ask, label %measure
measure:
  %base_up = lshr i32 %address, 8
  %base = and i32 %base_up, 7
  %index_up = lshr i32 %address, 12
  %index = and i32 %index_up, 7
  %displacement_up = lshr i32 %address, 16
  %displacement_size = and i32 %displacement_up, 7
  %address_size = lshr i32 %address, 20
  %immediate_at = getelementptr %entry, ptr %entry_at, i32 0, i32 3
  %immediate_byte = load i8, ptr %immediate_at
  %immediate_size = zext i8 %immediate_byte to i32
  %length1 = add i32 %count, %opcode_size
  %length2 = add i32 %length1, %address_size
  %head = add i32 %length2, %displacement_size
  %length = add i32 %head, %immediate_size
  %length64 = zext i32 %length to i64
  %short = icmp ugt i64 %length64, %left
  %long = icmp ugt i32 %length, {MAX_LENGTH}
  %not_whole = or i1 %short, %long
  br i1 %not_whole, label %ask, label %whole
whole:
  %flag_at = getelementptr i8, ptr %flags, i32 %form
  %flag = load i8, ptr %flag_at
  %absent_bit = and i8 %flag, {Flag.ABSENT}
  %absent = icmp ne i8 %absent_bit, 0
  br i1 %absent, label %nobody, label %fill
fill:
  %after_address = getelementptr i8, ptr %after_opcode, i32 %address_size
  %displacement = call i32 @displacement(ptr %after_address, i32 %displacement_size)
  %rest = getelementptr i8, ptr %code, i32 %head
  call void @fill(ptr %parts, i32 %modrm_or_0, i32 %reg, i32 %rm, i32 %base, i32 %index,
                  i32 %displacement,
                  ptr %rest)
  call void @write(ptr %record, ptr %entry_at, ptr %parts, i32 %form, i32 %length)
  %stopped = and i8 %flag, %stop
  %ends = icmp ne i8 %stopped, 0
  %reason = select i1 %ends, i32 {Stop.ENDS << 8}, i32 0
  %result = or i32 %length, %reason
  ret i32 %result
unknown:
  ret i32 {Stop.UNKNOWN << 8}
ask:
  ret i32 {Stop.ASK << 8}
nobody:
  ret i32 {Stop.ABSENT << 8}
}}
"""

_PAD: Final = f"""
; a copy of the last bytes, so that nothing behind them is read
define internal void @pad(ptr %copy, ptr %code, i64 %left) noinline {{
entry:
  br label %next
next:
  %at = phi i64 [ 0, %entry ], [ %more, %set ]
  %inside = icmp ult i64 %at, %left
  br i1 %inside, label %read, label %set
read:
  %from = getelementptr i8, ptr %code, i64 %at
  %byte = load i8, ptr %from
  br label %set
set:
  %value = phi i8 [ 0, %next ], [ %byte, %read ]
  %to = getelementptr i8, ptr %copy, i64 %at
  store i8 %value, ptr %to
  %more = add i64 %at, 1
  %end = icmp eq i64 %more, {LONGEST}
  br i1 %end, label %done, label %next
done:
  ret void
}}
"""


def _constants() -> str:
    return "\n".join(
        f"  %constant{n} = getelementptr i32, ptr %parts, i32 {CONSTANT + n}\n"
        f"  store i32 {n}, ptr %constant{n}"
        for n in range(CONSTANTS)
    )


_RUN: Final = f"""
; Returns the number of records. result: bytes decoded, why it stopped.
define i64 @decode_run(ptr noalias %code, i64 %available, ptr noalias %tables, ptr noalias %flags,
                       i8 %stop, ptr noalias %records, i64 %room, ptr noalias %result) {{
entry:
  %parts = alloca [{CONSTANT + CONSTANTS} x i32], align 16
  %copy = alloca [{LONGEST} x i8], align 16
{_constants()}
  br label %next
next:
  %offset = phi i64 [ 0, %entry ], [ %after, %go_on ]
  %count = phi i64 [ 0, %entry ], [ %counted, %go_on ]
  %full = icmp eq i64 %count, %room
  br i1 %full, label %no_room, label %look
look:
  %here = getelementptr i8, ptr %code, i64 %offset
  %left = sub i64 %available, %offset
  %end = icmp eq i64 %left, 0
  br i1 %end, label %no_bytes, label %bytes
bytes:
  %plenty = icmp uge i64 %left, {LONGEST}
  br i1 %plenty, label %decode, label %last
last:
  call void @pad(ptr %copy, ptr %here, i64 %left)
  br label %decode
decode:
  %bytes_at = phi ptr [ %here, %bytes ], [ %copy, %last ]
  %record = getelementptr %record, ptr %records, i64 %count
  %found = call i32 @one(ptr %bytes_at, i64 %left, ptr %tables, ptr %flags, i8 %stop,
                         ptr %record, ptr %parts)
  %length = and i32 %found, 255
  %length64 = zext i32 %length to i64
  %after = add i64 %offset, %length64
  %has_record = icmp ne i32 %length, 0
  %one_more = zext i1 %has_record to i64
  %counted = add i64 %count, %one_more
  %why = lshr i32 %found, 8
  %stops = icmp ne i32 %why, 0
  br i1 %stops, label %stopped, label %go_on
go_on:
  br label %next
no_room:
  br label %stopped
no_bytes:
  br label %stopped
stopped:
  %where = phi i64 [ %offset, %no_room ], [ %offset, %no_bytes ], [ %after, %decode ]
  %records_made = phi i64 [ %count, %no_room ], [ %count, %no_bytes ], [ %counted, %decode ]
  %reason = phi i32 [ {Stop.ROOM}, %no_room ], [ {Stop.SHORT}, %no_bytes ], [ %why, %decode ]
  %reason64 = zext i32 %reason to i64
  store i64 %where, ptr %result
  %reason_at = getelementptr i64, ptr %result, i32 1
  store i64 %reason64, ptr %reason_at
  ret i64 %records_made
}}
"""

SOURCE: Final = "\n".join(
    (_TYPES, _PREFIXES, _OPCODE, _ADDRESS, _DISPLACEMENT, _FIND, _FILL, _WRITE, _ONE, _PAD, _RUN)
)
