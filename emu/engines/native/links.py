"""Links: how stitched code goes on in other code, without looking anything up.

A site compares program counters, `link` gives it one; a jump of which it is known where it leads
has a distance only, which `join` changes (see `site.py`). Both note what they did, as a link must
be taken back when its block is no longer what is to be done there. What leads to more places than a
site has links looks in the jump cache (`leap`).
"""

from __future__ import annotations

import struct

from emu.engines.native.layout import CONVENTION, REGION, STITCHED, Header, Left, Word
from emu.engines.native.lowering import Lowering
from emu.engines.native.pieces import chain, jump, read_field, read_word
from emu.engines.native.site import (
    EMPTY_THUNK,
    HEADER_BITS,
    LEAVE,
    LEAVE_PASS,
    LINK,
    LINK_BITS,
    LINKS,
    NO_SITE,
    NOTE,
    PARAMETERS,
    SITE,
    TAG,
    THUNK,
    THUNK_ENTRY,
    THUNK_FUNCTION,
    THUNK_PC,
    TO,
    go_on_at,
    unlinked,
    way_on,
)
from emu.engines.native.stitch import SIZE
from isa.hints import Final
from isa.registers import Register

SELDOM: Final = 256  # of so many counts, by one it is noted where a block went
NO_GOAL, NO_NOTE = 0, 1  # instead of an address


def _thunk(place: str) -> str:
    """Lines that store what enters a region, but for which one."""
    words = struct.unpack(f"<{THUNK.size // 8}Q", THUNK.pack(*EMPTY_THUNK))
    return "".join(
        f"""
  %thunk.{n} = getelementptr i64, ptr {place}, i64 {n}
  store i64 {word}, ptr %thunk.{n}, align 1"""
        for n, word in enumerate(words)
    )


def _joining(pc: Register) -> str:
    """What those who note links have in common."""
    return f"""
; a stitched block was left, with flags that may be pending: note where to, and tell
define internal i64 @went(ptr %mailbox, i64 %number) noinline {{
  call void @settle(ptr %mailbox)
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
  ret i64 %pc
}}

; where what is to be done at a program counter has code of its own: {NO_GOAL} if it has none, or
; {NO_NOTE} if no more links can be noted
define internal i64 @goal(ptr %mailbox, i64 %pc) noinline {{
entry:
  {read_word("records", Word.RECORDS)}
  %known.p = call ptr @known(ptr %mailbox, i64 %pc)
  %known = load i32, ptr %known.p
  %other = getelementptr [{SIZE} x i8], ptr %records, i32 %known
  %kind = load i32, ptr %other
  %is_stitched = icmp eq i32 %kind, {STITCHED}
  %is_there = icmp ne i32 %known, 0
  %is_region = icmp eq i32 %kind, {REGION}
  %is_code = or i1 %is_stitched, %is_region
  %may = and i1 %is_code, %is_there
  br i1 %may, label %some, label %none
some:
  {read_word("note", Word.LINKS)}
  {read_word("last", Word.LAST_LINK)}
  {read_field("function", "%other", Header.FUNCTION, "i64")}
  {read_field("linked", "%other", Header.LINKED)}
  %linked64 = sext i32 %linked to i64
  %entry.n = add i64 %function, %linked64
  %is_full = icmp eq ptr %note, %last
  br i1 %is_full, label %full, label %place
place:
  br i1 %is_stitched, label %stitched, label %room
stitched:
  ret i64 %entry.n
room: ; a region is entered through a thunk
  {read_word("code", Word.CODE, "i64")}
  {read_word("end", Word.ROOM, "i64")}
  %thunk.n = sub i64 %end, {THUNK.size}
  %has_room = icmp sge i64 %thunk.n, %code
  br i1 %has_room, label %thunk, label %none
thunk:
  store i64 %thunk.n, ptr %end.p
  %thunk.at = inttoptr i64 %thunk.n to ptr
  {_thunk("%thunk.at")}
  {read_field("way", "%other", Header.ENTRY)}
  %thunk.pc = getelementptr i8, ptr %thunk.at, i64 {THUNK_PC}
  %pc32 = trunc i64 %pc to i32
  store i32 %pc32, ptr %thunk.pc, align 1
  %thunk.entry = getelementptr i8, ptr %thunk.at, i64 {THUNK_ENTRY}
  store i32 %way, ptr %thunk.entry, align 1
  %thunk.function = getelementptr i8, ptr %thunk.at, i64 {THUNK_FUNCTION}
  store i64 %function, ptr %thunk.function, align 1
  ret i64 %thunk.n
none:
  ret i64 {NO_GOAL}
full:
  ret i64 {NO_NOTE}
}}

; note a link to what is to be done at a program counter, and lead it there: which one of a site it
; is (or that it is none's), and where its distance is
define internal void @lead(ptr %mailbox, i64 %pc, i64 %which, ptr %to, i64 %goal) alwaysinline {{
  {read_word("note", Word.LINKS)}
  %known.p = call ptr @known(ptr %mailbox, i64 %pc)
  %known = load i32, ptr %known.p
  %known64 = zext i32 %known to i64
  %to.n = ptrtoint ptr %to to i64
  %which.up = shl i64 %which, {LINK_BITS}
  %noted = or i64 %to.n, %which.up
  store i64 %noted, ptr %note
  %before = load i32, ptr %to, align 1
  %before64 = zext i32 %before to i64
  %before.up = shl i64 %before64, {HEADER_BITS}
  %second = or i64 %known64, %before.up
  %note.second = getelementptr i64, ptr %note, i64 1
  store i64 %second, ptr %note.second
  %note.next = getelementptr i8, ptr %note, i64 {NOTE.size}
  store ptr %note.next, ptr %note.p
  %end.n = add i64 %to.n, 4
  %distance = sub i64 %goal, %end.n
  %distance32 = trunc i64 %distance to i32
  store i32 %distance32, ptr %to, align 1
  ret void
}}
"""


