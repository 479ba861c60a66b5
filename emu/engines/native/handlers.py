"""Tier 1: threaded handlers, one native function for each instruction form.

A block of cold code is a row of decoded records (`decode_tables.RECORD`): a header, one for each
instruction, and an end. A handler takes its operands from its record, works on the registers in
memory, and goes on to the next record's handler. Nothing is compiled for a guest's instruction, so
cold code costs its decoding only.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from emu.engines.native import runtime
from emu.engines.native.decode_tables import RECORD
from emu.engines.native.layout import METADATA, MOST_VALUES, Left, Word
from emu.engines.native.lowering import Lowering
from emu.engines.native.pieces import (
    Memory,
    clock,
    leave_engine,
    load_slot,
    narrow,
    place_missed,
    store_slot,
)
from emu.engines.native.spaces import Space
from isa.bits import Bits
from isa.definition import InstructionSet
from isa.hints import Final
from isa.registers import Register, RegisterFile
from isa.words import mask

PARAMETERS: Final = "ptr %mailbox, ptr %record, ptr %registers, i64 %before"
SIZE: Final = RECORD.size


About = tuple[
    InstructionSet, Hashable, tuple[str, ...], Mapping[str, Space], frozenset[Register], str
]
"""A form and its fields, how memory is reached, what is watched, and the function's symbol."""


