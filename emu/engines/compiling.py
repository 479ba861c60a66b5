"""Emitted code of the `python` engine, compiled: handlers of forms, and whole blocks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable
from types import CodeType

from emu.engines.access import Stop
from emu.engines.block import Block, bound
from emu.engines.emit import Emitter
from isa.bits import Bits
from isa.check import check
from isa.hints import TYPE_CHECKING, Any, Final
from isa.ops import OPS
from isa.record import NamedTuple
from isa.registers import Register
from isa.trace import Region, Trace, expander, schedule, specialise

if TYPE_CHECKING:
    from emu.engines.python import Session
    from emu.state import Values

MOST: Final = 1 << 14  # handlers that a process remembers


class _Emitted(NamedTuple):
    """A handler's source, and its code before that is bound to a session's memory."""

    trace: Trace  # kept, as it is known by its id
    fields: list[str]
    source: str
    code: CodeType


_EMITTED: dict[Hashable, _Emitted] = {}


def emit_handler(session: Session, trace: Trace, undo: bool = False) -> Any:
    """Compile a trace to handler(values, fields); its value, if any, is returned."""
    key = _key(session, trace, undo)
    found = _EMITTED.get(key)
    if found is None:
        if len(_EMITTED) >= MOST:
            _EMITTED.clear()
        found = _EMITTED[key] = _emit(session, trace, undo)
    return bound(session, found.fields, found.source, found.code)


def is_emitted(session: Session, trace: Trace, undo: bool) -> bool:
    """Whether the process has compiled that already, perhaps for another machine."""
    return _key(session, trace, undo) in _EMITTED


def _key(session: Session, trace: Trace, undo: bool) -> Hashable:
    """The source depends on the ways to memory and not on the memory."""
    return id(trace), undo, session.access_types


def _emit(session: Session, trace: Trace, undo: bool) -> _Emitted:
    rewriter = expander()
    expanded = check(rewriter.trace(trace))
    fields = sorted({n.attribute[0] for n in expanded.walk() if n.op == "field"})
    emitter = Emitter(session.access)
    emitter.undo = undo
    if fields:
        emitter.line("".join(f"f_{name}, " for name in fields) + "= F")
    emitter.count_uses(expanded.region)
    _emit_with_undo(emitter, expanded.region.nodes, undo)
    if expanded.value is not None:
        emitter.line(f"return {emitter.text(expanded.value)}")
    emitter.line("return")
    source = "def handler(V, F=()):\n" + "\n".join(emitter.lines)
    handler = _compile(source, f"<handler {trace.name}>", {})["handler"]
    return _Emitted(trace, fields, source, handler.__code__)


def _emit_with_undo(emitter: Emitter, nodes: list[Bits], undo: bool) -> None:
    puts = {id(n): n for n in nodes if n.op in ("put", "put_indexed")}
    if undo:
        emitter.line("U.clear()")
    for node in nodes:
        if id(node) not in puts:
            emitter.node(node)
    emitter.puts(list(puts.values()))
    if undo:
        emitter.line("U.clear()")


def _compile(source: str, name: str, names: dict[str, Any]) -> dict[str, Any]:
    local: dict[str, Any] = {}
    exec(compile(source, name, "exec"), names, local)
    return local


class _Part:
    """One instruction of a block under compilation: its effects, and the registers before it."""

    def __init__(self, effects: list[Bits], before: dict[Register, Bits], undo: bool) -> None:
        self.effects = effects
        self.before = before
        self.undo = undo


def emit_block(session: Session, block: Block) -> Callable[[Values], None]:
    """Compile a block to one Python function."""
    parts, after = _join(session, block)
    expand = expander()
    region = Region()
    boundaries = []
    for part in parts:
        boundaries.append(len(region.effects))
        region.effects += expand.region(Region(part.effects)).effects
    puts = [
        Bits("put", 0, (expand.value(value),), register)
        for register, value in after.items()
        if not (value.op == "get" and value.attribute[0] is register)
    ]
    if region.ends:
        puts = []
    effects, region.effects = region.effects, region.effects + puts
    trace = check(schedule(Trace(f"block at {block.address:#x}", region)))
    return _Printer(session, block, parts, expand).function(trace, effects, boundaries, puts)


def _join(session: Session, block: Block) -> tuple[list[_Part], dict[Register, Bits]]:
    """Trace the block's instructions one after the other, values forwarded."""
    isa = session.isa
    known = {register: Bits.of(value, register.width) for register, value in block.fixed.items()}
    fixed = dict(known)
    known[isa.pc] = Bits.of(block.pc, isa.pc.width)
    interned: dict[Any, Bits] = {}
    parts = []
    fetch = isa.fetch(block.mode)
    for number, instruction in enumerate(block.instructions):
        trace = isa.trace(instruction.form)
        rewriter = specialise(instruction.fields, known, interned)
        region = rewriter.region(trace.region)
        effects = [e for e in region.effects if e.op not in ("put", "put_indexed", "undefined")]
        if number:  # whoever found the block has fetched its first instruction
            effects = specialise({}, known, interned).region(fetch.region).effects + effects
        parts.append(_Part(effects, dict(known), session.facts(instruction.form).undo))
        if region.ends:
            break  # with these operands it always faults (AAM 0)
        for put in region.effects:
            if put.op == "put":
                known[put.attribute] = put.args[0]
            assert put.op != "put_indexed", "a register number that is no constant"
    after = {r: value for r, value in known.items() if value is not fixed.get(r)}
    return parts, after


