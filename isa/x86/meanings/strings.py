"""Strings: MOVS STOS LODS SCAS CMPS, repeated or not (SDM volume 1, section 7.3.9).

A repeated instruction counts each iteration as an instruction and stays at itself in between, so an
interrupt, a fault or a stop finds the registers as the finished iterations left them.
"""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.hints import Final
from isa.registers import Register
from isa.x86 import flags, segmentation
from isa.x86.builder import X86Builder, insert
from isa.x86.debug import watch_port
from isa.x86.ports import require_port
from isa.x86.registers import DF, EAX, ECX, EDI, EDX, EIP, ESI, RF
from isa.x86.table import instruction

ONE: Final = Bits.of(1, 32)
NEVER: Final = Bits.of(0, 1)

Iterations = Callable[[Bits], tuple[Bits, Bits]]
"""Does at most so many iterations; tells how many, and whether the last one ends the repetition."""


def element_width(m: X86Builder) -> int:
    """Width of one element, by the mnemonic's suffix."""
    return {"b": 8, "w": 16, "d": 32}[m.form.mnemonic[-1]]


def offset(m: X86Builder, pointer: Register) -> Bits:
    """eSI or eDI as an offset, or eCX as a count: as much of it as the address size says."""
    return m.wrap(m.get(pointer))


def repeat(m: X86Builder, iterations: Iterations, *pointers: Register, in_bulk: bool) -> None:
    """Carry out an element, or as many as eCX says, and move the pointers on."""
    if not m.form.repeat:
        iterations(ONE)
        _move_on(m, pointers, ONE)
        return
    count = offset(m, ECX)
    with m.when(count != 0):
        done, ends = iterations(count if in_bulk else ONE)
        _move_on(m, pointers, done)
        _advance(m, ECX, -done)
        over = ends | (done == count)
        m.put(EIP, over.select(m.next, m.here))
        if m.mode.debugged:
            m.put(RF, ~over)  # the next iteration meets no breakpoint (SDM 3B 17.3.1.1)
        m.retire(done)


def _move_on(m: X86Builder, pointers: tuple[Register, ...], done: Bits) -> None:
    for pointer in pointers:
        _advance(m, pointer, _distance(m, done))


def _advance(m: X86Builder, register: Register, by: Bits) -> None:
    """Add to eSI, eDI or eCX; a 16-bit address size leaves its upper half."""
    whole = m.get(register)
    m.put(register, insert(whole, 0, (whole + by).low(m.form.address_size)))


