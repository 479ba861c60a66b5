"""The secret that both sides share, and what is proved with it."""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
from pathlib import Path
from typing import Final

from emu.errors import GuestFileError

VARIABLE: Final = "POPEK_MIGRATION_SECRET"
LEAST: Final = 16  # bytes
PROOF_SIZE: Final = hashlib.sha256().digest_size
_OTHERS: Final = 0o077


class Secret:
    """Bytes that never leave the process."""

    def __init__(self, data: bytes) -> None:
        if len(data) < LEAST:
            raise GuestFileError(
                f"the secret has {len(data)} bytes",
                why="whoever listens to the line could find it by trying",
                advice=f"Use {LEAST} random bytes or more: head -c 32 /dev/urandom > FILE",
            )
        self._data = data

    def proof(self, *parts: bytes) -> bytes:
        """A code that only those can make who know the secret. The parts cannot be mistaken for
        others, as their lengths count."""
        code = hmac.new(self._data, digestmod=hashlib.sha256)
        for part in parts:
            code.update(len(part).to_bytes(8, "little") + part)
        return code.digest()

    def proves(self, given: bytes, *parts: bytes) -> bool:
        """Whether somebody has made the code; takes as long if not."""
        return hmac.compare_digest(given, self.proof(*parts))

    def certificate(self, identifier: str, digest: str) -> bytes:
        """What the source gives away with a guest, once it will never run it again."""
        return self.proof(b"released", identifier.encode(), digest.encode())

    def certifies(self, given: str, identifier: str, digest: str) -> bool:
        """Whether that is a source's certificate, in hexadecimal."""
        try:
            code = bytes.fromhex(given)
        except ValueError:
            return False
        return hmac.compare_digest(code, self.certificate(identifier, digest))


def read_secret(path: Path | None) -> Secret:
    """From a file, or else from the environment. Raises GuestFileError."""
    if path is None:
        given = os.environ.get(VARIABLE)
        if given is None:
            raise GuestFileError(
                "Both sides of a migration must share a secret",
                advice=f"Say --secret-file FILE, or set {VARIABLE}",
            )
        return Secret(given.encode())
    try:
        if path.stat().st_mode & _OTHERS:
            print(f"vmm: {path} can be read by others (chmod 600 {path})", file=sys.stderr)
        return Secret(path.read_bytes().rstrip(b"\r\n"))
    except OSError as error:
        raise GuestFileError(f"{path} cannot be read", why=error.strerror or "") from None
