"""Who says what, if several boxes share one terminal."""

from __future__ import annotations

from isa.hints import BinaryIO


class Prefixed:
    """A stream that puts a box's name before each line; an unfinished line waits for its end."""

    def __init__(self, name: str, width: int, below: BinaryIO) -> None:
        self._prefix = f"{name:<{width}} | ".encode()
        self._below = below
        self._rest = b""

    def read(self, size: int, /) -> bytes | None:
        """It is for writing only."""
        return b""

    def write(self, data: bytes, /) -> int:
        """Pass on whole lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._below.write(b"".join(self._prefix + line + b"\n" for line in lines))
        return len(data)

    def finish(self) -> None:
        """The box has ended: pass on what has no end of line."""
        if self._rest:
            self.write(b"\n")
        self.flush()

    def flush(self) -> None:
        """Pass on what was written."""
        self._below.flush()

    def fileno(self) -> int:
        """There is no descriptor behind it."""
        raise OSError("a prefixed stream has no descriptor")
