"""Known facts about x86, put to the processor: what the oracle says is what the manual says."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from capstone.x86_const import X86_GRP_SSE1, X86_GRP_SSE2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import cases
from .compare import Undefined, compare, compare_forms, differences
from .native import (
    AF,
    ARITHMETIC,
    CF,
    CODE,
    DF,
    FLAT_DATA,
    ID,
    LOW_WINDOW,
    NT,
    OF,
    ORIGIN,
    PF,
    READ_ONLY,
    REGISTERS,
    SF,
    WINDOW,
    ZF,
    Answer,
    Case,
    Fault,
    Silicon,
    Sse,
    written,
)  # fmt: skip
from .needed import needed_silicon

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(Silicon.available() is not None, reason=str(Silicon.available())),
]

DATA = WINDOW.start + 0x100
COUNTING = bytes(range(128))


@pytest.fixture(scope="module")
def silicon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silicon]:
    with needed_silicon(tmp_path_factory.mktemp("silicon")) as built:
        yield built


@pytest.fixture(scope="module")
def run(silicon: Silicon) -> Any:
    def run(code: str, *, eflags: int = 0, limit: int = 1, **given: Any) -> Answer:
        memory = given.pop("memory", COUNTING)
        origin = given.pop("origin", ORIGIN)
        registers = {**dict.fromkeys(REGISTERS, 0), "esp": DATA, **given}
        case = Case(bytes.fromhex(code), registers, eflags | 0x202, memory, origin, limit)
        return silicon.run([case])[0]

    return run


def flags(answer: Answer) -> int:
    return answer.eflags & ARITHMETIC


def word(answer: Answer, address: int) -> int:
    """A dword of changed or counting memory."""
    data = [answer.memory.get(a, COUNTING[a % 128]) for a in range(address, address + 4)]
    return int.from_bytes(bytes(data), "little")


# --- arithmetic ---------------------------------------------------------------------------------


def test_add_wraps(run: Any) -> None:
    """ADD of 1 to −1 gives zero with carry, and ends at the next instruction."""
    answer = run("01 d8", eax=0xFFFFFFFF, ebx=1)
    assert (answer.registers["eax"], flags(answer)) == (0, CF | PF | AF | ZF)
    assert (answer.eip, answer.fault, answer.iterations) == (ORIGIN + 2, None, 1)


def test_adc_overflows(run: Any) -> None:
    """ADC takes the carry in: 7FFFFFFFh + 0 + 1 overflows."""
    answer = run("83 d0 00", eax=0x7FFFFFFF, eflags=CF)
    assert (answer.registers["eax"], flags(answer)) == (0x80000000, PF | AF | SF | OF)


def test_adc_writes_memory(run: Any) -> None:
    """ADC to memory reports only the bytes that changed."""
    answer = run("83 13 01", ebx=DATA)
    assert answer.memory == {DATA: 1}


def test_imul_keeps_the_low_half(run: Any) -> None:
    """IMUL r, r/m, imm8 sets CF and OF when the product does not fit."""
    answer = run("6b c3 fe", ebx=0x7FFFFFFF)
    assert (answer.registers["eax"], flags(answer) & (CF | OF)) == (2, CF | OF)


@pytest.mark.parametrize(
    ("code", "registers"),
    [("f7 f3", {}), ("f7 f3", {"ebx": 1, "edx": 1}), ("f6 fb", {"eax": 0x8000, "ebx": 0xFF}),
     ("d4 00", {"eax": 0x1234})],
)  # fmt: skip
def test_divide_error(run: Any, code: str, registers: dict[str, int]) -> None:
    """DIV by zero, quotients that do not fit, and AAM 0 are #DE, with nothing changed."""
    answer = run(code, **registers)
    assert (answer.fault, answer.eip, answer.iterations) == (Fault(0), ORIGIN, 0)
    assert answer.registers == {**dict.fromkeys(REGISTERS, 0), "esp": DATA, **registers}


