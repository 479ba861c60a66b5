"""Tier 1 in a session: decoded blocks in one arena of records, handlers by form.

Only for instruction sets whose records `decoder` can make, in modes whose fetch address is the
program counter. A block of tier 1 lies in one page. Python is needed to discover it, not to run it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emu.engines.native.decode_tables import RECORD, Flag
from emu.engines.native.decoder import BulkDecoder, Description
from emu.engines.native.handler_store import handlers_of
from emu.engines.native.handlers import HandlerCompiler, dispatcher, module
from emu.engines.native.image import Image
from emu.engines.native.layout import Header, number_of
from emu.engines.native.linking import Entry, Library, kept, linker
from emu.engines.native.names import digest
from emu.memory import EXECUTE, PAGE_MASK, PAGE_SIZE, AddressSpace
from isa.fault import Fault
from isa.x86.form import Form
from isa.x86.mode import Mode

if TYPE_CHECKING:
    from emu.engines.native.compiler import Compiler
    from emu.engines.native.engine import NativeSession

ARENA = 1 << 18  # records
MOST_FORMS = 1 << 14
LONGEST = 60  # instructions of a block
BATCH = 24  # forms compiled in one module
END = 0  # the form number of the record behind a block; the decoder's numbers follow


@dataclass(slots=True, eq=False)
class ColdBlock:
    """A decoded block: where its header is, and the code that it came from."""

    mode: Hashable
    pc: int
    header: int
    size: int
    recalled: bool = False  # looked up on the disk


@dataclass(slots=True)
class Made:
    """A compiled handler: its form's number, its image, and how it may leave."""

    number: int
    image: Image
    reasons: list[str]


