"""The x86 as an `InstructionSet`.

What a machine is can be said without any meaning: the decoder and the meanings are imported when
somebody asks for one, as a run that finds all its code compiled never does.
"""

from __future__ import annotations

from isa.hints import TYPE_CHECKING, Hashable, Mapping, Sequence, cast
from isa.registers import Register, RegisterSet
from isa.x86.form import Form
from isa.x86.limits import MAX_LENGTH
from isa.x86.mode import MODE_REGISTERS, Mode, mode_of
from isa.x86.models import has_system
from isa.x86.registers import EIP, REGISTERS, STATUS_FLAGS

if TYPE_CHECKING:
    from isa.definition import Instruction
    from isa.fault import Fault
    from isa.trace import Trace

_SPACES = {"linear": 8, "system": 8, "physical": 8, "port": 8}


class X86:
    """The x86. Without a model, or with one whose name begins with `isa.x86.models.USER`, it is
    what a user-mode program of a process machine meets; with another a whole processor, which takes
    its exceptions itself.
    """

    name: str = "x86"
    registers: RegisterSet = REGISTERS
    pc: Register = EIP
    spaces: Mapping[str, int] = _SPACES
    code_space: str = "linear"
    max_length: int = MAX_LENGTH
    mode_registers: frozenset[Register] = MODE_REGISTERS
    status_flags: tuple[Register, ...] = STATUS_FLAGS

    def __init__(self, model: str = "") -> None:
        self.model = model
        self.fingerprint: str = f"x86 {model}".strip()

    def mode(self, values: Sequence[int]) -> Hashable:
        """See `isa.x86.mode`."""
        return mode_of(values, self.model)

    def fetch(self, mode: Hashable) -> Trace:
        """See `isa.x86.fetch`."""
        from isa.x86.fetch import fetch

        return fetch(cast(Mode, mode))

    def decode(self, code: bytes, mode: Hashable) -> Instruction:
        """See `isa.x86.decode`."""
        from isa.x86.decode import decode

        return decode(code, cast(Mode, mode))

    def trace(self, form: Hashable) -> Trace:
        """See `isa.x86.tracing`."""
        from isa.x86.tracing import trace

        return trace(cast(Form, form))

    def delivery(self, mode: Hashable) -> Trace | None:
        """Without a system half (no model) None: faults are the process machine's."""
        if not has_system(self.model):
            return None
        from isa.x86.delivery import delivery

        return delivery(cast(Mode, mode))

    def combined(self, first: Fault, second: Fault) -> Fault | None:
        """See `isa.x86.exceptions`."""
        from isa.x86.exceptions import combined

        return combined(first, second)

    def interruptible(self, mode: Hashable) -> Trace | None:
        """None in a process machine: a user program is never interrupted by a device."""
        if not has_system(self.model):
            return None
        from isa.x86.delivery import interruptible

        return interruptible(cast(Mode, mode))

    def text(self, code: bytes, address: int) -> str:
        """capstone's Intel syntax; "(bad)" if there is none."""
        from isa.x86.decode import BAD, first

        found = first(code, 32, address)
        return BAD if found is None else f"{found.mnemonic} {found.op_str}".strip()
