"""Compiled code on disk: what one run has compiled, the next one loads.

A file holds a checksum of the rest, then a head as `marshal` writes it, which needs no module of
its own and is no less to be trusted than the object code behind it. Files lie in a directory of the
user's own (mode 700; not used if it is somebody else's) below one whose name is a digest of
everything that decides what code means: our sources, the versions of LLVM and Python, the host's
processor. A file that is damaged, truncated or of another version is as good as absent. The
directory has a limit; the files that were not used for longest go first.

Below the user's own is what `prepare` has made when we were installed: what the user's own does not
have is looked for there. Nothing is ever written there, and it is trusted as our sources are.
"""

from __future__ import annotations

import marshal
import os
import sys

import llvmlite

import emu.engines
import isa
from emu.engines.native.executable import arena
from emu.engines.native.names import summing
from emu.private import checksum, chosen, is_ours, mapped, status, users_directory, write
from isa.hints import Any, Final, Iterator, StrPath
from isa.light import cache, cached_property, suppress

LIMIT: Final = 256 << 20  # bytes of all files
CHECK_EVERY: Final = 64  # files written between looks at the limit
LARGE: Final = 1 << 17  # bytes from which on a file is worth to be mapped: few are
ONE: Final = 1 << 14  # bytes, in which the host tells everything of one of its processors
VERSION: Final = "version"  # the file with the digest of our sources
PREPARED: Final = "POPEK_PREPARED"  # environment: where is what was made at installation; or empty
_NO_SOURCES: Final = {"__pycache__", "prepared"}  # directories that need no look


@cache
def version(directory: StrPath) -> str:
    """A digest of what decides what compiled code means; sources are read again when one changed.

    `directory` keeps the digest, with the status of the sources and of their directories; others
    may have it of another tree.
    """
    facts = repr((llvmlite.__version__, sys.version, _processor(), arena() is None))
    roots = [*isa.__path__, *emu.engines.__path__]
    file = os.path.join(directory, VERSION)
    known = _known_version(file, facts, roots)
    if known is not None:
        return known
    sources = {path: status(path) for root in roots for path in _python_files(root)}
    digest = summing(facts.encode())
    for path in sources:
        digest.update(_content(path) if path.endswith(".py") else b"")
    found = digest.hexdigest()[:16]
    with suppress(OSError):
        head = {"facts": facts, "roots": roots, "sources": sources, "digest": found}
        write(file, _pack(head, b""))
    return found


def _known_version(file: str, facts: str, roots: list[str]) -> str | None:
    """The digest that a file keeps, if it is of these trees and nothing has changed."""
    kept = _loaded(file, touch=False)
    if kept is None or (kept[0]["facts"], kept[0].get("roots")) != (facts, roots):
        return None
    try:
        same = all(status(path) == known for path, known in kept[0]["sources"].items())
    except OSError:
        return None
    return str(kept[0]["digest"]) if same else None


def _python_files(directory: str) -> Iterator[str]:
    """Sources in order, and their directories, where others may come."""
    yield directory
    with os.scandir(directory) as entries:
        found = sorted((entry.path, entry.is_dir()) for entry in entries)
    for path, is_directory in found:
        name = os.path.basename(path)
        if name.endswith(".py"):
            yield path
        elif is_directory and "." not in name and name not in _NO_SOURCES:
            yield from _python_files(path)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _processor() -> str:
    """The host's processor and what it can do; asked of LLVM, which loads slowly, if need be."""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            first, _, _ = file.read(ONE).decode().partition("\n\n")
        wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features")
        return "\n".join(line for line in first.splitlines() if line.startswith(wanted))
    except OSError:
        import llvmlite.binding as llvm

        return f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


