"""What the command line can say of a migration. Light: `vmm run` has it too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

PATH: Final = click.Path(path_type=Path)
Command = Callable[..., Any]
MIGRATED: Final = "migrated"  # why the run of a guest that has left ended

SECRET: Final = click.option(
    "--secret-file", type=PATH, metavar="FILE",
    help="the secret that both sides share; else POPEK_MIGRATION_SECRET of the environment",
)  # fmt: skip
RECORDS: Final = click.option(
    "--records", type=PATH, metavar="DIR", help="where it is written down who has the guest"
)
TIMEOUT: Final = click.option(
    "--timeout", default=30.0, show_default=True, type=click.FloatRange(0.01),
    help="seconds of silence after which the other side is gone",
)  # fmt: skip
PATIENCE: Final = click.option(
    "--patience", default=30.0, show_default=True, type=click.FloatRange(0),
    help="seconds to find out who has the guest after a cut in the hand-over",
)  # fmt: skip
STOP: Final = click.option(
    "--stop-and-copy", is_flag=True, help="stop the guest first; else it runs while it is copied"
)
BANDWIDTH: Final = click.option(
    "--bandwidth", default="100:500", show_default=True, metavar="LEAST[:MOST]",
    help="Mbit/s, in the guest's time, at which its pages are sent while it runs",
)  # fmt: skip
LEAVE: Final = click.option(
    "--leave", default=16, show_default=True, type=click.IntRange(0),
    help="stop the guest once so few pages are left",
)  # fmt: skip
COMMON: Final = (SECRET, RECORDS, TIMEOUT, PATIENCE)
SENDING: Final = (STOP, BANDWIDTH, LEAVE)
_LEAVING: Final = (
    click.option("--to", metavar="HOST:PORT", help="give the guest away to whoever listens there"),
    click.option("--migrate-at", type=click.IntRange(0), metavar="N",
                 help="after so many instructions  [0]"),
    click.option("--offer", metavar="HOST:PORT",
                 help="listen there, and give the guest away to whoever asks for it"),
    *SENDING, *COMMON,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """When and whereto a guest is given away, as the command line says it."""

    to: str | None
    migrate_at: int | None
    offer: str | None
    stop_and_copy: bool
    bandwidth: str
    leave: int
    secret_file: Path | None
    records: Path | None
    timeout: float
    patience: float


def together(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    """A command with more options, in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def leaving(command: Command) -> Command:
    """Let a command take a `leaving`: None if the guest stays."""

    @functools.wraps(command)
    def taking(**chosen: Any) -> Any:
        given = Leaving(**{name: chosen.pop(name) for name in Leaving.__slots__})
        wanted = given.to or given.offer
        if not wanted and given.migrate_at is not None:
            raise click.UsageError("--migrate-at needs --to HOST:PORT")
        if given.offer and (given.to or given.migrate_at is not None):
            raise click.UsageError("--offer waits for the other side: no --to, no --migrate-at")
        return command(leaving=given if wanted else None, **chosen)

    return together(taking, _LEAVING)
