"""The `vmm` command. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from emu.command import leave, run_command
from vmm.commands_bench import bench
from vmm.commands_costs import costs
from vmm.commands_migration import migrate
from vmm.commands_monitors import GATE_KINDS, compare, run
from vmm.commands_mutation import mutate
from vmm.commands_partitions import partition
from vmm.commands_recursion import recurse
from vmm.commands_redpill import redpill

PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="popek")
def app() -> None:
    """Derive what is privileged and sensitive; run guests under monitors."""


@app.command()
@click.argument("configuration", metavar="CONFIG|ISA")
@click.option("--literal", is_flag=True, help="the paper's definitions word by word")
@click.option("--json", "as_json", is_flag=True, help="as one JSON object")
@click.option("--html", type=PATH, metavar="FILE", help="write one self-contained page")
def check(configuration: str, literal: bool, as_json: bool, html: Path | None) -> None:
    """Classify every instruction of CONFIG (toy/all, x86/ia32, or a path to a .toml), with proofs.

    Decides Popek and Goldberg's theorems. With the name of an instruction set (toy, x86), an
    overview of its configurations. An x86 takes some minutes.
    """
    from vmm.commands.check import check_configuration

    leave(check_configuration(configuration, literal=literal, as_json=as_json, html=html))


@app.command()
@click.argument("instruction")
@click.option("--isa", "configuration", required=True, metavar="CONFIG", help="e.g. toy/all")
@click.option("--literal", is_flag=True, help="the paper's definitions word by word")
@click.option("--json", "as_json", is_flag=True, help="as one JSON object")
def explain(instruction: str, configuration: str, literal: bool, as_json: bool) -> None:
    """Say what INSTRUCTION is and why: its meaning, every claim, each witness as a story."""
    from vmm.commands.explain import explain_instruction

    leave(explain_instruction(instruction, configuration, literal=literal, as_json=as_json))


@app.command()
@click.argument("instruction")
@click.option("--isa", "configuration", required=True, metavar="CONFIG", help="e.g. toy/all")
@click.option("--mode", type=click.Choice(["supervisor", "user"]), help="of the virtual machine")
@click.option(
    "--gates",
    type=GATE_KINDS,
    help="of trap-and-emulate on a PC  [trap, or direct if only so a guest diverges]",
)
@click.option("--output", type=PATH, metavar="FILE", help="write the program there, not here")
@click.option("--json", "as_json", is_flag=True, help="as one JSON object")
def witness(
    instruction: str, configuration: str, mode: str | None, gates: str | None,
    output: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Write a guest that tells a monitor from a bare machine by the critical INSTRUCTION.

    The solver finds a witness that a program can bring about; `vmm compare` on the program shows
    trap-and-emulate diverging, and the cures not. For an x86 (--isa x86/ia32) it is a kernel of the
    PC.
    """
    from vmm.commands.witness import write_witness

    leave(
        write_witness(
            instruction, configuration, mode=mode, gates=gates, output=output, as_json=as_json
        )
    )


for command in (run, compare, bench, costs, recurse, partition, mutate, redpill, migrate):
    app.add_command(command)


def main() -> None:
    """Entry point."""
    run_command(partial(app.main, standalone_mode=False), "vmm")