def test_cmpxchg8b(run: Any) -> None:
    """CMPXCHG8B stores ecx:ebx when edx:eax is there, and loads edx:eax when not."""
    found = run("0f c7 0e", esi=DATA, eax=0x03020100, edx=0x07060504, ecx=0xAAAAAAAA, ebx=0x55)
    assert (word(found, DATA), word(found, DATA + 4)) == (0x55, 0xAAAAAAAA)
    assert found.eflags & ZF
    other = run("0f c7 0e", esi=DATA)
    assert (other.registers["eax"], other.registers["edx"]) == (0x03020100, 0x07060504)
    assert (other.memory, other.eflags & ZF) == ({}, 0)


# --- faults and page edges ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "address", "fault"),
    [
        ("8b 03", 0x12345678, Fault(14, 4, 0x12345678)),
        ("89 03", WINDOW.stop, Fault(14, 6, WINDOW.stop)),
        ("8b 03", WINDOW.stop - 2, Fault(14, 4, WINDOW.stop)),
        ("89 03", READ_ONLY.start, Fault(14, 7, READ_ONLY.start)),
        ("89 03", READ_ONLY.stop - 2, Fault(14, 7, READ_ONLY.stop - 2)),
        ("89 03", CODE.start, Fault(14, 7, CODE.start)),
        ("8b 03", READ_ONLY.start - 1, Fault(14, 4, READ_ONLY.start - 1)),
        ("8b 03", 0xC0000000, Fault(14, 4, 0xC0000000)),
    ],
)
def test_page_fault(run: Any, code: str, address: int, fault: Fault) -> None:
    """#PF names the first byte that could not be reached, and writes nothing."""
    answer = run(code, ebx=address)
    assert (answer.fault, answer.memory, answer.eip) == (fault, {}, ORIGIN)


def test_instruction_that_crosses_its_page(run: Any) -> None:
    """The fetch of the second half faults at the page that is not there."""
    answer = run("01 d8", origin=CODE.stop - 1)
    assert answer.fault is not None
    assert (answer.fault.vector, answer.fault.address) == (14, CODE.stop)


@pytest.mark.parametrize(
    ("code", "fault", "length"),
    [("0f 0b", Fault(6), 0), ("f0 90", Fault(6), 0), ("cc", Fault(3), 1), ("f4", Fault(13), 0),
     ("cd 21", Fault(13, 0x21 * 8 + 2), 0)],
)  # fmt: skip
def test_other_faults(run: Any, code: str, fault: Fault, length: int) -> None:
    """#UD, #BP and #GP come with their vectors and codes."""
    answer = run(code)
    assert (answer.fault, answer.eip) == (fault, ORIGIN + length)


def test_into(run: Any) -> None:
    """INTO is a trap after itself with OF, and nothing without."""
    assert (run("ce", eflags=OF).fault, run("ce", eflags=OF).eip) == (Fault(4), ORIGIN + 1)
    assert run("ce").fault is None


def test_bound(run: Any) -> None:
    """BOUND is #BR outside the signed bounds."""
    bounds = (0xFFFFFFFE).to_bytes(4, "little") + (2).to_bytes(4, "little")
    assert run("62 03", memory=bounds, ebx=DATA, eax=2).fault is None
    assert run("62 03", memory=bounds, ebx=DATA, eax=3).fault == Fault(5)


def test_past_four_gigabytes(run: Any) -> None:
    """A dword across the end of the address space is #GP, not a page fault."""
    assert run("8b 03", ebx=0xFFFFFFFE).fault == Fault(13)


# --- stack and flags ----------------------------------------------------------------------------


def test_pushf_does_not_see_the_trap_flag(run: Any) -> None:
    """PUSHF pushes the flags as the case gave them, without our TF."""
    given = CF | DF | NT | ID
    answer = run("9c", eflags=given)
    assert word(answer, DATA - 4) == given | 0x202
    assert answer.registers["esp"] == DATA - 4


