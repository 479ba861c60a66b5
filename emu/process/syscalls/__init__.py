"""The system calls of i386 Linux, one file a subject, imported when a guest makes a call of it."""

from emu.process.syscalls.names import NAMES, NUMBERS
from emu.process.syscalls.registry import (
    MODULES,
    Call,
    CallEvent,
    is_known,
    name_of,
    row_of,
    serve,
    serve_shown,
)

PLACES = {
    "descriptors": """
        open openat creat close close_range dup dup2 dup3 fcntl fcntl64 flock pipe pipe2 ioctl
    """,
    "directories": """
        getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat getdents64 getdents
    """,
    "events": """
        eventfd eventfd2 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
        epoll_pwait2 timerfd_create timerfd_settime timerfd_gettime timerfd_settime64
        timerfd_gettime64
    """,
    "identity": """
        getuid32 geteuid32 getgid32 getegid32 getuid geteuid getgid getegid getresuid getresgid
        getresuid32 getresgid32 setuid setgid setuid32 setgid32 getgroups getgroups32 setgroups
        setgroups32 uname olduname sysinfo getrandom ugetrlimit getrlimit setrlimit prlimit64
        personality prctl set_thread_area get_thread_area set_robust_list sched_yield
        sched_getaffinity sched_setaffinity getcpu getpriority setpriority nice timer_create
        rseq openat2 copy_file_range
    """,
    "io": """
        read write readv writev pread64 pwrite64 preadv pwritev lseek _llseek sendfile
        sendfile64
    """,
    "ldt": """
        modify_ldt
    """,
    "memory": """
        brk mmap2 mmap memfd_create munmap mprotect mremap madvise msync mincore munlock mlock
        mlockall munlockall
    """,
    "paths": """
        readlink readlinkat link linkat symlink symlinkat rename renameat renameat2 chmod
        fchmodat fchmod chown chown32 lchown lchown32 fchown fchown32 fchownat utime utimes
        futimesat utimensat utimensat_time64 truncate ftruncate truncate64 ftruncate64 fdatasync
        fsync sync fadvise64_64 fadvise64 fgetxattr fsetxattr fremovexattr getxattr lgetxattr
        setxattr lsetxattr removexattr lremovexattr flistxattr listxattr llistxattr umask
    """,
    "polling": """
        poll ppoll ppoll_time64 _newselect select pselect6 pselect6_time64
    """,
    "processes": """
        exit exit_group fork vfork execve wait4 waitpid waitid getpid getppid getpgrp getpgid
        getsid setpgid setsid
    """,
    "signal": """
        rt_sigaction sigaction signal rt_sigprocmask sigprocmask rt_sigpending sigpending pause
        rt_sigsuspend sigsuspend sigaltstack kill tkill tgkill sigreturn rt_sigreturn
    """,
    "sockets": """
        socketcall socket socketpair bind connect listen accept4 getsockopt setsockopt
        getsockname getpeername sendto sendmsg recvfrom recvmsg shutdown sendmmsg recvmmsg
        recvmmsg_time64
    """,
    "stat": """
        oldstat oldlstat oldfstat stat lstat fstat stat64 lstat64 fstat64 fstatat64 statx access
        faccessat faccessat2 statfs fstatfs statfs64 fstatfs64
    """,
    "threads": """
        clone clone3 gettid set_tid_address futex futex_time64
    """,
    "time": """
        time gettimeofday settimeofday clock_gettime clock_gettime64 clock_getres
        clock_getres_time64 nanosleep clock_nanosleep clock_nanosleep_time64 times getrusage
        alarm setitimer getitimer
    """,
}
"""Which file has which calls."""

MODULES |= {
    NUMBERS[name]: f"emu.process.syscalls.{module}"
    for module, names in PLACES.items()
    for name in names.split()
}

__all__ = ["NAMES", "Call", "CallEvent", "is_known", "name_of", "row_of", "serve", "serve_shown"]
