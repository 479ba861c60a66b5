"""Guests and machines for tests of the paravirtual monitor."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from emu.engines import Engine
from emu.engines.python import Python
from emu.pc.choose import assembled
from emu.pc.guest import Choice
from emu.pc.machine import PcMachine
from emu.pc.serial import MemorySerial
from vmm.pc.paravirtual.hypervisor import Hypervisor
from vmm.pc.partitions import DomainRuns, PcPartitions, places, start_domain

MEMORY = 2 << 20
MARK = 0x5EEDC0DE  # in a kernel's image: where its seed is put
HEADER = """
.machine pc/kernel
.set KERNEL_CS, 0xE019
.set KERNEL_DS, 0xE021
header:
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long header, header, 0, 0, start
"""
IDLE = """
start:
    jmp start
"""
# Calls, reads, writes and tries everything at random, and goes on after every fault.
HOSTILE = """
start:
    mov dword ptr [info], esi
    mov esp, 0x120000
    mov edi, offset traps       # all exceptions lead back to the loop
    xor ecx, ecx
1:  mov byte ptr [edi], cl
    mov byte ptr [edi + 1], 7
    mov word ptr [edi + 2], KERNEL_CS
    mov dword ptr [edi + 4], offset trap
    add edi, 8
    inc ecx
    cmp ecx, 20
    jne 1b
    mov eax, 0
    mov ebx, offset traps
    int 0x82
    mov ebx, dword ptr [esi + 68]       # ring 3 may use the program and its stack as well
    mov ebp, 0x100000
2:  mov ecx, ebp
    shr ecx, 12
    mov ecx, dword ptr [ebx + ecx * 4]
    shl ecx, 12
    or ecx, 7
    push ebx
    mov ebx, ebp
    xor edx, edx
    xor esi, esi
    mov eax, 14
    int 0x82
    pop ebx
    add ebp, 0x1F000
    cmp ebp, 0x120000
    jb 2b
trap:
    mov ebx, KERNEL_DS
    mov ecx, 0x120000
    mov eax, 3
    int 0x82
again:
    mov ax, KERNEL_DS
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x120000
    cld
    call random
    mov ebp, eax
    and eax, 15
    cmp eax, 9
    jb hypercall
    je privileged
    cmp eax, 12
    jb read
    cmp eax, 15
    jb write
    push 0xE033                 # to ring 3, where the same goes on
    push 0x120000
    push 0x202
    push 0xE02B
    push offset again
    iretd

read:
    call random
    mov eax, dword ptr [eax]
    jmp again
write:
    call random
    mov dword ptr [eax], eax
    jmp again

hypercall:
    mov edi, offset buffer      # words: frames and entries of its own, addresses, numbers
    mov ecx, 6
1:  call some_word
    stosd
    loop 1b
    call some_word
    mov esi, eax
    call small
    mov edx, eax
    call small
    mov ecx, eax
    mov ebx, offset buffer
    test ebp, 0x100             # either EBX or ECX is the pointer
    jz 2f
    xchg ebx, ecx
2:  test ebp, 0x200
    jz 3f
    mov edx, offset buffer + 64
3:  call random
    and eax, 31
    cmp eax, 29                 # it does not end itself or sleep, and keeps its traps
    je again
    cmp eax, 6
    je again
    cmp eax, 3
    je again
    cmp eax, 13                 # (a multicall could do all that)
    je again
    test eax, eax
    jz again
    int 0x82
    jmp again

privileged:
    call random
    and eax, 7
    jmp dword ptr [attempts + eax * 4]
p0: cli
    jmp again
p1: hlt
    jmp again
p2: out 0x20, al
    jmp again
p3: mov cr3, eax
    jmp again
p4: lgdt [buffer]
    jmp again
p5: mov ax, 0xE008              # ring 0's selectors, in Xen
    mov ss, ax
    jmp again
p6: sgdt [buffer]
    mov eax, dword ptr [buffer + 2]
    mov dword ptr [eax + 0x90], eax
    jmp again
p7: popfd
    jmp again

some_word:                           # EAX: something that a call may take for a good argument
    call random
    mov edx, eax
    shr edx, 8
    and eax, 7
    cmp eax, 2
    jb small
    cmp eax, 5
    ja random
    mov ebx, dword ptr [info]
    mov ebx, dword ptr [ebx + 68]
    and edx, 511
    mov edx, dword ptr [ebx + edx * 4]
    mov eax, edx
    test ebp, 0x400             # a frame, or an entry or address made of it
    jz 1f
    call small
    shl edx, 12
    or eax, edx
1:  ret
small:
    call random
    and eax, 31
    ret
random:                         # xorshift
    mov eax, dword ptr [seed]
    push edx
    mov edx, eax
    shl edx, 13
    xor eax, edx
    mov edx, eax
    shr edx, 17
    xor eax, edx
    mov edx, eax
    shl edx, 5
    xor eax, edx
    mov dword ptr [seed], eax
    pop edx
    ret
    .balign 4
