"""Digests: names of what is cached, and proof that guest code is what it was."""

from __future__ import annotations

from isa.hints import Final

try:  # what hashlib has it from: that loads OpenSSL first, which takes milliseconds
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

Checksum = blake2b
DIGEST: Final = 32  # bytes of one


def summing(content: bytes = b"") -> blake2b:
    """A checksum under way."""
    return blake2b(content, digest_size=DIGEST)


def digits(summed: Checksum) -> str:
    """32 hexadecimal digits of a checksum under way."""
    return summed.hexdigest()[:32]


def digest(content: bytes) -> str:
    """32 hexadecimal digits that tell one content from another."""
    return digits(summing(content))


def flags_file(fingerprint: str) -> str:
    """The file with the flags of forms, which every native run of such a machine leaves."""
    return digest(repr(("flags", fingerprint)).encode())
