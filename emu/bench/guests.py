"""The guests of `programs/bench`: a program, and a line of output for each of its rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emu.errors import GuestFileError

DIRECTORY = Path(__file__).parents[2] / "programs" / "bench"


@dataclass(frozen=True, slots=True)
class BenchGuest:
    """A program and the answers of its rounds."""

    program: Path
    answers: tuple[bytes, ...]

    @property
    def name(self) -> str:
        """As users call it."""
        return self.program.stem

    @property
    def rounds(self) -> int:
        """The most that it can be asked for."""
        return len(self.answers)

    def output(self, rounds: int) -> bytes:
        """What so many rounds print."""
        return b"".join(self.answers[:rounds])


def find_guests(names: Sequence[str] = (), directory: Path = DIRECTORY) -> list[BenchGuest]:
    """The named guests, or all; raises GuestFileError if there are none, or not that one."""
    programs = {path.stem: path for path in sorted(directory.glob("*.elf"))}
    if not programs:
        raise GuestFileError(
            "The benchmark's guests are not here",
            where=str(directory),
            why="They are part of the source tree, not of an installed package",
            advice="Install from a clone with `pip install -e .`",
        )
    for name in names:
        if name not in programs:
            raise GuestFileError(
                f"There is no benchmark guest {name!r}", advice=f"Use some of {', '.join(programs)}"
            )
    return [_guest(programs[name]) for name in dict.fromkeys(names or programs)]


def _guest(program: Path) -> BenchGuest:
    answers = program.with_suffix(".out").read_bytes().splitlines(keepends=True)
    return BenchGuest(program, tuple(answers))
