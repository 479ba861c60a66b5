"""execve: another program in the place of the current process's, or an error and no change."""

from __future__ import annotations

import struct

from emu.errors import GuestFileError, LoaderError
from emu.memory import Mappings, OutOfMemoryError
from emu.process import elf
from emu.process.execute import LARGEST, Loaded, MissingLinkerError
from emu.process.layout import STACK_SIZE
from emu.process.numbers import CallError, Errno
from emu.process.process import MemoryDescriptor, Process
from emu.process.start import MAX_STRING
from isa.fault import Fault

MAX_SCRIPTS = 4  # interpreters that are scripts again
SCRIPT_LINE = 255  # BINPRM_BUF_SIZE, less one


def execute(p: Process, path: bytes, arguments: int, environment: int) -> None:
    """Replace the program of the current process by the one at a path.

    Raises CallError, and has changed nothing then.
    """
    room = [STACK_SIZE // 4]
    strings = _strings(p, arguments, room), _strings(p, environment, room)
    program, data, argv = _program(p, path, strings[0] or [b""])
    if sum(len(s) + 5 for s in [*argv, *strings[1], path]) > STACK_SIZE // 4:
        raise CallError(Errno.E2BIG)
    image, linker = _images(p, data)
    old = p.memory
    p.space.settle()  # so that what is shared does not depend on what was touched
    p.space.physical.index_constants()
    p.space.use(Mappings())
    try:
        loaded = p.table.loader.load(image, argv, strings[1], path, linker)
    except (GuestFileError, OutOfMemoryError):
        p.space.release(p.space.mappings)
        p.space.use(old.mappings)
        raise CallError(Errno.ENOMEM) from None
    own = old.image if program == old.program else None
    _begin(p, MemoryDescriptor(p.space.mappings, program, own, loaded.heap, loaded.heap), loaded)
    p.main.thread_name = path.rpartition(b"/")[2][:15]


def _begin(p: Process, memory: MemoryDescriptor, loaded: Loaded) -> None:
    """There is no way back: let go of the old program, start the new one.

    It runs in the process's first thread. If that is another one, the current thread has ended,
    and the first one waits for its turn.
    """
    first = p.main
    p.table.alone(p)
    p.table.release(first)
    first.memory, first.executed, first.clear_at_exit, first.dispatch = memory, True, 0, None
    first.files.close_for_exec()
    first.signals.forget_handlers()
    first.table.loader.begin(first, loaded)
    if p is not first:
        first.saved, first.tls = first.state.save(), first.system.tls


def _strings(p: Process, address: int, room: list[int]) -> list[bytes]:
    """Read an array of strings, a null pointer at its end; EFAULT, E2BIG.

    `room` is how many bytes this and later arrays may have.
    """
    found: list[bytes] = []
    while address:
        (pointer,) = p.unpack("<I", address + 4 * len(found) & 0xFFFFFFFF)
        if not pointer:
            break
        text = p.space.read_string(pointer, MAX_STRING)
        if isinstance(text, Fault):
            raise CallError(Errno.EFAULT)
        if text is not None:
            room[0] -= len(text) + 5
        if text is None or room[0] < 0:
            raise CallError(Errno.E2BIG)
        found.append(text)
    return found


def _program(p: Process, path: bytes, argv: list[bytes]) -> tuple[bytes, bytes, list[bytes]]:
    """Find the program behind a path, through scripts: its path, its bytes, its arguments."""
    for _ in range(MAX_SCRIPTS + 1):
        program, data = _read(p, path)
        if data[:2] != b"#!":
            return program, data, argv
        line = data[2:SCRIPT_LINE].partition(b"\n")[0]
        words = line.strip(b" \t").split(None, 1)
        if not words or (b"\n" not in data[: SCRIPT_LINE + 1] and len(words) == 1 < len(data) >> 8):
            raise CallError(Errno.ENOEXEC)
        argv, path = [*words, path, *argv[1:]], words[0]
    raise CallError(Errno.ELOOP)


def _read(p: Process, path: bytes) -> tuple[bytes, bytes]:
    """The canonical path of a file and what is in it: of what cannot run, only the beginning."""
    program, file = p.sandbox.executable(path, p.cwd)
    try:
        head = file.read_at(SCRIPT_LINE + 1, 0)
        if not head.startswith(b"\x7fELF"):
            return program, head
        if file.size() > LARGEST:
            raise CallError(Errno.ENOMEM)
        return program, file.read_at(LARGEST, 0)
    finally:
        file.close()


def _images(p: Process, data: bytes) -> tuple[elf.Image, elf.Image | None]:
    """The program and its dynamic linker; ENOEXEC, ENOENT, ELIBBAD."""
    try:
        image = elf.parse(data)
    except (LoaderError, struct.error):
        raise CallError(Errno.ENOEXEC) from None
    try:
        return image, p.table.loader.linker(image)
    except MissingLinkerError:
        raise CallError(Errno.ENOENT) from None
    except LoaderError:
        raise CallError(Errno.ELIBBAD) from None
