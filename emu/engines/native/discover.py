"""Native discovery: from a program counter to a decoded block, and on to its handlers.

A page of code that Python has made ready has a *slot*: a row of 4,096 numbers, one for each byte of
the page, which is the header of the block that begins there, or 0. `dispatch` looks a program
counter up, decodes the block itself if nobody met it, enters it in the jump cache and runs it. What
is left to Python are pages that are not ready, bytes that the decoder's tables do not know yet,
instructions that have no handler, and full tables. A block lies in one page, but for an instruction
that ends in the next one: it is a block of its own.

`tier1` runs a block, handler by handler; `end` and `absent` are what ends it. Stitched blocks leave
for the handlers in `handle` and `resume`.
"""

from __future__ import annotations

from emu.engines.native.decode_tables import RECORD, Flag
from emu.engines.native.handlers import PARAMETERS, SIZE, call_handler
from emu.engines.native.layout import (
    BLOCK,
    CONVENTION,
    END,
    JUMP_WORDS,
    JUMPS,
    KEPT_BITS,
    KEPT_FACTOR,
    LONGEST,
    PAGE_BITS,
    PAGES,
    PYTHONS,
    STITCHED,
    Header,
    Left,
    Word,
)
from emu.engines.native.links import leaps, links
from emu.engines.native.lowering import Lowering
from emu.engines.native.pieces import chain, leave, read_field, read_word
from emu.engines.native.samples import DEAL, SAMPLE
from emu.engines.native.site import exits
from emu.engines.native.stitch import stitcher
from emu.memory import PAGE_MASK, PAGE_SIZE
from isa.hints import Final
from isa.registers import Register
from isa.x86.limits import MAX_LENGTH

UNDONE: Final = (Left.BUDGET, Left.READ, Left.WRITE, Left.STEP, Left.COLD, Left.ASK)
"""Reasons to leave before an instruction, to whose program counter the block was executed."""

assert SIZE == RECORD.size == 1 << 5


_DISPATCH: Final = f"""
define {CONVENTION} i64 @dispatch(ptr %mailbox, i64 %pc) {{
entry:
  {read_word("pages", Word.PAGES)}
  %page = lshr i64 %pc, {PAGE_BITS}
  %slot.p = getelementptr i32, ptr %pages, i64 %page
  %slot = load i32, ptr %slot.p
  %is_ready = icmp ne i32 %slot, 0
  br i1 %is_ready, label %look, label %nowhere
look:
  {read_word("slots", Word.SLOTS)}
  %slot64 = zext i32 %slot to i64
  %offset = and i64 %pc, {PAGE_MASK}
  %number.p = getelementptr [{PAGE_SIZE} x i32], ptr %slots, i64 %slot64, i64 %offset
  %known = load i32, ptr %number.p
  %is_known = icmp ne i32 %known, 0
  br i1 %is_known, label %found, label %meet
meet:
  {read_word("fresh", Word.FRESH, "i64")}
  %is_tired = icmp sle i64 %fresh, 0
  br i1 %is_tired, label %pause, label %decode
decode:
  %made = call i32 @decode_block(ptr %mailbox, i64 %page, i64 %slot64, i64 %offset)
  %is_made = icmp ne i32 %made, 0
  br i1 %is_made, label %enter, label %nowhere
enter:
  store i32 %made, ptr %number.p
  br label %found
found:
  %number = phi i32 [ %known, %look ], [ %made, %enter ]
  %number64 = zext i32 %number to i64
  {read_word("records", Word.RECORDS)}
  %header = getelementptr [{SIZE} x i8], ptr %records, i64 %number64
  %kind = load i32, ptr %header
  %is_block = icmp eq i32 %kind, {BLOCK}
  br i1 %is_block, label %go, label %elsewhere
elsewhere: ; a region, or the block stitched
  {read_field("function", "%header", Header.FUNCTION, "ptr")}
  {read_field("entry.n", "%header", Header.ENTRY)}
  %entry64 = zext i32 %entry.n to i64
  %is_stitched = icmp eq i32 %kind, {STITCHED}
  {read_field("linked.far", "%header", Header.LINKED)}
  %linked.there = getelementptr i8, ptr %function, i32 %linked.far
  %linked.here = select i1 %is_stitched, ptr %linked.there, ptr null
  br label %go
go:
  %target = phi ptr [ @tier1, %found ], [ %function, %elsewhere ]
  %which = phi i64 [ %number64, %found ], [ %entry64, %elsewhere ]
  %linked = phi ptr [ null, %found ], [ %linked.here, %elsewhere ]
  {read_word("jumps", Word.JUMPS)}
  %first = and i64 %pc, {JUMPS - 1}
  %second = xor i64 %first, 1
  %beside = getelementptr [{JUMP_WORDS} x i64], ptr %jumps, i64 %second
  %there = load i64, ptr %beside
  %is_beside = icmp eq i64 %there, %pc ; no program counter has two entries
  %row = select i1 %is_beside, i64 %second, i64 %first
  %jump = getelementptr [{JUMP_WORDS} x i64], ptr %jumps, i64 %row
  store i64 %pc, ptr %jump
  %jump.function = getelementptr i64, ptr %jump, i64 1
  store ptr %target, ptr %jump.function
  %jump.entry = getelementptr i64, ptr %jump, i64 2
  store i64 %which, ptr %jump.entry
  %jump.linked = getelementptr i64, ptr %jump, i64 3
  store ptr %linked, ptr %jump.linked
  %left = musttail call {CONVENTION} i64 %target(ptr %mailbox, i64 %which)
  ret i64 %left
pause:
  ret i64 {int(Left.PAUSE)}
nowhere:
  ret i64 {int(Left.DISPATCH)}
}}
"""


