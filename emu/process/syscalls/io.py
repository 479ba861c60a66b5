"""Reading, writing and positions."""

from __future__ import annotations

from emu.memory import READ, WRITE
from emu.process.files import AnonymousFile, Directory, OpenFile, VirtualDevice, WaitingFile
from emu.process.numbers import (
    CHUNK,
    MAX_TRANSFER,
    O_NONBLOCK,
    CallError,
    Errno,
    QuietError,
)
from emu.process.process import Process, Sleep
from emu.process.signals import SI_USER, Info, Signal
from emu.process.syscalls.registry import INT, PTR, UINT, call
from isa.hints import Callable

SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE = range(5)
IOV_MAX = 1024
MAX_OFFSET = (1 << 63) - 1

Reader = Callable[[int, int], bytes]  # size, bytes done so far
Writer = Callable[[bytes, int], int]


def readable(p: Process, fd: int) -> OpenFile:
    """Return a file that may be read; EBADF, EISDIR."""
    file = p.files.get(fd)
    if isinstance(file, Directory):
        raise CallError(Errno.EISDIR)
    if not file.readable:
        raise CallError(Errno.EBADF)
    return file


def writable(p: Process, fd: int) -> OpenFile:
    """Return a file that may be written; EBADF."""
    file = p.files.get(fd)
    if not file.writable:
        raise CallError(Errno.EBADF)
    return file


def reader(p: Process, file: OpenFile, before: int = 0) -> Reader:
    """Return how to read from the position; who reads where nothing is sleeps, if the call has not
    read anything `before`."""

    def read_some(size: int, done: int) -> bytes:
        try:
            return file.read(size)
        except CallError as error:
            if before + done == 0 and isinstance(file, WaitingFile) and may_sleep(file, error):
                what = "reading an empty pipe or socket"
                raise waits(p, what, file.can_read, file.patience[0], file.moment) from None
            raise

    return read_some


def writer(p: Process, file: OpenFile) -> Writer:
    """Return how to write at the position; who writes where no room is sleeps until all is written.

    The process's `progress` tells how much of the call is.
    """

    def write_some(data: bytes, done: int) -> int:
        try:
            return file.write(data)
        except CallError as error:
            if isinstance(file, WaitingFile) and may_sleep(file, error):
                what = "writing to a full pipe or socket"
                raise waits(p, what, file.room_for(data), file.patience[1]) from None
            raise

    return write_some


def may_sleep(file: WaitingFile, error: CallError) -> bool:
    """Whether a call that failed may wait instead."""
    return error.number == Errno.EAGAIN and not file.flags & O_NONBLOCK


def waits(
    p: Process, what: str, ready: Callable[[], bool], patience: int | None,
    moment: Callable[[], int | None] = lambda: None,
) -> Exception:  # fmt: skip
    """How a call waits for a pipe or socket; it fails with EAGAIN once it has lost its patience."""
    if patience is None:
        return Sleep(what, ready, moment=moment)
    deadline = p.end_of_wait(patience)
    if p.elapsed >= deadline:
        return CallError(Errno.EAGAIN)
    return Sleep(what, ready, deadline=deadline, restarts=False)


def fill(p: Process, address: int, size: int, read_some: Reader, *, whole: bool) -> int:
    """Read into guest memory; `whole` goes on until end of file, else one read will do."""
    size = min(size, MAX_TRANSFER)
    reach = p.space.accessible(address, size, WRITE)
    if size and not reach:
        raise CallError(Errno.EFAULT)
    done = 0
    while True:
        want = min(reach - done, CHUNK)
        data = read_some(want, done)
        p.write(address + done, data)
        done += len(data)
        if len(data) < want or done >= reach or not whole:
            return done


def drain(p: Process, address: int, size: int, write_some: Writer, before: int = 0) -> int:
    """Write from guest memory until all is taken or something stops it.

    `before` is what the call has written from other places. If it sleeps, it goes on where it was.
    """
    size = min(size, MAX_TRANSFER)
    reach = p.space.accessible(address, size, READ)
    if size and not reach:
        raise CallError(Errno.EFAULT)
    done = min(max(p.progress - before, 0), reach)
    while done < reach or not done:
        data = p.read(address + done, min(reach - done, CHUNK))
        try:
            count = write_some(data, done)
        except Sleep:
            p.progress = before + done
            raise
        except (CallError, OSError) as error:
            raise_broken_pipe(p, error)
            if done:
                return done
            raise
        done += count
        if not count:
            break
    return done


def raise_broken_pipe(p: Process, error: Exception) -> None:
    """Send SIGPIPE if that is what an error means."""
    broken = isinstance(error, BrokenPipeError) or (
        isinstance(error, CallError) and error.number == Errno.EPIPE
    )
    if broken and not isinstance(error, QuietError):
        p.signals.raise_signal(Info(Signal.SIGPIPE, SI_USER, sender=p.pid, user=p.user))


