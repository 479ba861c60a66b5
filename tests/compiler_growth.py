"""What the compiler keeps of what it has compiled: `python -m tests.compiler_growth` prints bytes
for each function, by the way to compile it, as JSON.

In a process of its own with one thread, glibc tells to the byte what is allocated. Python's own
objects are elsewhere, all but large ones.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable

from emu.engines.native.compiler import Compiler
from emu.engines.native.layout import BEST, QUICK
from tests.soak import allocated

FUNCTIONS = 300


def text(number: int) -> str:
    """A function with constants that no other has, on which passes have something to do."""
    constants = range(number << 20, (number << 20) + 40)
    sums = "".join(f"  %{n + 1} = add i64 %{n}, {c}\n" for n, c in enumerate(constants))
    return f"define i64 @region(i64 %0) {{\nentry:\n{sums}  ret i64 %40\n}}\n"


def growth(compile_: Callable[[str], object], first: int) -> float:
    """Bytes for each of some functions, from a number on."""
    gc.collect()
    before = allocated()
    for number in range(first, first + FUNCTIONS):
        compile_(text(number))
    gc.collect()
    return (allocated() - before) / FUNCTIONS


def main() -> None:
    """Measure all; not the first time, when what stays is made."""
    well, quickly = Compiler(BEST), Compiler(QUICK)
    ways: dict[str, Callable[[str], object]] = {
        "regions": well.region,
        "regions, quickly": quickly.region,
        "handlers": lambda text: well.image(text, ["region"]),
        "handlers, quickly": lambda text: quickly.image(text, ["region"]),
        "stencils": lambda text: well.object_code(text, ["region"]),
        "functions of ours": lambda text: well.whole(text, ["region"]),
    }
    for first in (0, FUNCTIONS):
        found = {name: growth(compile_, first) for name, compile_ in ways.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
