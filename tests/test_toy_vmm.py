"""The control program in toy assembly: equivalent, in control, and running itself inside itself."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from toy_machines import engine, quick, toy, word

import vmm.nest as nest_module
from emu.toy.machine import ToyMachine
from emu.toy.run import BLANK_DISK, load_program
from isa.toy.assembler import Program, assemble
from isa.toy.traps import Trap
from vmm.nest import Run, monitor, nest, words_per_level
from vmm.nest import run as nested_run

FOLDER = Path(__file__).parent.parent / "programs" / "toy"
GUESTS = [
    "hello",
    "primes",
    "gcd",
    "sort",
    "svc",
    "privileged",
    "memtrap",
    "diskcopy",
    "roundrobin",
]
DEPTHS = (1, 2, 3)
LIMIT = 3_000_000
K = words_per_level()


def run(guest: Program, depth: int, source: bytes = b"", engine_name: str = "python") -> Run:
    """Run a guest under `depth` monitors, counting real traps."""
    found = nested_run(guest, depth, toy(), engine(engine_name), source, LIMIT)
    assert found.in_control
    return found


def same(found: Run, bare: Run) -> None:
    """Everything that a guest can see, as far as the smaller of the machines goes."""
    assert found.difference(bare) is None


@cache
def bare(name: str) -> Run:
    """The program on the bare machine."""
    return run(load_program(FOLDER / f"{name}.asm", toy()), 0)


@cache
def nested(name: str, depth: int) -> Run:
    """The program under that many monitors."""
    return run(load_program(FOLDER / f"{name}.asm", toy()), depth)


# -- recursion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", GUESTS)
def test_equivalence_at_the_halt(name, depth):
    """Output, registers and all of E are those of the bare machine."""
    assert bare(name).stop == "halt"
    same(nested(name, depth), bare(name))


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_reference_engine_agrees(depth):
    """On the smallest guest."""
    guest = load_program(FOLDER / "hello.asm", toy())
    assert run(guest, depth, engine_name="reference") == nested("hello", depth)


@pytest.mark.parametrize("name", GUESTS)
def test_traps_multiply(name):
    """Every trap of a level costs several on the level below: the monitor's own instructions."""
    counts = [bare(name).traps, *(nested(name, depth).traps for depth in DEPTHS)]
    print(f"{name}: real traps at depth 0..3: {counts}")
    assert counts[0] < counts[1]
    for fewer, more in pairwise(counts[1:]):
        assert 2 * fewer < more < 10 * fewer


def test_interrupts_of_the_console_reach_the_guest():
    """Their timing differs, and so does what an idle loop counts; the output does not."""
    guest = load_program(FOLDER / "echo.asm", toy())
    given_input = (FOLDER / "echo.in").read_bytes()
    for depth in DEPTHS:
        outcome = run(guest, depth, given_input)
        assert (outcome.stop, outcome.output) == ("halt", (FOLDER / "echo.out").read_bytes())


def test_a_level_costs_k_words():
    """Six granules each, so that depth 3 leaves nearly everything; too deep is said."""
    assert K == 384
    assert monitor().symbols["vmm_end"] <= K
    assert len(nested("hello", 3).storage) == toy().shape.words - 3 * K
    with pytest.raises(ValueError, match="choose a smaller depth"):
        nest(load_program(FOLDER / "hello.asm", toy()), 52)


# -- the dispatcher and the interpreter routines --------------------------------------------------


KERNEL = """
        .org 1
        .psw s, trap, 0, WORDS
        .org 1000                       ; far enough for R to lead out of any storage
start:  li   r0, 0
{body}
        halt
trap:   sta  r0, saved
        in   r0, CAUSE
        sta  r0, log
        in   r0, INFO
        sta  r0, log + 1
        lda  r0, 0
        sta  r0, log + 2
        in   r6, TIMER
        lda  r0, saved
        halt
saved:  .word 0
log:    .space 3
psw:    .psw u, 0, there, there_end - there
        .window there
{user}
        .endwindow
"""


def both(body: str, user: str = "        svc 7", depth: int = 1) -> Run:
    """A little kernel has the same end on the bare machine and in a virtual one; the former."""
    guest = assemble(KERNEL.format(body=body, user=user), isa=toy())
    expected = run(guest, 0)
    same(run(guest, depth), expected)
    return expected


