"""From executed blocks to a compiled region: which blocks belong together, tracing, compiling.

All of it runs in the compiler's thread; it only reads what the session knows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from emu.engines.native.compiled import Compiled
from emu.engines.native.layout import LARGEST, SYMBOL
from emu.engines.native.names import digest
from emu.engines.native.pieces import exits
from emu.engines.native.plan import (
    PlannedBlock,
    constants,
    is_indirect,
    is_return,
    return_sites,
    trace_block,
)
from emu.engines.native.region import RegionCompiler
from isa.definition import Instruction, TruncatedError
from isa.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.engines.native.arena import ColdBlock
    from emu.engines.native.compiler import Compiler
    from emu.engines.native.engine import NativeSession

SMALL = 40  # instructions of a region that others may have copies of
MOST_TARGETS = 64  # of an indirect jump, that a region knows


@dataclass(slots=True)
class Code:
    """A block as the builder needs it."""

    pc: int
    address: int
    instructions: list[Instruction]
    code: bytes

    @property
    def length(self) -> int:
        """How many instructions."""
        return len(self.instructions)


class RegionBuilder:
    """Builds the region of one mode that begins at one block (`key` of the session's table).

    `before` is the region that it replaces: its blocks are known though they may not have run yet,
    and what was an entry there will be one again. `entries` are keys of others that have to be
    entries, if they are part of it.
    """

    def __init__(
        self,
        session: NativeSession,
        mode: Hashable,
        key: int,
        before: Compiled | None = None,
        entries: Iterable[int] = (),
    ) -> None:
        self.session = session
        self.isa = session.isa
        self.mode = mode
        self.head = key
        self.blocks: dict[int, Code] = {}
        self.planned: list[PlannedBlock] = []
        self.entries = {key}
        self._asked = set(entries)
        self._room = LARGEST
        self._before: dict[int, tuple[int, int, int, list[int]]] = {}
        if before is not None:
            self._before = self._parts(before)
            self._asked |= {session.key(mode, pc, address) for pc, address, _ in before.entries}

    def _parts(self, compiled: Compiled) -> dict[int, tuple[int, int, int, list[int]]]:
        """Program counter, address, size and targets of a region's blocks, by key."""
        parts = zip(compiled.code_ranges, compiled.blocks, strict=True)
        found = [(pc, address, size, targets) for (address, size, _), (pc, targets) in parts]
        return {self.session.key(self.mode, part[0], part[1]): part for part in found}

    def compile(self, compiler: Compiler) -> Compiled | None:
        """The compiled region; None if its first block cannot be native."""
        self._collect()
        if not self.planned:
            return None
        numbers = [n for n, key in enumerate(self.blocks) if key in self.entries]
        session = self.session
        covers = session.coverage is not None
        region = RegionCompiler(
            self.isa, self.mode, self.planned, numbers, session.spaces, session.watched, SYMBOL,
            covers=covers,
        )  # fmt: skip
        image = compiler.region(region.text)
        ranges = [(b.address, *self._code(b)) for b in self.blocks.values()]
        entries = [(self.planned[n].pc, self.planned[n].address, n) for n in numbers]
        head = self.blocks[self.head]
        first = (head.pc, head.address, head.code)
        blocks = [(b.pc, sorted(b.targets)) for b in self.planned]
        reasons, length = sorted(region.reasons), LARGEST - self._room
        return Compiled(ranges, blocks, entries, reasons, covers, length, first, image)

    def _code(self, block: Code) -> tuple[int, str]:
        size = sum(i.length for i in block.instructions)
        return size, digest(block.code)

    def _collect(self) -> None:
        """Blocks that have run: the head's own function first, then what it calls."""
        own, calls, seen = deque([self.head]), deque[int](), {self.head}
        while own or calls:
            key = (own or calls).popleft()
            block = self._block(key)
            if block is None or block.length > self._room or not self._usable(block):
                continue
            if self._served(key):
                continue
            planned = self._add(key, block)
            sites = return_sites(planned, self.isa)
            for pc in sorted(self._following(planned) | sites):
                target = self._key(block, pc)
                if self._leaves(block):
                    self.entries.add(target)
                if target not in seen:
                    seen.add(target)
                    (calls if sites and pc not in sites else own).append(target)
        self._find_entries()
        self._pair_returns()

    def _pair_returns(self) -> None:
        """Whatever returns may return to any call of the region."""
        sites = {pc for b in self.planned for pc in return_sites(b, self.isa)}
        for block in self.planned:
            if is_return(block, self.isa):
                block.targets |= sites

    def _add(self, key: int, block: Code) -> PlannedBlock:
        self._room -= block.length
        self.blocks[key] = block
        planned = self._plan(key, block)
        self.planned.append(planned)
        return planned

    def _find_entries(self) -> None:
        """Heads of loops, where calls that leave the region return to, and who was asked for."""
        numbers = {b.pc: b.number for b in self.planned}
        keys = list(self.blocks)
        for block in self.planned:
            targets, sites = self._following(block), return_sites(block, self.isa)
            inside = {numbers[pc] for pc in targets if pc in numbers}
            self.entries |= {keys[n] for n in inside if n <= block.number}
            if sites and (len(inside) < len(targets) or not targets):
                self.entries |= {keys[numbers[pc]] for pc in sites if pc in numbers}
        self.entries |= self._asked & self.blocks.keys()

    def _leaves(self, block: Code) -> bool:
        """Whether a handler may take over after a block: what follows is entered from outside."""
        return any(map(exits, self.isa.trace(block.instructions[-1].form).region.nodes))

    def _served(self, key: int) -> bool:
        """Whether a block is in another region, one that is too large for a copy: what is compiled
        and kept should not depend on the order in which blocks become hot."""
        home = self.session.regions.homes.get((self.mode, key))
        return home is not None and key != self.head != home.head and home.length > SMALL

    def _block(self, key: int) -> Code | None:
        """A block that has run, in whichever tier."""
        tier1, cold = self.session.tier1, self._cold(key)
        if tier1 is not None and cold is not None:
            return self._read(cold.pc, cold.pc, cold.size)
        block = self.session.tables.get(self.mode, {}).get(key)
        if block is not None:
            return Code(block.pc, block.address, block.instructions, block.code)
        if key in self._before:
            return self._read(*self._before[key][:3])
        return None

    def _read(self, pc: int, address: int, size: int) -> Code | None:
        """A block by its place; None if that is no longer whole instructions."""
        code = self.session.look(self.mode, address, size + self.isa.max_length)
        unit = len(self.session.look(self.mode, address, 1))
        try:
            instructions = list(self._decoded(code, size, unit))
        except TruncatedError:
            return None
        ended = any(self.session.facts(i.form).ends for i in instructions[:-1])
        if ended or sum(i.length for i in instructions) != size:
            return None  # it has changed since, or was forgotten while its size was looked up
        return Code(pc, address, instructions, code[: size * unit])

    def _decoded(self, code: bytes, size: int, unit: int) -> Iterator[Instruction]:
        """The instructions in the first `size` units of so many bytes; what follows may say that
        one is bad. Those of a block that is compiled again are still in the decoder's cache."""
        at = 0
        while at < size:
            found = self.isa.decode(code[at * unit : (at + self.isa.max_length) * unit], self.mode)
            yield found
            at += found.length

    def _following(self, planned: PlannedBlock) -> set[int]:
        """Where control goes from a block, but for returns: those are known where it calls."""
        if planned.ends:
            return set()
        direct = set(constants(planned.following(self.isa)))
        return direct if is_return(planned, self.isa) else direct | planned.targets

    def _key(self, block: Code, pc: int) -> int:
        """The session's key of a block at `pc`, fetched as `block` was."""
        return self.session.key(self.mode, pc, block.address - block.pc + pc)

    def _usable(self, block: Code) -> bool:
        native = self.session.is_native
        return block.pc not in self.session.breakpoints and all(
            native(i.form) for i in block.instructions
        )

    def _plan(self, key: int, block: Code) -> PlannedBlock:
        parts, after = trace_block(self.isa, self.mode, block.pc, block.instructions)
        number = len(self.planned)
        planned = PlannedBlock(number, block.pc, block.address, block.instructions, parts, after)
        if not planned.ends and is_indirect(planned.following(self.isa)):
            seen = self._seen_targets(key, block.pc)
            planned.targets = set(sorted(seen)[:MOST_TARGETS])
        return planned

    def _seen_targets(self, key: int, pc: int) -> set[int]:
        """Where a block's indirect jump has gone."""
        seen = set(self.session.targets.get(self.mode, {}).get(key, ()))
        if key in self._before:
            seen |= set(self._before[key][3])
        seen |= {target for source, target in self.session.seen() if source == pc}
        tier1, cold = self.session.tier1, self._cold(key)
        return seen if tier1 is None or cold is None else seen | tier1.arena.targets(cold)

    def _cold(self, key: int) -> ColdBlock | None:
        """The block of tier 1 with a key: it has those that are fetched at the program counter."""
        tier1 = self.session.tier1
        if tier1 is None or self.session.fetcher(self.mode) is not None:
            return None
        return tier1.arena.block(self.mode, key)
