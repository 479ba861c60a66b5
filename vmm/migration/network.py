"""Where connections come from: this side connects, or waits for the other one."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from typing import Final

from emu.errors import GuestFileError
from vmm.migration.channel import Channel, Role
from vmm.migration.errors import CutError, MigrationError
from vmm.migration.secret import Secret

TIMEOUT: Final = 30.0  # seconds of silence


def address(text: str) -> tuple[str, int]:
    """HOST:PORT. Raises GuestFileError."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 0xFFFF:
        raise GuestFileError(f"{text!r} is no address", advice="Write HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


class Dialer:
    """Connects to somebody who listens."""

    def __init__(self, where: str, secret: Secret, role: Role, timeout: float = TIMEOUT) -> None:
        self.where = where
        self._address = address(where)
        self._secret, self._role, self._timeout = secret, role, timeout

    def __call__(self) -> Channel:
        """Connect, now. Raises MigrationError."""
        try:
            stream = socket.create_connection(self._address, self._timeout)
        except OSError as error:
            raise CutError(
                f"nobody answers at {self.where}", why=error.strerror or str(error),
                advice="Start the other side first",
            ) from None  # fmt: skip
        return Channel(stream, self._secret, self._role, connected=True, timeout=self._timeout)


class Listener:
    """Waits for somebody who connects. Who does not know the secret is told of, and passed over."""

    def __init__(self, where: str, secret: Secret, role: Role, timeout: float = TIMEOUT) -> None:
        """Raises GuestFileError."""
        self._secret, self._role, self._timeout = secret, role, timeout
        self.wait: float | None = None  # seconds until nobody is expected any more
        host, port = address(where)
        try:
            self._socket = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
            )
        except (OSError, OverflowError) as error:
            raise GuestFileError(
                f"nothing can listen at {where}", why=getattr(error, "strerror", "") or str(error),
                advice="Choose another port",
            ) from None  # fmt: skip
        host, self.port, *_ = self._socket.getsockname()
        self.where = f"{host}:{self.port}"

    def __call__(self) -> Channel:
        """The next that proves to know the secret. Raises CutError if nobody comes in time."""
        deadline = None if self.wait is None else time.monotonic() + self.wait
        while True:
            channel = self._accept(deadline)
            if channel is not None:
                return channel

    def poll(self) -> Channel | None:
        """Somebody who has connected already, or nobody."""
        try:
            return self._accept(time.monotonic())
        except CutError:
            return None

    def _accept(self, deadline: float | None) -> Channel | None:
        left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
        try:
            self._socket.settimeout(left)
            stream, peer = self._socket.accept()
        except OSError as error:
            raise CutError("nobody has connected", why=error.strerror or "") from None
        try:
            return Channel(stream, self._secret, self._role, connected=False, timeout=self._timeout)
        except MigrationError as error:
            print(f"vmm: {peer[0]} was turned away: {error}", file=sys.stderr)
            return None

    def close(self) -> None:
        """Nobody is expected any more."""
        with contextlib.suppress(OSError):
            self._socket.close()
