"""The `emu` command, also as `python -m emu`."""

from __future__ import annotations

import atexit
import os
import sys

from emu import bundle
from emu.garbage import look_seldom


class _End:
    """The end of a process whose command has ended with a `code`, when all that was left for the
    end is done: Python would take every module apart, a twentieth of a short run."""

    code: int | None = None  # None: it failed otherwise, which Python has to tell

    def is_near(self, code: object) -> None:
        """A command has ended with a code; what compiles beside it need not."""
        self.code = code if isinstance(code, int) else None
        worker = sys.modules.get("emu.engines.native.worker")
        if self.code is not None and worker is not None:
            worker.do_not_wait()

    def come(self) -> None:
        """End the process."""
        if self.code is not None:
            from isa.light import suppress

            with suppress(OSError, ValueError):  # nobody reads it any more
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(self.code)


def main() -> None:
    """Run the command (see `emu.cli`) as all that the process is there for."""
    look_seldom()  # from here on: modules are unpacked next, which makes many objects
    modules = bundle.begin()  # for all imports but those above
    end = _End() if "coverage" not in sys.modules else None  # which would be told of it too late
    if end is not None:
        atexit.register(end.come)  # registered before all others, called after them
    from emu.cli import main as command

    try:
        command()
    except SystemExit as ended:
        if end is not None:
            end.is_near(ended.code)
        modules.keep()
        raise


if __name__ == "__main__":
    main()
