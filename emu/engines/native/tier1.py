"""Tier 1 in a session: handlers by form, and what Python does for native discovery.

Only for instruction sets whose records `decoder` can make, in modes whose fetch address is the
program counter. A block of tier 1 lies in one page.
"""

from __future__ import annotations

import atexit
from itertools import accumulate

from emu.engines.native import learned
from emu.engines.native.arena import Arena, ColdBlock, FullError
from emu.engines.native.decode_tables import RECORD_WORDS, Flag
from emu.engines.native.decoder import BulkDecoder, Description, native
from emu.engines.native.executable import arena
from emu.engines.native.handler_store import handlers_of
from emu.engines.native.image import Image
from emu.engines.native.kinds import FlagFacts, settler_of
from emu.engines.native.layout import (
    BEST,
    DISCOVERY,
    END,
    MOST_FORMS,
    MOST_NUMBERS,
    PAGE_BITS,
    PIECES,
    QUICK,
    STITCH,
    Word,
)
from emu.engines.native.linking import Library, kept, linker
from emu.engines.native.names import digest, flags_file
from emu.engines.native.site import ENTER, EXITS, LEAVE, SETTLE
from emu.memory import PAGE_MASK, PAGE_SIZE
from emu.room import Room, words_of
from isa.fault import Fault
from isa.hints import TYPE_CHECKING, Hashable, Iterable, Mapping, Sequence, cast
from isa.light import WeakSet, cache, cached_property
from isa.record import NamedTuple
from isa.registers import Register
from isa.x86.form import Form
from isa.x86.limits import MAX_LENGTH
from isa.x86.machine import X86
from isa.x86.mode import Mode

if TYPE_CHECKING:
    from emu.engines.native.compiler import Compiler
    from emu.engines.native.engine import NativeSession
    from emu.engines.native.handlers import About, HandlerCompiler
    from emu.engines.native.stencil_code import Stencil
    from emu.engines.native.stencils import StencilCompiler

STENCIL = "s"  # before the names of forms: the symbols of their stencils
BATCH = 24  # forms compiled in one module
PROGRAM = 256  # bytes at its start that tell one program from others
FRESH = 30_000  # instructions discovered before Python may hear Ctrl-C

_all: WeakSet[Tier1] = WeakSet()


class Made(NamedTuple):
    """Compiled handlers: their forms' numbers, their image, and how any of them may leave."""

    numbers: tuple[int, ...]
    image: Image
    reasons: list[str]
    rough: bool  # in a hurry
    stencils: Mapping[str, Stencil]
    facts: Mapping[str, FlagFacts]  # of forms with stencils