@call("read", INT, PTR, UINT)
def read(p: Process, fd: int, buffer: int, size: int) -> int:
    """Read at the position."""
    file = readable(p, fd)
    return fill(p, buffer, size, reader(p, file), whole=file.seekable)


@call("write", INT, PTR, UINT)
def write(p: Process, fd: int, buffer: int, size: int) -> int:
    """Write at the position."""
    return drain(p, buffer, size, writer(p, writable(p, fd)))


def vectors(p: Process, address: int, count: int) -> list[tuple[int, int]]:
    """Read an array of struct iovec; EINVAL if it is too long."""
    if not 0 <= count <= IOV_MAX:
        raise CallError(Errno.EINVAL)
    words = p.unpack(f"<{2 * count}I", address)
    pairs = list(zip(words[::2], words[1::2], strict=True))
    if any(size >> 31 for _, size in pairs):
        raise CallError(Errno.EINVAL)
    return pairs


def each_vector(pairs: list[tuple[int, int]], transfer: Callable[[int, int, int], int]) -> int:
    """Transfer piece by piece; an error after some bytes is left for the next call."""
    done = 0
    for address, size in pairs:
        size = min(size, MAX_TRANSFER - done)  # of all pieces together, as in Linux
        if size == 0:
            continue
        try:
            count = transfer(address, size, done)
        except (CallError, OSError):
            if done:
                return done
            raise
        done += count
        if count < size:
            break
    return done


def scatter(p: Process, pairs: list[tuple[int, int]], data: bytes, start: int = 0) -> int:
    """Store data in several buffers, from so many bytes on; EFAULT."""
    done = 0
    for address, size in pairs:
        skipped = min(start, size)
        start -= skipped
        piece = data[done : done + size - skipped]
        if piece:
            p.write(address + skipped, piece)
        done += len(piece)
    return done


def gather(p: Process, pairs: list[tuple[int, int]], start: int = 0, most: int = CHUNK) -> bytes:
    """Read from several buffers, from so many bytes on, at most so many and one; EFAULT.

    Who gets more than the most can tell that there is more.
    """
    pieces, left = [], most + 1
    for address, size in pairs:
        skipped = min(start, size)
        start -= skipped
        piece = p.read(address + skipped, min(size - skipped, left)) if size > skipped else b""
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


@call("readv", INT, PTR, INT)
def readv(p: Process, fd: int, vector: int, count: int) -> int:
    """Read into several buffers."""
    file = readable(p, fd)
    pairs = vectors(p, vector, count)
    if isinstance(file, WaitingFile) and file.by_messages:
        data = reader(p, file)(min(sum(size for _, size in pairs), CHUNK), 0)
        return scatter(p, pairs, data)
    whole = file.seekable

    def transfer(address: int, size: int, done: int) -> int:
        return fill(p, address, size, reader(p, file, done), whole=whole)

    return each_vector(pairs, transfer)


@call("writev", INT, PTR, INT)
def writev(p: Process, fd: int, vector: int, count: int) -> int:
    """Write several buffers."""
    file = writable(p, fd)
    pairs = vectors(p, vector, count)
    if isinstance(file, WaitingFile) and file.by_messages:
        return write_message(p, file, gather(p, pairs))
    return each_vector(pairs, lambda a, size, done: drain(p, a, size, writer(p, file), done))


def write_message(p: Process, file: OpenFile, data: bytes) -> int:
    """Write all at once."""
    try:
        return writer(p, file)(data, 0)
    except CallError as error:
        raise_broken_pipe(p, error)
        raise


def positioned(file: OpenFile) -> OpenFile:
    """Refuse files without positions; ESPIPE."""
    if not file.seekable and not isinstance(file, VirtualDevice):
        raise CallError(Errno.ESPIPE)
    return file


def offset_of(low: int, high: int) -> int:
    """Join the halves of a 64-bit offset; EINVAL if negative."""
    offset = high << 32 | low
    if offset >> 63:
        raise CallError(Errno.EINVAL)
    return offset


@call("pread64", INT, PTR, UINT, UINT, UINT)
def pread64(p: Process, fd: int, buffer: int, size: int, low: int, high: int) -> int:
    """Read at an offset."""
    offset, file = offset_of(low, high), positioned(readable(p, fd))
    return fill(p, buffer, size, lambda n, done: file.read_at(n, offset + done), whole=True)


@call("pwrite64", INT, PTR, UINT, UINT, UINT)
def pwrite64(p: Process, fd: int, buffer: int, size: int, low: int, high: int) -> int:
    """Write at an offset."""
    offset, file = offset_of(low, high), positioned(writable(p, fd))
    return drain(p, buffer, size, lambda data, done: file.write_at(data, offset + done))


