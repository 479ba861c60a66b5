"""What `vmm check` prints and writes, whatever the machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from vmm.show.output import write_text

FoundT = TypeVar("FoundT")


@dataclass(frozen=True, slots=True)
class Views(Generic[FoundT]):
    """The ways to show a machine's classifications."""

    facts: Callable[[FoundT], dict[str, Any]]
    table: Callable[[FoundT], str]
    overview: Callable[[Sequence[FoundT]], str]
    page: Callable[[Sequence[FoundT]], str]

    def report(
        self, name: str, found: Sequence[FoundT], *, as_json: bool, html: Path | None
    ) -> int:
        """Print one configuration, or an overview of several; returns the exit code."""
        if as_json:
            objects = [self.facts(one) for one in found]
            whole = {"isa": name, "configurations": objects}
            print(json.dumps(objects[0] if len(objects) == 1 else whole))
        else:
            print(self.table(found[0]) if len(found) == 1 else self.overview(found))
        if html is not None:
            write_text(html, self.page(found))
        return 0
