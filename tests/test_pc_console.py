"""The host's side of keyboard and console: keys of a text, typing in machine time, waiting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pc_bench import Bench, Ports

from emu.errors import GuestFileError
from emu.exit import Exit
from emu.memory import PhysicalMemory
from emu.pc.board import Board
from emu.pc.expect import STEP, Console, ExpectError
from emu.pc.keyboard import keys


def down(*names):
    return [(name, True) for name in names] + [(name, False) for name in reversed(names)]


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("a", down("a")),
        ("A", down("shift", "a")),
        ("\n", down("enter")),
        ("?", down("shift", "/")),
        ('"', down("shift", "'")),
        ("<f1>", down("f1")),
        ("<control-alt-delete>", down("control", "alt", "delete")),
        ("<keypad_->", down("keypad_-")),
        ("<control-->", down("control", "-")),
        ("<<>", down("shift", ",")),
        ("x<", down("x") + down("shift", ",")),
        ("<enter>b", down("enter") + down("b")),
    ],
)
def test_keys(text, events):
    """Characters, shifted ones, and keys by name."""
    assert keys(text) == events


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="<")))
def test_every_character_has_a_key(text):
    """All of ASCII can be typed; each key that goes down comes up."""
    events = keys(text)
    assert sorted(name for name, pressed in events if pressed) == sorted(
        name for name, pressed in events if not pressed
    )


@pytest.mark.parametrize("text", ["ä", "<hyper>", "<a-b>", "\0"])
def test_what_no_key_makes(text):
    """The message names it."""
    with pytest.raises(GuestFileError):
        keys(text)


def test_typist():
    """A key goes on only once the guest has taken the last one; nothing is lost in a long text."""
    board = Board(PhysicalMemory(1 << 20))
    bench = Bench(Ports(board))
    board.typist.type("hello world, this is long", 0)
    bench.run(50_000_000)
    assert board.typist.waiting
    codes = []
    while board.typist.waiting or bench.into(0x64) & 1:
        bench.run(10_000)
        if bench.into(0x64) & 1:
            codes.append(bench.into(0x60))
    bench.run(1_000_000)
    assert len(codes) == 2 * len("hello world, this is long")
    assert codes[:4] == [0x23, 0xA3, 0x12, 0x92]


def test_typist_waits_for_a_keyboard_that_listens():
    """While scanning is off nothing is pressed."""
    board = Board(PhysicalMemory(1 << 20))
    bench = Bench(Ports(board))
    bench.out(0x60, 0xF5)
    bench.run(20_000)
    bench.into(0x60)
    board.typist.type("a", bench.now)
    bench.run(5_000_000)
    assert len(board.typist.waiting) == 2
    bench.out(0x60, 0xF4)
    bench.run(200_000)
    assert bench.into(0x60) == 0xFA
    bench.run(200_000)
    assert bench.into(0x60) == 0x1E


# -- expect --------------------------------------------------------------------------------------


class Guest:
    """A machine that prints known lines at known counts, and echoes what is typed."""

    def __init__(self, lines, halts=10**9):
        self.lines, self.halts = dict(lines), halts
        self.count, self.output = 0, ""

    def run(self, until):
        end = min(until, self.halts)
        for count in sorted(self.lines):
            if self.count <= count < end:
                self.output += self.lines[count]
        self.count = end
        return Exit("until" if end == until else "halt")

    def console(self, **options):
        return Console(self.run, lambda: self.count, lambda: self.output, self.send, **options)

    def send(self, text):
        self.output += text


def test_wait_and_type():
    """Calls follow each other; the machine runs no further than needed."""
    guest = Guest({250_000: "login: ", 900_000: "# "})
    guest.console().wait("login:").type("root\n").wait("#")
    assert guest.output == "login: root\n# "
    assert guest.count == 10 * STEP


def test_text_has_to_be_new():
    """The same prompt is waited for again."""
    guest = Guest({1: "$ ", 500_000: "$ "})
    console = guest.console().wait("$")
    assert guest.count < 500_000
    console.wait("$")
    assert guest.count > 500_000


def test_screen_is_looked_at_whole():
    """A screen shows what it shows."""
    guest = Guest({1: "menu"})
    console = guest.console(is_stream=False)
    console.wait("menu").wait("menu")
    assert guest.count == STEP


def test_limit():
    """The error says what was waited for, how long, and what came."""
    guest = Guest({1: "kernel panic\n"})
    with pytest.raises(ExpectError, match=r"'login:' did not come within 1,000,000.*\n.*panic"):
        guest.console().wait("login:", limit=1_000_000)
    assert guest.count == 1_000_000


def test_machine_stops():
    """Why, and what it said last."""
    guest = Guest({1: "bye\n"}, halts=300_000)
    with pytest.raises(ExpectError, match=r"before the machine stopped \(halt\).*\n.*bye"):
        guest.console().wait("login:")
