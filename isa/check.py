"""The checker of the IR itself: run on every trace when it is made, and by engines between passes.

What it refuses is a bug of ours in a meaning or a pass, so it raises `IRError` with the place.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.ops import OPS, WidthError
from isa.registers import Register, RegisterFile
from isa.trace import Branch, Region, Trace


class IRError(Exception):
    """A trace breaks a rule of the IR."""


def check(trace: Trace) -> Trace:
    """Return the trace if it keeps the rules of the IR; raises IRError naming the node."""
    scope: set[int] = set()
    try:
        _check_region(trace.region, scope)
        if trace.value is not None and id(trace.value) not in scope:
            raise IRError(f"its value {trace.value!r} is never computed")
    except IRError as error:
        raise IRError(f"{trace.name}: {error}") from None
    return trace


def _check_region(region: Region, scope: set[int]) -> None:
    for position, node in enumerate(region.nodes):
        for arg in node.args:
            if id(arg) not in scope:
                raise IRError(f"{node!r} uses {arg!r} before it is computed")
        _check_node(node)
        if node.op == "when":
            _check_branch(node.attribute, scope)
        if node.op == "fault" and position != len(region.nodes) - 1:
            raise IRError(f"{region.nodes[position + 1]!r} follows a fault")
        scope.add(id(node))


def _check_branch(branch: Branch, scope: set[int]) -> None:
    inner = set(scope)
    _check_region(branch.region, inner)
    for then, otherwise in branch.yields:
        if id(then) not in inner or id(otherwise) not in scope:
            raise IRError(f"a `when` yields {then!r} or {otherwise!r}, which is not computed")
        if then.width != otherwise.width:
            raise IRError(f"a `when` yields {then.width} or {otherwise.width} bits")


def _check_node(node: Bits) -> None:
    row = OPS.get(node.op)
    if row is None:
        raise IRError(f"there is no operation {node.op!r} in the table")
    try:
        width = row.width(tuple(a.width for a in node.args), node.attribute)
    except WidthError as error:
        raise IRError(f"{node.op}: {error}") from None
    if width != node.width:
        raise IRError(f"{node!r} should have {width} bits")
    shape = _SHAPES.get(node.op)
    if shape is not None:
        shape(node)


def _condition(node: Bits) -> None:
    if node.args[0].width != 1:
        raise IRError(f"the condition of `{node.op}` has {node.args[0].width} bits, not 1")


def _put(node: Bits) -> None:
    target = node.attribute
    kind = Register if node.op == "put" else RegisterFile
    if not isinstance(target, kind) or node.args[-1].width != target.width:
        raise IRError(f"{node.args[-1].width} bits are put into {target!r}")


def _fault(node: Bits) -> None:
    left = node.attribute[2]
    for register, value in zip(left, node.args[len(node.args) - len(left) :], strict=True):
        if value.width != register.width:
            raise IRError(f"a fault leaves {value.width} bits in {register!r}")


def _store(node: Bits) -> None:
    if node.args[1].width != node.attribute[1]:
        raise IRError(f"{node.args[1].width} bits are stored as {node.attribute[1]}")


def _bulk(node: Bits) -> None:
    if node.args[-2].width != 1:
        raise IRError(f"the direction of `{node.op}` is 1 bit, not {node.args[-2].width}")


_SHAPES = {
    "when": _condition,
    "undefined": _condition,
    "fault": _fault,
    "put": _put,
    "put_indexed": _put,
    "store": _store,
    "copy": _bulk,
    "fill": _bulk,
    "scan": _bulk,
    "compare": _bulk,
}
