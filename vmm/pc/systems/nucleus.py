"""The fixed part of a generated system: from real mode to paging, traps, and one activity after
another.

A trap of an activity ends it, unless it is a page fault that the kernel mends, an instruction that
it steps over, or a service; each of these as often as the system's description says.
"""

from __future__ import annotations

from typing import Final

from vmm.pc.systems import layout as at

KINDS: Final = ("stop", "kernel", "user", "ring 1", "v86", "task", "called task", "real")
WITH_CODE: Final = frozenset({8, 10, 11, 12, 13, 14, 17})
SYMBOLS: Final = (
    "boot", "stubs", "timer", "preempt", "keyboard", "serial", "others", "next", "service",
    "gate_entry", "sysenter_entry", "same_level", "real_done", "real_request",
)  # fmt: skip
CURSOR, CR0_IMAGE, CR4_IMAGE, MENDS, SKIPS, SKIPPED, TOTAL, TICKS, KEYS = range(
    at.VARIABLES, at.VARIABLES + 36, 4
)
PENDING: Final = at.VARIABLES + 0x60  # where a real-mode activity's pointer is kept
COUNTS: Final = at.VARIABLES + 0x80
STUB: Final = 16

_STUBS: Final = "\n".join(
    f".balign {STUB}\n{'' if vector in WITH_CODE else 'push 0'}\npush {vector}\njmp common"
    for vector in range(32)
)