def _distance(m: X86Builder, elements: Bits) -> Bits:
    """By how many bytes so many elements move a pointer: down if DF is 1."""
    size = elements << (element_width(m) // 8).bit_length() - 1
    return m.flag(DF).select(-size, size)


def _plain(m: X86Builder, *segments: str) -> bool:
    """Whether several iterations need no more checks than one does.

    Neither a segment check nor an offset's wrap at 64 KiB can come between them, nor a debug trap.
    """
    flat = all(segment in m.mode.flat for segment in segments)
    one_by_one = m.mode.single_step or m.mode.debugged
    return flat and m.form.address_size == 32 and not one_by_one


def _linear(m: X86Builder, segment: str, pointer: Register, *, write: bool) -> Bits:
    """The first element's address; the others lie in the same flat segment."""
    size = element_width(m) // 8
    return segmentation.linear(m, segment, offset(m, pointer), size, write=write)


@instruction(
    "movsb", "movsw", "movsd",
    heading="MOVS/MOVSB/MOVSW/MOVSD/MOVSQ—Move Data From String to String",
    repeatable=True, implied_operands=True,
)  # fmt: skip
def movs(m: X86Builder) -> None:
    def move(count: Bits) -> tuple[Bits, Bits]:
        if count.is_const:
            value = m.load(m.form.segment, offset(m, ESI), element_width(m))
            m.store("es", offset(m, EDI), value)
            return ONE, NEVER
        source = _linear(m, m.form.segment, ESI, write=False)
        to = _linear(m, "es", EDI, write=True)
        return m.copy(m.data_space, element_width(m), source, to, m.flag(DF), count), NEVER

    repeat(m, move, ESI, EDI, in_bulk=_plain(m, m.form.segment, "es"))


@instruction(
    "stosb", "stosw", "stosd", heading="STOS/STOSB/STOSW/STOSD/STOSQ—Store String",
    repeatable=True, implied_operands=True,
)  # fmt: skip
def stos(m: X86Builder) -> None:
    value = m.read_part(EAX, element_width(m))

    def store(count: Bits) -> tuple[Bits, Bits]:
        if count.is_const:
            m.store("es", offset(m, EDI), value)
            return ONE, NEVER
        to = _linear(m, "es", EDI, write=True)
        return m.fill(m.data_space, to, value, m.flag(DF), count), NEVER

    repeat(m, store, EDI, in_bulk=_plain(m, "es"))


@instruction(
    "lodsb", "lodsw", "lodsd", heading="LODS/LODSB/LODSW/LODSD/LODSQ—Load String",
    repeatable=True, implied_operands=True,
)  # fmt: skip
def lods(m: X86Builder) -> None:
    def load(_: Bits) -> tuple[Bits, Bits]:
        m.write_part(EAX, m.load(m.form.segment, offset(m, ESI), element_width(m)))
        return ONE, NEVER

    repeat(m, load, ESI, in_bulk=False)


@instruction(
    "scasb", "scasw", "scasd", heading="SCAS/SCASB/SCASW/SCASD—Scan String",
    repeatable=True, implied_operands=True,
)  # fmt: skip
def scas(m: X86Builder) -> None:
    width, while_equal = element_width(m), m.form.repeat == "rep"
    accumulator = m.read_part(EAX, width)

    def scan(count: Bits) -> tuple[Bits, Bits]:
        if count.is_const:
            return ONE, _compare(m, accumulator, m.load("es", offset(m, EDI), width))
        at = _linear(m, "es", EDI, write=False)
        done = m.scan(m.data_space, at, accumulator, m.flag(DF), count, while_equal=while_equal)
        last = m.load_space(m.data_space, at + _distance(m, done - 1), width)
        return done, _compare(m, accumulator, last)

    repeat(m, scan, EDI, in_bulk=_plain(m, "es"))


@instruction(
    "cmpsb", "cmpsw", "cmpsd", heading="CMPS/CMPSB/CMPSW/CMPSD/CMPSQ—Compare String Operands",
    repeatable=True, implied_operands=True,
)  # fmt: skip
def cmps(m: X86Builder) -> None:
    width, while_equal = element_width(m), m.form.repeat == "rep"

    def compare(count: Bits) -> tuple[Bits, Bits]:
        if count.is_const:
            one = m.load(m.form.segment, offset(m, ESI), width)
            return ONE, _compare(m, one, m.load("es", offset(m, EDI), width))
        at = _linear(m, m.form.segment, ESI, write=False), _linear(m, "es", EDI, write=False)
        done = m.compare(m.data_space, width, *at, m.flag(DF), count, while_equal=while_equal)
        before = _distance(m, done - 1)
        one, other = (m.load_space(m.data_space, address + before, width) for address in at)
        return done, _compare(m, one, other)

    repeat(m, compare, ESI, EDI, in_bulk=_plain(m, m.form.segment, "es"))


def _compare(m: X86Builder, one: Bits, other: Bits) -> Bits:
    """Leave the flags of a comparison; whether it ends a repetition by REPE or REPNE."""
    m.set_flags(flags.subtract(one, other))
    return one != other if m.form.repeat == "rep" else one == other


# -- ports ----------------------------------------------------------------------------------------


def _string_port(m: X86Builder) -> Bits:
    """DX; the right to use it is asked for even if nothing is repeated."""
    port = m.read_part(EDX, 16).zext(32)
    require_port(m, port, element_width(m))
    return port


@instruction(
    "insb", "insw", "insd", heading="INS/INSB/INSW/INSD—Input from Port to String", since="286",
    repeatable=True, implied_operands=True,
)  # fmt: skip
def ins(m: X86Builder) -> None:
    """The destination is looked at first: what a port has given cannot be given back."""
    port, width = _string_port(m), element_width(m)

    def take(_: Bits) -> tuple[Bits, Bits]:
        watch_port(m, port, width)
        m.load("es", offset(m, EDI), width, for_write=True)
        m.store("es", offset(m, EDI), m.load_space("port", port, width))
        return ONE, NEVER

    repeat(m, take, EDI, in_bulk=False)


@instruction(
    "outsb", "outsw", "outsd", heading="OUTS/OUTSB/OUTSW/OUTSD—Output String to Port", since="286",
    repeatable=True, implied_operands=True,
)  # fmt: skip
def outs(m: X86Builder) -> None:
    port, width = _string_port(m), element_width(m)

    def give(_: Bits) -> tuple[Bits, Bits]:
        watch_port(m, port, width)
        value = m.load(m.form.segment, offset(m, ESI), width)
        m.store_space("port", port, value)
        return ONE, NEVER

    repeat(m, give, ESI, in_bulk=False)
