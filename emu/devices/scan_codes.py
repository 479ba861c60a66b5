"""Keys of the PC's keyboard and their scan codes.

A key has the code of set 1 that it had on the XT, with E0 in front if it came later. Set 2 follows:
the 8042 translates each of its codes to one of set 1, by a table that is part of the controller.
"""

from __future__ import annotations

from isa.hints import Final

EXTENDED: Final = 0xE0
BREAK: Final = 0xF0  # set 2: the next code is of a key that was let go
RELEASED: Final = 0x80  # set 1: the same, in the code

_SET_2: Final = bytes.fromhex(
    "00 76 16 1e 26 25 2e 36 3d 3e 46 45 4e 55 66 0d"
    "15 1d 24 2d 2c 35 3c 43 44 4d 54 5b 5a 14 1c 1b"
    "23 2b 34 33 3b 42 4b 4c 52 0e 12 5d 1a 22 21 2a"
    "32 31 3a 41 49 4a 59 7c 11 29 58 05 06 04 0c 03"
    "0b 02 0a 01 09 77 7e 6c 75 7d 7b 6b 73 74 79 69"
    "72 7a 70 71 7f 60 61 78 07 0f 17 1f 27 2f 37 3f"
    "47 4f 56 5e 08 10 18 20 28 30 38 40 48 50 57 6f"
    "13 19 39 51 53 5c 5f 62 63 64 65 67 68 6a 6d 6e"
)  # by the code of set 1
F7_SET_2: Final = 0x83  # does not fit into seven bits; so does the other
SYSTEM_REQUEST: Final = 0x84
TRANSLATION: Final = {
    **{code: set_1 for set_1, code in enumerate(_SET_2)},
    0x00: 0xFF,  # too many keys at once
    F7_SET_2: 0x41,
    SYSTEM_REQUEST: 0x54,
}
"""Codes of set 2 to those of set 1; whatever is not here passes as it is."""

_ROWS: Final = {
    0x01: "escape 1 2 3 4 5 6 7 8 9 0 - = backspace tab",
    0x10: "q w e r t y u i o p [ ] enter control a s",
    0x20: "d f g h j k l ; ' ` shift \\ z x c v",
    0x30: "b n m , . / right_shift keypad_* alt space caps_lock f1 f2 f3 f4 f5",
    0x40: "f6 f7 f8 f9 f10 num_lock scroll_lock keypad_7 keypad_8 keypad_9 keypad_-",
    0x4B: "keypad_4 keypad_5 keypad_6 keypad_+ keypad_1 keypad_2 keypad_3 keypad_0 keypad_.",
    0x56: "less f11 f12",
}
_LATER: Final = {
    0x1C: "keypad_enter right_control",
    0x35: "keypad_/",
    0x38: "right_alt",
    0x47: "home up page_up",
    0x4B: "left",
    0x4D: "right",
    0x4F: "end down page_down insert delete",
    0x5B: "left_windows right_windows menu",
}


def _named(rows: dict[int, str], prefix: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Keys of rows whose codes follow each other."""
    return {
        name: (*prefix, first + i)
        for first, names in rows.items()
        for i, name in enumerate(names.split())
    }


KEYS: Final = {**_named(_ROWS, ()), **_named(_LATER, (EXTENDED,))}
"""Codes of set 1 when a key is pressed, by the key's name."""


def set_1(name: str, *, pressed: bool) -> bytes:
    """The codes of a key in set 1."""
    *prefix, code = KEYS[name]
    return bytes([*prefix, code | (0 if pressed else RELEASED)])


def set_2(name: str, *, pressed: bool) -> bytes:
    """The codes of a key in set 2."""
    *prefix, code = KEYS[name]
    own = F7_SET_2 if name == "f7" else _SET_2[code]
    return bytes([*prefix, own] if pressed else [*prefix, BREAK, own])
