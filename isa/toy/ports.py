"""Port numbers of the toy machine: what IN reads and OUT writes."""

from __future__ import annotations

from isa.named import IntEnum


class Port(IntEnum):
    """One port each; (r) can be read, (w) written. Others read 0 and ignore what is written."""

    CAUSE = 0  # (r) number of the last trap, see isa.toy.traps
    INFO = 1  # (r) what it was about
    TIMER = 2  # (r) instructions left until the interval timer fires, 0 if it is off
    CONSOLE_DATA = 8  # (w) print a character (r) take the character that came, -1 at the end
    CONSOLE_STATUS = 9  # (r) 1 if a character or the end of the input is there
    CONSOLE_CONTROL = 10  # (w) 1: start receiving characters
    DISK_SECTOR = 16  # (w) which sector of 64 words
    DISK_ADDRESS = 17  # (w) real address of the words in memory
    DISK_COMMAND = 18  # (w) 1 read, 2 write: done some instructions later
    DISK_STATUS = 19  # (r) 0 ready, 1 busy, 2 the last command failed
    DISK_SIZE = 20  # (r) how many sectors there are
