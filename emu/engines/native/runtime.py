"""Native code that handlers and regions call for the rare case, and for repeated string operations.

Each function is LLVM text over the mailbox. Slow accesses go byte by byte through the page tables
(page crossings, pages that hold code); what they cannot do they tell in the mailbox, and nothing
has happened then.
"""

from __future__ import annotations

from emu.engines.native.layout import (
    CODE,
    ELEMENTS,
    LOOKS,
    METADATA,
    PAGE_BITS,
    PAGES,
    READABLE,
    WRITABLE,
    Left,
    Word,
)
from emu.memory import PAGE_MASK, PAGE_SIZE
from isa.hints import Final

_DATA = f"""
%page = type {{ i32, i32 }}

define internal ptr @word(ptr %mailbox, i64 %space, i64 %n) alwaysinline {{
  %first = mul i64 %space, 3
  %sum = add i64 %first, %n
  %at = add i64 %sum, {int(Word.SPACES)}
  %place = getelementptr i64, ptr %mailbox, i64 %at
  %value = load ptr, ptr %place
  ret ptr %value
}}

; the storage of `size` bytes in one page, by one of the tables; null if it does not allow that
define internal ptr @place(ptr %mailbox, i64 %space, i32 %address, i32 %size, i64 %table) alwaysinline {{
  %tables = call ptr @word(ptr %mailbox, i64 %space, i64 1)
  %storage = call ptr @word(ptr %mailbox, i64 %space, i64 0)
  %page = lshr i32 %address, {PAGE_BITS}
  %index = zext i32 %page to i64
  %entry = getelementptr [{PAGES} x %page], ptr %tables, i64 %table, i64 %index
  %tag = load i32, ptr %entry
  %less = sub i32 %size, 1
  %last = add i32 %address, %less
  %wanted = or i32 %last, {PAGE_MASK}
  %hit = icmp eq i32 %tag, %wanted
  %second = getelementptr %page, ptr %entry, i64 0, i32 1
  %offset = load i32, ptr %second
  %moved = add i32 %address, %offset
  %wide = zext i32 %moved to i64
  %found = getelementptr i8, ptr %storage, i64 %wide
  %place = select i1 %hit, ptr %found, ptr null
  ret ptr %place
}}

; the storage of one byte that can be written, in a page with code or without
define internal ptr @writable(ptr %mailbox, i64 %space, i32 %address) {{
  %plain = call ptr @place(ptr %mailbox, i64 %space, i32 %address, i32 1, i64 {WRITABLE})
  %none = icmp eq ptr %plain, null
  br i1 %none, label %code, label %found
found:
  ret ptr %plain
code:
  %other = call ptr @place(ptr %mailbox, i64 %space, i32 %address, i32 1, i64 {CODE})
  ret ptr %other
}}

define internal void @miss(ptr %mailbox, i64 %space, i32 %address, i64 %why) {{
  %place = getelementptr i64, ptr %mailbox, i64 {int(Word.ADDRESS)}
  %wide = zext i32 %address to i64
  %number = shl i64 %space, 32
  %both = or i64 %wide, %number
  store i64 %both, ptr %place
  %missed = getelementptr i64, ptr %mailbox, i64 {int(Word.MISSED)}
  store i64 %why, ptr %missed
  ret void
}}
"""


def _load(name: str, find: str, why: Left) -> str:
    """A load of up to 8 bytes, byte by byte."""
    return f"""
define preserve_mostcc i64 @{name}(ptr %mailbox, i64 %space, i32 %address, i32 %size) {{
entry:
  %missed = getelementptr i64, ptr %mailbox, i64 {int(Word.MISSED)}
  store i64 0, ptr %missed
  br label %loop
loop:
  %i = phi i32 [0, %entry], [%next, %more]
  %value = phi i64 [0, %entry], [%sum, %more]
  %here = add i32 %address, %i
  %place = {find}
  %none = icmp eq ptr %place, null
  br i1 %none, label %miss, label %more
more:
  %byte = load i8, ptr %place
  %wide = zext i8 %byte to i64
  %bits = mul i32 %i, 8
  %shift = zext i32 %bits to i64
  %moved = shl i64 %wide, %shift
  %sum = or i64 %value, %moved
  %next = add i32 %i, 1
  %again = icmp ult i32 %next, %size
  br i1 %again, label %loop, label %done
done:
  ret i64 %sum
miss:
  call void @miss(ptr %mailbox, i64 %space, i32 %here, i64 {int(why)})
  ret i64 0
}}
"""


