"""What an engine needs to know of a form, derived from its trace.

The IR is imported by what looks at traces: facts that were kept on the disk need none.
"""

from __future__ import annotations

from isa.hints import TYPE_CHECKING, Final, Hashable
from isa.light import lru_cache
from isa.record import NamedTuple

if TYPE_CHECKING:
    from isa.bits import Bits
    from isa.definition import InstructionSet
    from isa.registers import Register
    from isa.trace import Region, Trace

MOST: Final = 1 << 15  # traces whose facts are remembered, for all machines of a process
_PROBE = 64  # any program counter: what falls through there falls through anywhere


class Facts(NamedTuple):
    """Derived once for each form.

    `alone`: its count or time depends on where it stands, so it makes a block of its own;
    `ends`: a block ends after it; `checks`: the engine has something to look at after it, too;
    `undo`: a fault may follow a store of it; `repeats`: it may stand for several iterations, and
    is not done while it stays where it is.
    """

    alone: bool
    ends: bool
    checks: bool
    undo: bool
    repeats: bool


def facts(isa: InstructionSet, form: Hashable, watched: frozenset[Register]) -> Facts:
    """Facts of a form; `watched` are the registers after whose change the engine must look."""
    return _facts(isa.trace(form), isa.pc, watched)


@lru_cache(maxsize=MOST)
def _facts(trace: Trace, pc: Register, watched: frozenset[Register]) -> Facts:
    alone = trace.has("retire", "clock") or any(
        n.op in ("load", "store") and n.attribute[0] == "port" for n in trace.walk()
    )
    changes = bool(trace.written() & watched)
    leaves = trace.has("exit") or trace.region.ends
    checks = alone or changes or trace.has("exit")
    ends = alone or changes or leaves or _jumps(pc, trace)
    return Facts(alone, ends, checks, _undo(trace), trace.has("retire"))


def fetches_at_pc(isa: InstructionSet, fetch: Trace) -> bool:
    """Whether the address that a fetch computes is just the program counter, without checks."""
    value = fetch.value
    assert value is not None
    simple = value.op == "get" and value.attribute[0] is isa.pc
    return simple and not fetch.region.effects


def _jumps(pc: Register, trace: Trace) -> bool:
    """Whether the next instruction is not always the one that follows in memory."""
    from isa.bits import Bits
    from isa.trace import Rewriter

    targets = [n.args[0] for n in trace.puts if n.attribute is pc]
    if not targets:
        return True

    def substitute(node: Bits) -> Bits | None:
        if node.op == "get" and node.attribute[0] is pc:
            return Bits.of(_PROBE, node.width)
        if node.op == "field" and node.attribute[0] == "length":
            return Bits.of(1, node.width)
        return None

    target = Rewriter(substitute).value(targets[-1])
    return not (target.is_const and target.value == _PROBE + 1)


def _undo(trace: Trace) -> bool:
    return _faults_after_store(trace.region, [False])


def _faults_after_store(region: Region, stored: list[bool]) -> bool:
    from isa.ops import OPS

    for node in region.nodes:
        if node.op == "when" and _faults_after_store(node.attribute.region, stored):
            return True
        if stored[0] and OPS[node.op].faults:
            return True
        stored[0] |= node.op == "store"
    return False
