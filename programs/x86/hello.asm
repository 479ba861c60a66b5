# The smallest program with a result: write(2) and exit(2) through int 0x80.

        .section .rodata
message:
        .ascii  "Hello, world\n"
length = . - message

        .text
        .globl  _start
_start:
        mov     eax, 4                  # write
        mov     ebx, 1                  # standard output
        mov     ecx, offset message
        mov     edx, length
        int     0x80

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80