class Tier1:
    """What a session has decoded, and which forms it has handlers for."""

    prefix = "h"  # of handlers' symbols
    stitches = True  # whether warm blocks become code of their own, see `stencils`

    def __init__(self, session: NativeSession) -> None:
        self._session = session
        self._memory = session.state.memory[session.isa.code_space]
        room = Room(8 * MOST_FORMS)
        self.handlers, self.handlers_at = room.words(), room.address
        stencils = Room(8 * MOST_FORMS)
        self._stencils, self._stencils_at = stencils.words(), stencils.address
        facts = Room(8 * MOST_FORMS)
        self._facts, self._facts_at = facts.words(), facts.address
        self.decoder = BulkDecoder(self._describe)
        self._learned_name = digest(repr(("learned", *conditions(session))).encode())
        learned.load(session.cache, self._learned_name, self.decoder)
        self._kept = learned.amount(self.decoder)
        self._wanted: list[int] = []
        self._rough: list[int] = []
        self._asked: set[int] = set()
        self._looked_at = 1  # the first record whose form nobody has looked at
        self._new_flags = False
        self._libraries: list[Library] = []
        self._store = handlers_of(session.cache)
        # who wants stitched code early waits for good handlers, with stencils
        self._hastens = self.stitches and session.stitch < STITCH
        self._start()
        self.arena = Arena(session, self.entry)
        self._can_stitch = self.stitches and arena() is not None
        if self._can_stitch:
            self._use_pieces()
        _all.add(self)

    def _start(self) -> None:
        isa, session = self._session.isa, self._session
        space = session.spaces[isa.code_space].number
        stitches = arena() is not None
        name = digest(repr(("dispatcher", isa.pc.slot, space, stitches)).encode())

        def text() -> str:
            from emu.engines.native.discover import dispatcher  # the code is on the disk but once
            from emu.engines.native.handlers import module

            return module([dispatcher(isa.pc, space, stitches=stitches)])

        library = linker().link(kept(session.cache, name, text, DISCOVERY))
        self._libraries.append(library)
        self._discovery = library.addresses
        self.entry, self.dispatch = self._discovery["tier1"], self._discovery["dispatch"]
        end, self._absent = self._discovery["end"], self._discovery["absent"]
        self.handlers[END] = end
        self._use_all()

    @cached_property
    def _flags(self) -> dict[str, int]:
        """What earlier runs found out about forms, once something is learned."""
        found = self._session.cache.load(flags_file(self._session.isa.fingerprint))
        return {} if found is None else dict(found[0]["flags"])

    def attach(self) -> None:
        """Tell native code where everything is."""
        mail = self._session.mail
        mail[Word.HANDLERS] = self.handlers_at
        mail[Word.DECODER] = native()[1].addresses["decode_run"]
        if self._can_stitch:
            self._attach_stitched()
        self.arena.attach()

    def _attach_stitched(self) -> None:
        mail = self._session.mail
        for name in EXITS:
            mail[Word[name.upper()]] = self._discovery[LEAVE + name]
        mail[Word.LEAP] = self._discovery["leap"]
        mail[Word.SETTLE], mail[Word.ENTER] = self._discovery[SETTLE], self._discovery[ENTER]
        store = self._store.stencils
        mail[Word.CALLS], mail[Word.FACTS] = store.calls, self._facts_at
        mail[Word.SETTLERS], mail[Word.EVALUATORS] = store.settlers, store.evaluators
        mail[Word.READERS] = store.readers
        mail[Word.STENCILS] = self._stencils_at

    # -- forms -----------------------------------------------------------------------------------

    def _use_pieces(self) -> None:
        """Have what stands around the stencils of a block."""
        isa, store = self._session.isa, self._store.stencils
        space = self._session.spaces[isa.code_space]
        symbols = {name: f"{name}.{space.number}.{space.kind}" for name in PIECES}
        if not all(map(store.address, symbols.values())):
            from emu.engines.native.compiler import borrowed  # loading LLVM takes its time
            from emu.engines.native.site import pieces
            from emu.engines.native.stencil_code import stencils_of

            with borrowed() as compiler:
                found = stencils_of(compiler.object_code(pieces(space)))
            store.add({symbols[name]: stencil for name, stencil in found.items()}, {})
        for name, place in PIECES.items():
            self._stencils[place] = store.address(symbols[name])
        self._can_stitch = all(self._stencils[place] for place in PIECES.values())

    def more_room(self) -> None:
        """Let native code stitch more blocks; if there is no more room, none, or others."""
        try:
            self.arena.more_code()
        except FullError:
            self._session.forget()
        except MemoryError:
            self._session.mail[Word.STENCILS], self._can_stitch = 0, False

    def _describe(self, form: Form, fields: tuple[str, ...]) -> Description:
        """Which forms end a block, and which have no handler and never will."""
        name = self._name(form)
        flags = self._flags.get(name)
        if flags is None:
            facts = self._session.facts(form)
            flags = int(Flag.ENDS) if facts.ends else 0
            flags |= 0 if self._session.is_native(form) else int(Flag.ABSENT)
            flags |= int(Flag.REPEATS) if facts.repeats else 0
            self._flags[name], self._new_flags = flags, True
        number = len(self.decoder.names)  # the decoder registers it next
        if number >= MOST_NUMBERS:
            return Description(fields, Flag.ABSENT)  # which no record ever has
        self.handlers[number] = self._absent
        return Description(fields, flags, name)

    def _symbol(self, number: int) -> str:
        return self.prefix + self.decoder.names[number]

    def _stencil(self, number: int) -> str:
        return STENCIL + self.decoder.names[number]

    def want(self, number: int) -> None:
        """Ask for a form's handler, once."""
        if number not in self._asked:
            self._asked.add(number)
            if not self._use(number):
                self._wanted.append(number)

    def want_met(self, number: int) -> None:
        """Ask for a form's handler, and for those of all that was discovered since."""
        self.want(number)
        forms, self._looked_at = self.arena.forms_since(self._looked_at)
        for other in forms:
            known = other < len(self.decoder.names)
            if known and not self.decoder.flags[other] & Flag.ABSENT and not self.has(other):
                self.want(other)

    def make_wanted(self) -> None:
        """Compile the handlers that are wanted, now: it takes no longer than the python engine
        takes to emit its own.
        """
        level = BEST if self._hastens else QUICK
        while numbers := self.wanted():
            self.install(self.compile(numbers, level))

    def rough(self) -> tuple[int, ...]:
        """Forms whose handlers were made in a hurry, for the compiler; each once."""
        found, self._rough = self._rough[:BATCH], self._rough[BATCH:]
        return tuple(found)

    def has(self, number: int) -> bool:
        """Whether a form has its handler."""
        return bool(self.handlers[number] != self._absent)

    def _name(self, form: Form) -> str:
        return digest(repr(("handler", form, *conditions(self._session))).encode())

    def _use(self, number: int) -> bool:
        """Use the handler that there is for a form."""
        found = self._store.addresses.get(self._symbol(number))
        rough = self._store.is_rough(self._symbol(number))
        if found is None or (rough and self._hastens):
            return False
        self.handlers[number] = found
        stencil = self._stencil(number)
        self._facts[number] = self._store.stencils.facts(stencil)
        self._stencils[number] = self._store.stencils.address(stencil)
        if rough:
            self._rough.append(number)
        self._session.reasons |= self._store.reasons
        return True

    def _use_all(self) -> None:
        """Use the handlers that there are for what the decoder knows: to look for one when it is
        met takes longer, as that leaves native code."""
        addresses, absent, prefix = self._store.addresses, self._absent, self.prefix
        names = self.decoder.names[:MOST_NUMBERS]
        symbols = [prefix + name for name in names]
        found = words_of([addresses.get(symbol, absent) for symbol in symbols])
        self._rough = self._store.rough_of(symbols)
        for number in self._rough if self._hastens else ():
            found[number] = absent
        self.handlers[: len(found)] = found
        symbols = [STENCIL + name for name in names]
        facts = words_of(self._store.stencils.all_facts(symbols))
        stencils = words_of(self._store.stencils.addresses(symbols))
        self._facts[: len(facts)] = facts
        self._stencils[: len(stencils)] = stencils
        self._session.reasons |= self._store.reasons

    def wanted(self) -> tuple[int, ...]:
        """Forms that were met and have no handler yet, for the compiler; asked for once."""
        found, self._wanted = self._wanted[:BATCH], self._wanted[BATCH:]
        return tuple(found)

    def compile(self, numbers: tuple[int, ...], level: int = BEST) -> Made:
        """In the worker's thread or the guest's: handlers of forms, in one module, as each module
        costs LLVM as much as a small handler does."""
        from emu.engines.native.compiler import borrowed  # loading LLVM takes its time
        from emu.engines.native.handlers import module_of

        handlers = [self._handler(number) for number in numbers]
        stencils = self._stencils_for(numbers) if level == BEST and self._can_stitch else []
        settlers, evaluators = self._code_of_flags(stencils)
        reading = self._reading(stencils)
        text = module_of(handlers, settlers.values())  # which knows then how they may leave
        with borrowed(level) as compiler:
            image = compiler.image(text, [*(handler.name for handler in handlers), *settlers])
            made = _compiled_stencils([*stencils, *reading], evaluators, compiler)
        reasons = sorted(set().union(*(handler.reasons for handler in handlers)))
        facts = {stencil.name: stencil.facts for stencil in stencils}
        return Made(numbers, image, reasons, level == QUICK, made, facts)

    def _stencils_for(self, numbers: Iterable[int]) -> list[StencilCompiler]:
        """What prints the stencils of forms that can have some."""
        from emu.engines.native.stencils import StencilCompiler, is_stitched

        session, forms = self._session, self.decoder.forms
        return [
            StencilCompiler(
                *self._about(n, self._stencil(n)),
                ends=session.facts(forms[n]).ends,
                flags=self._status_flags,
            )
            for n in numbers
            if is_stitched(session.isa.trace(forms[n]), session.facts(forms[n]))
        ]

    def _code_of_flags(
        self, stencils: Sequence[StencilCompiler]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """What settles the flags that stencils leave pending, and what evaluates one: texts by
        symbol, for what nobody has compiled yet."""
        settlers: dict[str, str] = {}
        evaluators: dict[str, str] = {}
        found = {s.pending.name: s.pending for s in stencils if s.pending is not None}
        for name, pending in found.items():
            if settler_of(name) not in self._store.addresses:
                settlers[settler_of(name)], more = pending.code(self._status_flags)
                evaluators |= more
        return settlers, evaluators

    def _reading(self, stencils: Sequence[StencilCompiler]) -> list[StencilCompiler]:
        """What prints the stencils of conditional jumps behind what leaves flags pending, if one of
        both is new."""
        if not stencils:
            return []
        from emu.engines.native.stencils import readers

        met = self._store.stencils.met(repr(conditions(self._session)))
        left = [stencil.pending for stencil in stencils if stencil.pending is not None]
        new = {pending.name: pending for pending in left if pending.name not in met.pendings}
        earlier = [self._again(*about, name) for name, about in list(met.readers.items()) if new]
        more = {s.name: s for s in stencils if s.facts.is_reader and s.name not in met.readers}
        met.readers.update({name: stencil.about[1:3] for name, stencil in more.items()})
        met.pendings.update(new)
        return readers(earlier, new.values()) + readers(more.values(), list(met.pendings.values()))

    def _again(self, form: Hashable, fields: tuple[str, ...], name: str) -> StencilCompiler:
        """What prints the stencil of a form that ends a block and had one before."""
        from emu.engines.native.stencils import StencilCompiler

        about = self._about_form(form, fields, name)
        return StencilCompiler(*about, ends=True, flags=self._status_flags)

    @property
    def _status_flags(self) -> tuple[Register, ...]:
        return cast(X86, self._session.isa).status_flags

    def _compiler_type(self) -> type[HandlerCompiler]:
        """Of handlers."""
        from emu.engines.native.handlers import HandlerCompiler

        return HandlerCompiler

    def _handler(self, number: int) -> HandlerCompiler:
        """What prints a form's handler."""
        return self._compiler_type()(*self._about(number, self._symbol(number)))

    def _about(self, number: int, symbol: str) -> About:
        """What a compiler of a form is told, that makes a function with a symbol."""
        decoder = self.decoder
        return self._about_form(decoder.forms[number], decoder.descriptions[number].fields, symbol)

    def _about_form(self, form: Hashable, fields: tuple[str, ...], symbol: str) -> About:
        session = self._session
        return session.isa, form, fields, session.spaces, session.watched, symbol

    def install(self, made: Made) -> None:
        """Use handlers; blocks that wait for them go on by themselves."""
        self._store.add(made.image, made.reasons, rough=made.rough)
        self._store.stencils.add(made.stencils, made.facts)
        for number in made.numbers:
            self._use(number)

    # -- blocks ----------------------------------------------------------------------------------

    def use(self, mode: Mode) -> None:
        """Let native code discover blocks of a mode."""
        self.arena.use(mode)
        mail = self._session.mail
        mail[Word.KEYS] = self.decoder.keys(mode)
        mail[Word.FLAGS] = self.decoder.flags_address

    def meet(self, mode: Mode, pc: int) -> bool:
        """Do what native code could not, so that it finds a block at `pc`; False if there can be
        none."""
        try:
            return self._meet(mode, pc)
        except FullError:
            self._session.forget()
            return self._meet(mode, pc)
        finally:  # learning moves tables, even if Ctrl-C ends it
            self.use(mode)
            self._session.forget_modes()

    def _meet(self, mode: Mode, pc: int) -> bool:
        arena = self.arena
        if not arena.is_ready(mode, pc):
            return arena.page(mode, pc >> PAGE_BITS) > 0  # native code tries again first
        if arena.is_known(mode, pc):
            return True
        if not arena.room:
            raise FullError
        slot = arena.page(mode, pc >> PAGE_BITS)
        code = arena.code_at(slot, pc)
        if len(code) < MAX_LENGTH:
            code = self._whole(pc, mode)
        records = self.decoder.decode_code(code, mode, self._most(pc))
        count = self._uninterrupted(pc, records[RECORD_WORDS - 1 :: RECORD_WORDS].tolist())
        if count:
            arena.add(slot, pc, records[: count * RECORD_WORDS])
        return count > 0

    def _whole(self, pc: int, mode: Mode) -> bytes:
        """The code of an instruction that may lie in two pages."""
        found = self._session.decode_at(pc)
        if isinstance(found, Fault):
            return b""
        return self._session.look(mode, pc, MAX_LENGTH)

    def _most(self, pc: int) -> int:
        """How many instructions a block at `pc` may have: one if it might begin in two pages."""
        return self.arena.room if PAGE_SIZE - (pc & PAGE_MASK) >= MAX_LENGTH else 1

    def _uninterrupted(self, pc: int, lengths: Sequence[int]) -> int:
        """How many instructions of such lengths there are before the next breakpoint."""
        breakpoints = self._session.breakpoints
        if not breakpoints:
            return len(lengths)
        follow = accumulate(lengths, initial=pc)
        stops = [n for n, address in enumerate(follow) if n and address in breakpoints]
        return min(stops, default=len(lengths))

    def code(self, block: ColdBlock, more: int = 0) -> bytes:
        """The code that a block was decoded from, as it is now, and what follows it."""
        return self._session.look(block.mode, block.pc, block.size + more)

    def close(self) -> None:
        """Keep what was learned."""
        self.arena.close()
        self.keep()

    def keep(self) -> None:
        """Save what was learned since it was saved last."""
        if self._new_flags:
            self._new_flags = False
            flags = {"flags": dict(self._flags)}
            self._session.cache.save(flags_file(self._session.isa.fingerprint), flags, b"")
        for remembered in self._session.all_remembered.values():
            remembered.save()
        known = learned.amount(self.decoder)
        if known > self._kept:
            self._kept = known
            learned.save(self._session.cache, self._learned_name, self.decoder)
        regions = self._session.regions
        needless = regions.served | regions.given_up
        regions.warmth.keep(self._session.warm, needless, regions.inside)


def _compiled_stencils(
    stencils: Sequence[StencilCompiler], evaluators: Mapping[str, str], compiler: Compiler
) -> dict[str, Stencil]:
    """Stencils by symbol, and those of single flags."""
    from emu.engines.native.stencil_code import stencils_of
    from emu.engines.native.stencils import stencils_module

    if not stencils:
        return {}
    text = stencils_module(stencils, evaluators.values())
    symbols = [*(stencil.name for stencil in stencils), *evaluators]
    return stencils_of(compiler.object_code(text, symbols))


@atexit.register
def _keep_all() -> None:
    for tier1 in list(_all):
        tier1.keep()


def conditions(session: NativeSession) -> tuple[object, ...]:
    """What facts about forms depend on, and compiled code, besides what it does."""
    return session.isa.fingerprint, session.kinds, _names(session.watched)


@cache
def _names(registers: frozenset[Register]) -> tuple[str, ...]:
    return tuple(sorted(register.name for register in registers))