SITUATIONS = {
    "lpsw": "lpsw psw",
    "lpsw out of storage": "li r1, 3\n lr r0, r1\n lpsw 192",
    "lpsw far out": "lpsw 0xffff",
    "lr": "li r1, 200\n li r2, 9\n lr r1, r2",
    "lr beyond storage": "li r1, 255\n li r2, 9\n lr r1, r2",
    "lr wider than R": "li r1, -1\n li r2, -1\n lr r1, r2",
    "lr leaves nothing": "lr r0, r0",
    "illegal": ".word 0",
    "division": "div r1, r0, r0",
    "memory": "li r1, -1\n ld r2, [r1]",
    "svc in supervisor mode": "svc 12",
    "causes": "in r1, CAUSE\n in r2, INFO\n in r3, 5\n in r4, 99\n out r0, 99\n out r0, TIMER",
    "every port": "\n".join(f"in r1, {n}\n sta r1, {800 + n}" for n in range(21)),
    "every register": "\n".join(f"li r{n}, {n + 70}" for n in range(8)) + "\n out r3, 99\n"
    "li r0, 30\n stimer r0\n out r4, 99\n in r0, TIMER",
    "timer set for ever": "li r1, -1\n stimer r1\n in r2, TIMER\n nop\n in r3, TIMER\n"
    "lui r1, 0x8000\n stimer r1\n nop\n in r4, TIMER\n addi r1, r1, 1\n stimer r1\n"
    "in r5, TIMER\n lpsw psw",
    "timer run out in the supervisor": "li r1, 3\n stimer r1\n nop\n in r2, TIMER\n"
    "in r3, TIMER\n in r4, TIMER\n nop\n in r5, TIMER\n stimer r0\n lpsw psw",
    "disk settings": "li r1, 3\n out r1, DISK_SECTOR\n in r2, DISK_SECTOR\n out r1, DISK_ADDRESS\n"
    "in r3, DISK_ADDRESS\n in r4, DISK_SIZE\n in r5, DISK_STATUS\n in r6, DISK_COMMAND",
}


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_situation(situation, depth):
    """Traps, odd operands, empty windows: what is virtual looks real."""
    both(SITUATIONS[situation], depth=depth)


@pytest.mark.parametrize("address", [16384, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 16384 - K - 63])
def test_a_disk_transfer_beyond_storage_fails(address):
    """The device takes real addresses: the monitor looks at them."""
    body = f"""
        lui r1, {address >> 16}
        ori r1, r1, {address & 0xFFFF}
        out r1, DISK_ADDRESS
        in r3, DISK_ADDRESS
        li r1, 1
        out r1, DISK_COMMAND
@wait:  in r2, DISK_STATUS
        beq r1, r2, @wait"""
    guest = assemble(KERNEL.format(body=body, user=""), isa=toy())
    outcome = run(guest, 1)
    assert outcome.stop == "halt"
    assert outcome.registers[2:4] == [2, address]


@pytest.mark.parametrize("depth", [1, 2])
def test_the_timer_counts_the_guests_own_instructions(depth):
    """It fires at the same instruction as on the bare machine, whatever monitors do in between."""
    for count in range(1, 40):
        assert both(timed(count), COUNTING, depth).traps == 1


@pytest.mark.parametrize("depth", [1, 2])
def test_a_timer_that_runs_out_around_a_trap(depth):
    """A handler that saves a register first finds what is left as on the bare machine."""
    for count in range(1, 25):
        both(timed(count), "addi r2, r2, 1\n svc 3", depth)


READS_AT_ONCE = """
        .org 1
        .psw s, trap, 0, WORDS
start:  li   r1, {count}
        stimer r1
        lpsw psw
trap:   in   r0, TIMER
        halt
psw:    .psw u, 0, there, there_end - there
        .window there
        addi r2, r2, 1
        svc  0
        .endwindow
"""


@pytest.mark.parametrize(
    "count", [pytest.param(n, marks=pytest.mark.xfail(strict=True) if n == 4 else ()) for n in
              range(1, 8)]
)  # fmt: skip
def test_a_handler_that_reads_the_timer_at_once(count):
    """The one inexactness, which the paper exempts: see the head of vmm.asm.

    With 4, one instruction is left after the trap; the monitor cannot tell that from none.
    """
    guest = assemble(READS_AT_ONCE.format(count=count), isa=toy())
    expected = run(guest, 0)
    same(run(guest, 1), expected)