attempts: .long p0, p1, p2, p3, p4, p5, p6, p7
info: .long 0
seed: .long 0x5EEDC0DE
traps: .fill 21 * 8, 1, 0
buffer: .fill 128, 1, 0
"""
# Domain 0 offers a port and a page to domain 1, waits, and prints what domain 1 has put there.
SERVER = """
start:
    mov edi, dword ptr [esi + 68]
    mov ecx, dword ptr [esi + 36]
    or ecx, 3
    mov ebx, 0x1F0000
    xor edx, edx
    xor esi, esi
    mov eax, 14                 # show the shared page
    int 0x82
    mov eax, dword ptr [edi + 0x150 * 4]
    mov dword ptr [page], eax   # the frame of 150000h
    mov eax, 20
    mov ebx, 2
    mov ecx, offset setup
    mov edx, 1
    int 0x82                    # where is the grant table?
    mov ecx, dword ptr [table]
    shl ecx, 12
    or ecx, 3
    mov ebx, 0x1F1000
    xor edx, edx
    xor esi, esi
    mov eax, 14
    int 0x82
    mov eax, dword ptr [page]
    mov dword ptr [0x1F1000 + 8 * 8 + 4], eax
    mov dword ptr [0x1F1000 + 8 * 8], 0x00010001    # grant 8: to domain 1, for access
    mov dword ptr [0x150000], 0x6C6C6548            # "Hell"
    mov dword ptr [0x150004], 0x0A6F                # "o\\n"
    mov eax, 32
    mov ebx, 6
    mov ecx, offset offered
    int 0x82
    mov eax, 32
    mov ebx, 9
    mov ecx, offset port
    int 0x82
    mov eax, 29                 # sleep until something comes
    mov ebx, 1
    int 0x82
    mov eax, 18
    xor ebx, ebx
    mov ecx, 6
    mov edx, 0x150000
    int 0x82
    mov eax, 29
    mov ebx, 2
    mov ecx, offset zero
    int 0x82
setup: .word 0x7FF0, 0
    .long 1
    .word 0, 0
    .long table
table: .long 0
page: .long 0
offered: .word 0x7FF0, 1
port: .long 0
zero: .long 0
"""
CLIENT = """
start:
    mov ecx, 3000               # until domain 0 is ready
1:  loop 1b
    mov eax, 20
    xor ebx, ebx
    mov ecx, offset map
    mov edx, 1
    int 0x82
    mov eax, 18
    xor ebx, ebx
    mov ecx, 6
    mov edx, 0x1E0000
    int 0x82
    mov dword ptr [0x1E0000], 0x6B6E6154            # "Tank"
    mov eax, 20
    mov ebx, 1
    mov ecx, offset unmap
    mov edx, 1
    int 0x82
    mov eax, 32
    xor ebx, ebx
    mov ecx, offset bind
    int 0x82
    mov eax, 32
    mov ebx, 4
    mov ecx, offset port
    int 0x82
    mov eax, 29
    mov ebx, 2
    mov ecx, offset zero
    int 0x82
map: .long 0x1E0000, 0, 2, 8, 0, 0, 0, 0
unmap: .long 0x1E0000, 0, 0, 0, 0, 0
bind: .long 0, 1
port: .long 0
zero: .long 0
"""


@cache
def image(source: str) -> bytes:
    """A kernel, assembled."""
    return assembled(HEADER + source, Path("guest.asm"))


def kernel(source: str, seed: int = 0) -> bytes:
    """The same, with a seed where it wants one."""
    return image(source).replace(struct.pack("<I", MARK), struct.pack("<I", seed or 1))


@dataclass
class World:
    """A machine with domains of 2 MiB, some of those for which there is room."""

    kernels: dict[int, bytes]
    shares: dict[int, int] = field(default_factory=dict)
    quantum: int = 1000
    rooms: int = 2
    engine: Engine = field(default_factory=Python)

    def __post_init__(self) -> None:
        self._places, needed = places([MEMORY] * self.rooms)
        self.below = PcMachine(self.engine, memory=needed)
        self.partitions = PcPartitions(self.below, self.quantum)
        self.start()

    def start(self) -> None:
        """Begin (again), on the same machine."""
        self.partitions.members.clear()
        self.monitor = Hypervisor(self.below)
        self.consoles = {number: MemorySerial() for number in self.kernels}
        for number, code in self.kernels.items():
            choice = Choice(kernel=code, memory=MEMORY)
            runs = start_domain(
                self.monitor, number, self._places[number], choice, self.consoles[number]
            )
            self.partitions.add(str(number), runs, self.shares.get(number, 1))

    def of_monitor_and(self, number: int) -> np.ndarray:
        """The bytes of a domain's memory, and of the monitor's pages for it."""
        place = self._places[number]
        return self.below.memory.physical.array[place.own : place.end]

    @property
    def runs(self) -> dict[int, DomainRuns]:
        """The domains as they take turns."""
        return {int(m.name): m.guest for m in self.partitions.members}  # type: ignore[misc]
