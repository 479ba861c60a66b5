"""Instructions one by one: the lines of tests/ins/*.ins on every engine.

A line: [bytes] "disassembly" inputs => outputs ; # why it is a surprise

Inputs and outputs are `register=hex`, or `@address=bytes` for memory in the order of addresses.
What a line does not name stays as it was (0, and eip goes to the next instruction); `af=?` leaves
a register open. Outputs may also be `fault=vector` or `fault=vector(code)`, with hexadecimal
numbers, after which eip stays unless it is named, and `exit=reason`. Code stands at a00000, data
at b00000, esp is b01000, and the privilege level is 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emu.exit import Exit
from emu.memory import AddressSpace
from emu.state import State
from tests.machines import CODE, DATA, PAGE, engines, x86_machine

_LINE = re.compile(r'\[(?P<bytes>[^]]*)\] "(?P<text>[^"]*)"(?P<inputs>.*)=>(?P<outputs>[^;]*);')
SAME = ("native",)  # as native-single, for one instruction
FILES = sorted(Path(__file__).with_name("ins").glob("*.ins"))


@dataclass
class Given:
    """One side of a line."""

    registers: dict[str, str] = field(default_factory=dict)
    memory: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Given:
        given = cls()
        for item in text.split():
            name, value = item.split("=", 1)
            if name.startswith("@"):
                given.memory[int(name[1:], 16)] = bytes.fromhex(value)
            else:
                given.registers[name] = value
        return given


def lines() -> Iterator[object]:
    for file in FILES:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                yield pytest.param(line, id=f"{file.stem}:{number}")


def machine(code: bytes, given: Given) -> State:
    state = x86_machine(code)
    for name, value in given.registers.items():
        state[name] = int(value, 16)
    for address, content in given.memory.items():
        state.memory["linear"].poke(address, content)  # type: ignore[attr-defined]
    return state


def outcome(stop: Exit) -> dict[str, str]:
    """How the engine stopped, as a line says it."""
    if stop.fault is not None:
        code = "" if stop.fault.code is None else f"({stop.fault.code:x})"
        return {"fault": f"{stop.fault.vector:x}{code}"}
    if stop.reason == "until":
        return {}
    values = ",".join(f"{value:x}" for value in stop.values)
    return {"exit": stop.reason + (f"({values})" if values else "")}


def data(state: State) -> bytes:
    space = state.memory["linear"]
    assert isinstance(space, AddressSpace)
    content = space.read(DATA, 3 * PAGE)
    assert isinstance(content, bytes)
    return content


@pytest.mark.parametrize("line", list(lines()))
@pytest.mark.parametrize("engine", [n for n in engines() if n not in SAME])
def test_line(line: str, engine: str) -> None:
    """The bytes read back as the text, and do what the line says and nothing else."""
    match = _LINE.match(line)
    assert match is not None, f"not a line: {line}"
    code = bytes.fromhex(match["bytes"])
    state = machine(code, Given.parse(match["inputs"]))
    wanted = Given.parse(match["outputs"])
    registers, content = state.registers(), bytearray(data(state))
    assert state.isa.text(code, CODE) == match["text"]

    stop = engines()[engine].run(state, 1)

    stays = "fault" in wanted.registers or "unimplemented" in wanted.registers.get("exit", "")
    registers["eip"] = CODE if stays else CODE + len(code)
    expected = {name: f"{value:x}" for name, value in registers.items()} | wanted.registers
    actual = {name: f"{value:x}" for name, value in state.registers().items()} | outcome(stop)
    actual |= {name: "?" for name, value in expected.items() if value == "?"}
    assert expected == actual
    for address, piece in wanted.memory.items():
        content[address - DATA : address - DATA + len(piece)] = piece
    assert bytes(content) == data(state)
