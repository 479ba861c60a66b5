"""Pieces of LLVM text that regions and handlers share: the mailbox, exits, the jump cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from emu.engines.native.layout import (
    CONVENTION,
    JUMP_WORDS,
    JUMPS,
    PORT_READ,
    Left,
    Word,
    number_of,
)
from emu.engines.native.lowering import Lowering
from emu.engines.native.spaces import Space, first_word
from isa.bits import Bits
from isa.hints import TYPE_CHECKING, Final
from isa.trace import Trace

if TYPE_CHECKING:
    from emu.engines.native.spans import Span

PORT: Final = "port"  # the address space that engines leave by


class Memory:
    """The address spaces that a function under way reaches."""

    def __init__(
        self, low: Lowering, spaces: Mapping[str, Space], units: Mapping[str, int]
    ) -> None:
        self._low = low
        self.spaces = spaces
        self._units = units
        self._used: dict[int, Space] = {}
        self._spanned = {name: units[name] for name, space in spaces.items() if space.spans}
        self._spans: dict[int, Span] = {}
        self._written: set[int] = set()  # ids of loads, see `note`

    def space_of(self, node: Bits) -> Space:
        """The space of an access, which the function will need."""
        space = self.spaces[node.attribute[0]]
        self._used[space.number] = space
        return space

    def begin(self, effects: Iterable[Bits]) -> None:
        """A block begins that has these effects: see `spans`."""
        from emu.engines.native.spans import spans_of  # what only a compiler needs

        self._spans = spans_of(effects, self._spanned)

    def note(self, effects: Iterable[Bits]) -> None:
        """An instruction has these effects: what it loads and then stores again, whatever happens,
        needs no look whether that can be done."""
        last: Bits | None = None
        for effect in effects:
            if effect.op == "load_for_write":
                last = effect
            elif effect.op == "store" and last is not None and _same_place(last, effect):
                self._written.add(id(last))
            elif effect.op not in ("put", "put_indexed", "undefined"):
                last = None
            if effect.op == "when":
                self.note(effect.attribute.region.effects)

    def load(self, node: Bits, address: str) -> str:
        """See `Context`."""
        if node.attribute[0] == PORT:
            return self._read_port(node, address)
        span, written = self._spans.get(id(node)), id(node) in self._written
        return self.space_of(node).load(self._low, node, address, span, written=written)

    def _read_port(self, node: Bits, address: str) -> str:
        """What was replied; if nothing was, leave before the instruction and ask."""
        low, width, wide = self._low, node.width, node.args[0].width
        size = node.attribute[1] // self._units[PORT]
        tell(low, PORT_READ, [f"i{wide} {address}", f"i32 {size}"])
        at = low.emit(f"getelementptr i64, ptr %mailbox, i64 {int(Word.REPLIED)}")
        port = address if wide == 32 else low.emit(f"zext i{wide} {address} to i32")
        replied = low.emit(f"icmp ne i64 {low.emit(f'load i64, ptr {at}')}, 0")
        low.likely(replied, low.context.missed_at(port, Left.ASK))
        low.line(f"store i64 0, ptr {at}")
        at = low.emit(f"getelementptr i64, ptr %mailbox, i64 {int(Word.REPLY)}")
        value = low.emit(f"load i64, ptr {at}")
        return low.emit(f"trunc i64 {value} to i{width}") if width < 64 else value

    def store(self, node: Bits, address: str, value: str) -> None:
        """See `Context`."""
        if exits(node):
            size = Bits.of(node.attribute[1] // self._units[PORT], 32)
            written = Bits("exit", 0, (node.args[0], size, node.args[1]), "port_write")
            self._low.context.exit(written, [address, str(size.value), value])
            return
        span = self._spans.get(id(node))
        self.space_of(node).store(self._low, node, address, value, span)

    def words(self, passed: int = -1) -> None:
        """Name what the spaces that were used have in the mailbox, but for one (by its number)
        whose %tables and %storage are the function's parameters."""
        for number in sorted(self._used):
            if number == passed:
                _passed_words(self._low, number)
            else:
                _space_words(self._low, self._used[number])


def _same_place(load: Bits, store: Bits) -> bool:
    """Whether a store writes to just what was loaded."""
    return load.attribute == store.attribute and load.args[0] is store.args[0]


def _space_words(low: Lowering, space: Space) -> None:
    first = first_word(space.number)
    names = ("storage", "tables", "watched") if space.paged else ("storage", "size", "watched")
    for n, name in enumerate(names):
        kind = "i64" if name == "size" else "ptr"
        word = first + n if n else space.base
        at = low.emit(f"getelementptr i64, ptr %mailbox, i64 {word}")
        low.line(f"%space{space.number}.{name} = load {kind}, ptr {at}")


