"""Large functions of the IR are compiled once, under names that lead back to them."""

from __future__ import annotations

import pytest

from emu.engines.native import shared
from emu.engines.native.executable import arena
from emu.engines.native.image import Image, joined
from isa.functions import Function
from isa.x86 import flags
from isa.x86.x87 import arithmetic, conversion

OPERANDS = (80, 80, 1, 16)
LARGE = (
    (arithmetic.add.functions["result"], OPERANDS),
    (arithmetic.divide.functions["result"], OPERANDS),
    (arithmetic.square_root.functions["result"], (80, 16)),
    (conversion.to_single.functions["result"], (80, 16)),
)


@pytest.mark.skipif(arena() is None, reason="this host's code is linked by LLVM")
@pytest.mark.parametrize(("function", "widths"), LARGE, ids=str)
def test_large_functions_are_called(function: Function, widths: tuple[int, ...]) -> None:
    """The module that a name stands for defines that name, as it is declared."""
    assert shared.is_shared(function, widths)
    name = shared.name_of(function, widths)
    declared = shared.declaration(function, widths).removeprefix("declare ")
    assert declared.split("(")[0] in shared.source(name)


def test_small_functions_are_compiled_into_their_callers() -> None:
    """Flags: an engine may compute one of them alone."""
    for function in flags.add.functions.values():
        assert not shared.is_shared(function, (32, 32))


def test_a_function_that_its_name_does_not_find() -> None:
    """A family made inside of a function, or renamed, is never called by name."""
    body = arithmetic.add.functions["result"]
    other = Function("nobody", "result", body._meaning)
    assert not shared.is_shared(other, OPERANDS)


def test_joined_images_call_each_other() -> None:
    """What is left is called elsewhere."""
    caller = Image(bytes(8), {"caller": 0}, [(4, "callee", -4), (0, "memmove", -4)])
    whole = joined([caller, Image(b"\xc3", {"callee": 0})])
    assert list(whole.imports) == [(0, "memmove", -4)]
    behind = 4 + 4  # what the processor adds the distance to
    assert int.from_bytes(whole.code[4:8], "little") == whole.symbols["callee"] - behind
