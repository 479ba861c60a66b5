# Interrupts from devices: the 8259s moved out of the exceptions' way, a timer, a keyboard.
.machine pc/kernel

.set COM1, 0x3F8
.set TICKS, 5

header:
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long header, header, 0, 0, start

start:
    mov esp, 0x180000
    lgdt [gdt_pointer]
    push 8                      # CS changes by a far transfer only
    push offset flat
    retf
flat:
    mov ax, 16
    mov ds, ax
    mov ss, ax

    mov ebx, 0x20               # vectors 20h and 21h
    mov eax, offset tick
    call set_gate
    mov ebx, 0x21
    mov eax, offset key
    call set_gate
    lidt [idt_pointer]

    mov al, 0x11                # ICW1: edge, cascade, ICW4 follows
    out 0x20, al
    out 0xA0, al
    mov al, 0x20                # ICW2: first vector
    out 0x21, al
    mov al, 0x28
    out 0xA1, al
    mov al, 4                   # ICW3: the slave is at request 2
    out 0x21, al
    mov al, 2
    out 0xA1, al
    mov al, 1                   # ICW4: 8086
    out 0x21, al
    out 0xA1, al
    mov al, 0xFC                # only timer and keyboard
    out 0x21, al
    mov al, 0xFF
    out 0xA1, al

    mov al, 0x34                # counter 0, both bytes, rate generator: 100 Hz
    out 0x43, al
    mov al, 11932 % 256
    out 0x40, al
    mov al, 11932 / 256
    out 0x40, al

    sti
wait:
    hlt                         # nothing to do but wait
    cmp dword ptr [ticks], TICKS
    jb wait
    cmp dword ptr [keys], 0
    je wait
    cli
    mov esi, offset done_text
    call print
    hlt

tick:
    push eax
    push edx
    push esi
    inc dword ptr [ticks]
    cmp dword ptr [ticks], TICKS
    ja 1f
    mov esi, offset tick_text
    call print
1:  mov al, 0x20                # end of interrupt
    out 0x20, al
    pop esi
    pop edx
    pop eax
    iretd

key:
    push eax
    push edx
    push esi
    in al, 0x60
    test al, 0x80
    jnz 1f                      # released
    inc dword ptr [keys]
    push eax
    mov esi, offset key_text
    call print
    pop eax
    call print_byte
1:  mov al, 0x20
    out 0x20, al
    pop esi
    pop edx
    pop eax
    iretd

set_gate:                       # of vector EBX: to EAX
    mov word ptr [idt + ebx * 8], ax
    mov word ptr [idt + ebx * 8 + 2], 8
    mov word ptr [idt + ebx * 8 + 4], 0x8E00
    shr eax, 16
    mov word ptr [idt + ebx * 8 + 6], ax
    ret

print_byte:                     # AL in hexadecimal
    mov ah, al
    shr al, 4
    call 1f
    mov al, ah
    and al, 15
    call 1f
    mov al, 10
    out dx, al
    ret
1:  cmp al, 10
    sbb al, 0x69
    das
    mov dx, COM1
    out dx, al
    ret

print:
    mov dx, COM1
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  ret

tick_text: .asciz "tick\n"
key_text:  .asciz "key "
done_text: .asciz "done\n"

    .balign 8
gdt:
    .quad 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF
gdt_pointer:
    .word 23
    .long gdt
idt_pointer:
    .word 0x30 * 8 - 1
    .long idt
ticks:
    .long 0
keys:
    .long 0
    .balign 8
idt:
    .fill 0x30, 8, 0
