"""Strings from and to ports: INS OUTS, repeated or not (SDM volume 1, section 19.3)."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import X86Builder
from isa.x86.meanings.strings import NEVER, ONE, element_width, offset, repeat
from isa.x86.ports import require_port
from isa.x86.registers import EDI, EDX, ESI
from isa.x86.table import instruction

def _port(m: X86Builder) -> Bits:
    """DX, if the program may use it."""
    port = m.read_part(EDX, 16).zext(32)
    require_port(m, port, element_width(m))
    return port


@instruction(
    "insb", "insw", "insd", heading="INS/INSB/INSW/INSD—Input from Port to String",
    repeatable=True, implied_operands=True, since="286",
)  # fmt: skip
def ins(m: X86Builder) -> None:
    def read(_: Bits) -> tuple[Bits, Bits]:
        port, to, width = _port(m), offset(m, EDI), element_width(m)
        m.load("es", to, width, for_write=True)  # a fault comes before the port is read
        m.store("es", to, m.load_space("port", port, width))
        return ONE, NEVER

    repeat(m, read, EDI, in_bulk=False)


@instruction(
    "outsb", "outsw", "outsd", heading="OUTS/OUTSB/OUTSW/OUTSD—Output String to Port",
    repeatable=True, implied_operands=True, since="286",
)  # fmt: skip
def outs(m: X86Builder) -> None:
    def write(_: Bits) -> tuple[Bits, Bits]:
        port = _port(m)
        value = m.load(m.form.segment, offset(m, ESI), element_width(m))
        m.store_space("port", port, value)
        return ONE, NEVER

    repeat(m, write, ESI, in_bulk=False)
