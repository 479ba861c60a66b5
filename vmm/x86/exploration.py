"""Meanings with many paths – far transfers and gates – tried on one machine.

z3 proves in seconds what none of their paths does, but is slow to find one that does.

The machine is in numbers: tables above the border, everything else full of one byte, which as a
selector names a conforming code segment, so that whatever an operand is, it leads somewhere. What
is behaviour sensitive stays in its segment: that one is CS then, or a gate leads back to CS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from isa.registers import Register
from isa.x86.real import DATA, V86_DATA
from isa.x86.registers import (
    CPL,
    EIP,
    ESP,
    FCW,
    FCW_INITIAL,
    GDT_BASE,
    GDT_LIMIT,
    GPR,
    IDT_BASE,
    IDT_LIMIT,
    IF,
    OF,
    PE,
    REGISTERS,
    SEGMENTS,
    TR,
    TR_ATTRIBUTES,
    TR_BASE,
    TR_LIMIT,
    VM,
)  # fmt: skip
from vmm.x86.configuration import X86Configuration
from vmm.x86.forms import Sample
from vmm.x86.questions import reduced, replace_mode
from vmm.x86.replay import FILL, Concrete, run
from vmm.x86.states import BORDER, Parts, Side
from vmm.x86.witness import CHECKS, Witness, checked

GDT, IDT, TSS = BORDER + 0x10000, BORDER + 0x30000, BORDER + 0x40000
CODE_0, DATA_0, CODE_3, DATA_3, TASK, HOME = 0x08, 0x10, 0x18, 0x20, 0x28, 0x30
FILLED: Final = FILL << 8 | FILL  # the selector that memory is full of
_CODE, _DATA, _CONFORMING, _BUSY_TSS = 0x9B, 0x93, 0x9F, 0x8B
STACKS: Final = (
    b"",  # as all memory
    b"".join(n.to_bytes(4, "little") for n in (0x4000, CODE_3 | 3, 2, 0x2800, DATA_3 | 3)),
)
"""What lies on the stack: as if level 3 had been interrupted, with IF 0 in its flags."""
_GATE_FOR_PROGRAMS, _CALL_GATE_FOR_PROGRAMS = 0xEE, 0xEC  # of 32 bits, DPL 3; interrupts are off


LARGE: Final = 900
"""Nodes. Of what has fewer z3 finds witnesses in seconds: the next largest, RETF, has 600."""


def large(configuration: X86Configuration, sample: Sample) -> bool:
    """Whether the form has so many paths that z3 finds no witness in time, in s or in u."""
    sides = configuration.supervisor, configuration.user
    return any(
        sum(
            1
            for _ in reduced(replace_mode(sample, configuration, m), Side(configuration, m)).walk()
        )
        > LARGE
        for m in sides
    )


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the states of the machine.

    `level` is the side that it is on; `within`: CS is the segment that transfers lead to; `gate`:
    they lead there through a call gate; `place` of the tables, which tells gates apart too.
    """

    level: str = "user"
    stack: bytes = b""
    within: bool = False
    gate: bool = False
    place: int = 0
    interrupts: int = 1

    @property
    def home(self) -> int:
        """The selector of CS, where transfers stay."""
        return HOME if self.gate else FILLED & ~7

    @property
    def moved(self) -> int:
        """How far the tables are from where they are else."""
        return self.place << 20

    @property
    def target(self) -> int:
        """The offset that gates have."""
        return 0x4000 + self.place * 0x800


Pair = tuple[Variant, ...]


def _both(**chosen: Any) -> Pair:
    return Variant("supervisor", **chosen), Variant("user", **chosen)


def _variants(claim: str, mode: str) -> Iterator[Pair]:
    """The states to try, one or two."""
    if claim == "mode_sensitive":
        yield _both(within=True)
    elif claim == "location_sensitive":
        for gate in (True, False):
            here = Variant(within=True, gate=gate)
            yield here, replace(here, place=1)
    elif claim == "resource_sensitive":
        here = Variant(within=True)
        yield here, replace(here, interrupts=0)
    else:
        for stack in STACKS:
            yield (Variant(mode, stack),) if mode else _both(stack=stack)


def tried(
    claim: str, configuration: X86Configuration, sample: Sample, mode: str = ""
) -> Witness | None:
    """A witness among the machine's states; None if the claim's check finds none."""
    parts = Parts.of(configuration)
    for variants in _variants(claim, mode):
        states = [_state(configuration, sample, variant) for variant in variants]
        runs = [run(state, configuration.processor) for state in states]
        if CHECKS[claim](runs[0], runs[1] if len(runs) > 1 else None, parts) is not None:
            return checked(claim, runs, parts)
    return None


