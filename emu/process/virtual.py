"""The few files that every guest finds, given or not: /dev/null and friends, /proc/self/exe.

/dev and /proc belong to us: what a root directory has there is never seen. They are reached by
name and do not appear in the listing of `/`, so that a guest lists exactly what it was given.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.process.files import DEVICES, Entry, Path, Status, device_status
from emu.process.numbers import DT_CHR, DT_DIR, DT_LNK, S_IFDIR, S_IFLNK


@dataclass(frozen=True, slots=True)
class Node:
    """A virtual file: "directory", "device", "terminal", "stream" or "program" (a magic link)."""

    kind: str
    inode: int
    stream: int = 0


_DIRECTORIES: tuple[Path, ...] = ((b"dev",), (b"proc",), (b"proc", b"self"))
NODES: dict[Path, Node] = {
    **{path: Node("directory", 30 + i) for i, path in enumerate(_DIRECTORIES)},
    **{(b"dev", name): Node("device", 100 + minor) for name, minor in DEVICES.items()},
    (b"dev", b"tty"): Node("terminal", 120),
    (b"dev", b"stdin"): Node("stream", 121, 0),
    (b"dev", b"stdout"): Node("stream", 122, 1),
    (b"dev", b"stderr"): Node("stream", 123, 2),
    (b"proc", b"self", b"exe"): Node("program", 130),
}
ROOT = Node("directory", 2)


def covers(path: Path) -> bool:
    """Tell whether a path is ours, whatever the root directory holds there."""
    return path[:1] in ((b"dev",), (b"proc",))


def status(path: Path, node: Node, user: int, program: bytes) -> Status:
    """Return what stat tells of a node itself (a magic link is a link)."""
    if node.kind == "directory":
        return Status(S_IFDIR | 0o555, inode=node.inode, links=2)
    if node.kind == "program":
        return Status(S_IFLNK | 0o777, inode=node.inode, size=len(program), user=user)
    name = path[-1] if node.kind == "device" else b"null"
    return device_status(name)


def entries(path: Path) -> list[Entry]:
    """List a virtual directory; the root shows only what the guest was given."""
    kinds = {"directory": DT_DIR, "program": DT_LNK}
    return [
        Entry(child[-1], node.inode, kinds.get(node.kind, DT_CHR))
        for child, node in NODES.items()
        if path and child[:-1] == path
    ]
