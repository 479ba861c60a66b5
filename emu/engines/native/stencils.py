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
from itertools import product
from operator import add

from emu.engines.facts import Facts
from emu.engines.native.handlers import About, HandlerCompiler, module
from emu.engines.native.kinds import pending_hole, reader_of
from emu.engines.native.layout import BULK, CONVENTION, Left, Word
from emu.engines.native.lowering import Lowering
from emu.engines.native.pending import (
    PASSED,
    Pending,
    flag_facts,
    keep,
    pending_of,
    reads_only,
    with_pending,
)
from emu.engines.native.pieces import read_word
from emu.engines.native.site import LEADS, PARAMETERS, WAYS, declared_way, go_on, way_to
from isa.bits import Bits
from isa.hints import Final
from isa.record import NamedTuple
from isa.registers import Register, RegisterFile
from isa.trace import Trace
from isa.words import mask

_RANGES: Final = """
!10 = !{i64 0, i64 4294967296}
!11 = !{i64 0, i64 65536}
!12 = !{}
"""
_AS_ONE: Final = "!unpredictable !12"  # LLVM makes no two branches of it, each with a way on


def is_stitched(trace: Trace, facts: Facts) -> bool:
    """Whether a form with a handler has a stencil, too: the handlers do what leaves, what is told
    the time, and what goes on for long."""
    return not (facts.checks or facts.repeats or trace.has(*BULK, "exit", "clock"))


class Sum(NamedTuple):
    """A sum of the program counter, the instruction's length, a word of its record (by its number,
    0: of none) and a constant."""

    pc: int = 0
    length: int = 0
    word: int = 0
    constant: int = 0

    def plus(self, other: Sum) -> Sum | None:
        """Both; None if there is something twice."""
        found = Sum(*map(add, self, other))
        twice = self.pc & other.pc or self.length & other.length or (self.word and other.word)
        return None if twice else found._replace(constant=found.constant & mask(32))


class _Lowering(Lowering):
    """A lowering for a stencil, which has some values as numbers."""

    def __init__(self, stencil: StencilCompiler) -> None:
        super().__init__(stencil)
        self._stencil = stencil

    def value(self, node: Bits) -> str:
        """The text of a node, see `Lowering`."""
        if self.known(node) is None:
            text = self._stencil.number(node)
            if text is not None:
                return self.define(node, text)
        return super().value(node)

    def do_parameter(self, node: Bits) -> str:
        """See `Lowering`."""
        return self._stencil.operand(*node.attribute)


