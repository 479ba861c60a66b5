"""Several boxes on one processor: each gets its share of every round, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from emu.box.running import Running
from emu.errors import GuestFileError

TURN = 100_000  # instructions of a round, for each share


class Boxes:
    """Boxes by their names, in the order in which they run. Raises GuestFileError if two have one.

    What a box does depends on nothing but itself: it has time, memory and files of its own, so its
    run is the one that it would be alone, whoever else there is and whoever is killed.
    """

    def __init__(self, boxes: Iterable[Running]) -> None:
        self.boxes: dict[str, Running] = {}
        for box in boxes:
            if box.box.name in self.boxes:
                raise GuestFileError(f"Two boxes are named {box.box.name!r}", advice="Rename one")
            self.boxes[box.box.name] = box

    @property
    def running(self) -> list[Running]:
        """Those that have not ended."""
        return [box for box in self.boxes.values() if box.report is None]

    def kill(self, name: str) -> None:
        """End a box. Raises KeyError."""
        self.boxes[name].kill()

    def run(
        self,
        kill: Mapping[str, int] | None = None,
        ended: Callable[[Running], None] = lambda box: None,
    ) -> None:
        """Run until every box has ended, and tell of each.

        `kill` has the counts of their own instructions at which boxes are killed.
        """
        deadlines = kill or {}
        while self.running:
            for box in self.running:
                self._turn(box, deadlines.get(box.box.name))
                if box.report is not None:
                    ended(box)

    @staticmethod
    def _turn(box: Running, deadline: int | None) -> None:
        instructions = TURN * box.box.share
        if deadline is not None:
            instructions = min(instructions, deadline - box.instructions)
        if instructions > 0:
            box.advance(instructions)
        if deadline is not None and box.instructions >= deadline:
            box.kill()
