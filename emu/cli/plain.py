"""`emu run` without options: what they are then, and how it is done without who parses them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from emu.command import leave

DEFAULTS: Final[dict[str, Any]] = {
    "engine": "auto", "machine": "auto", "cpu": "pentium2", "seed": 0, "cwd": "/", "boot": "ac",
    "append": "", "typed": "", "env": (), "serial": (), "writable": False, "net": False,
    "no_pci": False, "root": None, "memory": None, "mips": None, "isa": None, "disk": None,
    "bios": None, "fda": None, "fdb": None, "hda": None, "hdb": None, "kernel": None,
    "initrd": None, "display": None, "trace": None,
}  # fmt: skip
"""The options of `emu run`, by parameter; the command line takes them from here, too."""


def is_plain(arguments: Sequence[str]) -> bool:
    """Whether a command line is `run GUEST …`: what stands behind GUEST is the guest's."""
    return len(arguments) > 1 and arguments[0] == "run" and not arguments[1].startswith("-")


def run_plainly(guest: str, *arguments: str) -> None:
    """Run a guest; its output and exit code become ours."""
    from emu.cli.run import run_guest

    leave(run_guest(Path(guest), list(arguments), dict(DEFAULTS), None, as_json=False))
