"""Machines that run: memory, engines, devices, loaders, the `emu` command (see README.md).

For scripts: `emu.load(file)`, `emu.source(text)`, `emu.code(bytes)`; see script/README.md.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see `isa.hints`, which `bundle.py` shall load

if TYPE_CHECKING:
    from typing import Any

    from emu.script import Ending, ScriptError, ScriptGuest, Snapshot, code, load, source

__all__ = ["Ending", "ScriptError", "ScriptGuest", "Snapshot", "code", "load", "source"]


def __getattr__(name: str) -> Any:
    """What scripts need is imported when it is asked for: commands do without."""
    if name not in __all__:
        raise AttributeError(f"module 'emu' has no attribute {name!r}")
    from emu import script

    return getattr(script, name)