def _state(configuration: X86Configuration, sample: Sample, variant: Variant) -> Concrete:
    """The machine about to carry out the sample."""
    side = configuration.supervisor if variant.level == "supervisor" else configuration.user
    registers = dict.fromkeys(REGISTERS, 0)
    registers |= dict.fromkeys(GPR.members, 0x3000)
    registers |= {EIP: 0x1000, ESP: 0x2000, FCW: FCW_INITIAL, OF: 1, GDT_LIMIT: 0xFFFF,
                  IDT_LIMIT: 0x7FF, TR: TASK, TR_LIMIT: 0x66, TR_ATTRIBUTES: _BUSY_TSS}  # fmt: skip
    registers |= {r: low for r, (low, _) in configuration.kept.items() if r is not TR_LIMIT}
    registers |= {IF: variant.interrupts, GDT_BASE: GDT + variant.moved,
                  IDT_BASE: IDT + variant.moved, TR_BASE: TSS + variant.moved}  # fmt: skip
    registers |= side
    protected = side[PE] and not side[VM]
    registers |= _descriptors(configuration, side[CPL]) if protected else _paragraphs(side[VM])
    if variant.within and protected:
        size = 0xC00 if configuration.code == 32 else 0
        cs = SEGMENTS["cs"]
        registers |= {cs.selector: variant.home | side[CPL], cs.attributes: size | _CONFORMING}
    memory = dict(_tables(variant))
    for name, place, data in (("cs", EIP, sample.code), ("ss", ESP, variant.stack)):
        memory |= dict(_put(registers[SEGMENTS[name].base] + registers[place], data))
    return Concrete(registers, memory)


def _descriptors(configuration: X86Configuration, level: int) -> Mapping[Register, int]:
    """Flat segments: CS and SS of the level, data for every level."""
    size = 0xC00 if configuration.code == 32 else 0
    code, stack = (CODE_3, DATA_3) if level else (CODE_0, DATA_0)
    chosen = {"cs": (code | level, _CODE | level << 5), "ss": (stack | level, _DATA | level << 5)}
    found: dict[Register, int] = {}
    for name, segment in SEGMENTS.items():
        selector, access = chosen.get(name, (DATA_3 | 3, _DATA | 3 << 5))
        found |= {
            segment.selector: selector, segment.base: 0, segment.limit: 0xFFFFFFFF,
            segment.attributes: size | access,
        }  # fmt: skip
    return found


def _paragraphs(virtual: int) -> Mapping[Register, int]:
    """Segments of real or virtual-8086 mode."""
    found: dict[Register, int] = {}
    for number, segment in enumerate(SEGMENTS.values(), 1):
        found |= {
            segment.selector: number << 12, segment.base: number << 16, segment.limit: 0xFFFF,
            segment.attributes: V86_DATA if virtual else DATA,
        }  # fmt: skip
    return found


def _tables(variant: Variant) -> Iterator[tuple[int, int]]:
    """GDT, IDT, and a task state segment with a stack for level 0."""
    gdt, idt, tss = (table + variant.moved for table in (GDT, IDT, TSS))
    for selector, access in (
        (0, 0), (CODE_0, _CODE), (DATA_0, _DATA), (CODE_3, _CODE | 0x60), (DATA_3, _DATA | 0x60),
        (HOME, _CONFORMING), (FILLED & ~7, _CONFORMING),
    ):  # fmt: skip
        flags = 0xCF if access else 0
        yield from _put(gdt + selector, bytes([0xFF, 0xFF, 0, 0, 0, access, flags, 0]))
    if variant.gate:
        yield from _put(gdt + (FILLED & ~7), _gate(variant, _CALL_GATE_FOR_PROGRAMS))
    for vector in range(256):
        yield from _put(idt + 8 * vector, _gate(variant, _GATE_FOR_PROGRAMS))
    yield from _put(tss + 4, bytes([0, 0x50, 0, 0, DATA_0, 0, 0, 0]))


def _gate(variant: Variant, access: int) -> bytes:
    """A gate to where transfers lead."""
    low, high = variant.home.to_bytes(2, "little")
    return bytes([0, variant.target >> 8, low, high, 0, access, 0, 0])


def _put(address: int, data: bytes) -> Iterator[tuple[int, int]]:
    return ((address + n, byte) for n, byte in enumerate(data))
