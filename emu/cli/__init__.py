"""The `emu` command. Everything heavy is imported by the command that needs it.

So is click, which takes a third of a short run: `emu run GUEST …` without options needs nobody who
knows options (`plain.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from emu.cli.plain import is_plain, run_plainly
from emu.command import run_command


def main() -> None:
    """Entry point: every mistake of a user ends in a message and a documented exit code."""
    run_command(_chosen(sys.argv[1:]), "emu")


def _chosen(arguments: list[str]) -> Callable[[], object]:
    if is_plain(arguments):
        return partial(run_plainly, *arguments[1:])
    from emu.cli.commands import app

    return partial(app.main, standalone_mode=False)
