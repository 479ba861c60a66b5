# CRC-32 with a table: shifts, XOR, conditional moves, and DAS used for hexadecimal digits.

        .section .rodata
text:
        .ascii  "123456789"
size = . - text

        .bss
        .balign 4
table:
        .space  4 * 256

        .text
        .globl  _start
_start:
        xor     esi, esi                # the table: what eight zero bits make of each byte
entry:
        mov     eax, esi
        mov     ecx, 8
1:      mov     edx, eax
        shr     edx, 1
        mov     ebx, edx
        xor     ebx, 0xedb88320
        shr     eax, 1
        mov     eax, edx
        cmovc   eax, ebx
        loop    1b
        mov     [table + esi * 4], eax
        inc     esi
        cmp     esi, 256
        jb      entry

        mov     esi, offset text
        mov     ecx, size
        mov     eax, -1
2:      movzx   edx, byte ptr [esi]
        xor     dl, al
        shr     eax, 8
        xor     eax, [table + edx * 4]
        inc     esi
        dec     ecx
        jnz     2b
        not     eax
        mov     cl, 10
        call    print_hex

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

# Print EAX as eight hexadecimal digits and the character in CL after them.
print_hex:
        sub     esp, 12
        mov     [esp + 8], cl
        mov     edx, eax
        xor     ecx, ecx
1:      rol     edx, 4                  # the highest digit comes first
        mov     al, dl
        and     al, 15
        cmp     al, 10                  # three instructions that turn 0-15 into "0"-"F"
        sbb     al, 0x69
        das
        mov     [esp + ecx], al
        inc     ecx
        cmp     ecx, 8
        jb      1b
        mov     eax, 4                  # write
        push    ebx
        mov     ebx, 1
        lea     ecx, [esp + 4]
        mov     edx, 9
        int     0x80
        pop     ebx
        add     esp, 12
        ret
