"""Memory calls: the heap, mappings and their protection."""

from __future__ import annotations

from emu.memory import (
    EXECUTE,
    PAGE_MASK,
    PAGE_SIZE,
    READ,
    SHARED,
    WRITE,
    OutOfMemoryError,
    Region,
)
from emu.process.files import HostFile, OpenFile, SeekableFile, VirtualDevice
from emu.process.layout import LOWEST, MMAP_TOP, STACK_GUARD, USER_END
from emu.process.memory_file import MemoryFile
from emu.process.numbers import CallError, Errno
from emu.process.process import Process
from emu.process.shared_files import PAST_END
from emu.process.syscalls.registry import FLAGS, INT, PATH, PTR, UINT, call

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
PROT_GROWS = 0x0300_0000  # PROT_GROWSDOWN and PROT_GROWSUP
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 1, 2, 0x10, 0x20
MAP_FIXED_NOREPLACE = 0x100000
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
MADV_DONTNEED, MADV_FREE = 4, 8
MADV_REMOVE = 9
MS_ASYNC, MS_SYNC, MS_KNOWN = 1, 4, 7
PIECE = 1 << 16  # of a file that is copied: memory that the host need not fetch anew each time
ROOT = 0  # has CAP_SYS_RAWIO
MFD_CLOEXEC, MFD_KNOWN, MFD_NAME_MAX = 1, 3, 249


def permissions(protection: int) -> int:
    """Translate PROT_* bits into memory's permissions."""
    bits = (PROT_READ, READ), (PROT_WRITE, WRITE), (PROT_EXEC, EXECUTE)
    return sum(mine for theirs, mine in bits if protection & theirs)


def pages(size: int) -> int:
    """Round a size up to whole pages."""
    return (size + PAGE_MASK) & ~PAGE_MASK


def check_range(start: int, size: int) -> None:
    """Refuse unaligned starts and ranges that leave user space; EINVAL."""
    if start & PAGE_MASK or size == 0 or start + size > USER_END:
        raise CallError(Errno.EINVAL)


def check_room(p: Process, size: int, bits: int) -> None:
    """Refuse what could never be backed by memory, as Linux's overcommit heuristic; ENOMEM."""
    too_big = bits and size > p.space.physical.size
    if too_big or not p.table.has_room(p):
        raise CallError(Errno.ENOMEM)


@call("brk", PTR)
def brk(p: Process, end: int) -> int:
    """Move the end of the heap; answers with where it is, moved or not."""
    old, new = pages(p.memory.heap_end), pages(end)
    if end < p.memory.heap_start or new > MMAP_TOP:
        return p.memory.heap_end
    if new > old:
        free = not p.space.overlapping(old, new + PAGE_SIZE)
        if not free or new - p.memory.heap_start > p.space.physical.size:
            return p.memory.heap_end
        p.space.map(old, new - old, READ | WRITE, "[heap]")
    elif new < old:
        p.space.unmap(new, old - new)
    p.memory.heap_end = end
    return end


@call("mmap2", PTR, UINT, FLAGS, FLAGS, INT, UINT)
def mmap2(
    p: Process, address: int, size: int, protection: int, flags: int, fd: int, page: int
) -> int:
    """Map memory or a file; the offset counts pages."""
    return map_pages(p, address, size, protection, flags, fd, page * PAGE_SIZE)


@call("mmap", PTR)
def old_mmap(p: Process, arguments: int) -> int:
    """Map with the arguments in memory (struct mmap_arg_struct)."""
    address, size, protection, flags, fd, offset = p.unpack("<IIIIiI", arguments)
    if offset & PAGE_MASK:
        raise CallError(Errno.EINVAL)
    return map_pages(p, address, size, protection, flags, fd, offset)


def map_pages(
    p: Process, address: int, size: int, protection: int, flags: int, fd: int, offset: int
) -> int:
    """Do either mmap."""
    if size == 0 or flags & 3 not in (MAP_SHARED, MAP_PRIVATE, 3):
        raise CallError(Errno.EINVAL)
    size = pages(size)
    if size > USER_END:
        raise CallError(Errno.ENOMEM)
    file = None if flags & MAP_ANONYMOUS else _mappable(p, fd, protection, flags)
    bits, shared = permissions(protection), flags & 3 != MAP_PRIVATE
    if shared and isinstance(file, HostFile):
        check_room(p, 0, bits)
        return _map_file(p, file, _place(p, address, size, flags), size, bits, offset)
    check_room(p, size, bits)
    frames = file.pages(offset, size) if isinstance(file, MemoryFile) and shared else None
    start = _place(p, address, size, flags)
    if frames is not None:
        _share(p, start, frames, bits)
    else:
        p.space.map(start, size, bits, "file" if file is not None else SHARED if shared else "")
        if file is not None:
            _fill(p, file, start, size, offset)
            _end(p, file, start, size, bits, offset)
    p.sandbox.shared.sweep()
    return start


