"""Samples: which stitched blocks are warm, at no cost to them.

Native code is dealt instructions for about a PERIOD at a time. Where they run out in a stitched
block, its header is told of as many entries as a block of USUAL instructions has in such a period:
how often that happens to a block is in proportion to the instructions that are done in it. Periods
differ by a hash of the count, so that no loop keeps step with them. What runs out elsewhere tells
nothing: blocks of handlers count themselves, and who is in a region needs none.
"""

from __future__ import annotations

from emu.engines.native.layout import (
    HOLD,
    KEPT_FACTOR,
    LARGEST,
    LEAST_PERIOD,
    LONGEST,
    USUAL,
    Header,
    Left,
    Word,
)
from emu.engines.native.pieces import read_field, read_word
from isa.hints import Final

LEAST: Final = LEAST_PERIOD // 2  # instructions that are dealt, if there are so many: a region
# needs as many as it has

assert LEAST >= LARGEST

DEAL: Final = f"""
; let instructions be done until a sample is due, and no more than HELD while the interpreter's lock
; is held (0: it will be given up at once); what remains comes later
define internal void @deal(ptr %mailbox, i64 %total) noinline {{
entry:
  {read_word("end", Word.END, "i64")}
  {read_word("sample", Word.SAMPLE, "i64")}
  {read_word("period", Word.PERIOD, "i64")}
  %now = sub i64 %end, %total
  %due = sub i64 %sample, %now
  %above = sub i64 %due, {LEAST}
  %longest = shl i64 %period, 1
  %is_due = icmp uge i64 %above, %longest ; or the count has been set back
  br i1 %is_due, label %renew, label %deal
renew:
  %mixed = mul i64 %now, {KEPT_FACTOR}
  %high = lshr i64 %mixed, 16
  %some = urem i64 %high, %period
  %half = lshr i64 %period, 1
  %next = add i64 %half, %some
  %renewed = add i64 %now, %next
  store i64 %renewed, ptr %sample.p
  br label %deal
deal:
  %to.sample = phi i64 [ %due, %entry ], [ %next, %renew ]
  {read_word("held", Word.HELD, "i64")}
  {read_word("thread", Word.THREAD)}
  %is_locked = icmp eq ptr %thread, null
  %keeps = icmp ne i64 %held, 0
  %is_limited = and i1 %is_locked, %keeps
  %with.lock = call i64 @llvm.umin.i64(i64 %held, i64 %to.sample)
  %most = select i1 %is_limited, i64 %with.lock, i64 %to.sample
  %holds = icmp uge i64 %held, {HOLD} ; what comes later is done without the lock
  %left = select i1 %holds, i64 %total, i64 %most
  %first = call i64 @llvm.umin.i64(i64 %total, i64 %left)
  %later = sub i64 %total, %first
  store i64 %first, ptr %mailbox
  %later.p = getelementptr i64, ptr %mailbox, i64 {int(Word.LATER)}
  store i64 %later, ptr %later.p
  ret void
}}
"""
"""Two periods are the longest time to a sample, half of one the shortest."""

SAMPLE: Final = f"""
; a stitched block has run out of instructions, but later there are more: note that it is warm if a
; sample is due. DISPATCH to go on with it, HOT if it is, BUDGET if the interpreter's lock is held
define internal i64 @sample(ptr %mailbox, ptr %header) noinline {{
entry:
  {read_word("later", Word.LATER, "i64")}
  {read_word("end", Word.END, "i64")}
  {read_word("sample", Word.SAMPLE, "i64")}
  %remaining = load i64, ptr %mailbox
  %total = add i64 %remaining, %later
  %now = sub i64 %end, %total
  %soon = add i64 %now, {LONGEST}
  %is_due = icmp uge i64 %soon, %sample
  br i1 %is_due, label %count, label %more
count:
  store i64 0, ptr %sample.p ; the next one is made when there is more
  {read_word("period", Word.PERIOD, "i64")}
  {read_word("hot", Word.HOT, "i64")}
  {read_field("entries", "%header", Header.COUNT)}
  %limit = trunc i64 %hot to i32
  %period32 = trunc i64 %period to i32
  %estimate = udiv i32 %period32, {USUAL}
  %entries.now = add i32 %entries, %estimate
  store i32 %entries.now, ptr %entries.p
  %missing.before = sub i32 %limit, %entries
  %missing = sub i32 %limit, %entries.now
  %was_cold = icmp sgt i32 %missing.before, 0
  %is_warm = icmp sle i32 %missing, 0
  %asks = and i1 %was_cold, %is_warm
  br i1 %asks, label %hot.now, label %more
hot.now:
  ret i64 {int(Left.HOT)}
more:
  {read_word("thread", Word.THREAD)}
  %is_locked = icmp eq ptr %thread, null
  br i1 %is_locked, label %locked, label %free
locked:
  ret i64 {int(Left.BUDGET)}
free:
  call void @deal(ptr %mailbox, i64 %total)
  ret i64 {int(Left.DISPATCH)}
}}
"""
