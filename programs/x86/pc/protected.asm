# From real to protected mode and back: a boot sector that does it by hand, and tells on the way.
.machine pc/boot

.set COM1, 0x3F8

start:
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7C00
    mov esi, offset real_text
    call print16

    lgdt [table_pointer]
    mov eax, cr0
    or al, 1                    # PE: from here on selectors mean descriptors
    mov cr0, eax
    .byte 0xEA                  # ... but CS only once it is loaded anew: JMP 08:protected
    .word protected, 0x08

.code32
protected:
    mov ax, 0x10
    mov ds, ax
    mov ss, ax
    mov esp, 0x7C00
    mov esi, offset protected_text
    call print32
    mov dword ptr [0x200000], 0x600DF00D    # no segment of 64 KiB ends here
    cmp dword ptr [0x200000], 0x600DF00D
    jne back
    mov esi, offset far_text
    call print32
back:
    push 0x18                   # a code segment of 16 bits first: its size stays in CS
    mov eax, offset leaving
    push eax
    retf

print32:
    mov dx, COM1
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  ret

.code16
leaving:
    mov ax, 0x20                # and data segments with a limit of 64 KiB
    mov ds, ax
    mov ss, ax
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    .byte 0xEA                  # JMP 0:real
    .word real, 0
real:
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov esi, offset back_text
    call print16
    hlt

print16:
    mov dx, COM1
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  ret

    .balign 8
table:
    .quad 0
    .quad 0x00CF9A000000FFFF    # 08: code, 32 bits, 4 GiB
    .quad 0x00CF92000000FFFF    # 10: data, 4 GiB
    .quad 0x00009A000000FFFF    # 18: code, 16 bits, 64 KiB
    .quad 0x000092000000FFFF    # 20: data, 64 KiB
table_pointer:
    .word . - table - 1
    .long table

real_text:      .asciz "real mode\r\n"
protected_text: .asciz "protected mode\r\n"
far_text:       .asciz "... and memory beyond 1 MiB\r\n"
back_text:      .asciz "real mode again\r\n"

    .org 510
    .word 0xAA55
