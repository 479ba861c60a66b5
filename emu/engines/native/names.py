"""Digests: names of what is cached, and proof that guest code is what it was."""

from __future__ import annotations

import hashlib


def digest(content: bytes) -> str:
    """32 hexadecimal digits that tell one content from another."""
    return hashlib.sha256(content).hexdigest()[:32]


def flags_file(fingerprint: str) -> str:
    """The file with the flags of forms, which every native run of such a machine leaves."""
    return digest(repr(("flags", fingerprint)).encode())
