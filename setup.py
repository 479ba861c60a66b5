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
        try:
            prepare(tree / PREPARED)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"popek: nothing is compiled ahead, first runs will do it ({error})")


def prepare(directory: Path) -> None:
    """Fill a directory, by the sources here; raises OSError or SubprocessError."""
    path = os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "emu.engines.native.prepare", str(directory)]
    environment = os.environ | {"PYTHONPATH": path}
    subprocess.run(command, env=environment, check=True, timeout=MOST_SECONDS, cwd=SOURCES)


setup(cmdclass={"build_py": BuildAndPrepare})
