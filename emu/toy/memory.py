"""Storage of a word-addressed machine: the paper's E, on numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from emu.late import np
from isa.fault import Fault
from isa.toy.traps import Trap
from isa.words import mask

CodeListener = Callable[[int, int], None]
"""Called as listener(address, size) after watched words were written."""


class WordMemory:
    """`words` words of `width` bits, at most 32; `array` is the storage itself.

    `watch` marks words that hold translated code; a write to any of them calls the listeners.
    """

    def __init__(self, words: int, width: int = 32) -> None:
        self.size = words
        self.mask = mask(width)
        self.width = width
        self.array = np.zeros(words, dtype=np.uint32)
        self.view = memoryview(self.array)  # type: ignore[arg-type]  # numpy's stubs lack Buffer
        self.watched = bytearray(words)  # one flag for each word
        self.listeners: list[CodeListener] = []

    def load(self, address: int, size: int) -> int | Fault:
        """Read `size` words, the first one lowest."""
        if address + size > self.size:
            return Fault(Trap.MEMORY, address=address)
        value = 0
        for i in range(size):
            value |= self.view[address + i] << i * self.width
        return value

    def load_for_write(self, address: int, size: int) -> int | Fault:
        """The same: what can be read here can be written."""
        return self.load(address, size)

    def store(self, address: int, size: int, value: int) -> Fault | None:
        """Write `size` words."""
        if address + size > self.size:
            return Fault(Trap.MEMORY, address=address)
        self.write(address, [value >> i * self.width & self.mask for i in range(size)])
        return None

    def fetch(self, address: int, size: int) -> tuple[bytes, Fault | None]:
        """Read up to `size` words of code, four little-endian bytes each."""
        code = b"".join(w.to_bytes(4, "little") for w in self.view[address : address + size])
        missing = address + size - self.size
        return code, Fault(Trap.MEMORY, address=self.size) if missing > 0 else None

    def read(self, address: int, size: int) -> list[int]:
        """Words for the host; fewer at the end of storage."""
        return self.view[address : address + size].tolist()

    def write(self, address: int, words: Iterable[int]) -> None:
        """Write words from the host (loaders, devices); raises IndexError outside of storage."""
        end = address
        for word in words:
            self.view[end] = word & self.mask
            end += 1
        if 1 in self.watched[address:end]:
            for listener in self.listeners:
                listener(address, end - address)

    def copy(self) -> WordMemory:
        """The same words in storage of their own; nobody listens to it."""
        twin = WordMemory(self.size, self.width)
        twin.array[:] = self.array
        return twin

    def unwatch(self, address: int, size: int) -> None:
        """Take the mark off words: what was translated from them is forgotten."""
        self.watched[address : address + size] = bytes(size)

    @property
    def flags(self) -> memoryview:
        """One byte a word: 1 if it holds translated code."""
        return memoryview(self.watched)

    def watch(self, address: int, size: int) -> None:
        """Mark words as translated code."""
        self.watched[address : address + size] = b"\1" * size

    def is_code(self, address: int, size: int) -> bool:
        """Tell whether any of the words holds translated code."""
        return 1 in self.watched[address : address + size]


class WindowMemory(WordMemory):
    """`words` words of another storage from `base` on, under addresses that start at 0.

    Nothing is copied. Writes go through the storage below, so that whoever watches it notices; its
    own listeners are told of watched words that anybody wrote.
    """

    def __init__(self, below: WordMemory, base: int, words: int) -> None:
        if not 0 <= base <= base + words <= below.size:
            raise ValueError(f"words {base}..{base + words} do not lie in {below.size} words")
        self.size = words
        self.mask = below.mask
        self.width = below.width
        self.array = below.array[base : base + words]
        self.view = below.view[base : base + words]
        self.listeners = []
        self.below = below
        self.base = base
        below.listeners.append(self._changed_below)

    def close(self) -> None:
        """Nobody uses this window any more."""
        self.below.listeners.remove(self._changed_below)

    def _changed_below(self, address: int, size: int) -> None:
        start, end = max(address - self.base, 0), min(address + size - self.base, self.size)
        if start < end:
            for listener in self.listeners:
                listener(start, end - start)

    def write(self, address: int, words: Iterable[int]) -> None:
        """Write words from the host; raises IndexError outside of the window."""
        words = list(words)
        if address + len(words) > self.size:
            raise IndexError(f"{len(words)} words do not fit at {address}")
        self.below.write(self.base + address, words)

    @property
    def flags(self) -> memoryview:
        """One byte a word: 1 if it holds translated code, at whatever level."""
        return self.below.flags[self.base : self.base + self.size]

    def unwatch(self, address: int, size: int) -> None:
        """Take the mark off words."""
        self.below.unwatch(self.base + address, size)

    def watch(self, address: int, size: int) -> None:
        """Mark words as translated code."""
        self.below.watch(self.base + address, size)

    def is_code(self, address: int, size: int) -> bool:
        """Tell whether any of the words holds translated code, at whatever level."""
        return self.below.is_code(self.base + address, size)