def _map_file(p: Process, file: HostFile, start: int, size: int, bits: int, offset: int) -> int:
    """Map a file below the root, which all see that map it; ENFILE."""
    backing = p.sandbox.shared.open(file.host_descriptor(), writable=file.writable)
    shift, fixed = (offset - start) // PAGE_SIZE, not file.writable
    p.space.map_backing(Region(start, start + size, bits, SHARED, backing, shift, fixed))
    p.sandbox.shared.sweep()
    return start


def _share(p: Process, start: int, frames: list[int], bits: int) -> None:
    """Map frames of a file; ENOMEM."""
    try:
        p.space.map_frames(start, frames, bits)
    except OutOfMemoryError:
        raise CallError(Errno.ENOMEM) from None


@call("memfd_create", PATH, FLAGS)
def memfd_create(p: Process, name: bytes, flags: int) -> int:
    """Open a file that lies in memory; nothing is sealed."""
    if flags & ~MFD_KNOWN or len(name) > MFD_NAME_MAX:
        raise CallError(Errno.EINVAL)
    file = MemoryFile(p.space.physical)
    return p.files.add(file, close_on_exec=bool(flags & MFD_CLOEXEC))


def _mappable(p: Process, fd: int, protection: int, flags: int) -> OpenFile | None:
    """Return the file to copy from (None: zeros); EACCES, ENODEV."""
    file = p.files.get(fd)
    if isinstance(file, VirtualDevice) and file.name == b"zero":
        return None
    if not isinstance(file, SeekableFile):
        raise CallError(Errno.ENODEV)
    shared = flags & 3 != MAP_PRIVATE
    if not file.readable or (shared and protection & PROT_WRITE and not file.writable):
        raise CallError(Errno.EACCES)
    return file


def _place(p: Process, address: int, size: int, flags: int) -> int:
    """Choose where a mapping goes: where asked, or top-down below the stack; ENOMEM."""
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
        check_range(address, size)
        if address < LOWEST and p.user != ROOT:
            raise CallError(Errno.EPERM)
        if flags & MAP_FIXED_NOREPLACE and p.space.overlapping(address, address + size):
            raise CallError(Errno.EEXIST)
        return address
    hint = pages(address)
    if hint >= LOWEST and hint + size <= STACK_GUARD and not p.space.overlapping(hint, hint + size):
        return hint
    found = p.space.find_free(size, LOWEST, MMAP_TOP)
    if found is None:
        raise CallError(Errno.ENOMEM)
    return found


def _fill(p: Process, file: OpenFile, start: int, size: int, offset: int) -> None:
    """Copy a file's bytes into a new mapping; what follows in the last page stays zero."""
    size = min(size, max(file.size() - offset, 0))
    if size > p.space.physical.free_frames * PAGE_SIZE:
        p.space.unmap(start, pages(size))
        raise CallError(Errno.ENOMEM)
    done = 0
    while done < size:
        data = file.read_at(min(PIECE, size - done), offset + done)
        if not data:
            return
        try:
            p.space.fill(start + done, data)
        except OutOfMemoryError:
            raise CallError(Errno.ENOMEM) from None
        done += len(data)


def _end(p: Process, file: OpenFile, start: int, size: int, bits: int, offset: int) -> None:
    """Whole pages of a new mapping that are past the file's end cannot be touched."""
    there = pages(max(file.size() - offset, 0))
    if there < size:
        p.space.map_backing(Region(start + there, start + size, bits, "file", PAST_END))


@call("munmap", PTR, UINT)
def munmap(p: Process, start: int, size: int) -> int:
    """Unmap whole pages."""
    check_range(start, size)
    p.space.unmap(start, pages(size))
    p.sandbox.shared.sweep()
    return 0


@call("mprotect", PTR, UINT, FLAGS)
def mprotect(p: Process, start: int, size: int, protection: int) -> int:
    """Change protection; ENOMEM where nothing is mapped."""
    if start & PAGE_MASK or protection & ~(7 | 8 | PROT_GROWS):
        raise CallError(Errno.EINVAL)
    size = pages(size)
    if size == 0:
        return 0
    if start + size > USER_END or not p.table.has_room(p):
        raise CallError(Errno.ENOMEM)
    if protection & PROT_WRITE and any(r.fixed for r in p.space.overlapping(start, start + size)):
        raise CallError(Errno.EACCES)
    try:
        done = p.space.protect(start, size, permissions(protection))
    except OutOfMemoryError:
        done = False
    if not done:
        raise CallError(Errno.ENOMEM)
    return 0


