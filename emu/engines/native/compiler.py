"""LLVM as a compiler of texts: passes, and object code as images.

Compiling touches nothing shared, so a background thread may do it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property

import llvmlite.binding as llvm

from emu.engines.native.executable import arena
from emu.engines.native.image import Image, object_image
from emu.engines.native.layout import BEST, QUICK, SYMBOL
from emu.engines.native.movable import image_of
from emu.engines.native.passes import Runner, delete
from isa.hints import Any

# LLVM's quick level keeps every value in memory, and its code takes three to four times as long as
# what is compiled well; with the real register allocator, half as long again. Compiling in a hurry
# takes half as long again, too. It holds for the process; other levels have it anyway.
llvm.set_option("", "-optimize-regalloc")


@cache
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    return llvm.Target.from_default_triple()


def machine(level: int) -> Any:
    """LLVM's notion of this host, for code of one level."""
    return _target().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=level,
        reloc="pic",
        codemodel="small",
        jit=True,
    )


class Compiler:
    """Turns LLVM text into object code, for one thread at a time (see `borrowed`).

    It makes its passes once.
    """

    def __init__(self, level: int = BEST) -> None:
        self.quick = level == QUICK
        self._machine = machine(level)
        options = llvm.create_pipeline_tuning_options(1)  # 2: a fifth slower, and no faster code
        options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
        self._runner = Runner(self._machine, options)
        self._few = self._few_passes()
        self._passes = self._few if self.quick else self._runner.builder.getFunctionPassManager()

    def _few_passes(self) -> Any:
        """What a region needs: its text repeats little, so that LLVM's own choice of passes takes
        three times as long, a third of all that LLVM does, for code that is some 2 % faster."""
        passes = llvm.create_new_function_pass_manager()
        passes.add_sroa_pass()
        if not self.quick:
            passes.add_instruction_combine_pass()
            passes.add_simplify_cfg_pass()
        return passes

    def region(self, text: str) -> Image:
        """Compile the module of a region as well as the level says."""
        return self._compiled(text, (SYMBOL,), self._few)

    def image(self, text: str, symbols: Sequence[str]) -> Image:
        """Compile a module of functions, each for itself, as well as the level says."""
        return self._compiled(text, symbols, self._passes)

    def _compiled(self, text: str, symbols: Sequence[str], passes: Any) -> Image:
        return self._image(self._improved(text, symbols, passes), symbols)

    def _improved(self, text: str, symbols: Iterable[str], passes: Any) -> Any:
        """A module after passes over its functions."""
        module = self._module(text)
        for symbol in symbols:
            self._runner.run(passes, module.get_function(symbol))
        return module

    def object_code(self, text: str, symbols: Iterable[str] = ()) -> bytes:
        """The same as object code, with nothing settled."""
        module = self._improved(text, symbols, self._passes)
        return bytes(self._machine.emit_object(module))

    def whole(self, text: str, exports: Iterable[str]) -> Image:
        """The same by LLVM's own pipeline, inlining included."""
        module = self._module(text)
        passes = self._thorough.builder.getModulePassManager()  # they change as they run
        self._thorough.run(passes, module)
        delete(passes)
        return self._image(module, exports)

    @cached_property
    def _thorough(self) -> Runner:
        return Runner(self._machine, llvm.create_pipeline_tuning_options(2))

    def _module(self, text: str) -> Any:
        """In a context of its own, which keeps every constant that it has met: for a region's text
        a new one costs a two-hundredth of what compiling takes."""
        module = llvm.parse_assembly(text, llvm.create_context())
        module.verify()
        return module

    def _image(self, module: Any, exports: Iterable[str]) -> Image:
        code = bytes(self._machine.emit_object(module))
        return object_image(code, exports) if arena() is None else image_of(code, exports)


_idle: dict[int, list[Compiler]] = {}  # by level


@contextmanager
def borrowed(level: int = BEST) -> Iterator[Compiler]:
    """One of the process's compilers, which serves another thread or session afterwards."""
    idle = _idle.setdefault(level, [])
    try:
        compiler = idle.pop()
    except IndexError:
        compiler = Compiler(level)
    try:
        yield compiler
    finally:
        idle.append(compiler)
