"""The x87 state around handlers of signals."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from c_programs import check
from machines import engines

from emu.assembler import assemble
from emu.guests import process_state
from emu.process.machine import ProcessMachine

DISTURBED = """
        .data
ten:    .long   10
seven:  .long   7
result: .long   0
        .text
        .globl  _start
_start:
        mov     eax, 48                 # signal(SIGUSR1, handler)
        mov     ebx, 10
        mov     ecx, offset handler
        int     0x80
        mov     eax, 20                 # getpid
        int     0x80
        mov     ebp, eax
        mov     edi, 40
again:
        fild    dword ptr [ten]
        fild    dword ptr [seven]
        mov     eax, 37                 # kill
        mov     ebx, ebp
        mov     ecx, 10
        int     0x80
        fmulp   st(1), st(0)            # 7 in the handler's place is 9: 90
        fistp   dword ptr [result]
        cmp     dword ptr [result], 90
        jne     bad
        mov     eax, 48                 # as it is forgotten once it has been called
        mov     ebx, 10
        mov     ecx, offset handler
        int     0x80
        dec     edi
        jnz     again
        fnstsw  ax
        movzx   ebx, ax
        mov     eax, 1
        int     0x80
bad:
        mov     ebx, [result]
        mov     eax, 1
        int     0x80
handler:
        fnstsw  ax
        test    eax, 0x3800             # the stack is empty
        jnz     bad
        mov     edx, [esp + 8 + 76]     # the context's fpstate
        mov     dword ptr [edx + 28 + 4], 0x90000000
        mov     word ptr [edx + 28 + 8], 0x4002
        fldz
        fldpi
        ret
"""


@pytest.mark.parametrize("engine", engines())
def test_a_handler_that_computes(engine: str) -> None:
    """It begins with an empty stack, disturbs nobody, and may change what comes back."""
    image = assemble(DISTURBED, "disturbed").image
    machine = ProcessMachine(image, ["disturbed"], stdout=io.BytesIO())
    state = process_state(machine)
    outcome = machine.run(engines()[engine], state)
    assert outcome is not None
    assert (outcome.kind, outcome.code) == ("exit", 0)


@pytest.mark.heavy
def test_as_on_the_host(tmp_path: Path) -> None:
    """A C program, byte for byte: what is in frames, what comes back, errors and their codes."""
    check("x87_signals", tmp_path)
