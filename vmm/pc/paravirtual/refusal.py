"""How a hypercall says no."""

from __future__ import annotations

from enum import IntEnum


class Errno(IntEnum):
    """Linux's numbers, as Xen returns them."""

    EPERM = 1
    ENOENT = 2
    ESRCH = 3
    ENOMEM = 12
    EFAULT = 14
    EBUSY = 16
    EEXIST = 17
    EINVAL = 22
    ENOSPC = 28
    ENOSYS = 38


class Refusal(Exception):  # noqa: N818 (the guest's mistake, no error of ours)
    """A hypercall is refused, and has changed nothing since its last finished part.

    Raised and caught within a hypercall: its caller sees -errno in EAX.
    """

    def __init__(self, errno: Errno, why: str = "") -> None:
        super().__init__(f"{errno.name}: {why}" if why else errno.name)
        self.errno = errno
