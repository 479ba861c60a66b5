"""The few files that every guest finds, given or not: /dev/null and friends, /proc/self/exe and
the same of every process.

/dev and /proc belong to us: what a root directory has there is never seen. They are reached by
name and do not appear in the listing of `/`, so that a guest lists exactly what it was given.
"""

from __future__ import annotations

from emu.process.files import DEVICES, Entry, Path, Status, device_status
from emu.process.numbers import DT_CHR, DT_DIR, DT_LNK, S_IFDIR, S_IFLNK
from isa.hints import Container, Iterable
from isa.record import NamedTuple


class Node(NamedTuple):
    """A virtual file: "directory", "device", "terminal", "stream", "socket" or "program" (a magic
    link).

    `process` is the number of the process that a file in /proc is about, None for whoever asks.
    """

    kind: str
    inode: int
    stream: int = 0
    process: int | None = None


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
SOCKET = Node("socket", 0)  # a name that the guest has bound, somewhere below the root


def find(path: Path, processes: Container[int]) -> Node | None:
    """Return what is at a path that we cover, given the numbers of the processes there are."""
    node = NODES.get(path)
    if node is not None or path[:1] != (b"proc",) or len(path) < 2:
        return node
    name, rest = path[1], path[2:]
    if not name.isdigit() or name.startswith(b"0") or int(name) not in processes:
        return None
    own = NODES.get((b"proc", b"self", *rest))
    number = int(name)
    return own and own._replace(process=number, inode=own.inode | number << 8)


def covers(path: Path) -> bool:
    """Tell whether a path is ours, whatever the root directory holds there."""
    return path[:1] in ((b"dev",), (b"proc",))


def status(path: Path, node: Node, user: int, program: bytes = b"") -> Status:
    """Return what stat tells of a node itself (a magic link is a link)."""
    if node.kind == "directory":
        return Status(S_IFDIR | 0o555, inode=node.inode, links=2)
    if node.kind == "program":
        return Status(S_IFLNK | 0o777, inode=node.inode, size=len(program), user=user)
    name = path[-1] if node.kind == "device" else b"null"
    return device_status(name)


def entries(path: Path, processes: Iterable[int]) -> list[Entry]:
    """List a virtual directory; the root shows only what the guest was given."""
    kinds = {"directory": DT_DIR, "program": DT_LNK}
    like = (b"proc", b"self") if path[:1] == (b"proc",) and len(path) == 2 else path
    numbers = processes if path == (b"proc",) else ()
    own = NODES[b"proc", b"self"]
    return [
        Entry(child[-1], node.inode, kinds.get(node.kind, DT_CHR))
        for child, node in NODES.items()
        if path and child[:-1] == like
    ] + [Entry(b"%d" % number, own.inode | number << 8, DT_DIR) for number in sorted(numbers)]
