"""The commands of `emu`, and their options.

click itself, not a layer above it: a trivial guest must start within twice the time that importing
numpy and capstone takes, and the layers' own imports are as long again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from emu.bench import PARTS
from emu.cli.plain import DEFAULTS
from emu.command import leave
from isa.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeVar

    Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
MACHINES = ("auto", "process", "toy", "pc")
OUTWARD: dict[str, Any] = {"allow_interspersed_args": False}  # options after GUEST are its own
RUNNING = OUTWARD | {"default_map": DEFAULTS}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="popek")
def app() -> None:
    """Run, trace, assemble, disassemble and explain guest programs."""


PC_OPTIONS = (
    click.option("--machine", type=click.Choice(MACHINES), show_default=True,
                 help="by what GUEST is, or this one"),
    click.option("--cpu", show_default=True,
                 help="8086 to pentium4, a process 386 at least"),
    click.option("--bios", type=PATH, help="the PC's firmware; SeaBIOS where it is installed"),
    click.option("--fda", type=PATH, help="the PC's floppy disk"),
    click.option("--fdb", type=PATH, help="the second one"),
    click.option("--hda", type=PATH, help="the PC's hard disk, a raw image"),
    click.option("--hdb", type=PATH, help="the second one"),
    click.option("--kernel", type=PATH, help="Linux (bzImage) or a Multiboot kernel"),
    click.option("--initrd", type=PATH, help="the kernel's initial RAM disk or module"),
    click.option("--append", help="the kernel's command line"),
    click.option("--serial", multiple=True, help="stdio, file:PATH, tcp:HOST:PORT or none"),
    click.option("--boot", show_default=True, help="order: a floppy, c disk"),
    click.option("--type", "typed", help="keys that the PC's user presses"),
    click.option("--display", type=click.Choice(["text", "none"]),
                 help="text: show the PC's screen at the end"),
    click.option("--no-pci", is_flag=True, help="a PC with nothing but ISA"),
)  # fmt: skip


def guest_options(command: Command) -> Command:
    """The options of every command that runs a guest."""
    for option in (
        click.argument("arguments", nargs=-1),
        click.argument("guest", type=PATH, required=False),
        click.option("--engine", show_default=True, help="auto, native, python or reference"),
        click.option("--max-instructions", type=click.IntRange(1), help="stop after so many"),
        click.option("--root", type=PATH, help="directory that the guest sees as /, read-only"),
        click.option("--writable", is_flag=True, help="let the guest change --root"),
        click.option("--net", is_flag=True, help="let its processes have a loopback, 127.0.0.0/8"),
        click.option("--env", multiple=True, metavar="NAME=VALUE", help="set for the guest"),
        click.option("--memory", help="the guest's memory  [256M, a PC 64M]"),
        click.option("--cwd", help="the guest's working directory"),
        click.option("--seed", type=int, help="of all randomness that the guest sees"),
        click.option("--mips", type=click.IntRange(1),
                     help="million instructions in a second of the guest's clock  [100, a PC 10]"),
        click.option("--isa", help="configuration of the toy machine, e.g. toy/clean"),
        click.option("--disk", type=PATH, help="image of the toy's block device"),
        *PC_OPTIONS,
    ):  # fmt: skip
        command = option(command)
    return command


@app.command(context_settings=RUNNING)
@guest_options
@click.option("--json", "as_json", is_flag=True, help="facts on the last line of stderr")
@click.option("--trace", help="syscalls: tell each on stderr")
@click.option(
    "--coverage",
    type=PATH,
    metavar="FILE",
    help="write there how often each instruction was executed",
)
def run(
    guest: Path | None, arguments: tuple[str, ...], max_instructions: int | None, as_json: bool,
    coverage: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Run GUEST; its output and exit code become ours."""
    from emu.cli.run import run_guest

    leave(run_guest(guest, list(arguments), options, max_instructions, as_json, coverage))


@app.command(context_settings=RUNNING)
@guest_options
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
@click.option("--output", "-o", type=PATH, help="instead of stderr")
@click.option("--start", default=0, type=click.IntRange(0), help="from this instruction on")
def trace(
    guest: Path | None, arguments: tuple[str, ...], max_instructions: int | None, as_json: bool,
    output: Path | None, start: int, **options: Any,
) -> None:  # fmt: skip
    """Run GUEST and tell each instruction with the registers that it changed."""
    from emu.cli.trace import trace_guest

    leave(
        trace_guest(
            guest, list(arguments), options, max_instructions,
            start=start, as_json=as_json, output=output,
        )
    )  # fmt: skip


@app.command(context_settings=RUNNING)
@guest_options
@click.option("--output", "-o", type=PATH, required=True, help="the picture, a PNG file")
def screenshot(
    guest: Path | None, arguments: tuple[str, ...], max_instructions: int | None, output: Path,
    **options: Any,
) -> None:  # fmt: skip
    """Run GUEST on a PC for --max-instructions, or to its end, and take a picture of its screen."""
    from emu.cli.screenshot import take_screenshot

    leave(take_screenshot(guest, list(arguments), options, max_instructions, output))


