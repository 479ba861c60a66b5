"""The processor of a process machine: a model without system half, and what Linux says of it."""

from __future__ import annotations

from emu.errors import GuestFileError
from isa.hints import Final, Mapping
from isa.x86.models import GENERATIONS, MODELS, USER, Model

NAMES: Final = GENERATIONS[GENERATIONS.index("386") :]  # Linux wants 32 bits
DEFAULT: Final = "pentium2"
FXSR: Final = 1 << 24  # a feature
_LAST_FAMILY: Final = 6  # what Linux says of the Pentium 4 as well

HWCAPS: Final[Mapping[str, int]] = {
    "386": 0, "486": 0x1, "pentium": 0x111, "pentium2": 0x808111, "pentium3": 0x3808111,
    "pentium4": 0x7888111,
}  # fmt: skip
"""What CPUID says of features, as a test sees to: `isa` derives it from all meanings, which take
longer to import than most programs run."""


class Processor:
    """One of `NAMES`; raises GuestFileError if it is another."""

    def __init__(self, name: str) -> None:
        if name not in NAMES:
            what = "cannot run a Linux program" if name in MODELS else "is no processor"
            raise GuestFileError(f"{name!r} {what}", advice=f"Use one of {', '.join(NAMES)}")
        self.name = name

    @property
    def model(self) -> Model:
        """What it is."""
        return MODELS[self.name]

    @property
    def instruction_set(self) -> str:
        """Its name for `isa.x86.machine.X86`; the default one's is what that takes by default."""
        return "" if self.name == DEFAULT else USER + self.name

    @property
    def hwcap(self) -> int:
        """AT_HWCAP."""
        return HWCAPS[self.name]

    @property
    def platform(self) -> bytes:
        """AT_PLATFORM, and what uname calls the machine."""
        return b"i%d86" % min(self.model.identity.family, _LAST_FAMILY)

    @property
    def has_fast_state(self) -> bool:
        """Whether the kernel keeps its state with FXSAVE, and so in the frames of signals."""
        return bool(self.hwcap & FXSR)
