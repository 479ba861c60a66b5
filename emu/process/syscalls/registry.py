"""The table of system calls: each handler says its name and what its arguments are."""

from __future__ import annotations

from emu.process.numbers import CallError, Errno, errno_of
from emu.process.process import Process
from emu.process.syscalls.names import NAMES, NUMBERS
from isa.hints import TYPE_CHECKING, Any, Callable
from isa.record import NamedTuple

REGISTERS = ("ebx", "ecx", "edx", "esi", "edi", "ebp")
Handler = Callable[..., "int | None"]

if TYPE_CHECKING:
    from typing import TypeVar

    H = TypeVar("H", bound=Handler)


class Kind(NamedTuple):
    """How an argument is taken from its register, and how a trace shows it."""

    decode: Callable[[Process, int], Any]
    show: Callable[[Any], str]


def _signed(_: Process, value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


def _raw(_: Process, value: int) -> int:
    return value


def _text(path: bytes) -> str:
    return '"' + path.decode("utf-8", "backslashreplace") + '"'


INT = Kind(_signed, str)
UINT = Kind(_raw, str)
PTR = Kind(_raw, lambda value: f"{value:#x}" if value else "NULL")
FLAGS = Kind(_raw, lambda value: f"{value:#x}")
MODE = Kind(_raw, lambda value: f"{value:#o}")
PATH = Kind(Process.path, _text)


class Call(NamedTuple):
    """One row: a handler takes the process and its decoded arguments.

    It returns the result, or None if it has set the registers itself (sigreturn).
    """

    name: str
    kinds: tuple[Kind, ...]
    handler: Handler


class CallEvent(NamedTuple):
    """A served system call, for traces: name, arguments as text, result (None: never returns).

    `process` is the number of the process, 0 for the first one.
    """

    name: str
    arguments: tuple[str, ...]
    result: int | None
    process: int = 0

    def __str__(self) -> str:
        """One line, as strace prints it."""
        if self.result is None:
            shown = "?"
        elif -4096 < self.result < 0:
            number = -self.result
            known = number in Errno._value2member_map_
            shown = f"-1 {Errno(number).name}" if known else f"-1 errno {number}"
        else:
            shown = f"{self.result:#x}" if self.result > 0xFFFFF else str(self.result)
        who = f"[pid {self.process}] " if self.process else ""
        return f"{who}{self.name}({', '.join(self.arguments)}) = {shown}"


_calls: dict[int, Call] = {}  # those whose modules are imported
MODULES: dict[int, str] = {}
"""Where calls are: most programs make few, and nobody pays for the import of others."""


def call(*names_and_kinds: str | Kind) -> Callable[[H], H]:
    """Register a handler under one or more names with the kinds of its arguments."""
    kinds = tuple([item for item in names_and_kinds if isinstance(item, Kind)])

    def register(handler: H) -> H:
        for name in names_and_kinds[: len(names_and_kinds) - len(kinds)]:
            assert isinstance(name, str)
            number = NUMBERS[name]
            if number in _calls:
                raise ValueError(f"system call {name} has two handlers")
            _calls[number] = Call(name, kinds, handler)
        return handler

    return register


def is_known(number: int) -> bool:
    """Whether somebody serves a call."""
    return number in _calls or number in MODULES


def row_of(number: int) -> Call | None:
    """The row of a call, imported if need be; None if nobody serves it."""
    row = _calls.get(number)
    if row is None and number in MODULES:
        __import__(MODULES[number])
        row = _calls[number]
    return row


def serve(process: Process, number: int, shown: list[str] | None = None) -> int | None:
    """Serve the call whose number and arguments are in the registers; set EAX to the result.

    `shown` gets the arguments as text.
    """
    row = _calls.get(number) or row_of(number)
    result = -Errno.ENOSYS if row is None else _serve(process, row, shown)
    if result is not None:
        process.state["eax"] = result & 0xFFFFFFFF
    return result


def serve_shown(process: Process, number: int) -> CallEvent:
    """The same, for a trace."""
    shown: list[str] = []
    result = serve(process, number, shown)
    return CallEvent(name_of(number), tuple(shown), result)


def name_of(number: int) -> str:
    """A call's name, also if nobody serves it."""
    return NAMES.get(number, f"call_{number}")


def _serve(process: Process, row: Call, shown: list[str] | None) -> int | None:
    try:
        return row.handler(process, *_arguments(process, row, shown))
    except CallError as error:
        return -error.number
    except OSError as error:  # the host's answer to a file operation
        return -errno_of(error)
    except (ValueError, OverflowError):  # a number that the host's interface cannot take
        return -Errno.EINVAL
    except MemoryError:
        return -Errno.ENOMEM


def _arguments(process: Process, row: Call, shown: list[str] | None) -> list[Any]:
    state = process.state
    raw = [state[name] for name in REGISTERS[: len(row.kinds)]]
    if shown is not None:
        shown += [PTR.show(value) for value in raw]
    arguments = []
    for i, kind in enumerate(row.kinds):
        arguments.append(kind.decode(process, raw[i]))
        if shown is not None:
            shown[i] = kind.show(arguments[i])
    return arguments
