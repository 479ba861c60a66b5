"""`emu run` with no or few options: what they are, and how it is done without who parses all."""

from __future__ import annotations

from emu.command import leave
from isa.hints import Any, Callable, Final, Sequence
from isa.record import NamedTuple

DEFAULTS: Final[dict[str, Any]] = {
    "engine": "auto", "machine": "auto", "cpu": "pentium2", "seed": 0, "cwd": "/", "boot": "ac",
    "append": "", "typed": "", "env": (), "serial": (), "writable": False, "net": False,
    "no_pci": False, "root": None, "memory": None, "mips": None, "isa": None, "disk": None,
    "bios": None, "fda": None, "fdb": None, "hda": None, "hdb": None, "kernel": None,
    "initrd": None, "display": None, "trace": None,
}  # fmt: skip
"""The options of `emu run`, by parameter; the command line takes them from here, too."""


TAKES: Final[dict[str, Callable[[str], object] | None]] = {
    "--root": str, "--cwd": str, "--engine": str, "--cpu": str, "--env": str,
    "--writable": None, "--net": None,
}  # fmt: skip
"""What is understood before GUEST, and what its value is; None without one."""


class Plain(NamedTuple):
    """A command line: `GUEST ARGUMENTS…` and its options, by parameter."""

    command: list[str]
    options: dict[str, Any]


def plain(arguments: Sequence[str]) -> Plain | None:
    """A command line `run [OPTION…] GUEST …` of few options; None if click has to understand it.

    What stands behind GUEST is the guest's.
    """
    rest, options = list(arguments), dict(DEFAULTS)
    if not rest or rest.pop(0) != "run":
        return None
    while rest and rest[0].startswith("-"):
        if not _understood(rest, options):
            return None
    return Plain(rest, options) if rest else None


def _understood(rest: list[str], options: dict[str, Any]) -> bool:
    """Whether the first of the arguments is an option of these, which then is taken away."""
    name = rest.pop(0)
    if name not in TAKES:
        return False
    parameter, kind = name.removeprefix("--"), TAKES[name]
    if kind is None:
        options[parameter] = True
        return True
    if not rest:
        return False
    value, before = kind(rest.pop(0)), options[parameter]
    options[parameter] = (*before, value) if isinstance(before, tuple) else value
    return True


def run_plainly(found: Plain) -> None:
    """Run a guest; its output and exit code become ours."""
    from emu.cli.run import run_guest

    guest, *arguments = found.command
    leave(run_guest(guest, arguments, found.options, None, as_json=False))
