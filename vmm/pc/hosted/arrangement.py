"""Goldberg's two arrangements of a monitor: native, type I, over the bare machine; hosted, type II,
over the extended machine of a host operating system, as a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from emu.engines import Engine
from emu.errors import GuestFileError
from emu.pc.board import PLAIN
from emu.pc.machine import PcMachine
from emu.pc.options import Options

if TYPE_CHECKING:
    from vmm.pc.hosted.machine import HostedPc
    from vmm.pc.machine import VirtualPc

NATIVE: Final = "native"
HOSTED: Final = "hosted"
BY_ROOT: Final = "hosted-by-root"
BOTH: Final = "both"
USERS: Final = {HOSTED: 1000, BY_ROOT: 0}
"""Whose process a hosted monitor is: root's may map the lowest 64 KiB."""
INSPECTS: Final = {
    "trap-and-emulate": False, "hybrid": True, "translation": True, "interpretation": True,
}  # fmt: skip
"""The monitors that a process can be, and whether they have code looked at for all that sees the
host: trap-and-emulate by definition does not, and only keeps its guest from the host's segments."""
REFUSED: Final = {
    "hardware-assist": "VMXON is for CPL 0 (SDM volume 3, section 31.2), and a process has CPL 3",
    "paravirtual": "Xen's interface promises ring 1 to the kernel, and a process has ring 3",
}


def check(monitor: str) -> None:
    """Raises GuestFileError if no process can be that monitor."""
    if monitor in INSPECTS:
        return
    raise GuestFileError(
        f"the monitor {monitor!r} has no hosted arrangement",
        why=REFUSED.get(monitor, "it is not made for one"),
        advice=f"Use one of {', '.join(INSPECTS)}, or --arrangement native",
    )


def machine_below(
    arrangement: str, monitor: str, engine: Engine, *, model: str, memory: int,
    options: Options = PLAIN,
) -> PcMachine:  # fmt: skip
    """What a monitor runs on. Raises GuestFileError."""
    if arrangement == NATIVE:
        return PcMachine(engine, model=model, memory=memory, options=options)
    check(monitor)
    from vmm.pc.hosted.machine import HostedPc

    return HostedPc(
        engine, model=model, memory=memory, options=options,
        inspects=INSPECTS[monitor], user=USERS[arrangement],
    )  # fmt: skip


def _host(machine: VirtualPc) -> HostedPc | None:
    from vmm.pc.hosted.machine import HostedPc

    return machine.below if isinstance(machine.below, HostedPc) else None


def is_confined(machine: VirtualPc) -> bool:
    """Whether a host shows the guest nothing but its own storage; a bare machine has no host."""
    host, allocation = _host(machine), machine.allocation
    return host is None or host.is_confined(allocation.base, allocation.end)


def host_facts(machine: VirtualPc) -> dict[str, Any] | None:
    """What the monitor has cost its host, if it has one."""
    host = _host(machine)
    return None if host is None else host.process.tally.facts()
