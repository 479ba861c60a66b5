"""Stitching: the code of a warm block, copied from the stencils of its forms by native code.

A stencil in memory is a head (`STENCIL`), its code, and its holes (`HOLE`). What goes into a hole
is the sum of its addend and of what its kind says, all 32 bits wide. Code that leaves an
instruction to the handlers lies apart, at the end of the room. Stitched code has a header like a
region's, which stands before the block's own.

Where it goes on (its site, see `site.py`) it is linked to stitched code by `link`, which notes
that, as a link must be taken away when its block is no longer what is to be done there.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from emu.engines.native.decode_tables import RECORD, Flag
from emu.engines.native.layout import (
    CONVENTION,
    END,
    PAGE_BITS,
    PIECES,
    STITCHED,
    Header,
    Left,
    Word,
)
from emu.engines.native.lowering import without_context
from emu.engines.native.pieces import chain, read_field, read_word
from emu.engines.native.site import ENTRY, LINK, LINK_BITS, LINKED, LINKS, NOTE, SITE, TAG, TO, unlinked
from emu.memory import PAGE_MASK, PAGE_SIZE
from isa.registers import Register

STENCIL: Final = struct.Struct("<III")
"""Bytes of code (the holes begin at the next multiple of four), number of holes, and whether the
instruction may be left to the handlers."""
HOLE: Final = struct.Struct("<IIIi")
"""Where it is in the code, its kind, what that needs to know, and the addend."""
ALIGNMENT: Final = 16  # of stitched code
SIZE: Final = RECORD.size


class Kind(IntEnum):
    """What goes into a hole."""

    FIELD = 0  # a word of the record, by its number
    SLOT = 1  # the same, cut by a mask (the number's second byte), times the bytes of a slot
    PC = 2  # the instruction's address
    INDEX = 3  # its number in the block
    COUNT = 4  # how many instructions the block has
    BYTES = 5  # how many bytes
    NEXT = 6  # the distance from the hole to the end of the stencil's copy
    NUMBER = 7  # the number of the block's header
    STITCHED = 8  # the number of the stitched code's header
    COUNTER = 9  # the distance from the hole to what counts the entries
    CALL = 10  # the distance from the hole to a function, by its number among those called
    AGAIN = 11  # the distance from the hole to what leaves the instruction to the handlers


def _piece(name: str) -> str:
    return f"""
  %piece.{name}.at = getelementptr ptr, ptr %stencils, i64 {PIECES[name]}
  %piece.{name} = load ptr, ptr %piece.{name}.at"""


_KINDS: Final = {
    Kind.FIELD: "%word",
    Kind.SLOT: "%slot",
    Kind.PC: "%pc",
    Kind.INDEX: "%index",
    Kind.COUNT: "%count",
    Kind.BYTES: "%bytes",
    Kind.NEXT: "%distance",
    Kind.NUMBER: "%number",
    Kind.STITCHED: "%stitched",
    Kind.COUNTER: "%to.counter",
    Kind.CALL: "%to.function",
    Kind.AGAIN: "%to.again",
}
_OF_BLOCK: Final = ("count", "bytes", "number", "stitched")
"""What is the same for all of a block, in an array."""

_COPY: Final = f"""
; copy a stencil to a place and fill its holes in: the place behind the copy
define internal ptr @copy(ptr %stencil, ptr %to, ptr %record, i32 %pc, i32 %index, ptr %block,
                          ptr %counter, ptr %calls, ptr %again) noinline {{
entry:
  {read_field("size", "%stencil", 0)}
  {read_field("holes", "%stencil", 1)}
  {"".join(read_field(name, "%block", n) for n, name in enumerate(_OF_BLOCK))}
  %size64 = zext i32 %size to i64
  %holes64 = zext i32 %holes to i64
  %code = getelementptr i8, ptr %stencil, i64 {STENCIL.size}
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %code, i64 %size64, i1 false)
  %behind = getelementptr i8, ptr %to, i64 %size64
  %up = add i64 %size64, 3
  %aligned = and i64 %up, -4
  %first = getelementptr i8, ptr %code, i64 %aligned
  %counter.n = ptrtoint ptr %counter to i64
  %again.n = ptrtoint ptr %again to i64
  br label %next
next:
  %n = phi i64 [ 0, %entry ], [ %n.next, %fill ]
  %is_done = icmp eq i64 %n, %holes64
  br i1 %is_done, label %done, label %hole
hole:
  %hole.p = getelementptr [{HOLE.size} x i8], ptr %first, i64 %n
  {read_field("at", "%hole.p", 0)}
  {read_field("kind", "%hole.p", 1)}
  {read_field("argument", "%hole.p", 2)}
  {read_field("addend", "%hole.p", 3)}
  %is_call = icmp eq i32 %kind, {int(Kind.CALL)}
  %place = getelementptr i8, ptr %to, i32 %at
  %place.n = ptrtoint ptr %place to i64
  %to.counter64 = sub i64 %counter.n, %place.n
  %to.counter = trunc i64 %to.counter64 to i32
  %to.again64 = sub i64 %again.n, %place.n
  %to.again = trunc i64 %to.again64 to i32
  %called.number = select i1 %is_call, i32 %argument, i32 0
  %called.p = getelementptr i64, ptr %calls, i32 %called.number
  %called = load i64, ptr %called.p
  %to.function64 = sub i64 %called, %place.n
  %to.function = trunc i64 %to.function64 to i32
  %which = and i32 %argument, 7
  %word.p = getelementptr i32, ptr %record, i32 %which
  %word = load i32, ptr %word.p
  %mask = lshr i32 %argument, 8
  %selected = and i32 %word, %mask
  %slot = shl i32 %selected, 3
  %distance = sub i32 %size, %at
  switch i32 %kind, label %fill [
    {" ".join(f"i32 {int(kind)}, label %kind.{int(kind)}" for kind in _KINDS)}
  ]
{"".join(f"kind.{int(kind)}:{chr(10)}  br label %fill{chr(10)}" for kind in _KINDS)}fill:
  %what = phi i32 [ 0, %hole ], {", ".join(f"[ {t}, %kind.{int(k)} ]" for k, t in _KINDS.items())}
  %sum = add i32 %what, %addend
  store i32 %sum, ptr %place, align 1
  %n.next = add i64 %n, 1
  br label %next
done:
  ret ptr %behind
}}
"""

_KNOWN: Final = f"""
; where the number of the header is of what is to be done at a program counter
define internal ptr @known(ptr %mailbox, i64 %pc) alwaysinline {{
  {read_word("slots", Word.SLOTS)}
  {read_word("pages", Word.PAGES)}
  %page = lshr i64 %pc, {PAGE_BITS}
  %slot.p = getelementptr i32, ptr %pages, i64 %page
  %slot = load i32, ptr %slot.p
  %slot64 = zext i32 %slot to i64
  %offset = and i64 %pc, {PAGE_MASK}
  %known.p = getelementptr [{PAGE_SIZE} x i32], ptr %slots, i64 %slot64, i64 %offset
  ret ptr %known.p
}}
"""

_STITCH: Final = f"""
; stitch the block of a header that begins at `pc`: DISPATCH if that is done, FULL if there is no
; room for it, STEP if it cannot be
define internal i64 @stitch(ptr %mailbox, i64 %number, i64 %pc) noinline {{
entry:
  %block = alloca [{len(_OF_BLOCK)} x i32]
  {read_word("stencils", Word.STENCILS)}
  {read_word("coverage", Word.COVERAGE)}
  %has_none = icmp eq ptr %stencils, null
  %is_covered = icmp ne ptr %coverage, null
  %may_not = or i1 %has_none, %is_covered
  br i1 %may_not, label %cannot, label %begin
begin:
  {read_word("records", Word.RECORDS)}
  {read_word("flags", Word.FLAGS)}
  {read_word("calls", Word.CALLS)}
  %header = getelementptr [{SIZE} x i8], ptr %records, i64 %number
  %known.p = call ptr @known(ptr %mailbox, i64 %pc)
  %known = load i32, ptr %known.p
  %number32 = trunc i64 %number to i32
  %is_known = icmp eq i32 %known, %number32
  br i1 %is_known, label %measure, label %cannot
measure: ; does every form have a stencil, and how long are they?
  %m = phi i32 [ 1, %begin ], [ %m.next, %has ]
  %length = phi i32 [ 0, %begin ], [ %length.more, %has ]
  %last = phi i32 [ 0, %begin ], [ %form, %has ]
  %agains = phi i32 [ 0, %begin ], [ %agains.more, %has ]
  %m.p = getelementptr [{SIZE} x i8], ptr %header, i32 %m
  %form = load i32, ptr %m.p
  %is_end = icmp eq i32 %form, {END}
  br i1 %is_end, label %measured, label %look
look:
  %stencil.p = getelementptr ptr, ptr %stencils, i32 %form
  %stencil = load ptr, ptr %stencil.p
  %is_absent = icmp eq ptr %stencil, null
  br i1 %is_absent, label %cannot, label %has
has:
  %size = load i32, ptr %stencil
  %length.more = add i32 %length, %size
  {read_field("may.again", "%stencil", 2)}
  %agains.more = add i32 %agains, %may.again
  %m.next = add i32 %m, 1
  br label %measure
measured:
  {_piece("again")}
  {_piece("begin")}
  {_piece("fall")}
  {_piece("end")}
  %flag.p = getelementptr i8, ptr %flags, i32 %last
  %flag = load i8, ptr %flag.p
  %jumps.bit = and i8 %flag, {int(Flag.ENDS)}
  %jumps = icmp ne i8 %jumps.bit, 0
  %ending = select i1 %jumps, ptr %piece.end, ptr %piece.fall
  %begin.size = load i32, ptr %piece.begin
  %ending.size = load i32, ptr %ending
  %around = add i32 %begin.size, %ending.size
  %whole = add i32 %length, %around
  %whole64 = zext i32 %whole to i64
  {read_word("to", Word.CODE)}
  {read_word("room", Word.ROOM, "i64")}
  {read_word("counter", Word.COUNTER)}
  {read_word("used", Word.USED, "i64")}
  {read_word("arena", Word.ARENA, "i64")}
  %free = ptrtoint ptr %to to i64
  %up = add i64 %whole64, {ALIGNMENT - 1}
  %aligned = and i64 %up, -{ALIGNMENT}
  %end = add i64 %free, %aligned
  %again.size = load i32, ptr %piece.again
  %apart = mul i32 %again.size, %agains
  %apart64 = zext i32 %apart to i64
  %room.next = sub i64 %room, %apart64
  %is_full = icmp sgt i64 %end, %room.next
  br i1 %is_full, label %full, label %fits
full:
  ret i64 {int(Left.FULL)}
fits:
  %used.next = add i64 %used, 1
  %has_record = icmp ult i64 %used.next, %arena
  br i1 %has_record, label %copy, label %cannot
copy:
  %count = sub i32 %m, 1
  %pc32 = trunc i64 %pc to i32
  %used32 = trunc i64 %used to i32
  {read_field("bytes", "%header", Header.SIZE)}
  {
    "".join(
        f'''
  %block.{n} = getelementptr i32, ptr %block, i64 {n}
  store i32 {value}, ptr %block.{n}'''
        for n, value in enumerate(("%count", "%bytes", "%number32", "%used32"))
    )
}
  %begun = call ptr @copy(ptr %piece.begin, ptr %to, ptr %header, i32 %pc32, i32 0, ptr %block,
                          ptr %counter, ptr %calls, ptr null)
  store i64 %room.next, ptr %room.p
  %first.apart = inttoptr i64 %room.next to ptr
  br label %each
each:
  %i = phi i32 [ 0, %copy ], [ %i.next, %rest ]
  %where = phi ptr [ %begun, %copy ], [ %where.next, %rest ]
  %here = phi i32 [ %pc32, %copy ], [ %here.next, %rest ]
  %away = phi ptr [ %first.apart, %copy ], [ %away.next, %rest ]
  %is_last = icmp eq i32 %i, %count
  br i1 %is_last, label %last.one, label %one
one:
  %i.next = add i32 %i, 1
  %record = getelementptr [{SIZE} x i8], ptr %header, i32 %i.next
  %one.form = load i32, ptr %record
  %one.p = getelementptr ptr, ptr %stencils, i32 %one.form
  %one.stencil = load ptr, ptr %one.p
  %where.next = call ptr @copy(ptr %one.stencil, ptr %where, ptr %record, i32 %here, i32 %i,
                               ptr %block, ptr %counter, ptr %calls, ptr %away)
  {read_field("one.may.again", "%one.stencil", 2)}
  %leaves = icmp ne i32 %one.may.again, 0
  br i1 %leaves, label %leave, label %rest
leave:
  %behind.away = call ptr @copy(ptr %piece.again, ptr %away, ptr %record, i32 %here, i32 %i,
                                ptr %block, ptr %counter, ptr %calls, ptr null)
  br label %rest
rest:
  %away.next = phi ptr [ %away, %one ], [ %behind.away, %leave ]
  {read_field("one.length", "%record", SIZE // 4 - 1)}
  %here.next = add i32 %here, %one.length
  br label %each
last.one:
  %ended = call ptr @copy(ptr %ending, ptr %where, ptr %header, i32 %here, i32 %i, ptr %block,
                          ptr %counter, ptr %calls, ptr null)
  {read_word("hot", Word.HOT, "i64")}
  {read_field("entries", "%header", Header.COUNT)}
  %limit = trunc i64 %hot to i32
  %left = sub i32 %limit, %entries
  store i32 %left, ptr %counter
  %counter.next = getelementptr i32, ptr %counter, i64 1
  store ptr %counter.next, ptr %counter.p
  %to.next = getelementptr i8, ptr %to, i64 %aligned
  store ptr %to.next, ptr %to.p
  %new = getelementptr [{SIZE} x i8], ptr %records, i64 %used
  call void @llvm.memset.p0.i64(ptr %new, i8 0, i64 {SIZE}, i1 false)
  store i32 {STITCHED}, ptr %new
  %function = getelementptr i8, ptr %to, i64 {ENTRY}
  %function.n = ptrtoint ptr %function to i64
  %counter.n = ptrtoint ptr %counter to i64
  %to.counter = sub i64 %counter.n, %function.n
  %to.counter32 = trunc i64 %to.counter to i32
  %site = sub i32 %whole, {ENTRY + SITE}
  {
    "".join(
        f'''
  %new.{int(word)} = getelementptr i32, ptr %new, i64 {int(word)}
  store {value}, ptr %new.{int(word)}'''
        for word, value in (
            (Header.COUNTER, "i32 %to.counter32"),
            (Header.FUNCTION, "ptr %function"),
            (Header.ENTRY, "i32 %used32"),
            (Header.BEHIND, "i32 %number32"),
            (Header.SITE, "i32 %site"),
        )
    )
}
  store i64 %used.next, ptr %used.p
  store i32 %used32, ptr %known.p
  ret i64 {int(Left.DISPATCH)}
cannot:
  ret i64 {int(Left.STEP)}
}}
"""


def _link(pc: Register) -> str:
    """Note where a stitched block went, link it if it can be, and go on."""
    low = without_context()
    low.label = "on"
    chain(low, "%pc")
    go_on = "\n".join(low.lines)
    choices = ""
    for n in range(LINKS):
        following = f"link.{n + 1}" if n + 1 < LINKS else "on"
        choices += f"""
link.{n}:
  %at.{n} = getelementptr i8, ptr %site, i64 {n * LINK.size}
  %to.{n} = getelementptr i8, ptr %at.{n}, i64 {TO}
  %distance.{n} = load i32, ptr %to.{n}, align 1
  %is_free.{n} = icmp eq i32 %distance.{n}, {unlinked(n)}
  br i1 %is_free.{n}, label %free, label %{following}
"""
    ways = ", ".join(f"[ %at.{n}, %link.{n} ]" for n in range(LINKS))
    numbers = ", ".join(f"[ {n}, %link.{n} ]" for n in range(LINKS))
    return f"""
define {CONVENTION} i64 @link(ptr %mailbox, i64 %number) {{
entry:
  {read_word("registers", Word.REGISTERS)}
  {read_word("records", Word.RECORDS)}
  %pc.p = getelementptr i64, ptr %registers, i64 {pc.slot}
  %pc = load i64, ptr %pc.p
  %pc32 = trunc i64 %pc to i32
  %stitched = getelementptr [{SIZE} x i8], ptr %records, i64 %number
  {read_field("behind", "%stitched", Header.BEHIND)}
  %header = getelementptr [{SIZE} x i8], ptr %records, i32 %behind
  {read_field("turn", "%header", Header.COUNT)}
  %turn.next = add i32 %turn, 1
  store i32 %turn.next, ptr %turn.p ; the entries are counted elsewhere
  %turn.low = and i32 %turn, 3
  %target = add i32 %turn.low, {int(Header.TARGETS)}
  %target.p = getelementptr i32, ptr %header, i32 %target
  store i32 %pc32, ptr %target.p
  {read_field("function", "%stitched", Header.FUNCTION, "ptr")}
  {read_field("site.at", "%stitched", Header.SITE)}
  %site = getelementptr i8, ptr %function, i32 %site.at
  br label %link.0
{choices}
free: ; what is to be done next has stitched code?
  %at = phi ptr {ways}
  %which = phi i64 {numbers}
  %known.p = call ptr @known(ptr %mailbox, i64 %pc)
  %known = load i32, ptr %known.p
  %other = getelementptr [{SIZE} x i8], ptr %records, i32 %known
  %kind = load i32, ptr %other
  %is_stitched = icmp eq i32 %kind, {STITCHED}
  %is_there = icmp ne i32 %known, 0
  %may = and i1 %is_stitched, %is_there
  br i1 %may, label %fill, label %on
fill:
  {read_field("other.function", "%other", Header.FUNCTION, "i64")}
  {read_word("note", Word.LINKS)}
  {read_word("last", Word.LAST_LINK)}
  %is_full = icmp eq ptr %note, %last
  br i1 %is_full, label %full, label %write
full:
  ret i64 {int(Left.FULL)}
write:
  %tag.p = getelementptr i8, ptr %at, i64 {TAG}
  %to.p = getelementptr i8, ptr %at, i64 {TO}
  %at.n = ptrtoint ptr %at to i64
  %end = add i64 %at.n, {LINK.size}
  %entry.n = add i64 %other.function, {LINKED}
  %distance = sub i64 %entry.n, %end
  %distance32 = trunc i64 %distance to i32
  store i32 %pc32, ptr %tag.p, align 1
  store i32 %distance32, ptr %to.p, align 1
  %which.up = shl i64 %which, {LINK_BITS}
  %noted = or i64 %at.n, %which.up
  %known64 = zext i32 %known to i64
  store i64 %noted, ptr %note
  %note.second = getelementptr i64, ptr %note, i64 1
  store i64 %known64, ptr %note.second
  %note.next = getelementptr i8, ptr %note, i64 {NOTE.size}
  store ptr %note.next, ptr %note.p
  br label %on
on:
{go_on}
}}
"""


def stitcher(pc: Register) -> str:
    """The functions that stitch a block, and link stitched ones."""
    return _COPY + _KNOWN + _STITCH + _link(pc)
