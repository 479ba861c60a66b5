"""Puts compiled code into this process: in memory of our own, or by LLVM's linker elsewhere.

Linking code that was compiled in an earlier run needs no LLVM, which takes longer to load than
many a guest runs. Dropping a `Library` frees its code.
"""

from __future__ import annotations

from emu.engines.native.cache import DiskCache
from emu.engines.native.executable import ALIGNMENT, Arena, arena
from emu.engines.native.image import Image
from emu.engines.native.names import digest
from emu.foreign import c_int32, place_of
from isa.hints import Any, Callable, Final, Iterable, Mapping, Protocol, Sequence
from isa.light import cache, partial

MOST_LINKED: Final = 250  # libraries of one of LLVM's linkers: it keeps 9 KiB of each for ever
FAR: Final = b"\xff\x25\0\0\0\0"  # jmp [rip]: to the address behind it


class Library(Protocol):
    """Placed code: the addresses of its functions, as long as it lives."""

    addresses: dict[str, int]


class Placed:
    """Code in the arena, freed with this object."""

    def __init__(self, arena: Arena, start: int, size: int, symbols: Mapping[str, int]) -> None:
        self._arena, self._start, self._size = arena, start, size
        self.addresses = {name: arena.address + start + at for name, at in symbols.items()}

    def __del__(self) -> None:
        self._arena.free(self._start, self._size)


class Linker:
    """Puts images into this process: into the arena if there is one, objects by LLVM's linker."""

    def __init__(self, arena: Arena | None) -> None:
        self._arena = arena
        self._known: dict[str, int] = {}
        self._functions: dict[str, Image] = {}  # of ours, that others call
        self._kept: list[Library] = []  # what others call
        self._orc: Any = None
        if arena is not None:
            self._know(_far_calls(("memmove", "memset", "memcpy")))
        else:
            from emu.engines.native import runtime  # with its texts

            self._know(kept(DiskCache.users(), "runtime", runtime.source, runtime.SYMBOLS))

    def _know(self, image: Image) -> None:
        self._kept.append(self.link(image))
        self._known |= self._kept[-1].addresses

    def link(self, image: Image) -> Library:
        """Place an image; raises MemoryError if there is no room."""
        if image.is_object or self._arena is None:
            return self._by_llvm(image)
        self._know_called(image)
        start, size = self._arena.put(image.code)
        library = Placed(self._arena, start, size, image.symbols)
        for at, name, addend in image.imports:
            place = self._arena.address + start + at
            c_int32.from_address(place).value = self._known[name] + addend - place
        return library

    def _know_called(self, image: Image) -> None:
        """Compile or fetch the functions that an image calls: a guest needs few of them."""
        for _, name, _ in image.imports:
            self.address(name)

    def address(self, name: str) -> int:
        """Where a function is that compiled code calls."""
        if name not in self._known:
            file, text = digest(name.encode()), partial(_source, name)
            found = kept(DiskCache.users(), file, text, [name])
            self._functions[name] = found
            self._know(found)
        return self._known[name]

    def called(self, image: Image) -> list[Image]:
        """The functions of ours that a placed image calls, and those that they call."""
        found: dict[str, Image] = {}
        waiting = [image]
        while waiting:
            for _, name, _ in waiting.pop().imports:
                function = self._functions.get(name)
                if function is not None and name not in found and not function.is_object:
                    found[name] = function
                    waiting.append(function)
        return list(found.values())

    def _by_llvm(self, image: Image) -> Library:
        from emu.engines.native.orc import OrcLinker

        if self._orc is None or self._orc.linked >= MOST_LINKED:
            self._orc = OrcLinker()
        library: Library = self._orc.link(image, self._known)
        return library


def _far_calls(names: Sequence[str]) -> Image:
    """Jumps to functions of the C library, which may lie out of reach."""
    code = b""
    for name in names:
        code += (FAR + place_of(name).to_bytes(8, "little")).ljust(ALIGNMENT, b"\xcc")
    return Image(code, {name: n * ALIGNMENT for n, name in enumerate(names)})


def _source(name: str) -> str:
    """The module of a function of ours: of the run-time library, or of the IR."""
    from emu.engines.native import runtime, shared  # the code is on the disk but once

    return runtime.source(name) if name in runtime.SYMBOLS else shared.source(name)


@cache
def linker() -> Linker:
    """The process's linker."""
    return Linker(arena())


def kept(disk: DiskCache, name: str, text: Callable[[], str], exports: Iterable[str]) -> Image:
    """A whole module of ours, compiled once for all runs; `text` is called if it must be."""
    found = disk.load(name)
    if found is not None:
        return Image.of(*found)
    from emu.engines.native.compiler import borrowed

    with borrowed() as compiler:
        image = compiler.whole(text(), exports)
    disk.save(name, image.head(), image.code)
    return image
