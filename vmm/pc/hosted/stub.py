"""The monitor's program as its host sees it: one page, from which system calls are made.

What the monitor does is Python here, so the page holds no more than INT 80h and the place to which
handlers of signals are called.
"""

from __future__ import annotations

from typing import Final

from emu.memory import EXECUTE, PAGE_SIZE, READ
from emu.process.elf import EHDR, EM_386, ET_EXEC, PHDR, PT_LOAD

STUB: Final = 0xBF00_0000
CALLS: Final = range(STUB, STUB + 16)  # from where its system calls are made
HANDLER: Final = STUB + 16
STACK: Final = STUB + 0x10_0000  # that of handlers; nothing lies on either side
STACK_SIZE: Final = 4 * PAGE_SIZE
ARGUMENTS: Final = STACK  # structures for system calls: handlers' frames begin at the other end
_CODE: Final = bytes.fromhex("cd80").ljust(16, b"\x90") + b"\xf4"


def stub() -> bytes:
    """An executable."""
    data = PAGE_SIZE
    header = EHDR.pack(
        b"\x7fELF\1\1\1".ljust(16, b"\0"), ET_EXEC, EM_386, 1, STUB, EHDR.size, 0, 0,
        EHDR.size, PHDR.size, 1, 0, 0, 0,
    )  # fmt: skip
    segment = PHDR.pack(
        PT_LOAD, data, STUB, STUB, len(_CODE), len(_CODE), READ | EXECUTE, PAGE_SIZE
    )
    return (header + segment).ljust(data, b"\0") + _CODE
