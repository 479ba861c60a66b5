# What a program finds on its stack: the count, the arguments, the environment, each a line of output.

        .text
        .globl  _start
_start:
        cld
        lea     esi, [esp + 4]          # argv; it ends with a null pointer, then comes envp
        call    lines
        call    lines
        mov     eax, 1                  # exit: the code is argc
        mov     ebx, [esp]
        int     0x80

# Print the strings that ESI points to until a null pointer; ESI is left behind it.
lines:
        mov     edi, [esi]
        add     esi, 4
        test    edi, edi
        jz      1f
        mov     ecx, edi
        xor     eax, eax
        or      ecx, -1
        repne scasb
        mov     byte ptr [edi - 1], 10  # the zero becomes the end of the line
        mov     ecx, [esi - 4]
        mov     edx, edi
        sub     edx, ecx
        mov     eax, 4                  # write
        mov     ebx, 1
        int     0x80
        jmp     lines
1:      ret