@app.command()
@click.argument("guest")
@click.option("--hex", "hexadecimal", is_flag=True, help="GUEST is bytes in hexadecimal")
@click.option("--start", help="first address, e.g. 0x8048000")
@click.option("--count", type=click.IntRange(1), help="at most so many instructions")
@click.option("--isa", help="configuration of the toy machine")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
def disasm(
    guest: str, hexadecimal: bool, start: str | None, count: int | None, isa: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Disassemble the code of a program, a source, or bytes."""
    from emu.cli.disasm import disassemble

    leave(disassemble(guest, hexadecimal, start, count, isa, as_json))


@app.command()
@click.argument("source", type=PATH)
@click.option("--output", "-o", type=PATH, help="the program; without it, print a listing")
@click.option("--listing", is_flag=True, help="print addresses, bytes and source")
@click.option("--flat", is_flag=True, help="a flat image instead of an ELF program")
@click.option("--isa", help="configuration of the toy machine")
def asm(source: Path, output: Path | None, listing: bool, flat: bool, isa: str | None) -> None:
    """Assemble SOURCE to a program that `emu run` (and, for x86, Linux) runs."""
    from emu.cli.asm import assemble_file

    leave(assemble_file(source, output, listing=listing, flat=flat, isa=isa))


@app.command()
@click.argument("instruction")
@click.option("--hex", "hexadecimal", is_flag=True, help="INSTRUCTION is bytes in hexadecimal")
@click.option("--isa", help="configuration of the toy machine")
@click.option("--cpu", default=DEFAULTS["cpu"], show_default=True, help="386 to pentium4")
@click.option("--json", "as_json", is_flag=True, help="as one JSON object")
def explain(instruction: str, hexadecimal: bool, isa: str | None, cpu: str, as_json: bool) -> None:
    """Explain INSTRUCTION, e.g. 'adc eax, [ebx]': encoding, meaning, flags, faults, manual."""
    from emu.cli.explain import explain_instruction

    leave(explain_instruction(instruction, hexadecimal, isa, cpu, as_json))


@app.command()
@click.argument("guests", nargs=-1, metavar="[GUEST]…")
@click.option("--engine", "engines", multiple=True, help="of ours; all but reference without it")
@click.option("--without", multiple=True, metavar="TOOL", help="not this one, e.g. unicorn")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="only this")
@click.option("--repeat", type=click.IntRange(1), help="times each, at least 5 to mean much  [5]")
@click.option("--quick", is_flag=True, help="a little of the work, once: does it run at all?")
@click.option("--json", "as_json", is_flag=True, help="as one JSON object")
def bench(
    guests: tuple[str, ...], engines: tuple[str, ...], without: tuple[str, ...],
    parts: tuple[str, ...], repeat: int | None, quick: bool, as_json: bool,
) -> None:  # fmt: skip
    """Time the guests of programs/bench on our engines, natively, in qemu-i386 and Unicorn."""
    from emu.cli.bench import run_bench

    leave(run_bench(guests, engines, without, parts, repeat, quick, as_json))


@app.group()
def box() -> None:
    """Run programs in boxes: a root, process numbers, a host name and limits of their own."""


@box.command("run", context_settings=OUTWARD)
@click.argument("program")
@click.argument("arguments", nargs=-1)
@click.option("--name", default="box", show_default=True)
@click.option("--root", type=PATH, help="directory that the box sees as /; PROGRAM is below it")
@click.option("--writable", is_flag=True, help="let the box change --root")
@click.option("--net", is_flag=True, help="let it have a loopback of its own, 127.0.0.0/8")
@click.option("--hostname", "host_name", default="", help="the box's host name  [its name]")
@click.option("--memory", default="64M", show_default=True, help="of all its processes")
@click.option("--storage", default="64M", show_default=True, help="by which --root may grow")
@click.option("--instructions", type=click.IntRange(1), help="after which the box is ended")
@click.option("--processes", default=256, show_default=True, help="at a time")
@click.option("--files", default=900, show_default=True, help="open at a time")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="set for the program")
@click.option("--cwd", default="/", help="its working directory")
@click.option("--seed", default=0, help="of all randomness that the box sees")
@click.option("--engine", default="auto", show_default=True, help="auto, native or python")
@click.option("--cpu", default=DEFAULTS["cpu"], show_default=True, help="386 to pentium4")
@click.option("--trace", is_flag=True, help="tell each system call on stderr")
@click.option("--json", "as_json", is_flag=True, help="facts on the last line of stderr")
def box_run(program: str, arguments: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Run PROGRAM in a box of its own; its output and exit code become ours."""
    from emu.cli.box import run_box

    leave(run_box(program, list(arguments), options, as_json))


@box.command("up")
@click.argument("description", type=PATH)
@click.option("--kill", multiple=True, metavar="NAME@COUNT", help="after so many instructions")
@click.option("--json", "as_json", is_flag=True, help="how they ended, on the last line of stderr")
def box_up(description: Path, kill: tuple[str, ...], as_json: bool) -> None:
    """Run the boxes of a TOML file side by side on one processor."""
    from emu.cli.box import run_boxes

    leave(run_boxes(description, kill, as_json))
