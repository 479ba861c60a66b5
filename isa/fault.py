"""Faults are data: what a guest's instruction ran into, never a Python exception."""

from __future__ import annotations

from isa.record import NamedTuple


class Fault(NamedTuple):
    """A fault or trap that an instruction raised.

    `vector` is the ISA's own number (x86: SDM volume 3, table 6-1; toy: `isa.toy.traps`),
    `code` the error code or None where the vector has none,
    `address` the address that faulted or None (x86: what CR2 would hold).
    """

    vector: int
    code: int | None = None
    address: int | None = None