class _Printer:
    """Prints a block, and knows how to restore the state at each of its instructions."""

    def __init__(self, session: Session, block: Block, parts: list[_Part], expand: Any) -> None:
        self.session = session
        self.block = block
        self.parts = parts
        self.expand = expand
        self.emitter = Emitter(session.access, indent="        ")
        self.first_lines: list[int] = []

    def function(
        self, trace: Trace, effects: list[Bits], boundaries: list[int], puts: list[Bits]
    ) -> Callable[[Values], None]:
        """The compiled function of the scheduled block."""
        emitter = self.emitter
        emitter.count_uses(trace.region)
        owner = self._owners(trace, effects, boundaries)
        current = -1
        for node, part in owner:
            if node.op == "put":
                continue
            if part != current:
                current = self._enter(part, current)
            emitter.node(node)
        self._leave(current)
        emitter.puts(puts)
        emitter.line("return")
        source = "\n".join(
            ["def block(V):", "    try:", *emitter.lines,
             "    except Stop as stop:", "        recover(stop, locals())", "        raise"]
        )  # fmt: skip
        names = self.session.globals | {"recover": self.recover}
        function: Callable[[Values], None] = _compile(
            source, f"<block {self.block.address:#x}>", names
        )["block"]
        function.source = source  # type: ignore[attr-defined]
        return function

    def _owners(
        self, trace: Trace, effects: list[Bits], boundaries: list[int]
    ) -> list[tuple[Bits, int]]:
        """Each node with the number of the instruction whose effect it serves."""
        number = {id(e): bisect_right(boundaries, i) - 1 for i, e in enumerate(effects)}
        owners: list[tuple[Bits, int]] = []
        waiting: list[Bits] = []
        for node in trace.region.nodes:
            waiting.append(node)
            if id(node) in number:
                owners += [(n, number[id(node)]) for n in waiting]
                waiting = []
        return owners + [(n, len(self.parts) - 1) for n in waiting]

    def _enter(self, part: int, current: int) -> int:
        self._leave(current)
        while len(self.first_lines) <= part:
            self.first_lines.append(len(self.emitter.lines))
        self.emitter.undo = self.parts[part].undo
        if self.emitter.undo:
            self.emitter.line("U.clear()")
        return part

    def _leave(self, part: int) -> None:
        if part >= 0 and self.parts[part].undo:
            self.emitter.line("U.clear()")

    def recover(self, stop: Stop, values: dict[str, Any]) -> None:
        """Restore the registers as they were before the instruction that was left."""
        traceback = stop.__traceback__
        assert traceback is not None
        part = bisect_right(self.first_lines, traceback.tb_lineno - 3) - 1
        state = values["V"]
        restored = {
            register.slot: self._value(node, values, {})
            for register, node in self.parts[part].before.items()
        }
        for slot, value in restored.items():
            state[slot] = value
        self.session.bulk.index = part

    def _value(self, node: Bits, values: dict[str, Any], done: dict[int, int]) -> int:
        """What a node is worth, from the names that the emitted code had assigned."""
        found = done.get(id(node))
        if found is None:
            found = done[id(node)] = self._compute(node, values, done)
        return found

    def _compute(self, node: Bits, values: dict[str, Any], done: dict[int, int]) -> int:
        for candidate in (node, self.expand.rebuilt(node)):
            name = None if candidate is None else self.emitter.names.get(id(candidate))
            if name is not None and name in values:
                return int(values[name])
        if node.op == "result":  # one that nothing in the block needed has no name of its own
            name = self.emitter.yielded(self.expand.rebuilt(node.args[0]), node.attribute[0])
            if name in values:
                return int(values[name])
        if node.op == "const":
            return node.value
        if node.op == "get":
            return int(values["V"][node.attribute[0].slot])
        arguments = [self._value(a, values, done) for a in node.args]
        if node.op == "call":
            known = [Bits.of(v, a.width) for v, a in zip(arguments, node.args, strict=True)]
            return int(node.attribute.inline(known).value)
        row = OPS[node.op]
        assert callable(row.python), f"{node!r} was computed but has no name"
        return row.python(node.args[0].width, node.attribute, *arguments)
