"""Fetching and decoding at an address of the code space, the same for every engine."""

from __future__ import annotations

from emu.state import State
from isa.definition import Instruction, TruncatedError
from isa.fault import Fault


def decode_at(state: State, address: int) -> Instruction | Fault:
    """The instruction at `address`, or the fault of its first byte that cannot be fetched."""
    isa, memory = state.isa, state.memory[state.isa.code_space]
    mode = isa.mode(state.values)
    code, fault = memory.fetch(address, isa.max_length)
    while True:
        try:
            return isa.decode(code, mode)
        except TruncatedError:
            if fault is not None:
                return fault
            assert len(code) < isa.max_length, "a decoder wants more than `max_length` units"
            more, fault = memory.fetch(address + len(code), isa.max_length - len(code))
            code += more
