"""Regions of hot code as one LLVM function: guest registers in SSA, memory checks inlined.

Registers live in stack slots that LLVM promotes. Every way out of the region stores what it knows
in those slots and joins one epilogue, which writes the state back and looks in the jump cache for
native code at the program counter. What an instruction in the middle of a block has to restore is
in a cold block beside it, made from the same expressions as the hot code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

from emu.engines.facts import fetches_at_pc
from emu.engines.native import runtime
from emu.engines.native.layout import (
    CONVENTION,
    METADATA,
    MOST_VALUES,
    SEEN,
    Left,
    Word,
    visits_slot,
)
from emu.engines.native.lowering import Lowering
from emu.engines.native.pieces import (
    Memory,
    chain,
    clock,
    exits,
    leave,
    leave_engine,
    load_slot,
    place_missed,
)
from emu.engines.native.plan import (
    Cuts,
    PlannedBlock,
    Recipe,
    Recipes,
    budgets,
    changed,
    flags_of,
    is_return,
    mark_flags,
    slot_width,
    touched,
    walk,
)
from emu.engines.native.spaces import Space
from isa.bits import Bits
from isa.definition import InstructionSet
from isa.registers import Register
from isa.trace import specialise

DENSE = 4  # from that many indirect targets on, a jump table by hash
RARE = 2  # a register that no more than one block of so many touches stays in memory


class RegionCompiler:
    """Prints one region; `text` is its LLVM module. Also the context of its lowering."""

    is_patient = True

    def __init__(
        self,
        isa: InstructionSet,
        mode: Hashable,
        blocks: Sequence[PlannedBlock],
        entries: Sequence[int],
        spaces: Mapping[str, Space],
        watched: frozenset[Register],
        name: str,
        *,
        covers: bool = False,
    ) -> None:
        self.covers = covers
        self.isa = isa
        self.mode = mode
        self.blocks = blocks
        self.entries = entries
        self.watched = watched
        self.reasons: set[str] = set()
        self.name = name
        self.by_pc = {b.pc: b for b in blocks}
        self.budgets = budgets(blocks, entries, isa)
        self.flags = flags_of(blocks, isa)
        self.cuts = Cuts(self.flags)
        mark_flags(blocks, self.cuts, isa)
        self.recipes = Recipes()
        self.late = Recipes()  # of exits from the middle, over what the others made
        self.low = Lowering(self)
        self.memory = Memory(self.low, spaces, isa.spaces)
        self.load, self.store = self.memory.load, self.memory.store
        self.cold = self.low.cold
        self._gets: dict[Register, str] = {}  # read at the head of the block under way
        self._head = 0
        self._in_cold = False
        self._registers = ""  # -> all slots, where they were looked up
        self._part = ""
        self._labels: set[str] = set()
        self._rare = self._rarely_touched()
        self._in_memory = self._flags_in_memory() | self._rare
        self.written = self._written()
        self.used: set[Register] = set(self.written) - self._in_memory

    def _written(self) -> list[Register]:
        """What an exit may have to write back, registers that a block changes and puts back too."""
        states = [k for b in self.blocks for k in (b.after, *(p.before for p in b.parts))]
        found = {r for known in states for r in known if changed(r, known)}
        return sorted(found - self._rare - {self.isa.pc} | set(self.flags), key=lambda r: r.slot)

    def _flags_in_memory(self) -> set[Register]:
        """Flags that are only recipes here: while one may be read, its old value is in memory."""
        stored = {f for b in self.blocks for f in b.live if changed(f, b.after)}
        return set(self.flags) - stored

    def _rarely_touched(self) -> set[Register]:
        """Registers that few blocks touch and whose values are no addresses or counts: to load and
        store them wherever the region is entered and left takes longer than to do so there."""
        counts = Counter(r for block in self.blocks for r in touched(block))
        mostly = {self.isa.pc, *self.flags}
        return {
            register
            for register, count in counts.items()
            if count * RARE <= len(self.blocks)
            and register.width != self.isa.pc.width
            and register not in mostly
        }

    @property
    def text(self) -> str:
        """The module."""
        low = self.low
        for block in self.blocks:
            self._block(block)
        body = low.lines
        low.lines = []
        self._epilogue()
        tail, low.lines = low.lines, []
        self._prologue()
        head = low.lines
        define = f"define {CONVENTION} i64 @{self.name}(ptr %mailbox, i64 %way) {{"
        declared = [*sorted(low.declarations), runtime.DECLARATIONS, METADATA]
        return "\n".join([define, "entry:", *head, *body, *self.cold, *tail, "}", *declared])

    # -- prologue --------------------------------------------------------------------------------

    def _word(self, number: int, kind: str = "ptr") -> str:
        at = self.low.emit(f"getelementptr i64, ptr %mailbox, i64 {number}")
        return self.low.emit(f"load {kind}, ptr {at}") if kind else at

    def _prologue(self) -> None:
        low = self.low
        self._registers = self._word(Word.REGISTERS)
        for register in sorted(self.used, key=lambda r: r.slot):
            value = self._load_slot(register)
            low.line(f"%r{register.slot} = alloca i{register.width}")
            low.line(f"store i{register.width} {value}, ptr %r{register.slot}")
        self._locals()
        low.line(f"%missed = getelementptr i64, ptr %mailbox, i64 {int(Word.MISSED)}")
        if self.covers:
            low.line(f"%coverage = getelementptr i8, ptr {self._word(Word.COVERAGE)}, i64 0")
        self.memory.words()
        self._switch_to_entry()

    def _place(self, register: Register) -> str:
        """Where a register's slot is. Only what stands together remembers where they all are: that
        would take one of the host's registers from the loops between."""
        registers = self._registers or self._word(Word.REGISTERS)
        return self.low.emit(f"getelementptr i64, ptr {registers}, i64 {register.slot}")

    def _load_slot(self, register: Register) -> str:
        place = self._place(register)
        return load_slot(self.low, register.width, place, "load")  # only of what is needed

    def _locals(self) -> None:
        low = self.low
        low.line("%remaining = alloca i64")
        remaining = low.emit(f"load i64, ptr {self._word(Word.REMAINING, '')}")
        low.line(f"store i64 {remaining}, ptr %remaining")
        self._visit(remaining)
        low.line(f"%pc = alloca i{self.isa.pc.width}")
        low.line("%left = alloca i64")
        low.line(f"%address = getelementptr i64, ptr %mailbox, i64 {int(Word.ADDRESS)}")
        for name, recipes in (("recipe", self.recipes), ("late", self.late)):
            low.line(f"%{name} = alloca i32")
            low.line(f"store i32 0, ptr %{name}")
            for size, most in recipes.most.items():
                for number in range(most):
                    low.line(f"%{name}.operand{size}.{number} = alloca i{size}")

    def _visit(self, remaining: str) -> None:
        """Count a visit, and begin to count its instructions (see `visits`)."""
        self._count(0, "add", "1")
        self._count(1, "add", remaining)

    def _count(self, word: int, operation: str, operand: str) -> None:
        """Change one of the words of this region's visits. Where they are is looked up each time:
        to remember it would take a register from the loops between."""
        low = self.low
        index = 2 * visits_slot(self.blocks[self.entries[0]].pc) + word
        place = low.emit(f"getelementptr i64, ptr {self._word(Word.VISITS)}, i64 {index}")
        before = low.emit(f"load i64, ptr {place}")
        low.line(f"store i64 {low.emit(f'{operation} i64 {before}, {operand}')}, ptr {place}")

    def _switch_to_entry(self) -> None:
        low = self.low
        for number in self.entries:
            low_label = f"entry.{number}"
            self.cold.append(f"{low_label}:")
            self.cold.append(f"  br label %{self._arrival(self.blocks[number])}")
        cases = " ".join(f"i64 {n}, label %entry.{n}" for n in self.entries[1:])
        low.line(f"switch i64 %way, label %entry.{self.entries[0]} [{cases}]")

    # -- blocks ----------------------------------------------------------------------------------

    def _arrival(self, block: PlannedBlock) -> str:
        """The label where a jump to the block goes: it checks that it would be fetched there."""
        return f"check.{block.number}" if self._fetch_effects() else f"block.{block.number}"

    def _fetch_effects(self) -> bool:
        return not fetches_at_pc(self.isa, self.isa.fetch(self.mode))

    def _block(self, block: PlannedBlock) -> None:
        low = self.low
        low.begin()
        self._gets.clear()
        if self._fetch_effects():
            self._check_fetch(block)
        low.start(f"block.{block.number}")
        self.memory.begin(e for part in block.parts for e in part.effects)
        for part in block.parts:
            self.memory.note(part.effects)
        self._spend(block)
        self._head = len(low.lines)
        for number, part in enumerate(block.parts):
            self._part = f"{block.number}.{number}"
            if part.effects:
                self._restore(block, number)
            if number == block.length - 1:
                self._expect(block)
            for effect in part.effects:
                low.effect(effect)
        if not block.ends:
            self._finish(block)

    def _expect(self, block: PlannedBlock) -> None:
        """Before the last instruction: what is left for, if it does not say so itself."""
        if self._looks(block):
            self.low.line(f"store i64 {int(Left.LOOK)}, ptr %left")
        elif self._exits(block):
            self.low.line(f"store i64 {int(Left.DISPATCH)}, ptr %left")

    def _exits(self, block: PlannedBlock) -> bool:
        found: list[bool] = []
        walk(block.parts[-1].effects, set(), lambda n: found.append(exits(n)))
        return any(found)

    def _looks(self, block: PlannedBlock) -> bool:
        """Whether the last instruction changes what decoding or fetching depends on."""
        return any(changed(r, block.after) for r in self.watched)

    def _check_fetch(self, block: PlannedBlock) -> None:
        """Leave if the block's program counter is no longer fetched at the block's address."""
        low, nowhere = self.low, f"nowhere.{block.number}"
        low.start(f"check.{block.number}")
        self._part = f"fetch.{block.number}"
        self._head = len(low.lines)
        for kind in ("give_up", "missed"):
            self.cold += [f"{kind}.{self._part}:", f"  br label %{nowhere}"]
        self._exit_block(nowhere, block.pc, Left.STEP)
        trace = self.isa.fetch(self.mode)
        known = {self.isa.pc: Bits.of(block.pc, self.isa.pc.width)}
        rewriter = specialise({}, known, {})
        low.region(rewriter.region(trace.region))
        assert trace.value is not None
        value = rewriter.value(trace.value)
        same = low.emit(f"icmp eq i{value.width} {low.value(value)}, {block.address}")
        low.branch(same, f"block.{block.number}", nowhere, "!prof !0")
        low.begin()
        self._gets.clear()

    def _exit_block(self, label: str, pc: int, left: Left) -> None:
        self.cold += [
            f"{label}:", f"  store i{self.isa.pc.width} {pc}, ptr %pc",
            f"  store i64 {int(left)}, ptr %left", "  br label %epilogue",
        ]  # fmt: skip

    def _spend(self, block: PlannedBlock) -> None:
        """Count the block's instructions before they are done; where the budget is looked at, leave
        if it does not last to the next such place."""
        low, label = self.low, f"budget.{block.number}"
        before = low.emit("load i64, ptr %remaining")
        if block.number in self.budgets:
            enough = low.emit(f"icmp sge i64 {before}, {self.budgets[block.number]}")
            low.likely(enough, label)
            self._exit_block(label, block.pc, Left.BUDGET)
        low.line(f"store i64 {low.emit(f'sub i64 {before}, {block.length}')}, ptr %remaining")
        self._cover(str(block.address), 1)

    def _cover(self, address: str, change: int) -> None:
        """Change the count of executed code from an address on (see `emu.coverage`)."""
        if self.covers:
            low = self.low
            place = low.emit(f"getelementptr i64, ptr %coverage, i64 {address}")
            count = low.emit(f"add i64 {low.emit(f'load i64, ptr {place}')}, {change}")
            low.line(f"store i64 {count}, ptr {place}")

    def _cover_end(self, block: PlannedBlock, target: str) -> None:
        """The whole block was executed, unless its last instruction goes on with repeating."""
        if not self.covers:
            return
        last, behind = block.instructions[-1], block.address + block.size
        end = str(behind)
        if self.isa.trace(last.form).has("retire"):
            low, at = self.low, behind - last.length
            stays = low.emit(
                f"icmp eq i{self.isa.pc.width} {target}, {at - block.address + block.pc}"
            )
            end = low.emit(f"select i1 {stays}, i64 {at}, i64 {behind}")
        self._cover(end, -1)

    def _restore(self, block: PlannedBlock, number: int) -> None:
        """The cold blocks through which instruction `number` is left before it has happened."""
        low, part = self.low, self._part
        hot, low.lines, label = low.lines, self.cold, low.label
        for kind in ("give_up", "missed"):
            low.start(f"{kind}.{part}")
            why = str(int(Left.STEP)) if kind == "give_up" else low.emit("load i64, ptr %missed")
            low.line(f"store i64 {why}, ptr %left")
            low.jump(f"undo.{part}")
        low.start(f"undo.{part}")
        low.push()
        gets, self._gets, self._in_cold = self._gets, dict(self._gets), True
        self._store_state(block.parts[number].before, set(), in_the_middle=True)
        left = low.emit("load i64, ptr %remaining")
        rest = block.length - number
        self._cover(str(block.address + block.offset(number)), -1)
        low.line(f"store i64 {low.emit(f'add i64 {left}, {rest}')}, ptr %remaining")
        self._gets, self._in_cold = gets, False
        low.pop()
        low.jump("epilogue")
        self.cold, low.lines, low.label = low.lines, hot, label

    def _store_state(
        self, known: dict[Register, Bits], live: set[Register], *, in_the_middle: bool = False
    ) -> None:
        """Put what has changed in the slots: registers by value, flags as a recipe."""
        low, flags = self.low, set(self.flags)
        values = [
            (r, low.value(v))
            for r, v in known.items()
            if changed(r, known) and r not in flags and r is not self.isa.pc
        ]
        concrete = [(f, low.value(known[f])) for f in self.flags if f in live and changed(f, known)]
        lines = []
        if any(changed(f, known) for f in flags):
            stored = {f for f in live if changed(f, known)}
            cut = self.cuts.of(known, stored)
            late = in_the_middle and cut.olds
            name, recipes = ("late", self.late) if late else ("recipe", self.recipes)
            lines = self._leave_recipe(name, recipes.of(cut), [low.value(o) for o in cut.operands])
        if self.isa.pc in known and known[self.isa.pc].is_const:
            low.line(f"store i{self.isa.pc.width} {known[self.isa.pc].value}, ptr %pc")
        for register, value in values + concrete:
            if register in self._rare:
                self._store_slot(register, value)
            else:
                low.line(f"store i{register.width} {value}, ptr %r{register.slot}")
        for line in lines:
            low.line(line)

    def _leave_recipe(self, name: str, recipe: Recipe, operands: list[str]) -> list[str]:
        lines = [f"store i32 {recipe.number}, ptr %{name}"]
        numbers = {32: 0, 64: 0}
        for width, text in zip(recipe.widths, operands, strict=True):
            size = slot_width(width)
            if width < size:
                text = text if text.isdigit() else self.low.emit(f"zext i{width} {text} to i{size}")
            lines.append(f"store i{size} {text}, ptr %{name}.operand{size}.{numbers[size]}")
            numbers[size] += 1
        return lines

    def _finish(self, block: PlannedBlock) -> None:
        """After the last instruction: change the registers, and go on or leave."""
        low = self.low
        following = block.following(self.isa)
        if self.covers:
            self._cover_end(block, low.value(following))
        leaves = self._exits(block) or self._looks(block)
        decided = {id(following): low.value(following)} if leaves else self._decide(following)
        self._store_state(
            {r: v for r, v in block.after.items() if r is not self.isa.pc}, block.live
        )
        if leaves:
            low.line(f"store i{self.isa.pc.width} {decided[id(following)]}, ptr %pc")
            low.jump("epilogue")
        else:
            self._go(block, decided, following)

    def _decide(self, target: Bits) -> dict[int, str]:
        """Evaluate whatever the jump depends on, before the registers change."""
        texts = {id(target): self.low.value(target)} if target.op != "select" else {}
        if target.op == "select":
            texts[id(target)] = self.low.value(target.args[0])
            for way in target.args[1:]:
                texts |= self._decide(way)
        return texts

    def _go(self, block: PlannedBlock, decided: dict[int, str], target: Bits) -> None:
        low = self.low
        if target.is_const:
            self._go_to(target.value)
        elif target.op == "select":
            then, otherwise = low.fresh("taken"), low.fresh("not")
            low.branch(decided[id(target)], then, otherwise)
            low.start(then)
            self._go(block, decided, target.args[1])
            low.start(otherwise)
            self._go(block, decided, target.args[2])
        else:
            self._go_indirect(decided[id(target)], block)

    def _go_to(self, pc: int) -> None:
        block = self.by_pc.get(pc)
        if block is not None:
            self.low.jump(self._arrival(block))
            return
        label = f"out.{pc}"
        if label not in self._labels:
            self._labels.add(label)
            self._exit_block(label, pc, Left.DISPATCH)
        self.low.jump(label)

    def _go_indirect(self, target: str, block: PlannedBlock) -> None:
        low, width = self.low, self.isa.pc.width
        known = sorted(block.targets & self.by_pc.keys())
        out = low.fresh("indirect")
        if len(known) >= DENSE:
            self._go_by_hash(target, known, out)
        else:
            cases = " ".join(f"i{width} {t}, label %{self._arrival(self.by_pc[t])}" for t in known)
            low.line(f"switch i{width} {target}, label %{out} [{cases}]")
        low.start(out)
        if not is_return(block, self.isa):
            self._tell(block.pc, target)
        low.line(f"store i{width} {target}, ptr %pc")
        low.line(f"store i64 {int(Left.DISPATCH)}, ptr %left")
        low.jump("epilogue")

    def _tell(self, pc: int, target: str) -> None:
        """Note where an indirect jump goes that leaves: perhaps it had better stay."""
        low, width = self.low, self.isa.pc.width
        wide = low.emit(f"zext i{width} {target} to i64") if width < 64 else target
        mixed = low.emit(f"lshr i64 {low.emit(f'mul i64 {wide}, {0x9E3779B1}')}, 20")
        slot = low.emit(f"and i64 {low.emit(f'xor i64 {mixed}, {pc}')}, {SEEN - 1}")
        place = low.emit(f"getelementptr [2 x i64], ptr {self._word(Word.SEEN)}, i64 {slot}")
        low.line(f"store i64 {pc}, ptr {place}")
        second = low.emit(f"getelementptr i64, ptr {place}, i64 1")
        low.line(f"store i64 {wide}, ptr {second}")

    def _go_by_hash(self, target: str, known: list[int], out: str) -> None:
        """A jump table by a multiplicative hash that keeps the known targets apart."""
        low, width = self.low, self.isa.pc.width
        factor, bits = perfect_hash(known, width)
        product = low.emit(f"mul i{width} {target}, {factor}")
        slot = low.emit(f"lshr i{width} {product}, {width - bits}")
        cases = []
        for pc in known:
            label = low.fresh("case")
            cases.append(
                f"i{width} {(pc * factor & (1 << width) - 1) >> width - bits}, label %{label}"
            )
            same = low.fresh("is")
            self.cold += [
                f"{label}:", f"  %{same} = icmp eq i{width} {target}, {pc}",
                f"  br i1 %{same}, label %{self._arrival(self.by_pc[pc])}, label %{out}, !prof !0",
            ]  # fmt: skip
        low.line(f"switch i{width} {slot}, label %{out} [{' '.join(cases)}]")

    # -- exits of the guest's own ----------------------------------------------------------------

    def exit(self, node: Bits, values: list[str]) -> None:
        """See `Context`."""
        self.reasons.add(f"{node.attribute}/{len(values)}")
        assert len(values) <= MOST_VALUES
        leave_engine(self.low, node, values)

    # -- epilogue --------------------------------------------------------------------------------

    def _epilogue(self) -> None:
        """Write the state back; go on in native code if there is some."""
        low, pc = self.low, self.isa.pc
        low.start("epilogue")
        self._registers = self._word(Word.REGISTERS)
        flags = set(self.flags)
        for register in self.written:
            if register not in flags:
                self._store_slot(register, self.slot_value(register))
        target = low.emit(f"load i{pc.width}, ptr %pc")
        self._store_slot(pc, target)
        remaining = low.emit("load i64, ptr %remaining")
        low.line(f"store i64 {remaining}, ptr {self._word(Word.REMAINING, '')}")
        self._count(1, "sub", remaining)
        self._store_flags()
        why = low.emit("load i64, ptr %left")
        low.branch(low.emit(f"icmp eq i64 {why}, {int(Left.DISPATCH)}"), "chain", "return")
        low.start("return")
        leave(low, why)
        self._chain(target)

    def _store_slot(self, register: Register, value: str) -> None:
        low = self.low
        place = self._place(register)
        if register.width < 64:
            value = low.emit(f"zext i{register.width} {value} to i64")
        low.line(f"store i64 {value}, ptr {place}")

    def _store_flags(self) -> None:
        """What the recipes say; without one (0) the flags are as they were."""
        self._store_flags_by("recipe", self.recipes, self._in_memory, self.slot_value)
        self._store_flags_by("late", self.late, set(self.flags), self._load_slot)

    def _store_flags_by(
        self, name: str, recipes: Recipes, in_memory: set[Register], old: Callable[[Register], str]
    ) -> None:
        low, found = self.low, list(recipes.found.values())
        if not found:
            return
        cases = " ".join(f"i32 {r.number}, label %{name}.{r.number}" for r in found)
        which = low.emit(f"load i32, ptr %{name}")
        low.line(f"switch i32 {which}, label %{name}.done [{cases}]")
        for recipe in found:
            low.start(f"{name}.{recipe.number}")
            operands = self._operands(name, recipe)
            values = {
                f: v
                for f, v in recipe.cut.values.items()
                if f not in in_memory or changed(f, recipe.cut.values)
            }
            olds = {f: old(f) for f in self.flags if f in recipe.cut.olds}
            texts = {f: low.inline(v, operands, olds) for f, v in values.items()}
            for flag, text in texts.items():
                self._store_slot(flag, text)
            low.jump(f"{name}.done")
        low.start(f"{name}.done")

    def slot_value(self, register: Register) -> str:
        """A register's slot, read now."""
        if register in self._in_memory:
            return self._load_slot(register)
        return self.low.emit(f"load i{register.width}, ptr %r{register.slot}")

    def _operands(self, name: str, recipe: Recipe) -> list[str]:
        low = self.low
        operands, numbers = [], {32: 0, 64: 0}
        for width in recipe.widths:
            size = slot_width(width)
            text = low.emit(f"load i{size}, ptr %{name}.operand{size}.{numbers[size]}")
            operands.append(low.emit(f"trunc i{size} {text} to i{width}") if width < size else text)
            numbers[size] += 1
        return operands

    def _chain(self, target: str) -> None:
        low, width = self.low, self.isa.pc.width
        low.start("chain")
        chain(low, low.emit(f"zext i{width} {target} to i64") if width < 64 else target)

    # -- what the lowering asks ------------------------------------------------------------------

    def get(self, register: Register) -> str:
        """See `Context`."""
        found = self._gets.get(register)
        if found is None:
            low, last = self.low, len(self.low.lines)
            found = self._gets[register] = self._read(register)
            if not self._in_cold:
                lines, low.lines[last:] = low.lines[last:], []
                low.lines[self._head : self._head] = lines
        return found

    def _read(self, register: Register) -> str:
        if register not in self._in_memory:
            self.used.add(register)
        return self.slot_value(register)

    def get_indexed(self, node: Bits, index: str) -> str:
        """See `Context`."""
        raise AssertionError("a register number that is no constant")

    def field(self, name: str, width: int) -> str:
        """See `Context`."""
        raise AssertionError("operands of a region are constants")

    def clock(self) -> str:
        """See `Context`: the last instruction of a block reads it, so all the others are done."""
        remaining = self.low.emit("load i64, ptr %remaining")
        return clock(self.low, self.low.emit(f"add i64 {remaining}, 1"))

    def given_up(self) -> str:
        """See `Context`."""
        return f"give_up.{self._part}"

    def missed(self) -> str:
        """See `Context`."""
        return f"missed.{self._part}"

    def missed_at(self, address: str, why: Left, space: int = 0) -> str:
        """See `Context`."""
        label, wide = self.low.fresh("miss"), self.low.fresh("at")
        self.cold += [
            f"{label}:", *place_missed(wide, address, space),
            f"  store i64 %{wide}, ptr %address", f"  store i64 {int(why)}, ptr %left",
            f"  br label %undo.{self._part}",
        ]  # fmt: skip
        return label

    def bulk(self, node: Bits, arguments: list[str]) -> str:
        """See `Context`."""
        remaining = self.low.emit("load i64, ptr %remaining")
        budget = self.low.emit(f"add i64 {remaining}, 1")  # the block has counted one
        return self.memory.space_of(node).bulk(self.low, node, arguments, budget)

    def retire(self, count: str, width: int) -> None:
        """See `Context`."""
        low = self.low
        wide = low.emit(f"zext i{width} {count} to i64") if width < 64 else count
        more = low.emit(f"sub i64 {wide}, 1")
        left = low.emit("load i64, ptr %remaining")
        low.line(f"store i64 {low.emit(f'sub i64 {left}, {more}')}, ptr %remaining")


def perfect_hash(values: Sequence[int], width: int) -> tuple[int, int]:
    """An odd factor and a number of bits: the top bits of value * factor differ for all values."""
    bits, factor, size = max(len(values).bit_length() + 1, 2), 0x9E3779B1, (1 << width) - 1
    while True:
        for _ in range(64):
            if len({(v * factor & size) >> width - bits for v in values}) == len(values):
                return factor & size, bits
            factor = factor * 0x2545F491 + 0x1234567 | 1
            factor &= size
        bits += 1
