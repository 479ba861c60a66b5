"""Where a theorem's condition fails a guest notices; the divergence is named and cured."""

from __future__ import annotations

import pytest
from monitor_machines import bare, virtual
from toy_machines import toy, word

from isa.toy.traps import Trap
from vmm.equivalence import first_divergence
from vmm.monitors import Allocation

TRAP, USER = 40, 32


def guest(isa, code, user=()):
    """Supervisor code at 2; a user program at USER that LPSW 3 can enter; HALT on every trap."""

    def psw(mode, p):
        values = [0] * len(isa.known)
        values[8:12] = mode, p, 0, isa.shape.all_granules
        return isa.known.psw.pack(values)

    image = [0] * 64
    image[1] = psw(0, TRAP)
    image[30] = psw(1, USER)
    image[TRAP : TRAP + 2] = [word(isa, "IN", rd=5, imm=0), word(isa, "HALT")]
    image[2 : 2 + len(code)] = code
    image[USER : USER + len(user)] = user
    return image


def divergence(monitor, name, code, user=()):
    isa = toy(name)
    image = guest(isa, code(isa), user(isa) if user else ())

    def make():
        return (
            bare(isa, image, entry=2),
            virtual(monitor, isa, image, entry=2),
        )

    return first_divergence(make, 200)


def jrst1(isa):
    return [word(isa, "NOP"), word(isa, "JRST1", imm=USER)]


def splx(isa):
    return [word(isa, "LI", rd=1, imm=1), word(isa, "SPLX", ra=1), word(isa, "HALT")]


def lra(isa):
    return [word(isa, "LRA", rd=1, ra=0, imm=9), word(isa, "HALT")]


def rdmode(isa):
    return [word(isa, "LI", rd=1, imm=7), word(isa, "RDMODE", rd=1), word(isa, "HALT")]


def mfpi(isa):
    store = [word(isa, "LI", rd=1, imm=77), word(isa, "STA", rd=1, imm=4096 + 5)]
    return [*store, word(isa, "MFPI", rd=2, ra=0, imm=5), word(isa, "HALT")]


CURES = ("hybrid", "translation", "interpretation")
CRITICAL = [  # configuration, guest, part that differs, clause
    ("toy/pdp10", jrst1, "M", "control"),
    ("toy/popf", splx, "R (b)", "control"),
    ("toy/lra", lra, "r1", "location"),
    ("toy/rdmode", rdmode, "r1", "mode"),
    ("toy/pdp11", mfpi, "r2", "mode"),
]


@pytest.mark.parametrize(("name", "code", "part", "clause"), CRITICAL)
def test_a_critical_instruction_diverges_and_is_named(name, code, part, clause):
    found = divergence("trap-and-emulate", name, code)
    assert found is not None
    assert found.part == part
    assert found.instruction.split()[0] == code.__name__
    assert clause in found.why
    for said in (found.expected, found.actual, found.instruction, found.why):
        assert said in str(found)


@pytest.mark.parametrize("monitor", CURES)
@pytest.mark.parametrize(("name", "code"), [row[:2] for row in CRITICAL])
def test_the_cure(name, code, monitor):
    """In supervisor mode each of them is cured by whatever does not run kernels directly."""
    assert divergence(monitor, name, code) is None


def test_the_later_symptom_of_jrst1():
    """theory.md 1.7: the user program's HALT is carried out instead of reflected to its kernel."""
    isa = toy("toy/pdp10")
    image = guest(isa, jrst1(isa), [word(isa, "HALT")])
    machines = [
        virtual(monitor, isa, image, entry=2).machine for monitor in ("trap-and-emulate", "hybrid")
    ]
    assert [machine.run(100).reason for machine in machines] == ["halt", "halt"]
    assert [machine.state["r5"] for machine in machines] == [0, Trap.PRIVILEGED]


@pytest.mark.parametrize("monitor", ["trap-and-emulate", "hybrid", "translation"])
def test_user_sensitive_leaks_through_all_direct_execution(monitor):
    """LRA in user mode: Theorem 3 fails too, and only interpretation tells the truth."""

    found = divergence(monitor, "toy/lra", enter, lra)
    assert (found.part, found.instruction.split()[0]) == ("r1", "lra")
    assert divergence("interpretation", "toy/lra", enter, lra) is None


def test_lra_does_no_harm_to_a_guest_that_is_not_moved():
    """The paper's section 4: the monitor in high core, the guest unrelocated."""
    isa = toy("toy/lra")
    image = guest(isa, lra(isa))

    def make():
        allocation = Allocation(0, 8192)
        return (
            bare(isa, image, entry=2),
            virtual("trap-and-emulate", isa, image, entry=2, allocation=allocation),
        )

    assert first_divergence(make, 200) is None


def enter(isa):
    return [word(isa, "LPSW", imm=30)]


def shrink(wanted):
    def code(isa):
        return [word(isa, "LI", rd=1, imm=wanted), word(isa, "DECB", ra=1), word(isa, "SVC")]

    return code


@pytest.mark.parametrize("wanted", [1, 127, 129, 200, 300])
def test_a_user_may_shrink_its_window(wanted):
    """DECB is critical, and yet harmless: Theorem 1 is sufficient, not necessary."""
    assert divergence("trap-and-emulate", "toy/decb", enter, shrink(wanted)) is None


def test_a_window_larger_than_the_allocation_hides_one_decrease():
    """A guest whose R claims more than its 128 granules has 128 as its real bound. To set that very
    bound changes nothing and does not trap: the one case that the paper's example overlooks."""
    found = divergence("trap-and-emulate", "toy/decb", enter, shrink(128))
    assert (found.part, found.expected, found.actual) == ("R (b)", "0x80", "0x100")
    for monitor in ("hybrid", "translation"):
        assert divergence(monitor, "toy/decb", enter, shrink(128)) is not None
    assert divergence("interpretation", "toy/decb", enter, shrink(128)) is None
