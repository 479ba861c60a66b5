"""What SSE2's operations on packed integers give, in plain numbers: an oracle for tests.

Written from the manual, on bytes and Python's integers; it shares nothing with the meanings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Lanes = list[int]
Two = Callable[[bytes, bytes], bytes]


def split(value: bytes, size: int, *, signed: bool = False) -> Lanes:
    """Lanes of `size` bytes."""
    parts = (value[n : n + size] for n in range(0, len(value), size))
    return [int.from_bytes(part, "little", signed=signed) for part in parts]


def join(parts: Lanes, size: int) -> bytes:
    """The bytes of lanes, which are cut to `size` bytes."""
    return b"".join((part % (1 << 8 * size)).to_bytes(size, "little") for part in parts)


def by_lane(size: int, what: Callable[[int, int], int], *, signed: bool = False) -> Two:
    """An operation done with each two lanes."""

    def both(a: bytes, b: bytes) -> bytes:
        pairs = zip(split(a, size, signed=signed), split(b, size, signed=signed), strict=True)
        return join([what(x, y) for x, y in pairs], size)

    return both


def within(value: int, bits: int, *, signed: bool) -> int:
    """The nearest number that so many bits hold."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return max(low, min(high, value))


def saturating(size: int, sign: int, *, signed: bool) -> Two:
    """The sum (1) or difference (-1), saturated."""
    return by_lane(size, lambda x, y: within(x + sign * y, 8 * size, signed=signed), signed=signed)


def whole(what: Callable[[int, int], int]) -> Two:
    """An operation on all bits at once."""

    def both(a: bytes, b: bytes) -> bytes:
        return join([what(int.from_bytes(a, "little"), int.from_bytes(b, "little"))], len(a))

    return both