def _decode(space: int) -> str:
    """Decoding from the storage of a space: the number of the new header, or 0."""
    first = Word.SPACES + 3 * space
    return f"""
define internal i32 @decode_block(ptr %mailbox, i64 %page, i64 %slot, i64 %offset) noinline {{
entry:
  %result = alloca [2 x i64]
  %copy = alloca [{MAX_LENGTH} x i8]
  {read_word("frames", Word.FRAMES)}
  %frame.p = getelementptr i32, ptr %frames, i64 %slot
  %frame = load i32, ptr %frame.p
  %is_python = icmp eq i32 %frame, {PYTHONS}
  br i1 %is_python, label %none, label %room
room:
  {read_word("used", Word.USED, "i64")}
  {read_word("arena", Word.ARENA, "i64")}
  %free = sub i64 %arena, %used
  %fits = sub i64 %free, 2
  %most = call i64 @llvm.smin.i64(i64 %fits, i64 {LONGEST})
  %is_full = icmp sle i64 %most, 0
  br i1 %is_full, label %none, label %decode
decode:
  {read_word("storage", first)}
  {read_word("records", Word.RECORDS)}
  {read_word("decoder", Word.DECODER)}
  {read_word("keys", Word.KEYS)}
  {read_word("flags", Word.FLAGS)}
  %frame64 = zext i32 %frame to i64
  %where = add i64 %frame64, %offset
  %code = getelementptr i8, ptr %storage, i64 %where
  %available = sub i64 {PAGE_SIZE}, %offset
  %header = getelementptr [{SIZE} x i8], ptr %records, i64 %used
  %first = getelementptr [{SIZE} x i8], ptr %header, i64 1
  %count = call i64 %decoder(ptr %code, i64 %available, ptr %keys, ptr %flags,
                             i8 {int(Flag.ENDS)}, ptr %first, i64 %most, ptr %result)
  %is_nothing = icmp eq i64 %count, 0
  br i1 %is_nothing, label %nothing, label %write
nothing:
  %is_last = icmp ult i64 %available, {MAX_LENGTH}
  br i1 %is_last, label %last_one, label %none
last_one: ; it may end in the next page
  {read_word("pages", Word.PAGES)}
  %above = add i64 %page, 1
  %next = and i64 %above, {PAGES - 1}
  %next.p = getelementptr i32, ptr %pages, i64 %next
  %next_slot = load i32, ptr %next.p
  %is_unready = icmp eq i32 %next_slot, 0
  br i1 %is_unready, label %none, label %next_page
next_page:
  %next_slot64 = zext i32 %next_slot to i64
  %next_frame.p = getelementptr i32, ptr %frames, i64 %next_slot64
  %next_frame = load i32, ptr %next_frame.p
  %is_next_python = icmp eq i32 %next_frame, {PYTHONS}
  br i1 %is_next_python, label %none, label %cross
cross:
  %next_frame64 = zext i32 %next_frame to i64
  %next_code = getelementptr i8, ptr %storage, i64 %next_frame64
  %copy_rest = getelementptr i8, ptr %copy, i64 %available
  %missing = sub i64 {MAX_LENGTH}, %available
  call void @llvm.memcpy.p0.p0.i64(ptr %copy, ptr %code, i64 %available, i1 false)
  call void @llvm.memcpy.p0.p0.i64(ptr %copy_rest, ptr %next_code, i64 %missing, i1 false)
  %crossed = call i64 %decoder(ptr %copy, i64 {MAX_LENGTH}, ptr %keys, ptr %flags,
                               i8 {int(Flag.ENDS)}, ptr %first, i64 1, ptr %result)
  %is_unknown = icmp eq i64 %crossed, 0
  br i1 %is_unknown, label %none, label %write
write:
  %instructions = phi i64 [ %count, %decode ], [ %crossed, %cross ]
  %second = phi i64 [ 0, %decode ], [ %next_frame64, %cross ] ; where bytes of the next page are
  %size = load i64, ptr %result
  %size32 = trunc i64 %size to i32
  call void @llvm.memset.p0.i64(ptr %header, i8 0, i64 {SIZE}, i1 false)
  %size.p = getelementptr i32, ptr %header, i64 {int(Header.SIZE)}
  store i32 %size32, ptr %size.p
  {read_word("kept", Word.KEPT)}
  %pages_up = shl i64 %page, {PAGE_BITS}
  %pc = or i64 %pages_up, %offset
  %pc32 = trunc i64 %pc to i32
  %mixed = mul i32 %pc32, {KEPT_FACTOR}
  %slot_of_pc = lshr i32 %mixed, {32 - KEPT_BITS}
  %eight = lshr i32 %slot_of_pc, 3
  %eight.p = getelementptr i8, ptr %kept, i32 %eight
  %bits = load i8, ptr %eight.p
  %bit32 = and i32 %slot_of_pc, 7
  %bit = trunc i32 %bit32 to i8
  %moved = lshr i8 %bits, %bit
  %may_be_kept = trunc i8 %moved to i1
  br i1 %may_be_kept, label %written, label %unkept
unkept: ; nobody need look for it on the disk
  {read_word("from", Word.COUNT, "i64")}
  %from32 = trunc i64 %from to i32
  %from.at = getelementptr i32, ptr %header, i64 {int(Header.COUNT)}
  store i32 %from32, ptr %from.at
  %recalled.p = getelementptr i32, ptr %header, i64 {int(Header.RECALLED)}
  store i32 1, ptr %recalled.p
  br label %written
written:
  %last = getelementptr [{SIZE} x i8], ptr %first, i64 %instructions
  store i32 {END}, ptr %last
  {read_word("watched", first + 2)}
  %marks = getelementptr i8, ptr %watched, i64 %where
  %inside = call i64 @llvm.umin.i64(i64 %size, i64 %available)
  call void @llvm.memset.p0.i64(ptr %marks, i8 1, i64 %inside, i1 false)
  %outside = sub i64 %size, %inside
  %more_marks = getelementptr i8, ptr %watched, i64 %second
  call void @llvm.memset.p0.i64(ptr %more_marks, i8 1, i64 %outside, i1 false)
  %with_count = add i64 %used, %instructions
  %now_used = add i64 %with_count, 2
  store i64 %now_used, ptr %used.p
  {read_word("fresh", Word.FRESH, "i64")}
  %rest = sub i64 %fresh, %instructions
  store i64 %rest, ptr %fresh.p
  %number = trunc i64 %used to i32
  ret i32 %number
none:
  ret i32 0
}}
"""


