"""What a guest says at its serial port on two machines, without what must differ between them."""

from __future__ import annotations

import re

STAMP = re.compile(r"^\[ *\d+\.\d+\] ")
CURSOR = "\x1b[6n"  # busybox asks the terminal where its cursor is

TAKEN_OUT = {
    "the clock: how fast it is, when the machine was on, whether TSC can be trusted": (
        "tsc: |TSC |clocksource: |sched_clock: |rtc_cmos |audit: type=|Calibrating delay"
        '|Unstable clock|If you want to keep|  "trace_clock|on the kernel command line'
    ),
    "the memory map, which QEMU's firmware makes, and what Linux finds free in it": (
        r"BIOS-e820: |\[mem .* available for PCI devices|Memory: "
    ),
    "tables of QEMU's firmware, which does not run here: SMBIOS, MP, PnP, PCI": (
        "SMBIOS |DMI[: ]|found SMP MP-table|Intel MultiProcessor|    Virtual Wire|MPTABLE: "
        r"|IOAPIC\[|BIOS bug, MP table|\.\.\. disabling SMP|PnPBIOS: |PCI: |PCI host|pci_bus "
    ),
    "how many processors and interrupts such tables promise": (
        "smpboot: |setup_percpu: |SLUB: |rcu: .*(NR_CPUS|nr_cpu_ids)|NR_IRQS: |cblist_init"
    ),
    "features of the processor: QEMU's model has more than a Pentium II": (
        "x86/PAT: |Disabled$|Last level |ITS: |x86/fpu: |signal: max sigframe|PMU not|Broken PMU"
        "|Failed to access perfctr|mce: |microcode: |Freeing SMP alternatives"
    ),
    "what workers of the kernel do in their own time": (
        "input: |Freeing initrd|alg: self-tests for|random: |Trying to unpack"
    ),
}
"""Beginnings of lines of the kernel, by why they are not compared."""

_TAKEN_OUT = re.compile("|".join(f"(?:{pattern})" for pattern in TAKEN_OUT.values()))
_NUMBERS = (
    (re.compile(r"^ *(\w+): +\d+(?= |$)"), r"\1: N"),  # /proc/interrupts: how often
    (re.compile(r"size=\d+k,nr_inodes=\d+"), "size=N"),  # of the memory that is free
)


def lines(output: bytes) -> list[str]:
    """The lines that must be the same on every machine, whether or not the last one is whole."""
    text = output.decode("latin-1").replace("\r", "").replace(CURSOR, "").rstrip("\n")
    return [line for line in map(_without_stamp, text.split("\n")) if line is not None]


def _without_stamp(line: str) -> str | None:
    stamp = STAMP.match(line)
    if stamp is None:
        for pattern, number in _NUMBERS:
            line = pattern.sub(number, line)
        return line
    rest = line[stamp.end() :]
    return None if _TAKEN_OUT.match(rest) else rest
