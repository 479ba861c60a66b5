"""What a hook is given: a system call, a call of a function."""

from __future__ import annotations

from dataclasses import dataclass

from emu.state import State
from isa.hints import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from emu.process.process import Process

WORD = 4


class SystemCall:
    """One system call: `name`, `number`, `arguments` as they are in the registers, and `result`.

    Before it is served `result` is None, and `replace` serves it in the kernel's place. Afterwards
    `result` is what the guest gets, as a signed number, and may be set; it is None if the call does
    not return here (it has ended in a signal's handler).
    """

    def __init__(self, process: Process, state: State) -> None:
        from emu.process.syscalls.registry import REGISTERS, name_of, row_of

        self._process, self._state = process, state
        self.number = state["eax"]
        self.name = name_of(self.number)
        row = row_of(self.number)
        self._kinds = () if row is None else row.kinds
        self.arguments = tuple(state[name] for name in REGISTERS[: len(self._kinds)])
        self._result: int | None = None
        self.replaced = False

    def replace(self, result: int) -> None:
        """Do not let the kernel serve it: the guest gets this result (errors are negative)."""
        self.replaced, self.result = True, result

    @property
    def result(self) -> int | None:
        """What the guest gets; None before, and for calls that do not return."""
        return self._result

    @result.setter
    def result(self, value: int) -> None:
        self._result = value
        self._state["eax"] = value & 0xFFFFFFFF

    def returned(self) -> None:
        """The kernel has served it."""
        value = self._state["eax"]
        self._result = value - (1 << 32) if value >> 31 else value

    def __str__(self) -> str:
        """As strace shows it; `?` where there is no result."""
        from emu.process.numbers import CallError
        from emu.process.syscalls.registry import PTR, CallEvent

        shown = []
        for kind, raw in zip(self._kinds, self.arguments, strict=True):
            try:
                shown.append(kind.show(kind.decode(self._process, raw)))
            except CallError:
                shown.append(PTR.show(raw))
        return str(CallEvent(self.name, tuple(shown), self._result))


class _Words(Protocol):
    def read_int(self, address: int, size: int = WORD) -> int:
        """A number in memory."""


@dataclass(slots=True)
class FunctionCall:
    """A call of a function at its first instruction, or, when it has returned, its result.

    `name` is its symbol or its address; `result` is None until it returns, then what EAX holds.
    """

    name: str
    address: int
    return_address: int
    stack: int  # ESP at the first instruction: it points at the return address
    _memory: _Words
    _state: State
    _result: int | None = None
    skipped: bool = False

    def argument(self, number: int) -> int:
        """An argument, counted from 0, by the rules of cdecl: words on the stack."""
        return self._memory.read_int(self.stack + WORD + WORD * number)

    def arguments(self, count: int) -> tuple[int, ...]:
        """The first arguments."""
        return tuple(self.argument(number) for number in range(count))

    @property
    def result(self) -> int | None:
        """EAX when it returned; None before. Setting it sets EAX."""
        return self._result

    @result.setter
    def result(self, value: int) -> None:
        self._result = value & 0xFFFFFFFF
        self._state["eax"] = self._result

    def skip(self, result: int = 0) -> None:
        """Return at once, as if the function had been carried out."""
        self.skipped, self.result = True, result
        self._state["esp"] = self.stack + WORD & 0xFFFFFFFF
        self._state.pc = self.return_address

    def returned(self) -> None:
        """It has returned."""
        self._result = self._state["eax"]

    def __str__(self) -> str:
        end = "" if self._result is None else f" = {self._result:#x}"
        return f"{self.name}() from {self.return_address:#x}{end}"