def packing(size: int, *, signed: bool) -> Two:
    """Signed lanes cut to half their size by saturation, the first operand's first."""

    def both(a: bytes, b: bytes) -> bytes:
        lanes = split(a, size, signed=True) + split(b, size, signed=True)
        return join([within(x, 4 * size, signed=signed) for x in lanes], size // 2)

    return both


def unpacking(size: int, *, high: bool) -> Two:
    """Lanes of both halves by turns."""

    def both(a: bytes, b: bytes) -> bytes:
        half = len(a) // 2
        place = slice(half, None) if high else slice(half)
        pairs = zip(split(a[place], size), split(b[place], size), strict=True)
        return join([lane for pair in pairs for lane in pair], size)

    return both


def shifting(size: int, what: Callable[[int, int], int], *, signed: bool = False) -> Two:
    """By the number that the second operand's low 64 bits are."""

    def both(a: bytes, b: bytes) -> bytes:
        count = min(int.from_bytes(b[:8], "little"), 8 * size)
        return join([what(x, count) for x in split(a, size, signed=signed)], size)

    return both


def multiply_and_add(a: bytes, b: bytes) -> bytes:
    """PMADDWD."""
    pairs = zip(split(a, 2, signed=True), split(b, 2, signed=True), strict=True)
    products = [x * y for x, y in pairs]
    return join([products[n] + products[n + 1] for n in range(0, len(products), 2)], 4)


def differences(a: bytes, b: bytes) -> bytes:
    """PSADBW."""
    each = [abs(x - y) for x, y in zip(a, b, strict=True)]
    return join([sum(each[n : n + 8]) for n in range(0, len(each), 8)], 8)


def signs(value: bytes, size: int) -> int:
    """Bit n: the sign of lane n."""
    return sum((lane < 0) << n for n, lane in enumerate(split(value, size, signed=True)))


def shuffled(value: bytes, size: int, order: int, first: int = 0) -> bytes:
    """Four lanes from the first on, each chosen among them by two bits of the order."""
    lanes = split(value, size)
    chosen = [lanes[first + (order >> 2 * n & 3)] for n in range(4)]
    return join(lanes[:first] + chosen + lanes[first + 4 :], size)


BOTH: Final[dict[str, tuple[int, Two]]] = {
    "paddb": (0xFC, by_lane(1, lambda x, y: x + y)),
    "paddw": (0xFD, by_lane(2, lambda x, y: x + y)),
    "paddd": (0xFE, by_lane(4, lambda x, y: x + y)),
    "paddq": (0xD4, by_lane(8, lambda x, y: x + y)),
    "psubb": (0xF8, by_lane(1, lambda x, y: x - y)),
    "psubw": (0xF9, by_lane(2, lambda x, y: x - y)),
    "psubd": (0xFA, by_lane(4, lambda x, y: x - y)),
    "psubq": (0xFB, by_lane(8, lambda x, y: x - y)),
    "paddsb": (0xEC, saturating(1, 1, signed=True)),
    "paddsw": (0xED, saturating(2, 1, signed=True)),
    "paddusb": (0xDC, saturating(1, 1, signed=False)),
    "paddusw": (0xDD, saturating(2, 1, signed=False)),
    "psubsb": (0xE8, saturating(1, -1, signed=True)),
    "psubsw": (0xE9, saturating(2, -1, signed=True)),
    "psubusb": (0xD8, saturating(1, -1, signed=False)),
    "psubusw": (0xD9, saturating(2, -1, signed=False)),
    "pcmpeqb": (0x74, by_lane(1, lambda x, y: -(x == y))),
    "pcmpeqw": (0x75, by_lane(2, lambda x, y: -(x == y))),
    "pcmpeqd": (0x76, by_lane(4, lambda x, y: -(x == y))),
    "pcmpgtb": (0x64, by_lane(1, lambda x, y: -(x > y), signed=True)),
    "pcmpgtw": (0x65, by_lane(2, lambda x, y: -(x > y), signed=True)),
    "pcmpgtd": (0x66, by_lane(4, lambda x, y: -(x > y), signed=True)),
    "pavgb": (0xE0, by_lane(1, lambda x, y: x + y + 1 >> 1)),
    "pavgw": (0xE3, by_lane(2, lambda x, y: x + y + 1 >> 1)),
    "pmaxub": (0xDE, by_lane(1, max)),
    "pminub": (0xDA, by_lane(1, min)),
    "pmaxsw": (0xEE, by_lane(2, max, signed=True)),
    "pminsw": (0xEA, by_lane(2, min, signed=True)),
    "pmullw": (0xD5, by_lane(2, lambda x, y: x * y)),
    "pmulhw": (0xE5, by_lane(2, lambda x, y: x * y >> 16, signed=True)),
    "pmulhuw": (0xE4, by_lane(2, lambda x, y: x * y >> 16)),
    "pmuludq": (0xF4, by_lane(8, lambda x, y: x % (1 << 32) * (y % (1 << 32)))),
    "pmaddwd": (0xF5, multiply_and_add),
    "psadbw": (0xF6, differences),
    "pand": (0xDB, whole(lambda x, y: x & y)),
    "pandn": (0xDF, whole(lambda x, y: ~x & y)),
    "por": (0xEB, whole(lambda x, y: x | y)),
    "pxor": (0xEF, whole(lambda x, y: x ^ y)),
    "packsswb": (0x63, packing(2, signed=True)),
    "packssdw": (0x6B, packing(4, signed=True)),
    "packuswb": (0x67, packing(2, signed=False)),
    "punpcklbw": (0x60, unpacking(1, high=False)),
    "punpcklwd": (0x61, unpacking(2, high=False)),
    "punpckldq": (0x62, unpacking(4, high=False)),
    "punpckhbw": (0x68, unpacking(1, high=True)),
    "punpckhwd": (0x69, unpacking(2, high=True)),
    "punpckhdq": (0x6A, unpacking(4, high=True)),
    "psllw": (0xF1, shifting(2, lambda x, n: x << n)),
    "pslld": (0xF2, shifting(4, lambda x, n: x << n)),
    "psllq": (0xF3, shifting(8, lambda x, n: x << n)),
    "psrlw": (0xD1, shifting(2, lambda x, n: x >> n)),
    "psrld": (0xD2, shifting(4, lambda x, n: x >> n)),
    "psrlq": (0xD3, shifting(8, lambda x, n: x >> n)),
    "psraw": (0xE1, shifting(2, lambda x, n: x >> n, signed=True)),
    "psrad": (0xE2, shifting(4, lambda x, n: x >> n, signed=True)),
}
"""Operations on MMX and on XMM registers: the byte after 0F, and what becomes of two values."""

WIDE: Final[dict[str, tuple[str, Two]]] = {
    "punpcklqdq": ("660f6c", unpacking(8, high=False)),
    "punpckhqdq": ("660f6d", unpacking(8, high=True)),
    "unpcklps": ("0f14", unpacking(4, high=False)),
    "unpckhps": ("0f15", unpacking(4, high=True)),
    "unpcklpd": ("660f14", unpacking(8, high=False)),
    "unpckhpd": ("660f15", unpacking(8, high=True)),
    "andps": ("0f54", whole(lambda x, y: x & y)),
    "andpd": ("660f54", whole(lambda x, y: x & y)),
    "andnps": ("0f55", whole(lambda x, y: ~x & y)),
    "andnpd": ("660f55", whole(lambda x, y: ~x & y)),
    "orps": ("0f56", whole(lambda x, y: x | y)),
    "orpd": ("660f56", whole(lambda x, y: x | y)),
    "xorps": ("0f57", whole(lambda x, y: x ^ y)),
    "xorpd": ("660f57", whole(lambda x, y: x ^ y)),
    "movaps": ("0f28", lambda a, b: b),
    "movapd": ("660f28", lambda a, b: b),
    "movups": ("0f10", lambda a, b: b),
    "movupd": ("660f10", lambda a, b: b),
    "movdqa": ("660f6f", lambda a, b: b),
    "movdqu": ("f30f6f", lambda a, b: b),
    "movq": ("f30f7e", lambda a, b: b[:8] + bytes(8)),
    "movss": ("f30f10", lambda a, b: b[:4] + a[4:]),
    "movsd_xmm": ("f20f10", lambda a, b: b[:8] + a[8:]),
    "movhlps": ("0f12", lambda a, b: b[8:] + a[8:]),
    "movlhps": ("0f16", lambda a, b: a[:8] + b[:8]),
}
"""Operations on two XMM registers: prefix and opcode, and what becomes of the first one."""