class StencilCompiler(HandlerCompiler):
    """Prints the stencil of one form; `ends` tells whether a block ends after it, `flags` are those
    that it may leave pending."""

    is_patient = False  # the handlers are, where it goes on then

    def __init__(self, *about: *About, ends: bool, flags: Sequence[Register]) -> None:
        super().__init__(*about)
        self.about = about
        self.ends = ends
        self.pending = pending_of(self.trace, flags)
        facts = flag_facts(self.trace, self.pending, flags, self._word_of)
        self.facts = facts._replace(is_reader=ends and reads_only(self.trace, facts))
        self.holes: set[str] = set()
        self.ways: set[str] = set()  # see `LEADS`
        self._selectors: dict[str, tuple[int, int]] = {}  # words and masks of fields, by text
        self._repeats = False
        self._passed = self.memory.spaces[self.isa.code_space].number

    def _lowering(self) -> Lowering:
        return _Lowering(self)

    @property
    def text(self) -> str:
        """The function."""
        low = self.low
        for effect in self.trace.region.effects:
            if effect.op not in ("put", "put_indexed", "undefined"):
                low.effect(effect)
        if not self.trace.region.ends:
            untold = set() if self.ends else {self.isa.pc}
            untold |= set() if self.pending is None else self.pending.cut.values.keys()
            self._finish([put for put in self.trace.puts if put.attribute not in untold])
        body, low.lines = low.lines, []
        self.memory.words(passed=self._passed)
        small = " optsize" if len(self.ways) > 1 else ""  # for a way on at the end of a branch
        define = f"define {CONVENTION} i64 @{self.name}({PARAMETERS}){small} {{\nentry:"
        return "\n".join([define, *self._head, *low.lines, *body, *self._cold(), "}"])

    def _cold(self) -> list[str]:
        """Do the instruction and what follows it in the handlers."""
        if not self._repeats:
            return []
        return ["elsewhere:", *go_on("again")]

    def _hole(self, name: str) -> str:
        self.holes.add(name)
        return f'@"{name}"'

    def _finish(self, puts: list[Bits]) -> None:
        """Change the registers, and go on behind."""
        low = self.low
        target = next((put.args[0] for put in puts if put.attribute is self.isa.pc), None)
        either = self._either(target)
        decides = target if either is None else either.args[0]
        decided = None if decides is None else low.value(decides)
        others = [put for put in puts if put.attribute is not self.isa.pc]
        values = [(put, [low.value(a) for a in put.args]) for put in others]
        changed = self._kept()
        for put, texts in values:
            self._put(put, texts)
        if target is None or decided is None:
            low.lines += go_on("next", **changed)
        elif either is None:
            self._go_on_at(target, decided, changed)
        else:
            self._go_on_either(either, decided, changed)

    def _kept(self) -> dict[str, str]:
        """Keep what the flags follow from that stay pending, and what that changes of what is
        passed on."""
        if self.pending is None:
            return {}
        kind = self._hole(pending_hole(self.pending.name))
        changed = keep(self.low, self.pending)
        return changed | {"kind": self.low.emit(f"ptrtoint ptr {kind} to i32")}

    def _go_on_at(self, target: Bits, decided: str, changed: dict[str, str]) -> None:
        """Go on at a program counter."""
        if self._sum(target) is None:
            self.low.lines += go_on("next", **changed | {"pc": decided})
        else:
            self.low.lines += self._lead(LEADS[0], target, changed)

    def _lead(self, lead: str, target: Bits, changed: dict[str, str]) -> list[str]:
        """Lines that go on where a sum says, which the way's name tells who needs it."""
        found = self._sum(target)
        assert found is not None
        name = way_to(lead, *found)
        self.ways.add(name)
        return go_on(name, **changed | {"pc": "poison"})

    def _go_on_either(self, either: Bits, condition: str, changed: dict[str, str]) -> None:
        """Go on in one of two ways."""
        low = self.low
        low.branch(condition, "taken", "passed", _AS_ONE)
        for lead, label, goal in zip(LEADS, ("passed", "taken"), either.args[:0:-1], strict=True):
            low.start(label)
            low.lines += self._lead(lead, goal, changed)

    def _either(self, target: Bits | None) -> Bits | None:
        """Where a block goes on, if that is one of two program counters that are known."""
        if target is None or target.op != "select":
            return None
        known = all(self._sum(way) is not None for way in target.args[1:])
        return target if known else None

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

    def number(self, node: Bits) -> str | None:
        """A number that is known where the stencil is copied to, of 32 bits."""
        found = self._sum(node) if node.op == "add" else None
        if found is None:
            return None
        hole = self._hole(f"sum.{found.pc}.{found.length}.{found.word}")
        number = self.low.emit(f"ptrtoint ptr {hole} to i32")
        return self.low.emit(f"add i32 {number}, {found.constant}") if found.constant else number

    def _sum(self, node: Bits) -> Sum | None:
        """A value as such a sum; None if it is none."""
        if node.width != 32:
            return None
        if node.op == "const":
            return Sum(constant=node.value)
        if node.op == "get" and node.attribute[0] is self.isa.pc:
            return Sum(pc=1)
        if node.op == "field":
            name = node.attribute[0]
            return Sum(length=1) if name == "length" else Sum(word=self._word_of(name))
        if node.op != "add":
            return None
        a, b = map(self._sum, node.args)
        return None if a is None or b is None else a.plus(b)

    def operand(self, number: int, width: int) -> str:
        """What pending flags follow from."""
        name, lines = f"%operand.{number}", []
        text = f"{name}.w"
        if number < len(PASSED):
            text = f"%{PASSED[number]}"
        else:
            lines = [read_word(text[1:], Word.OPERANDS + number, "i64")]
        if width < 64:
            lines.append(f"  {name} = trunc i64 {text} to i{width}")
            text = name
        return self._leaf(name, lines, text)

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


def readers(forms: Iterable[StencilCompiler], pendings: Iterable[Pending]) -> list[StencilCompiler]:
    """What prints the stencils of forms that read flags, behind those that leave some pending."""
    found = []
    for form, pending in product(forms, pendings):
        trace = with_pending(form.trace, pending)
        if trace is not None:
            name = reader_of(pending.name, form.name)
            found.append(StencilCompiler(*form.about[:-1], name, ends=form.ends, flags=()))
            found[-1].trace = trace
    return found


def _sized(width: int, wanted: int) -> str:
    return "trunc" if wanted < width else "zext"


def declared(hole: str) -> str:
    """The declaration of a hole: what numbers may stand there decides what LLVM makes of it."""
    numbers = "!11" if hole.startswith("slot.") else "!10"
    return f'@"{hole}" = external global i8, !absolute_symbol {numbers}'


def stencils_module(stencils: Sequence[StencilCompiler], evaluators: Iterable[str] = ()) -> str:
    """A module of stencils, with what they call and where they have holes."""
    texts = [stencil.text for stencil in stencils]  # which know then what else they need
    texts += evaluators
    called: set[str] = set().union(*(stencil.low.declarations for stencil in stencils))
    holes: set[str] = set().union(*(stencil.holes for stencil in stencils))
    ways: set[str] = set().union(*(stencil.ways for stencil in stencils))
    return joined_module(texts, [*sorted(called), *map(declared_way, sorted(ways))], holes)


def joined_module(texts: Sequence[str], declarations: Iterable[str], holes: Iterable[str]) -> str:
    """The same of texts."""
    lines = [*declarations, *WAYS, *map(declared, sorted(holes))]
    return module(texts, lines) + _RANGES
