"""What a monitor costs its host: system calls and signals, by name and cause."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts by (name, cause)."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    signals: Counter[tuple[str, str]] = field(default_factory=Counter)

    def facts(self) -> dict[str, dict[str, int]]:
        """What `--json` shows."""
        return {
            kind: {f"{name}: {cause}": n for (name, cause), n in sorted(counted.items())}
            for kind, counted in (("system_calls", self.calls), ("signals", self.signals))
        }

    @property
    def all_calls(self) -> int:
        """How many system calls."""
        return self.calls.total()

    @property
    def all_signals(self) -> int:
        """How many signals."""
        return self.signals.total()
