"""`vmm migrate`: the place that a guest comes to, and what was written down of migrations."""

from __future__ import annotations

from typing import Any

import click

from emu.command import fail, leave
from vmm.migration.options import COMMON, PATH, SENDING, together
from vmm.migration.options import Command as Decorated

_ACTIONS = ("listen", "ask", "demo", "status", "release", "resume", "discard")


def _options(command: Decorated) -> Decorated:
    return together(command, (*SENDING, *COMMON))


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="wait for a guest there (port 0: any)")
@click.option("--from", "ask", metavar="HOST:PORT", help="ask for the guest that is offered there")
@click.option("--demo", type=PATH, metavar="GUEST", help="both sides here, as two processes")
@click.option("--status", is_flag=True, help="tell what was written down: who has which guest")
@click.option("--release", metavar="ID", help="at the source, if its process died while it was "
              "stopped: give the guest up, and print the certificate")  # fmt: skip
@click.option("--resume", metavar="ID", help="at the destination: run the guest that was kept, by "
              "--certificate or once --listen or --from has heard the source")  # fmt: skip
@click.option("--discard", metavar="ID", help="at the destination: throw a kept guest away")
@click.option("--certificate", metavar="HEX", help="what --release has printed")
@click.option("--monitor", default="hardware-assist", show_default=True, help="see vmm compare")
@click.option("--engine", default="auto", show_default=True, help="of the bare machine")
@click.option("--disk", "disks", multiple=True, type=PATH, metavar="FILE",
              help="a disk image that guests may be bound to")  # fmt: skip
@click.option("--wait", type=click.FloatRange(0), help="seconds until nobody is expected any more")
@click.option("--max-instructions", type=click.IntRange(1), help="stop after so many")
@click.option("--migrate-at", default=100_000, show_default=True, type=click.IntRange(0),
              help="--demo: after so many instructions")  # fmt: skip
@click.option("--under", default="hardware-assist", show_default=True,
              help="--demo: the monitor at the source")  # fmt: skip
@click.option("--type", "typed", default="", help="--demo: keys that the guest's user presses")
@click.option("--memory", default="4M", show_default=True, help="--demo: of the guest")
@click.option("--plot", type=PATH, metavar="FILE",
              help="--demo: rounds and downtime against the rate of writing, as SVG")  # fmt: skip
@_options
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def migrate(**chosen: Any) -> None:
    """Move a running virtual machine here from another monitor process.

    Here: vmm migrate --listen HOST:PORT. There: vmm run GUEST --migrate-at N --to HOST:PORT. Or
    there: vmm run GUEST --offer HOST:PORT, and here: vmm migrate --from HOST:PORT. The guest's
    output from then on and its exit code are ours. Exit codes of a migration that fails: 74 cut or
    stalled, 75 nobody knows yet who has the guest, 76 another version or damaged messages, 77 wrong
    secret, 78 refused.
    """
    from vmm.migration import commands
    from vmm.migration.errors import MigrationError

    given = [name for name in _ACTIONS if chosen[name]]
    if len(given) != 1 and set(given) not in ({"resume", "listen"}, {"resume", "ask"}):
        raise click.UsageError(
            "Say one of --listen, --from, --demo, --status, --release, --resume and --discard"
        )
    try:
        leave(commands.migrate(given[-1] if "resume" not in given else "resume", chosen))
    except MigrationError as error:
        fail("vmm", str(error), error.exit_code)
