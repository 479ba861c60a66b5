"""32-bit protected mode without paging, as boot loaders hand a machine over."""

from __future__ import annotations

import struct

from emu.errors import LoaderError
from emu.pc.machine import PcMachine
from isa.hints import Final
from isa.x86.registers import SEGMENT_NAMES

FLAT_CODE, FLAT_DATA = 0x00CF9B000000FFFF, 0x00CF93000000FFFF  # descriptors, already accessed
ATTRIBUTES: Final = {FLAT_CODE: 0xC9B, FLAT_DATA: 0xC93}


def put(machine: PcMachine, address: int, content: bytes) -> None:
    """Put something into memory; raises LoaderError if there is not that much."""
    if address + len(content) > machine.memory.ram:
        raise LoaderError(
            f"The kernel needs memory up to {address + len(content):#x}",
            why=f"the machine has {machine.memory.ram >> 20} MiB",
            advice="Give it more: --memory 128M",
        )
    machine.memory.write(address, content)


def enter(
    machine: PcMachine, entry: int, table: int, code: int, data: int, registers: dict[str, int]
) -> None:
    """Begin at `entry` with flat segments, interrupts off, A20 open.

    `table` is where the descriptor table is put, `code` and `data` are the selectors in it.
    """
    state = machine.state
    descriptors = [0] * (max(code, data) // 8 + 1)
    descriptors[code // 8], descriptors[data // 8] = FLAT_CODE, FLAT_DATA
    content = struct.pack(f"<{len(descriptors)}Q", *descriptors)
    machine.memory.write(table, content)
    state["gdt_base"], state["gdt_limit"] = table, len(content) - 1
    for name in SEGMENT_NAMES:
        descriptor = FLAT_CODE if name == "cs" else FLAT_DATA
        state[name] = code if name == "cs" else data
        state[f"{name}_base"], state[f"{name}_limit"] = 0, 0xFFFFFFFF
        state[f"{name}_attributes"] = ATTRIBUTES[descriptor]
    state["pe"], state["eip"] = 1, entry
    for name, value in registers.items():
        state[name] = value
