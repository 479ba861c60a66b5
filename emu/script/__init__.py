"""Scripting: guests in the hands of Python (README.md). `emu.load` and its like come from here."""

from emu.script.errors import ScriptError
from emu.script.guest import ScriptGuest
from emu.script.loading import code, load, source
from emu.script.machines import Ending
from emu.script.snapshot import Snapshot

__all__ = ["Ending", "ScriptError", "ScriptGuest", "Snapshot", "code", "load", "source"]