COUNTING = "@next: addi r2, r2, 1\n jmp @next"


def timed(count: int) -> str:
    """Set the timer, look at it, and go to user mode."""
    return f"li r1, {count}\n stimer r1\n in r3, TIMER\n nop\n lpsw psw"


def test_interrupts_wait_for_user_mode():
    """The guest's supervisor is never interrupted; its timer runs out all the same."""
    body = "li r1, 5\n stimer r1\n li r2, 50\n@w: addi r2, r2, -1\n bnz r2, @w\n lpsw psw"
    assert both(body).traps == 1


# -- resource control -----------------------------------------------------------------------------


@pytest.mark.parametrize("base", [250, 251, 252, 255])
@pytest.mark.parametrize("bound", [1, 5, 17, 256, 511])
def test_no_word_of_the_monitor_is_in_reach(base, bound):
    """A base so high that, moved up, it would come out below: `run` looks at the monitors' words.

    Wherever the processor goes on, it finds words that store all over the place.
    """
    body = f"""
        li r1, {base}
        li r2, {bound}
        li r4, 1000
        lr r1, r2
@here:  st r4, [r4-1000]
        st r4, [r4-936]
        st r4, [r0+2]
        svc 1"""
    for depth in (1, 2):
        run(assemble(KERNEL.format(body=body, user=""), isa=toy()), depth)


# -- any guest ------------------------------------------------------------------------------------

NAMES = [n for n in toy().rows if n != "HALT"]
HANDLER = """
        .org 1
        .psw s, trap, 0, WORDS
trap:   sta  r0, saved
        sta  r1, saved + 1
        lda  r1, count
        in   r0, CAUSE
        st   r0, [r1+log]
        in   r0, INFO
        st   r0, [r1+log+1]
        lda  r0, 0
        st   r0, [r1+log+2]
        addi r1, r1, 3
        sta  r1, count
        ld   r0, [r1+log+TURNS*3]       ; a PSW to go on with
        sta  r0, next
        li   r0, TURNS*3
        bgeu r1, r0, end
        lda  r1, saved + 1
        lda  r0, saved
        lpsw next
end:    halt
        .equ TURNS, 12
saved:  .space 2
count:  .word 0
next:   .word 0
log:    .space TURNS*3
psws:   .word 0
"""
TURNS = 12
WILD, SIZE = 192, 120  # where wild code stands


@st.composite
def systems(draw: st.DrawFn) -> Program:
    """Wild code under a handler that starts it anew, in some mode and window, a dozen times."""
    chance = random.Random(draw(st.integers(0, 1 << 40)))
    code = []
    for _ in range(SIZE):
        immediate = chance.choice([0, 1, 8, 10, 16, chance.randrange(256), 0xFFFF, 0xFFF0])
        name = chance.choice(NAMES)
        if name == "IN":
            immediate = chance.choice([0, 1, 2, 5, 16, 17, 20])
        fields = {"rd": chance.randrange(8), "ra": chance.randrange(8), "rb": chance.randrange(8)}
        code.append(word(toy(), name, **fields, imm=immediate))
    program = assemble(HANDLER, isa=toy())
    image = program.image[: program.symbols["psws"]]
    image += [0] * (3 * TURNS + 1)
    for turn in range(1, TURNS + 1):
        l = chance.choice([0, 0, 1, 2, 3])  # noqa: E741  # as the paper calls it
        values = [0] * len(toy().known)
        values[toy().known.m.slot] = chance.randrange(2)
        values[toy().known.p.slot] = WILD + chance.randrange(SIZE) - 64 * l
        values[toy().known.l.slot] = l
        values[toy().known.b.slot] = chance.choice([0, 3, 5, 6, 8, 256, 511])
        image[program.symbols["psws"] + 3 * turn] = toy().known.psw.pack(values)
    assert len(image) <= WILD
    image += [0] * (WILD - len(image)) + code
    values[toy().known.m.slot], values[toy().known.p.slot] = 0, WILD
    values[toy().known.l.slot], values[toy().known.b.slot] = 0, toy().shape.all_granules
    return Program(image, WILD, toy().known.psw.pack(values), {}, {})