_STORE = f"""
define preserve_mostcc void @paged_store(ptr %mailbox, i64 %space, i32 %address, i32 %size, i64 %value) {{
entry:
  %missed = getelementptr i64, ptr %mailbox, i64 {int(Word.MISSED)}
  store i64 0, ptr %missed
  %storage = call ptr @word(ptr %mailbox, i64 %space, i64 0)
  %flags = call ptr @word(ptr %mailbox, i64 %space, i64 2)
  %start = ptrtoint ptr %storage to i64
  br label %check
check:
  %i = phi i32 [0, %entry], [%next, %plain]
  %here = add i32 %address, %i
  %place = call ptr @writable(ptr %mailbox, i64 %space, i32 %here)
  %none = icmp eq ptr %place, null
  br i1 %none, label %miss, label %there
there:
  %at = ptrtoint ptr %place to i64
  %index = sub i64 %at, %start
  %flag = getelementptr i8, ptr %flags, i64 %index
  %code = load i8, ptr %flag
  %clear = icmp eq i8 %code, 0
  br i1 %clear, label %plain, label %translated
plain:
  %next = add i32 %i, 1
  %again = icmp ult i32 %next, %size
  br i1 %again, label %check, label %count
count: ; now and then Python looks whether there is still code
  %looks.p = getelementptr i64, ptr %mailbox, i64 {int(Word.LOOKS)}
  %looks = load i64, ptr %looks.p
  %fewer = sub i64 %looks, 1
  store i64 %fewer, ptr %looks.p
  %enough = icmp eq i64 %fewer, 0
  br i1 %enough, label %look, label %write, !prof !1
look:
  store i64 {LOOKS}, ptr %looks.p
  call void @miss(ptr %mailbox, i64 %space, i32 %address, i64 {int(Left.WRITE)})
  ret void
write:
  %j = phi i32 [0, %count], [%following, %write]
  %rest = phi i64 [%value, %count], [%shifted, %write]
  %target = add i32 %address, %j
  %byte = trunc i64 %rest to i8
  %where = call ptr @writable(ptr %mailbox, i64 %space, i32 %target)
  store i8 %byte, ptr %where
  %shifted = lshr i64 %rest, 8
  %following = add i32 %j, 1
  %on = icmp ult i32 %following, %size
  br i1 %on, label %write, label %done
done:
  ret void
miss:
  call void @miss(ptr %mailbox, i64 %space, i32 %here, i64 {int(Left.WRITE)})
  ret void
translated:
  call void @miss(ptr %mailbox, i64 %space, i32 %here, i64 {int(Left.STEP)})
  ret void
}}
"""


def _room(name: str, address: str, size: int) -> str:
    """Whole elements from an address to the end of its page, in the direction of the operation."""
    return f"""
  %{name}.offset = and i32 {address}, {PAGE_MASK}
  %{name}.up = sub i32 {PAGE_SIZE}, %{name}.offset
  %{name}.one = select i1 %backwards, i32 %{name}.offset, i32 %{name}.up
  %{name}.whole = udiv i32 %{name}.one, {size}
  %{name}.plus = zext i1 %backwards to i32
  %{name}.elements = add i32 %{name}.whole, %{name}.plus
  %{name}.room = zext i32 %{name}.elements to i64
"""


