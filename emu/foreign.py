"""What `ctypes` is asked for in a run of a few milliseconds: foreign functions, and numbers at
addresses.

To import it takes a fortieth of such a run, as it makes fifty classes. What it has of C is there
without it, and the rest does here what it does there, for readers and for mypy, too.
"""

from __future__ import annotations

import os
from _ctypes import addressof, dlopen, dlsym

from isa.hints import TYPE_CHECKING, Any, Callable, cast
from isa.light import cache

if TYPE_CHECKING:
    from ctypes import (
        CFUNCTYPE,
        PYFUNCTYPE,
        c_char,
        c_char_p,
        c_int,
        c_int32,
        c_int64,
        c_uint8,
        c_uint32,
        c_uint64,
        c_void_p,
    )
else:
    from _ctypes import (
        FUNCFLAG_CDECL,
        FUNCFLAG_PYTHONAPI,
        CFuncPtr,
        _SimpleCData,
    )

    def _simple(name: str, code: str) -> type:
        """A class of numbers in memory; the codes are those of `struct`."""
        return type(_SimpleCData)(name, (_SimpleCData,), {"_type_": code})

    c_char, c_char_p = _simple("c_char", "c"), _simple("c_char_p", "z")
    c_void_p, c_int = _simple("c_void_p", "P"), _simple("c_int", "i")
    c_uint8, c_int32, c_uint32 = _simple("c_uint8", "B"), c_int, _simple("c_uint32", "I")
    c_int64, c_uint64 = _simple("c_int64", "q"), _simple("c_uint64", "Q")

    def _prototype(flags: int, result: type | None, arguments: tuple[type, ...]) -> type:
        facts = {"_flags_": flags, "_restype_": result, "_argtypes_": arguments}
        return type(CFuncPtr)("Function", (CFuncPtr,), facts)

    def _unlocked(result: type | None, *arguments: type) -> type:
        """A type of functions, called without the interpreter's lock."""
        return _prototype(FUNCFLAG_CDECL, result, arguments)

    def _locked(result: type | None, *arguments: type) -> type:
        """A type of functions, called with it."""
        return _prototype(FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI, result, arguments)

    CFUNCTYPE, PYFUNCTYPE = _unlocked, _locked


@cache
def _process() -> int:
    return dlopen(cast(str, None), os.RTLD_NOW)  # of no file: what the process has


def place_of(name: str) -> int:
    """Where a function of the C library or of Python is; raises OSError if there is none."""
    return dlsym(_process(), name)


def function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A function of the C library; raises OSError if there is none."""
    return CFUNCTYPE(result, *arguments)(place_of(name))


def address_of(view: Any) -> int:
    """Where bytes that can be written lie, for as long as they are there."""
    return addressof(c_char.from_buffer(view))


def address_of_bytes(constant: bytes) -> int:
    """Where bytes that cannot be written lie, followed by a zero, for as long as they are there."""
    return c_void_p.from_buffer(c_char_p(constant)).value or 0


__all__ = [
    "CFUNCTYPE", "PYFUNCTYPE", "address_of", "address_of_bytes", "c_int", "c_int32", "c_int64",
    "c_uint8", "c_uint32", "c_uint64", "c_void_p", "function", "place_of",
]  # fmt: skip
