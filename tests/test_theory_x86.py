"""x86 under Popek and Goldberg: what was published comes out of the meanings."""

from __future__ import annotations

import json
import re
from functools import cache

import pytest

from isa.x86.registers import CPL, IF, IOPL, REGISTERS
from isa.x86.table import INSTRUCTIONS
from tests.parameters import some_heavy
from tests.robin_irvine import (
    HEADLINE,
    HIDDEN_BY_UMIP,
    LEFT_BY_V86,
    PROTECTION,
    PUBLISHED,
    REGISTERS_AND_FLAGS,
    TRAP_IN_V86,
)
from tests.vmm_command import vmm
from vmm.theory.shared import ReplayError
from vmm.x86.classify import How, X86Class, X86Classification, classify, classify_row
from vmm.x86.configuration import X86Configuration
from vmm.x86.forms import rows
from vmm.x86.page import page
from vmm.x86.replay import run
from vmm.x86.show import table
from vmm.x86.states import Parts
from vmm.x86.witness import checked


@cache
def configuration(name: str) -> X86Configuration:
    return X86Configuration.load(f"x86/{name}")


@cache
def derived(name: str, row: str) -> X86Class:
    loaded = configuration(name)
    return classify_row(loaded, rows(loaded.mode(loaded.user))[row])


@cache
def whole(name: str) -> X86Classification:
    return classify(configuration(name))


FAST = ("SGDT", "SMSW", "PUSHF", "POPF", "LAR", "VERW", "PUSH Sreg", "LCALL", "INT", "STR", "IRET")
"""The others, and the whole tables, are heavy."""


def test_the_published_numbers():
    """18 mnemonics, 6 and 12; as sections of the manual they are the 17 of the headline."""
    assert (len(REGISTERS_AND_FLAGS), len(PROTECTION)) == (6, 12)
    sections = {INSTRUCTIONS[row.split()[0].lower()].heading for row in PUBLISHED.values()}
    assert (len(PUBLISHED), len(sections)) == (18, HEADLINE)


def assert_critical_with_witness(found: X86Class) -> None:
    """Sensitive and not privileged, and both were seen on the reference engine."""
    assert found.critical
    assert found.evidence["privileged"].how is How.WITNESSED
    assert found.witness is not None
    assert found.witness.differences


@pytest.mark.parametrize("row", some_heavy(FAST, "LCALL"))
def test_a_critical_instruction_has_a_witness(row):
    assert_critical_with_witness(derived("ia32", row))


@pytest.mark.parametrize(
    ("row", "claim"),
    [
        ("SGDT", "location_sensitive"), ("SMSW", "location_sensitive"),
        ("STR", "location_sensitive"), ("LAR", "mode_sensitive"), ("VERW", "mode_sensitive"),
        ("PUSH Sreg", "mode_sensitive"), ("PUSHF", "resource_sensitive"),
        ("POPF", "control_sensitive"), ("LCALL", "control_sensitive"), ("INT", "control_sensitive"),
    ],
)  # fmt: skip
def test_each_is_critical_by_its_own_clause(row, claim):
    assert derived("ia32", row).evidence[claim].holds


@pytest.mark.parametrize("row", ["POPF", "PUSH Sreg"])
def test_what_only_a_kernel_loses_does_not_hinder_a_hybrid_monitor(row):
    """Theorem 3 asks about pairs in u; POPF drops IF there in each of them."""
    assert not derived("ia32", row).user_sensitive


@pytest.mark.parametrize("row", ["SGDT", "SMSW", "LAR", "PUSHF"])
def test_what_tells_the_monitor_from_user_mode_does(row):
    assert derived("ia32", row).user_sensitive


@pytest.mark.parametrize("row", ["HLT", "LGDT", "LMSW", "CLI", "IN", "RDTSC", "SYSENTER"])
def test_what_traps_is_privileged_by_proof(row):
    found = derived("ia32", row)
    assert (found.privileged, found.critical) == (True, False)
    assert found.evidence["privileged"].how is How.PROVED


