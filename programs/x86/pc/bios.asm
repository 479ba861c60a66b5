# What a BIOS is for: memory size, sectors of a disk, the keyboard, the time since start.
.machine pc/boot

start:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7C00
    mov byte ptr [drive], dl    # the firmware says from where it has started us
    cld

    mov ax, 3                   # INT 10h, function 0: text mode 3, a clear screen
    int 0x10
    mov si, offset memory_text
    call print
    int 0x12                    # kilobytes below 1 MiB
    call print_decimal

    mov ax, 0x0201              # INT 13h, function 2: read 1 sector
    mov cx, 0x0002              # cylinder 0, sector 2
    mov dh, 0
    mov dl, byte ptr [drive]
    mov bx, offset second
    int 0x13
    mov si, offset failed_text
    jc 1f
    mov si, offset second
1:  call print

    mov ah, 0                   # INT 1Ah: ticks since midnight
    int 0x1A
    mov word ptr [ticks], dx
2:  hlt                         # two ticks later
    mov ah, 0
    int 0x1A
    sub dx, word ptr [ticks]
    cmp dx, 2
    jb 2b
    mov si, offset ticks_text
    call print

3:  mov ah, 0                   # INT 16h: wait for a key
    int 0x16
    cmp al, 13
    je 4f
    mov ah, 0x0E                # INT 10h: show it
    mov bx, 7
    int 0x10
    jmp 3b
4:  mov si, offset done_text
    call print
    cli
    hlt

print:
    lodsb
    test al, al
    jz 1f
    mov ah, 0x0E
    mov bx, 7
    int 0x10
    jmp print
1:  ret

print_decimal:                  # AX
    mov bx, 10
    xor cx, cx
1:  xor dx, dx
    div bx
    push dx
    inc cx
    test ax, ax
    jnz 1b
2:  pop ax
    add al, '0'
    mov ah, 0x0E
    mov bx, 7
    int 0x10
    loop 2b
    mov si, offset line_text
    jmp print

memory_text: .asciz "conventional memory in KiB: "
failed_text: .asciz "the second sector cannot be read\r\n"
ticks_text:  .asciz "two ticks have passed; type, and press Enter: "
done_text:   .asciz "\r\nthat was all\r\n"
line_text:   .asciz "\r\n"
drive:       .byte 0
ticks:       .word 0

    .org 510
    .word 0xAA55

second:
    .asciz "this text comes from the second sector\r\n"
    .org 1024
