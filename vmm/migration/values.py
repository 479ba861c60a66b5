"""Plain values to bytes and back: what device snapshots are made of, and nothing that could run.

One letter tells the kind; sizes are 32 bits, little-endian. Equal values have equal bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

DEEPEST: Final = 32  # containers in containers
_SIZE: Final = struct.Struct("<I")
_CONSTANTS: Final[dict[bytes, object]] = {b"N": None, b"F": False, b"T": True}
_KINDS: Final = {int: b"i", str: b"s", bytes: b"b", list: b"l", tuple: b"t", dict: b"d"}


class DamagedError(ValueError):
    """Bytes that are no encoding of a value."""


def encode(value: object) -> bytes:
    """The bytes of a value. Raises TypeError if it is not plain."""
    if value is None or isinstance(value, bool):
        return next(letter for letter, known in _CONSTANTS.items() if known is value)
    letter = _KINDS.get(type(value))
    if letter is None:
        raise TypeError(f"{type(value).__name__} is no plain value")
    if isinstance(value, dict):
        body = b"".join(encode(key) + encode(one) for key, one in value.items())
        return letter + _SIZE.pack(len(value)) + body
    if isinstance(value, (list, tuple)):
        return letter + _SIZE.pack(len(value)) + b"".join(map(encode, value))
    body = _scalar(value)
    return letter + _SIZE.pack(len(body)) + body


def _scalar(value: object) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    if isinstance(value, str):
        return value.encode()
    assert isinstance(value, bytes)
    return value


def decode(data: bytes) -> Any:
    """The value; raises DamagedError if there is none, or something behind it."""
    reader = _Reader(data)
    value = reader.value(DEEPEST)
    if reader.at != len(data):
        raise DamagedError("something follows the value")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0
        self._readers: dict[bytes, Callable[[int, int], Any]] = {
            b"i": lambda size, _: int.from_bytes(self._take(size), "little", signed=True),
            b"s": lambda size, _: self._text(size),
            b"b": lambda size, _: self._take(size),
            b"l": self._list,
            b"t": lambda size, depth: tuple(self._list(size, depth)),
            b"d": self._dict,
        }

    def _take(self, size: int) -> bytes:
        if size > len(self._data) - self.at:
            raise DamagedError(f"{size} bytes should follow, and do not")
        self.at += size
        return self._data[self.at - size : self.at]

    def value(self, depth: int) -> Any:
        letter = self._take(1)
        if letter in _CONSTANTS:
            return _CONSTANTS[letter]
        reader = self._readers.get(letter)
        if reader is None or not depth:
            raise DamagedError(f"{letter!r} is no kind of value" if depth else "nested too deeply")
        return reader(_SIZE.unpack(self._take(_SIZE.size))[0], depth - 1)

    def _text(self, size: int) -> str:
        try:
            return self._take(size).decode()
        except UnicodeDecodeError:
            raise DamagedError("a text is not UTF-8") from None

    def _list(self, size: int, depth: int) -> list[Any]:
        self._check(size)
        return [self.value(depth) for _ in range(size)]

    def _dict(self, size: int, depth: int) -> dict[Any, Any]:
        self._check(2 * size)
        pairs = [(self._key(depth), self.value(depth)) for _ in range(size)]
        return dict(pairs)

    def _key(self, depth: int) -> Any:
        key = self.value(depth)
        try:
            hash(key)
        except TypeError:
            raise DamagedError("a key must not change") from None
        return key

    def _check(self, least: int) -> None:
        """Each value has a byte at least: huge counts cost nothing."""
        if least > len(self._data) - self.at:
            raise DamagedError(f"{least} values should follow, and do not")
