"""LLVM as a compiler of region texts: passes, object code, and linking it into this process.

Compiling (text to object code) touches nothing shared, so a background thread may do it; linking
is done by the thread that runs the guest. Dropping a `Library` frees its code.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from emu.engines.native import runtime
from emu.engines.native.cache import DiskCache

Entry = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)
"""A region: function(mailbox, entry number) -> Left. Calling it releases the interpreter lock."""

SYMBOL = "region"  # the function of a region's module

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


QUICK, BEST = 0, 2
"""Levels: a region is first compiled in a seventh of the time that it takes to compile it well."""


class Compiler:
    """Turns LLVM text into object code; one for each thread."""

    def __init__(self, level: int = BEST) -> None:
        self.quick = level == QUICK
        self._machine = _machine(level)
        self._context = llvm.create_context()  # LLVM's contexts are for one thread each

    def object_code(self, text: str, symbol: str = SYMBOL) -> bytes:
        """Compile a module of one function as well as the level says."""
        module = llvm.parse_assembly(text, self._context)
        module.verify()
        options = llvm.create_pipeline_tuning_options(2)
        options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
        builder = llvm.create_pass_builder(self._machine, options)
        if self.quick:
            passes = llvm.create_new_function_pass_manager()
            passes.add_sroa_pass()
        else:
            passes = builder.getFunctionPassManager()
        passes.run(module.get_function(symbol), builder)
        return bytes(self._machine.emit_object(module))

    def whole(self, text: str) -> bytes:
        """The same by LLVM's own pipeline, inlining included."""
        module = llvm.parse_assembly(text, self._context)
        module.verify()
        builder = llvm.create_pass_builder(self._machine, llvm.create_pipeline_tuning_options(2))
        builder.getModulePassManager().run(module, builder)
        return bytes(self._machine.emit_object(module))


class Library:
    """Linked object code: the addresses of its functions, as long as it lives."""

    def __init__(self, tracker: Any, names: Iterable[str], linker: Linker) -> None:
        self._tracker = tracker
        self._linker = linker  # whose runtime the code calls
        self.addresses: dict[str, int] = {name: tracker[name] for name in names}


class Linker:
    """Puts object code into this process, with the runtime's functions for it to call."""

    def __init__(self, runtime_code: bytes) -> None:
        self.linked = 0  # libraries so far
        self._jit = llvm.create_lljit_compiler(_machine(BEST))
        self._runtime = self._tracker([runtime_code], runtime.SYMBOLS, {})
        self._imports: dict[str, int] = {name: self._runtime[name] for name in runtime.SYMBOLS}

    def link(self, code: bytes, *names: str) -> Library:
        """Link object code that exports functions."""
        return self.link_all([code], *names)

    def link_all(self, codes: Sequence[bytes], *names: str) -> Library:
        """Link several pieces of object code as one."""
        return Library(self._tracker(codes, names, self._imports), names, self)

    def _tracker(
        self, codes: Sequence[bytes], names: Iterable[str], imports: dict[str, int]
    ) -> Any:
        builder = llvm.JITLibraryBuilder()
        for code in codes:
            builder.add_object_img(code)
        for name, address in imports.items():
            builder.import_symbol(name, address)
        for name in names:
            builder.export_symbol(name)
        self.linked += 1
        return builder.link(self._jit, f"library{next(_names)}")


MOST_LINKED = 250  # libraries of a linker: LLVM keeps 9 KiB for each that there ever was
_current: list[Linker] = []


def linker() -> Linker:
    """The process's linker, now and then a new one; the old one goes with its last library.

    Its runtime is compiled once for all runs.
    """
    if not _current or _current[0].linked >= MOST_LINKED:
        _current[:] = [Linker(kept(DiskCache.users(), "runtime", runtime.SOURCE))]
    return _current[0]


def kept(disk: DiskCache, name: str, text: str) -> bytes:
    """The object code of a whole module of ours, compiled once for all runs."""
    found = disk.load(name)
    if found is not None:
        return found[1]
    code = Compiler().whole(text)
    disk.save(name, {}, code)
    return code
