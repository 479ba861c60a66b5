"""LLVM's own linker, for hosts that `linking.Arena` does not serve."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import llvmlite.binding as llvm

from emu.engines.native.compiler import machine
from emu.engines.native.image import Image
from emu.engines.native.layout import BEST
from isa.hints import Any

_names = itertools.count()


class OrcLibrary:
    """Linked object code."""

    def __init__(self, tracker: Any, image: Image, linker: OrcLinker) -> None:
        self._tracker = tracker
        self._linker = linker  # goes with its last library
        self.addresses: dict[str, int] = {name: tracker[name] for name in image.symbols}


class OrcLinker:
    """Links object code by LLVM's ORC layers."""

    def __init__(self) -> None:
        self.linked = 0  # libraries so far
        self._jit = llvm.create_lljit_compiler(machine(BEST))

    def link(self, image: Image, imports: Mapping[str, int]) -> OrcLibrary:
        """Link an image of object code, which may call the imports."""
        self.linked += 1
        builder = llvm.JITLibraryBuilder()
        builder.add_object_img(image.code)
        for name, address in imports.items():
            builder.import_symbol(name, address)
        for name in image.symbols:
            builder.export_symbol(name)
        return OrcLibrary(builder.link(self._jit, f"library{next(_names)}"), image, self)