class DiskCache:
    """Files by key; every operation that fails on the file system only means "not there".

    `place` is where they are; without a directory it is None, and nothing is kept. `prepared` is a
    directory like it that is only read, for what is not there.
    """

    def __init__(
        self, directory: StrPath | None, limit: int = LIMIT, *, prepared: StrPath | None = None
    ) -> None:
        self._limit = limit
        self._written = 0
        self._names: set[str] | None = None  # of files, once somebody has asked
        self.place = None if directory is None else self._open(os.fspath(directory))
        self._prepared = prepared

    @staticmethod
    def users() -> DiskCache:
        """The user's own, and below it what was made at installation."""
        return DiskCache(users_directory(), prepared=prepared_directory())

    def _open(self, directory: str) -> str | None:
        """The directory of this version, made if need be; None if it cannot be trusted."""
        try:
            if not is_ours(directory):
                return None
            place = os.path.join(directory, version(directory))
            return place if is_ours(place) else None
        except OSError:
            return None

    @property
    def _below(self) -> str | None:
        """Where what was made at installation is, if it is of this version and can be trusted."""
        if self._prepared is None or self.place is None:
            return None
        return _trusted(os.fspath(self._prepared), os.path.basename(self.place))

    def names(self) -> frozenset[str]:
        """Of what the user's own had when somebody asked first, and of what was saved since, as far
        as it was there at the last look at the limit: a copy, as threads of compilers go on saving.
        Code of guests is nowhere else."""
        return frozenset(self._known())

    def _known(self) -> set[str]:
        if self._names is None:
            self._names = set() if self.place is None else _listed(self.place)
        return self._names

    @cached_property
    def _made(self) -> set[str]:
        """The names of what was made at installation, which stays as it is."""
        return set() if self._below is None else _listed(self._below)

    def has(self, key: str) -> bool:
        """Whether something was saved, as far as `names` knows, or made at installation."""
        return key in self._known() or key in self._made

    def load(self, key: str) -> tuple[dict[str, Any], memoryview] | None:
        """The head and the code that were saved, or made at installation; or None."""
        if self.place is None:
            return None
        found = _loaded(os.path.join(self.place, key), touch=True)
        if found is None and self._below is not None:
            found = _loaded(os.path.join(self._below, key), touch=False)
        return found

    def save(self, key: str, head: dict[str, Any], code: bytes | memoryview) -> None:
        """Keep code for the next run; the file appears whole or not at all."""
        if self.place is None:
            return
        try:
            write(os.path.join(self.place, key), _pack(head, code))
        except OSError:
            return
        self._written += 1
        if self._names is not None:
            self._names.add(key)
        if self._written % CHECK_EVERY == 1:
            self._shrink(os.path.dirname(self.place))
            if self._names is not None:
                self._names &= _listed(self.place)

    def _shrink(self, directory: str) -> None:
        """Delete the files that were not used for longest, of any version, down to the limit."""
        files = sorted(_files(directory), reverse=True)
        total = 0
        for _, size, path in files:
            total += size
            if total > self._limit:
                with suppress(FileNotFoundError):
                    os.unlink(path)


def _loaded(path: str, *, touch: bool) -> tuple[dict[str, Any], memoryview] | None:
    """What a file holds; with `touch` it is known to be used."""
    try:
        large = os.stat(path).st_size >= LARGE
        content = mapped(path) if large else memoryview(_content(path))
        if touch:
            os.utime(path)
    except OSError:
        return None
    return _unpack(content)


@cache
def _trusted(directory: str, name: str) -> str | None:
    """A directory of the installation, if nobody can write to it but those who can write to the
    sources beside it: its owner is theirs, the user or root."""
    place = os.path.join(directory, name)
    try:
        sources = os.stat(os.path.dirname(__file__))
        found = os.stat(directory), os.stat(place)
    except OSError:
        return None
    return place if all(_is_as_safe(facts, sources) for facts in found) else None


def _is_as_safe(facts: os.stat_result, sources: os.stat_result) -> bool:
    """Whether all who can write to one directory can write to another."""
    if not hasattr(os, "getuid"):
        return True
    others = facts.st_mode & ~sources.st_mode & 0o022
    group = facts.st_mode & 0o020 and facts.st_gid != sources.st_gid
    return facts.st_uid in (0, os.getuid(), sources.st_uid) and not others and not group


def _listed(place: str) -> set[str]:
    try:
        with os.scandir(place) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return set()


def _files(directory: str) -> Iterator[tuple[float, int, str]]:
    for root, _, names in os.walk(directory):
        for path in (os.path.join(root, name) for name in names):
            with suppress(OSError):
                facts = os.stat(path)
                yield facts.st_mtime, facts.st_size, path


def prepared_directory() -> str | None:
    """Where what was made at installation is."""
    return chosen(PREPARED, os.path.join(os.path.dirname(__file__), "prepared"))


def _pack(head: dict[str, Any], code: bytes | memoryview) -> bytes:
    text = marshal.dumps(head)
    rest = b"".join([len(text).to_bytes(4, "little"), text, code])
    return _check(rest) + rest


def _unpack(content: memoryview) -> tuple[dict[str, Any], memoryview] | None:
    check, rest = content[:8], content[8:]  # handlers are worth no copies
    if len(rest) < 4 or _check(rest) != check:
        return None
    size = int.from_bytes(rest[:4], "little")
    head: dict[str, Any] = marshal.loads(rest[4 : 4 + size])
    return head, rest[4 + size :]


def _check(content: bytes | memoryview) -> bytes:
    """What shows damage; whoever can write here need not hide any."""
    return checksum(content).to_bytes(8, "little")