def _passed_words(low: Lowering, number: int) -> None:
    for name in ("tables", "storage"):
        low.line(f"%space{number}.{name} = getelementptr i8, ptr %{name}, i64 0")


def read_word(name: str, word: int, kind: str = "ptr") -> str:
    """Lines that read a word of the mailbox: %name."""
    return f"""
  %{name}.p = getelementptr i64, ptr %mailbox, i64 {int(word)}
  %{name} = load {kind}, ptr %{name}.p"""


def read_field(name: str, header: str, word: int, kind: str = "i32") -> str:
    """Lines that read a 32-bit word of a header, or more from there on: %name."""
    return f"""
  %{name}.p = getelementptr i32, ptr {header}, i64 {int(word)}
  %{name} = load {kind}, ptr %{name}.p"""


def _bits(width: int) -> int:
    """How many bits of a slot a register of some width takes: the others are 0. Who reads more than
    was written last would make the processor wait for that to reach its cache, and what is as wide
    as its own registers it passes on at once (AMD's and Intel's do)."""
    return 32 if width <= 32 else 64


_LOAD: Final = "load volatile"  # for LLVM to read and write a slot as wide as it is told to


def narrow(name: str, width: int) -> list[str]:
    """Load a register of so many bits from its 64-bit slot `name`.p."""
    bits = _bits(width)
    if bits == width:
        return [f"  {name} = {_LOAD} i{bits}, ptr {name}.p"]
    load = f"  {name}.w = {_LOAD} i{bits}, ptr {name}.p"
    return [load, f"  {name} = trunc i{bits} {name}.w to i{width}"]


def load_slot(low: Lowering, width: int, place: str, load: str = _LOAD) -> str:
    """Load a register of so many bits from its slot."""
    bits = _bits(width)
    value = low.emit(f"{load} i{bits}, ptr {place}")
    return value if bits == width else low.emit(f"trunc i{bits} {value} to i{width}")


def store_slot(low: Lowering, width: int, value: str, place: str) -> None:
    """Store a register's value in its slot."""
    bits = _bits(width)
    if width < bits:
        value = low.emit(f"zext i{width} {value} to i{bits}")
    low.line(f"store volatile i{bits} {value}, ptr {place}")


def exits(node: Bits) -> bool:
    """Whether an effect lets the guest leave the engine: an exit, or a write to a port."""
    return node.op == "exit" or (node.op == "store" and node.attribute[0] == PORT)


def reads_port(trace: Trace) -> bool:
    """Whether a form reads a port, and nothing comes after that or leaves besides."""
    effects = [e for e in trace.region.effects if e.op not in ("put", "put_indexed", "undefined")]
    reads = [n for n in trace.walk() if n.op == "load" and n.attribute[0] == PORT]
    last = len(reads) == 1 and effects[-1] is reads[0] and reads[0].args[0].width <= 32
    return last and not any(map(exits, trace.walk()))


def leave(low: Lowering, why: str) -> None:
    """Return to the engine, but let the gate have an exit of the guest's own, and `Word.LOOK` what
    wants a look at the state."""
    after = low.emit(f"icmp eq i64 {why}, {int(Left.EXIT)}")
    before = low.emit(f"icmp eq i64 {why}, {int(Left.ASK)}")
    _through(low, low.emit(f"or i1 {after}, {before}"), Word.GATE, why)
    _through(low, low.emit(f"icmp eq i64 {why}, {int(Left.LOOK)}"), Word.LOOK, why)
    low.line(f"ret i64 {why}")


def go_on_in(low: Lowering, function: str, given: str) -> None:
    """Go on in a function, which returns instead of this one, with a number (i64)."""
    result = low.emit(f"musttail call {CONVENTION} i64 {function}(ptr %mailbox, i64 {given})")
    low.line(f"ret i64 {result}")


def _through(low: Lowering, condition: str, word: Word, why: str) -> None:
    """On a condition go on in the function that a word of the mailbox has, if it has one."""
    at = low.emit(f"getelementptr i64, ptr %mailbox, i64 {int(word)}")
    function = low.emit(f"load ptr, ptr {at}")
    is_there = low.emit(f"icmp ne ptr {function}, null")
    through, back = low.fresh("through"), low.fresh("back")
    low.branch(low.emit(f"and i1 {condition}, {is_there}"), through, back)
    low.start(through)
    go_on_in(low, function, why)
    low.start(back)


