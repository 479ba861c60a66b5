"""The x87 and the system around it: #NM, #MF, images in every mode, what older models have."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from emu.engines.reference import Reference
from emu.exit import Exit
from emu.memory import AddressSpace, PhysicalMemory
from emu.state import State
from isa.x86.machine import X86
from isa.x86.registers import FLAT_CODE, FLAT_DATA, SEGMENT_NAMES

CODE, DATA, PAGE = 0x10000, 0x20000, 4096
INVALID_OPCODE, NO_DEVICE, ERROR = 6, 7, 16
BIG = 0x400  # D/B of a code segment
ENVIRONMENT = {
    "fcw": 0x27F, "fpu_flags": 0x01, "c3": 1, "st_top": 5, "st_full": 0x05, "st0": 1 << 63,
    "st0_exponent": 0x3FFF, "fop": 0x6AB, "fip": 0x12345, "fcs": 0x1000, "fdp": 0x678,
    "fds": 0x2345,
}  # fmt: skip


def run(code: str, registers: Mapping[str, int], model: str = "pentium2") -> tuple[Exit, State]:
    """One instruction at CPL 0, its operand (if it has one) at DATA."""
    space = AddressSpace(PhysicalMemory(4 * PAGE))
    space.map(CODE, PAGE, 5)
    space.map(DATA, PAGE, 6)
    space.poke(CODE, bytes.fromhex(code))
    state = State(X86(model), {"linear": space, "system": space, "physical": space})
    for name in SEGMENT_NAMES:
        state[f"{name}_limit"] = 0xFFFFFFFF
        state[f"{name}_attributes"] = FLAT_CODE if name == "cs" else FLAT_DATA
    state["pe"], state["eip"], state["ebx"], state.intercept_traps = 1, CODE, DATA, True
    for name, value in registers.items():
        state[name] = value
    return Reference().run(state, 1), state


def vector(stop: Exit) -> int | None:
    """The fault's, if there is one."""
    return None if stop.fault is None else stop.fault.vector


ESCAPES = ("d9c0", "d8c1", "dbe3", "dbe2", "dfe0", "d93b", "d92b", "dd33", "dd23", "d9f0", "d9d0")


@pytest.mark.parametrize("code", ESCAPES)
@pytest.mark.parametrize("registers", [{"em": 1}, {"ts": 1}, {"em": 1, "mp": 1, "ts": 1}])
def test_no_device(code: str, registers: dict[str, int]) -> None:
    """CR0.EM and TS make every instruction of the unit #NM, also those that are not there yet."""
    assert vector(run(code, registers)[0]) == NO_DEVICE


@pytest.mark.parametrize("code", ESCAPES)
def test_a_process_machine_minds_no_control_register(code: str) -> None:
    """Its kernel has given the unit to the program."""
    assert vector(run(code, {"em": 1, "ts": 1, "cpl": 3}, model="")[0]) is None


@pytest.mark.parametrize(("mp", "ts"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_wait(mp: int, ts: int) -> None:
    """WAIT minds TS only if MP tells it to; EM is nothing to it."""
    stop, _ = run("9b", {"mp": mp, "ts": ts, "em": 1})
    assert vector(stop) == (NO_DEVICE if mp and ts else None)


@pytest.mark.parametrize("code", ["9b", "d9c0", "d92b", "dd23"])
@pytest.mark.parametrize("native_errors", [0, 1])
def test_pending_errors(code: str, native_errors: int) -> None:
    """#MF at the next instruction that waits; without CR0.NE IGNNE# is taken to be asserted."""
    pending = {"fcw": 0x37E, "fpu_flags": 1, "ne": native_errors}
    assert vector(run(code, pending)[0]) == (ERROR if native_errors else None)


@pytest.mark.parametrize("code", ["dbe3", "dbe2", "dfe0", "d93b", "d933", "dd33", "dd3b"])
def test_those_that_do_not_wait(code: str) -> None:
    """FN… with an exception pending."""
    assert vector(run(code, {"fcw": 0x37E, "fpu_flags": 1, "ne": 1})[0]) is None


IMAGES = {
    ("32", "protected"): "7f02ffff 0168ffff ff73ffff 45230100 0010ab06 78060000 4523ffff",
    ("16", "protected"): "7f02 0168 ff73 4523 0010 7806 4523",
    ("32", "v86"): "7f02ffff 0168ffff ff73ffff 45230000 ab260000 c83a0000 00200000",
    ("16", "v86"): "7f02 0168 ff73 4523 ab26 c83a 0020",
}


@pytest.mark.parametrize(("size", "mode"), IMAGES)
def test_environments(size: str, mode: str) -> None:
    """Figures 8-9 to 8-12; reading one back gives the same environment (but for selectors)."""
    expected = bytes.fromhex(IMAGES[size, mode])
    v86 = {"vm": int(mode == "v86"), "cpl": 3 if mode == "v86" else 0}
    prefix = "" if size == "32" else "66"
    stop, state = run(f"{prefix}d933", ENVIRONMENT | v86)
    space = state.memory["linear"]
    assert isinstance(space, AddressSpace)
    assert (vector(stop), space.read(DATA, len(expected))) == (None, expected)
    assert state["fcw"] == ENVIRONMENT["fcw"] | 0x3F
    space.poke(CODE, bytes.fromhex(f"{prefix}d923"))
    state["eip"], state["st_full"], state["fop"], state["fip"] = CODE, 0, 0, 0
    assert Reference().run(state, 2).fault is None
    linear = ENVIRONMENT["fip"] + (0 if mode == "protected" else 16 * ENVIRONMENT["fcs"])
    kept = (1 << 16) - 1 if size == "16" and mode == "protected" else (1 << 32) - 1
    assert (state["st_full"], state["st_top"], state["fip"]) == (5, 5, linear & kept)


def test_saving_is_initializing() -> None:
    """FNSAVE leaves what FNINIT leaves; FRSTOR brings all of it back."""
    stop, state = run("dd33", ENVIRONMENT)
    assert stop.fault is None
    assert (state["fcw"], state["fsw"], state["st_full"], state["fip"]) == (0x37F, 0, 0, 0)
    space = state.memory["linear"]
    assert isinstance(space, AddressSpace)
    space.poke(CODE, bytes.fromhex("dd23"))
    state["eip"] = CODE
    assert Reference().run(state, 2).fault is None
    assert {name: state[name] for name in ENVIRONMENT} == ENVIRONMENT


@pytest.mark.parametrize(
    ("model", "there"), [("486", False), ("pentium", False), ("pentium2", True)]
)
@pytest.mark.parametrize("code", ["dac1", "dbf1", "dfe9"])
def test_what_came_with_the_pentium_pro(model: str, there: bool, code: str) -> None:
    """FCMOV, FCOMI and FUCOMIP are #UD before."""
    assert vector(run(code, {"fcw": 0x37F}, model)[0]) == (None if there else INVALID_OPCODE)
