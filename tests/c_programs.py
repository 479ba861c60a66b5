"""C programs of tests/languages, run here and by the host: whoever runs them, they say the same."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

from emu.engines.native.engine import Native
from emu.engines.python import Python
from emu.guests import process_state
from emu.process.machine import ProcessMachine
from emu.process.processor import DEFAULT
from tests.needs import missing

SOURCES = Path(__file__).with_name("languages")


def compiled(name: str, folder: Path, *options: str) -> Path:
    """A program of tests/languages, compiled for i386 into a folder."""
    program = folder / name
    source = SOURCES / f"{name}.c"
    command = ["gcc", "-m32", "-static", "-O1", *options, str(source), "-o", str(program), "-lm"]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        missing("there is no C compiler for 32-bit code")
    return program


def check(
    name: str, folder: Path, *options: str, cpu: str = DEFAULT, net: bool = False
) -> dict[str, Path]:
    """Run a program on the host and on two engines, each with a root of its own: output and exit
    code are the host's, and both engines run as many instructions. Returns the roots.

    With `net` it has a loopback."""
    image = compiled(name, folder, *options).read_bytes()
    roots = {who: folder / f"root-{who}" for who in ("host", "python", "native")}
    for root in roots.values():
        root.mkdir()
        (root / name).write_bytes(image)
        (root / name).chmod(0o755)
    host = subprocess.run([f"./{name}"], cwd=roots["host"], check=False, capture_output=True)
    counts = set()
    for who, engine in {"python": Python(), "native": Native()}.items():
        output = io.BytesIO()
        machine = ProcessMachine(
            image, [name], root=roots[who], writable=True, stdout=output, cpu=cpu, net=net
        )
        state = process_state(machine)
        outcome = machine.run(engine, state)
        assert output.getvalue() == host.stdout
        assert outcome is not None
        assert outcome.exit_code == host.returncode
        counts.add(state.count)
    assert len(counts) == 1
    return roots