def _tier1(pc: Register) -> str:
    """Count an entry of a block, run it, note where it went, and go on there. Now and then it is
    stitched instead, if all its forms have stencils."""
    low = Lowering()
    _header(low)
    low.lines += [read_word("hot", Word.HOT, "i64"), read_word("stitch", Word.STITCH, "i64")]
    low.line("%more = add i32 %count, 1")
    low.line("store i32 %more, ptr %count.p")
    low.line("%limit = trunc i64 %hot to i32")
    low.line("%is_hot = icmp eq i32 %more, %limit")
    low.branch("%is_hot", "asks", "cold", "!prof !1")
    low.start("asks")
    low.line(f"ret i64 {int(Left.HOT)}")
    low.start("cold")
    low.line("%mask = trunc i64 %stitch to i32")
    low.line("%bits = and i32 %more, %mask")
    low.line("%is_warm = icmp eq i32 %bits, 0")
    low.branch("%is_warm", "warm", "run", "!prof !1")
    low.start("warm")
    _registers(low, pc)
    low.line("store i32 %count, ptr %count.p")  # the stitched code counts this entry
    low.line("%left = call i64 @stitch(ptr %mailbox, i64 %number, i64 %at)")
    low.line(f"%is_stitched = icmp eq i64 %left, {int(Left.DISPATCH)}")
    low.branch("%is_stitched", "stitched", "unstitched")
    low.start("stitched")
    low.line(f"%went = musttail call {CONVENTION} i64 @dispatch(ptr %mailbox, i64 %at)")
    low.line("ret i64 %went")
    low.start("unstitched")
    low.line("store i32 %more, ptr %count.p")
    low.line(f"%is_full = icmp eq i64 %left, {int(Left.FULL)}")
    low.branch("%is_full", "full", "run")
    low.start("full")
    low.line("store i32 %count, ptr %count.p")
    low.line("ret i64 %left")
    low.start("run")
    _handle(low, pc)
    return _function("tier1", "ptr %mailbox, i64 %number", low)


