# CRC-32 of 256 KiB, a sixteenth bit by bit, the rest from a table, twice: shifts, XOR, look-ups. About 7 million instructions.

size = 256 * 1024

        .bss
        .balign 4
table:
        .space  4 * 256
data:
        .space  size

        .text
        .globl  _start
_start:
        mov     edi, offset data        # numbers of a linear congruence
        mov     ecx, size
        mov     eax, 12345
1:      imul    eax, eax, 1103515245
        add     eax, 12345
        mov     edx, eax
        shr     edx, 16
        mov     [edi], dl
        inc     edi
        dec     ecx
        jnz     1b

        xor     esi, esi
entry:
        mov     eax, esi
        mov     ecx, 8
2:      shr     eax, 1
        jnc     3f
        xor     eax, 0xedb88320
3:      dec     ecx
        jnz     2b
        mov     [table + esi * 4], eax
        inc     esi
        cmp     esi, 256
        jb      entry

        mov     esi, offset data        # the first sixteenth by bits
        mov     ecx, size / 16
        mov     eax, -1
4:      movzx   edx, byte ptr [esi]
        xor     eax, edx
        mov     ebx, 8
5:      shr     eax, 1
        sbb     edx, edx                # all ones if a bit fell out
        and     edx, 0xedb88320
        xor     eax, edx
        dec     ebx
        jnz     5b
        inc     esi
        dec     ecx
        jnz     4b

        mov     ecx, size - size / 16   # the rest by bytes, twice
        push    esi
        push    ecx
        mov     ebp, 2
6:      mov     esi, [esp + 4]
        mov     ecx, [esp]
7:      movzx   edx, byte ptr [esi]
        movzx   ebx, al
        xor     edx, ebx
        shr     eax, 8
        xor     eax, [table + edx * 4]
        inc     esi
        dec     ecx
        jnz     7b
        dec     ebp
        jnz     6b
        add     esp, 8
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
