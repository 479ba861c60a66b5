"""Runs a loop with hooks on one of our engines; tells seconds and calls as JSON on stderr.

`python -m emu.bench.hook_driver ENGINE --hooks block|instruction|memory CODE COUNT`, where CODE is
the loop in hexadecimal; it runs with ECX = COUNT and ESI at a page of data. As `unicorn_driver.py`
does the same.
"""

from __future__ import annotations

import json
import sys
import time

import emu

ADDRESS, DATA, PAGE = 0x00A00000, 0x00B00000, 4096


def time_hooks(engine: str, kind: str, code: bytes, count: int) -> tuple[float, int]:
    """Seconds for a loop with a hook that only counts its calls, and how many there were."""
    guest, calls = emu.code(code, ADDRESS, engine=engine), 0
    guest.memory.map(DATA, PAGE, "rw")
    guest.registers.ecx, guest.registers.esi = count, DATA

    def at_code(address: int) -> None:
        nonlocal calls
        calls += 1

    def at_access(kind: str, address: int, size: int, value: int, pc: int) -> None:
        nonlocal calls
        calls += 1

    if kind == "memory":
        guest.hook.memory(at_access)
    else:
        (guest.hook.block if kind == "block" else guest.hook.instruction)(at_code)
    began = time.perf_counter()
    ending = guest.run()
    seconds = time.perf_counter() - began
    if ending.reason != "until":
        raise SystemExit(f"the loop did not end: {ending}")
    return seconds, calls


def main(engine: str, _: str, kind: str, code: str, count: str) -> None:
    """The command line."""
    seconds, calls = time_hooks(engine, kind, bytes.fromhex(code), int(count))
    print(json.dumps({"seconds": seconds, "calls": calls}), file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
