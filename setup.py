"""Compiles at installation what every first run would compile; all else is in pyproject.toml."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SOURCES = Path(__file__).resolve().parent
PREPARED = Path("emu", "engines", "native", "prepared")
MOST_SECONDS = 600


class BuildAndPrepare(build_py):
    """What setuptools does, then `emu.engines.native.prepare`: beside the sources of an editable
    installation, else into the package. Without it first runs compile, so no failure matters."""

    def run(self) -> None:
        """See `build_py`."""
        super().run()
        tree = SOURCES if self.editable_mode else Path(self.build_lib).resolve()
        failure = prepare(tree / PREPARED)
        if failure:
            print(f"popek: nothing is compiled ahead, first runs will do it: {failure}")


def prepare(directory: Path) -> str:
    """Fill a directory, by the sources here; returns in a line why that is impossible, if it is."""
    path = os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "emu.engines.native.prepare", str(directory)]
    try:
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, cwd=SOURCES, timeout=MOST_SECONDS,
            capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return (done.stderr.strip().splitlines() or ["?"])[-1] if done.returncode else ""


setup(cmdclass={"build_py": BuildAndPrepare})
