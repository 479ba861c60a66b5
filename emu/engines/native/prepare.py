"""Compiles what no guest decides, when we are installed: `python -m emu.engines.native.prepare
[DIRECTORY]`.

Handlers of the forms that usual programs have, what the decoder learns of them, and the functions
that native code always needs: what the first run of every user would compile. They are made for
processes of the default processor, into the files that such a run would keep (`cache.py`), below a
directory that is named like the user's own. Other sources, processors or versions of LLVM find
nothing there and compile, as all do where nothing was made.

What is usual is told by `profile/process.txt`.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from emu.assembler import assemble
from emu.engines.native.cache import PREPARED, DiskCache, prepared_directory, version
from emu.engines.native.engine import Native, NativeSession
from emu.engines.native.executable import arena
from emu.engines.native.handler_store import handlers_of
from emu.engines.native.layout import BEST
from emu.engines.native.tier1 import BATCH
from emu.guests import process_state
from emu.private import VARIABLE
from emu.process.machine import ProcessMachine
from emu.state import State
from isa.hints import Final
from isa.x86.decode import decode
from isa.x86.mode import Mode

PROFILE: Final = Path(__file__).parent / "profile" / "process.txt"
GUEST: Final = """
    .globl _start
_start:
    mov eax, 1              # exit
    xor ebx, ebx
    int 0x80
"""
_VERSION: Final = re.compile("[0-9a-f]{16}")  # what directories of one are named


def instructions(profile: Path = PROFILE) -> list[bytes]:
    """What a profile names; raises ValueError if a line is no hexadecimal number."""
    lines = (line.partition("#")[0].strip() for line in profile.read_text().splitlines())
    return [bytes.fromhex(line) for line in lines if line]


def prepare(
    directory: Path, codes: Sequence[bytes], progress: Callable[[int], object] = lambda done: None
) -> bool:
    """Make what the forms of some instructions need, unless it is there; only one version is kept.

    Tells whether there was something to do. `progress` is told how many instructions are done.
    For a process of its own, which takes `directory` for the user's cache from then on. Raises
    OSError if it cannot be written.
    """
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".making-", dir=directory) as scratch:
        name = version(Path(scratch))
        if (directory / name).is_dir():
            return False
        os.environ |= {VARIABLE: scratch, PREPARED: ""}
        _compile(codes, progress)
        _publish(Path(scratch) / name, directory)
    return True


def _publish(made: Path, directory: Path) -> None:
    """Let everybody read what was made, instead of what older sources have made."""
    for path in made.iterdir():
        path.chmod(0o644)
    made.chmod(0o755)
    for other in directory.iterdir():
        if _VERSION.fullmatch(other.name):
            shutil.rmtree(other, ignore_errors=True)
    made.rename(directory / made.name)


def _compile(codes: Sequence[bytes], progress: Callable[[int], object]) -> None:
    machine, state, engine = process()
    session = engine.session(state)
    assert isinstance(session, NativeSession)
    for first in range(0, len(codes), BATCH):
        batch = codes[first : first + BATCH]
        _meet(session, batch)
        progress(len(batch))
    session.close()
    handlers_of(session.cache).save()
    machine.run(engine, state)  # what leads from Python to native code and back


def process() -> tuple[ProcessMachine, State, Native]:
    """A process that only ends, its processor before its first instruction, and an engine."""
    machine = ProcessMachine(assemble(GUEST, "guest.s").image, ["guest"])
    return machine, process_state(machine), Native(cache=DiskCache.users())


def _meet(session: NativeSession, codes: Sequence[bytes]) -> None:
    """Do what a session does that meets some instructions in the mode of its processor."""
    mode, tier1 = session.isa.mode(session.state.values), session.tier1
    assert isinstance(mode, Mode) and tier1 is not None
    session.fetcher(mode)
    numbers = []
    for code in codes:
        if record := tier1.decoder.decode_code(code, mode, 1):
            numbers.append(record[0])
        else:
            _leave_to_python(session, mode, code)
    wanted = tuple(number for number in dict.fromkeys(numbers) if not tier1.has(number))
    if wanted:
        tier1.install(tier1.compile(wanted, BEST))


def _leave_to_python(session: NativeSession, mode: Mode, code: bytes) -> None:
    """Native code cannot do an instruction: keep how the python engine does it."""
    found = decode(code, mode)
    if session.remembered is not None:
        session.remembered.note_instruction(mode, code, found)
    session.handler(found.form)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), required=False)
def main(directory: Path | None) -> None:
    """Compile into DIRECTORY, by default where runs look for it, what most first runs need."""
    chosen = directory or prepared_directory()
    if chosen is None:
        raise click.UsageError(f"{PREPARED} is empty: name a DIRECTORY")
    if arena() is None:
        raise click.ClickException("compiled code cannot be moved on this host")
    codes = instructions()
    try:
        with click.progressbar(length=len(codes), label="compiling", file=sys.stderr) as bar:
            prepare(Path(chosen), codes, bar.update)
    except OSError as error:
        raise click.ClickException(f"{chosen} cannot be written: {error.strerror}") from None


if __name__ == "__main__":
    main()