_SETTLE: Final = f"""
; compute the flags that are pending
define internal void @settle(ptr %mailbox) {{
entry:
  {read_word("pending", Word.PENDING, "i64")}
  %is_none = icmp eq i64 %pending, 0
  br i1 %is_none, label %done, label %some
some:
  {read_word("settlers", Word.SETTLERS)}
  %settler.p = getelementptr ptr, ptr %settlers, i64 %pending
  %settler = load ptr, ptr %settler.p
  call void %settler(ptr %mailbox)
  store i64 0, ptr %pending.p
  br label %done
done:
  ret void
}}
"""


def _whole(pc: Register) -> str:
    """Run a stitched block of which less may be done, or stitched if there is more later."""
    low = Lowering()
    low.line("call void @settle(ptr %mailbox)")
    _header(low)
    low.lines.append(read_word("later", Word.LATER, "i64"))
    low.branch(low.emit("icmp ne i64 %later, 0"), "more", "run")
    low.start("more")
    low.line("%why = call i64 @sample(ptr %mailbox, ptr %header)")
    low.branch(low.emit(f"icmp eq i64 %why, {int(Left.DISPATCH)}"), "again", "out")
    low.start("out")
    low.line("ret i64 %why")
    low.start("again")
    _registers(low, pc)
    chain(low, "%at")
    low.start("run")
    _handle(low, pc)
    return _function("handle", "ptr %mailbox, i64 %number", low)


def _resume(pc: Register) -> str:
    """Run a stitched block from its instruction AGAIN on, with nothing of that one done."""
    low = Lowering()
    low.line("call void @settle(ptr %mailbox)")
    _header(low)
    low.lines += [read_word("again", Word.AGAIN, "i64"), read_word("total", Word.REMAINING, "i64")]
    low.lines.append(read_word("registers", Word.REGISTERS))
    low.line(f"%record = getelementptr [{SIZE} x i8], ptr %header, i64 %again")
    low.line(f"%following = getelementptr i8, ptr %record, i64 {SIZE}")
    low.line("%rest = sub i64 %total, %again")
    left = call_handler(low, "%following", "%registers", "%rest", "call")
    _go_on(low, pc, left)
    return _function("resume", "ptr %mailbox, i64 %number", low)


def _function(name: str, parameters: str, low: Lowering) -> str:
    body = "\n".join(low.lines)
    return f"define dso_local {CONVENTION} i64 @{name}({parameters}) {{\nentry:\n{body}\n}}"


def _header(low: Lowering) -> None:
    """The header of a block by its %number, and how often it was entered."""
    low.lines.append(read_word("records", Word.RECORDS))
    low.line(f"%header = getelementptr [{SIZE} x i8], ptr %records, i64 %number")
    low.lines.append(read_field("count", "%header", Header.COUNT))


def _registers(low: Lowering, pc: Register) -> None:
    low.lines.append(read_word("values", Word.REGISTERS))
    low.line(f"%at.p = getelementptr i64, ptr %values, i64 {pc.slot}")
    low.line("%at = load i64, ptr %at.p")


def _handle(low: Lowering, pc: Register) -> None:
    """Run a block by its handlers, from its first record on, and go on."""
    low.lines.append(read_word("registers", Word.REGISTERS))
    low.line("%before = load i64, ptr %mailbox")
    low.line(f"%first = getelementptr i8, ptr %header, i64 {SIZE}")
    low.lines.append(read_word("coverage", Word.COVERAGE))
    low.line(f"%pc.p = getelementptr i64, ptr %registers, i64 {pc.slot}")
    low.line("%start = load i64, ptr %pc.p")
    left = call_handler(low, "%first", "%registers", "%before", "call")
    low.line("%counts = icmp ne ptr %coverage, null")
    low.branch("%counts", "cover", "covered", "!prof !1")
    low.start("cover")
    low.line(
        f"call void @cover(ptr %mailbox, ptr %coverage, ptr %header, i64 %start, "
        f"ptr %pc.p, i64 {left})"
    )
    low.jump("covered")
    low.start("covered")
    _go_on(low, pc, left)


