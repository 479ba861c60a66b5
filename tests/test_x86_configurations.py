"""The x86 by its generations and its aids: what each takes from the critical instructions."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from emu.errors import GuestFileError
from isa.x86.registers import IF, VIF
from vmm.x86.classify import X86Class, classify, classify_row
from vmm.x86.configuration import X86Configuration, _read
from vmm.x86.forms import rows
from vmm.x86.replay import Ran

NAMES = ("8086", "286", "ia32", "ia32+umip", "ia32+vme", "ia32+vmx", "v86", "v86+vme")


def heavy(*rows: str) -> list[object]:
    """Parameters that are not for the default suite."""
    return [pytest.param(row, marks=pytest.mark.heavy) for row in rows]


@cache
def configuration(name: str) -> X86Configuration:
    return X86Configuration.load(f"x86/{name}")


def rows_of(name: str):
    loaded = configuration(name)
    return rows(loaded.mode(loaded.user))


@cache
def derived(name: str, row: str) -> X86Class:
    return classify_row(configuration(name), rows_of(name)[row])


def test_every_generation_and_aid_has_a_configuration():
    assert X86Configuration.names() == sorted(f"x86/{name}" for name in NAMES)


# -- 8086: one mode -------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["CLI", *heavy("OUT", "MOV Sreg")])
def test_on_an_8086_whatever_is_sensitive_is_critical(row):
    found = derived("8086", row)
    assert (found.sensitive, found.privileged, found.critical) == (True, False, True)


def test_on_an_8086_a_halt_is_innocuous():
    """Footnote 3: the processor is no resource; there is no mode in which it would trap."""
    found = derived("8086", "HLT")
    assert (found.innocuous, found.privileged) == (True, False)


@pytest.mark.heavy
def test_all_of_an_8086():
    found = classify(configuration("8086"))
    assert {"CLI", "POPF", "PUSHF", "IN", "MOV Sreg"} <= set(found.critical)
    assert not any(one.privileged for one in found.instructions.values())
    assert not found.theorem1.holds


# -- 286 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["SMSW", *heavy("POPF", "LAR")])
def test_what_robin_and_irvine_found_was_there_from_the_286_on(row):
    assert derived("286", row).critical


# -- VME and PVI ----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["CLI", *heavy("STI")])
def test_protected_mode_virtual_interrupts_make_it_critical(row):
    """It works on VIF at CPL 3, and does not trap as it does without them."""
    assert derived("ia32", row).privileged
    found = derived("ia32+vme", row)
    assert found.critical
    changed = {d.name for d in found.evidence["control_sensitive"].witness.differences}
    assert VIF.name in changed


@pytest.mark.parametrize("row", ["PUSHF", *heavy("POPF")])
def test_they_leave_the_flags_as_they_are(row):
    """SDM volume 3, section 20.4: PUSHF and POPF of ring 3 know nothing of VIF."""
    assert derived("ia32+vme", row).critical
    assert VIF.name not in {d.name for d in derived("ia32+vme", row).witness.differences}


def test_virtual_mode_extensions_give_popf_a_flag_of_its_own():
    """Without them it traps; with them VIF is what the program's IF says, and IF stays."""
    assert derived("v86", "POPF").privileged
    found = derived("v86+vme", "POPF")
    assert found.critical
    shown = found.evidence["privileged"].witness
    user = shown.one if shown.other is None else shown.other
    assert not user.changed((IF,))


# -- VMX ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["SGDT", "POPF", *heavy("PUSHF", "LAR", "PUSH Sreg")])
def test_non_root_operation_makes_it_innocuous(row):
    """It tells and changes nothing but the guest's own, at level 0 and at level 3."""
    found = derived("ia32+vmx", row)
    assert (found.innocuous, found.privileged) == (True, False)


@pytest.mark.parametrize("row", ["IN", *heavy("RDTSC", "MOV CRn")])
def test_what_reaches_further_exits(row):
    found = derived("ia32+vmx", row)
    assert (found.privileged, found.critical) == (True, False)
    shown = found.evidence["privileged"].witness
    assert shown.one.executes
    assert isinstance(shown.other, Ran)
    assert shown.other.exited


def test_a_control_that_is_0_makes_an_instruction_critical():
    """Which exits there are is data: without I/O exiting, a guest reaches the real ports."""
    loaded = configuration("ia32+vmx")
    exits = {c: r for c, r in loaded.nonroot.exits.items() if "I/O" not in c}
    assert exits != loaded.nonroot.exits
    open_ports = replace(loaded, nonroot=replace(loaded.nonroot, exits=exits))
    found = classify_row(open_ports, rows_of("ia32+vmx")["OUT"])
    assert found.critical


@pytest.mark.heavy
def test_in_non_root_operation_nothing_is_critical():
    found = classify(configuration("ia32+vmx"))
    assert not found.critical
    assert found.theorem1.holds and found.theorem3.holds


def test_exits_name_rows_of_the_table():
    loaded = configuration("ia32+vmx")
    named = [row for exiting in loaded.nonroot.exits.values() for row in exiting]
    assert set(named) <= set(rows_of("ia32+vmx"))
    assert len(named) == len(set(named))


def test_exits_without_non_root_operation_are_refused():
    with pytest.raises(GuestFileError, match="go together"):
        _read("x86/wrong", 'title = ""\nsource = ""\nprocessor = "286"\ncode = 16\n'
              'segments = "program"\n[supervisor]\n[user]\n[kept]\n[exits]\n')  # fmt: skip
