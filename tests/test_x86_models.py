"""CPU models: which instructions, flags and features each has, and how programs tell them apart."""

from __future__ import annotations

import pytest

from emu.engines import Engine
from emu.pc.memory import PhysicalMap
from emu.pc.paging import attach_memory
from emu.state import State
from isa.x86.decode import BAD, TOO_LONG, decode
from isa.x86.form import Form
from isa.x86.machine import X86
from isa.x86.meanings.identification import features
from isa.x86.mode import FLAT_USER
from isa.x86.models import GENERATIONS, MODELS, model_of
from isa.x86.registers import SEGMENT_NAMES
from isa.x86.reset import reset_values
from isa.x86.table import INSTRUCTIONS
from tests.machines import engines

NEW = {
    "286": "60", "386": "0F B6 C1", "486": "0F C8", "pentium": "0F A2", "pentium2": "0F 40 C1",
    "pentium3": "0F AE 00", "pentium4": "66 0F 58 C1",
}  # fmt: skip
"""What a model is the first to have: PUSHA, MOVZX, BSWAP, CPUID, CMOVO, FXSAVE, ADDPD."""
CLFLUSH, FXSAVE, SSE, SSE2 = (1 << bit for bit in (19, 24, 25, 26))  # features
HANDLER, STACK, CODE = 0x0400, 0x8000, 0x1000
ENGINES = engines()


def machine(model: str, code: bytes, ip: int = 0) -> State:
    """A model in real-address mode with `code` at CODE:ip, and handlers of two HLTs each."""
    state = State(X86(model), {})
    memory = PhysicalMap(2 << 20)
    attach_memory(state, memory)
    for register, value in reset_values(MODELS[model]).items():
        state.write(register, value)
    for name in SEGMENT_NAMES:
        state[name], state[f"{name}_base"] = 0, 0
    state["cs"], state["cs_base"], state["eip"], state["esp"] = CODE, CODE << 4, ip, STACK
    for vector in range(32):
        memory.physical.write(4 * vector, (HANDLER + 16 * vector).to_bytes(4, "little"))
        memory.physical.write(HANDLER + 16 * vector, b"\xf4\xf4")
    memory.physical.write((CODE << 4) + ip, code)
    return state


def pushed(state: State) -> int:
    """The word on top of the stack."""
    found = state.memory["system"].load(state["esp"], 2)
    assert isinstance(found, int)
    return found


def vector_of(state: State) -> int | None:
    """The vector in whose handler a machine has halted, if it is in one."""
    return None if state["cs"] else (state["eip"] - HANDLER) // 16


def mnemonic(code: str, model: str) -> str:
    form = decode(bytes.fromhex(code).ljust(15, b"\0"), FLAT_USER._replace(model=model)).form
    assert isinstance(form, Form)
    return form.mnemonic


def test_every_instruction_says_since_which_model_it_is_there() -> None:
    """`since` and `escaped_since` name models."""
    for entry in INSTRUCTIONS.values():
        assert {entry.since, entry.escaped_since} <= set(GENERATIONS), entry.mnemonic
    assert list(MODELS) == list(GENERATIONS)


@pytest.mark.parametrize("first", [model for model in NEW if model != "286"])
def test_instructions_do_not_exist_before_their_model(first: str) -> None:
    """Their bytes are no instruction of the model before."""
    before = GENERATIONS[GENERATIONS.index(first) - 1]
    assert mnemonic(NEW[first], first) != BAD
    assert mnemonic(NEW[first], before) == BAD


def test_prefixes_and_lengths_depend_on_the_model() -> None:
    """66 is a prefix since the 386; eleven bytes are too many for a 286, sixteen for the others."""
    assert mnemonic("66 90", "286") == BAD
    assert mnemonic("66 90", "386") == "nop"
    assert mnemonic("66 00", "8086") == "jbe"
    assert mnemonic("2E 2E 2E 2E 2E C7 06 00 00 00 00", "286") == TOO_LONG
    assert mnemonic("2E" * 14 + "01 C0", "386") == TOO_LONG
    assert mnemonic("2E" * 13 + "01 C0", "386") == "add"