class Tier1:
    """What a session has decoded, and which forms it has handlers for."""

    def __init__(self, session: NativeSession) -> None:
        self._session = session
        self.records = np.zeros(ARENA, dtype=RECORD)
        self._words = self.records.view(np.uint32).reshape(ARENA, -1)
        self.handlers = np.zeros(MOST_FORMS, dtype=np.uint64)
        self.blocks: dict[Hashable, dict[int, ColdBlock]] = {}
        self.by_id: dict[int, ColdBlock] = {}
        self.decoder = BulkDecoder(self._describe)
        self._used = 0
        self._wanted: list[int] = []
        self._flags = _known_flags(session)
        self._new_flags = False
        self._libraries: list[Library] = []
        self._store = handlers_of(session.cache)
        self._start()

    def _start(self) -> None:
        names = ("tier1", "end", "absent")
        name = digest(repr(("dispatcher", self._session.isa.pc.slot)).encode())
        text = module([dispatcher(self._session.isa.pc)])
        library = linker().link(kept(self._session.cache, name, text, names))
        self._libraries.append(library)
        self.entry, end, self._absent = (library.addresses[name] for name in names)
        self.function = Entry(self.entry)
        self.handlers[:] = self._absent
        self.handlers[END] = end

    # -- forms -----------------------------------------------------------------------------------

    def _describe(self, form: Form, fields: tuple[str, ...]) -> Description:
        """Which forms end a block, and which have no handler and never will."""
        name = self._name(form)
        flags = self._flags.get(name)
        if flags is None:
            facts = self._session.facts(form)
            flags = int(Flag.ENDS) if facts.ends or facts.checks else 0
            flags |= 0 if self._session.is_native(form) else int(Flag.ABSENT)
            self._flags[name], self._new_flags = flags, True
        number = len(self.decoder.forms)  # the decoder registers it next
        if number + 1 >= MOST_FORMS:
            return Description(fields, Flag.ABSENT)
        if not flags & Flag.ABSENT and not self._use(number, f"h{name}"):
            self._wanted.append(number)
        return Description(fields, Flag(flags))

    def _name(self, form: Form) -> str:
        session = self._session
        facts = ("handler", session.isa.fingerprint, form, session.kinds)
        return digest(repr(facts).encode())

    def _use(self, number: int, symbol: str) -> bool:
        """Use the handler that there is for a form."""
        found = self._store.find(symbol)
        if found is None:
            return False
        self.handlers[number + 1] = found.address
        self._session.reasons |= {number_of(reason): reason for reason in found.reasons}
        return True

    def wanted(self) -> tuple[int, ...]:
        """Forms that were met and have no handler yet, for the compiler; asked for once."""
        found, self._wanted = self._wanted[:BATCH], self._wanted[BATCH:]
        return tuple(found)

    def compile(self, numbers: tuple[int, ...], compiler: Compiler) -> list[Made]:
        """In the worker's thread: handlers of forms."""
        return [self._compile_one(number, compiler) for number in numbers]

    def _compile_one(self, number: int, compiler: Compiler) -> Made:
        form = self.decoder.forms[number]
        symbol = f"h{self._name(form)}"
        session = self._session
        handler = HandlerCompiler(
            session.isa, form, self.decoder.descriptions[number].fields, session.spaces,
            session.watched, symbol,
        )  # fmt: skip
        image = compiler.image(module([handler.text]), symbol)
        return Made(number, image, sorted(handler.reasons))

    def install(self, made: list[Made]) -> None:
        """Use handlers; blocks that wait for them go on by themselves."""
        for one in made:
            (symbol,) = one.image.symbols
            self._store.add(one.image, {symbol: one.reasons})
            self._use(one.number, symbol)
        if self._new_flags:
            self._new_flags = False
            self._session.cache.save(_flags_name(self._session), {"flags": dict(self._flags)}, b"")

    # -- blocks ----------------------------------------------------------------------------------

    def discover(self, mode: Mode, pc: int) -> ColdBlock | None:
        """Decode the block at `pc`; None if its first instruction is not for native code."""
        memory = self._session.state.memory[self._session.isa.code_space]
        assert isinstance(memory, AddressSpace)
        where = memory.translate(pc, EXECUTE)
        if isinstance(where, Fault):
            return None
        end = where + PAGE_SIZE - (where & PAGE_MASK)
        code = memory.physical.array[where:end]
        records, size, _ = self.decoder.decode(code, 0, mode, room=LONGEST)
        count = len(records)
        if count == 0:
            return None
        if self._used + count + 2 > ARENA:
            self._session.forget()
        header = self._used
        self._used += count + 2
        self.records[header + 1 : header + 1 + count] = records
        self.records["form"][header + 1 : header + 1 + count] += 1
        self.records["form"][header + 1 + count] = END
        self._words[header, :8] = 0
        block = ColdBlock(mode, pc, header, size)
        self.blocks.setdefault(mode, {})[pc] = block
        self.by_id[id(block)] = block
        return block

    def targets(self, block: ColdBlock) -> set[int]:
        """Where a block went the last times."""
        words = self._words[block.header]
        return {int(words[Header.TARGETS + n]) for n in range(4)} - {0}

    def count_from(self, block: ColdBlock, number: int) -> None:
        """Let a block's entries count on from a number, negative ones too."""
        self._words[block.header, Header.COUNT] = number & 0xFFFFFFFF

    def code(self, block: ColdBlock, more: int = 0) -> bytes:
        """The code that a block was decoded from, as it is now, and what follows it."""
        memory = self._session.state.memory[self._session.isa.code_space]
        return memory.fetch(block.pc, block.size + more)[0]

    def drop(self, gone: set[int]) -> list[ColdBlock]:
        """Forget blocks (by their ids): their code has changed. Returns those that there were."""
        dropped = [self.by_id.pop(i) for i in gone & self.by_id.keys()]
        for block in dropped:
            blocks = self.blocks.get(block.mode, {})
            if blocks.get(block.pc) is block:
                del blocks[block.pc]
        return dropped

    def clear(self) -> None:
        """Forget all blocks."""
        self.blocks.clear()
        self.by_id.clear()
        self._used = 0


def _flags_name(session: NativeSession) -> str:
    return digest(repr(("flags", session.isa.fingerprint)).encode())


def _known_flags(session: NativeSession) -> dict[str, int]:
    """What earlier runs found out about forms."""
    found = session.cache.load(_flags_name(session))
    return {} if found is None else dict(found[0]["flags"])