def test_popf_user_mode(run: Any) -> None:
    """POPF at privilege 3 keeps IF and IOPL and takes the rest."""
    answer = run("9d", memory=b"\xff")
    assert answer.eflags & ~0x100 == 0x244ED7 & ~0x100
    assert run("9d", memory=b"\x00").eflags == 0x202


def test_flags_do_not_leak(run: Any) -> None:
    """NT, ID and AC of one case are gone in the next."""
    run("9d", memory=b"\xff")
    assert run("90").eflags == 0x202


def test_push_and_pop_at_page_edges(run: Any) -> None:
    """A push below the first page faults and leaves esp; a pop of the last dword does not."""
    below = run("50", esp=READ_ONLY.start + 2)
    assert below.fault == Fault(14, 6, READ_ONLY.start - 2)
    assert below.registers["esp"] == READ_ONLY.start + 2
    assert run("58", esp=WINDOW.stop - 4).registers["eax"] == 0x7F7E7D7C
    assert run("58", esp=WINDOW.stop - 3).fault == Fault(14, 4, WINDOW.stop)


def test_push_esp_and_pop_esp(run: Any) -> None:
    """PUSH ESP pushes the old value; POP ESP loads what it popped."""
    assert word(run("54"), DATA - 4) == DATA
    assert run("5c").registers["esp"] == 0x03020100


def test_enter_and_leave(run: Any) -> None:
    """ENTER 16, 2 copies one outer frame pointer and pushes its own."""
    answer = run("c8 10 00 02", ebp=DATA + 0x40)
    assert answer.registers["ebp"] == DATA - 4
    assert answer.registers["esp"] == DATA - 12 - 16
    assert [word(answer, DATA - n) for n in (4, 8, 12)] == [DATA + 0x40, 0x3F3E3D3C, DATA - 4]
    left = run("c9", ebp=DATA)
    assert (left.registers["ebp"], left.registers["esp"]) == (0x03020100, DATA + 4)


# --- control flow -------------------------------------------------------------------------------


def test_call_and_ret(run: Any) -> None:
    """A call may go anywhere: the trap comes before the target is fetched."""
    called = run("e8 00 00 00 40")
    assert (called.eip, word(called, DATA - 4)) == (ORIGIN + 0x40000005, ORIGIN + 5)
    returned = run("c2 08 00")
    assert (returned.eip, returned.registers["esp"]) == (0x03020100, DATA + 12)


def test_jcc(run: Any) -> None:
    """JO is taken with OF only; a jump to itself is one step."""
    assert run("70 10", eflags=OF).eip == ORIGIN + 0x12
    assert run("70 10").eip == ORIGIN + 2
    assert (run("eb fe").eip, run("eb fe").iterations) == (ORIGIN, 1)


def test_near_jump_with_operand_size(run: Any) -> None:
    """With 66 a near jump keeps 16 bits of eip."""
    assert run("66 eb 00").eip == (ORIGIN + 3) & 0xFFFF


def test_sequence(run: Any) -> None:
    """Several instructions run until eip leaves the code."""
    answer = run("40 43 49 75 fb", ecx=3, limit=100)
    assert (answer.registers["eax"], answer.iterations, answer.eip) == (3, 12, ORIGIN + 5)


# --- strings, bits, tables ----------------------------------------------------------------------


def test_rep_movs(run: Any) -> None:
    """Each iteration of REP is a step; with ecx 0 the instruction is one step still."""
    answer = run("f3 a4", ecx=3, esi=DATA, edi=DATA + 5, limit=64)
    assert (answer.iterations, answer.eip) == (3, ORIGIN + 2)
    assert answer.memory == {DATA + 5: 0, DATA + 6: 1, DATA + 7: 2}
    assert run("f3 a4", esi=DATA, edi=DATA, limit=64).iterations == 1


