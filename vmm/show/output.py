"""Files that a command writes."""

from __future__ import annotations

from pathlib import Path

from emu.errors import unwritable


def write_text(path: Path, text: str) -> None:
    """Write an output file. Raises GuestFileError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from None
