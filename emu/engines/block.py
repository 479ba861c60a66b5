"""Blocks of the `python` engine: straight-line code, first run by handlers, then compiled whole.

What compiles is in `compiling.py`, and few runs that find everything on the disk need it.
"""

from __future__ import annotations

from isa.hints import TYPE_CHECKING, Any, Callable, Hashable, Mapping
from isa.light import FunctionType

if TYPE_CHECKING:
    from types import CodeType

    from emu.engines.python import Session
    from emu.state import Values
    from isa.definition import Instruction
    from isa.registers import Register


class Block:
    """`length` instructions from `address`; `run(values)` does them all and moves the state on.

    `fixed` are registers that hold these values whenever the block runs and change at its end only.
    """

    def __init__(
        self,
        session: Session,
        address: int,
        pc: int,
        mode: Hashable,
        fixed: Mapping[Register, int],
        instructions: list[Instruction],
        code: bytes,
    ) -> None:
        self._session = session
        self.mode = mode
        self.fixed = fixed
        self.address = address
        self.pc = pc
        self.instructions = instructions
        self.length = len(instructions)
        self.code = code  # the bytes it was decoded from
        facts = session.facts(instructions[-1].form)
        self.checks = facts.checks
        self.repeats = facts.repeats
        self._left = session.hot
        self._steps: list[Any] | None = None
        self._cuts: dict[int, Block] = {}
        self.run: Callable[[Values], None] = self._cold
        if self._left == 0:
            self._compile()

    def _cold(self, values: Values) -> None:
        """Run by handlers; after enough times, compile."""
        if self._steps is None:
            self._steps = [self._step(n, i) for n, i in enumerate(self.instructions)]
        bulk = self._session.bulk
        for handler, fields in self._steps:
            handler(values, fields)
            bulk.index += 1
        self._left -= 1
        if self._left == 0:
            self._compile()

    def _compile(self) -> None:
        from emu.engines.compiling import emit_block

        self.run = emit_block(self._session, self)

    def _step(self, number: int, instruction: Instruction) -> Any:
        handler = self._session.handler(instruction.form)
        fields = tuple(instruction.fields[name] for name in handler.fields)
        fetch = self._session.fetcher(self.mode)
        return (_after_fetch(fetch, handler) if number and fetch else handler), fields

    def cut(self, length: int) -> Block:
        """A block of the first `length` instructions, for a run that ends inside this one."""
        found = self._cuts.get(length)
        if found is None:
            found = Block(
                self._session, self.address, self.pc, self.mode, self.fixed,
                self.instructions[:length], b"",
            )  # fmt: skip
            self._cuts[length] = found
        return found


def _after_fetch(fetch: Callable[[Values], int], handler: Any) -> Any:
    """A handler that first finds out whether its instruction can be fetched at all."""

    def run(values: Values, fields: tuple[int, ...]) -> None:
        fetch(values)
        handler(values, fields)

    return run


def bound(session: Session, fields: list[str], source: str, code: CodeType) -> Any:
    """A handler(values, fields) for a session, of what `emit_handler` compiles."""
    function: Any = FunctionType(code, session.globals, code.co_name, ((),))
    function.fields, function.source = fields, source
    return function