def test_rep_stops_at_the_limit(run: Any) -> None:
    """A case that reaches its limit stands before the next iteration."""
    answer = run("f3 aa", ecx=9, edi=DATA, limit=4)
    assert (answer.iterations, answer.eip, answer.registers["ecx"]) == (4, ORIGIN, 5)


def test_rep_faults_midway(run: Any) -> None:
    """What was done before the fault stays done."""
    answer = run("f3 a4", ecx=9, esi=DATA, edi=WINDOW.stop - 2, limit=64)
    assert (answer.iterations, answer.fault) == (2, Fault(14, 6, WINDOW.stop))
    assert (answer.registers["ecx"], answer.registers["edi"]) == (7, WINDOW.stop)


def test_without_the_trap_flag(run: Any) -> None:
    """Limit 0 runs to the INT3 behind the code, as fast strings do."""
    answer = run("f3 a4", ecx=500, esi=DATA, edi=DATA + 0x801, limit=0)
    assert (answer.registers["ecx"], answer.eip, answer.fault) == (0, ORIGIN + 2, None)
    assert len(answer.memory) == 500


def test_repe_cmps_ends_on_difference(run: Any) -> None:
    """REPE CMPSB ends after the first pair that differs."""
    answer = run("f3 a6", ecx=99, esi=DATA, edi=DATA + 128, memory=b"same" * 32, limit=9)
    assert answer.iterations == 9
    assert run("f3 a6", ecx=99, esi=DATA, edi=DATA + 1, limit=9).iterations == 1


def test_bt_reaches_far(run: Any) -> None:
    """BTS with a register takes its offset signed and beyond the dword."""
    answer = run("0f ab 03", ebx=DATA, eax=0xFFFFFFFF, memory=b"\0")
    assert answer.memory == {DATA - 1: 0x80}
    assert run("0f ab 03", ebx=DATA, eax=801, memory=b"\0").memory == {DATA + 100: 2}


def test_xlat(run: Any) -> None:
    """XLAT reads at ebx plus al, unsigned."""
    assert run("d7", ebx=DATA, eax=0x12345685).registers["eax"] == 0x12345605


def test_sixteen_bit_address(run: Any, silicon: Silicon) -> None:
    """bx + di wraps at 64 KiB, but the operand itself runs on."""
    if not silicon.low:
        pytest.skip("vm.mmap_min_addr forbids the low window")
    assert LOW_WINDOW.start < 0xFFFE < LOW_WINDOW.stop - 0x1000
    answer = run("67 c7 01 ff ff ff ff", ebx=0xABCDFFF0, edi=0x1234000E, memory=b"\0")
    assert set(answer.memory) == {0xFFFE, 0xFFFF, 0x10000, 0x10001}


def test_segments(run: Any) -> None:
    """FS is flat; a null DS may be loaded, and is back in the next case."""
    assert run("64 8b 03", ebx=DATA).registers["eax"] == 0x03020100
    assert run("8e d8").selectors["ds"] == 0
    assert run("90").selectors["ds"] == FLAT_DATA


# --- the harness itself -------------------------------------------------------------------------


