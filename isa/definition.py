"""What an instruction set is, as engines, monitors, debuggers and provers see it."""

from __future__ import annotations

from isa.hints import TYPE_CHECKING, Hashable, Mapping, Protocol, Sequence
from isa.record import NamedTuple

if TYPE_CHECKING:
    from isa.fault import Fault
    from isa.registers import Register, RegisterSet
    from isa.trace import Trace


class TruncatedError(Exception):
    """The bytes end before the instruction does: fetch more, or fault at the first missing one."""


class Instruction(NamedTuple):
    """A decoded instruction: its form (hashable; forms share one trace) and its operand fields.

    `fields` holds every field that the form's trace reads, `length` its length in addressable
    units. It does not depend on where the instruction stands, so it can be memoised by its bytes.
    `behind` is how many units after its end also decided what it is: bytes that are no instruction
    count as one of one unit, and a change of any of them may make them one.
    """

    form: Hashable
    fields: Mapping[str, int]
    length: int
    behind: int = 0


class InstructionSet(Protocol):
    """An instruction set with its configuration.

    A *mode* is whatever decoding and meanings depend on besides the bytes (x86: operand size, flat
    segments …; None if nothing). It is a function of the registers in `mode_registers`; an engine
    asks again after an instruction that writes one of them.
    """

    name: str
    fingerprint: str  # differs if any meaning does, our own sources being equal
    registers: RegisterSet
    pc: Register
    spaces: Mapping[str, int]  # address space -> bits of one addressable unit
    code_space: str
    max_length: int  # of an instruction, in units of the code space
    mode_registers: frozenset[Register]

    def mode(self, values: Sequence[int]) -> Hashable:
        """The mode of a machine whose registers hold `values` (by slot)."""

    def fetch(self, mode: Hashable) -> Trace:
        """A trace whose value is the address in the code space of the next instruction."""

    def decode(self, code: bytes, mode: Hashable) -> Instruction:
        """Decode the instruction at the start of `code` (little-endian units).

        What the machine would refuse decodes to a form whose trace faults; what is valid but not
        in `isa` yet decodes to a form whose trace exits with the reason "unimplemented".
        Raises TruncatedError if `code` is shorter than the instruction.
        """

    def trace(self, form: Hashable) -> Trace:
        """The form's trace; the same object every time."""

    def delivery(self, mode: Hashable) -> Trace | None:
        """How the machine itself takes a fault or interrupt: a trace with the fields `vector`,
        `code`, `coded` (whether there is a code) and `address`.

        None if faults leave the engine for whoever runs it (a process machine).
        """

    def combined(self, first: Fault, second: Fault) -> Fault | None:
        """What to deliver if `second` happened in the delivery of `first`; None: shut down."""

    def interruptible(self, mode: Hashable) -> Trace | None:
        """A trace whose value is 1 if an interrupt can be taken now; None if never."""

    def text(self, code: bytes, address: int) -> str:
        """The first instruction of `code` in assembly language, as if it stood at `address`."""
