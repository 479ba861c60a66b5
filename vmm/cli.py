"""The `vmm` command: classification and monitors. None is built yet, and it says so."""

from __future__ import annotations

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="popek")
def app() -> None:
    """Derive what is privileged and sensitive; run guests under monitors.

    There are no commands here yet: the classification and the monitors of the toy machine come
    first. `emu` runs guests on the bare machines today.
    """


def main() -> None:
    """Entry point."""
    app()