def _go_on(low: Lowering, pc: Register, left: str) -> None:
    """Go on after handlers have stopped: where the block leads to, if that is why."""
    low.branch(low.emit(f"icmp eq i64 {left}, {int(Left.DISPATCH)}"), "go", "leave")
    low.start("leave")
    leave(low, left)
    low.start("go")
    low.line(f"%to.p = getelementptr i64, ptr %registers, i64 {pc.slot}")
    low.line("%to = load i64, ptr %to.p")
    low.line("%turn = and i32 %count, 3")
    low.line(f"%which = add i32 %turn, {int(Header.TARGETS)}")
    low.line("%target.p = getelementptr i32, ptr %header, i32 %which")
    low.line("%to.n = trunc i64 %to to i32")
    low.line("store i32 %to.n, ptr %target.p")
    chain(low, "%to")


_COVER: Final = f"""
define internal void @add(ptr %coverage, i64 %address, i64 %change) alwaysinline {{
  %place = getelementptr i64, ptr %coverage, i64 %address
  %old = load i64, ptr %place
  %new = add i64 %old, %change
  store i64 %new, ptr %place
  ret void
}}

; count what was executed of the block that began at `start`, and was left for a reason
define internal void @cover(ptr %mailbox, ptr %coverage, ptr %header, i64 %start, ptr %pc.p,
                            i64 %left)
    noinline {{
entry:
  {read_word("flags", Word.FLAGS)}
  %pc = load i64, ptr %pc.p
  {read_field("size", "%header", Header.SIZE)}
  %size64 = zext i32 %size to i64
  %behind = add i64 %start, %size64
  br label %search
search: ; the last instruction may have repetitions to come
  %record = phi ptr [ %header, %entry ], [ %next, %search ]
  %next = getelementptr i8, ptr %record, i64 {SIZE}
  %above = load i32, ptr %next
  %is_end = icmp eq i32 %above, {END}
  br i1 %is_end, label %last, label %search
last:
  %form = load i32, ptr %record
  {read_field("length", "%record", SIZE // 4 - 1)}
  %length64 = zext i32 %length to i64
  %begins = sub i64 %behind, %length64
  %flag.p = getelementptr i8, ptr %flags, i32 %form
  %flag = load i8, ptr %flag.p
  %repeats = and i8 %flag, {int(Flag.REPEATS)}
  %may_go_on = icmp ne i8 %repeats, 0
  %stays = icmp eq i64 %pc, %begins
  %goes_on = and i1 %may_go_on, %stays
  switch i64 %left, label %whole [
    {" ".join(f"i64 {int(why)}, label %part" for why in UNDONE)}
  ]
whole:
  br i1 %goes_on, label %part, label %all
part:
  br label %all
all:
  %end = phi i64 [ %behind, %whole ], [ %pc, %part ]
  call void @add(ptr %coverage, i64 %start, i64 1)
  call void @add(ptr %coverage, i64 %end, i64 -1)
  ret void
}}
"""


_ENDS: Final = f"""
define i64 @end({PARAMETERS}) {{
  store i64 %before, ptr %mailbox
  ret i64 {int(Left.DISPATCH)}
}}

define i64 @absent({PARAMETERS}) {{
  store i64 %before, ptr %mailbox
  %form = load i32, ptr %record
  %wide = zext i32 %form to i64
  %reason = getelementptr i64, ptr %mailbox, i64 {int(Word.REASON)}
  store i64 %wide, ptr %reason
  ret i64 {int(Left.COLD)}
}}
"""


def dispatcher(pc: Register, space: int, *, stitches: bool) -> str:
    """The functions that find, decode, run and end blocks, of code in a space (by its number), also
    stitched ones if there are some."""
    texts = [_tier1(pc), _whole(pc), _resume(pc), _SETTLE, _COVER, _ENDS, _DISPATCH, _decode(space)]
    more = [leaps(), exits(pc)] if stitches else []
    return "\n".join([DEAL, SAMPLE, *texts, stitcher(), links(pc), *more])
