"""Foreign functions and numbers in memory, beside `ctypes`."""

from __future__ import annotations

import ctypes
import mmap
import sys

import pytest

from emu import foreign

KINDS = ["c_int", "c_int32", "c_int64", "c_uint8", "c_uint32", "c_uint64", "c_void_p"]


@pytest.mark.parametrize("name", KINDS)
def test_numbers_are_as_in_ctypes(name: str) -> None:
    ours, theirs = getattr(foreign, name), getattr(ctypes, name)
    assert ctypes.sizeof(ours) == ctypes.sizeof(theirs)
    memory = bytearray(b"\xff\x81\xfe\x7f" * 8)
    here = foreign.address_of(memory)
    assert ours.from_address(here).value == theirs.from_address(here).value
    ours.from_address(here).value = 42
    assert memory[: ctypes.sizeof(theirs)] == bytes(theirs(42))
    three = (ours * 3).from_address(here)
    three[:] = [1, 2, 3]
    assert list((theirs * 3).from_address(here)) == [1, 2, 3]


def test_addresses_are_where_the_bytes_are() -> None:
    constant = b"constant"
    assert ctypes.string_at(foreign.address_of_bytes(constant), 9) == b"constant\0"
    for memory in (bytearray(b"changed"), mmap.mmap(-1, 7)):
        view = memoryview(memory)
        view[:] = b"written"
        assert ctypes.string_at(foreign.address_of(view), 7) == b"written"


def test_functions_are_those_of_the_process() -> None:
    length = foreign.function("strlen", foreign.c_uint64, foreign.c_void_p)
    assert length(foreign.address_of_bytes(b"seven" * 7)) == 35
    absolute = foreign.function("abs", foreign.c_int, foreign.c_int)
    assert absolute(-3) == 3
    there = ctypes.cast(ctypes.pythonapi.PyLong_FromLong, ctypes.c_void_p).value
    assert foreign.place_of("PyLong_FromLong") == there
    with pytest.raises(OSError, match="no_such_function"):
        foreign.place_of("no_such_function")


def test_a_locked_function_may_use_python() -> None:
    add = foreign.PYFUNCTYPE(foreign.c_void_p, foreign.c_void_p)(foreign.place_of("Py_IncRef"))
    thing = object()
    before = sys.getrefcount(thing)
    add(id(thing))
    assert sys.getrefcount(thing) == before + 1
