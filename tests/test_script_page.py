"""The page on scripting says what is so: its code is run, and what it prints compared."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "emu" / "script" / "README.md"
BLOCK = re.compile(r"```python\n(.*?)```\n(?:```text\n(.*?)```)?", re.S)


def test_the_page_on_scripting(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) >= 9
    names: dict[str, object] = {}
    for code, expected in blocks:
        exec(compile(code, str(PAGE), "exec"), names)
        assert capsys.readouterr().out == expected, code


def test_commands_do_not_pay_for_it():
    """`emu run` imports nothing of scripting."""
    import subprocess
    import sys

    code = "import sys, emu.cli, emu.cli.run; print([m for m in sys.modules if 'script' in m])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert found.stdout == "[]\n", found.stderr