@call("preadv", INT, PTR, INT, UINT, UINT)
def preadv(p: Process, fd: int, vector: int, count: int, low: int, high: int) -> int:
    """Read into several buffers at an offset."""
    offset, file = offset_of(low, high), positioned(readable(p, fd))

    def transfer(address: int, size: int, base: int) -> int:
        start = offset + base
        return fill(p, address, size, lambda n, done: file.read_at(n, start + done), whole=True)

    return each_vector(vectors(p, vector, count), transfer)


@call("pwritev", INT, PTR, INT, UINT, UINT)
def pwritev(p: Process, fd: int, vector: int, count: int, low: int, high: int) -> int:
    """Write several buffers at an offset."""
    offset, file = offset_of(low, high), positioned(writable(p, fd))

    def transfer(address: int, size: int, base: int) -> int:
        start = offset + base
        return drain(p, address, size, lambda data, done: file.write_at(data, start + done))

    return each_vector(vectors(p, vector, count), transfer)


def seek(p: Process, fd: int, offset: int, whence: int) -> int:
    """Move a position; ESPIPE, EINVAL."""
    file = p.files.get(fd)
    if isinstance(file, VirtualDevice | AnonymousFile):
        return 0
    if not file.seekable:
        raise CallError(Errno.ESPIPE)
    position = _target(file, offset, whence)
    if not 0 <= position <= MAX_OFFSET:
        raise CallError(Errno.EINVAL)
    file.position = position
    return position


def _target(file: OpenFile, offset: int, whence: int) -> int:
    if whence == SEEK_SET:
        return offset
    if whence == SEEK_CUR:
        return file.position + offset
    if whence == SEEK_END:
        return file.size() + offset
    if whence not in (SEEK_DATA, SEEK_HOLE):
        raise CallError(Errno.EINVAL)
    if not 0 <= offset < file.size():  # a file without holes: data up to its end
        raise CallError(Errno.ENXIO)
    return offset if whence == SEEK_DATA else file.size()


@call("lseek", INT, INT, UINT)
def lseek(p: Process, fd: int, offset: int, whence: int) -> int:
    """Move the position; EOVERFLOW if 32 bits cannot tell it."""
    before = p.files.get(fd).position
    position = seek(p, fd, offset, whence)
    if position >> 31:
        p.files.get(fd).position = before
        raise CallError(Errno.EOVERFLOW)
    return position


@call("_llseek", INT, UINT, UINT, PTR, UINT)
def llseek(p: Process, fd: int, high: int, low: int, result: int, whence: int) -> int:
    """Move the position by 64 bits; the new one is stored."""
    offset = high << 32 | low
    offset -= (offset >> 63) << 64
    p.pack("<q", result, seek(p, fd, offset, whence))
    return 0


def copy(p: Process, out_fd: int, in_fd: int, offset: int | None, size: int) -> tuple[int, int]:
    """Copy between files; return how many bytes, and the offset after them."""
    source, target = readable(p, in_fd), writable(p, out_fd)
    if not source.seekable and not isinstance(source, VirtualDevice):
        raise CallError(Errno.EINVAL)
    start = source.position if offset is None else offset
    done, size = p.progress, min(size, MAX_TRANSFER)
    if isinstance(source, VirtualDevice):
        size = min(size, CHUNK)  # an endless source must not keep the host busy for ever
    while done < size:
        data = source.read_at(min(CHUNK, size - done), start + done)
        if not data:
            break
        try:
            count = writer(p, target)(data, done)
        except Sleep:
            p.progress = done
            raise
        except (CallError, OSError) as error:
            raise_broken_pipe(p, error)
            raise
        done += count
        if not count:
            break
    if offset is None:
        source.position = start + done
    return done, start + done


def _sendfile(p: Process, out_fd: int, in_fd: int, pointer: int, size: int, layout: str) -> int:
    offset = p.unpack(layout, pointer)[0] if pointer else None
    if offset is not None and offset < 0:
        raise CallError(Errno.EINVAL)
    done, after = copy(p, out_fd, in_fd, offset, size)
    if pointer:
        p.pack(layout, pointer, after)
    return done


@call("sendfile", INT, INT, PTR, UINT)
def sendfile(p: Process, out_fd: int, in_fd: int, offset: int, size: int) -> int:
    """Copy from a file, with a 32-bit offset."""
    return _sendfile(p, out_fd, in_fd, offset, size, "<i")


@call("sendfile64", INT, INT, PTR, UINT)
def sendfile64(p: Process, out_fd: int, in_fd: int, offset: int, size: int) -> int:
    """Copy from a file, with a 64-bit offset."""
    return _sendfile(p, out_fd, in_fd, offset, size, "<q")
