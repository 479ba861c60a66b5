"""Who the process is, what system it runs on, and what it may use."""

from __future__ import annotations

from emu.process.descriptors import TLS_MAX, TLS_MIN, UserDesc
from emu.process.numbers import CHUNK, CallError, Errno
from emu.process.process import RLIM_INFINITY, RLIMIT_NOFILE, Process, Sleep
from emu.process.syscalls.registry import FLAGS, INT, PTR, UINT, call

RELEASE, DOMAIN = (b"6.1.0", b"#1"), b"(none)"
SYSINFO = "<i9I2H3I8x"  # struct sysinfo
PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE = 1, 3, 4
PR_SET_NAME, PR_GET_NAME, PR_GET_TSC, PR_SET_TSC = 15, 16, 25, 26
PR_SET_SYSCALL_USER_DISPATCH = 59
PR_TSC_ENABLE, PR_TSC_SIGSEGV = 1, 2
DISPATCH_OFF, DISPATCH_ON = 0, 1


@call("getuid", "geteuid", "getgid", "getegid")
@call("getuid32", "geteuid32", "getgid32", "getegid32")
def getuid(p: Process) -> int:
    """Return the virtual user; the group has the same number."""
    return p.user


@call("getresuid", "getresgid", "getresuid32", "getresgid32", PTR, PTR, PTR)
def getresuid(p: Process, real: int, effective: int, saved: int) -> int:
    """Store the three users."""
    wide = p.state["eax"] > 200
    for address in (real, effective, saved):
        p.pack("<I" if wide else "<H", address, p.user)
    return 0


@call("setuid", "setgid", "setuid32", "setgid32", UINT)
def setuid(p: Process, user: int) -> int:
    """Become who one is already."""
    if user != p.user and p.user != 0:
        raise CallError(Errno.EPERM)
    return 0


@call("getgroups", "getgroups32", INT, PTR)
def getgroups(p: Process, size: int, groups: int) -> int:
    """Return no supplementary groups."""
    if size < 0:
        raise CallError(Errno.EINVAL)
    return 0


@call("setgroups", "setgroups32", INT, PTR)
def setgroups(p: Process, size: int, groups: int) -> int:
    """Nobody may change groups."""
    raise CallError(Errno.EPERM)


def _names(p: Process) -> tuple[bytes, ...]:
    """struct new_utsname: sysname, nodename, release, version, machine, domainname."""
    table = p.table
    return (b"Linux", table.namespace.host_name, *RELEASE, table.processor.platform, DOMAIN)


@call("uname", PTR)
def uname(p: Process, buffer: int) -> int:
    """Store the system's names."""
    p.write(buffer, b"".join(name.ljust(65, b"\0") for name in _names(p)))
    return 0


@call("olduname", PTR)
def olduname(p: Process, buffer: int) -> int:
    """Store the system's names, 65 bytes each, without the domain."""
    p.write(buffer, b"".join(name.ljust(65, b"\0") for name in _names(p)[:5]))
    return 0


@call("sysinfo", PTR)
def sysinfo(p: Process, buffer: int) -> int:
    """Store uptime, load and memory of the virtual machine."""
    total, free = p.space.physical.size, p.space.physical.free_frames * 4096
    uptime = p.elapsed // 1_000_000_000 & 0x7FFFFFFF  # a long, after many a long sleep
    processes = len(p.table.processes)
    p.pack(SYSINFO, buffer, uptime, 0, 0, 0, total, free, 0, 0, 0, 0, processes, 0, 0, 0, 1)
    return 0


@call("getrandom", PTR, UINT, FLAGS)
def getrandom(p: Process, buffer: int, size: int, flags: int) -> int:
    """Store bytes of the seeded generator."""
    if flags & ~7:
        raise CallError(Errno.EINVAL)
    size = min(size, CHUNK)
    p.write(buffer, p.entropy.randbytes(size))
    return size


def _limit(p: Process, resource: int) -> tuple[int, int]:
    if not 0 <= resource < 16:
        raise CallError(Errno.EINVAL)
    return p.limits.get(resource, (RLIM_INFINITY, RLIM_INFINITY))


def _set_limit(p: Process, resource: int, soft: int, hard: int) -> None:
    """Remember a limit; those on descriptors and processes are enforced."""
    if soft > hard:
        raise CallError(Errno.EINVAL)
    if hard > _limit(p, resource)[1]:
        raise CallError(Errno.EPERM)
    p.limits[resource] = (soft, hard)
    if resource == RLIMIT_NOFILE:
        p.files.limit = soft


@call("ugetrlimit", UINT, PTR)
def ugetrlimit(p: Process, resource: int, buffer: int) -> int:
    """Store a limit."""
    p.pack("<2I", buffer, *_limit(p, resource))
    return 0


@call("getrlimit", UINT, PTR)
def getrlimit(p: Process, resource: int, buffer: int) -> int:
    """Store a limit of 31 bits."""
    p.pack("<2I", buffer, *(min(value, 0x7FFFFFFF) for value in _limit(p, resource)))
    return 0


@call("setrlimit", UINT, PTR)
def setrlimit(p: Process, resource: int, buffer: int) -> int:
    """Set a limit."""
    _set_limit(p, resource, *p.unpack("<2I", buffer))
    return 0


