"""Machine frames: whose each is, what it is used as, and how often.

A frame is at any time of one type only: page table, page directory, descriptor table or writable.
It changes its type only when nobody uses it as what it is; so whoever can write to a frame can not
have it used as a table, and what has once been validated stays valid (Xen, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vmm.pc.paravirtual.refusal import Errno, Refusal

NOBODY: Final = -1


class Kind(Enum):
    """What a frame is used as."""

    NONE = "nothing"
    PAGE_TABLE = "page table"
    PAGE_DIRECTORY = "page directory"
    DESCRIPTORS = "descriptor table"
    WRITABLE = "writable"


TABLES: Final = (Kind.PAGE_TABLE, Kind.PAGE_DIRECTORY)


@dataclass(slots=True)
class Frame:
    """One machine frame.

    `references` counts mappings and other uses, `typed` those that rely on its kind. `shared`:
    it is the monitor's and was lent to its owner for good.
    """

    owner: int = NOBODY
    kind: Kind = Kind.NONE
    references: int = 0
    typed: int = 0
    pinned: bool = False
    shared: bool = False


Validate = Callable[[int, Kind], None]
"""Takes what a frame's content refers to, or gives it back; by the frame's number."""


class FrameTable:
    """All frames of the machine below."""

    def __init__(self, frames: int) -> None:
        self.frames = [Frame() for _ in range(frames)]

    def __getitem__(self, number: int) -> Frame:
        return self.frames[number]

    def of(self, owner: int, number: int) -> Frame:
        """A domain's frame; refused if it is somebody else's, or nothing at all."""
        if number >= len(self.frames) or self.frames[number].owner != owner:
            raise Refusal(Errno.EINVAL, f"frame {number:#x} is not the caller's")
        return self.frames[number]

    def take(self, number: int, kind: Kind, validate: Validate | None = None) -> None:
        """Use a frame as something; refused while it is used as something else."""
        frame = self.frames[number]
        if frame.typed:
            if frame.kind is not kind:
                raise Refusal(Errno.EINVAL, f"frame {number:#x} is {frame.kind.value}")
            frame.typed += 1
            return
        frame.kind, frame.typed = kind, 1
        if validate is not None:
            try:
                validate(number, kind)
            except Refusal:
                frame.kind, frame.typed = Kind.NONE, 0
                raise

    def give_back(self, number: int, invalidate: Validate | None = None) -> None:
        """Use it so no longer; the last use of a table releases what it refers to."""
        frame = self.frames[number]
        frame.typed -= 1
        if not frame.typed and invalidate is not None:
            invalidate(number, frame.kind)

    def is_free(self, number: int) -> bool:
        """Whether nothing refers to a frame."""
        frame = self.frames[number]
        return not (frame.references or frame.typed or frame.shared)
