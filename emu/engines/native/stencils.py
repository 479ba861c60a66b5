"""Stencils: what is copied, instruction by instruction, into the code of a warm block of tier 1.

A stencil does what a form's handler does, but where a handler reads its record, a stencil has a
*hole*: an external symbol, as LLVM sees it, whose address is the number that belongs there. Holes
are filled in when the stencil is copied (`stitch.py`), so nothing is compiled for a guest's
instruction here either. (Xu and Kjolstad, "Copy-and-Patch Compilation", OOPSLA 2021.)

Whatever does not go straight on, an access that misses or a fault, goes on in the handlers
instead, from that instruction of the block on: a stencil has changed nothing by then. The code for
that stands elsewhere, so that the host's caches hold what is done mostly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from emu.engines.facts import Facts
from emu.engines.native.handlers import About, HandlerCompiler, module
from emu.engines.native.layout import BULK, CONVENTION, Left
from isa.bits import Bits
from isa.ops import mask
from isa.registers import Register, RegisterFile
from isa.trace import Trace

PARAMETERS: Final = (
    "ptr %mailbox, i64 %number, ptr %registers, ptr %tables, ptr %storage, i64 %remaining"
)
"""The mailbox, the number of a block's header (for whoever goes on), the registers, the page tables
and the storage of the space that code is in, and how many instructions may be counted after the
block."""
WAYS: Final = tuple(
    f"declare {CONVENTION} i64 @{name}(ptr, i64, ptr, ptr, ptr, i64)" for name in ("next", "again")
)
"""What is copied behind a stencil, and what does the instruction in the handlers."""
_RANGES: Final = """
!10 = !{i64 0, i64 4294967296}
!11 = !{i64 0, i64 65536}
"""


def is_stitched(trace: Trace, facts: Facts) -> bool:
    """Whether a form with a handler has a stencil, too: the handlers do what leaves, what is told
    the time, and what goes on for long."""
    return not (facts.checks or facts.repeats or trace.has(*BULK, "exit", "clock"))


class StencilCompiler(HandlerCompiler):
    """Prints the stencil of one form; `ends` tells whether a block ends after it."""

    def __init__(self, *about: *About, ends: bool) -> None:
        super().__init__(*about)
        self.ends = ends
        self.holes: set[str] = set()
        self._selectors: dict[str, tuple[int, int]] = {}  # words and masks of fields, by text
        self._repeats = False
        self._passed = self.memory.spaces[self.isa.code_space].number

    @property
    def text(self) -> str:
        """The function."""
        low = self.low
        for effect in self.trace.region.effects:
            if effect.op not in ("put", "put_indexed", "undefined"):
                low.effect(effect)
        if not self.trace.region.ends:
            follows = () if self.ends else (self.isa.pc,)  # whose change need not be told
            self._finish([put for put in self.trace.puts if put.attribute not in follows])
        body, low.lines = low.lines, []
        self.memory.words(passed=self._passed)
        define = f"define {CONVENTION} i64 @{self.name}({PARAMETERS}) {{\nentry:"
        return "\n".join([define, *self._head, *low.lines, *body, *self._cold(), "}"])

    def _cold(self) -> list[str]:
        """Do the instruction and what follows it in the handlers."""
        if not self._repeats:
            return []
        return ["elsewhere:", *_go_on("again")]

    def _hole(self, name: str) -> str:
        self.holes.add(name)
        return f'@"{name}"'

    def _finish(self, puts: list[Bits]) -> None:
        """Change the registers, and go on behind."""
        low = self.low
        values = [(put, [low.value(a) for a in put.args]) for put in puts]
        for put, texts in values:
            self._put(put, texts)
        low.lines += _go_on("next")

    def _indexed(self, file: RegisterFile, width: int, index: str) -> str:
        found = self._selectors.get(index)
        if found is None:
            return super()._indexed(file, width, index)
        word, chosen = found
        low = self.low
        slot = low.emit(f"ptrtoint ptr {self._hole(f'slot.{word}.{chosen}')} to i64")
        at = low.emit(f"getelementptr i8, ptr %registers, i64 {slot}")
        return low.emit(f"getelementptr i64, ptr {at}, i64 {file.members[0].slot}")

    # -- what the lowering asks ------------------------------------------------------------------

    def get(self, register: Register) -> str:
        """See `Context`."""
        if register is not self.isa.pc:
            return super().get(register)
        text = f"%pc.{register.width}"
        lines = [f"  {text}.h = ptrtoint ptr {self._hole('pc')} to i32"]
        lines.append(f"  {text} = {_sized(32, register.width)} i32 {text}.h to i{register.width}")
        if register.width == 32:
            text, lines = f"{text}.h", lines[:1]
        return self._leaf(register, lines, text)

    def field(self, name: str, width: int) -> str:
        """See `Context`."""
        word = self._word_of(name)
        text = f"%field.{name}.{width}"
        hole = self._hole(f"field.{word}")
        lines = [f"  {text}.w = ptrtoint ptr {hole} to i32"]
        if width == 32:
            return self._leaf((name, width), lines, f"{text}.w")
        if width < 8:
            self._selectors[text] = word, mask(width)
        lines.append(f"  {text} = {_sized(32, width)} i32 {text}.w to i{width}")
        return self._leaf((name, width), lines, text)

    def given_up(self) -> str:
        """See `Context`."""
        self._repeats = True
        return "elsewhere"

    def missed(self) -> str:
        """See `Context`."""
        return self.given_up()

    def missed_at(self, address: str, why: Left, space: int = 0) -> str:
        """See `Context`."""
        return self.given_up()


def _go_on(name: str) -> list[str]:
    """Lines that go on in one of `WAYS`."""
    call = f"  %{name} = musttail call {CONVENTION} i64 @{name}({PARAMETERS})"
    return [call, f"  ret i64 %{name}"]


def _sized(width: int, wanted: int) -> str:
    return "trunc" if wanted < width else "zext"


def declared(hole: str) -> str:
    """The declaration of a hole: what numbers may stand there decides what LLVM makes of it."""
    numbers = "!11" if hole.startswith("slot.") else "!10"
    return f'@"{hole}" = external global i8, !absolute_symbol {numbers}'


def stencils_module(stencils: Sequence[StencilCompiler]) -> str:
    """A module of stencils, with what they call and where they have holes."""
    texts = [stencil.text for stencil in stencils]  # which know then what else they need
    called: set[str] = set().union(*(stencil.low.declarations for stencil in stencils))
    holes: set[str] = set().union(*(stencil.holes for stencil in stencils))
    return joined_module(texts, sorted(called), holes)


def joined_module(texts: Sequence[str], declarations: Iterable[str], holes: Iterable[str]) -> str:
    """The same of texts."""
    lines = [*declarations, *WAYS, *map(declared, sorted(holes))]
    return module(texts, lines) + _RANGES