@call("mremap", PTR, UINT, UINT, FLAGS, PTR)
def mremap(p: Process, start: int, old: int, new: int, flags: int, target: int) -> int:
    """Grow, shrink or move a mapping."""
    old, new = pages(old), pages(new)
    bad_flags = flags & ~3 or (flags & MREMAP_FIXED and not flags & MREMAP_MAYMOVE)
    if start & PAGE_MASK or new == 0 or old == 0 or bad_flags:
        raise CallError(Errno.EINVAL)
    region = p.space.region_at(start)
    if region is None or start + old > region.end:
        raise CallError(Errno.EFAULT)
    if flags & MREMAP_FIXED:
        check_range(target, new)
        if target < start + old and start < target + new:
            raise CallError(Errno.EINVAL)
        return _move(p, start, old, new, target)
    if new > old:
        return _grow(p, start, old, new, flags)
    if new < old:
        p.space.unmap(start + new, old - new)
        p.sandbox.shared.sweep()
    return start


def _grow(p: Process, start: int, old: int, new: int, flags: int) -> int:
    region = p.space.region_at(start)
    check_room(p, new, 1)
    end = start + new
    if region is not None and end <= STACK_GUARD and not p.space.overlapping(start + old, end):
        p.space.map_backing(region._replace(start=start + old, end=end))
        return start
    if not flags & MREMAP_MAYMOVE:
        raise CallError(Errno.ENOMEM)
    return _move(p, start, old, new, _place(p, 0, new, 0))


def _move(p: Process, start: int, old: int, new: int, target: int) -> int:
    region = p.space.region_at(start) or Region(start, start + old, 0)
    check_room(p, new, 1)
    if new < old:
        p.space.unmap(start + new, old - new)
    shift = region.shift - (target - start) // PAGE_SIZE if region.backing else 0
    p.space.map_backing(region._replace(start=target, end=target + new, shift=shift))
    p.space.move(start, min(old, new), target)
    p.sandbox.shared.sweep()
    return target


@call("madvise", PTR, UINT, INT)
def madvise(p: Process, start: int, size: int, advice: int) -> int:
    """Take advice: DONTNEED of anonymous memory zeroes it, the rest changes nothing."""
    if start & PAGE_MASK:
        raise CallError(Errno.EINVAL)
    size = pages(size)
    if not p.space.is_mapped(start, size):
        raise CallError(Errno.ENOMEM)
    regions = p.space.overlapping(start, start + size)
    if advice == MADV_REMOVE:
        raise CallError(Errno.EINVAL)
    if advice == MADV_DONTNEED and all(r.name in ("", "[heap]", "[stack]") for r in regions):
        p.space.discard(start, size)
    return 0


@call("msync", PTR, UINT, FLAGS)
def msync(p: Process, start: int, size: int, flags: int) -> int:
    """Write back what was written to shared mappings of files; ENOMEM where nothing is mapped."""
    both = MS_ASYNC | MS_SYNC
    if start & PAGE_MASK or flags & ~MS_KNOWN or flags & both == both:
        raise CallError(Errno.EINVAL)
    for region in p.space.overlapping(start, start + pages(size)):
        if region.backing is not None:
            region.backing.settle()
    if not p.space.is_mapped(start, pages(size)):
        raise CallError(Errno.ENOMEM)
    return 0


@call("mincore", PTR, UINT, PTR)
def mincore(p: Process, start: int, size: int, vector: int) -> int:
    """Tell that every mapped page is in memory."""
    size = pages(size)
    if start & PAGE_MASK:
        raise CallError(Errno.EINVAL)
    if not p.space.is_mapped(start, size):
        raise CallError(Errno.ENOMEM)
    p.write(vector, b"\1" * (size // PAGE_SIZE))
    return 0


@call("mlock", PTR, UINT)
@call("munlock", PTR, UINT)
def mlock(p: Process, start: int, size: int) -> int:
    """Nothing is ever swapped."""
    return 0


@call("mlockall", FLAGS)
def mlockall(p: Process, flags: int) -> int:
    """Nothing is ever swapped."""
    return 0


@call("munlockall")
def munlockall(p: Process) -> int:
    """Nothing is ever swapped."""
    return 0
