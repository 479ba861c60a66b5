# String instructions: SCAS measures, MOVS copies (backwards, too, for an overlap), CMPS compares, LODS and STOS translate.

        .section .rodata
text:
        .asciz  "the quick brown fox jumps over the lazy dog"
size = . - text
other:
        .asciz  "the quick brown cat"

        .bss
copy:
        .space  128

        .text
        .globl  _start
_start:
        cld
        mov     edi, offset text        # strlen: look for the zero
        xor     eax, eax
        mov     ecx, -1
        repne scasb
        mov     eax, -2
        sub     eax, ecx
        mov     cl, 10
        call    print

        mov     esi, offset text        # where do two strings differ?
        mov     edi, offset other
        mov     ecx, size
        repe cmpsb
        lea     eax, [esi - 1]
        sub     eax, offset text
        mov     cl, 10
        call    print

        mov     esi, offset text        # copy in doublewords, then what is left in bytes
        mov     edi, offset copy
        mov     ecx, size / 4
        rep movsd
        mov     ecx, size % 4
        rep movsb

        std                             # move it up by four: the last byte first
        mov     esi, offset copy + size - 1
        mov     edi, offset copy + size + 3
        mov     ecx, size
        rep movsb
        cld
        mov     dword ptr [copy], 0x203e2d2d    # "--> "

        mov     esi, offset copy        # to capitals, in place
        mov     edi, esi
1:      lodsb
        cmp     al, 'a'
        jb      2f
        cmp     al, 'z'
        ja      2f
        and     al, 0xdf
2:      stosb
        test    al, al
        jnz     1b
        mov     byte ptr [edi - 1], 10

        mov     eax, 4                  # write
        mov     ebx, 1
        mov     ecx, offset copy
        mov     edx, edi
        sub     edx, ecx
        int     0x80

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

# Print the unsigned number in EAX and the character in CL after it.
print:
        push    ebx
        push    edi
        sub     esp, 16
        lea     edi, [esp + 15]         # digits are written from the last to the first
        mov     [edi], cl
        mov     ebx, 10
1:      xor     edx, edx
        div     ebx
        add     dl, 0x30                # the digit zero
        dec     edi
        mov     [edi], dl
        test    eax, eax
        jnz     1b
        lea     edx, [esp + 16]
        sub     edx, edi                # how many characters
        mov     ecx, edi
        mov     ebx, 1
        mov     eax, 4                  # write
        int     0x80
        add     esp, 16
        pop     edi
        pop     ebx
        ret
