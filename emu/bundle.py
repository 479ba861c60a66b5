"""The modules that runs import, in one file: to find and read each takes as long as to execute it.

A bundle lies in the user's directory (`private.py`), one for each Python, tree of sources and path
of modules. It has modules' code as Python has compiled it, with the status of their sources, and
gives a module only while that is the same. What is not in it is imported as always, and is in it
the next time. Its code is trusted as the directory is, and what is damaged is as good as absent.

It stands before Python's own finders and behind those that others have put before them, and its
modules are as if `PathFinder` had found them: only who reads their code is another one. The modules
of a package that came into the bundle together are one *group*, and unpacked together: most names
in them are the same.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib import BuiltinImporter, ModuleSpec  # as in `importlib.machinery`
from _frozen_importlib_external import PathFinder, SourceFileLoader

from emu.private import Status, checksum, is_ours, mapped, status, users_directory, write

TYPE_CHECKING = False  # see `isa.hints`, which is in the bundle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import CodeType, ModuleType

EMITTERS = "isa.ops"  # who emits or compiles code imports it, many other modules, and takes long
FORMAT = 3  # of files; counts up
_Module = type(sys)
_WORD = 8  # bytes of a number before the head

Source = tuple[str, str, bool, Status]
"""Of a module: its source, the file that Python has for its code, whether it is a package, and the
status of its source."""
Packed = tuple[dict[str, Source], bytes]
"""A group: its modules, and their code as `marshal` packs it, by name."""


class _Loader(SourceFileLoader):
    """Loads a module from its source, whose code is there already."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        self.name, self.path, self._code = name, path, code

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module that knows its files: Python looks whether it does, and else raises and forgets
        errors."""
        module = _Module(spec.name)
        vars(module).update(__file__=spec.origin, __cached__=spec.cached)
        return module

    def get_code(self, fullname: str) -> CodeType:
        """See `importlib.abc.InspectLoader`."""
        return self._code


class Bundle:
    """A finder of modules (see `importlib.abc.MetaPathFinder`) in a file, which may not be there;
    nothing is found or kept if there is no directory for it."""

    def __init__(self, directory: str | None) -> None:
        self._path = [(place, _changed(place)) for place in sys.path[1:]]
        self._entries: dict[str, tuple[Source, int]] = {}  # with the number of their group
        self._groups: list[tuple[int, int, int]] = []  # where they begin and end, and checksums
        self._packed = memoryview(b"")
        self._codes: dict[int, dict[str, CodeType]] = {}  # of groups that were unpacked
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
        head, self._packed = content[2 * _WORD :][:size], content[2 * _WORD + size :]
        if head and checksum(head) == check:
            places, self._entries, self._groups = marshal.loads(head)
            self._is_of_path = places == self._path

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Tell where a module is; None if it is not here, or no longer."""
        source, group = self._entries.get(name, (None, 0))
        code = self._code(name, group) if source and self._is_found(name, path, source) else None
        if source is None or code is None:
            self._missed.append(name)
            return None
        file, cached, is_package, _ = source
        found = ModuleSpec(name, _Loader(name, file, code), origin=file, is_package=is_package)
        found.has_location, found.cached = True, cached
        if is_package:
            found.submodule_search_locations = [os.path.dirname(file)]
        return found

    def _is_found(self, name: str, path: Sequence[str] | None, source: Source) -> bool:
        """Whether the same would be found by a module's name."""
        if path is not None:
            there = source[0].startswith(f"{next(iter(path), '')}{os.sep}")
        else:
            other = PathFinder.find_spec(name, sys.path[:1])
            there = self._is_of_path and (other is None or other.origin == source[0])
        return there and _is_same(source)

    def _code(self, name: str, group: int) -> CodeType | None:
        """The code of a module in a group, if that is not damaged."""
        if group not in self._codes:
            start, end, check = self._groups[group]
            packed = self._packed[start:end]
            whole = checksum(packed) == check
            self._codes[group] = marshal.loads(packed) if whole else {}
        return self._codes[group].get(name)

    def keep(self) -> None:
        """Have the modules that were not here in the file, for the next run."""
        if self._file is None or sys.dont_write_bytecode or EMITTERS in sys.modules:
            return
        loaders = {name: _loader(name) for name in self._missed}
        found = {name: loader for name, loader in loaders.items() if loader is not None}
        if found:
            try:
                write(self._file, _content(self._path, [*self._with(found)]))
            except (OSError, ImportError, SyntaxError):  # a source is gone, or being written
                return

    def _with(self, found: dict[str, SourceFileLoader]) -> Iterator[Packed]:
        """The groups with modules that are new; those that something has left are dissolved."""
        new: dict[str, tuple[Source, CodeType | None]] = {}
        for number, (start, end, _) in enumerate(self._groups):
            known = {name: source for name, (source, n) in self._entries.items() if n == number}
            same = {n: s for n, s in known.items() if n not in found and _is_same(s)}
            codes = {name: self._code(name, number) for name in same}
            if known == same and None not in codes.values():
                yield known, bytes(self._packed[start:end])
            else:
                new |= {n: (same[n], code) for n, code in codes.items() if code is not None}
        new |= {name: _compiled(name, loader) for name, loader in found.items()}
        for package in {name.partition(".")[0]: None for name in new}:
            group = {n: one for n, one in new.items() if n.partition(".")[0] == package}
            packed = marshal.dumps({name: code for name, (_, code) in group.items()})
            yield {name: source for name, (source, _) in group.items()}, packed


def _content(path: list[tuple[str, int]], groups: list[Packed]) -> bytes:
    """What a file holds."""
    entries = {
        name: (source, n) for n, (group, _) in enumerate(groups) for name, source in group.items()
    }
    places, at = [], 0
    for _, packed in groups:
        places.append((at, at + len(packed), checksum(packed)))
        at += len(packed)
    head = marshal.dumps((path, entries, places))
    numbers = (n.to_bytes(_WORD, "little") for n in (len(head), checksum(head)))
    return b"".join([*numbers, head, *(packed for _, packed in groups)])


def _compiled(name: str, loader: SourceFileLoader) -> tuple[Source, CodeType | None]:
    """A module that was imported from a file: what there is to know of it, and its code."""
    cached = getattr(sys.modules[name], "__cached__", None) or ""
    source = loader.path, cached, loader.is_package(name), status(loader.path)
    return source, loader.get_code(name)


def _is_same(source: Source) -> bool:
    """Whether a source has not changed."""
    try:
        return status(source[0]) == source[3]
    except OSError:
        return False


def _name() -> str:
    """The file of this Python, of this tree of sources, and of where modules are searched for; a
    script's directory, or the current one, is not among that."""
    facts = FORMAT, sys.version, sys.flags.optimize, os.path.dirname(__file__), sys.path[1:]
    return f"modules-{checksum(repr(facts).encode()):016x}"


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
    finders = sys.meta_path
    at = finders.index(BuiltinImporter) if BuiltinImporter in finders else len(finders)
    finders.insert(at, found)
    return found
