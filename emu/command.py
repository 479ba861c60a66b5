"""What the commands `emu` and `vmm` share: a user's mistake ends in a message, not a trace."""

from __future__ import annotations

import sys

from emu.garbage import look_seldom
from isa.hints import Callable, NoReturn

USER_ERRORS = (
    "AssemblyError",
    "ConfigurationError",
    "RolesError",
    "ProgramError",
    "AllocationError",
    "UndecidedError",
)
"""Errors of what knows nothing of commands, and that are no mistakes of ours."""


def run_command(command: Callable[[], object], name: str) -> None:
    """Run a command as `name`: mistakes end in a message and a documented exit code."""
    from emu.errors import GuestFileError
    from emu.report import EXIT_BAD_GUEST, EXIT_INTERRUPTED, EXIT_NO_INPUT, EXIT_PIPE

    look_seldom()
    try:
        command()
    except KeyboardInterrupt:
        fail(name, "interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us is gone; Python must not complain at its end
        raise SystemExit(EXIT_PIPE) from None
    except GuestFileError as error:
        missing = type(error).__name__ == "MissingFileError"
        fail(name, str(error), EXIT_NO_INPUT if missing else EXIT_BAD_GUEST)
    except Exception as error:
        _end_as_click_says(error, name, EXIT_INTERRUPTED)
        if type(error).__name__ not in USER_ERRORS:
            raise
        fail(name, str(error), EXIT_BAD_GUEST)


def _end_as_click_says(error: Exception, name: str, interrupted: int) -> None:
    """End if this is one of click's errors; without click there is none."""
    click = sys.modules.get("click")
    if click is None:
        return
    if isinstance(error, click.Abort):
        fail(name, "interrupted", interrupted)
    if isinstance(error, click.ClickException):
        error.show()
        raise SystemExit(error.exit_code) from None


def leave(code: int) -> NoReturn:
    """End with an exit code; output that nobody reads any more is no error."""
    sys.stdout.flush()
    raise SystemExit(code)


def fail(name: str, message: str, code: int) -> NoReturn:
    """Print a message and end."""
    print(f"{name}: {message}", file=sys.stderr)
    raise SystemExit(code)
