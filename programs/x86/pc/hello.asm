# A boot sector: the firmware loads it at 0:7C00h and jumps there; INT 10h prints.
.machine pc/boot

start:
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7C00
    cld
    mov ax, 3                   # text mode 3, a clear screen
    int 0x10
    mov si, offset text
next:
    lodsb
    test al, al
    jz done
    mov ah, 0x0E
    mov bx, 7
    int 0x10
    jmp next
done:
    cli
    hlt

text:
    .asciz "Hello, bare machine!\r\n"

    .org 510
    .word 0xAA55
