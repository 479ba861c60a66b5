"""Which instructions to try: those whose meaning is about more than the program itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isa.x86.form import Form, Mem, Seg
from isa.x86.registers import CPL, SEGMENTS
from isa.x86.tracing import trace
from vmm.x86.configuration import X86Configuration
from vmm.x86.forms import ESCAPES, Row, Sample, rows
from vmm.x86.states import Parts

_CS = SEGMENTS["cs"].selector


@dataclass(frozen=True, slots=True)
class Subject:
    """A row, the sample of it to carry out, and whether it goes elsewhere by a far pointer."""

    row: Row
    sample: Sample
    far: bool

    @property
    def in_memory(self) -> bool:
        """Whether an operand is in memory."""
        return any(isinstance(shape, Mem) for shape in self.sample.form.shapes)


def subjects(configuration: X86Configuration) -> Iterator[Subject]:
    """The coprocessor's are left out: there are many, and they all do the same."""
    for row in rows(configuration.mode(configuration.user)).values():
        chosen = _chosen(row)
        if chosen.code[0] not in ESCAPES and any(_system(configuration, s) for s in row.samples):
            yield Subject(row, chosen, _goes_far(chosen.form))


def _chosen(row: Row) -> Sample:
    """One with CS as an operand if there is one; a far pointer in memory; else the first."""
    for sample in row.samples:
        if Seg("cs") in sample.form.shapes:
            return sample
    if _goes_far(row.samples[0].form):
        return next((s for s in row.samples if any(isinstance(x, Mem) for x in s.form.shapes)),
                    row.samples[0])  # fmt: skip
    return row.samples[0]


def _goes_far(form: Form) -> bool:
    return _CS in trace(form).written()


def _system(configuration: X86Configuration, sample: Sample) -> bool:
    """Whether the meaning looks at or changes M, R (but for what any access asks) or a resource.

    Or it does nothing but trap, which in s it need not.
    """
    parts = Parts.of(configuration)
    used = {r for s in SEGMENTS.values() for r in (s.base, s.limit, s.attributes)}
    wanted = {*parts.mode, *parts.relocation, *parts.resources} - used
    meaning = trace(sample.form)
    written = meaning.written()
    return bool((meaning.read() | written) & wanted) or meaning.region.ends or CPL in written
