"""From the registers that a monitor has loaded to those of a process, and back.

A process has general registers, flags and what a program may load of the rest as the monitor wants
them. Its segments are local descriptors like the guest's, under other selectors. All else is the
host's, and what the monitor has there comes back as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from emu.room import copy_of, words_of
from isa.registers import Register
from isa.x86 import registers as r
from vmm.pc.hosted.process import HostProcess, HostRefusalError
from vmm.pc.hosted.segments import Hidden, descriptor
from vmm.pc.processor import KEPT

SEGMENT: Final = "a segment of no process"
DEBUG: Final = "debug registers"
FLAGS: Final = "flags of no process"
_ENABLED: Final = 0xFF  # DR7: which breakpoints
_LOCAL: Final = 7  # a local selector of CPL 3
_IN_FRAME: Final = (r.CF, r.PF, r.AF, r.ZF, r.SF, r.TF, r.DF, r.OF, r.RF, r.AC)
_HOSTS: Final[tuple[Register, ...]] = (
    *sorted(KEPT - {r.UMIP, r.IF, r.IOPL}, key=lambda register: register.slot),
    r.MP, r.EM, r.TS, r.ET, r.NE, r.TSD, r.DE,
)  # fmt: skip
_KEPT_SLOTS: Final = [register.slot for register in _HOSTS]
_SEGMENTS: Final = [(name, r.SEGMENTS[name]) for name in r.SEGMENT_NAMES]
_SEGMENT_SLOTS: Final = [
    part.slot
    for _, segment in _SEGMENTS
    for part in (segment.selector, segment.base, segment.limit, segment.attributes)
]
_FRAME_SLOTS: Final = [register.slot for register in (*r.GPR.members, r.EIP, *_IN_FRAME)]
_NOT_LOADED: Final = [*_KEPT_SLOTS, *_SEGMENT_SLOTS, *_FRAME_SLOTS]


class Registers:
    """Loads and stores them. `refused` says why a process cannot have them."""

    def __init__(self, process: HostProcess) -> None:
        self._process = process
        self._entries: dict[int, tuple[int, int, int]] = {}  # the local descriptors as they are
        self._selectors: dict[str, int] = {}  # with which the guest was entered
        self._wanted = words_of([])

    def refused(self, values: Sequence[int]) -> str | None:
        """What of the registers no process can have, if anything."""
        if values[r.DR7.slot] & _ENABLED:
            return DEBUG
        if values[r.VIF.slot] or values[r.VIP.slot]:
            return FLAGS
        for name, _ in _SEGMENTS:
            hidden = _hidden(values, name)
            if not hidden.is_for(name):
                return SEGMENT
            if not hidden.is_null and descriptor(hidden, self._process.view) is None:
                return SEGMENT
        return None

    # -- to the process ----------------------------------------------------------------------

    def enter(self, wanted: memoryview) -> None:
        """Have the guest's registers in the signal's frame, and what is not in a frame loaded."""
        process = self._process
        self._wanted = copy_of(wanted)
        for number, (name, _) in enumerate(_SEGMENTS):
            self._selectors[name] = self._segment(number, _hidden(wanted, name))
        loaded, own = copy_of(wanted), process.state.values
        for slot in _NOT_LOADED:
            loaded[slot] = own[slot]
        process.load_registers(loaded)
        general = {register.name: wanted[register.slot] for register in r.GPR.members}
        process.set_context(
            process.context()._replace(
                **self._selectors, **general, eip=wanted[r.EIP.slot],
                eflags=r.EFLAGS.pack(wanted), same_esp=wanted[r.ESP.slot],
            )
        )  # fmt: skip

    def _segment(self, number: int, hidden: Hidden) -> int:
        """A selector behind which a process has that; its descriptor is written if it changes."""
        if hidden.is_null:
            return 0
        found = descriptor(hidden, self._process.view)
        assert found is not None
        entry = found.base, found.limit, found.flags
        if self._entries.get(number) != entry:
            self._process.set_descriptor(number, *entry)
            self._entries[number] = entry
        return number << 3 | _LOCAL

    # -- from the process --------------------------------------------------------------------

    def leave(self, values: memoryview) -> None:
        """Have in `values` what the guest may have changed, from the signal's frame and what is not
        in it; the rest is as the monitor had it."""
        process, wanted = self._process, self._wanted
        context, found = process.context(), process.registers()
        for slot in (*_KEPT_SLOTS, *_SEGMENT_SLOTS):
            found[slot] = wanted[slot]
        for register in r.GPR.members:
            found[register.slot] = getattr(context, register.name)
        found[r.EIP.slot] = context.eip
        flags = r.EFLAGS.unpack(context.eflags)
        for register in _IN_FRAME:
            found[register.slot] = flags[register]
        if any(getattr(context, name) != self._selectors[name] for name, _ in _SEGMENTS):
            raise HostRefusalError("the guest has loaded a selector, and nobody looked at that")
        values[:] = found


def _hidden(values: Sequence[int], name: str) -> Hidden:
    segment = r.SEGMENTS[name]
    parts = segment.base, segment.limit, segment.attributes
    return Hidden(*[values[part.slot] for part in parts])
