"""Mistakes of a script: each says what, where and why, and what to do."""

from __future__ import annotations

from emu.errors import GuestFileError


class ScriptError(GuestFileError):
    """A script asked for what there is not: a register, a symbol, an address, a kind of hook."""
