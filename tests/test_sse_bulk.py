"""SSE's arithmetic by the hundred thousand: against the processor, exceptions included."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from emu.engines.reference import Reference
from isa.x86.decode import MANDATORY
from isa.x86.table import INSTRUCTIONS
from tests.silicon import cases
from tests.silicon.bulk import compiling, threaded
from tests.silicon.compare import check, compare_forms
from tests.silicon.executor import WITH_SSE, Executor, sse_form_of
from tests.silicon.needed import needed_silicon
from tests.silicon.packed import AFTER, FAULT, Packed, pool

RECORDS, FEW_RECORDS = 2_100, 60
SIMD = 19
REGISTERS, MEMORY = b"\xc1", b"\x46\x20"  # XMM0 or MM0 or EAX; XMM1, MM0 or EAX, or [ESI + 32]
FROM_FIRST = b"\xc0"  # XMM0, from MM0 or EAX


def codes(size: int) -> Iterator[bytes]:
    """Every instruction of numbers of so many bytes."""
    packed, scalar = (b"", b"\xf3") if size == 4 else (b"\x66", b"\xf2")
    for prefix in (packed, scalar):
        for opcode in (0x51, 0x58, 0x59, 0x5A, 0x5C, 0x5D, 0x5E, 0x5F):
            yield from both(prefix, opcode)
        for predicate in range(8):
            yield prefix + b"\x0f\xc2" + REGISTERS + bytes([predicate])
        yield prefix + b"\x0f\xc2" + MEMORY + b"\xf9"
        yield from both(prefix, 0x2A, FROM_FIRST)
        for opcode in (0x2C, 0x2D):
            yield from both(prefix, opcode)
    for opcode in (0x2E, 0x2F):
        yield from both(packed, opcode)
    for prefix in (b"\x66", b"\xf3", b"" if size == 4 else b"\xf2"):
        yield from both(prefix, 0x5B if size == 4 else 0xE6)


def both(prefix: bytes, opcode: int, registers: bytes = REGISTERS) -> Iterator[bytes]:
    """An instruction of registers and one of memory."""
    for modrm in (registers, MEMORY):
        yield prefix + bytes([0x0F, opcode]) + modrm


FAMILIES = ("sse_arithmetic", "sse_compare", "sse_convert")
OPEN = ("rcp", "rsqrt")  # which number they give
STAYS = "cvtpi2ps xmm128, mem64"  # isa/DIVERGENCES.md
SAMPLE = 2_500


def sampled(code: bytes) -> str | None:
    """The form of an instruction whose every effect is compared."""
    form = sse_form_of(code)
    entry = None if form is None else INSTRUCTIONS.get(form.split()[0])
    if form is None or entry is None or form.startswith((*OPEN, STAYS)):
        return None
    return form if entry.meaning.__module__.rpartition(".")[2] in FAMILIES else None


@pytest.mark.heavy
def test_a_sample(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """All forms with all kinds of addresses and faults; what #XM leaves of the x87 and MMX."""
    prefixes = [size + mandatory for size in (b"", b"\x67") for mandatory in MANDATORY]
    forms = cases.Forms(sampled, prefixes=tuple(prefixes))
    with needed_silicon(tmp_path) as silicon:
        executor = Executor(low=silicon.low, model=WITH_SSE)
        result = compare_forms(silicon, executor, forms, SAMPLE, seed="arithmetic")
    record_property("measured", str(result).splitlines()[0])
    check(result)
    executed = {form.split()[0] for form in result.executed}
    assert executed == {
        name
        for name, entry in INSTRUCTIONS.items()
        if entry.meaning.__module__.rpartition(".")[2] in FAMILIES and not name.startswith(OPEN)
    }


@pytest.mark.heavy
@pytest.mark.parametrize("size", [4, 8])
def test_the_processor_agrees(
    directory: Path, size: int, record_property: Callable[[str, object], None]
) -> None:
    """Results, MXCSR and #XM in all modes, bit for bit; one record in ten unmasks exceptions."""
    bulk = Packed(list(codes(size)), pool(random.Random(size), RECORDS, size, unmasked=0.1))
    theirs = bulk.host(directory)
    wrong = bulk.different(theirs, bulk.engine(threaded()))
    faults = int((theirs[:, :, FAULT] == SIMD).sum())
    compared = len(bulk.codes) * RECORDS
    record_property("measured", f"{compared} of {len(bulk.codes)} instructions, {faults} #XM")
    assert not wrong, "\n".join(wrong)
    assert compared >= 150_000 and faults >= 3_000


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["reference", "python", "regions"])
def test_other_engines(directory: Path, name: str) -> None:
    """The same, with many exceptions; loops compiled whole among them."""
    engine = Reference() if name == "reference" else compiling(name)
    for size in (4, 8):
        chosen = list(codes(size))[len(name) % 5 :: 5]
        bulk = Packed(chosen, pool(random.Random(name), FEW_RECORDS, size, unmasked=0.4))
        assert not (wrong := bulk.different(bulk.host(directory), bulk.engine(engine))), wrong


