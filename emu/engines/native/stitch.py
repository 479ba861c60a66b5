"""Stitching: the code of a warm block, copied from the stencils of its forms by native code.

A stencil in memory is a head (`STENCIL`), its code, and its holes (`HOLE`). What goes into a hole
is the sum of its addend and of what its kind says, all 32 bits wide. Code that leaves an
instruction to the handlers lies apart, at the end of the room, and so does all that is done seldom.
Stitched code has a header like a region's, which stands before the block's own.

Where it goes on it is linked to other code, see `links.py`.
"""

from __future__ import annotations

import struct

from emu.engines.native.decode_tables import RECORD, Flag
from emu.engines.native.kinds import (
    KEEPS,
    KIND,
    KIND_BITS,
    MASK,
    MASK_BITS,
    READER,
    READER_BITS,
    WORD,
    WORD_BITS,
    WRITES,
)
from emu.engines.native.layout import (
    END,
    FLAGS,
    LONGEST,
    PAGE_BITS,
    PIECES,
    STITCHED,
    UNKNOWN_KIND,
    Header,
    Left,
    Word,
)
from emu.engines.native.pieces import read_field, read_word
from emu.engines.native.site import (
    ENTRY,
    LEADS,
    STUB,
)
from emu.memory import PAGE_MASK, PAGE_SIZE
from isa.hints import Final
from isa.named import IntEnum
from isa.words import mask

STENCIL: Final = struct.Struct("<III")
"""Bytes of code (the holes begin at the next multiple of four), number of holes, and whether the
instruction may be left to the handlers, with the number of `LEADS` that it ends in above that."""
LEADS_BIT: Final = 1
WAY_BIT: Final = 8
HOLE: Final = struct.Struct("<IIIi")
"""Where it is in the code, its kind, what that needs to know, and the addend."""
ALIGNMENT: Final = 16  # of stitched code
SIZE: Final = RECORD.size
MOST_EVALUATED: Final = 3  # flags that an instruction needs; of more, all are settled


class Kind(IntEnum):
    """What goes into a hole."""

    FIELD = 0  # a word of the record, by its number
    SLOT = 1  # the same, cut by a mask (the number's second byte), times the bytes of a slot
    PC = 2  # the instruction's address
    INDEX = 3  # its number in the block
    COUNT = 4  # how many instructions the block has
    NEXT = 5  # the distance from the hole to the end of the stencil's copy
    NUMBER = 6  # the number of the block's header
    STITCHED = 7  # the number of the stitched code's header
    CALL = 8  # the distance from the hole to a function, by its number among those called
    AGAIN = 9  # ... to what leaves the instruction to the handlers, or begins the block from apart
    PENDING = 10  # a number of a kind of flags
    SUM = 11  # a sum: with the instruction's address and length if there are bits 0 and 1, and with
    # the word of the record whose number is above them, if it is not 0
    LEADS = 12  # one of `LEADS`: the distance from the hole to what leads on until it is linked
    LINK = 13  # the distance from the hole to the hole of such a jump
    TOLD = 14  # no hole: a sum is where a way leads, whose number is above that
    GOAL = 15  # where such a jump leads


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
    Kind.NEXT: "%distance",
    Kind.NUMBER: "%number",
    Kind.STITCHED: "%stitched",
    Kind.CALL: "%to.function",
    Kind.AGAIN: "%to.again",
    Kind.PENDING: "%argument",
    Kind.SUM: "%sum.all",
    Kind.LEADS: "%to.stub",
    Kind.LINK: "%to.link",
    Kind.GOAL: "%goal",
}
_OF_BLOCK: Final = ("count", "number", "stitched")
_PLACES: Final = len(_OF_BLOCK)
_STUBS: Final = _PLACES + len(LEADS)
_GOALS: Final = _STUBS + 1
_ALL: Final = _GOALS + len(LEADS)
"""What is the same for all of a block, in an array; where in it the places of `LEADS` are, that of
what leads on until they are linked, and where they lead; and how much that is."""
_INSIDE: Final = {
    Kind.LEADS: f"""
  %lead.p = getelementptr i32, ptr %block, i32 %lead
  store i32 %place.low, ptr %lead.p
  %stub.p = getelementptr i32, ptr %block, i32 {_STUBS}
  %stub.first = load i32, ptr %stub.p
  %stub.from = mul i32 %argument, {STUB}
  %stub = add i32 %stub.first, %stub.from
  %to.stub = sub i32 %stub, %place.low""",
    Kind.LINK: """
  %link.p = getelementptr i32, ptr %block, i32 %lead
  %link = load i32, ptr %link.p
  %to.link = sub i32 %link, %place.low""",
    Kind.GOAL: f"""
  %goal.n = add i32 %argument, {_GOALS}
  %goal.p = getelementptr i32, ptr %block, i32 %goal.n
  %goal = load i32, ptr %goal.p""",
}
"""What has to be done for some kinds."""


