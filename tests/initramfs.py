"""An initial RAM disk for Linux: busybox and a script, as a cpio archive (format "newc")."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path

DIRECTORY, FILE, LINK, DEVICE = 0o040755, 0o100755, 0o120777, 0o020600
APPLETS = ("cat", "echo", "free", "ls", "mount", "poweroff", "sh", "uname", "wc")


def _entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + encoded) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _entries(busybox: bytes, init: str, programs: Mapping[str, bytes]) -> Iterable[bytes]:
    for directory in ("bin", "dev", "proc", "sys"):
        yield _entry(directory, DIRECTORY)
    yield _entry("dev/console", DEVICE, device=(5, 1))
    yield _entry("bin/busybox", FILE, busybox)
    for applet in APPLETS:
        yield _entry(f"bin/{applet}", LINK, b"busybox")
    for name, image in programs.items():
        yield _entry(f"bin/{name}", FILE, image)
    yield _entry("init", FILE, init.encode())
    yield _entry("TRAILER!!!", 0)


def initramfs(busybox: Path, init: str, programs: Mapping[str, bytes] | None = None) -> bytes:
    """Packed, with busybox and `programs` in /bin, and `init` as what Linux starts."""
    entries = _entries(busybox.read_bytes(), init, programs or {})
    return gzip.compress(b"".join(entries), 1, mtime=0)
