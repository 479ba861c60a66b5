"""How a run ended: what `emu run` tells its user and, by `--json`, a program."""

from __future__ import annotations

from isa.hints import Any

EXIT_DIFFERENT = 1  # `emu bench`: a guest computed something else than it should
EXIT_BAD_GUEST = 65  # the file is no guest, or its source does not assemble (sysexits: EX_DATAERR)
EXIT_NO_INPUT = 66  # the file is not there or cannot be read (EX_NOINPUT)
EXIT_UNIMPLEMENTED = 70  # the engine lacks an instruction (EX_SOFTWARE)
EXIT_LIMIT = 124  # --max-instructions reached, as timeout(1) says it
EXIT_STORM = 125  # a toy machine that traps for ever
EXIT_SHUTDOWN = 126  # a PC whose processor has shut down: a triple fault
EXIT_PIPE = 141  # nobody reads our output any more, as a shell says it
EXIT_INTERRUPTED = 130  # Ctrl-C, as a shell says it


class Report:
    """One finished run.

    `stop` is "exit", "signal", "halt", "limit", "storm", "shutdown", "unimplemented" or
    "interrupted"; `message` is one for the user, empty if the guest just ended.
    """

    def __init__(
        self,
        stop: str,
        exit_code: int,
        instructions: int,
        seconds: float,
        engine: str,
        machine: str,
        message: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        self.stop = stop
        self.exit_code = exit_code
        self.instructions = instructions
        self.seconds = seconds
        self.engine = engine
        self.machine = machine
        self.message = message
        self.details = {} if details is None else details

    def facts(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        mips = self.instructions / self.seconds / 1e6 if self.seconds else 0.0
        return {
            "engine": self.engine,
            "machine": self.machine,
            "instructions": self.instructions,
            "seconds": round(self.seconds, 6),
            "mips": round(mips, 3),
            "exit_code": self.exit_code,
            "stop": self.stop,
            "message": self.message,
            **self.details,
        }