def _bulk(
    name: str, width: int, sides: list[tuple[str, int]], value: bool, body: str, one: str
) -> str:
    """A repeated operation on one page of each side; `one` does a single iteration slowly."""
    size = width // 8
    parameters = ", ".join(
        ["ptr %mailbox", "i64 %space", *(f"i32 %{s}" for s, _ in sides)]
        + ([f"i{width} %value"] if value else [])
        + ["i1 %backwards", "i32 %count", "i64 %budget"]
    )
    lines = [f"define i64 @{name}({parameters}) {{", "entry:"]
    lines.append("  %wanted = zext i32 %count to i64")
    lines.append("  %n.0 = call i64 @llvm.umin.i64(i64 %wanted, i64 %budget)")
    for number, (side, table) in enumerate(sides):
        lines.append(
            f"  %{side}.place = call ptr @place(ptr %mailbox, i64 %space, i32 %{side}, "
            f"i32 {size}, i64 {table})"
        )
        lines.append(_room(side, f"%{side}", size))
        lines.append(
            f"  %n.{number + 1} = call i64 @llvm.umin.i64(i64 %n.{number}, i64 %{side}.room)"
        )
        lines.append(f"  %{side}.none = icmp eq ptr %{side}.place, null")
        lines.append(f"  br i1 %{side}.none, label %slow, label %with.{side}")
        lines.append(f"with.{side}:")
    last = f"%n.{len(sides)}"
    lines.append(f"  %stride = select i1 %backwards, i64 -{size}, i64 {size}")
    lines.append(body.replace("%N", last).replace("WITH", f"with.{sides[-1][0]}"))
    lines.append(f"slow:\n{one}\nmissed:\n  ret i64 0\n}}")
    return "\n".join(lines)


_MISSED = f"getelementptr i64, ptr %mailbox, i64 {int(Word.MISSED)}"


def _slow_load(side: str, size: int, number: int) -> str:
    return f"""
  %v{number} = call preserve_mostcc i64 @paged_load(ptr %mailbox, i64 %space, i32 %{side}, i32 {size})
  %m{number} = {_MISSED}
  %w{number} = load i64, ptr %m{number}
  %d{number} = icmp eq i64 %w{number}, 0
  br i1 %d{number}, label %done{number}, label %missed
done{number}:"""


def _slow_store(side: str, size: int, value: str, number: int) -> str:
    return f"""
  call preserve_mostcc void @paged_store(ptr %mailbox, i64 %space, i32 %{side}, i32 {size}, i64 {value})
  %m{number} = {_MISSED}
  %w{number} = load i64, ptr %m{number}
  %d{number} = icmp eq i64 %w{number}, 0
  br i1 %d{number}, label %done{number}, label %missed
done{number}:"""


def _copy(width: int) -> str:
    """See `isa.semantics.Builder.copy`; an overlap that repeats itself goes element by element."""
    size = width // 8
    body = f"""
  %s = ptrtoint ptr %source.place to i64
  %t = ptrtoint ptr %to.place to i64
  %apart = sub i64 %t, %s
  %bytes = mul i64 %N, {size}
  %clear = icmp uge i64 %apart, %bytes
  %forwards = xor i1 %backwards, true
  %whole = and i1 %clear, %forwards
  br i1 %whole, label %move, label %loop
move:
  call void @llvm.memmove.p0.p0.i64(ptr %to.place, ptr %source.place, i64 %bytes, i1 false)
  ret i64 %N
loop:
  %i = phi i64 [0, %WITH], [%next, %loop]
  %at = mul i64 %i, %stride
  %from = getelementptr i8, ptr %source.place, i64 %at
  %element = load i{width}, ptr %from, align 1
  %into = getelementptr i8, ptr %to.place, i64 %at
  store i{width} %element, ptr %into, align 1
  %next = add i64 %i, 1
  %again = icmp ult i64 %next, %N
  br i1 %again, label %loop, label %done
done:
  ret i64 %N"""
    one = _slow_load("source", size, 1) + _slow_store("to", size, "%v1", 2) + "\n  ret i64 1"
    sides = [("source", READABLE), ("to", WRITABLE)]
    return _bulk(f"paged_copy_{width}", width, sides, False, body, one)


