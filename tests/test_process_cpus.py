"""Processors of process machines: what they have and say; SSE's state around handlers."""

from __future__ import annotations

from pathlib import Path

import pytest

import emu
from emu.assembler import assemble
from emu.box.box import Box
from emu.box.description import read_boxes
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.errors import GuestFileError
from emu.guests import Options, open_guest, process_state
from emu.process.machine import ProcessMachine
from emu.process.processor import HWCAPS, NAMES, Processor
from isa.x86.meanings.identification import features
from tests.c_programs import check
from tests.machines import engines

SIGILL, FXSR = 4, 1 << 24
FXSAVE = """
        .bss
        .balign 16
area:   .space  512
        .text
        .globl  _start
_start: mov     ecx, 20
again:  fxsave  [area]
        dec     ecx
        jnz     again
        mov     eax, 1
        mov     ebx, [area + 24]        # MXCSR
        int     0x80
"""
HARDWARE = """
        .text
        .globl  _start
_start: mov     eax, 1
        cpuid
        mov     ebp, edx
        mov     esi, [esp]
        lea     esi, [esp + 4 * esi + 8]
1:      lodsd                           # the environment
        test    eax, eax
        jnz     1b
2:      lodsd                           # the auxiliary vector
        mov     edx, eax
        lodsd
        cmp     edx, 16                 # AT_HWCAP
        jne     2b
        xor     ebx, ebx
        cmp     eax, ebp
        setne   bl
        mov     eax, 1
        int     0x80
"""


def exit_code(text: str, cpu: str, engine: str = "python") -> tuple[str, int]:
    """How a program ends."""
    machine = ProcessMachine(assemble(text, "cpu.asm").image, ["cpu"], cpu=cpu)
    outcome = machine.run(engines()[engine], process_state(machine))
    assert outcome is not None
    return outcome.kind, outcome.code


@pytest.mark.parametrize("cpu", [name for name in NAMES if name not in ("386", "486")])
def test_hwcap_is_what_cpuid_says(cpu: str) -> None:
    """AT_HWCAP is CPUID's word."""
    assert exit_code(HARDWARE, cpu) == ("exit", 0)


def test_hwcaps_follow_from_the_instructions() -> None:
    """The table is what the meanings say."""
    for name in NAMES:
        assert HWCAPS[name] == features(Processor(name).model, system=False), name
        assert Processor(name).has_fast_state == (name in ("pentium3", "pentium4"))


def test_platforms() -> None:
    """AT_PLATFORM, and uname's machine."""
    found = {name: Processor(name).platform for name in NAMES}
    assert found["386"] == b"i386"
    assert found["pentium"] == b"i586"
    assert found["pentium2"] == found["pentium4"] == b"i686"


@pytest.mark.parametrize("engine", engines())
def test_what_a_processor_has(engine: str) -> None:
    """FXSAVE is an illegal instruction of a Pentium II, and stores MXCSR on a Pentium III."""
    assert exit_code(FXSAVE, "pentium2", engine) == ("signal", SIGILL)
    assert exit_code(FXSAVE, "pentium3", engine) == ("exit", 0x80)


def test_native_code_of_one_is_not_that_of_another(tmp_path: Path) -> None:
    """With what was learned and compiled kept on disk: one image, one address, two processors."""
    image = assemble(FXSAVE, "cpu.asm").image
    for _ in range(2):
        for cpu, kind in (("pentium4", "exit"), ("pentium2", "signal"), ("pentium3", "exit")):
            machine = ProcessMachine(image, ["cpu"], cpu=cpu)
            engine = Native(hot=2, wait=True, cache=DiskCache(tmp_path))
            outcome = machine.run(engine, process_state(machine))
            assert outcome is not None and outcome.kind == kind


@pytest.mark.parametrize("cpu", ["286", "8086", "pentium5", "", "user:pentium4"])
def test_no_such_processor(cpu: str, tmp_path: Path) -> None:
    """A clear error, from options, from Python, and of boxes."""
    program = tmp_path / "program"
    program.write_bytes(assemble(FXSAVE, "cpu.asm").image)
    with pytest.raises(GuestFileError, match="Use one of 386, 486"):
        open_guest(program, [], Options(cpu=cpu))
    with pytest.raises(GuestFileError, match="Use one of 386, 486"):
        emu.load(program, cpu=cpu)
    with pytest.raises(GuestFileError, match=r"box 'b'.*Choose one of 386, 486"):
        Box("b", "program", cpu=cpu)


def test_boxes(tmp_path: Path) -> None:
    """A field of their description."""
    (tmp_path / "boxes.toml").write_text('[one]\nprogram = "p"\ncpu = "pentium4"\n')
    (box,) = read_boxes(tmp_path / "boxes.toml")
    assert box.cpu == "pentium4"


# --- Python -------------------------------------------------------------------------------------


def test_registers_from_python() -> None:
    """XMM registers are numbers of 128 bits, MXCSR is one of 32; all by name."""
    guest = emu.code("fxsave [ebx]\nfxrstor [ecx]", cpu="pentium4")
    guest.memory.map(0x10000, 0x1000)
    registers = guest.registers
    registers.ebx, registers.ecx = 0x10000, 0x10200
    registers.xmm0, registers.xmm7, registers.mxcsr = 1 << 127 | 5, 7 << 64, 0x1F81
    guest.memory[0x10200 + 24 : 0x10200 + 28] = (0x3F80).to_bytes(4, "little")
    guest.memory[0x10200 + 160 : 0x10200 + 176] = bytes(range(16))
    guest.run()
    saved = bytes(guest.memory[0x10000:0x10200])
    assert saved[160:176] == (1 << 127 | 5).to_bytes(16, "little")
    assert saved[272:288] == (7 << 64).to_bytes(16, "little")
    assert saved[24:28] == (0x1F81).to_bytes(4, "little")
    assert registers.xmm0 == int.from_bytes(bytes(range(16)), "little")
    assert (registers.xmm7, registers.mxcsr) == (0, 0x3F80)


def test_a_program_from_python() -> None:
    """`emu.source` and `emu.load` take a processor."""
    ending = emu.source(FXSAVE, cpu="pentium3").run()
    assert (ending.reason, ending.code) == ("exit", 0x80)
    assert emu.source(FXSAVE).run().reason == "signal"


# --- signals ------------------------------------------------------------------------------------


@pytest.mark.heavy
def test_frames_as_on_the_host(tmp_path: Path) -> None:
    """A C program, byte for byte: what is in frames, what comes back, fork and execve."""
    check("sse_signals", tmp_path, cpu="pentium4")


@pytest.mark.heavy
@pytest.mark.parametrize("program", ["sse_signals", "sse_errors"])
def test_compiled_for_sse(tmp_path: Path, program: str) -> None:
    """Programs whose compiler and C library use SSE2: frames, SIGFPE and its codes, arithmetic."""
    check(program, tmp_path, "-msse2", "-mfpmath=sse", cpu="pentium4")
