"""The architectural state of one processor, as engines and everybody around them see it."""

from __future__ import annotations

from emu.room import copy_of, words_of
from isa.hints import TYPE_CHECKING, Callable, Iterable, Mapping

if TYPE_CHECKING:
    from emu.coverage import Coverage
    from emu.exit import Exit
    from emu.memory import Memory
    from isa.definition import InstructionSet
    from isa.fault import Fault
    from isa.registers import Register

Handler = Callable[..., "Exit | None"]
"""Called with the values of an exit; None to go on, or the exit with which `run` returns."""
Values = memoryview | list[int]
"""Registers by slot."""


class State:
    """Registers by slot, address spaces by name, and the machine's time.

    `count` is the number of retired guest instructions, a delivered trap counting as one. It is the
    only time a guest can see. `state["eax"]` reads and writes a register by the manual's name,
    packed registers ("eflags") included.
    """

    def __init__(self, isa: InstructionSet, memory: Mapping[str, Memory]) -> None:
        self.isa = isa
        self.values = words_of(bytes(len(isa.registers)))  # native code works on them in place
        self.memory = dict(memory)
        self.count = 0
        self.breakpoints: set[int] = set()
        self.interrupt_requested = False  # a device wants the engine to stop at the next window
        self.shut_down: tuple[Fault, ...] = ()  # faults that could not be delivered, until reset
        self.intercept_traps = False  # a monitor takes traps; they leave the engine as exits
        self.reply: int | None = None  # what a port read that stopped the engine returns
        self.handlers: dict[str, Handler] = {}  # by the reason of an exit (see emu/README.md)
        self.coverage: Coverage | None = None  # what was executed is counted there

    def set_values(self, values: Iterable[int]) -> None:
        """Set every register, by slot."""
        self.values[:] = words_of([*values])

    @property
    def pc(self) -> int:
        """The program counter."""
        return self.values[self.isa.pc.slot]

    @pc.setter
    def pc(self, value: int) -> None:
        self.values[self.isa.pc.slot] = value

    def __getitem__(self, name: str) -> int:
        packed = self.isa.registers.packed.get(name)
        if packed is not None:
            return packed.pack(self.values)
        return int(self.values[self.isa.registers[name].slot])

    def __setitem__(self, name: str, value: int) -> None:
        packed = self.isa.registers.packed.get(name)
        if packed is not None:
            for register, part in packed.unpack(value).items():
                self.values[register.slot] = part
            return
        self.write(self.isa.registers[name], value)

    def save(self) -> memoryview:
        """Every register, for `restore`."""
        return copy_of(self.values)

    def restore(self, saved: memoryview) -> None:
        """Set every register to what was saved."""
        self.values[:] = saved

    def write(self, register: Register, value: int) -> None:
        """Set one register; a value too wide is cut to the register's width."""
        self.values[register.slot] = value & (1 << register.width) - 1

    def registers(self) -> dict[str, int]:
        """Every register by name."""
        return {r.name: int(self.values[r.slot]) for r in self.isa.registers}
