"""Large functions of the IR: compiled once for all code that calls them, and kept on the disk.

A soft-float operation is some hundred operations, which would be compiled again for each guest
instruction that does it. Its name says where it is defined and for which widths, so that code from
the disk finds it again.
"""

from __future__ import annotations

import importlib
from functools import cache

from emu.engines.native.executable import arena
from isa.bits import Bits
from isa.functions import Family, Function
from isa.hints import Final

LARGE: Final = 100  # operations of a function that is not compiled into its callers
WIDEST: Final = 128  # bits that come back in registers
ATTRIBUTES: Final = "nounwind willreturn memory(none)"

Widths = tuple[int, ...]


@cache
def is_shared(function: Function, widths: Widths) -> bool:
    """Whether calls are calls; LLVM's own linker would not find the function."""
    large = _size(function.body(widths), set()) > LARGE
    narrow = function.result_width(widths) <= WIDEST
    return large and narrow and arena() is not None and _is_named(function)


def _size(node: Bits, seen: set[int]) -> int:
    """How many operations a value needs."""
    if id(node) in seen:
        return 0
    seen.add(id(node))
    return 1 + sum(_size(argument, seen) for argument in node.args)


def _is_named(function: Function) -> bool:
    """Whether the name leads back to the function."""
    found = getattr(importlib.import_module(function.module), function.family, None)
    return isinstance(found, Family) and found.functions.get(function.result) is function


def name_of(function: Function, widths: Widths) -> str:
    """The symbol of a function for arguments of these widths."""
    parts = (function.module, function.family, function.result, *map(str, widths))
    return ":".join(parts)


def declaration(function: Function, widths: Widths) -> str:
    """The line that a module needs before it calls the function."""
    kinds = ", ".join(f"i{width}" for width in widths)
    result = function.result_width(widths)
    return f'declare i{result} @"{name_of(function, widths)}"({kinds}) {ATTRIBUTES}'


def source(name: str) -> str:
    """The module that defines a symbol."""
    from emu.engines.native.lowering import Lowering

    module, family, result, *numbers = name.split(":")
    function = getattr(importlib.import_module(module), family).functions[result]
    widths = tuple(map(int, numbers))
    body = function.body(widths)
    low = Lowering()
    value = low.inline(body, [f"%a{n}" for n in range(len(widths))])
    parameters = ", ".join(f"i{width} %a{n}" for n, width in enumerate(widths))
    define = f'define i{body.width} @"{name}"({parameters}) {ATTRIBUTES} {{\nentry:'
    return "\n".join([define, *low.lines, f"  ret i{body.width} {value}", "}"])
