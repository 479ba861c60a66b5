"""The system calls of i386 Linux, one file a subject; importing this fills the table."""

from emu.process.syscalls import (  # noqa: F401 - imported for the rows they add
    descriptors,
    directories,
    identity,
    io,
    ldt,
    memory,
    paths,
    polling,
    processes,
    signal,
    stat,
    threads,
    time,
)
from emu.process.syscalls.names import NAMES
from emu.process.syscalls.registry import (
    CALLS,
    Call,
    CallEvent,
    late,
    name_of,
    row_of,
    serve,
    serve_shown,
)

late(
    "emu.process.syscalls.sockets",
    *("socketcall", "socket", "socketpair", "bind", "connect", "listen", "accept4", "getsockopt"),
    *("setsockopt", "getsockname", "getpeername", "sendto", "sendmsg", "recvfrom", "recvmsg"),
    *("shutdown", "sendmmsg", "recvmmsg", "recvmmsg_time64"),
)

late(
    "emu.process.syscalls.events",
    *("eventfd", "eventfd2", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait"),
    *("epoll_pwait", "epoll_pwait2", "timerfd_create", "timerfd_settime", "timerfd_gettime"),
    *("timerfd_settime64", "timerfd_gettime64"),
)

__all__ = ["CALLS", "NAMES", "Call", "CallEvent", "name_of", "row_of", "serve", "serve_shown"]
