"""Text to keys of an American keyboard, and someone who types them in machine time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction

from emu.devices.clock import MIPS, Clock
from emu.devices.ps2_keyboard import PS2Keyboard
from emu.devices.scan_codes import KEYS
from emu.errors import GuestFileError
from isa.hints import Any, Final

KEYS_HERTZ: Final = 100  # keys pressed or let go in a virtual second
SHIFTED: Final = dict(zip('!@#$%^&*()_+{}:"~|<>?', "1234567890-=[];'`\\,./", strict=True))
CONTROLS: Final = {" ": "space", "\n": "enter", "\t": "tab", "\b": "backspace", "\x1b": "escape"}
NAMED: Final = re.compile(r"<(<|[a-z0-9_*/.+-]+)>|(.)", re.DOTALL)
MODIFIERS: Final = {"control", "alt", "shift", "right_alt", "right_control", "right_shift"}

Event = tuple[str, bool]
"""A key's name, and whether it is pressed or let go."""


def keys(text: str) -> list[Event]:
    """What has to be typed for a text.

    `<f1>` is a key by its name, `<control-alt-delete>` several at once, `<<>` the sign itself.
    Raises GuestFileError for what no key makes.
    """
    return [event for match in NAMED.finditer(text) for event in _typed(match)]


def _typed(match: re.Match[str]) -> Iterator[Event]:
    named, character = match.groups()
    names = _character("<") if named == "<" else _named(named) if named else _character(character)
    yield from ((name, True) for name in names)
    yield from ((name, False) for name in reversed(names))


def _named(text: str) -> list[str]:
    *modifiers, key = re.split(r"-(?=.)", text) if text not in KEYS else [text]
    for name in (*modifiers, key):
        if name not in KEYS or (name in modifiers and name not in MODIFIERS):
            raise GuestFileError(
                f"there is no key <{text}>",
                advice=f"Choose among {', '.join(sorted(k for k in KEYS if len(k) > 1))}",
            )
    return [*modifiers, key]


def _character(character: str) -> list[str]:
    name = CONTROLS.get(character, character)
    if name in KEYS:
        return [name]
    if character in SHIFTED:
        return ["shift", SHIFTED[character]]
    if character.lower() in KEYS:
        return ["shift", character.lower()]
    raise GuestFileError(f"no key makes {character!r}", advice="Type what an American keyboard has")


class Typist:
    """Types what it is given, one key event after the other, while the keyboard listens."""

    def __init__(self, keyboard: PS2Keyboard, mips: int | Fraction = MIPS) -> None:
        self._keyboard = keyboard
        self._interval = Clock(KEYS_HERTZ, mips).count_at(1)
        self.waiting: list[Event] = []
        self.due = 0

    def type(self, text: str, now: int) -> None:
        """Begin to type a text; see `keys`."""
        self.waiting.extend(keys(text))
        self.due = max(self.due, now)

    def deadline(self) -> int | None:
        """When the next key is pressed or let go."""
        return self.due if self.waiting else None

    def tick(self, now: int) -> None:
        """Press or let go a key, unless the guest has not taken the last one."""
        self.due = now + self._interval
        if self._keyboard.registers.scanning and not self._keyboard.ready:
            name, pressed = self.waiting.pop(0)
            self._keyboard.press(name, pressed=pressed)

    def snapshot(self) -> Mapping[str, object]:
        """What is still to be typed."""
        return {"waiting": list(self.waiting), "due": self.due}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """What is still to be typed."""
        self.waiting = [(name, pressed) for name, pressed in saved["waiting"]]
        self.due = saved["due"]
