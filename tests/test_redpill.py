"""`vmm redpill`: what this processor does in user mode, and what is said where there is none."""

from __future__ import annotations

import json
import platform
import signal

import pytest

from tests.vmm_command import vmm
from vmm.redpill.probe import NoSiliconError, Silicon, why_not
from vmm.redpill.subjects import subjects
from vmm.redpill.thunk import DATA_32, MARK
from vmm.x86.configuration import X86Configuration

HERE = why_not()
needs_silicon = pytest.mark.skipif(HERE is not None, reason=str(HERE))


@pytest.fixture
def silicon():
    try:
        made = Silicon()
    except NoSiliconError as error:
        pytest.skip(str(error))
    yield made
    made.close()


@needs_silicon
@pytest.mark.parametrize("code", ["f4", "fa", "0f22c3", "e4c3", "0f06"])
def test_what_is_privileged_traps(silicon, code):
    """HLT, CLI, MOV CR0, IN and CLTS."""
    found = silicon.carry_out(bytes.fromhex(code))
    assert (found.executed, found.signal) == (False, signal.SIGSEGV)


@needs_silicon
def test_an_invalid_opcode_is_another_signal(silicon):
    assert silicon.carry_out(bytes.fromhex("0f0b")).signal == signal.SIGILL


@needs_silicon
def test_popf_is_silently_ignored(silicon):
    """9D 9C: IF is 0 on the stack; POPF takes it without a trap, and PUSHF shows that IF is 1."""
    found = silicon.carry_out(bytes.fromhex("9d9c"))
    assert found.executed
    assert found.seen.top >> 9 & 1 == 1


@needs_silicon
def test_mov_from_cs_leaks_the_level(silicon):
    """8C CB: MOV EBX, CS."""
    found = silicon.carry_out(bytes.fromhex("8ccb"))
    assert (found.executed, found.seen.ebx & 3) == (True, 3)


@needs_silicon
def test_lar_sees_what_level_3_may_see(silicon):
    """The segment that EBX selects: DPL 3, a segment, present; its rights are in EAX."""
    found = silicon.carry_out(bytes.fromhex("0f02c3"))
    assert found.seen.zero == 1
    assert found.seen.eax & 0xF000 == 0xF000


@needs_silicon
def test_an_instruction_leaves_nothing_behind(silicon):
    """The next one finds its page as the first did."""
    silicon.carry_out(bytes.fromhex("f4"))
    found = silicon.carry_out(b"\x90")
    assert (found.executed, found.signal) == (True, 0)
    assert (found.seen.eax, found.seen.ebx, found.seen.edx) == (MARK, DATA_32, MARK)


@needs_silicon
def test_the_report_has_a_line_for_each_subject(silicon):
    """Within seconds, if nothing is derived."""
    done = vmm("redpill", "--quick", "--json")
    assert done.exit_code == 0, done.output
    found = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    for name in ("HLT", "LGDT", "CLI", "MOV CRn"):
        assert (found[name]["verdict"], found[name]["cycles"]) == ("traps", None)
    assert found["POPF"]["verdict"] == "executes"
    assert found["MOV Sreg"]["tells"].startswith("ebx=")
    assert found["SGDT"]["verdict"] in ("executes", "emulated", "traps")  # UMIP, and who helps


def test_subjects_are_found_by_meaning():
    found = {subject.row.name for subject in subjects(X86Configuration.load("x86/ia32"))}
    assert {"SGDT", "POPF", "MOV Sreg", "LCALL", "HLT", "IN", "RDTSC"} <= found
    assert not found & {"ADD", "MOV", "PUSH", "CALL", "RET", "FADD", "NOP"}


def test_another_processor_is_told(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    done = vmm("redpill")
    assert (done.exit_code, "no x86 but aarch64" in done.output) == (69, True)
