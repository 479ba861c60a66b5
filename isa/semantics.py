"""The builder on which meanings run: it records what an instruction reads, computes and changes.

Rules of the IR that every engine keeps:

* `get` answers with the state before the instruction; `put`s take effect together at its end.
* A fault takes back everything the instruction did, stores included, but for the registers that it
  says it leaves.
* Loads and stores happen in program order. `when` makes effects conditional.
* An instruction counts as one in the machine's time, unless it says `retire(n)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from isa.bits import Bits, leaf
from isa.check import check
from isa.registers import Register, RegisterFile
from isa.trace import Branch, Region, Rewriter, Trace

Key = tuple[str, object, int]  # ("put", register, 0) or ("put_indexed", file, id of the index)


class Builder:
    """Records one trace. Instruction sets derive their own builder with operands and faults."""

    def __init__(self) -> None:
        self._regions = [Region()]
        self._puts: dict[Key, Bits] = {}
        self._around: list[dict[Key, Bits]] = []  # puts before the `when`s that are open
        self._indices: dict[Key, Bits] = {}

    # -- state -------------------------------------------------------------------------------

    def get(self, register: Register) -> Bits:
        """A register as it was before the instruction."""
        return leaf("get", register.width, (register, register.width))

    def get_indexed(self, file: RegisterFile, index: Bits) -> Bits:
        """The register of `file` that `index` selects."""
        if index.is_const:
            return self.get(file.members[index.value])
        return leaf("get_indexed", file.width, (file, file.width), index)

    def put(self, register: Register, value: Bits) -> None:
        """The register's value after the instruction; the last put of an instruction wins."""
        assert value.width == register.width, f"{register}: {value.width} bits put"
        self._put(("put", register, 0), value)

    def put_indexed(self, file: RegisterFile, index: Bits, value: Bits) -> None:
        """The same for the register of `file` that `index` selects."""
        assert value.width == file.width, f"{file}: {value.width} bits put"
        if index.is_const:
            self.put(file.members[index.value], value)
            return
        key = ("put_indexed", file, id(index))
        self._indices[key] = index
        self._put(key, value)

    def _put(self, key: Key, value: Bits) -> None:
        self._puts.pop(key, None)  # a later put moves to the end: it wins over an alias
        self._puts[key] = value

    def so_far(self, register: Register) -> Bits:
        """What the register's puts so far leave in it."""
        return self._before(("put", register, 0))

    def _before(self, key: Key) -> Bits:
        """What a put leaves if it does not happen: an earlier put's value, or the old state."""
        for puts in (self._puts, *reversed(self._around)):
            if key in puts:
                return puts[key]
        op, target, _ = key
        if op == "put":
            assert isinstance(target, Register)
            return self.get(target)
        assert isinstance(target, RegisterFile)
        return self.get_indexed(target, self._indices[key])

    def field(self, name: str, width: int) -> Bits:
        """An operand field of the decoded instruction."""
        return leaf("field", width, (name, width))

    def clock(self) -> Bits:
        """How many guest instructions retired before this one: 64 bits."""
        return leaf("clock", 64, (None, 64))

    # -- memory ------------------------------------------------------------------------------

    def _effect(self, op: str, width: int, attribute: object, *args: Bits) -> Bits:
        node = Bits(op, width, args, attribute)
        if not self._regions[-1].ends:
            self._regions[-1].effects.append(node)
        return node

    def load_space(self, space: str, address: Bits, width: int) -> Bits:
        """Read `width` bits of an address space."""
        return self._effect("load", width, (space, width), address)

    def load_for_write_space(self, space: str, address: Bits, width: int) -> Bits:
        """Read what this instruction will write: a fault says that writing is what failed."""
        return self._effect("load_for_write", width, (space, width), address)

    def store_space(self, space: str, address: Bits, value: Bits) -> None:
        """Write to an address space."""
        self._effect("store", 0, (space, value.width), address, value)

    def copy(
        self, space: str, width: int, source: Bits, to: Bits, backwards: Bits, count: Bits
    ) -> Bits:
        """Bulk: [to] := [source], both moving on by `width` bits, down if `backwards` is 1.

        Does n iterations, 1 <= n <= count (`count` is not 0), and returns n. An engine chooses n;
        the meaning must be such that any n leads along the same path: it advances its registers by
        n, says `retire(n)` and stays at the instruction until all is done. A fault in the first
        iteration is the instruction's; in a later one it ends the bulk before it.
        """
        return self._effect("copy", count.width, (space, width), source, to, backwards, count)

    def fill(self, space: str, to: Bits, value: Bits, backwards: Bits, count: Bits) -> Bits:
        """Bulk: [to] := value, as `copy`."""
        return self._effect("fill", count.width, (space, value.width), to, value, backwards, count)

    def scan(
        self, space: str, at: Bits, value: Bits, backwards: Bits, count: Bits, *, while_equal: bool
    ) -> Bits:
        """Bulk: compare `value` with [at]; ends after the first (un)equal one. As `copy`."""
        attribute = (space, value.width, while_equal)
        return self._effect("scan", count.width, attribute, at, value, backwards, count)

    def compare(
        self, space: str, width: int, one: Bits, other: Bits, backwards: Bits, count: Bits,
        *, while_equal: bool,
    ) -> Bits:  # fmt: skip
        """Bulk: compare [one] with [other]; ends after the first (un)equal pair. As `copy`."""
        attribute = (space, width, while_equal)
        return self._effect("compare", count.width, attribute, one, other, backwards, count)

    # -- control -----------------------------------------------------------------------------

    @contextmanager
    def when(self, condition: Bits) -> Iterator[None]:
        """Make the effects inside conditional; register writes merge with what was before."""
        self._around.append(self._puts)
        self._puts = {}
        region = Region()
        self._regions.append(region)
        try:
            yield
        finally:
            self._regions.pop()
            inner, self._puts = self._puts, self._around.pop()
        self._close(condition, region, inner)

    def value_when(self, condition: Bits, make: Callable[[], Bits], otherwise: Bits) -> Bits:
        """What `make` returns, whose effects happen only if `condition` is 1, or `otherwise`."""
        key: Key = ("value", object(), 0)
        self._puts[key] = otherwise
        with self.when(condition):
            self._puts[key] = make()
        return self._puts.pop(key)

    def _close(self, condition: Bits, region: Region, inner: dict[Key, Bits]) -> None:
        if condition.is_const and not condition.value:
            return
        if condition.is_const:
            self._regions[-1].effects += region.effects
            for key, value in inner.items():
                self._put(key, value)
            return
        branch = Branch(region)
        node = self._effect("when", 0, branch, condition) if region.effects else None
        if region.ends:
            return
        for key, value in inner.items():
            self._put(key, _merge(node, branch, condition, value, self._before(key)))

    def fault(
        self, vector: int, code: Bits | int | None = None, address: Bits | None = None,
        leaving: Mapping[Register, Bits] = {},
    ) -> None:  # fmt: skip
        """End the instruction with a fault; everything it did is taken back.

        `leaving` are registers that the fault itself changes, as what tells what it is about.
        """
        args = [Bits.of(code, 32) if isinstance(code, int) else code, address]
        kinds = tuple(a is not None for a in args)
        args += leaving.values()
        attribute = (vector, kinds, tuple(leaving))
        self._effect("fault", 0, attribute, *(a for a in args if a is not None))

    def fault_when(self, condition: Bits, vector: int, code: Bits | int | None = None) -> None:
        """Fault if `condition` is 1."""
        with self.when(condition):
            self.fault(vector, code)

    def exit(self, reason: str, *values: Bits) -> None:
        """Leave the engine after the instruction, telling `reason` and the values."""
        self._effect("exit", 0, reason, *values)

    def retire(self, count: Bits) -> None:
        """Count as `count` instructions instead of one."""
        self._effect("retire", 0, None, count)

    def undefined(self, target: Register | str, condition: Bits | None = None) -> None:
        """The manual leaves the register undefined if `condition`.

        The target "operand" means what the instruction writes after saying so.
        """
        condition = Bits.of(1, 1) if condition is None else condition
        if not condition.is_const or condition.value:
            self._effect("undefined", 0, target, condition)

    # -- finishing ---------------------------------------------------------------------------

    def finish(self, name: str, value: Bits | None = None) -> Trace:
        """The finished trace: register writes at the end, equal nodes merged, checked."""
        (region,) = self._regions
        for key, put in self._puts.items():
            if not region.ends:
                op, target, _ = key
                args = (put,) if op == "put" else (self._indices[key], put)
                region.effects.append(Bits(op, 0, args, target))
        return check(Rewriter().trace(Trace(name, region, value)))


def _merge(node: Bits | None, branch: Branch, condition: Bits, then: Bits, old: Bits) -> Bits:
    """`then` if the condition holds, else `old`: a result of the `when` if it needs its effects."""
    if node is None or not _depends(then, {id(e) for e in branch.region.effects}, set()):
        return condition.select(then, old)
    branch.yields.append((then, old))
    return Bits("result", then.width, (node,), (len(branch.yields) - 1, then.width))


def _depends(node: Bits, effects: set[int], seen: set[int]) -> bool:
    if id(node) in effects:
        return True
    if id(node) in seen:
        return False
    seen.add(id(node))
    return any(_depends(a, effects, seen) for a in node.args)
