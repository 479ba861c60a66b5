"""Running a toy program from its source: what `emu run prog.asm` does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from emu.devices.toy_disk import SECTOR_BYTES
from emu.engines import Engine
from emu.exit import Exit
from emu.report import EXIT_LIMIT, EXIT_STORM
from emu.toy.machine import ToyMachine
from isa.hints import BinaryIO, Final
from isa.toy import Toy
from isa.toy.assembler import Program, assemble
from isa.toy.traps import TITLES

DEFAULT_LIMIT: Final = 100_000_000
LARGEST_SOURCE: Final = 1 << 22
BLANK_DISK: Final = bytes(16 * SECTOR_BYTES)


class ProgramError(Exception):
    """A program cannot be read: the text says which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: `stop` is "halt", "storm" or "until" (the limit was reached)."""

    stop: str
    exit_code: int
    instructions: int
    seconds: float
    engine: str
    configuration: str
    explanation: str

    def facts(self) -> dict[str, object]:
        """What `--json` shows."""
        mips = self.instructions / self.seconds / 1e6 if self.seconds else 0.0
        return {
            "engine": self.engine,
            "configuration": self.configuration,
            "instructions": self.instructions,
            "seconds": round(self.seconds, 6),
            "mips": round(mips, 3),
            "exit_code": self.exit_code,
            "stop": "limit" if self.stop == "until" else self.stop,
            "explanation": self.explanation,
        }


def load_program(path: Path, isa: Toy | None = None) -> Program:
    """Read and assemble a file, for the machine it names if none is given.

    Raises ProgramError, AssemblyError or ConfigurationError.
    """
    try:
        if path.stat().st_size > LARGEST_SOURCE:
            raise ProgramError(f"{path}: too large for a toy program ({LARGEST_SOURCE} bytes)")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProgramError(f"{path}: {error.strerror}; give the path of a .asm file") from None
    except UnicodeDecodeError as error:
        raise ProgramError(f"{path}: not a text in UTF-8 (byte {error.start})") from None
    return assemble(text, str(path), isa)


def run_program(
    program: Program,
    isa: Toy,
    engine: Engine,
    *,
    output: BinaryIO | None = None,
    source: BinaryIO | None = None,
    disk: bytes = BLANK_DISK,
    limit: int = DEFAULT_LIMIT,
) -> Outcome:
    """Run an assembled program on a bare machine until it halts or `limit` instructions are up."""
    machine = ToyMachine(
        isa, program.image, engine=engine, entry=program.entry, output=output, source=source,
        disk=disk,
    )  # fmt: skip
    began = time.perf_counter()
    stop = machine.run(limit)
    return outcome(machine, stop, time.perf_counter() - began, program)


def outcome(machine: ToyMachine, stop: Exit, seconds: float, program: Program) -> Outcome:
    """What to tell about a run that stopped."""
    codes = {"halt": machine.state["r0"] & 0xFF, "storm": EXIT_STORM}
    return Outcome(
        stop=stop.reason,
        exit_code=codes.get(stop.reason, EXIT_LIMIT),
        instructions=machine.state.count,
        seconds=seconds,
        engine=machine.engine.name,
        configuration=machine.isa.name,
        explanation=_EXPLAIN.get(stop.reason, _other)(machine, program),
    )


def where(machine: ToyMachine, program: Program) -> str:
    """The instruction at P: real address, text, and the source line if there is one."""
    state, shape = machine.state, machine.isa.shape
    address = state["p"] + state["l"] * shape.granule
    code, _ = machine.memory.fetch(address, 1)
    text = machine.isa.text(code, address) if code else "outside of storage"
    if state["p"] >= state["b"] * shape.granule:
        text = "outside of its window"
    line = program.lines.get(address)
    return f"P = {state['p']:#x}: {text}" + (f" ({line.place})" if line else "")


def _halted(machine: ToyMachine, program: Program) -> str:
    return f"halted with r0 = {machine.state['r0']:#x}"


def _limited(machine: ToyMachine, program: Program) -> str:
    mode = "user" if machine.state["mode"] else "supervisor"
    return (
        f"still running in {mode} mode after {machine.state.count} instructions, at "
        f"{where(machine, program)}; if it needs more, raise --max-instructions"
    )


def _storm(machine: ToyMachine, program: Program) -> str:
    cause = TITLES.get(machine.state["cause"], f"trap {machine.state['cause']}")
    hint = "" if machine.memory.view[1] else "; E[1] is 0: store the PSW of a trap handler there"
    return (
        f"traps for ever ({cause}): the first instruction of the trap handler traps itself, at "
        f"{where(machine, program)}{hint}"
    )


def _other(machine: ToyMachine, program: Program) -> str:
    return f"stopped at {where(machine, program)}"


_EXPLAIN = {"halt": _halted, "until": _limited, "storm": _storm}
