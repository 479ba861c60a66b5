"""Places in assembly sources, and what is wrong there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One line: of a file, or of a macro's body as it was expanded for `caller`."""

    file: str
    number: int
    text: str
    macro: str = ""
    caller: Line | None = None

    @property
    def place(self) -> str:
        """File and line for messages."""
        return f"{self.file}:{self.number}"

    @property
    def depth(self) -> int:
        """How many macros deep the line stands."""
        return 0 if self.caller is None else self.caller.depth + 1


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a column (counted from 0) of a line."""

    line: Line
    column: int
    message: str

    def __str__(self) -> str:
        text = self.line.text.expandtabs(1)
        parts = [
            f"{self.line.place}:{self.column + 1}: {self.message}",
            f"    {text}",
            f"    {' ' * self.column}^",
        ]
        line = self.line
        while line.caller is not None:
            caller = line.caller
            parts.append(f"  in macro {line.macro}, used at {caller.place}:")
            parts.append(f"    {caller.text.expandtabs(1)}")
            line = caller
        return "\n".join(parts)


class AssemblyError(Exception):
    """A source does not assemble. `problems` has every one found, in order of their lines."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


class Mistake(Exception):  # noqa: N818  # never leaves the assembler: it becomes a Problem
    """Something wrong at a column of the line at hand."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(message)
        self.column = column
        self.message = message