APPROXIMATE = {"rcpps": ("0f53c1", -1.0), "rsqrtps": ("0f52c1", -0.5)}
WITHIN = 1.5 * 2**-12
BEYOND = 2.0**126  # from here on a reciprocal may be too small


@pytest.mark.heavy
@pytest.mark.parametrize("name", APPROXIMATE)
def test_approximations(
    directory: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Both are within what the manual promises, and equal where nothing is left open."""
    code, power = APPROXIMATE[name]
    bulk = Packed([bytes.fromhex(code)], pool(random.Random(name), 3_000, 4))
    theirs, ours = bulk.host(directory)[0], bulk.engine(threaded())[0]
    assert (theirs[:, AFTER:] == ours[:, AFTER:]).all()  # MXCSR
    given, *found = (np.ascontiguousarray(x).view("<f4") for x in (
        theirs[:, 32:48], theirs[:, 16:32], ours[:, 16:32]))  # fmt: skip
    ordinary = np.isfinite(found[0]) & (np.abs(given) < BEYOND) & (found[0] != 0)
    with np.errstate(all="ignore"):
        exact = np.abs(given.astype(float)) ** power * np.sign(given)
        errors = [np.abs(x.astype(float) / exact - 1)[ordinary].max() for x in found]
    silicon, here = (error * 2**12 for error in errors)
    record_property("measured", f"relative errors × 2^12: silicon {silicon:.3f}, here {here:.3f}")
    assert max(errors) <= WITHIN
    others = ~ordinary & ~(np.abs(given) >= BEYOND)
    assert (found[0].view("<u4")[others] == found[1].view("<u4")[others]).all()
    assert others.sum() > 1_000


C_PROGRAM = r"""
#define _GNU_SOURCE
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <xmmintrin.h>
static sigjmp_buf back;
static void caught(int number, siginfo_t *info, void *context) {
    printf("signal %d code %d\n", number, info->si_code);
    siglongjmp(back, 1);
}
static volatile double zero, one = 1, three = 3, large = 1e308, small = 1e-308;
static volatile float single = 16777217.0f;
int main(void) {
    static const int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
    for (int i = 0; i < 4; i++) {
        fesetround(modes[i]);
        printf("%a %a %a %ld %d\n", one / three, sqrt(three), (float)(one / three) * single,
               lrint(-2.5 * three), (int)(large * small * 7.9));
    }
    fesetround(FE_TONEAREST);
    double sum = 0, values[64];
    for (int i = 0; i < 64; i++) values[i] = sin(i) * exp(i / 9.0);
    for (int i = 0; i < 64; i++) sum += values[i] < 0 ? -values[i] : pow(values[i], 0.75);
    printf("%.17g %.17g %.9g\n", sum, fmod(sum, three), (float)log(sum));
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGFPE, &action, 0);
    static const int kinds[] = {FE_DIVBYZERO, FE_INVALID, FE_OVERFLOW, FE_UNDERFLOW, FE_INEXACT};
    for (int i = 0; i < 5; i++) {
        feclearexcept(FE_ALL_EXCEPT);
        volatile double result = i == 0 ? one / zero : i == 1 ? zero / zero : i == 2 ? large * large
                                 : i == 3 ? small * small : one / three;
        printf("%g %x\n", result, fetestexcept(FE_ALL_EXCEPT));
        feclearexcept(FE_ALL_EXCEPT);
        if (!sigsetjmp(back, 1)) {
            feenableexcept(kinds[i]);
            result = i == 0 ? one / zero : i == 1 ? zero / zero : i == 2 ? large * large
                     : i == 3 ? small * small : one / three;
            puts("nothing happened");
        }
        fedisableexcept(FE_ALL_EXCEPT);
    }
    _mm_setcsr(_mm_getcsr() | 0x8040);
    printf("%g %g\n", small * 0.01, small / 1e10 + 1);
}
"""


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ["python", "native"])
def test_a_c_program(directory: Path, engine: str) -> None:
    """The C library on SSE2, all roundings, and what feenableexcept makes of exceptions."""
    source, program = directory / "floats.c", directory / "floats"
    source.write_text(C_PROGRAM)
    options = ["-m32", "-static", "-O1", "-msse2", "-mfpmath=sse", "-frounding-math"]
    subprocess.run(["gcc", *options, source, "-o", program, "-lm"], check=True)
    expected = subprocess.run([program], stdout=subprocess.PIPE, check=True).stdout
    run = [sys.executable, "-m", "emu", "run", "--cpu", "pentium4", "--engine", engine, program]
    assert subprocess.run(run, stdout=subprocess.PIPE, check=True).stdout == expected
    assert expected.count(b"signal 8") == 5