def _kind(kind: Kind) -> str:
    return f"kind.{int(kind)}:{_INSIDE.get(kind, '')}\n  br label %fill\n"


_SUMS: Final = ("rows", "length", "agains", "last", "known", "there", "count")
"""What there is to know of a plan: its rows, the bytes of their stencils, how many instructions may
be left to the handlers, the last form, the kind of what is pending, which of its flags are there
already, and how many instructions there are."""


def _sum(name: str) -> str:
    return f"""
  %{name}.p = getelementptr i32, ptr %sums, i64 {_SUMS.index(name)}
  %{name} = load i32, ptr %{name}.p"""


_COPY: Final = f"""
; of a plan: a stencil, for which instruction, and whether it does that
%row = type {{ ptr, i32, i32 }}

; copy a stencil to a place and fill its holes in: the place behind the copy
define internal ptr @copy(ptr %stencil, ptr %to, ptr %record, i32 %pc, i32 %index, ptr %block,
                          ptr %calls, ptr %again) noinline {{
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
  %again.n = ptrtoint ptr %again to i64
  br label %next
next:
  %n = phi i64 [ 0, %entry ], [ %n.next, %filled ]
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
  %to.again64 = sub i64 %again.n, %place.n
  %to.again = trunc i64 %to.again64 to i32
  %called.number = select i1 %is_call, i32 %argument, i32 0
  %called.p = getelementptr i64, ptr %calls, i32 %called.number
  %called = load i64, ptr %called.p
  %to.function64 = sub i64 %called, %place.n
  %to.function = trunc i64 %to.function64 to i32
  %has.pc.bit = and i32 %argument, 1
  %has.pc = sub i32 0, %has.pc.bit
  %sum.pc = and i32 %pc, %has.pc
  %has.length.bit = and i32 %argument, 2
  %has.length = icmp ne i32 %has.length.bit, 0
  {read_field("length", "%record", SIZE // 4 - 1)}
  %sum.length = select i1 %has.length, i32 %length, i32 0
  %sum.which.up = lshr i32 %argument, 2
  %sum.which = and i32 %sum.which.up, {mask(WAY_BIT - 2)}
  %sum.word.p = getelementptr i32, ptr %record, i32 %sum.which
  %sum.word.any = load i32, ptr %sum.word.p
  %has.word = icmp ne i32 %sum.which, 0
  %sum.word = select i1 %has.word, i32 %sum.word.any, i32 0
  %sum.pc.length = add i32 %sum.pc, %sum.length
  %sum.all = add i32 %sum.pc.length, %sum.word
  %which = and i32 %argument, 7
  %word.p = getelementptr i32, ptr %record, i32 %which
  %word = load i32, ptr %word.p
  %mask = lshr i32 %argument, 8
  %selected = and i32 %word, %mask
  %slot = shl i32 %selected, 3
  %distance = sub i32 %size, %at
  %lead = add i32 %argument, {_PLACES}
  %place.low = trunc i64 %place.n to i32
  switch i32 %kind, label %fill [
    i32 {int(Kind.TOLD)}, label %told
    {" ".join(f"i32 {int(kind)}, label %kind.{int(kind)}" for kind in _KINDS)}
  ]
told:
  %told.way = lshr i32 %argument, {WAY_BIT}
  %told.n = add i32 %told.way, {_GOALS}
  %told.p = getelementptr i32, ptr %block, i32 %told.n
  %told.sum = add i32 %sum.all, %addend
  store i32 %told.sum, ptr %told.p
  br label %filled
{"".join(map(_kind, _KINDS))}fill:
  %what = phi i32 [ 0, %hole ], {", ".join(f"[ {t}, %kind.{int(k)} ]" for k, t in _KINDS.items())}
  %sum = add i32 %what, %addend
  store i32 %sum, ptr %place, align 1
  br label %filled
filled:
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


def _part(name: str, facts: str, first: int, bits: int) -> str:
    """Lines that take some bits of packed facts, see `FlagFacts.packed`: %name."""
    return f"""
  %{name}.up = lshr i64 {facts}, {first}
  %{name}.64 = and i64 %{name}.up, {mask(bits)}
  %{name} = trunc i64 %{name}.64 to i32"""


def _keeps(facts: str) -> str:
    return _part("keeps", facts, KEEPS, FLAGS)


def _kind_of(facts: str) -> str:
    return _part("kind", facts, KIND, KIND_BITS)


_LIVES: Final = f"""
; which flags somebody may read behind each instruction of a block, as it has them: those that are
; all written before are nobody's, but whatever leaves the block (as a fault does) shows them all
define internal void @lives(ptr %mailbox, ptr %header, ptr %lives) noinline {{
entry:
  {read_word("stencils", Word.STENCILS)}
  {read_word("facts", Word.FACTS)}
  br label %count
count:
  %n = phi i32 [ 0, %entry ], [ %n.next, %count ]
  %n.next = add i32 %n, 1
  %n.record = getelementptr [{SIZE} x i8], ptr %header, i32 %n.next
  %n.form = load i32, ptr %n.record
  %is_end = icmp eq i32 %n.form, {END}
  br i1 %is_end, label %back, label %count
back:
  %i = phi i32 [ %n, %count ], [ %before, %some ]
  %live = phi i32 [ {mask(FLAGS)}, %count ], [ %live.before, %some ]
  %is_done = icmp eq i32 %i, 0
  br i1 %is_done, label %done, label %one
one:
  %before = sub i32 %i, 1
  %live.p = getelementptr i32, ptr %lives, i32 %before
  store i32 %live, ptr %live.p
  %record = getelementptr [{SIZE} x i8], ptr %header, i32 %i
  %form = load i32, ptr %record
  %stencil.p = getelementptr ptr, ptr %stencils, i32 %form
  %stencil = load ptr, ptr %stencil.p
  %is_absent = icmp eq ptr %stencil, null
  br i1 %is_absent, label %done, label %some
some:
  %fact.p = getelementptr i64, ptr %facts, i32 %form
  %fact = load i64, ptr %fact.p
  {_part("reads", "%fact", 0, FLAGS)}
  {_keeps("%fact")}
  {_kind_of("%fact")}
  %changes = icmp ne i32 %kind, 0
  %passes = select i1 %changes, i32 %keeps, i32 {mask(FLAGS)}
  %passed = and i32 %live, %passes
  %wanted = or i32 %passed, %reads
  {read_field("ways", "%stencil", 2)}
  %leaves = trunc i32 %ways to i1
  %live.before = select i1 %leaves, i32 {mask(FLAGS)}, i32 %wanted
  br label %back
done:
  ret void
}}
"""

_PLAN: Final = f"""
; put a stencil in a plan, for an instruction by its index; 1: it does the instruction
define internal void @row(ptr %plan, ptr %sums, ptr %stencil, i32 %index, i32 %does) alwaysinline {{
  {_sum("rows")}
  {_sum("length")}
  %at = getelementptr %row, ptr %plan, i32 %rows
  store ptr %stencil, ptr %at
  %index.p = getelementptr %row, ptr %at, i64 0, i32 1
  store i32 %index, ptr %index.p
  %does.p = getelementptr %row, ptr %at, i64 0, i32 2
  store i32 %does, ptr %does.p
  %rows.next = add i32 %rows, 1
  store i32 %rows.next, ptr %rows.p
  %size = load i32, ptr %stencil
  %longer = add i32 %length, %size
  store i32 %longer, ptr %length.p
  ret void
}}

