"""LLVM as a compiler of region texts: passes, object code, and linking it into this process.

Compiling (text to object code) touches nothing shared, so a background thread may do it; linking
is done by the thread that runs the guest. Dropping a `Library` frees its code.
"""

from __future__ import annotations

import ctypes
import itertools
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from emu.engines.native import runtime

Entry = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)
"""A region: function(mailbox, entry number) -> Left. Calling it releases the interpreter lock."""

_names = itertools.count()


@cache
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple()


def _machine(level: int) -> Any:
    return _target().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=level,
        reloc="pic",
        codemodel="small",
        jit=True,
    )


class Compiler:
    """Turns LLVM text into object code; one for each thread."""

    def __init__(self, level: int = 2) -> None:
        self._machine = _machine(level)

    def object_code(self, text: str) -> bytes:
        """Optimise and compile a module."""
        module = llvm.parse_assembly(text)
        module.verify()
        options = llvm.create_pipeline_tuning_options(2)
        options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
        builder = llvm.create_pass_builder(self._machine, options)
        passes = builder.getFunctionPassManager()
        for function in module.functions:
            if not function.is_declaration:
                passes.run(function, builder)
        return bytes(self._machine.emit_object(module))

    def whole(self, text: str) -> bytes:
        """The same by LLVM's own pipeline, inlining included."""
        module = llvm.parse_assembly(text)
        module.verify()
        builder = llvm.create_pass_builder(self._machine, llvm.create_pipeline_tuning_options(2))
        builder.getModulePassManager().run(module, builder)
        return bytes(self._machine.emit_object(module))


class Library:
    """Linked object code: the addresses of its functions, as long as it lives."""

    def __init__(self, jit: Any, tracker: Any, names: tuple[str, ...]) -> None:
        self._jit = jit
        self._tracker = tracker
        self.addresses = {name: tracker[name] for name in names}


class Linker:
    """Puts object code into this process, with the runtime's functions for it to call."""

    def __init__(self) -> None:
        self._jit = llvm.create_lljit_compiler(_machine(2))
        self._runtime = self._link(Compiler().whole(runtime.SOURCE), runtime.SYMBOLS, {})

    def link(self, code: bytes, *names: str) -> Library:
        """Link object code that exports `names`."""
        return self._link(code, names, self._runtime.addresses)

    def _link(self, code: bytes, names: tuple[str, ...], imports: dict[str, int]) -> Library:
        builder = llvm.JITLibraryBuilder().add_object_img(code)
        for name, address in imports.items():
            builder.import_symbol(name, address)
        for name in names:
            builder.export_symbol(name)
        tracker = builder.link(self._jit, f"library{next(_names)}")
        return Library(self._jit, tracker, names)
