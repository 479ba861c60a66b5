"""`python -m tests.protected [ENGINE [FAMILY …]]`: try every condition; say which differ."""

from __future__ import annotations

import sys

from tests.machines import engines
from tests.protected.conditions import FAMILIES, every
from tests.protected.machine import Machine, expected


def main(engine: str, names: set[str]) -> int:
    """Try the conditions of the families named (all, if none is); how many differ."""
    machine = Machine(engines()[engine])
    named = [c for f in FAMILIES if f.__name__ in names for c in f()]
    conditions, differing = named or every(), 0
    for condition in conditions:
        wanted, steps = expected(condition)
        if machine.run(condition, steps) != wanted:
            differing += 1
            print(condition)
    print(f"{engine}: {len(conditions)} conditions, {differing} differ")
    return differing


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1] if sys.argv[1:] else "reference", set(sys.argv[2:]))))
