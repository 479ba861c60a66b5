# A matrix product: three loops, row and column strides, IMUL with two and three operands, signed numbers.

n = 4

        .section .rodata
        .balign 4
left:
        .long   1, 2, 3, 4,  -5, 6, -7, 8,  9, 10, 11, 12,  13, -14, 15, -16
right:
        .long   2, 0, 0, 1,  0, 3, 0, 1,  0, 0, 5, 1,  7, 7, 7, 7

        .text
        .globl  _start
_start:
        xor     esi, esi                # row
row:
        xor     edi, edi                # column
column:
        xor     ebx, ebx                # sum
        xor     ecx, ecx
1:      imul    eax, esi, 4 * n
        mov     eax, [left + eax + ecx * 4]
        imul    edx, ecx, 4 * n
        imul    eax, [right + edx + edi * 4]
        add     ebx, eax
        inc     ecx
        cmp     ecx, n
        jb      1b
        mov     eax, ebx
        mov     cl, 0x20
        cmp     edi, n - 1
        jne     2f
        mov     cl, 10
2:      call    print_signed
        inc     edi
        cmp     edi, n
        jb      column
        inc     esi
        cmp     esi, n
        jb      row

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

# Print the signed number in EAX and the character in CL after it.
print_signed:
        test    eax, eax
        jns     print
        push    eax
        push    ecx
        push    0x2d                    # a minus sign, written from the stack
        mov     ecx, esp
        mov     eax, 4
        mov     ebx, 1
        mov     edx, 1
        int     0x80
        pop     eax
        pop     ecx
        pop     eax
        neg     eax

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
