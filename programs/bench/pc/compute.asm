# A user program that computes and hardly ever calls its kernel: a sieve, again and again.
.machine pc/kernel
header: .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long header, header, 0, 0, start
.set DIRECTORY, 0x130000
.set TABLE, 0x131000            # the first 4 MiB as they are, for both rings
.set SIEVE, 0x200000
.set SIZE, 0x40000

start:
    mov esp, 0x180000
    mov al, 0xFF                # no device interrupts
    out 0x21, al
    out 0xA1, al
    lgdt [gdt_pointer]
    lidt [idt_pointer]
    push 8
    push offset flat
    retf
flat:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, offset tss
    mov word ptr [gdt + 0x2A], ax
    shr eax, 16
    mov byte ptr [gdt + 0x2C], al
    mov eax, 0x28
    ltr ax
    mov edi, TABLE
    mov eax, 7
1:  stosd
    add eax, 0x1000
    cmp edi, TABLE + 0x1000
    jne 1b
    mov dword ptr [DIRECTORY], TABLE + 7
    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80010000
    mov cr0, eax
    mov eax, 0x23               # to ring 3
    mov ds, eax
    mov es, eax
    push 0x23
    push 0x1A0000
    push 0x202
    push 0x1B
    push offset program
    iretd

program:
    mov ebp, 100000
again:
    mov edi, SIEVE              # all may be prime
    mov ecx, SIZE / 4
    mov eax, 0x01010101
    rep stosd
    mov esi, 2
next:
    cmp byte ptr [SIEVE + esi], 0
    je 2f
    mov edi, esi
    imul edi, esi
    cmp edi, SIZE
    jae 3f
1:  mov byte ptr [SIEVE + edi], 0
    add edi, esi
    cmp edi, SIZE
    jb 1b
2:  inc esi
    jmp next
3:  test ebp, 0xFF
    jnz 4f
    mov eax, 1
    int 0x30
4:  dec ebp
    jnz again
    xor eax, eax
    int 0x30

system_call:                    # EAX 0: end; else the number of calls so far, in EAX
    test eax, eax
    jz 1f
    inc dword ptr [calls]
    mov eax, dword ptr [calls]
    iretd
1:  cli
    hlt

calls: .long 0
    .balign 8
gdt: .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00CFFB000000FFFF, 0x00CFF3000000FFFF
    .word 103, 0, 0x8900, 0
gdt_pointer: .word 47
    .long gdt
idt_pointer: .word 49 * 8 - 1
    .long idt
    .balign 8
tss: .long 0, 0x190000, 0x10
    .fill 92, 1, 0
    .balign 8
idt: .fill 48 * 8, 1, 0
    .word system_call - header, 8, 0xEE00, 0x10