def test_features_follow_from_the_model() -> None:
    """CPUID: RDTSC, CMPXCHG8B and bits of CR4 since the Pentium; CMOV, PGE and MMX later."""
    has_unit = int("fld" in INSTRUCTIONS)
    told = {name: features(model, system=True) & ~FXSAVE for name, model in MODELS.items()}
    assert told["pentium"] == 0x13E | has_unit
    assert told["pentium2"] == 0x80A93E | has_unit
    assert told["pentium3"] == told["pentium2"] | SSE
    assert told["pentium4"] == told["pentium3"] | SSE2 | CLFLUSH
    assert features(model_of(""), system=False) & ~FXSAVE == 0x808110 | has_unit
    assert [hex(m.identity.signature) for m in MODELS.values()][2:] == [
        "0x308", "0x404", "0x52c", "0x634", "0x673", "0xf24",
    ]  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(
    ("model", "ones"), [("8086", 0xFED7), ("286", 0x0ED7), ("386", 0x7ED7), ("pentium2", 0x7ED7)]
)
def test_programs_know_models_by_their_flags(engine: Engine, model: str, ones: int) -> None:
    """POPF of all ones but TF, then PUSHF: bits 12 to 15 tell an 8086, a 286 and a 386 apart."""
    state = machine(model, bytes.fromhex("B8 FF FE 50 9D 9C F4"))
    assert engine.run(state, 100).reason == "halt"
    assert pushed(state) == ones


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(("model", "value"), [("8086", STACK - 2), ("286", STACK)])
def test_an_8086_pushes_the_new_stack_pointer(engine: Engine, model: str, value: int) -> None:
    """PUSH SP."""
    state = machine(model, bytes.fromhex("54 F4"))
    assert engine.run(state, 100).reason == "halt"
    assert pushed(state) == value


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("model", ["386", "pentium2"])
def test_code_ends_with_its_segment(engine: Engine, model: str) -> None:
    """#GP where an instruction begins behind offset FFFFh, or would go on there."""
    for code, ip, at in ((b"\x90\x90\x90", 0xFFFE, 0x10000), (b"\x90\xb8\x00\x00", 0xFFFD, 0xFFFE)):
        state = machine(model, code, ip)
        assert engine.run(state, 100).reason == "halt"
        assert vector_of(state) == 13
        assert pushed(state) == at & 0xFFFF


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_the_instruction_pointer_of_a_286_wraps(engine: Engine) -> None:
    """After the byte at offset FFFFh comes the one at 0."""
    state = machine("286", b"\x90\x90", 0xFFFE)
    state.memory["system"].store(CODE << 4, 1, 0xF4)
    assert engine.run(state, 100).reason == "halt"
    assert (state["cs"], state["eip"]) == (CODE, 1)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(
    ("model", "code", "vector"),
    [
        ("286", "A1 FF FF F4", 13),  # MOV AX, [FFFF]
        ("386", "A1 FF FF F4", 13),
        ("386", "BD FF FF 8B 46 00 F4", 12),  # MOV AX, [BP+0]: SS
        ("286", "BD FF FF 8B 46 00 F4", 13),
        ("386", "0F A2", 6),  # CPUID
        ("386", "F0 90", 6),  # LOCK NOP
        ("286", "F0 90 F4", None),
        ("386", "F6 F1", 0),  # DIV CL
        ("8086", "A1 FF FF F4", None),
    ],
)
def test_exceptions_of_real_address_mode(
    engine: Engine, model: str, code: str, vector: int | None
) -> None:
    """Each arrives through the table of interrupt vectors, or does not exist."""
    state = machine(model, bytes.fromhex(code))
    assert engine.run(state, 100).reason == "halt"
    assert vector_of(state) == vector
