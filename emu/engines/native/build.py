"""From executed blocks to a compiled region: which blocks belong together, tracing, compiling.

All of it runs in the compiler's thread; it only reads what the session knows.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emu.engines.native.compiled import Compiled
from emu.engines.native.layout import SYMBOL
from emu.engines.native.names import digest
from emu.engines.native.pieces import exits
from emu.engines.native.plan import (
    PlannedBlock,
    constants,
    is_indirect,
    return_sites,
    trace_block,
)
from emu.engines.native.region import RegionCompiler
from isa.definition import Instruction, TruncatedError

if TYPE_CHECKING:
    from emu.engines.native.arena import ColdBlock
    from emu.engines.native.compiler import Compiler
    from emu.engines.native.engine import NativeSession

LARGEST = 200  # instructions of a region
SMALL = 40  # instructions that are worth copying from another region
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
    """Builds the region of one mode that begins at one block (`key` of the session's table)."""

    def __init__(self, session: NativeSession, mode: Hashable, key: int) -> None:
        self.session = session
        self.isa = session.isa
        self.mode = mode
        self.head = key
        self.blocks: dict[int, Code] = {}
        self.planned: list[PlannedBlock] = []
        self.entries = {key}

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
        image = compiler.image(region.text)
        ranges = [(b.address, *self._code(b)) for b in self.blocks.values()]
        entries = [(self.planned[n].pc, self.planned[n].address, n) for n in numbers]
        head = self.blocks[self.head]
        first = (head.pc, head.address, head.code)
        reasons = sorted(region.reasons)
        return Compiled(ranges, entries, reasons, compiler.quick, covers, first, image)

    def _code(self, block: Code) -> tuple[int, str]:
        size = sum(i.length for i in block.instructions)
        return size, digest(block.code)

    def _collect(self) -> None:
        """Blocks that have run, along direct jumps, calls and observed targets."""
        waiting, seen, room = [self.head], {self.head}, LARGEST
        while waiting:
            key = waiting.pop(0)
            block = self._block(key)
            if block is None or block.length > room or not self._usable(block):
                continue
            if self._served(key) and LARGEST - room > SMALL:
                continue
            room -= block.length
            self.blocks[key] = block
            self.planned.append(self._plan(key, block))
            sites = return_sites(self.planned[-1], self.isa)
            for pc in self._following(self.planned[-1], sites):
                target = self._key(block, pc)
                if pc in sites or target in self.blocks or self._leaves(block):
                    self.entries.add(target)
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)

    def _leaves(self, block: Code) -> bool:
        """Whether a handler may take over after a block: what follows is entered from outside."""
        return any(map(exits, self.isa.trace(block.instructions[-1].form).region.nodes))

    def _served(self, key: int) -> bool:
        """Whether another region can be entered at a block."""
        region = self.session.regions.table(self.mode).get(key)
        return key != self.head and region is not None and not region.quick

    def _block(self, key: int) -> Code | None:
        """A block that has run, in whichever tier."""
        block = self.session.tables.get(self.mode, {}).get(key)
        if block is not None:
            return Code(block.pc, block.address, block.instructions, block.code)
        tier1, cold = self.session.tier1, self._cold(key)
        if tier1 is None or cold is None:
            return None
        code = tier1.code(cold, more=self.isa.max_length)
        try:
            instructions = list(self._decoded(code, cold.size))
        except TruncatedError:
            return None
        if sum(i.length for i in instructions) != cold.size:
            return None  # it has changed since
        return Code(cold.pc, cold.pc, instructions, code[: cold.size])

    def _decoded(self, code: bytes, size: int) -> Iterator[Instruction]:
        """The instructions in the first `size` bytes; what follows may say that one is bad."""
        at = 0
        while at < size:
            found = self.isa.decode(code[at:], self.mode)
            yield found
            at += found.length

    def _following(self, planned: PlannedBlock, sites: set[int]) -> list[int]:
        direct = set() if planned.ends else set(constants(planned.following(self.isa)))
        return sorted(direct | planned.targets | sites)

    def _key(self, block: Code, pc: int) -> int:
        """The session's key of a block at `pc`, fetched as `block` was."""
        if self.session.fetcher(self.mode) is None:
            return pc
        return (block.address - block.pc + pc) << 32 | pc

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
            seen = self._seen_targets(key)
            planned.targets = set(sorted(seen)[:MOST_TARGETS])
        return planned

    def _seen_targets(self, key: int) -> set[int]:
        """Where a block's indirect jump has gone."""
        seen = set(self.session.targets.get(self.mode, {}).get(key, ()))
        tier1, cold = self.session.tier1, self._cold(key)
        return seen if tier1 is None or cold is None else seen | tier1.arena.targets(cold)

    def _cold(self, key: int) -> ColdBlock | None:
        """The block of tier 1 with a key: it has those that are fetched at the program counter."""
        tier1 = self.session.tier1
        if tier1 is None or self.session.fetcher(self.mode) is not None:
            return None
        return tier1.arena.block(self.mode, key)
