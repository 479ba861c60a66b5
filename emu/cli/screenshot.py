"""`emu screenshot`."""

from __future__ import annotations

from pathlib import Path

from emu.cli.run import finish, open_chosen, tell
from emu.errors import GuestFileError
from emu.pc.guest import PcGuest
from emu.pc.screen import save_png
from isa.hints import Any


def take_screenshot(
    path: Path | None, arguments: list[str], chosen: dict[str, Any], limit: int | None,
    output: Path,
) -> int:  # fmt: skip
    """Run a guest and write what its screen shows then; returns the exit code."""
    guest = open_chosen(path, arguments, chosen)
    vga = guest.machine.board.vga if isinstance(guest, PcGuest) else None
    if vga is None:
        raise GuestFileError(
            "Only a PC has a screen", advice="Give a disk or a kernel, or --machine pc"
        )
    report = finish(guest, limit)
    save_png(vga, output)
    tell(report, False)
    return 0
