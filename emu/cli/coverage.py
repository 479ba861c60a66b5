"""`emu run --coverage FILE`: which instructions were executed, and how often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from emu.coverage import Coverage
from emu.errors import GuestFileError, unwritable
from emu.state import State
from isa.definition import TruncatedError
from isa.hints import Any


def begin(state: State) -> None:
    """Count from now on."""
    try:
        state.coverage = Coverage(1 << state.isa.pc.width)
    except (OSError, OverflowError) as error:
        raise GuestFileError(
            "There is no room to count what is executed",
            why=str(error),
            advice="It needs 8 bytes of address space for each byte of code space: lift ulimit -v",
        ) from None


def write(state: State, path: Path) -> None:
    """A line for each instruction, or one JSON object if the file's name ends in .json.

    The instructions are those in memory now. Raises GuestFileError if the file cannot be written.
    """
    found = list(rows(state))
    as_json = path.suffix == ".json"
    text = json.dumps({"instructions": found}) + "\n" if as_json else "".join(map(_plain, found))
    try:
        path.write_text(text)
    except OSError as error:
        raise unwritable(path, error) from None


def rows(state: State) -> Iterator[dict[str, Any]]:
    """Every executed instruction: address, count, bytes in hexadecimal, text."""
    assert state.coverage is not None
    for passed in state.coverage.ranges():
        address = passed.start
        while address < passed.end:
            code, text = _instruction(state, address)
            yield {"address": address, "count": passed.count, "bytes": code.hex(), "text": text}
            address += max(len(code) // _unit(state), 1)


def _unit(state: State) -> int:
    """Bytes of one addressable unit of code."""
    return -(-state.isa.spaces[state.isa.code_space] // 8)


def _instruction(state: State, address: int) -> tuple[bytes, str]:
    """What stands at an address now."""
    isa, memory = state.isa, state.memory[state.isa.code_space]
    code, _ = memory.fetch(address, isa.max_length)
    try:
        length = isa.decode(code, isa.mode(state.values)).length
    except TruncatedError:
        return b"", "(not there any more)"
    return memory.fetch(address, length)[0], isa.text(code, address)


def _plain(row: dict[str, Any]) -> str:
    return f"{row['count']:>12}  {row['address']:8x}:  {row['bytes']:<24} {row['text']}\n"