; have the flags there that an instruction needs or somebody behind it, if it does not change them;
; or all before it changes some by itself
define internal void @need(ptr %mailbox, ptr %plan, ptr %sums, i64 %facts, i32 %index, i32 %live)
    noinline {{
entry:
  {_sum("known")}
  {_sum("there")}
  {_part("reads", "%facts", 0, FLAGS)}
  {_keeps("%facts")}
  {_part("writes", "%facts", WRITES, 1)}
  {_kind_of("%facts")}
  %passes = and i32 %keeps, %live
  %needs = or i32 %reads, %passes
  %is_there = xor i32 %there, -1
  %missing = and i32 %needs, %is_there
  %has_kind = icmp ne i32 %kind, 0
  %written = select i1 %has_kind, i32 0, i32 %writes
  %wanted = or i32 %missing, %written
  %is_content = icmp eq i32 %wanted, 0
  %is_settled = icmp eq i32 %known, 0
  %is_done = or i1 %is_content, %is_settled
  br i1 %is_done, label %done, label %some
some:
  %is_unknown = icmp eq i32 %known, {UNKNOWN_KIND}
  %changes = icmp ne i32 %written, 0
  %number = call i32 @llvm.ctpop.i32(i32 %missing)
  %is_much = icmp ugt i32 %number, {MOST_EVALUATED}
  %all.1 = or i1 %is_unknown, %changes
  %all = or i1 %all.1, %is_much
  br i1 %all, label %settle, label %look
look: ; can those be evaluated alone?
  {read_word("evaluators", Word.EVALUATORS)}
  %first = mul i32 %known, {FLAGS}
  %of.kind = getelementptr ptr, ptr %evaluators, i32 %first
  br label %ask
ask:
  %rest = phi i32 [ %missing, %look ], [ %rest.next, %can ]
  %is_asked = icmp eq i32 %rest, 0
  br i1 %is_asked, label %evaluate, label %ask.one
ask.one:
  %flag = call i32 @llvm.cttz.i32(i32 %rest, i1 true)
  %evaluator.p = getelementptr ptr, ptr %of.kind, i32 %flag
  %evaluator = load ptr, ptr %evaluator.p
  %is_absent = icmp eq ptr %evaluator, null
  br i1 %is_absent, label %settle, label %can
can:
  %less = sub i32 %rest, 1
  %rest.next = and i32 %rest, %less
  br label %ask
evaluate:
  %left = phi i32 [ %missing, %ask ], [ %left.next, %one ]
  %is_evaluated = icmp eq i32 %left, 0
  br i1 %is_evaluated, label %evaluated, label %one
one:
  %which = call i32 @llvm.cttz.i32(i32 %left, i1 true)
  %which.p = getelementptr ptr, ptr %of.kind, i32 %which
  %stencil = load ptr, ptr %which.p
  call void @row(ptr %plan, ptr %sums, ptr %stencil, i32 %index, i32 0)
  %fewer = sub i32 %left, 1
  %left.next = and i32 %left, %fewer
  br label %evaluate
evaluated:
  %there.now = or i32 %there, %missing
  store i32 %there.now, ptr %there.p
  br label %done
settle:
  {read_word("stencils", Word.STENCILS)}
  {_piece("settle")}
  call void @row(ptr %plan, ptr %sums, ptr %piece.settle, i32 %index, i32 0)
  store i32 0, ptr %known.p
  br label %done
done:
  ret void
}}