def test_what_executes_in_user_mode_is_not_privileged_though_s_traps_there():
    """LSS wants a stack segment of CPL: no state lets it load one in s and in u."""
    found = derived("ia32", "LSS")
    assert_critical_with_witness(found)
    witness = found.evidence["privileged"].witness
    assert (witness.other, witness.one.before.registers[CPL]) == (None, 3)


@pytest.mark.parametrize("row", ["ADD", "IDIV", "MOVSB", "CALL", "CPUID"])
def test_what_everybody_may_do_is_innocuous_by_proof(row):
    found = derived("ia32", row)
    assert (found.innocuous, found.privileged) == (True, False)
    assert {e.how for c, e in found.evidence.items() if c != "privileged"} == {How.PROVED}


@pytest.mark.parametrize("row", ["SGDT", "SMSW"])  # the other three: heavy
def test_umip_makes_it_privileged(row):
    found = derived("ia32+umip", row)
    assert (found.privileged, found.critical) == (True, False)


@pytest.mark.parametrize("row", sorted(LEFT_BY_V86))
def test_virtual_8086_mode_leaves_it_critical(row):
    assert_critical_with_witness(derived("v86", row))


@pytest.mark.parametrize("row", ["CLI", "PUSHF", "POPF", "INT"])
def test_virtual_8086_mode_makes_it_privileged(row):
    found = derived("v86", row)
    assert (found.privileged, found.critical) == (True, False)


@pytest.mark.parametrize("row", ["LJMP", "PUSH Sreg", "LAR", "STR"])
def test_what_has_no_descriptors_to_load_is_innocuous_in_virtual_8086_mode(row):
    assert derived("v86", row).innocuous


# -- witnesses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", FAST)
def test_a_witness_can_be_carried_out_again(row):
    """Its states are whole: they say everything that the step looks at."""
    witness = derived("ia32", row).witness
    runs = [run(r.before, "pentium2") for r in (witness.one, witness.other) if r is not None]
    again = checked(witness.claim, runs, Parts.of(configuration("ia32")))
    assert again.differences == witness.differences


def test_the_pair_of_a_mode_differs_in_the_mode_only():
    """CPL, and where it stands: in CS and SS, and in what describes them, if CS's DPL is CPL."""
    witness = derived("ia32", "LAR").evidence["mode_sensitive"].witness
    one, other = witness.one.before, witness.other.before
    different = {r.name for r in REGISTERS if one.registers[r] != other.registers[r]}
    assert different - {"cs_attributes"} == {"cpl", "cs", "ss", "ss_attributes"}
    assert one.memory == other.memory


def test_the_pair_of_a_place_is_one_program_under_two_monitors():
    witness = derived("ia32", "SGDT").evidence["location_sensitive"].witness
    one, other = witness.one.before.registers, witness.other.before.registers
    program = Parts.of(configuration("ia32")).program
    assert [one[r] for r in program] == [other[r] for r in program]
    assert one[CPL] == other[CPL] == 3


def test_popf_in_user_mode_drops_the_interrupt_flag():
    """Bytes 9D with IF 0 on the stack: done at CPL 0, dropped without a trap at CPL 3."""
    found = derived("ia32", "POPF").evidence["control_sensitive"]
    assert (found.supervisor, found.user) == (True, False)
    witness = found.witness.one
    assert witness.before.registers[CPL] == 0
    assert any(d.name in ("if", "iopl") for d in found.witness.differences)


def test_iret_in_user_mode_drops_the_interrupt_flag():
    """The same stack, with IF 0 on it: level 0 takes it, level 3 keeps IF, and nothing traps."""
    witness = derived("ia32", "IRET").evidence["privileged"].witness
    assert [r.after.registers[IF] for r in (witness.one, witness.other)] == [0, 1]


