"""What a serial port of the guest is wired to on the host: memory, a file, the terminal, TCP."""

from __future__ import annotations

import os
import select
import socket
import sys
from pathlib import Path

from emu.devices.ns16550 import SerialBackend
from emu.errors import GuestFileError, unwritable
from isa.hints import BinaryIO, Final

CHUNK: Final = 4096


class Silent:
    """Nothing ever comes from it."""

    interactive = False
    source: int | None = None

    def read(self) -> bytes:
        """Nothing comes."""
        return b""


class NullSerial(Silent):
    """Nobody is there."""

    def write(self, data: bytes) -> None:
        """What is sent is lost."""


class MemorySerial(Silent):
    """A buffer: what the guest has sent so far. Input is fed to the port itself."""

    def __init__(self) -> None:
        self.output = bytearray()

    def write(self, data: bytes) -> None:
        """Add to the buffer."""
        self.output += data


class FileSerial(Silent):
    """A file that takes what the guest sends."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise unwritable(path, error) from error

    def write(self, data: bytes) -> None:
        """Write at once."""
        self._file.write(data)


class StreamSerial:
    """The terminal, or whatever standard input and output are. Input ends where they end."""

    def __init__(self, output: BinaryIO | None = None, source: int = 0) -> None:
        self._output = sys.stdout.buffer if output is None else output
        self.source = source
        self.interactive = True

    def write(self, data: bytes) -> None:
        """Write and flush."""
        self._output.write(data)
        self._output.flush()

    def read(self) -> bytes:
        """What was typed, if anything."""
        try:
            if not self.interactive or not select.select([self.source], [], [], 0)[0]:
                return b""
            data = os.read(self.source, CHUNK)
        except (OSError, ValueError):  # closed, or nothing that can be waited for
            data = b""
        self.interactive = bool(data)
        return data


class TcpSerial:
    """A connection that is accepted when the machine starts."""

    def __init__(self, host: str, port: int) -> None:
        try:
            with socket.create_server((host, port)) as server:
                self._connection, _ = server.accept()
        except (OSError, OverflowError) as error:
            raise GuestFileError(
                f"nothing can listen at {host}:{port}", why=str(error), advice="Choose another port"
            ) from error
        self.source = self._connection.fileno()
        self.interactive = True

    def write(self, data: bytes) -> None:
        """Send; once the other side is gone, what is sent is lost."""
        try:
            self._connection.setblocking(True)
            self._connection.sendall(data)
        except OSError:
            return

    def read(self) -> bytes:
        """What came, if anything."""
        try:
            self._connection.setblocking(False)
            data = self._connection.recv(CHUNK)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        self.interactive = bool(data)
        return data


def serial_backend(text: str) -> SerialBackend:
    """The backend that `--serial` names: stdio, file:PATH, tcp:HOST:PORT or none."""
    kind, _, rest = text.partition(":")
    if kind == "file" and rest:
        return FileSerial(Path(rest))
    if kind == "tcp":
        host, _, port = rest.rpartition(":")
        if port.isdecimal():
            return TcpSerial(host or "127.0.0.1", int(port))
    if text in ("stdio", "none"):
        return StreamSerial() if text == "stdio" else NullSerial()
    raise GuestFileError(
        f"there is no serial port {text!r}", advice="Choose stdio, none, file:PATH or tcp:HOST:PORT"
    )