@call("prlimit64", INT, UINT, PTR, PTR)
def prlimit64(p: Process, pid: int, resource: int, new: int, old: int) -> int:
    """Set and store a limit, 64 bits wide."""
    p = p if pid == 0 else p.table.find(pid)
    before = _limit(p, resource)
    if new:
        soft, hard = (min(value, RLIM_INFINITY) for value in p.unpack("<2Q", new))
        _set_limit(p, resource, soft, hard)
    if old:
        wide = [v if v != RLIM_INFINITY else (1 << 64) - 1 for v in before]
        p.pack("<2Q", old, *wide)
    return 0


@call("personality", UINT)
def personality(p: Process, persona: int) -> int:
    """Be Linux, whatever is asked."""
    return 0


@call("prctl", INT, PTR, PTR, PTR, PTR)
def prctl(p: Process, option: int, argument: int, *rest: int) -> int:
    """Name the thread, have the time stamp or system calls raise signals; the rest is refused."""
    if option == PR_SET_NAME:
        p.thread_name = p.path(argument)[:15]
    elif option == PR_GET_NAME:
        p.write(argument, p.thread_name.ljust(16, b"\0"))
    elif option == PR_GET_DUMPABLE:
        return 1
    elif option == PR_SET_TSC and argument in (PR_TSC_ENABLE, PR_TSC_SIGSEGV):
        p.state["tsd"] = int(argument == PR_TSC_SIGSEGV)
    elif option == PR_GET_TSC:
        p.pack("<I", argument, PR_TSC_SIGSEGV if p.state["tsd"] else PR_TSC_ENABLE)
    elif option == PR_SET_SYSCALL_USER_DISPATCH and argument in (DISPATCH_OFF, DISPATCH_ON):
        _dispatch(p, argument, *rest)
    elif option not in (PR_SET_DUMPABLE, PR_SET_PDEATHSIG):
        raise CallError(Errno.EINVAL)
    return 0


def _dispatch(p: Process, mode: int, start: int, size: int, selector: int) -> None:
    """Have system calls from outside of a range raise SIGSYS; a selector byte is not there."""
    if selector or (mode == DISPATCH_OFF and (start or size)) or start + size >> 32:
        raise CallError(Errno.EINVAL)
    p.dispatch = range(start, start + size) if mode == DISPATCH_ON else None


@call("set_thread_area", PTR)
def set_thread_area(p: Process, address: int) -> int:
    """Write a thread-local descriptor; entry -1 asks for a free one."""
    number, base, limit, flags = p.unpack("<iIII", address)
    desc = UserDesc(base, limit, flags)
    if not desc.allowed:
        raise CallError(Errno.EINVAL)
    if number == -1:
        free = p.system.free_tls()
        if free is None:
            raise CallError(Errno.ESRCH)
        p.pack("<I", address, free)
        number = free
    p.system.set(_tls_entry(number), desc.encode())
    return 0


@call("get_thread_area", PTR)
def get_thread_area(p: Process, address: int) -> int:
    """Read a thread-local descriptor back."""
    number = _tls_entry(p.unpack("<i", address)[0])
    desc = UserDesc.decode(p.system.get(number))
    p.pack("<4I", address, number, desc.base, desc.limit, desc.flags)
    return 0


def _tls_entry(number: int) -> int:
    if not TLS_MIN <= number <= TLS_MAX:
        raise CallError(Errno.EINVAL)
    return number


@call("set_robust_list", PTR, UINT)
def set_robust_list(p: Process, head: int, size: int) -> int:
    """Note the list of held locks: nobody waits for them."""
    if size != 12:
        raise CallError(Errno.EINVAL)
    return 0


@call("sched_yield")
def sched_yield(p: Process) -> int:
    """Let the others run first."""
    raise Sleep("others run first", lambda: True, finish=lambda: 0)


@call("sched_getaffinity", INT, UINT, PTR)
def sched_getaffinity(p: Process, pid: int, size: int, mask: int) -> int:
    """Store a mask with one processor."""
    if size < 4 or size % 4:
        raise CallError(Errno.EINVAL)
    p.pack("<I", mask, 1)
    return 4


@call("sched_setaffinity", INT, UINT, PTR)
def sched_setaffinity(p: Process, pid: int, size: int, mask: int) -> int:
    """Stay on the one processor."""
    return 0


@call("getcpu", PTR, PTR, PTR)
def getcpu(p: Process, cpu: int, node: int, cache: int) -> int:
    """Store processor 0 of node 0."""
    for address in (cpu, node):
        if address:
            p.pack("<I", address, 0)
    return 0


@call("getpriority", INT, INT)
def getpriority(p: Process, which: int, who: int) -> int:
    """Return the usual priority: 20 minus a niceness of 0."""
    return 20


@call("setpriority", INT, INT, INT)
def setpriority(p: Process, which: int, who: int, value: int) -> int:
    """Priorities have no effect."""
    return 0


@call("nice", INT)
def nice(p: Process, step: int) -> int:
    """Priorities have no effect."""
    return 0


@call("rseq", "openat2", "copy_file_range")
@call("timer_create")
def not_supported(p: Process) -> int:
    """Calls that C libraries try and do without: ENOSYS, and no note about it."""
    raise CallError(Errno.ENOSYS)