class HandlerCompiler:
    """Prints the handler of one form; also the context of its lowering."""

    is_patient = True

    def __init__(
        self,
        isa: InstructionSet,
        form: Hashable,
        fields: tuple[str, ...],
        spaces: Mapping[str, Space],
        watched: frozenset[Register],
        name: str,
    ) -> None:
        self.isa = isa
        self.trace = isa.trace(form)
        self.fields = fields
        self.watched = watched
        self.name = name
        self.reasons: set[str] = set()
        self.low = self._lowering()
        self.memory = Memory(self.low, spaces, isa.spaces)
        self.memory.note(self.trace.region.effects)
        self.load, self.store = self.memory.load, self.memory.store
        self.cold = self.low.cold
        self._leaves: dict[object, str] = {}
        self._indices: dict[str, str] = {}  # fields that select a register, as 64 bits
        self._head: list[str] = []

    def _lowering(self) -> Lowering:
        return Lowering(self)

    @property
    def text(self) -> str:
        """The function."""
        low = self.low
        low.line("%remaining = alloca i64")  # in the first block: LLVM makes registers of those
        low.line("%left = alloca i64")
        low.line("%go = icmp sgt i64 %before, 0")
        low.likely("%go", "budget")
        self._leave("budget", Left.BUDGET)
        self._leave("give_up", Left.STEP)
        low.line("%after = sub i64 %before, 1")
        low.line("store i64 %after, ptr %remaining")
        low.line(f"store i64 {int(Left.DISPATCH)}, ptr %left")
        self._head, low.lines = low.lines, []
        puts = self.trace.puts
        for effect in self.trace.region.effects:
            if effect.op not in ("put", "put_indexed", "undefined"):
                low.effect(effect)
        if not self.trace.region.ends:
            self._finish(puts)
        body, low.lines = low.lines, []
        self._spaces()
        head = [*self._head, *low.lines]
        define = f"define i64 @{self.name}({PARAMETERS}) {{\nentry:"
        return "\n".join([define, *head, *body, *self.cold, "}"])

    def _leave(self, label: str, why: Left) -> None:
        """A cold block that leaves before the instruction."""
        self.cold += [
            f"{label}:", "  store i64 %before, ptr %mailbox", f"  ret i64 {int(why)}",
        ]  # fmt: skip

    def _spaces(self) -> None:
        low = self.low
        self.memory.words()
        low.line(f"%missed = getelementptr i64, ptr %mailbox, i64 {int(Word.MISSED)}")
        low.line(f"%address = getelementptr i64, ptr %mailbox, i64 {int(Word.ADDRESS)}")

    def _finish(self, puts: list[Bits]) -> None:
        """Change the registers, then leave or go on to the next record."""
        low = self.low
        values = [(put, [low.value(a) for a in put.args]) for put in puts]
        for put, texts in values:
            self._put(put, texts)
        looks = bool(self.trace.written() & self.watched)
        if looks or self.reasons:
            self._maybe_leave(looks)
        low.line(f"%next = getelementptr i8, ptr %record, i64 {SIZE}")
        remaining = low.emit("load i64, ptr %remaining")
        result = call_handler(low, "%next", "%registers", remaining, "musttail call")
        low.line(f"ret i64 {result}")

    def _maybe_leave(self, looks: bool) -> None:
        low = self.low
        left = low.emit("load i64, ptr %left")
        stays = low.emit(f"icmp eq i64 {left}, {int(Left.DISPATCH)}")
        if looks:
            left = low.emit(f"select i1 {stays}, i64 {int(Left.LOOK)}, i64 {left}")
            stays = "false"
        on, off = low.fresh("stays"), low.fresh("leaves")
        low.branch(stays, on, off)
        low.start(off)
        low.line(f"store i64 {low.emit('load i64, ptr %remaining')}, ptr %mailbox")
        low.line(f"ret i64 {left}")
        low.start(on)

    def _put(self, put: Bits, texts: list[str]) -> None:
        low = self.low
        if put.op == "put":
            place = low.emit(f"getelementptr i64, ptr %registers, i64 {put.attribute.slot}")
        else:
            place = self._indexed(put.attribute, put.args[0].width, texts[0])
        store_slot(low, put.attribute.width, texts[-1], place)

    def _indexed(self, file: RegisterFile, width: int, index: str) -> str:
        first = file.members[0].slot
        wide = self._indices.get(index) or self.low.emit(f"zext i{width} {index} to i64")
        at = self.low.emit(f"add i64 {wide}, {first}")
        return self.low.emit(f"getelementptr i64, ptr %registers, i64 {at}")

    # -- what the lowering asks ------------------------------------------------------------------

    def _leaf(self, key: object, lines: list[str], name: str) -> str:
        """A value read once, at the head of the function, so that it is known everywhere."""
        if key not in self._leaves:
            self._head += lines
            self._leaves[key] = name
        return self._leaves[key]

    def get(self, register: Register) -> str:
        """See `Context`."""
        name, slot = f"%get{register.slot}", register.slot
        lines = [f"  {name}.p = getelementptr i64, ptr %registers, i64 {slot}"]
        lines += narrow(name, register.width)
        return self._leaf(register, lines, name)

    def get_indexed(self, node: Bits, index: str) -> str:
        """See `Context`."""
        place = self._indexed(node.attribute[0], node.args[0].width, index)
        return load_slot(self.low, node.width, place)

    def _word_of(self, field: str) -> int:
        """Which 32-bit word of a record has a field."""
        return SIZE // 4 - 1 if field == "length" else 1 + self.fields.index(field)

    def field(self, name: str, width: int) -> str:
        """See `Context`."""
        word = self._word_of(name)
        text = f"%field.{name}.{width}"
        lines = [
            f"  {text}.p = getelementptr i32, ptr %record, i64 {word}",
            f"  {text}.w = load i32, ptr {text}.p",
        ]
        if width == 32:
            return self._leaf((name, width), lines, f"{text}.w")
        if width < 8:  # LLVM in a hurry is slow with widths that are no processor's
            lines.append(f"  {text}.m = and i32 {text}.w, {mask(width)}")
            lines.append(f"  {text}.x = zext i32 {text}.m to i64")
            self._indices[text] = f"{text}.x"
        op = "trunc" if width < 32 else "zext"
        lines.append(f"  {text} = {op} i32 {text}.w to i{width}")
        return self._leaf((name, width), lines, text)

    def clock(self) -> str:
        """See `Context`."""
        return clock(self.low, "%before")

    def given_up(self) -> str:
        """See `Context`."""
        return "give_up"

    def missed(self) -> str:
        """See `Context`."""
        label, why = self.low.fresh("missed"), self.low.fresh("why")
        self.cold += [
            f"{label}:", "  store i64 %before, ptr %mailbox",
            f"  %{why} = load i64, ptr %missed", f"  ret i64 %{why}",
        ]  # fmt: skip
        return label

    def missed_at(self, address: str, why: Left, space: int = 0) -> str:
        """See `Context`."""
        label, wide = self.low.fresh("miss"), self.low.fresh("at")
        self.cold += [
            f"{label}:", *place_missed(wide, address, space),
            f"  store i64 %{wide}, ptr %address", "  store i64 %before, ptr %mailbox",
            f"  ret i64 {int(why)}",
        ]  # fmt: skip
        return label

    def bulk(self, node: Bits, arguments: list[str]) -> str:
        """See `Context`."""
        return self.memory.space_of(node).bulk(self.low, node, arguments, "%before")

    def exit(self, node: Bits, values: list[str]) -> None:
        """See `Context`."""
        self.reasons.add(f"{node.attribute}/{len(values)}")
        assert len(values) <= MOST_VALUES
        leave_engine(self.low, node, values)

    def retire(self, count: str, width: int) -> None:
        """See `Context`."""
        wide = self.low.emit(f"zext i{width} {count} to i64") if width < 64 else count
        self.low.line(f"store i64 {self.low.emit(f'sub i64 %before, {wide}')}, ptr %remaining")


def call_handler(low: Lowering, record: str, registers: str, remaining: str, how: str) -> str:
    """Go on with a record's handler."""
    form = low.emit(f"zext i32 {low.emit(f'load i32, ptr {record}')} to i64")
    at = low.emit(f"getelementptr i64, ptr %mailbox, i64 {int(Word.HANDLERS)}")
    table = low.emit(f"load ptr, ptr {at}")
    handler = low.emit(f"load ptr, ptr {low.emit(f'getelementptr ptr, ptr {table}, i64 {form}')}")
    arguments = f"ptr %mailbox, ptr {record}, ptr {registers}, i64 {remaining}"
    return low.emit(f"{how} i64 {handler}({arguments})")


def module(texts: Sequence[str], declarations: Iterable[str] = ()) -> str:
    """A module of functions, with what they call."""
    text = "\n".join(texts)
    called = [line for name, line in runtime.DECLARED.items() if f"@{name}(" in text]
    return "\n".join([text, *declarations, *called, METADATA])


def module_of(handlers: Sequence[HandlerCompiler], more: Iterable[str]) -> str:
    """A module of handlers, and of more functions."""
    texts = [*(handler.text for handler in handlers), *more]
    return module(texts, sorted(set().union(*(h.low.declarations for h in handlers))))