def _fill(width: int) -> str:
    """See `isa.semantics.Builder.fill`.

    Up and down are two loops, whose strides LLVM knows: it makes them wide stores. One loop for
    both it makes stores of single elements to places that are computed side by side, and slow.
    """
    up, down = _fill_loop("up", width, width // 8), _fill_loop("down", width, -width // 8)
    body = f"""
  br i1 %backwards, label %down, label %up
{up}{down}
done:
  ret i64 %N"""
    one = f"  %wide = zext i{width} %value to i64" + _slow_store("to", width // 8, "%wide", 1)
    return _bulk(
        f"paged_fill_{width}", width, [("to", WRITABLE)], True, body, one + "\n  ret i64 1"
    )


def _fill_loop(name: str, width: int, stride: int) -> str:
    return f"""
{name}:
  %{name}.i = phi i64 [0, %WITH], [%{name}.next, %{name}]
  %{name}.at = mul i64 %{name}.i, {stride}
  %{name}.into = getelementptr i8, ptr %to.place, i64 %{name}.at
  store i{width} %value, ptr %{name}.into, align 1
  %{name}.next = add i64 %{name}.i, 1
  %{name}.again = icmp ult i64 %{name}.next, %N
  br i1 %{name}.again, label %{name}, label %done"""


def _search(width: int, while_equal: int, both: bool) -> str:
    """`scan` (a value) and `compare` (two places): stop behind the first (un)equal element."""
    load = f"load i{width}, ptr"
    first, sides = "at", [("at", READABLE)]
    other = f"  %b = add i{width} %value, 0"
    if both:
        first, sides = "one", [("one", READABLE), ("other", READABLE)]
        other = f"  %q = getelementptr i8, ptr %other.place, i64 %x\n  %b = {load} %q, align 1"
    body = f"""
  br label %loop
loop:
  %i = phi i64 [0, %WITH], [%next, %more]
  %x = mul i64 %i, %stride
  %p = getelementptr i8, ptr %{first}.place, i64 %x
  %a = {load} %p, align 1
{other}
  %next = add i64 %i, 1
  %go = icmp {"eq" if while_equal else "ne"} i{width} %a, %b
  br i1 %go, label %more, label %done
more:
  %again = icmp ult i64 %next, %N
  br i1 %again, label %loop, label %done
done:
  ret i64 %next"""
    one = "".join(_slow_load(side, width // 8, n) for n, (side, _) in enumerate(sides))
    name = f"paged_{'compare' if both else 'scan'}_{width}_{while_equal}"
    return _bulk(name, width, sides, not both, body, one + "\n  ret i64 1")


_READ = "call ptr @place(ptr %mailbox, i64 %space, i32 %here, i32 1, i64 0)"
_WRITE = "call ptr @writable(ptr %mailbox, i64 %space, i32 %here)"


def _functions() -> list[str]:
    parts = [
        _load("paged_load", _READ, Left.READ),
        _load("paged_load_for_write", _WRITE, Left.WRITE),
    ]
    parts.append(_STORE)
    for width in ELEMENTS:
        parts += [_copy(width), _fill(width)]
        parts += [_search(width, equal, both) for equal in (0, 1) for both in (False, True)]
    return parts


FUNCTIONS: Final = _functions()
SYMBOLS: Final = tuple(f.split("@", 1)[1].split("(", 1)[0] for f in FUNCTIONS)


def _declaration(function: str) -> str:
    line = next(x for x in function.splitlines() if x.startswith("define"))
    head, rest = line.removesuffix(" {").split("(", 1)
    kinds = ", ".join(p.split()[0] for p in rest.rstrip(")").split(", "))
    return f"{head.replace('define', 'declare')}({kinds})"


DECLARED: Final = dict(zip(SYMBOLS, map(_declaration, FUNCTIONS), strict=True))
DECLARATIONS: Final = "\n".join(DECLARED.values())


def source(name: str = "") -> str:
    """The module with all functions, or with one of them, which may call the others."""
    texts = dict(zip(SYMBOLS, FUNCTIONS, strict=True))
    chosen = [text if name in ("", key) else _declaration(text) for key, text in texts.items()]
    return _DATA + "\n".join(chosen) + METADATA
