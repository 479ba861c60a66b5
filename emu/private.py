"""What is kept for the user from one run to the next: where, and how a file gets there.

Python's own modules alone: `bundle.py` has this before anything else of ours.
"""

from __future__ import annotations

import _imp
import mmap
import os
import stat
import sys

VARIABLE = "POPEK_CACHE"  # environment: another directory; empty for none


def users_directory() -> str | None:
    """The directory, which need not be there; None if the user wants none."""
    return chosen(VARIABLE, os.path.join(_caches(), "native"))


def chosen(variable: str, usual: str) -> str | None:
    """The directory that the environment names, the usual one if it says nothing."""
    said = os.environ.get(variable)
    return usual if said is None else said or None


def _caches() -> str:
    """Where the user's caches are: on Linux as the XDG Base Directory Specification says."""
    if sys.platform.startswith("linux"):
        said = os.environ.get("XDG_CACHE_HOME", "")
        caches = said if said.startswith("/") else os.path.expanduser("~/.cache")
        return os.path.join(caches, "popek")
    import platformdirs  # slow to load: it knows all other systems

    return platformdirs.user_cache_dir("popek")


def is_ours(directory: str) -> bool:
    """Whether nobody else can write to a directory, which is made if need be; raises OSError."""
    try:
        facts = os.stat(directory)
    except FileNotFoundError:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        facts = os.stat(directory)
    if not stat.S_ISDIR(facts.st_mode):
        return False
    return not hasattr(os, "getuid") or (facts.st_uid == os.getuid() and not facts.st_mode & 0o022)


def checksum(content: bytes | memoryview) -> int:
    """64 bits that show damage, as `importlib.util.source_hash` has them: of what could compute
    some, this alone is there when Python has started."""
    return int.from_bytes(_imp.source_hash(0, content), "little")


def write(path: str, content: bytes) -> None:
    """Write a file, which appears whole or not at all; raises OSError."""
    import tempfile  # most runs write nothing

    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


def mapped(path: str) -> memoryview:
    """The content of a file that `write` wrote: nobody changes it, so that it need not be copied.
    Keeps a file open. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError:  # it is empty
            return memoryview(b"")


Status = tuple[int, int, int, int]
seen: dict[str, Status] = {}  # files, as this process saw them first


def status(path: str) -> Status:
    """What tells that a file has changed: nobody can set its ctime. Raises OSError.

    A file is looked at once: who takes its content then and its status with it may be told later
    that it has changed, but never that it has not.
    """
    found = seen.get(path)
    if found is None:
        facts = os.stat(path)
        found = facts.st_size, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns
        seen[path] = found
    return found
