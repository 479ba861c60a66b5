"""A classification as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vmm.show.story import state, story
from vmm.theory import Classification, Evidence, InstructionClass, Theorem, Witness, escape
from vmm.theory.concrete import Concrete, Ran

CLAIMS = (
    "privileged", "control_sensitive", "location_sensitive", "mode_sensitive",
    "resource_sensitive", "behaviour_sensitive", "user_sensitive", "supervisor_sensitive",
)  # fmt: skip


def facts(found: Classification) -> dict[str, Any]:
    """The object that `vmm check --json` prints."""
    return {
        "isa": "toy",
        "config": found.name,
        "reading": found.reading.value,
        "instructions": [instruction_facts(i) for i in found.instructions.values()],
        "theorem1": _theorem(found.theorem1, "critical"),
        "theorem2": _theorem(found.theorem2, "critical") | {"timing": asdict(found.timing)},
        "theorem3": _theorem(found.theorem3, "offending"),
        "repair": list(found.repair.instructions),
        "repair_works": found.repair.works,
        "escape": None if (way_out := escape(found)) is None else str(way_out),
        "seconds": round(found.seconds, 3),
    }


def _theorem(theorem: Theorem, key: str) -> dict[str, Any]:
    return {
        "holds": theorem.holds,
        key: list(theorem.offending),
        "statement": theorem.statement,
        "remark": theorem.remark,
    }


def instruction_facts(found: InstructionClass) -> dict[str, Any]:
    """One instruction: its classes, its main witness or proof, and the evidence of every claim."""
    result: dict[str, Any] = {"name": found.name}
    result |= {claim: getattr(found, claim) for claim in CLAIMS}
    result |= {"innocuous": found.innocuous, "critical": found.critical}
    if found.witness is None:
        evidence = found.evidence["behaviour_sensitive"], found.evidence["control_sensitive"]
        spent = sum(e.milliseconds for e in evidence)
        result["proof"] = f"unsat, {spent:.0f} ms"
    else:
        result["witness"] = _witness(found.witness)
    result["evidence"] = {claim: _evidence(found, e) for claim, e in found.evidence.items()}
    return result


def _evidence(found: InstructionClass, evidence: Evidence) -> dict[str, Any]:
    result: dict[str, Any] = {"holds": evidence.holds, "clause": evidence.clause}
    if evidence.proved:
        result["proof"] = f"unsat, {evidence.milliseconds:.0f} ms"
    if evidence.witness is not None:
        result["witness"] = _witness(evidence.witness)
        result["story"] = [list(line) for line in story(found.name, evidence).lines]
    return result


def _witness(witness: Witness) -> dict[str, Any]:
    states = [witness.one] if witness.other is None else [witness.one, witness.other]
    return {
        "claim": witness.claim,
        "instruction": witness.text,
        "states": [_ran(ran) for ran in states],
        "differences": [
            {"part": d.part, "name": d.name, "one": d.one, "other": d.other}
            for d in witness.differences
        ],
    }


def _ran(ran: Ran) -> dict[str, Any]:
    return {
        "summary": state(ran.model, ran.before),
        "before": _concrete(ran.before),
        "after": _concrete(ran.after),
        "trap": None if ran.trap is None else ran.trap.vector,
    }


def _concrete(concrete: Concrete) -> dict[str, Any]:
    return {
        "registers": {r.name: value for r, value in concrete.registers.items()},
        "storage": {str(address): word for address, word in concrete.storage.items()},
        "ports": {str(port): value for port, value in concrete.ports.items()},
        "clock": concrete.clock,
    }
