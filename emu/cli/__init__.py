"""The `emu` command. Everything heavy is imported by the command that needs it.

So is click, which takes a third of a short run: `emu run GUEST …` with no or few options needs
nobody who knows them all (`plain.py`).
"""

from __future__ import annotations

import sys

from emu.cli.plain import plain, run_plainly
from emu.command import run_command
from isa.hints import Callable
from isa.light import partial


def main() -> None:
    """Entry point: every mistake of a user ends in a message and a documented exit code."""
    run_command(_chosen(sys.argv[1:]), "emu")


def _chosen(arguments: list[str]) -> Callable[[], object]:
    found = plain(arguments)
    if found is not None:
        return partial(run_plainly, found)
    from emu.cli.commands import app

    return partial(app.main, standalone_mode=False)