def test_hang_and_death_are_survived(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A case that hangs is reported as lost, and those around it are answered."""
    with Silicon.build(tmp_path_factory.mktemp("hang"), timeout=0.5) as silicon:
        good = Case(b"\x40", {"eax": 1})
        hang = Case(b"\xeb\xfe", {}, limit=0)
        answers = silicon.run([good, hang, good])
    assert [answer.registers.get("eax") for answer in answers] == [2, None, 2]
    assert (answers[1].lost, silicon.restarts) == ("no answer in 0.5 s", 1)


def test_any_bytes(silicon: Silicon) -> None:
    """Random bytes neither kill the helper nor give two answers."""
    rng = random.Random(1)
    codes = (rng.randbytes(15) for _ in range(20_000))
    made = [cases.make_case(code, rng) for code in codes if not cases.unsafe(code)]
    first, second = silicon.run(made), silicon.run(made)
    assert first == second
    assert not [answer for answer in first if answer.lost]


def integer_form(code: bytes) -> str | None:
    """A stand-in for an emulator's predicate: mnemonic and operand kinds."""
    insn = cases.decode(code)
    if insn is None or set(insn.groups) & {X86_GRP_SSE1, X86_GRP_SSE2}:
        return None
    return " ".join([str(insn.mnemonic), *(f"{o.type}.{o.size}" for o in insn.operands)])


def test_forms_are_covered_evenly(silicon: Silicon) -> None:
    """Every form has its share, and silicon agrees with itself."""
    forms = cases.Forms(integer_form, prefixes=(b"", b"\x66", b"\xf3"))
    count = 8 * len(forms.templates)
    drawn = list(forms.cases(random.Random(2), count))
    answers = iter(silicon.run([case for _, case in drawn]))
    result = compare(silicon, lambda case: (next(answers), Undefined()), drawn)
    assert [form for form in forms.templates if forms.counts[form] < 8] == []
    assert (sum(result.executed.values()), result.differences) == (count, [])
    assert f"{count} cases" in forms.summary()


def test_memory_operands_meet_the_window(silicon: Silicon) -> None:
    """Most memory operands of every address form are in reach; some fault."""
    forms = cases.Forms(lambda code: "mov" if _opcode(code) in (0x88, 0x89, 0x8A, 0x8B) else None)
    result = silicon.run([case for _, case in forms.cases(random.Random(3), 4000)])
    faults = sum(answer.fault is not None for answer in result)
    assert 0.03 < faults / len(result) < 0.3


def _opcode(code: bytes) -> int:
    return code.lstrip(cases.LEGACY_PREFIXES)[0]


def test_a_difference_is_explained(silicon: Silicon) -> None:
    """A wrong executor is told what, where and how; undefined parts are left out."""

    def wrong(case: Case) -> tuple[Answer, Undefined]:
        return Answer(dict.fromkeys(REGISTERS, 0), 0x202, ORIGIN + 2), Undefined(AF)

    case = Case(b"\x01\xd8", {"eax": 0xFFFFFFFF, "ebx": 1, "esp": 0})
    result = compare(silicon, wrong, [("add", case)] * 60)
    assert (result.differing["add"], len(result.differences)) == (60, 50)
    report = str(result.differences[0])
    assert "add eax, ebx" in report
    assert "ebx: expected 00000001, got 00000000" in report
    assert "flags CF PF ZF differ: expected (CF PF ZF), got ()" in report


def test_executor_may_decline(silicon: Silicon) -> None:
    """None from the executor counts as refused."""
    forms = cases.Forms(lambda code: "inc" if code == b"\x40" else None, prefixes=(b"",))
    result = compare_forms(silicon, lambda case: None, forms, 5)
    assert (result.refused["inc"], sum(result.executed.values())) == (5, 0)


def test_pages_and_written() -> None:
    """What an emulator loads, and how it says what it wrote."""
    case = Case(b"\x40", {}, memory=b"ab")
    pages = case.pages()
    assert pages[WINDOW.start][:4] == b"abab"
    assert pages[CODE.start][0x7FF:0x802] == b"\xcc\x40\xcc"
    assert written(case, {WINDOW.start: ord("a"), WINDOW.start + 1: 0}) == {WINDOW.start + 1: 0}


def test_unsafe_and_newer() -> None:
    """The documented exclusions."""
    for code in ("0f05", "cd80", "0f34", "66ff18", "8ed0", "0f01c1", "0fa2", "cf"):
        assert cases.unsafe(bytes.fromhex(code)), code
    for code in ("f30fbcc0", "66f30fb8c0", "c5f877", "62c0", "8fc8", "f30f1efb"):
        assert cases.newer(bytes.fromhex(code)), code
    for code in ("cd21", "0fbcc0", "ff10", "8f00", "f390", "c408", "0fc708"):
        assert not cases.newer(bytes.fromhex(code)), code
    assert not cases.unsafe(b"\xff\x10")


def test_popa_may_be_half_done(silicon: Silicon) -> None:
    """POPA that faults at its fourth pop differs in no register that counts."""
    case = Case(b"\x61", {**dict.fromkeys(REGISTERS, 0), "esp": WINDOW.stop - 16}, memory=b"\xff")

    def execute(case: Case) -> tuple[Answer, Undefined]:
        fault = Fault(14, 4, WINDOW.stop)
        return Answer(case.registers, 0x202, ORIGIN, {}, fault, 0), Undefined()

    assert compare(silicon, execute, [("popa", case)]).differences == []


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_hypothesis_may_be_the_source(rng: random.Random) -> None:
    """Cases can be drawn, and shrunk, by Hypothesis."""
    case = cases.make_case(b"\x01\x44\x8b\x10", rng)
    assert set(case.registers) == set(REGISTERS)


def test_differences_ignore_what_is_undefined() -> None:
    """A mask of flags, names of registers and memory may be left open."""
    one = Answer(dict.fromkeys(REGISTERS, 0), SF, 0, {WINDOW.start: 1})
    two = Answer({**dict.fromkeys(REGISTERS, 0), "eax": 1}, 0, 0, {})
    assert len(differences(one, two)) == 3
    assert differences(one, two, Undefined(SF, frozenset({"eax"}), memory=True)) == []


# --- SSE ----------------------------------------------------------------------------------------

ONE, TWO, DENORMAL = 0x3F800000, 0x40000000, 1
DIVIDE, ADD = "0f5ec1", "0f58c1"  # DIVPS, ADDPS xmm0, xmm1


def with_sse(silicon: Silicon, code: str, *xmm: int, mxcsr: int = 0x1F80) -> Answer:
    registers = {**dict.fromkeys(REGISTERS, 0), "esi": DATA}
    sse = Sse(mxcsr, (*xmm, *range(len(xmm), 8)))
    return silicon.run([Case(bytes.fromhex(code), registers, memory=COUNTING, sse=sse)])[0]


def test_sse_registers(silicon: Silicon) -> None:
    """What a case puts into them is there, and what it leaves alone comes back."""
    answer = with_sse(silicon, "0f1016", *(n << 100 | 7 for n in range(8)), mxcsr=0x7FBF)
    loaded = int.from_bytes(COUNTING[:16], "little")
    assert answer.sse == Sse(
        0x7FBF, (7, 1 << 100 | 7, loaded, *(n << 100 | 7 for n in range(3, 8)))
    )


def test_masked_simd_exception(silicon: Silicon) -> None:
    """MXCSR has the flags of all four divisions: 1/0, 1/denormal, 0/denormal, 0/0."""
    answer = with_sse(silicon, DIVIDE, ONE | ONE << 32, DENORMAL << 32 | DENORMAL << 64)
    assert answer.fault is None and answer.sse is not None
    assert answer.sse.mxcsr == 0x1F80 | 0b101111  # all but UE
    assert answer.sse.xmm[0] & 0xFFFFFFFF == 0x7F800000


def test_unmasked_simd_exception(silicon: Silicon) -> None:
    """#XM leaves the destination, and says in MXCSR why."""
    answer = with_sse(silicon, DIVIDE, ONE, 0, mxcsr=0x1F80 & ~0x200)
    assert answer.fault == Fault(19) and answer.sse is not None
    assert answer.sse.xmm[0] == ONE and answer.sse.mxcsr == 0x1D80 | 0b101


def test_no_sse_asked_for(silicon: Silicon) -> None:
    """Then none is told, and what a case before has left is gone."""
    before = Case(bytes.fromhex(ADD), {}, sse=Sse(0x1F80, (ONE,) * 8))
    stores = Case(bytes.fromhex("0fae1e"), {"esi": DATA}, memory=COUNTING)  # STMXCSR
    answers = silicon.run([before, stores])
    assert answers[1].sse is None and word(answers[1], DATA) == 0x1F80
