"""Pieces of LLVM text that regions and handlers share: the mailbox, exits, the jump cache."""

from __future__ import annotations

from collections.abc import Mapping

from emu.engines.native.layout import JUMP_WORDS, JUMPS, Left, Word, number_of
from emu.engines.native.lowering import Lowering
from emu.engines.native.spaces import Space
from isa.bits import Bits


class Memory:
    """The address spaces that a function under way reaches."""

    def __init__(self, low: Lowering, spaces: Mapping[str, Space]) -> None:
        self._low = low
        self._spaces = spaces
        self._used: dict[int, Space] = {}

    def space_of(self, node: Bits) -> Space:
        """The space of an access, which the function will need."""
        space = self._spaces[node.attribute[0]]
        self._used[space.number] = space
        return space

    def load(self, node: Bits, address: str) -> str:
        """See `Context`."""
        return self.space_of(node).load(self._low, node, address)

    def store(self, node: Bits, address: str, value: str) -> None:
        """See `Context`."""
        self.space_of(node).store(self._low, node, address, value)

    def words(self) -> None:
        """Name what the spaces that were used have in the mailbox."""
        for number in sorted(self._used):
            _space_words(self._low, self._used[number])


def _space_words(low: Lowering, space: Space) -> None:
    first = Word.SPACES + 3 * space.number
    names = ("storage", "tables", "watched") if space.paged else ("storage", "size", "watched")
    for n, name in enumerate(names):
        kind = "i64" if name == "size" else "ptr"
        at = low.emit(f"getelementptr i64, ptr %mailbox, i64 {first + n}")
        low.line(f"%space{space.number}.{name} = load {kind}, ptr {at}")


def leave_engine(low: Lowering, node: Bits, values: list[str]) -> None:
    """Tell the mailbox about an exit of the guest's own; `%left` says that there is one."""
    low.line(f"store i64 {int(Left.EXIT)}, ptr %left")
    numbers = [str(number_of(f"{node.attribute}/{len(values)}"))]
    for text, argument in zip(values, node.args, strict=True):
        wide = argument.width == 64
        numbers.append(text if wide else low.emit(f"zext i{argument.width} {text} to i64"))
    for n, text in enumerate(numbers):
        at = low.emit(f"getelementptr i64, ptr %mailbox, i64 {Word.REASON + n}")
        low.line(f"store i64 {text}, ptr {at}")


def chain(low: Lowering, target: str) -> None:
    """Probe the jump cache for native code at a program counter (i64), and go there."""
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
    lost = low.fresh("lost")
    low.branch(_is_entry(low, second, target), found, lost)
    low.start(lost)
    low.line(f"ret i64 {int(Left.DISPATCH)}")
    low.start(found)
    entry = low.emit(f"phi ptr [{first}, %{before}], [{second}, %{other}]")
    function = low.emit(f"load ptr, ptr {low.emit(f'getelementptr i64, ptr {entry}, i64 1')}")
    number = low.emit(f"load i64, ptr {low.emit(f'getelementptr i64, ptr {entry}, i64 2')}")
    result = low.emit(f"musttail call i64 {function}(ptr %mailbox, i64 {number})")
    low.line(f"ret i64 {result}")


def _is_entry(low: Lowering, entry: str, target: str) -> str:
    """Whether an entry of the jump cache is for a program counter."""
    tag = low.emit(f"load i64, ptr {entry}")
    return low.emit(f"icmp eq i64 {tag}, {target}")
