"""The `vmm` command within a test's own process."""

from __future__ import annotations

import click
from click.testing import CliRunner, Result

from emu.command import run_command
from vmm.cli import app


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def whole(arguments: tuple[str, ...]) -> None:
    """The command as users have it: a mistake ends in a message and an exit code."""
    run_command(lambda **options: app.main(list(arguments), "vmm", **options), "vmm")


def vmm(*arguments: object, **options: object) -> Result:
    """Run it."""
    return CliRunner().invoke(whole, [str(argument) for argument in arguments], **options)
