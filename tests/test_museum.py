"""The museum: what each machine's instructions do in s and in u, and the verdicts published of it.

The verdicts stand here and nowhere else; they are derived from the meanings (`vmm.theory`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from toy_machines import ENGINES, machine_at, mpr, step, toy, trapped, word

from isa.toy import Configuration, Toy
from isa.toy.table import Behaviour
from isa.toy.traps import Trap
from isa.words import mask
from vmm.theory import Classification, classify

ON_EVERY_ENGINE = pytest.mark.parametrize("engine", ENGINES)
S, U = 0, 1

# -- published verdicts -------------------------------------------------------------------------

ARM_OPERATIONS = (
    "AND",
    "EOR",
    "SUB",
    "RSB",
    "ADD",
    "ADC",
    "SBC",
    "RSC",
    "ORR",
    "MOV",
    "BIC",
    "MVN",
)
ARM_GROUPS = {  # Dall and Nieh's 24: 12 + 3 + 2 + 3 + 4
    "data processing with S and Rd = PC": [f"{name}S_PC" for name in ARM_OPERATIONS],
    "status registers": ["CPS", "MRS", "MSR"],
    "exception frames": ["RFE", "SRS"],
    "load and store multiple": ["LDM2", "LDM3", "STM2"],
    "unprivileged access": ["LDRT", "LDRBT", "STRT", "STRBT"],
}
ARM = [name for group in ARM_GROUPS.values() for name in group]
CHANGE_MODE = ["CHMK", "CHME", "CHMS", "CHMU"]
VAX = ["MOVPSL", "PROBER", "PROBEW", *CHANGE_MODE, "REI"]
PUBLISHED: dict[str, tuple[list[str], list[str]]] = {
    # configuration: (critical instructions, those of them that offend Theorem 3)
    "toy/clean": ([], []),
    "toy/pdp10": (["JRST1"], []),  # Popek and Goldberg, section 5
    "toy/s360": ([], []),  # CP-67
    "toy/pdp11": (["MFPI", "MTPI", "SPL", "RESET", "RTI"], []),  # Popek and Kline 1975
    "toy/pdp11_ucla": ([], []),  # the same, modified
    "toy/vax": (VAX, VAX),  # Hall and Robinson 1991; users see and change rings
    "toy/m68000": (["MOVE_FROM_SR"], []),
    "toy/m68010": ([], []),
    "toy/popf": (["SPLX", "POPF"], []),
    "toy/eflags": (["POPF", "PUSHF", "IRET"], ["PUSHF"]),  # Robin and Irvine, and IRET
    "toy/riscv": ([], []),
    "toy/armv7": (ARM, ["MRS"]),  # Theorem 3: not published; MRS shows CPSR.I to users
    "toy/mips": (["LD", "ST", "PUSH", "POP", "CALL", "RET"], []),  # by location: Disco 1997
    "toy/lra": (["LRA"], ["LRA"]),  # Popek and Goldberg, section 3
    "toy/rdmode": (["RDMODE"], []),
    "toy/decb": (["DECB"], ["DECB"]),  # section 4: virtualizable all the same
}


@cache
def classification(name: str) -> Classification:
    return classify(toy(name))


@pytest.mark.parametrize("name", PUBLISHED)
def test_theorem_1_and_its_critical_instructions_are_the_published_ones(name):
    critical, _ = PUBLISHED[name]
    found = classification(name).theorem1
    assert sorted(found.critical) == sorted(critical)
    assert found.holds == (not critical)


@pytest.mark.parametrize("name", PUBLISHED)
def test_theorem_3_and_what_offends_it(name):
    _, offending = PUBLISHED[name]
    found = classification(name).theorem3
    assert sorted(found.offending) == sorted(offending)
    assert found.holds == (not offending)


def test_every_configuration_has_its_verdict():
    assert set(PUBLISHED) == set(Configuration.names()) - {"toy/all"}


def test_arm_has_its_twenty_four_in_five_groups():
    assert [len(group) for group in ARM_GROUPS.values()] == [12, 3, 2, 3, 4]
    assert len(ARM) == 24
    assert set(ARM) < set(toy("toy/armv7").rows)


def test_mips_fails_by_location():
    found = classification("toy/mips").instructions
    for name in PUBLISHED["toy/mips"][0]:
        assert found[name].location_sensitive, name
        assert not found[name].user_sensitive, name


# -- meanings, one case each --------------------------------------------------------------------


def museum(engine, name, text, mode, **options):
    """A machine about to do NAME with rd = r3, ra = r1, rb = r2 and the operand `imm`."""
    isa = toy(name)
    system = options.pop("system", {})
    code = word(isa, text, rd=3, ra=1, rb=2, imm=options.pop("imm", 0))
    machine = machine_at(engine, code, isa=isa, mode=mode, **options)
    for register, value in system.items():
        machine.state[register] = value
    return machine


def case(configuration, name, mode, before, after):
    """`before` and `after` name registers; integers are words of storage."""
    return pytest.param(configuration, name, mode, before, after, id=f"{name}-{mode}")


TRAPS = {"cause": int(Trap.PRIVILEGED)}
STACK = {"r7": 100, 100: 40}  # P, and above it a status word
SPSR_USER = {"spsr": 1 << 5 | 1 << 4 | 0b1010}
CASES = [
    # PDP-11
    case("toy/pdp11", "MTPI", S, {"r1": 20, "r3": 7, "b": 4}, {20 + 128: 7}),
    case("toy/pdp11", "MTPI", U, {"r1": 20, "r3": 7, "b": 4}, {20: 7}),
    case("toy/pdp11", "SPL", S, {"imm": 6}, {"ipl": 6}),
    case("toy/pdp11", "SPL", U, {"imm": 6}, {"ipl": 0, "cause": 0, "p": 3}),
    case("toy/pdp11", "RESET", S, {"armed": 1, "timer": 1000}, {"armed": 0}),
    case("toy/pdp11", "RESET", U, {"armed": 1, "timer": 1000}, {"armed": 1, "cause": 0}),
    case("toy/pdp11", "RTI", S, STACK | {101: 1 << 14 | 5 << 5 | 9},
         {"mode": 1, "p": 40, "ipl": 5, "flags": 9, "r7": 102}),
    case("toy/pdp11", "RTI", U, STACK | {101: 5 << 5 | 9},
         {"mode": 1, "p": 40, "ipl": 0, "flags": 9, "r7": 102}),
    *[case("toy/pdp11_ucla", name, U, {}, TRAPS)
      for name in ("MFPI", "MTPI", "SPL", "RESET", "RTI")],
    # System/360
    case("toy/s360", "SSM", S, {"r1": 0}, {"masked": 1}),
    case("toy/s360", "SSM", S, {"r1": 1, "masked": 1}, {"masked": 0}),
    case("toy/s360", "SSM", U, {}, TRAPS),
    # 68000
    case("toy/m68000", "MOVE_FROM_SR", S, {"flags": 5}, {"r3": 1 << 13 | 5}),
    case("toy/m68000", "MOVE_FROM_SR", U, {"flags": 5}, {"r3": 5}),
    case("toy/m68010", "MOVE_FROM_SR", U, {}, TRAPS),
    case("toy/m68010", "MOVE_FROM_CCR", U, {"flags": 5}, {"r3": 5}),
    case("toy/m68000", "MOVE_TO_CCR", U, {"r1": 31}, {"flags": 15}),
    case("toy/m68000", "MOVE_TO_SR", S, {"r1": 3}, {"flags": 3, "mode": 1}),
    case("toy/m68000", "MOVE_TO_SR", S, {"r1": 1 << 13}, {"flags": 0, "mode": 0}),
    case("toy/m68000", "MOVE_TO_SR", U, {}, TRAPS),
    case("toy/m68000", "RTE", S, STACK | {101: 6}, {"mode": 1, "p": 40, "flags": 6, "r7": 102}),
    case("toy/m68000", "RTE", U, {}, TRAPS),
    # IA-32
    case("toy/popf", "POPF", S, {"r7": 100, 100: 1 << 9 | 2, "masked": 1},
         {"masked": 0, "flags": 2, "r7": 101}),
    case("toy/popf", "POPF", U, {"r7": 100, 100: 1 << 9 | 2, "masked": 1},
         {"masked": 1, "flags": 2, "r7": 101, "cause": 0}),
    case("toy/eflags", "PUSHF", U, {"r7": 100, "flags": 3}, {99: 1 << 9 | 3, "r7": 99}),
    case("toy/popf", "CLI", S, {}, {"masked": 1}),
    case("toy/popf", "STI", S, {"masked": 1}, {"masked": 0}),
    case("toy/popf", "CLI", U, {}, TRAPS),
    case("toy/popf", "STI", U, {}, TRAPS),
    case("toy/eflags", "IRET", S, STACK | {101: 1, 102: 2},
         {"p": 40, "mode": 1, "flags": 2, "masked": 1, "r7": 103}),
    case("toy/eflags", "IRET", U, STACK | {101: 1, 102: 2},
         {"p": 40, "mode": 1, "flags": 2, "masked": 0, "r7": 103}),
    case("toy/eflags", "IRET", U, STACK, {"cause": int(Trap.ILLEGAL)}),
    # RISC-V
    case("toy/riscv", "CSRRW", S, {"imm": 0, "r1": 9, "scratch": 4}, {"scratch": 9, "r3": 4}),
    case("toy/riscv", "CSRRW", S, {"imm": 1, "r1": 9, "epc": 4}, {"epc": 9, "r3": 4}),
    case("toy/riscv", "CSRRW", S, {"imm": 2, "r1": 0, "spp": 1}, {"spp": 0, "r3": 1 << 8}),
    case("toy/riscv", "CSRRW", S, {"imm": 3, "r1": 3 << 9 | 8}, {"l": 3, "b": 8, "r3": 256}),
    case("toy/riscv", "SRET", S, {"epc": 40}, {"mode": 1, "p": 40}),
    case("toy/riscv", "SRET", S, {"epc": 40, "spp": 1}, {"mode": 0, "p": 40, "spp": 0}),
    *[case("toy/riscv", name, S, {}, {"p": 3, "cause": 0}) for name in ("WFI", "SFENCE_VMA")],
    *[case("toy/riscv", name, U, {}, TRAPS) for name in ("CSRRW", "SRET", "WFI", "SFENCE_VMA")],
    # MIPS
    case("toy/mips", "MTC0", S, {"imm": 1, "r1": 9}, {"epc": 9, "spp": 0}),
    case("toy/mips", "MTC0", S, {"imm": 0, "r1": 9}, {"epc": 0, "spp": 1}),
    case("toy/mips", "MFC0", S, {"imm": 1, "epc": 9}, {"r3": 9}),
    case("toy/mips", "ERET", S, {"epc": 9, "spp": 1}, {"p": 9, "mode": 1}),
    *[case("toy/mips", name, U, {}, TRAPS) for name in ("MTC0", "MFC0", "ERET")],
    case("toy/mips", "LD", S, {"l": 1, "b": 2, "r1": 1 << 31 | 9000, 9000: 5}, {"r3": 5}),
    case("toy/mips", "LD", U, {"l": 1, "b": 2, "r1": 1 << 31 | 9000},
         {"cause": int(Trap.MEMORY), "info": 1 << 31 | 9000}),
    case("toy/mips", "LD", S, {"r1": 1 << 31 | 16384}, {"cause": int(Trap.MEMORY)}),
    case("toy/mips", "ST", S, {"l": 1, "b": 2, "r1": 1 << 31 | 9000, "r3": 5}, {9000: 5}),
    # VAX: modes 0 to 3
    *[case("toy/vax", "MOVPSL", mode, {}, {"r3": mode}) for mode in range(4)],
    *[case("toy/vax", "PROBER", mode, {"r1": 50, 50: 0b0110}, {"r3": int(mode <= 2)})
      for mode in range(4)],
    *[case("toy/vax", "PROBEW", mode, {"r1": 50, 50: 0b0110}, {"r3": int(mode <= 1)})
      for mode in range(4)],
    case("toy/vax", "PROBER", S, {"r1": 50, 50: 0b0110, "r3": 3}, {"r3": 0}),
    *[case("toy/vax", name, mode, {"p": 6, "r7": 100, 2 + target: 40 + target},
           {"mode": min(mode, target), "p": 40 + target, "r7": 98, 98: 7, 99: mode, "cause": 0})
      for target, name in enumerate(CHANGE_MODE) for mode in range(4)],
    case("toy/vax", "REI", S, STACK | {101: 3}, {"p": 40, "mode": 3, "r7": 102}),
    case("toy/vax", "REI", 2, STACK | {101: 1}, {"cause": int(Trap.ILLEGAL)}),
    # ARM
    *[case("toy/armv7", f"{name}S_PC", mode, {"r1": 12, "r2": 10, "flags": 0b0010, **SPSR_USER},
           {"p": result & mask(14), "mode": 1,
            "flags": (0b0010, 0b1010)[mode == S], "masked": int(mode == S)})
      for name, result in {
          "AND": 8, "EOR": 6, "SUB": 2, "RSB": -2, "ADD": 22, "ADC": 23, "SBC": 2, "RSC": -2,
          "ORR": 14, "MOV": 10, "BIC": 4, "MVN": ~10}.items() for mode in (S, U)],
    case("toy/armv7", "CPS", S, {"imm": 3}, {"masked": 1, "mode": 1}),
    case("toy/armv7", "CPS", U, {"imm": 1}, {"masked": 0, "mode": 1, "cause": 0}),
    case("toy/armv7", "MRS", S, {"flags": 9, "masked": 1}, {"r3": 1 << 4 | 9}),
    case("toy/armv7", "MRS", S, {"spsr": 33, "imm": 1}, {"r3": 33}),
    case("toy/armv7", "MRS", U, {"flags": 9, "spsr": 33, "imm": 1}, {"r3": 1 << 5 | 9}),
    case("toy/armv7", "MSR", S, {"r1": 63}, {"flags": 15, "masked": 1, "mode": 1}),
    case("toy/armv7", "MSR", S, {"r1": 63, "imm": 1}, {"spsr": 63, "flags": 0, "mode": 0}),
    case("toy/armv7", "MSR", U, {"r1": 31}, {"flags": 15, "masked": 0, "mode": 1, "cause": 0}),
    case("toy/armv7", "MSR", U, {"r1": 31, "imm": 1}, {"flags": 0, "spsr": 0}),
    case("toy/armv7", "RFE", S, {"r1": 50, 50: 40, 51: 63}, {"p": 40, "mode": 1, "masked": 1}),
    case("toy/armv7", "RFE", U, {"r1": 50, 50: 40, 51: 31}, {"p": 40, "flags": 15, "masked": 0}),
    case("toy/armv7", "SRS", S, {"r1": 50, "r6": 8, "spsr": 9}, {50: 8, 51: 9}),
    case("toy/armv7", "SRS", U, {"r1": 50, "r6": 8, "spsr": 9}, {50: 0, 51: 0, "cause": 0}),
    case("toy/armv7", "LDM2", S, {"r1": 50, 50: 4}, {"usp": 4, "r7": 0}),
    case("toy/armv7", "LDM2", U, {"r1": 50, 50: 4}, {"usp": 0, "r7": 4}),
    case("toy/armv7", "LDM3", S, {"r1": 50, 50: 40, **SPSR_USER}, {"p": 40, "mode": 1}),
    case("toy/armv7", "LDM3", U, {"r1": 50, 50: 40, **SPSR_USER}, {"p": 40, "flags": 0}),
    case("toy/armv7", "STM2", S, {"r1": 50, "usp": 4, "r7": 5}, {50: 4}),
    case("toy/armv7", "STM2", U, {"r1": 50, "usp": 4, "r7": 5}, {50: 5}),
    case("toy/armv7", "LDRT", S, {"r1": 20, "b": 4, 20: 1, 148: 515}, {"r3": 515}),
    case("toy/armv7", "LDRT", U, {"r1": 20, "b": 4, 20: 1, 148: 515}, {"r3": 1}),
    case("toy/armv7", "LDRBT", S, {"r1": 20, "b": 4, 148: 515}, {"r3": 3}),
    case("toy/armv7", "LDRBT", U, {"r1": 20, "b": 4, 20: 260}, {"r3": 4}),
    case("toy/armv7", "STRT", S, {"r1": 20, "b": 4, "r3": 515}, {148: 515, 20: 0}),
    case("toy/armv7", "STRT", U, {"r1": 20, "b": 4, "r3": 515}, {20: 515, 148: 0}),
    case("toy/armv7", "STRBT", S, {"r1": 20, "b": 4, "r3": 515, 148: 256}, {148: 259}),
    case("toy/armv7", "STRBT", U, {"r1": 20, "b": 4, "r3": 515, 20: 512}, {20: 515}),
]  # fmt: skip


@ON_EVERY_ENGINE
@pytest.mark.parametrize(("configuration", "name", "mode", "before", "after"), CASES)
def test_meanings(engine, configuration, name, mode, before, after):
    """What the manual says of the instruction in that mode, as far as the reduction keeps it."""
    numbers = {int(r[1]): v for r, v in before.items() if isinstance(r, str) and r[1:].isdigit()}
    memory = {a: v for a, v in before.items() if isinstance(a, int)}
    rest = {r: v for r, v in before.items() if isinstance(r, str) and not r[1:].isdigit()}
    isa = toy(configuration)
    machine = museum(
        engine, configuration, name, mode, imm=rest.pop("imm", 0), p=rest.pop("p", 2),
        base=rest.pop("l", 0), bound=rest.pop("b", None), memory=memory, registers=numbers,
        system=rest,
    )  # fmt: skip
    step(machine)
    state = machine.state
    expected = {k: v & mask(isa.shape.word) for k, v in after.items()}
    actual = {k: int(machine.memory.view[k]) if isinstance(k, int) else state[k] for k in after}
    assert actual == expected
    if "cause" not in after:
        assert trapped(machine) == 0


def test_every_instruction_of_the_museum_has_a_case():
    tested = {param.values[1] for param in CASES}
    elsewhere = {"JRST1", "SPLX", "LRA", "LRA_P", "RDMODE", "MFPI", "DECB"}  # configurations
    clean = set(toy().rows)
    assert set(toy("toy/all").rows) - clean - elsewhere <= tested


# -- the state that configurations add ----------------------------------------------------------


@ON_EVERY_ENGINE
@pytest.mark.parametrize(
    ("configuration", "register", "values"),
    [("toy/pdp11", "ipl", {0: True, 3: True, 4: False, 7: False}),
     ("toy/popf", "masked", {0: True, 1: False})],
)  # fmt: skip
def test_masks_hold_interrupts_back_in_user_mode(engine, configuration, register, values):
    for value, taken in values.items():
        isa = toy(configuration)
        machine = machine_at(engine, word(isa, "NOP"), isa=isa, mode=U)
        machine.state[register] = value
        machine.state["timer"], machine.state["armed"] = 1, 1
        machine.memory.view[3] = word(isa, "NOP")
        machine.timer.restart()
        machine.run(2)
        assert (trapped(machine) == Trap.TIMER) == taken


@ON_EVERY_ENGINE
def test_an_instruction_that_unmasks_lets_the_interrupt_in(engine):
    """Engines look again after it: STI as a user may, as if IOPL = 3."""
    old = Configuration.load("toy/popf")
    isa = Toy(_executing(old, "STI"))
    machine = machine_at(engine, word(isa, "STI"), isa=isa, mode=U)
    machine.memory.view[3] = word(isa, "NOP")
    machine.state["masked"] = 1
    machine.state["timer"], machine.state["armed"] = 0, 1
    machine.timer.restart()
    machine.run(2)
    assert trapped(machine) == Trap.TIMER
    assert mpr(machine)[0] == 0


def _executing(old, name):
    return replace(old, behaviours={**old.behaviours, name: Behaviour.EXECUTES})


def test_the_clean_machine_has_no_register_more():
    assert len(toy().known) == 16
    assert not toy().known.declared


def test_rings_have_two_bits_in_the_psw():
    isa = toy("toy/vax")
    assert isa.known.m.width == 2
    assert isa.shape.psw_bits <= isa.shape.word
    assert isa.known.psw.unpack(3 << isa.shape.psw_bits - 2)[isa.known.m] == 3


@ON_EVERY_ENGINE
def test_a_block_that_faults_keeps_what_a_conditional_part_yielded(engine):
    """LDM (2) puts the yield of a `when` into r7; the block goes on and ends with a fault."""
    isa = toy("toy/armv7")
    code = [word(isa, "LDM2", ra=1, imm=50), word(isa, "NOP"), 0]
    machine = machine_at(engine, None, isa=isa, mode=U, memory={50: 77, 1: 0})
    machine.memory.write(2, code)
    machine.run(3)
    assert trapped(machine) == Trap.ILLEGAL
    assert machine.state["r7"] == 77
