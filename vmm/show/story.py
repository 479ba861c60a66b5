"""A witness as a story: the states, the step from each, what differed, and which clause."""

from __future__ import annotations

from dataclasses import dataclass

from isa.registers import Register
from isa.toy.traps import TITLES
from vmm.theory.classify import Evidence
from vmm.theory.concrete import Concrete, Ran
from vmm.theory.toy import ToyModel
from vmm.theory.witness import Witness

Line = tuple[str, str]  # (what it is, text)

_HEADINGS = {
    "privileged": "a pair that differs in M only",
    "control_sensitive": "one step from one state",
    "location_sensitive": "the same program and window contents at two places in storage",
    "mode_sensitive": "the same state in two modes",
    "behaviour_sensitive": "the same program and window contents, in two modes at two places",
    "resource_sensitive": "two states that differ in resources only",
}


@dataclass(frozen=True, slots=True)
class Story:
    """What a reader is told of one piece of evidence."""

    title: str
    lines: tuple[Line, ...]
    clause: str

    def text(self) -> str:
        """The story in plain text."""
        body = [f"    {label:<9} {text}" for label, text in self.lines]
        return "\n".join([f"  {self.title}", *body, f"    by        {self.clause}"])


def story(name: str, evidence: Evidence) -> Story:
    """The story of a claim: of its witness, or that there is none."""
    found, claim = evidence.witness, words(evidence.claim)
    verdict = f"{name} is {'' if evidence.holds else 'not '}{claim}"
    if found is None:
        proof = f"no such states exist: unsat, {evidence.milliseconds:.0f} ms"
        return Story(verdict, (("proof", proof),), evidence.clause)
    title = f"{verdict}: {_HEADINGS[found.claim]}"
    if evidence.claim == "privileged" and evidence.holds:
        rest = f"no pair behaves otherwise: unsat, {evidence.milliseconds:.0f} ms"
        return Story(title, (*_lines(found), ("proof", rest)), evidence.clause)
    return Story(title, tuple(_lines(found)), evidence.clause)


def words(claim: str) -> str:
    """A claim as English has it."""
    return claim.replace("_", " ")


def _lines(witness: Witness) -> list[Line]:
    one, other = witness.one, witness.other
    if other is None:
        return [
            ("state A", state(one.model, one.before)),
            ("step", outcome(one)),
            ("after", state(one.model, one.after)),
            ("changed", "; ".join(map(str, witness.differences))),
        ]
    lines = [
        ("state A", state(one.model, one.before)),
        ("state B", state(other.model, other.before)),
        ("A steps", outcome(one)),
        ("B steps", outcome(other)),
    ]
    if witness.differences:
        lines.append(("differs", "; ".join(map(str, witness.differences))))
    return lines


def state(model: ToyModel, concrete: Concrete) -> str:
    """M, P, R, then what is not 0."""
    known, parts = model.isa.known, model.parts
    values = concrete.registers
    mode = ("s", *(["u"] if model.shape.modes == 2 else ["1", "2", "3"]))[values[known.m]]
    base, size = model.bounds(values)
    text = [f"M={mode} P={values[known.p]:#x} R=({base:#x}, {size:#x})"]
    text += [_register(r, values[r]) for r in (*parts.data, *parts.resources) if values[r]]
    text += [_word(a, w, base, size) for a, w in concrete.storage.items() if w]
    text += [f"port {p}={v:#x}" for p, v in concrete.ports.items() if v]
    return " ".join(text)


def _register(register: Register, value: int) -> str:
    return f"{register.name}={value:#x}"


def _word(address: int, word: int, base: int, size: int) -> str:
    if base <= address < base + size:
        return f"E[l+{address - base:#x}]={word:#x}"
    return f"E[{address:#x}]={word:#x}"


def outcome(ran: Ran) -> str:
    """The instruction and how it went."""
    if ran.trap is not None:
        return f"{ran.text}: {TITLES.get(ran.trap.vector, f'trap {ran.trap.vector}')} trap".replace(
            "trap trap", "trap"
        )
    changed = [f"P={ran.after.registers[ran.model.parts.counter]:#x}"]
    before, after = ran.before, ran.after
    changed += [
        _register(r, after.registers[r])
        for r in ran.model.isa.registers
        if r is not ran.model.parts.counter and before.registers[r] != after.registers[r]
    ]
    base, size = ran.model.bounds(before.registers)
    changed += [
        _word(a, w, base, size) for a, w in after.storage.items() if w != before.storage.get(a, 0)
    ]
    if ran.driven is not None:
        changed.append(f"port {ran.driven[0]}={ran.driven[1]:#x}")
    return f"{ran.text}: {' '.join(changed)}"
