"""Numbers of the toy machine's traps, as a kernel reads them from the port CAUSE.

`INFO` then holds: the faulting address (memory), the instruction (privileged, illegal), its
operand (svc), 0 otherwise.
"""

from __future__ import annotations

from isa.hints import Final
from isa.named import IntEnum


class Trap(IntEnum):
    """Why the machine trapped. The paper names the first two."""

    MEMORY = 1  # an address out of the window or out of storage
    PRIVILEGED = 2  # a privileged instruction in user mode
    ILLEGAL = 3  # no such instruction
    SVC = 4  # supervisor call
    ARITHMETIC = 5  # division by zero
    TIMER = 16  # the interval timer ran out
    CONSOLE = 17  # the console has a character, or no more of them
    DISK = 18  # the block device has done its command


TITLES: Final[dict[int, str]] = {
    Trap.MEMORY: "memory trap",
    Trap.PRIVILEGED: "privileged instruction",
    Trap.ILLEGAL: "illegal instruction",
    Trap.SVC: "supervisor call",
    Trap.ARITHMETIC: "division by zero",
    Trap.TIMER: "timer interrupt",
    Trap.CONSOLE: "console interrupt",
    Trap.DISK: "disk interrupt",
}
