"""The modules that runs import, in one file: to find and read each takes as long as to execute it.

A bundle lies in the user's directory (`private.py`), one for each Python, tree of sources and path
of modules. It has modules' code as Python has compiled it, with the status of their sources, and
gives a module only while that is the same. What is not in it is imported as always, and is in it
the next time. Its code is trusted as the directory is, and what is damaged is as good as absent.

It stands right before the finder that looks for files (`PathFinder`), and its modules are as if
that had found them: only who reads their code is another one.
"""

from __future__ import annotations

import marshal
import os
import sys
import zlib
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import PathFinder, SourceFileLoader  # as in `importlib.machinery`

from emu.private import Status, is_ours, mapped, status, users_directory, write

TYPE_CHECKING = False  # see `isa.hints`, which is in the bundle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType, ModuleType

COMPILER = "llvmlite.binding"  # runs that load it import hundreds of modules, and take their time
_WORD = 8  # bytes of a number before the head

Source = tuple[str, str, bool, Status]
"""Of a module: its source, the file that Python has for its code, whether it is a package, and the
status of its source."""
Entry = tuple[Source, tuple[int, int, int]]
"""... and from where to where its code is, behind the head, with a checksum."""


class _Loader(SourceFileLoader):
    """Loads a module from its source, whose code is there already."""

    def __init__(self, name: str, file: str, code: memoryview) -> None:
        super().__init__(name, file)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        """See `importlib.abc.InspectLoader`."""
        found: CodeType = marshal.loads(self._code)
        return found


class Bundle:
    """A finder of modules (see `importlib.abc.MetaPathFinder`) in a file, which may not be there;
    nothing is found or kept if there is no directory for it."""

    def __init__(self, directory: str | None) -> None:
        self._path = [(place, _changed(place)) for place in sys.path[1:]]
        self._entries: dict[str, Entry] = {}
        self._codes = memoryview(b"")
        self._is_of_path = False  # whether modules are searched for as they were when it was made
        self._missed: list[str] = []
        self._file: str | None = None
        if directory is not None and _is_safe(directory):
            self._file = os.path.join(directory, _name())
            self._open(self._file)

    def _open(self, path: str) -> None:
        """Read the head, if there is one."""
        try:
            content = mapped(path)
        except OSError:
            return
        size, check = (int.from_bytes(content[n : n + _WORD], "little") for n in (0, _WORD))
        head, codes = content[2 * _WORD :][:size], content[2 * _WORD + size :]
        if zlib.crc32(head) == check:
            places, self._entries = marshal.loads(head)
            self._is_of_path, self._codes = places == self._path, codes

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Tell where a module is; None if it is not here, or no longer."""
        entry = self._entries.get(name)
        code = None if entry is None or not self._is_found(name, path) else self._code(entry)
        if entry is None or code is None:
            self._missed.append(name)
            return None
        file, cached, is_package, _ = entry[0]
        found = ModuleSpec(name, _Loader(name, file, code), origin=file, is_package=is_package)
        found.has_location, found.cached = True, cached
        if is_package:
            found.submodule_search_locations = [os.path.dirname(file)]
        return found

    def _is_found(self, name: str, path: Sequence[str] | None) -> bool:
        """Whether a module would be found in the same place by its name."""
        if path is not None:
            return self._entries[name][0][0].startswith(f"{next(iter(path), '')}{os.sep}")
        return self._is_of_path and PathFinder.find_spec(name, sys.path[:1]) is None

    def _code(self, entry: Entry) -> memoryview | None:
        """The code of a module, if its source is still the same."""
        (file, _, _, known), (start, end, check) = entry
        try:
            if status(file) != known:
                return None
        except OSError:
            return None
        code = self._codes[start:end]
        return code if zlib.crc32(code) == check else None

    def keep(self) -> None:
        """Have the modules that were not here in the file, for the next run."""
        if self._file is None or sys.dont_write_bytecode or COMPILER in sys.modules:
            return
        loaders = {name: _loader(name) for name in self._missed}
        found = {name: loader for name, loader in loaders.items() if loader is not None}
        if found:
            try:
                write(self._file, self._with(found))
            except (OSError, ImportError, SyntaxError):  # a source is gone, or being written
                return

    def _with(self, found: dict[str, SourceFileLoader]) -> bytes:
        """The content of the file, with modules that are new."""
        codes = {
            name: (entry[0], bytes(code))
            for name, entry in self._entries.items()
            if name not in found and (code := self._code(entry)) is not None
        }
        for name, loader in found.items():
            spec = sys.modules[name].__spec__
            assert spec is not None
            facts = loader.path, spec.cached or "", loader.is_package(name), status(loader.path)
            codes[name] = facts, marshal.dumps(loader.get_code(name))
        return _packed(self._path, codes)


def _packed(path: list[tuple[str, int]], codes: Mapping[str, tuple[Source, bytes]]) -> bytes:
    entries: dict[str, Entry] = {}
    at = 0
    for name, (facts, code) in codes.items():
        entries[name] = facts, (at, at + len(code), zlib.crc32(code))
        at += len(code)
    head = marshal.dumps((path, entries))
    numbers = (n.to_bytes(_WORD, "little") for n in (len(head), zlib.crc32(head)))
    return b"".join([*numbers, head, *(code for _, code in codes.values())])


def _name() -> str:
    """The file of this Python, of this tree of sources, and of where modules are searched for; a
    script's directory, or the current one, is not among that."""
    facts = sys.version, sys.flags.optimize, os.path.dirname(__file__), sys.path[1:]
    return f"modules-{zlib.crc32(repr(facts).encode()):08x}"


def _changed(directory: str) -> int:
    """When a file came to a directory, or went."""
    try:
        return os.stat(directory).st_mtime_ns
    except OSError:
        return 0


def _is_safe(directory: str) -> bool:
    try:
        return is_ours(directory)
    except OSError:
        return False


def _loader(name: str) -> SourceFileLoader | None:
    """Who has loaded a module, if it has a source in a file."""
    loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
    return loader if type(loader) is SourceFileLoader else None


def begin() -> Bundle:
    """Look for modules in the user's bundle, from now on."""
    found = Bundle(users_directory())
    finders: list[object] = sys.meta_path  # type: ignore[assignment]
    at = finders.index(PathFinder) if PathFinder in finders else len(finders)
    finders.insert(at, found)
    return found