def keeps_to_itself(guest: Program, margin: int) -> bool:
    """Whether it halts soon and leaves alone the end of storage, which a virtual one lacks, and
    devices, which take real time."""
    machine = ToyMachine(
        toy(), guest.image, engine=engine("reference"), entry=guest.entry, disk=BLANK_DISK
    )
    state, words = machine.state, toy().shape.words
    for step in range(1, 1500):
        base, p = state["l"] * 64, state["p"]
        addresses = {p, state["r7"], state["r7"] - 1}
        if p + base < words:
            code = machine.memory.view[p + base]
            low, register = code & 0xFFFF, state[f"r{code >> 16 & 7}"]
            addresses |= {
                low,
                register + low,
                register + low - (1 << 16),
                register + low - (1 << 32),
            }
            addresses |= {register + low - (1 << 16) - (1 << 32)}
        if any(words - margin <= a + base < words for a in addresses):
            return False
        stop = machine.run(step)
        if stop.reason != "until":
            waits = machine.console.receiving or machine.disk.command
            return stop.reason == "halt" and not waits
    return False


@quick
@given(systems(), st.integers(1, 2))
def test_any_guest_that_halts_halts_in_the_same_state(guest, depth):
    """Equivalence as the paper has it, but for the end of storage and the time of devices."""
    assume(keeps_to_itself(guest, 2 * K + 64))
    same(run(guest, depth), run(guest, 0))


def test_monitored_traps_are_the_ones_a_dispatcher_knows():
    """No interrupt is confused with a trap: causes from 16 on are interrupts, and only those."""
    interrupts = {Trap.TIMER, Trap.CONSOLE, Trap.DISK}
    assert {t for t in Trap if t >= 16} == interrupts


# -- faults in the control program ----------------------------------------------------------------


def subjects() -> list[Program]:
    """Guests that between them ask for everything that the control program does."""
    programs = ["hello", "svc", "privileged", "memtrap", "diskcopy", "roundrobin"]
    kernels = [KERNEL.format(body=body, user="        svc 7") for body in SITUATIONS.values()]
    kernels += [KERNEL.format(body=timed(n), user=COUNTING) for n in (1, 2, 3, 5, 6, 8, 12, 20)]
    kernels += [
        KERNEL.format(body=timed(n), user="addi r2, r2, 1\n svc 3") for n in (3, 7, 9)
    ]  # fmt: skip
    return [
        *(assemble(text, isa=toy()) for text in kernels),
        *(load_program(FOLDER / f"{name}.asm", toy()) for name in programs),
    ]


def without(address: int) -> Program:
    """The control program with NOP for one of its instructions."""
    right = monitor()
    image = list(right.image)
    image[address] = word(toy(), "NOP")
    return Program(image, right.entry, right.psw, right.symbols, right.lines)


@pytest.mark.heavy
def test_each_instruction_of_the_control_program_is_needed(monkeypatch, record_property):
    """Without it some guest ends otherwise; what nobody misses is told. Every third is tried.

    Some cannot be missed at depth 1: what saves time, r7, which the monitor does not use, and ports
    that read 0 anyway.
    """
    right = monitor()
    expected = [(guest, run(guest, 0)) for guest in subjects()]
    code = [a for a in sorted(right.lines) if 2 <= a < right.symbols["p_mask"]][::3]
    unmissed = []
    for address in code:
        mutant = without(address)
        monkeypatch.setattr(nest_module, "monitor", lambda mutant=mutant: mutant)
        if not any(is_missed(guest, bare) for guest, bare in expected):
            unmissed.append(
                f"{address}: {toy().text(right.image[address].to_bytes(4, 'little'), 0)}"
            )
    caught = len(code) - len(unmissed)
    record_property("measured", f"{caught} of {len(code)} caught; not: {'; '.join(unmissed)}")
    assert caught / len(code) > 0.75


def is_missed(guest: Program, bare: Run) -> bool:
    """Whether the guest ends otherwise under the mutant; its own code being changed is no news."""
    found = nested_run(guest, 1, toy(), engine("python"), limit=60_000)
    return replace(found, in_control=True).difference(bare) is not None
