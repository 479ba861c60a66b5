"""Engines agree: random programs leave the same state at every instruction count tested."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from emu.engines import Engine
from emu.exit import Exit
from tests.machines import CODE, DATA, PAGE, engines, picture, x86_machine
from tests.random_programs import PIECES, Piece, pointer
from tests.silicon import cases
from tests.silicon.executor import form_of

EXAMPLES = 150
HEAVY_CHUNKS, HEAVY_EXAMPLES = 4, 400
NATIVE_SHARE = 8  # one program in so many is compiled to native code, which takes its time
MOST = 90  # instructions of one program

Seen = list[tuple[object, ...]]


class Bench:
    """One engine with one machine that is set back for each program: handlers stay translated."""

    def __init__(self, engine: Engine, model: str = "") -> None:
        self.engine = engine
        self.state = x86_machine(b"", model=model)
        self.blank = list(self.state.values)

    def run(self, program: Program) -> Seen:
        """Pictures at the program's stops."""
        self.load(program)
        seen: Seen = []
        for until in program.stops:
            stop = Exit("breakpoint")
            while stop.reason in ("breakpoint", "interrupt"):
                stop = self.engine.run(self.state, until)
                seen.append(picture(self.state, stop))
            if stop.reason != "until":
                break
        return seen

    def load(self, program: Program) -> None:
        """Set memory and registers back."""
        state, space = self.state, self.state.memory["linear"]
        for address, content in program.pages().items():
            if space.read(address, PAGE) != content:  # type: ignore[attr-defined]
                space.poke(address, content)  # type: ignore[attr-defined]
        state.set_values(self.blank)
        for name, number in program.registers.items():
            state[name] = number
        state.count, state.breakpoints = 0, set(program.breakpoints)


class Program:
    """Code somewhere in the code pages, a state to start in, and where to stop and look."""

    def __init__(self, rng: random.Random, make: Callable[[int], bytes]) -> None:
        self.origin = CODE + rng.choice((0, 5, 0x800, PAGE - rng.randrange(1, 60)))
        self.code = make(self.origin)[: CODE + 2 * PAGE - self.origin]
        self.data = rng.randbytes(3 * PAGE)
        self.registers = start(rng) | {"eip": self.origin}
        self.stops = list(range(1, MOST // 3))  # every count
        self.breakpoints: list[int] = []
        if rng.random() < 0.6:
            self.stops = sorted(rng.sample(range(1, MOST), rng.randrange(1, 6)))
            most = rng.choice((0, 1, 3))
            length = max(len(self.code), 1)
            self.breakpoints = [self.origin + rng.randrange(length) for _ in range(most)]

    def pages(self) -> dict[int, bytes]:
        code = bytes(self.origin - CODE) + self.code
        whole = {CODE: code.ljust(2 * PAGE, b"\0"), DATA: self.data}
        return {a + n: m[n : n + PAGE] for a, m in whole.items() for n in range(0, len(m), PAGE)}

    def __str__(self) -> str:
        where = f"at {self.origin:#x}, stops {self.stops}, breakpoints {self.breakpoints}"
        return f"{self.code.hex()} {where}"


def start(rng: random.Random) -> dict[str, int]:
    """Registers that mostly point into the data, near the page boundaries too."""
    names = ("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi", "esp")
    return {n: rng.choice([cases.value, pointer, pointer])(rng) & 0xFFFFFFFF for n in names}


@pytest.fixture(scope="session")
def benches() -> dict[str, Bench]:
    return {name: Bench(engine) for name, engine in engines().items()}  # type: ignore[arg-type]


def share(benches: dict[str, Bench], number: int) -> dict[str, Bench]:
    """Every engine, but those that wait for a compiler only for some programs."""
    slow = ("native", "native-single")  # the rest compiles forms only
    return {n: b for n, b in benches.items() if n not in slow or number % NATIVE_SHARE == 0}


def agree(benches: dict[str, Bench], program: Program) -> int:
    """Compare the engines; returns how many stops were looked at."""
    expected = benches["reference"].run(program)
    for name, bench in benches.items():
        found = bench.run(program)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours == theirs, f"{name}: {program}\n{differing(ours, theirs)}"
    return len(expected)


def differing(ours: tuple[object, ...], theirs: tuple[object, ...]) -> str:
    """The registers and whatever else differs, in few words."""
    lines = []
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(one, dict) and isinstance(other, dict):
            names = [k for k in one.keys() | other.keys() if one.get(k) != other.get(k)]
            short = [(k, one.get(k), other.get(k)) for k in names if isinstance(k, str)]
            lines.append(f"{short or names}")
        elif one != other:
            lines.append(f"{one} instead of {other}")
    return "\n".join(lines)


PROGRAMS = st.lists(
    st.tuples(st.sampled_from(PIECES), st.integers(0, 1 << 32)), min_size=1, max_size=8
)
SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck))


def pieces(made: list[tuple[Piece, int]]) -> Callable[[int], bytes]:
    """The code of pieces one after the other."""
    return lambda at: b"".join(piece(random.Random(seed), at) for piece, seed in made)


@settings(SETTINGS, max_examples=EXAMPLES)
@given(made=PROGRAMS, number=st.integers(0, 1 << 32))
def test_programs_agree(
    benches: dict[str, Bench], made: list[tuple[Piece, int]], number: int
) -> None:
    """Programs biased to what forwards values, loops, modifies itself and meets edges."""
    agree(share(benches, number), Program(random.Random(number), pieces(made)))


