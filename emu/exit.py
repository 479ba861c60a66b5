"""Why an engine stopped. Every stop is precise: the state is that of an instruction boundary."""

from __future__ import annotations

from isa.fault import Fault
from isa.hints import Final
from isa.record import NamedTuple


class Exit(NamedTuple):
    """One stop of `Engine.run`, or of a run for a handler, which gets the values.

    | reason | meaning | values |
    |---|---|---|
    | until | the count of retired instructions reached `until` | |
    | fault | the instruction at the program counter faulted and nobody took it; see `fault` | |
    | breakpoint | the program counter is at a breakpoint | |
    | interrupt | a software interrupt retired (x86 INT n) | vector |
    | window | an interrupt is requested and can be delivered now | |
    | port_read | the instruction reads a port: set `state.reply` and run again | port, units |
    | port_write | the instruction that retired wrote a port | port, units, value |
    | halt | the instruction that retired halts the processor | |
    | shutdown | a trap could not be delivered: the processor waits for a reset | |
    | unimplemented | the instruction at the program counter is valid but not in `isa` | |

    Instruction sets may add reasons of their own by the IR operation `exit`.
    """

    reason: str
    fault: Fault | None = None
    values: tuple[int, ...] = ()

    @property
    def vector(self) -> int:
        """The vector of a software interrupt."""
        return self.values[0]


UNTIL: Final = Exit("until")
"""What an engine itself answers with when the count is reached."""