def leave_engine(low: Lowering, node: Bits, values: list[str]) -> None:
    """Tell the mailbox about an exit of the guest's own; `%left` says that there is one."""
    low.line(f"store i64 {int(Left.EXIT)}, ptr %left")
    reason = f"{node.attribute}/{len(values)}"
    tell(low, reason, [f"i{a.width} {t}" for t, a in zip(values, node.args, strict=True)])


def clock(low: Lowering, remaining: str) -> str:
    """The count at which so many instructions remain, besides those that wait for the lock."""
    count = ""
    for number in (Word.END, Word.LATER):
        at = low.emit(f"getelementptr i64, ptr %mailbox, i64 {int(number)}")
        word = low.emit(f"load i64, ptr {at}")
        count = low.emit(f"sub i64 {count}, {word}") if count else word
    return low.emit(f"sub i64 {count}, {remaining}")


def tell(low: Lowering, reason: str, values: list[str]) -> None:
    """Store the reason (with its number of values) and the values (with their types)."""
    texts = [f"i64 {number_of(reason)}"]
    for value in values:
        kind, text = value.split(" ")
        narrow = kind != "i64" and not text.isdigit()
        texts.append(f"i64 {low.emit(f'zext {value} to i64') if narrow else text}")
    for n, text in enumerate(texts):
        word = Word.VALUES + n - 1 if n else Word.REASON
        at = low.emit(f"getelementptr i64, ptr %mailbox, i64 {int(word)}")
        low.line(f"store {text}, ptr {at}")


def chain(low: Lowering, target: str) -> None:
    """Probe the jump cache for native code at a program counter (i64), and go there; whoever
    discovers blocks (`Word.DISPATCH`), if anybody does, helps where it has none."""
    entry = jump(low, target, lambda: _discover(low, target))
    function = low.emit(f"load ptr, ptr {low.emit(f'getelementptr i64, ptr {entry}, i64 1')}")
    number = low.emit(f"load i64, ptr {low.emit(f'getelementptr i64, ptr {entry}, i64 2')}")
    go_on_in(low, function, number)


def jump(low: Lowering, target: str, lost: Callable[[], None]) -> str:
    """The entry of the jump cache for a program counter (i64); `lost` goes on if there is none."""
    scaled = low.emit(f"mul i64 {target}, {JUMP_WORDS}")
    index = low.emit(f"and i64 {scaled}, {(JUMPS - 1) * JUMP_WORDS}")
    at = low.emit(f"getelementptr i64, ptr %mailbox, i64 {int(Word.JUMPS)}")
    jumps = low.emit(f"load ptr, ptr {at}")
    first = low.emit(f"getelementptr i64, ptr {jumps}, i64 {index}")
    before, other, found = low.label, low.fresh("other"), low.fresh("found")
    low.branch(_is_entry(low, first, target), found, other)
    low.start(other)
    beside = low.emit(f"xor i64 {index}, {JUMP_WORDS}")
    second = low.emit(f"getelementptr i64, ptr {jumps}, i64 {beside}")
    nowhere = low.fresh("lost")
    low.branch(_is_entry(low, second, target), found, nowhere)
    low.start(nowhere)
    lost()
    low.start(found)
    return low.emit(f"phi ptr [{first}, %{before}], [{second}, %{other}]")


def _discover(low: Lowering, target: str) -> None:
    at = low.emit(f"getelementptr i64, ptr %mailbox, i64 {int(Word.DISPATCH)}")
    function = low.emit(f"load ptr, ptr {at}")
    discover, leave = low.fresh("discover"), low.fresh("nobody")
    low.branch(low.emit(f"icmp ne ptr {function}, null"), discover, leave)
    low.start(leave)
    low.line(f"ret i64 {int(Left.DISPATCH)}")
    low.start(discover)
    go_on_in(low, function, target)


def _is_entry(low: Lowering, entry: str, target: str) -> str:
    """Whether an entry of the jump cache is for a program counter."""
    tag = low.emit(f"load i64, ptr {entry}")
    return low.emit(f"icmp eq i64 {tag}, {target}")


def place_missed(name: str, address: str, space: int) -> list[str]:
    """Lines that make %name a 32-bit address and, above it, the number of its space."""
    if not space:
        return [f"  %{name} = zext i32 {address} to i64"]
    return [
        f"  %{name}.low = zext i32 {address} to i64",
        f"  %{name} = or i64 %{name}.low, {space << 32}",
    ]
