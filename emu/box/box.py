"""What a user says of a box: its program, its files, its names and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from emu.errors import GuestFileError
from emu.process.namespace import MOST_FILES, MOST_PROCESSES, Namespace
from emu.process.processor import DEFAULT, NAMES

LONGEST_HOST_NAME = 64  # __NEW_UTS_LEN
INIT = 1  # the number of the first process in a PID namespace, pid_namespaces(7)


@dataclass(frozen=True, slots=True)
class Box:
    """One box; raises GuestFileError if its names or limits cannot be.

    `program` is a path below `root`; without a root it is a file of the host, and the box has no
    other. `memory` and `storage` (by how much `root` may grow, if it is `writable`) are bytes,
    `instructions` ends the box, `share` is its part of the processor beside other boxes. With `net`
    it has a loopback of its own.
    """

    name: str
    program: str
    arguments: tuple[str, ...] = ()
    root: Path | None = None
    writable: bool = False
    net: bool = False
    host_name: str = ""
    memory: int = 64 << 20
    instructions: int | None = None
    processes: int = MOST_PROCESSES
    files: int = MOST_FILES
    storage: int | None = 64 << 20
    share: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    cwd: str = "/"
    seed: int = 0
    engine: str = "auto"
    cpu: str = DEFAULT

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or " " in self.name:
            raise self._error(f"{self.name!r} is no name for a box", "Use letters and digits")
        if not 0 < len(self.host.encode()) <= LONGEST_HOST_NAME or "\0" in self.host:
            raise self._error(f"{self.host!r} is no host name", "Use 1 to 64 bytes")
        for what, most in (("processes", MOST_PROCESSES), ("files", MOST_FILES), ("share", 1000)):
            if not 1 <= getattr(self, what) <= most:
                raise self._error(f"{what} = {getattr(self, what)}", f"Choose 1 to {most}")
        if min(self.instructions or 1, 0 if self.storage is None else self.storage) < 0:
            raise self._error("A limit is negative", "Choose 0 or more")

        if self.cpu not in NAMES:
            raise self._error(f"cpu = {self.cpu!r}", f"Choose one of {', '.join(NAMES)}")

    def _error(self, what: str, advice: str) -> GuestFileError:
        return GuestFileError(what, where=f"box {self.name!r}", advice=advice)

    @property
    def host(self) -> str:
        """The host name that its processes see."""
        return self.host_name or self.name

    @property
    def namespace(self) -> Namespace:
        """The same for the process machine."""
        return Namespace(
            host_name=self.host.encode(),
            first_pid=INIT,
            contained=True,
            processes=self.processes,
            files=self.files,
            storage=self.storage,
        )