@pytest.fixture(scope="session")
def forms() -> cases.Forms:
    return cases.Forms(lambda code: None if cases.newer(code) else form_of(code))


@settings(SETTINGS, max_examples=EXAMPLES // 6)
@given(number=st.integers(0, 1 << 32), length=st.integers(1, 12))
def test_any_instructions_agree(
    benches: dict[str, Bench], forms: cases.Forms, number: int, length: int
) -> None:
    """Programs of all forms alike, whatever they do."""
    agree(share(benches, number), anything(forms, number, length))


def anything(forms: cases.Forms, number: int, length: int) -> Program:
    """A program of random instructions; the same for the same number."""
    rng = random.Random(number)
    names = sorted(forms.templates)
    code = b"".join(forms.one(rng, rng.choice(names))[1] for _ in range(length))
    return Program(rng, lambda at: code)


@pytest.mark.parametrize("name", engines())
def test_a_frame_holds_code_data_and_code_again(name: str) -> None:
    """A page with code goes and comes back in the same frame, is stored to as if it were data, then
    runs again; from then on a store to its code counts."""
    target = CODE + PAGE
    callee = bytes.fromhex("40c3")  # inc eax, which becomes dec eax
    store = b"\xa2" + (target + 0x100).to_bytes(4, "little")
    modify = b"\xc6\x05" + target.to_bytes(4, "little") + b"\x48"
    calls = []
    for at in (len(store), len(store) + 5 + len(modify)):
        calls.append(b"\xe8" + (PAGE - at - 5).to_bytes(4, "little"))
    code = store + calls[0] + modify + calls[1] + b"\xcd\x80"
    engine = engines()[name]
    state = x86_machine(code)
    space = state.memory["linear"]
    for _ in range(3):
        space.unmap(target, PAGE)  # type: ignore[attr-defined]
        space.map(target, PAGE, 7)  # type: ignore[attr-defined]
        space.poke(target, callee)  # type: ignore[attr-defined]
        state.pc, state["eax"] = CODE, 5
        assert engine.run(state, 1 << 20).reason == "interrupt"  # type: ignore[attr-defined]
        assert state["eax"] == 5


@pytest.mark.parametrize("repeated", ["a4", "a5", "aa"], ids=["movsb", "movsd", "stosb"])
@pytest.mark.parametrize("name", engines())
def test_repeated_stores_change_code(name: str, repeated: str) -> None:
    """REP over code that has run, INC EAX: what runs next is what was stored, DEC EAX."""
    target = CODE + PAGE
    load = b"\xbe" + DATA.to_bytes(4, "little") + b"\xbf" + target.to_bytes(4, "little")
    load += b"\xb9" + (1).to_bytes(4, "little") + b"\xb0\x48\xf3" + bytes.fromhex(repeated)
    first = b"\xe8" + (PAGE - 5).to_bytes(4, "little")
    code = first + b"\x89\xc3" + load + b"\x89\xd8"
    code += b"\xe8" + (PAGE - len(code) - 5).to_bytes(4, "little") + b"\xcd\x80"
    state = x86_machine(code, data=b"\x48\xc3\x90\x90")
    space, engine = state.memory["linear"], engines()[name]
    for _ in range(4):
        space.poke(target, b"\x40\xc3\x90\x90")  # type: ignore[attr-defined]
        state.pc, state["eax"] = CODE, 5
        assert engine.run(state, 1 << 20).reason == "interrupt"  # type: ignore[attr-defined]
        assert state["eax"] == 5


@pytest.mark.parametrize("name", engines())
def test_what_is_no_instruction_becomes_one(name: str) -> None:
    """LEA of a register is none, until the block that ends with it writes its second byte."""
    code = b"\xc6\x05" + (CODE + 8).to_bytes(4, "little") + b"\x38\x8d\xf8\xcd\x80"
    machine = x86_machine(code, {"eax": 5})
    engine = engines()[name]
    for _ in range(3):
        machine["eip"], machine["edi"] = CODE, 0
        stop = engine.run(machine, machine.count + 10)  # type: ignore[attr-defined]
        assert (stop.reason, machine["edi"], machine["eip"]) == ("interrupt", 5, CODE + 11)
        machine.memory["linear"].write(CODE + 8, b"\xf8")  # type: ignore[attr-defined]
        machine["eip"] = CODE + 7
        assert engine.run(machine, machine.count + 10).reason == "fault"  # type: ignore[attr-defined]


@pytest.mark.heavy
@pytest.mark.parametrize("chunk", range(HEAVY_CHUNKS))
def test_many_programs_agree(
    benches: dict[str, Bench], forms: cases.Forms,
    record_property: Callable[[str, object], None], chunk: int,
) -> None:  # fmt: skip
    """The same, for minutes."""
    done = stops = compiled = 0

    @seed(chunk)
    @settings(SETTINGS, max_examples=HEAVY_EXAMPLES)
    @given(PROGRAMS, st.integers(0, 1 << 32), st.integers(0, 3))
    def check(made: list[tuple[Piece, int]], number: int, kind: int) -> None:
        nonlocal done, stops, compiled
        program = Program(random.Random(number), pieces(made))
        if kind == 0:
            program = anything(forms, number, len(made) + 2)
        chosen = share(benches, number)
        stops += agree(chosen, program)
        compiled += "native" in chosen
        done += 1

    check()
    told = f"{done} programs, {stops} stops, {len(benches)} engines agree"
    record_property("measured", f"{told}; {compiled} programs on native code")