def _noting(name: str, links: str = "") -> str:
    """A function that notes where a stitched block went, links it as some lines say, and goes on in
    `on`, with nothing pending."""
    low = Lowering()
    low.label = "on"
    chain(low, "%pc")
    go_on = "\n".join(low.lines)
    return f"""
define {CONVENTION} i64 @{name}(ptr %mailbox, i64 %number) {{
entry:
  %pc = call i64 @went(ptr %mailbox, i64 %number)
{links}
  br label %on
on:
{go_on}
}}
"""


def _leading(which: str, to: str) -> str:
    """Lines that link by a distance somewhere, if there is what to link to: go on in `on`, too."""
    return f"""
  %goal = call i64 @goal(ptr %mailbox, i64 %pc)
  switch i64 %goal, label %write [ i64 {NO_GOAL}, label %on i64 {NO_NOTE}, label %full ]
full:
  ret i64 {int(Left.FULL)}
write:
  call void @lead(ptr %mailbox, i64 %pc, i64 {which}, ptr {to}, i64 %goal)"""


def _link() -> str:
    """Give a site a link, if it has one left: if not, it need not come here again."""
    choices = ""
    for n in range(LINKS):
        following = f"link.{n + 1}" if n + 1 < LINKS else "taken"
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
  {read_word("site", Word.PLACE)}
  br label %link.0
{choices}
taken:
  %tail = getelementptr i8, ptr %site, i64 {SITE - 4}
  store i32 {way_on(Word.LEAP)}, ptr %tail, align 1
  br label %on
free:
  %at = phi ptr {ways}
  %which = phi i64 {numbers}
  %tag.p = getelementptr i8, ptr %at, i64 {TAG}
  %to.p = getelementptr i8, ptr %at, i64 {TO}
{_leading("%which", "%to.p")}
  %pc32 = trunc i64 %pc to i32
  store i32 %pc32, ptr %tag.p, align 1"""


def _join() -> str:
    """Lead a jump to where it always goes."""
    return read_word("place", Word.PLACE) + _leading(str(NO_SITE), "%place")


def leaps() -> str:
    """The function that goes on behind a stitched block that has all its links: it leads to many
    places, as a return does. Where to is noted now and then; nothing is settled for stitched code.
    """
    low = Lowering()
    low.label = "probe"
    entry = jump(low, "%to", lambda: low.jump("leave"))
    low.line(f"%linked.p = getelementptr i64, ptr {entry}, i64 3")
    low.line("%linked = load ptr, ptr %linked.p")
    low.likely(low.emit("icmp ne ptr %linked, null"), "leave")
    low.lines += go_on_at("%linked")
    low.start("leave")
    low.lines += go_on_at(f"@{LEAVE}pass", number="%number")
    probe = "\n".join(low.lines)
    return f"""
{LEAVE_PASS}

define {CONVENTION} i64 @leap({PARAMETERS}) {{
entry:
  %to = zext i32 %pc to i64
  %chance = and i64 %remaining, {SELDOM - 1}
  %is_noted = icmp eq i64 %chance, 0
  br i1 %is_noted, label %leave, label %probe, !prof !1
probe:
{probe}
}}
"""


def links(pc: Register) -> str:
    """The functions that note and link where stitched blocks go."""
    return _joining(pc) + _noting("link", _link()) + _noting("join", _join()) + _noting("pass")
