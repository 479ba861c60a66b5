"""Runs a loop of exits on one of our engines; tells seconds as JSON on stderr.

`python -m emu.bench.exit_driver ENGINE --exits call|port|stopped CODE COUNT`, where CODE is the
loop in hexadecimal; it runs at ADDRESS with ECX = COUNT. As `unicorn_driver.py` does the same.
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
STOPPED = "stopped"
HLT = b"\xf4"  # a fault in user mode: behind the loop it ends the run
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


def time_exits(engine_name: str, kind: str, code: bytes, count: int) -> float:
    """Seconds for a loop of `count` exits, answered with as little as can be.

    The answer is a handler's, but for the kind STOPPED, where `run` returns for each exit.
    """
    engine, state = make_engine(engine_name), flat_machine(code + HLT, count)
    values, eax = state.values, state.isa.registers["eax"].slot

    def interrupt(_: int) -> None:
        values[eax] = 1

    if kind != STOPPED:
        state.handlers = {"interrupt": interrupt, "port_write": lambda *_: None}
    began = time.perf_counter()
    stop = engine.run(state, FOREVER)
    while stop.reason == "interrupt":
        values[eax] = 1
        stop = engine.run(state, FOREVER)
    seconds = time.perf_counter() - began
    if stop.reason != "fault" or state.pc != ADDRESS + len(code) or state["ecx"] != 0:
        raise SystemExit(f"the loop did not end: {stop} at {state.pc:#x}, ecx={state['ecx']}")
    return seconds


def main(engine: str, _: str, kind: str, code: str, count: str) -> None:
    """The command line."""
    seconds = time_exits(engine, kind, bytes.fromhex(code), int(count))
    print(json.dumps({"seconds": seconds}), file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
