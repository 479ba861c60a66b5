"""The `emu` command. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run, trace, assemble, disassemble and explain guest programs.",
)

GuestPath = Annotated[Path, typer.Argument(help="an ELF program, assembly source or image")]
GuestArguments = Annotated[list[str] | None, typer.Argument(help="the guest's own arguments")]
EngineName = Annotated[str, typer.Option(help="auto, reference or python")]
MaxInstructions = Annotated[
    int | None, typer.Option("--max-instructions", min=1, help="stop after so many")
]
Root = Annotated[Path | None, typer.Option(help="directory that the guest sees as /, read-only")]
Writable = Annotated[bool, typer.Option("--writable", help="let the guest change --root")]
Environment = Annotated[list[str] | None, typer.Option("--env", help="NAME=VALUE for the guest")]
Memory = Annotated[str, typer.Option(help="the guest's memory, e.g. 64M")]
Isa = Annotated[str | None, typer.Option(help="configuration of the toy machine: toy/clean …")]
OUTWARD = {"allow_interspersed_args": False}  # options after GUEST are the guest's


@app.command(context_settings=OUTWARD)
def run(
    guest: GuestPath,
    arguments: GuestArguments = None,
    *,
    engine: EngineName = "auto",
    max_instructions: MaxInstructions = None,
    json: Annotated[bool, typer.Option("--json", help="facts on the last line of stderr")] = False,
    trace: Annotated[str | None, typer.Option(help="syscalls: tell each on stderr")] = None,
    root: Root = None,
    writable: Writable = False,
    env: Environment = None,
    memory: Memory = "256M",
    seed: Annotated[int, typer.Option(help="of all randomness that the guest sees")] = 0,
    mips: Annotated[int, typer.Option(min=1, help="million instructions a virtual second")] = 100,
    cwd: Annotated[str, typer.Option(help="the guest's working directory")] = "/",
    isa: Isa = None,
    disk: Annotated[Path | None, typer.Option(help="image of the toy's block device")] = None,
) -> None:
    """Run GUEST; its output and exit code become ours."""
    from emu.cli.run import run_guest

    options = {
        "engine": engine, "root": root, "writable": writable, "env": env, "memory": memory,
        "seed": seed, "mips": mips, "cwd": cwd, "isa": isa, "disk": disk, "trace": trace,
    }  # fmt: skip
    raise typer.Exit(run_guest(guest, arguments or [], options, max_instructions, json))


@app.command("trace", context_settings=OUTWARD)
def trace_command(
    guest: GuestPath,
    arguments: GuestArguments = None,
    *,
    engine: EngineName = "auto",
    max_instructions: MaxInstructions = None,
    jsonl: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="instead of stderr")] = None,
    start: Annotated[int, typer.Option(min=0, help="from this instruction count on")] = 0,
    root: Root = None,
    writable: Writable = False,
    env: Environment = None,
    memory: Memory = "256M",
    isa: Isa = None,
) -> None:
    """Run GUEST and tell each instruction with the registers that it changed."""
    from emu.cli.trace import trace_guest

    options = {"engine": engine, "root": root, "writable": writable, "env": env,
               "memory": memory, "isa": isa}  # fmt: skip
    code = trace_guest(
        guest, arguments or [], options, max_instructions, start=start, json=jsonl, output=output
    )
    raise typer.Exit(code)


@app.command()
def disasm(
    guest: Annotated[str, typer.Argument(help="a file, or bytes in hexadecimal with --hex")],
    *,
    hexadecimal: Annotated[bool, typer.Option("--hex", help="GUEST is the bytes")] = False,
    start: Annotated[str | None, typer.Option(help="first address, e.g. 0x8048000")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="at most so many instructions")] = None,
    isa: Isa = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Disassemble the code of a program, a source, or bytes."""
    from emu.cli.disasm import disassemble

    raise typer.Exit(disassemble(guest, hexadecimal, start, count, isa, json))


@app.command()
def asm(
    source: Annotated[Path, typer.Argument(help="an assembly source, x86 or toy")],
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the program")] = None,
    listing: Annotated[bool, typer.Option("--listing", help="print addresses and bytes")] = False,
    flat: Annotated[bool, typer.Option("--flat", help="a flat image instead of ELF")] = False,
    isa: Isa = None,
) -> None:
    """Assemble SOURCE to a program that `emu run` (and, for x86, Linux) runs."""
    from emu.cli.asm import assemble_file

    raise typer.Exit(assemble_file(source, output, listing=listing, flat=flat, isa=isa))


@app.command()
def explain(
    instruction: Annotated[str, typer.Argument(help="assembly, e.g. 'adc eax, [ebx]'")],
    *,
    hexadecimal: Annotated[bool, typer.Option("--hex", help="INSTRUCTION is bytes")] = False,
    isa: Isa = None,
    json: Annotated[bool, typer.Option("--json", help="as one JSON object")] = False,
) -> None:
    """Explain an instruction: encoding, meaning, flags, faults, and where the manual has it."""
    from emu.cli.explain import explain_instruction

    raise typer.Exit(explain_instruction(instruction, hexadecimal, isa, json))


def main() -> None:
    """Entry point: every mistake of a user ends in a message and a documented exit code."""
    from emu.errors import GuestFileError
    from emu.report import EXIT_BAD_GUEST, EXIT_INTERRUPTED, EXIT_NO_INPUT

    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us is gone; Python must not complain about it
        raise SystemExit(141) from None
    except GuestFileError as error:
        missing = type(error).__name__ == "MissingFileError"
        fail(str(error), EXIT_NO_INPUT if missing else EXIT_BAD_GUEST)
    except Exception as error:
        if not is_user_error(error):
            raise
        fail(str(error), EXIT_BAD_GUEST)


def is_user_error(error: Exception) -> bool:
    """Errors of the definitions, which know nothing of commands, that are a user's to mend."""
    return type(error).__name__ in ("AssemblyError", "ConfigurationError")


def fail(message: str, code: int) -> Any:
    """Print a message and end."""
    sys.stdout.flush()
    print(f"emu: {message}", file=sys.stderr)
    raise SystemExit(code)