def test_a_witness_that_is_none_is_refused():
    run_of_add = derived("ia32", "PUSHF").witness.one
    with pytest.raises(ReplayError):
        checked("control_sensitive", [run_of_add], Parts.of(configuration("ia32")))


def test_states_keep_what_the_monitor_keeps():
    for row in FAST:
        for ran in (derived("ia32", row).witness.one, derived("ia32", row).witness.other):
            if ran is not None:
                assert ran.before.registers[IOPL] < 3


# -- the commands ---------------------------------------------------------------------------------


def test_explain_tells_both_states():
    done = vmm("explain", "sgdt", "--isa", "x86/ia32")
    assert done.exit_code == 0
    for words in ("SGDT is location sensitive", "state A   CPL=3", "state B   CPL=3", "differs",
                  "witnessed by execution"):  # fmt: skip
        assert words in done.output


def test_explain_knows_an_instruction_by_all_its_names():
    done = vmm("explain", "pushfd", "--isa", "x86/ia32", "--json")
    found = json.loads(done.stdout)
    assert (found["name"], found["critical"], found["privileged"]) == ("PUSHF", True, False)
    assert found["evidence"]["resource_sensitive"]["how"] == "witnessed by execution"


def test_the_table_and_the_page_tell_every_row():
    found = classify(configuration("ia32"), ["ADD", "SGDT", "HLT", "INT", "FNOP"])
    told = table(found)
    for words in ("SGDT", "HLT", "Theorem 1 fails (SGDT, INT, FNOP)", "innocuous, proved: ADD",
                  "(FCS), its low bits being CPL: FNOP", "0≤iopl≤2"):  # fmt: skip
        assert words in " ".join(told.split())
    assert all(f'id="x86/ia32-{name}"' in page([found]) for name in ("SGDT", "HLT", "INT"))


def test_the_page_draws_the_sets_and_compares_configurations():
    """SGDT: critical, and with UMIP privileged; ADD: innocuous; FNOP is told beside the drawing."""
    names = ["ADD", "SGDT", "HLT", "FNOP"]
    found = [classify(configuration(name), names) for name in ("ia32", "ia32+umip")]
    shown = page(found)
    assert shown.count("<svg") == 2
    assert "<tr><td>SGDT</td><td>●</td><td>○</td><td></td></tr>" in shown
    assert "<tr><td>Theorem 1</td><td>fails</td><td>fails</td>" in shown
    assert "are CPL: FNOP" in shown
    opened, closed = (re.findall(f"<{slash}(div|details|table|tr|p|svg|h[123])[ >]", shown)
                      for slash in ("", "/"))  # fmt: skip
    assert sorted(opened) == sorted(closed)


# -- heavy: the whole tables ----------------------------------------------------------------------


@pytest.mark.heavy
def test_all_of_ia32():
    """Robin and Irvine's 18 and IRET; all that is found besides falls under one of few heads."""
    found = whole("ia32")
    published = {*PUBLISHED.values(), "IRET"}
    for row in published:
        assert_critical_with_witness(found.instructions[row])
    besides = set(found.critical) - published
    x87 = {row for row in besides if row.startswith("F")}
    assert all([d.name for d in found.instructions[r].witness.differences] == ["fcs"] for r in x87)
    assert besides - x87 == {"LDS", "LES", "LFS", "LGS", "LSS", "INT3", "INTO", "ICEBP"}
    assert not found.theorem1.holds
    assert not found.theorem3.holds


@pytest.mark.heavy
def test_umip_removes_five():
    """Of all that is critical without it; the x87's, which take minutes, say nothing of it."""
    before = [row for row in whole("ia32").critical if not row.startswith("F")]
    after = classify(configuration("ia32+umip"), before).critical
    assert set(before) - set(after) == HIDDEN_BY_UMIP


@pytest.mark.heavy
def test_all_of_virtual_8086_mode():
    assert set(whole("v86").critical) == LEFT_BY_V86
    assert all(whole("v86").instructions[row].privileged for row in TRAP_IN_V86)
