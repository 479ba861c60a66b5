"""`vmm redpill`: the sensitive instructions on the reader's own processor."""

from __future__ import annotations

import json

import click

from emu.command import fail, leave

EXIT_NO_SILICON = 69
NOTHING = b"\x90"  # NOP: what the measurement itself takes


@click.command()
@click.option("--quick", is_flag=True, help="do not derive what each instruction is (a minute)")
@click.option("--json", "as_json", is_flag=True, help="as one JSON object")
def redpill(quick: bool, as_json: bool) -> None:
    """Carry out the instructions that have to do with M, R or resources on this very processor.

    In user mode, in a child process that each may kill: does it trap, is it silently ignored, does
    it leak, does a kernel emulate it? Read against the table that is derived for x86/ia32. Exit
    code 69: this computer is no x86 with Linux.
    """
    from vmm.redpill.probe import NoSiliconError, Silicon

    try:
        silicon = Silicon()
    except NoSiliconError as error:
        fail("vmm redpill", str(error), EXIT_NO_SILICON)
    try:
        leave(_report(silicon, derive=not quick, as_json=as_json))
    finally:
        silicon.close()


def _report(silicon: object, *, derive: bool, as_json: bool) -> int:
    from vmm.commands.check import need_prover
    from vmm.redpill.probe import Silicon
    from vmm.redpill.report import facts, lines, table
    from vmm.redpill.subjects import subjects
    from vmm.show.progress import progress
    from vmm.x86.configuration import X86Configuration

    assert isinstance(silicon, Silicon)
    need_prover()
    configuration = X86Configuration.load("x86/ia32")
    chosen = list(subjects(configuration))
    watched = progress(chosen, "redpill", len(chosen))
    found = list(lines(silicon, configuration, watched, derive=derive))
    nothing = silicon.carry_out(NOTHING).seen.cycles
    if as_json:
        print(json.dumps({"nothing": nothing, "rows": [facts(line) for line in found]}))
    else:
        print(table(found, nothing))
    return 0
