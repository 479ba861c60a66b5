"""Theorem 1 asks for more than it needs: what may be executed directly although it is critical.

The paper gives two machines for which a monitor exists although Theorem 1 fails: one that tells
real addresses, its monitor in high storage and its virtual machine where a real one would lie
(`high_core`), and one whose users may only shrink their window (`shrinking_bound`). Both are
decided here as what they are: claims that f(i(S)) = i(f(S)), by proof or witness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isa.toy import Toy
from vmm.theory.classify import Classification, Evidence, classify, disobedience


@dataclass(frozen=True, slots=True)
class Escape:
    """What becomes of the critical instructions under one VM map, each by proof or witness."""

    found: Classification
    relocated: bool
    disobedient: Mapping[str, Evidence]

    @property
    def holds(self) -> bool:
        """Whether every critical instruction may be executed directly, so that a monitor exists."""
        return not any(evidence.holds for evidence in self.disobedient.values())

    def __str__(self) -> str:
        where = "relocated" if self.relocated else "unrelocated, below a monitor in high storage"
        broken = [name for name, evidence in self.disobedient.items() if evidence.holds]
        if broken:
            return f"virtual machine {where}: {', '.join(broken)} break the VM map unseen"
        names = ", ".join(self.disobedient) or "no instruction"
        return (
            f"a monitor exists although Theorem 1 fails: virtual machine {where}, {names} obeys "
            "the VM map when executed directly (proved)"
        )


def under_map(found: Classification, *, relocated: bool) -> Escape:
    """Ask of every critical instruction; the others obey by the paper's lemmas 1 and 2."""
    evidence = {
        name: disobedience(found.model, name, relocated=relocated) for name in found.critical
    }
    return Escape(found, relocated, evidence)


def escape(found: Classification) -> Escape | None:
    """A map under which a monitor exists although Theorem 1 fails; None if neither is one."""
    if found.theorem1.holds:
        return None
    tried = (_obeyed(found, relocated=relocated) for relocated in (True, False))
    return next((one for one in tried if one is not None), None)


def _obeyed(found: Classification, *, relocated: bool) -> Escape | None:
    """The same as `under_map`, or None as soon as one instruction does not obey the map."""
    evidence = {}
    for name in found.critical:
        evidence[name] = disobedience(found.model, name, relocated=relocated)
        if evidence[name].holds:
            return None
    return Escape(found, relocated, evidence)


def high_core(*, relocated: bool = False) -> Escape:
    """The paper's first counterexample; `relocated` puts the monitor where it always is."""
    return under_map(classify(Toy("toy/lra")), relocated=relocated)


def shrinking_bound() -> Escape:
    """The paper's second counterexample."""
    return under_map(classify(Toy("toy/decb")), relocated=True)