SOURCE: Final = f"""
.code16
boot:
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x0FF0
    lgdtd [gdt_pointer]
    lidtd [idt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xEA
    .long protected
    .word {at.CODE}
.code32
protected:
    mov eax, {at.FLAT}
    mov ds, ax
    mov ss, ax
    mov esp, {at.KERNEL_STACK}
    mov eax, [{CR4_IMAGE}]
    mov cr4, eax
    mov eax, {at.DIRECTORY}
    mov cr3, eax
    mov eax, [{CR0_IMAGE}]
    mov cr0, eax
    mov eax, {at.LOCAL}
    lldt ax
    xor edx, edx
    mov ecx, 0x174
    mov eax, {at.CODE}
    wrmsr
    inc ecx
    mov eax, {at.KERNEL_STACK}
    wrmsr
    inc ecx
    mov eax, offset sysenter_entry
    wrmsr
next:
    mov eax, {at.FLAT}
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, {at.KERNEL_STACK}
    and byte ptr [{at.GDT + at.TSS + 5}], 0xFD
    and byte ptr [{at.GDT + at.OTHER_TSS + 5}], 0xFD
    mov eax, {at.TSS}
    ltr ax
    push 2
    popfd
    mov ecx, cr2
    add [{TOTAL}], ecx
    mov esi, [{CURSOR}]
    add dword ptr [{CURSOR}], 16
    mov eax, [esi]
    jmp dword ptr [kinds + eax * 4]
k_stop:
    cli
    hlt
    jmp k_stop
k_kernel:
    push dword ptr [esi + 8]
    popfd
    mov ebx, {at.DATA + at.PAGES * at.PAGE}
    call dword ptr [esi + 4]
    jmp next
k_user:
    push {at.USER_DATA}
    push {at.USER_STACK}
    push dword ptr [esi + 8]
    push {at.USER}
    push dword ptr [esi + 4]
    mov eax, {at.USER_DATA}
    jmp lower
k_ring_1:
    push {at.RING_1_DATA}
    push {at.RING_1_STACK}
    push dword ptr [esi + 8]
    push {at.RING_1}
    push dword ptr [esi + 4]
    mov eax, {at.RING_1_DATA}
lower:
    mov ds, ax
    mov es, ax
    mov ebx, {at.DATA + at.PAGES * at.PAGE}
    iretd
k_v86:
    push 0
    push 0
    push {at.DATA + at.PAGES * at.PAGE >> 4}
    push {at.DATA + at.PAGES * at.PAGE >> 4}
    push {at.SMALL_STACK >> 4}
    push 0x0FFE
    mov eax, [esi + 8]
    or eax, 0x20000
    push eax
    push {at.SMALL_CODE >> 4}
    push dword ptr [esi + 4]
    iretd
k_task:
    call fresh_task
    .byte 0xEA
    .long 0
    .word {at.OTHER_TSS}
    jmp next
k_called_task:
    call fresh_task
    .byte 0x9A
    .long 0
    .word {at.OTHER_TSS}
    jmp next
fresh_task:
    mov edx, esi
    mov esi, {at.FRESH_TASK}
    mov edi, {at.OTHER_TASK}
    mov ecx, 26
    rep movsd
    mov eax, [edx + 4]
    mov [{at.OTHER_TASK + 0x20}], eax
    mov eax, [edx + 8]
    mov [{at.OTHER_TASK + 0x24}], eax
    ret
k_real:
    mov [{PENDING}], esi
    .byte 0xEA
    .long leave_protected
    .word {at.SMALL}
common:
    push eax
    mov eax, [esp + 4]
    inc dword ptr ss:[{COUNTS} + eax * 4]
    cmp al, 14
    jne 1f
    dec dword ptr ss:[{MENDS}]
    js next
    mov eax, cr2
    shr eax, 12
    sub eax, {at.DATA // at.PAGE}
    cmp eax, {at.PAGES}
    jae next
    push ecx
    mov ecx, eax
    shl ecx, 12
    or ecx, {at.DATA | 7}
    mov ss:[{at.TABLE + at.DATA // at.PAGE * 4} + eax * 4], ecx
    mov eax, cr2
    invlpg ss:[eax]
    pop ecx
    jmp 2f
1:  dec dword ptr ss:[{SKIPS}]
    js next
    bt dword ptr ss:[{SKIPPED}], eax
    jnc next
    inc dword ptr [esp + 12]
2:  pop eax
    add esp, 8
    iretd
timer:
    push eax
    inc dword ptr ss:[{TICKS}]
    mov al, 0x20
    out 0x20, al
    pop eax
    iretd
preempt:
    mov al, 0x20
    out 0x20, al
    jmp next
keyboard:
    push eax
    xor eax, eax
    in al, 0x60
    add ss:[{KEYS}], eax
    jmp requested
serial:
    push eax
    push edx
    mov edx, 0x3F8
    in al, dx
    inc eax
    out dx, al
    mov edx, 0x3FA
    in al, dx
    pop edx
    jmp requested
others:
    push eax
requested:
    mov al, 0x20
    out 0x20, al
    pop eax
    iretd
service:
    push ecx
    add ss:[{TOTAL}], eax
    pushfd
    pop ecx
    xor eax, ecx
    mov cx, cs
    add eax, ecx
    pop ecx
same_level:
    iretd
gate_entry:
    add ss:[{TOTAL}], eax
    retf
sysenter_entry:
    add ss:[{TOTAL}], eax
    sysexit
.code16
leave_protected:
    mov ax, {at.SMALL_DATA}
    mov ss, ax
    mov eax, cr0
    and eax, 0x7FFFFFFE
    mov cr0, eax
    .byte 0xEA
    .word real_start, 0
real_start:
    xor ax, ax
    mov ss, ax
    mov sp, 0x0FF0
    mov ds, ax
    lidtd [vectors_pointer]
    mov si, [{PENDING}]
    mov bx, [si + 4]
    mov cx, [si + 8]
    mov ax, {at.DATA + at.PAGES * at.PAGE >> 4}
    mov ds, ax
    mov es, ax
    push {at.SMALL_CODE >> 4}
    push bx
    push cx
    xor bx, bx
    popf
    retf
real_request:
    push ax
    mov al, 0x20
    out 0x20, al
    pop ax
    iret
real_done:
    cli
    xor ax, ax
    mov ds, ax
    lgdtd [gdt_pointer]
    lidtd [idt_pointer]
    mov eax, [{CR0_IMAGE}]
    mov cr0, eax
    .byte 0x66, 0xEA
    .long next
    .word {at.CODE}
.code32
.balign 4
kinds:
    .long k_stop, k_kernel, k_user, k_ring_1, k_v86, k_task, k_called_task, k_real
gdt_pointer:
    .word 0xA7
    .long {at.GDT}
idt_pointer:
    .word 64 * 8 - 1
    .long {at.IDT}
vectors_pointer:
    .word 0x3FF
    .long {at.VECTORS}
.balign {STUB}
stubs:
{_STUBS}
.balign 4
symbols:
    .long {", ".join(SYMBOLS)}
"""
