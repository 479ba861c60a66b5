"""modify_ldt: descriptors of the process's own (arch/x86/kernel/ldt.c)."""

from __future__ import annotations

from emu.process.descriptors import LDT_ENTRIES, UserDesc
from emu.process.numbers import CallError, Errno
from emu.process.process import Process
from emu.process.syscalls.registry import INT, PTR, UINT, call

READ, WRITE_OLD, READ_DEFAULT, WRITE = 0, 1, 2, 0x11
USER_DESC = "<4I"  # entry, base, limit, flags
USER_DESC_SIZE = 16
CONFORMING_CODE = 3


@call("modify_ldt", INT, PTR, UINT)
def modify_ldt(p: Process, function: int, address: int, size: int) -> int:
    """Read the table, or write a descriptor."""
    if function == READ:
        table = p.memory.ldt[:size]
        p.write(address, table)
        return len(table)
    if function == READ_DEFAULT:
        size = min(size, 5 * 8)
        p.write(address, bytes(size))
        return size
    if function not in (WRITE, WRITE_OLD):
        raise CallError(Errno.ENOSYS)
    if size != USER_DESC_SIZE:
        raise CallError(Errno.EINVAL)
    number, base, limit, flags = p.unpack(USER_DESC, address)
    _write(p, number, UserDesc(base, limit, flags), old=function == WRITE_OLD)
    return 0


def _write(p: Process, number: int, descriptor: UserDesc, *, old: bool) -> None:
    contents = (descriptor.flags & UserDesc.CONTENTS) >> 1
    absent = descriptor.flags & UserDesc.SEG_NOT_PRESENT
    if number >= LDT_ENTRIES or (contents == CONFORMING_CODE and (old or not absent)):
        raise CallError(Errno.EINVAL)
    if old:
        descriptor = UserDesc(
            descriptor.base, descriptor.limit, descriptor.flags & ~UserDesc.USEABLE
        )
    encoded = 0 if old and not descriptor.base | descriptor.limit else descriptor.encode()
    table = bytearray(p.memory.ldt.ljust(8 * number + 8, b"\0"))
    table[8 * number : 8 * number + 8] = encoded.to_bytes(8, "little")
    p.memory.ldt = bytes(table)
    p.load_ldt()
