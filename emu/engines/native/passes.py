"""Runs LLVM's passes, and forgets what LLVM's bindings do not.

For each run llvmlite makes an object that wants to be told of passes, and that registers a callback
with the pass builder. The object ends with the run. The callback stays: it is called at each pass
of all later runs (64 of them make a handler's passes a twelfth slower), and it is lost when the
builder goes, as llvmlite deletes the builder and not its callbacks. With a share of what else is
lost then, that is 80 bytes for each function compiled, among what LLVM gives back, so that three
times as much stays resident: 2 MiB a minute where code is compiled and forgotten all the time.

Nothing in the bindings takes a callback back. So after each run the length of the builder's list of
them is set to zero, as it was before. Where the list is depends on LLVM's version and on how it was
built; so it is looked for, and believed only if it behaves like one. If there is none, builders are
replaced now and then, which loses a little and is as correct.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import llvmlite.binding as llvm
from llvmlite.binding.newpassmanagers import NewPassManager

from isa.hints import Any, Final

RUNS: Final = 128  # of a builder whose list was not found, after which there is a new one
TRIED: Final = 6  # runs in which a list has to count: four callbacks lie in the list itself
_BUILDER: Final = struct.Struct("<32Q")  # as much of a builder as is looked at, and of what it
_LISTS: Final = 256  # points to
_LIST: Final = struct.Struct("<QII")  # LLVM's SmallVector: where it begins, its length, its room


class Runner:
    """Runs passes over functions or modules, for one thread at a time. Passes of `builder` can be
    run as long as the machine lives."""

    def __init__(self, machine: Any, options: Any) -> None:
        self._machine, self._options = machine, options
        self._renew()

    def _renew(self) -> None:
        self.builder = llvm.create_pass_builder(self._machine, self._options)
        self._length = _length(self.builder)
        self._runs = 0

    def run(self, passes: Any, code: Any) -> None:
        """Change a function or a module."""
        passes.run(code, self.builder)
        if self._length is not None and self._length.value == 1:
            self._length.value = 0
            return
        self._runs += 1
        if self._runs == RUNS:
            self._renew()


def delete(passes: Any) -> None:
    """Give back a pipeline, 30 KiB of a module's: the classes of llvmlite's inherit from two others
    in such an order that the first one's `_dispose`, which does nothing, hides the second's."""
    NewPassManager._dispose(passes)
    passes.detach()


def _length(builder: Any) -> ctypes.c_uint32 | None:
    """The length of a new builder's list of callbacks, now zero; None if there is no saying."""
    if os.name != "posix" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    address = ctypes.cast(builder._as_parameter_, ctypes.c_void_p).value or 0
    with suppress(OSError), Path("/proc/self/mem").open("rb", buffering=0) as memory:
        counting = _counting(builder, address, memory.fileno())
        if len(counting) == 1:
            length = ctypes.c_uint32.from_address(counting.pop() + 8)
            length.value = 0
            return length
    return None


def _counting(builder: Any, address: int, memory: int) -> set[int]:
    """Where lists lie that have as many elements as the builder has been run, time after time."""
    found: set[int] = set()
    passes = llvm.create_new_function_pass_manager()
    module = llvm.parse_assembly("define void @f() {\n  ret void\n}", llvm.create_context())
    for run in range(1, TRIED + 1):
        passes.run(module.get_function("f"), builder)
        places = _places(address, memory) if run == 1 else found
        found = {at for at in places if _elements(at, memory) == run}
    return found


def _places(address: int, memory: int) -> Iterator[int]:
    """Where lists may lie: in what a builder's pointers lead to."""
    content = _read(memory, address, _BUILDER.size)
    pointers = set(_BUILDER.unpack(content)) if len(content) == _BUILDER.size else set()
    for pointer in pointers:
        if pointer % 8 == 0:
            readable = len(_read(memory, pointer, _LISTS))
            yield from range(pointer, pointer + readable - _LIST.size + 1, 8)


def _elements(at: int, memory: int) -> int | None:
    """How many elements a list has; None if there is none."""
    content = _read(memory, at, _LIST.size)
    if len(content) < _LIST.size:
        return None
    first, length, room = _LIST.unpack(content)
    return length if length <= room and _read(memory, first, 1) else None


def _read(memory: int, address: int, size: int) -> bytes:
    """Bytes of this process, as far as there are some: not every number is a pointer."""
    try:
        return os.pread(memory, size, address)
    except (OSError, OverflowError):
        return b""
