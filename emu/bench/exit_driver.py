"""Runs a loop of exits on one of our engines; tells seconds as JSON on stderr.

`python -m emu.bench.exit_driver ENGINE --exits call|port CODE COUNT`, where CODE is the loop in
hexadecimal; it runs at ADDRESS with ECX = COUNT. As `unicorn_driver.py` does the same.
"""

from __future__ import annotations

import json
import sys
import time

from emu.engines import make_engine
from emu.memory import PAGE_SIZE, AddressSpace, PhysicalMemory
from emu.state import State
from isa.x86.machine import X86
from isa.x86.registers import FLAT_CODE, FLAT_DATA, SEGMENT_NAMES

ADDRESS = 0x00A00000
FOREVER = 1 << 62
IOPL_3 = 0x3002  # user programs may use ports: no segment of permissions is looked up


def flat_machine(code: bytes, count: int) -> State:
    """A processor in flat user mode at ADDRESS, where `code` is, with ECX = `count`."""
    space = AddressSpace(PhysicalMemory(16 * PAGE_SIZE))
    space.map(ADDRESS, PAGE_SIZE, 5, "code")
    space.poke(ADDRESS, code)
    state = State(X86(), {"linear": space, "system": space})
    for name in SEGMENT_NAMES:
        state[f"{name}_limit"] = 0xFFFFFFFF
        state[f"{name}_attributes"] = FLAT_CODE if name == "cs" else FLAT_DATA
    state["cpl"], state["eflags"] = 3, IOPL_3
    state["eip"], state["ecx"] = ADDRESS, count
    return state


def time_exits(engine_name: str, code: bytes, count: int) -> float:
    """Seconds for a loop of `count` exits, answered with as little as can be."""
    engine, state = make_engine(engine_name), flat_machine(code, count)
    eax, end = state.isa.registers["eax"].slot, ADDRESS + len(code)
    state.breakpoints.add(end)
    began = time.perf_counter()
    while True:
        stop = engine.run(state, FOREVER)
        if stop.reason == "interrupt":
            state.values[eax] = 1
        elif stop.reason != "port_write":
            break
    seconds = time.perf_counter() - began
    if stop.reason != "breakpoint" or state["ecx"] != 0:
        raise SystemExit(f"the loop did not end: {stop} at {state.pc:#x}, ecx={state['ecx']}")
    return seconds


def main(engine: str, _: str, __: str, code: str, count: str) -> None:
    """The command line."""
    seconds = time_exits(engine, bytes.fromhex(code), int(count))
    print(json.dumps({"seconds": seconds}), file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
