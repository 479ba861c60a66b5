"""The gate of address line 20, which several chips switch: the last one decides."""

from __future__ import annotations

from collections.abc import Mapping

from emu.devices.device import Line, unconnected
from isa.hints import Any


class A20:
    """Open after a reset, as chipsets have it, so that the processor finds its firmware."""

    def __init__(self, changed: Line = unconnected) -> None:
        self._changed = changed
        self.enabled = True

    def set(self, enabled: bool) -> None:
        """Switch it; `changed` is called if it was not so before."""
        if enabled != self.enabled:
            self.enabled = enabled
            self._changed(enabled)

    def snapshot(self) -> Mapping[str, object]:
        """Whether it is open."""
        return {"enabled": self.enabled}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Whether it is open; whoever listens is told."""
        self.set(saved["enabled"])
