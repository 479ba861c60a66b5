"""What each side writes down before it acts, so that after a cut or a crash the files decide.

A record is one file, `ID.source` or `ID.destination`, that is replaced as a whole and is on the
disk before the next step is taken. While a process takes part in a migration it holds a lock, which
the host releases when it dies: so anybody can tell whether it lives.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import platformdirs

from emu.errors import GuestFileError

VARIABLE: Final = "POPEK_MIGRATIONS"
OFFERED, KEPT, RELEASED, CONFIRMED = "offered", "kept", "released", "confirmed"
"""The source's: stopped and offered; taken back; given up for good; known to run elsewhere."""
PREPARED, DISCARDED, RUNNING, ENDED = "prepared", "discarded", "running", "ended"
"""The destination's: complete, but another's; thrown away; its own; at its end."""
STATES: Final = {
    "source": (OFFERED, KEPT, RELEASED, CONFIRMED),
    "destination": (PREPARED, DISCARDED, RUNNING, ENDED),
}
IDENTIFIER: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Record:
    """What one side knows of a migration. `digest` is the machine's at the hand-over."""

    identifier: str
    role: str
    state: str
    guest: str
    count: int
    digest: str
    peer: str = ""
    certificate: str = ""
    why: str = ""

    def line(self, *, alive: bool) -> str:
        """For the operator."""
        where = f" with {self.peer}" if self.peer else ""
        told = f": {self.why}" if self.why else ""
        process = "its process lives" if alive else "no process"
        return (
            f"{self.identifier} {self.role:<11} {self.state:<9} {self.guest} at {self.count}"
            f"{where} ({process}){told}"
        )


class Records:
    """A directory of them, private to the user."""

    def __init__(self, directory: Path | None = None) -> None:
        """Without a directory, that of the environment or the user's own. Raises GuestFileError."""
        chosen = directory or Path(os.environ.get(VARIABLE) or _default())
        try:
            chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise GuestFileError(
                f"{chosen} cannot be made", why=error.strerror or "", advice="Say --records DIR"
            ) from None
        self.directory = chosen

    def path(self, identifier: str, role: str) -> Path:
        """Where a record lies. Raises GuestFileError if that is no identifier."""
        if not IDENTIFIER.fullmatch(identifier):
            raise GuestFileError(
                f"{identifier[:40]!r} is no migration's identifier",
                advice="vmm migrate --status tells them",
            )
        return self.directory / f"{identifier}.{role}"

    def write(self, record: Record) -> None:
        """Replace a record; it is on the disk when this returns. Raises OSError."""
        path = self.path(record.identifier, record.role)
        write_durably(path, json.dumps(asdict(record)).encode())

    def advance(self, record: Record, state: str, **changes: Any) -> Record:
        """The record with the next state, written. Raises OSError."""
        after = replace(record, state=state, **changes)
        self.write(after)
        return after

    def read(self, identifier: str, role: str) -> Record:
        """Raises GuestFileError if there is none, or a damaged one."""
        path = self.path(identifier, role)
        try:
            record = Record(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            raise GuestFileError(
                f"this host has no record of {identifier} as {role}",
                why=f"looked in {self.directory}",
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise GuestFileError(f"the record {path} is damaged", why=str(error)) from None
        if record.state not in STATES.get(record.role, ()) or record.role != role:
            raise GuestFileError(f"the record {path} is damaged", why="it has no known state")
        return record

    def remove(self, identifier: str, role: str) -> None:
        """Forget a record."""
        self.path(identifier, role).unlink(missing_ok=True)
        _settle(self.directory)

    def all(self) -> list[Record]:
        """Every record that can be read."""
        names = [path.stem for path in sorted(self.directory.iterdir())]
        found = []
        for identifier in dict.fromkeys(n for n in names if IDENTIFIER.fullmatch(n)):
            for role in STATES:
                if self.path(identifier, role).exists():
                    found.append(self.read(identifier, role))
        return found

    # -- who lives ---------------------------------------------------------------------------

    def lock(self, identifier: str, role: str) -> Lock:
        """Take part in a migration. Raises GuestFileError if another process does."""
        return Lock(self.path(identifier, role).with_suffix(f".{role}.lock"))

    def is_alive(self, identifier: str, role: str) -> bool:
        """Whether a process takes part in it."""
        try:
            self.lock(identifier, role).release()
        except GuestFileError:
            return True
        return False


class Lock:
    """Held until `release`, or the end of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] = path.open("wb")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise GuestFileError(f"a process still takes part in {path.stem}") from None

    def release(self) -> None:
        """Take no part any more."""
        self._file.close()


def write_durably(path: Path, data: bytes) -> None:
    """Write a file as a whole: it is the old one or the new one, whatever happens."""
    temporary = path.with_name(f"{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 — a descriptor
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _settle(path.parent)


def _settle(directory: Path) -> None:
    """Have a directory's names on the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _default() -> str:
    return platformdirs.user_state_dir("popek") + "/migrations"
