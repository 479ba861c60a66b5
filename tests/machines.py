"""Machines for tests: one processor with a code page, a data window and a stack."""

from __future__ import annotations

from collections.abc import Mapping

from emu.engines.native.arena import Arena
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native, NativeSession
from emu.engines.native.layout import BEST, QUICK
from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.exit import Exit
from emu.memory import AddressSpace, PhysicalMemory
from emu.state import State
from isa.x86.machine import X86
from isa.x86.registers import FLAT_CODE, FLAT_DATA, SEGMENT_NAMES

CODE, DATA = 0x00A00000, 0x00B00000
PAGE = 4096
NO_CACHE = DiskCache(None)


def user_state(space: AddressSpace, registers: Mapping[str, int] = {}, model: str = "") -> State:
    """A processor in flat user mode, as a process machine starts it."""
    state = State(X86(model), {"linear": space, "system": space})
    for name in SEGMENT_NAMES:
        state[name] = 0x73 if name == "cs" else 0x7B
        state[f"{name}_limit"] = 0xFFFFFFFF
        state[f"{name}_attributes"] = FLAT_CODE if name == "cs" else FLAT_DATA
    state["cpl"], state["eflags"] = 3, 0x202
    for name, value in registers.items():
        state[name] = value
    return state


def x86_machine(
    code: bytes, registers: Mapping[str, int] = {}, data: bytes = b"", model: str = ""
) -> State:
    """`code` at CODE (writable too), three pages of data of which the last is read-only."""
    space = AddressSpace(PhysicalMemory(32 * PAGE))
    space.map(CODE, 2 * PAGE, 7, "code")
    space.map(DATA, 2 * PAGE, 6, "data")
    space.map(DATA + 2 * PAGE, PAGE, 4, "constant")
    space.poke(CODE, code)
    space.poke(DATA, data[: 3 * PAGE])
    return user_state(space, {"eip": CODE, "esp": DATA + PAGE, **registers}, model)


def engines() -> dict[str, object]:
    """Every engine, the python engine also with all code cold and all code hot."""
    return {
        "reference": Reference(),
        "python": Python(),
        "python-cold": Python(hot=1 << 60),
        "python-hot": Python(hot=0),
        "native": Native(hot=0, wait=True, level=BEST, cache=NO_CACHE),
        "native-stitched": Native(cache=NO_CACHE, stitch=0),
        "native-tier1": Native(hot=1 << 30, wait=True, cache=NO_CACHE),
        "native-single": Native(
            hot=0, wait=True, level=QUICK, cache=NO_CACHE, longest=1, looks=True
        ),
    }


def picture(state: State, stop: Exit) -> tuple[object, ...]:
    """Everything that two engines must agree on."""
    space = state.memory["linear"]
    assert isinstance(space, AddressSpace)
    space.settle()
    memory = {page: space.physical.read(f * PAGE, PAGE) for page, f in space.frames.items()}
    content = {page: data for page, data in memory.items() if any(data)}
    return state.count, state.registers(), content, stop


def agrees(
    program: bytes, engine: Python, given: dict[str, int] | None = None, until: int = 1 << 30
) -> State:
    """Run a program on an engine and on the reference; the engine's machine."""
    expected, state = x86_machine(program, given or {}), x86_machine(program, given or {})
    wanted = Reference().run(expected, until)
    assert picture(state, engine.run(state, until)) == picture(expected, wanted)
    return state


def arena_of(engine: Native, state: State) -> Arena:
    """Where a native engine has what it decoded of a machine."""
    session = engine._session_of(state)
    assert isinstance(session, NativeSession) and session.tier1 is not None
    return session.tier1.arena
