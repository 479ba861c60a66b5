"""Makes the profile of `emu.engines.native.prepare`: which forms Debian's programs have.
`POPEK_I386=… POPEK_I386_SHARED=… python -m tests.met_forms [FILE]`.

Each program runs in a process of its own, which notes every instruction that its decoder is taught
by. Of each key of the decoder, which decides the form, one instruction is written, with zeros for
all that is not of the key. Where native code cannot do a form, all its instructions are written as
they are: those are what the python engine remembers.
"""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from emu.engines.native.cache import PREPARED
from emu.engines.native.decoder import BulkDecoder
from emu.engines.native.prepare import PROFILE, process
from emu.private import VARIABLE
from isa.definition import TruncatedError
from isa.x86.decode import BAD, decode
from isa.x86.encoding import Key
from isa.x86.form import Form
from isa.x86.limits import MAX_LENGTH
from isa.x86.mode import Mode
from isa.x86.recipe import Recipes
from tests.program_figures import COMMANDS, fill_root
from tests.test_debian import COMPRESSORS, COREUTILS, LANGUAGES

NOTES = "POPEK_MET_FORMS"  # environment: where a child writes what it has met
CHILD = "from tests.met_forms import note_all; note_all(); from emu.cli import main; main()"
SECONDS = 600
BUSYBOX = """
    echo hi; seq 300 | sort -rn | head -n 3; grep -c guest poem; sed s/a/b/ poem | md5sum
    awk -F: '{ n += $2 } END { print n / 3 }' table; gzip -c big | gunzip | sha256sum; ls -l tree
    tar -cf - tree | tar -tf -; find tree -name '*.txt'; printf '%05.1f %x\\n' 3.14 255; date -d @0
    cut -d: -f2 table | uniq | wc -l; diff poem dos; cal 1 2000; echo '2^70 / 7' | bc
"""
HEAD = """\
# One instruction for each of the decoder's keys that Debian's i386 programs were seen to have on
# the process machine's default processor: what is learned and compiled at installation
# (emu/engines/native/prepare.py). Made by `python -m tests.met_forms`, which see.
"""


def note_all() -> None:
    """In a child: note every instruction that teaches a decoder something."""
    met: set[str] = set()
    for name in ("_learn", "_ask"):
        patch.object(BulkDecoder, name, _noting(getattr(BulkDecoder, name), met)).start()
    path = Path(os.environ[NOTES])
    atexit.register(lambda: path.write_text("\n".join(sorted(met))))


def _noting(method: Callable[..., Any], met: set[str]) -> Callable[..., Any]:
    def noted(self: BulkDecoder, code: bytes, mode: Mode, *rest: Any) -> Any:
        with suppress(TruncatedError):
            met.add(code[: decode(code, mode).length].hex())
        return method(self, code, mode, *rest)

    return noted


def commands() -> dict[str, list[str]]:
    """What runs in the root, by name."""
    scripts = COREUTILS | COMPRESSORS | {name: LANGUAGES[name] for name in ("tcc", "gcc")}
    found = {"busybox": ["bin/busybox", "sh", "-c", BUSYBOX], **COMMANDS}
    return found | {f"{name}.sh": ["bin/dash", "-c", text] for name, text in scripts.items()}


def met_by(root: Path, argv: list[str], notes: Path) -> set[bytes]:
    """The instructions that one command has taught decoders."""
    ours = ["run", "--engine", "native", "--env", "PATH=/bin:/usr/bin", "--root", str(root)]
    command = [sys.executable, "-c", CHILD, *ours, "--writable", "--cwd", "/w", str(root / argv[0])]
    given = {VARIABLE: "", PREPARED: "", NOTES: str(notes)}
    subprocess.run(
        [*command, *argv[1:]], env=os.environ | given, timeout=SECONDS, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return {bytes.fromhex(line) for line in notes.read_text().split()}


def plain(code: bytes, mode: Mode) -> bytes:
    """An instruction of the same key, form and length with zeros where they do not matter."""
    wanted = key_of(code, mode), *facts(code, mode)
    for at in range(len(code)):
        other = code[:at] + b"\0" + code[at + 1 :]
        if (key_of(other, mode), *facts(other.ljust(MAX_LENGTH, b"\0"), mode)) == wanted:
            code = other
    return code


def key_of(code: bytes, mode: Mode) -> Key | None:
    """What the decoder looks up."""
    parts = Recipes(mode.code_size, mode.model).split(code)
    return parts and parts.key


def facts(code: bytes, mode: Mode) -> tuple[Form, int]:
    """The form of an instruction, and its length."""
    found = decode(code, mode)
    assert isinstance(found.form, Form)
    return found.form, found.length


def chosen(codes: Iterable[bytes]) -> list[bytes]:
    """What is worth a line, sorted."""
    os.environ |= {VARIABLE: "", PREPARED: ""}
    _, state, engine = process()
    session, mode = engine.session(state), state.isa.mode(state.values)
    by_key: dict[tuple[Key | None, Form], bytes] = {}
    alone: set[bytes] = set()
    for code in sorted(codes, key=lambda code: (len(code), code)):
        form, _ = facts(code, mode)
        if session.tier1.decoder.decode_code(code, mode, 1):
            by_key.setdefault((key_of(code, mode), form), plain(code, mode))
        elif form.mnemonic != BAD:
            alone.add(code)
    return sorted({*by_key.values(), *alone})


def main() -> None:
    """Write the profile, by default where it is read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=PROFILE)
    file = parser.parse_args().file
    met: set[bytes] = set()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        fill_root(root)
        shutil.copy(Path(os.environ["POPEK_I386"]) / "bin/busybox", root / "bin")
        for name, argv in commands().items():
            met |= met_by(root, argv, Path(scratch) / "notes")
            print(f"{name:<12} {len(met)} instructions", file=sys.stderr, flush=True)
    lines = [code.hex() for code in chosen(met)]
    file.write_text(HEAD + "\n".join(lines) + "\n")
    print(f"{len(lines)} lines")


if __name__ == "__main__":
    main()
