"""Registers by the manual's names, whole and in parts."""

from __future__ import annotations

from collections.abc import Iterator

from emu.script.errors import ScriptError
from emu.script.watch import Watch
from emu.state import State
from isa.hints import Any, Final

WORDS: Final = {name[1:]: (name, 0, 16) for name in
                ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip")}  # fmt: skip
BYTES: Final = {
    f"{letter}{half}": (f"e{letter}x", 8 * (half == "h"), 8) for letter in "acdb" for half in "lh"
}
PARTS: Final = WORDS | BYTES | {"flags": ("eflags", 0, 16)}
"""Parts of registers: the whole, the lowest bit, and how many there are."""
GENERAL: Final = ("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip", "eflags")


class Registers:
    """`registers.eax`, `registers["ah"]`, also to assign to: registers, packed ones (`eflags`,
    `cr0`), flags (`zf`), and the parts that instructions name (`ax`, `al`, `ah`).

    What is assigned holds at the next instruction. A value is cut to the register's width.
    """

    __slots__ = ("_sensitive", "_state", "_watch")
    _state: State
    _watch: Watch
    _sensitive: frozenset[str]

    def __init__(self, state: State, watch: Watch) -> None:
        object.__setattr__(self, "_state", state)
        object.__setattr__(self, "_watch", watch)
        isa = state.isa
        names = {register.name for register in isa.mode_registers} | {isa.pc.name}
        packed = {
            name for name, whole in isa.registers.packed.items()
            if any(register.name in names for register, _ in whole.fields)
        }  # fmt: skip
        object.__setattr__(self, "_sensitive", frozenset(names | packed))

    def __getitem__(self, name: str) -> int:
        try:
            return self._state[name]
        except KeyError:
            whole, low, width = self._part(name)
            return self._state[whole] >> low & (1 << width) - 1

    def __setitem__(self, name: str, value: int) -> None:
        if not isinstance(value, int):
            raise ScriptError(f"A register holds a number, not {value!r}", where=name)
        known = self._state.isa.registers
        if name not in known and name not in known.packed:
            whole, low, width = self._part(name)
            bits = (1 << width) - 1
            name, value = whole, self._state[whole] & ~(bits << low) | (value & bits) << low
        self._state[name] = value
        if name in self._sensitive:
            self._watch.changed = True

    def _part(self, name: str) -> tuple[str, int, int]:
        found = PARTS.get(name)
        if found is None:
            raise ScriptError(
                f"There is no register {name!r}",
                advice=f"There are {', '.join(GENERAL)}, their parts, and list(guest.registers)",
            )
        return found

    def __getattr__(self, name: str) -> int:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: int) -> None:
        self[name] = value

    def __iter__(self) -> Iterator[str]:
        known: Any = self._state.isa.registers
        return iter([register.name for register in known] + list(known.packed))

    def __dir__(self) -> list[str]:
        return [*self, *PARTS]

    def general(self) -> dict[str, int]:
        """The registers that programs use most, by name."""
        return {name: self[name] for name in GENERAL}

    def __repr__(self) -> str:
        return " ".join(f"{name}={value:08x}" for name, value in self.general().items())
