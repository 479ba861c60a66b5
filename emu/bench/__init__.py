"""`emu bench`: how fast guests run here, on our engines and, side by side, on what others have.

A guest of `programs/bench` takes a number of *rounds* and prints each round's answer on a line, so
that the first n lines of its `.out` file are right for n rounds. Every round is a million
instructions or a few, touches the same memory and starts from nothing, so that time per round is
the same question at every length: fast tools run all the rounds of the `.out` file (most of a
second natively, as users' programs do), slow ones a few, and seconds are told for all.

Every run is a process of its own. All run pinned to one core, one guest after the other and each in
turns (each tool once, then each once again), so that what a machine does meanwhile is the same for
all tools and a guest's row is there when its turns are over. Before them are runs that warm caches
and are not counted but checked: one of each tool, and six of an engine that learns. Our engines
have a cache of compiled code that is empty when the command begins and nobody else uses: the first
run of a guest compiles everything and is told by itself (`first`), the counted ones find on the
disk what the runs before have left there. The figure of a tool is its median; a ratio is that
divided by the median of the native process in the same turns. Seconds of our engines and of Unicorn
are those between the first and the last instruction, without the interpreter's start; those of a
native process and of qemu-i386 are the whole process. What starting costs is a figure of its own.

| part | what is measured |
|---|---|
| kernels | the guests of `programs/bench` (`kernels.py`) |
| startup | process start to exit of a program that only exits (`startup.py`) |
| cold | a generated program of distinct instructions, run once or twice (`cold.py`) |
| exits | stops for a Python handler: system calls, port writes (`exits.py`) |
| hooks | calls of a Python hook: blocks, instructions, accesses to memory (`hooks.py`) |
| memory | the largest resident set while a guest runs (`memory.py`) |
"""

from __future__ import annotations

PARTS = ("kernels", "startup", "cold", "exits", "hooks", "memory")
"""What `emu bench` measures, in order."""
