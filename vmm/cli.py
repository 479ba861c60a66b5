"""The `vmm` command: classification and monitors."""

from __future__ import annotations

import click

from vmm.commands_monitors import add_commands
from vmm.commands_mutation import mutate
from vmm.commands_partitions import partition


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="popek")
def app() -> None:
    """Derive what is privileged and sensitive; run guests under monitors."""


add_commands(app)
app.add_command(partition)
app.add_command(mutate)


def main() -> None:
    """Entry point."""
    app()
