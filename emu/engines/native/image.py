"""Compiled code as bytes that can lie anywhere: made of object code by `movable`, kept on the disk.

An image is the object's code and constants one behind the other, with every reference between them
settled, so that only calls of functions elsewhere are left to be filled in when it is placed.
"""

from __future__ import annotations

from emu.engines.native.executable import ALIGNMENT
from isa.hints import Any, Iterable, Sequence
from isa.record import NamedTuple


class Image(NamedTuple):
    """Code, where its functions begin, and which calls lead out of it.

    `imports` are (offset of 32 bits in the code, symbol, addend): there goes the distance to the
    symbol. If `is_object`, `code` is object code for LLVM's linker instead.
    """

    code: bytes | memoryview
    symbols: dict[str, int]
    imports: Sequence[tuple[int, str, int]] = ()
    is_object: bool = False

    def head(self) -> dict[str, Any]:
        """Everything but the code, for the cache."""
        return {"symbols": self.symbols, "imports": self.imports, "is_object": self.is_object}

    @staticmethod
    def of(head: dict[str, Any], code: bytes | memoryview) -> Image:
        """From what `head` told."""
        imports = [(at, name, addend) for at, name, addend in head["imports"]]
        return Image(code, head["symbols"], imports, head["is_object"])


def object_image(object_code: bytes, exports: Iterable[str]) -> Image:
    """Object code that is left to LLVM's linker."""
    return Image(object_code, dict.fromkeys(exports, 0), is_object=True)


def joined(images: Iterable[Image]) -> Image:
    """One image of several that can be moved; calls from one of them into another are settled."""
    code = bytearray()
    symbols: dict[str, int] = {}
    imports: list[tuple[int, str, int]] = []
    for image in images:
        code += bytes(-len(code) % ALIGNMENT)
        start = len(code)
        code += image.code
        symbols |= {name: start + at for name, at in image.symbols.items()}
        imports += [(start + at, name, addend) for at, name, addend in image.imports]
    for at, name, addend in imports:
        if name in symbols:
            distance = symbols[name] + addend - at
            code[at : at + 4] = distance.to_bytes(4, "little", signed=True)
    return Image(bytes(code), symbols, [one for one in imports if one[1] not in symbols])
