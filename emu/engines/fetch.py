"""Fetching and decoding at an address of the code space, the same for every engine."""

from __future__ import annotations

from emu.state import State
from isa.definition import Instruction, TruncatedError
from isa.fault import Fault


def decode_at(state: State, address: int) -> Instruction | Fault:
    """The instruction at `address`, or the fault of its first byte that cannot be fetched."""
    isa = state.isa
    code, fault = state.memory[isa.code_space].fetch(address, isa.max_length)
    try:
        return isa.decode(code, isa.mode(state.values))
    except TruncatedError:
        assert fault is not None, "a decoder wants more than `max_length` units"
        return fault
