"""A witness as a story: the states, the step from each, what differed, and by which clause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from isa.registers import Register
from isa.x86.registers import CPL, EIP, IOPL, PE, REGISTERS, SEGMENTS, VM
from vmm.x86.classify import Evidence, How
from vmm.x86.replay import Concrete, Ran

Line = tuple[str, str]
VECTORS: Final = {
    0: "#DE",
    1: "#DB",
    6: "#UD",
    7: "#NM",
    10: "#TS",
    11: "#NP",
    12: "#SS",
    13: "#GP",
}
HEADINGS: Final = {
    "not privileged": "executes in s and in u",
    "unseen in u": "executes in u, in a state in which s traps",
    "privileged": "executes in s, traps in u",
    "control_sensitive": "one step from one state",
    "mode_sensitive": "the same state in s and in u",
    "location_sensitive": "the same program in u, under other tables and control registers",
    "resource_sensitive": "the same program in u, with other resources",
}


def words(claim: str) -> str:
    """A claim as English has it."""
    return claim.replace("_", " ")


def title(name: str, evidence: Evidence) -> str:
    """The verdict, and how it was obtained."""
    verdict = f"{name} is {'' if evidence.holds else 'not '}{words(evidence.claim)}"
    if evidence.witness is None and evidence.how is How.EXPLORED:
        return f"Whether {name} is {words(evidence.claim)} is open: {evidence.how.value}"
    if evidence.witness is None:
        return f"{verdict}: {evidence.how.value}"
    both = evidence.claim == "privileged" and evidence.holds and evidence.how is How.PROVED
    how = "proved by z3, shown by execution" if both else evidence.how.value
    return f"{verdict}: {HEADINGS[evidence.witness.claim]} ({how})"


def lines(evidence: Evidence) -> list[Line]:
    """What happened, label and text."""
    found = evidence.witness
    if found is None:
        return []
    runs = [found.one] if found.other is None else [found.one, found.other]
    told: list[Line] = []
    for letter, ran in zip("AB", runs, strict=False):
        told += [(f"state {letter}", state(ran, runs)), (f"{letter} steps", outcome(ran))]
    if found.differences:
        word = "changes" if found.other is None else "differs"
        told.append((word, "; ".join(map(str, found.differences))))
    return told


def text(name: str, evidence: Evidence) -> str:
    """The story in plain text."""
    body = [f"    {label:<9} {said}" for label, said in lines(evidence)]
    return "\n".join([f"  {title(name, evidence)}", *body, f"    by        {evidence.clause}"])


def state(ran: Ran, runs: Iterable[Ran]) -> str:
    """Mode, CS:EIP, then what the states or the steps make different, and the memory named."""
    values = ran.before.registers
    named = [r for r in REGISTERS if r not in _ALWAYS and _matters(r, runs)]
    told = [mode(values[PE], values[VM], values[CPL]), f"IOPL={values[IOPL]}"]
    told.append(f"CS:EIP={values[SEGMENTS['cs'].selector]:04x}:{values[EIP]:x}")
    told += [f"{r.name}={values[r]:#x}" for r in named]
    return " ".join(told + list(_memory(ran.before)))


_ALWAYS: Final = {PE, VM, CPL, IOPL, EIP, SEGMENTS["cs"].selector}


def _matters(register: Register, runs: Iterable[Ran]) -> bool:
    """Whether a register differs between the states, or is changed by a step."""
    seen = {ran.before.registers[register] for ran in runs}
    return len(seen) > 1 or any(ran.changed((register,)) for ran in runs)


def mode(protected: int, virtual: int, level: int) -> str:
    """The mode's name."""
    if not protected:
        return "real mode"
    return "virtual-8086 mode" if virtual else f"CPL={level}"


SHOWN: Final = 48  # bytes of memory; the tables of an explored machine are longer


def _memory(concrete: Concrete) -> Iterator[str]:
    """Runs of bytes that the state names."""
    if len(concrete.memory) > SHOWN:
        yield "memory: the explored machine's"
        return
    start: int | None = None
    data = bytearray()
    for address in sorted(concrete.memory):
        if start is not None and address == start + len(data):
            data.append(concrete.memory[address])
            continue
        if start is not None:
            yield f"[{start:#x}]={data.hex()}"
        start, data = address, bytearray([concrete.memory[address]])
    if start is not None:
        yield f"[{start:#x}]={data.hex()}"


def outcome(ran: Ran) -> str:
    """The instruction and how it went."""
    if ran.trap is not None:
        code = "" if ran.trap.code is None else f"({ran.trap.code:#x})"
        return f"{ran.text}: {VECTORS.get(ran.trap.vector, f'vector {ran.trap.vector}')}{code}"
    if ran.exited:
        return f"{ran.text}: exits ({ran.exited})"
    after = ran.after
    told = [f"{r.name}={after.registers[r]:#x}" for r in ran.changed(tuple(REGISTERS))]
    told += [f"[{a:#x}]={after.memory[a]:#04x}" for a in sorted(ran.stored)]
    if ran.driven:
        told.append(f"port {ran.driven[0]:#x}:={ran.driven[2]:#x}")
    entered = " (into a more privileged level)" if ran.trapped else ""
    return f"{ran.text}: {' '.join(told)}{entered}"