; plan the code of a block: false if a form has no stencil
define internal i1 @plan(ptr %mailbox, ptr %header, ptr %plan, ptr %sums) noinline {{
entry:
  %lives = alloca [{LONGEST} x i32]
  call void @lives(ptr %mailbox, ptr %header, ptr %lives)
  {read_word("stencils", Word.STENCILS)}
  {read_word("facts", Word.FACTS)}
  {read_word("readers", Word.READERS)}
  {"".join(_sum(name) for name in _SUMS)}
  {"".join(f"{chr(10)}  store i32 0, ptr %{name}.p" for name in _SUMS)}
  store i32 {UNKNOWN_KIND}, ptr %known.p
  br label %next
next:
  %i = phi i32 [ 0, %entry ], [ %i.next, %go_on ]
  %i.next = add i32 %i, 1
  %record = getelementptr [{SIZE} x i8], ptr %header, i32 %i.next
  %form = load i32, ptr %record
  %is_end = icmp eq i32 %form, {END}
  br i1 %is_end, label %done, label %look
look:
  %stencil.p = getelementptr ptr, ptr %stencils, i32 %form
  %stencil = load ptr, ptr %stencil.p
  %is_absent = icmp eq ptr %stencil, null
  br i1 %is_absent, label %cannot, label %has
has:
  %fact.p = getelementptr i64, ptr %facts, i32 %form
  %fact = load i64, ptr %fact.p
  {_part("guard.word", "%fact", WORD, WORD_BITS)}
  %guard.p = getelementptr i32, ptr %record, i32 %guard.word
  %guard = load i32, ptr %guard.p
  {_part("mask", "%fact", MASK, MASK_BITS)}
  %guarded = and i32 %guard, %mask
  %fails = icmp eq i32 %guarded, 0
  %is_guarded = icmp ne i32 %guard.word, 0
  %must_not = and i1 %is_guarded, %fails
  br i1 %must_not, label %cannot, label %may
may:
  %live.p = getelementptr i32, ptr %lives, i32 %i
  %live = load i32, ptr %live.p
  {_part("reader", "%fact", READER, READER_BITS)}
  %before = load i32, ptr %known.p
  %is_unknown = icmp eq i32 %before, {UNKNOWN_KIND}
  %before.known = select i1 %is_unknown, i32 0, i32 %before
  %before.row = shl i32 %before.known, {READER_BITS}
  %reading.n = or i32 %before.row, %reader
  %reading.p = getelementptr i32, ptr %readers, i32 %reading.n
  %reading.far = load i32, ptr %reading.p
  %reads_pending = icmp ne i32 %reading.far, 0
  br i1 %reads_pending, label %planned, label %alone
alone:
  call void @need(ptr %mailbox, ptr %plan, ptr %sums, i64 %fact, i32 %i, i32 %live)
  br label %planned
planned:
  %reading = getelementptr i8, ptr %readers, i32 %reading.far
  %chosen = select i1 %reads_pending, ptr %reading, ptr %stencil
  call void @row(ptr %plan, ptr %sums, ptr %chosen, i32 %i, i32 1)
  {read_field("ways", "%stencil", 2)}
  %may.again = and i32 %ways, 1
  %agains.now = load i32, ptr %agains.p
  %agains.more = add i32 %agains.now, %may.again
  store i32 %agains.more, ptr %agains.p
  store i32 %form, ptr %last.p
  {_kind_of("%fact")}
  %is_pending = icmp ne i32 %kind, 0
  br i1 %is_pending, label %pending, label %go_on
pending: ; what it does not change is there, if anybody reads it
  store i32 %kind, ptr %known.p
  {_keeps("%fact")}
  store i32 %keeps, ptr %there.p
  br label %go_on
go_on:
  br label %next
done:
  store i32 %i, ptr %count.p
  ret i1 true
cannot:
  ret i1 false
}}
"""

_STITCH: Final = f"""
; stitch the block of a header that begins at `pc`: DISPATCH if that is done, FULL if there is no
; room for it, STEP if it cannot be
define internal i64 @stitch(ptr %mailbox, i64 %number, i64 %pc) noinline {{
entry:
  %block = alloca [{_ALL} x i32]
  %sums = alloca [{len(_SUMS)} x i32]
  %plan = alloca [{LONGEST * (MOST_EVALUATED + 1) + 1} x %row]
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
  %can = call i1 @plan(ptr %mailbox, ptr %header, ptr %plan, ptr %sums)
  br i1 %can, label %measured, label %cannot
measured:
  {"".join(_sum(name) for name in ("agains", "last", "count"))}
  {"".join(map(_piece, ("again", "enter", "begin", "fall", "one", "two", "end")))}
  %flag.p = getelementptr i8, ptr %flags, i32 %last
  %flag = load i8, ptr %flag.p
  %jumps.bit = and i8 %flag, {int(Flag.ENDS)}
  %jumps = icmp ne i8 %jumps.bit, 0
  br i1 %jumps, label %jump, label %falls
jump:
  %last.stencil.p = getelementptr ptr, ptr %stencils, i32 %last
  %last.stencil = load ptr, ptr %last.stencil.p
  {read_field("last.ways", "%last.stencil", 2)}
  %leads = lshr i32 %last.ways, {LEADS_BIT}
  %is_known.way = icmp eq i32 %leads, 1
  %is_either = icmp eq i32 %leads, 2
  %known.way = select i1 %is_known.way, ptr %piece.one, ptr %piece.end
  %way = select i1 %is_either, ptr %piece.two, ptr %known.way
  br label %planned
falls:
  call void @row(ptr %plan, ptr %sums, ptr %piece.fall, i32 %count, i32 0)
  br label %planned
planned:
  %ending = phi ptr [ %way, %jump ], [ %piece.one, %falls ]
  %stays = icmp eq ptr %ending, %piece.end
  {"".join(map(_sum, ("rows", "length")))}
  %begin.size = load i32, ptr %piece.begin
  %ending.size = load i32, ptr %ending
  %site.size = select i1 %stays, i32 %ending.size, i32 0
  %stub.size = select i1 %stays, i32 0, i32 %ending.size
  %around = add i32 %begin.size, %site.size
  %whole = add i32 %length, %around
  %whole64 = zext i32 %whole to i64
  {read_word("to", Word.CODE)}
  {read_word("room", Word.ROOM, "i64")}
  {read_word("used", Word.USED, "i64")}
  {read_word("arena", Word.ARENA, "i64")}
  %free = ptrtoint ptr %to to i64
  %up = add i64 %whole64, {ALIGNMENT - 1}
  %aligned = and i64 %up, -{ALIGNMENT}
  %end = add i64 %free, %aligned
  %again.size = load i32, ptr %piece.again
  %apart.agains = mul i32 %again.size, %agains
  %enter.size = load i32, ptr %piece.enter
  %apart.ways = add i32 %apart.agains, %stub.size
  %apart = add i32 %apart.ways, %enter.size
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
  %pc32 = trunc i64 %pc to i32
  %used32 = trunc i64 %used to i32
  {
    "".join(
        f'''
  %block.{n} = getelementptr i32, ptr %block, i64 {n}
  store i32 {value}, ptr %block.{n}'''
        for n, value in enumerate(("%count", "%number32", "%used32"))
    )
}
  store i64 %room.next, ptr %room.p
  %stubs = inttoptr i64 %room.next to ptr
  %enters = getelementptr i8, ptr %stubs, i32 %stub.size
  %begun = call ptr @copy(ptr %piece.begin, ptr %to, ptr %header, i32 %pc32, i32 0, ptr %block,
                          ptr %calls, ptr %enters)
  %first.apart = call ptr @copy(ptr %piece.enter, ptr %enters, ptr %header, i32 %pc32, i32 0,
                                ptr %block, ptr %calls, ptr %to)
  %stubs.low = trunc i64 %room.next to i32
  %stubs.p = getelementptr i32, ptr %block, i32 {_STUBS}
  store i32 %stubs.low, ptr %stubs.p
  br label %each
each:
  %n = phi i32 [ 0, %copy ], [ %n.next, %rest ]
  %where = phi ptr [ %begun, %copy ], [ %where.next, %rest ]
  %here = phi i32 [ %pc32, %copy ], [ %here.next, %rest ]
  %away = phi ptr [ %first.apart, %copy ], [ %away.next, %rest ]
  %is_last = icmp eq i32 %n, %rows
  br i1 %is_last, label %last.one, label %one
one:
  %n.next = add i32 %n, 1
  %row = getelementptr %row, ptr %plan, i32 %n
  %one.stencil = load ptr, ptr %row
  %index.p = getelementptr %row, ptr %row, i64 0, i32 1
  %index = load i32, ptr %index.p
  %does.p = getelementptr %row, ptr %row, i64 0, i32 2
  %does = load i32, ptr %does.p
  %index.next = add i32 %index, 1
  %record = getelementptr [{SIZE} x i8], ptr %header, i32 %index.next
  %where.next = call ptr @copy(ptr %one.stencil, ptr %where, ptr %record, i32 %here, i32 %index,
                               ptr %block, ptr %calls, ptr %away)
  {read_field("one.length", "%record", SIZE // 4 - 1)}
  %moves = mul i32 %one.length, %does
  %here.next = add i32 %here, %moves
  {read_field("one.ways", "%one.stencil", 2)}
  %one.may.again = and i32 %one.ways, 1
  %leaves = icmp ne i32 %one.may.again, 0
  br i1 %leaves, label %leave, label %rest
leave:
  %behind.away = call ptr @copy(ptr %piece.again, ptr %away, ptr %record, i32 %here, i32 %index,
                                ptr %block, ptr %calls, ptr null)
  br label %rest
rest:
  %away.next = phi ptr [ %away, %one ], [ %behind.away, %leave ]
  br label %each
last.one:
  %end.at = select i1 %stays, ptr %where, ptr %stubs
  %ended = call ptr @copy(ptr %ending, ptr %end.at, ptr %header, i32 %here, i32 %count, ptr %block,
                          ptr %calls, ptr null)
  %to.next = getelementptr i8, ptr %to, i64 %aligned
  store ptr %to.next, ptr %to.p
  %new = getelementptr [{SIZE} x i8], ptr %records, i64 %used
  call void @llvm.memset.p0.i64(ptr %new, i8 0, i64 {SIZE}, i1 false)
  store i32 {STITCHED}, ptr %new
  %function = getelementptr i8, ptr %enters, i64 {ENTRY}
  %function.n = ptrtoint ptr %function to i64
  %to.linked = sub i64 %free, %function.n
  %to.linked32 = trunc i64 %to.linked to i32
  {
    "".join(
        f'''
  %new.{int(word)} = getelementptr i32, ptr %new, i64 {int(word)}
  store {value}, ptr %new.{int(word)}'''
        for word, value in (
            (Header.FUNCTION, "ptr %function"),
            (Header.ENTRY, "i32 %used32"),
            (Header.BEHIND, "i32 %number32"),
            (Header.LINKED, "i32 %to.linked32"),
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


def stitcher() -> str:
    """The function that stitches a block, and `known`."""
    return _COPY + _KNOWN + _LIVES + _PLAN + _STITCH
