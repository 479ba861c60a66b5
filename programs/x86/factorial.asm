# Numbers of any size: 60! by MUL and ADC over an array of doublewords, printed by dividing it by 10.

words = 10

        .data
        .balign 4
product:
        .long   1
        .fill   words - 1, 4, 0

        .bss
digits:
        .space  100
digits_end:

        .text
        .globl  _start
_start:
        mov     esi, 2
factor:
        xor     edi, edi                # index
        xor     ebx, ebx                # what the word below carries
multiply:
        mov     eax, [product + edi * 4]
        mul     esi
        add     eax, ebx
        adc     edx, 0
        mov     [product + edi * 4], eax
        mov     ebx, edx
        inc     edi
        cmp     edi, words
        jb      multiply
        inc     esi
        cmp     esi, 60
        jbe     factor

        mov     edi, offset digits_end - 1
        mov     byte ptr [edi], 10
        mov     ebx, 10
digit:
        mov     ecx, words              # divide from the highest word down; remainders go along
        xor     edx, edx
        xor     ebp, ebp
divide:
        mov     eax, [product + ecx * 4 - 4]
        div     ebx
        mov     [product + ecx * 4 - 4], eax
        or      ebp, eax
        loop    divide
        add     dl, '0'
        dec     edi
        mov     [edi], dl
        test    ebp, ebp
        jnz     digit

        mov     eax, 4                  # write
        mov     ebx, 1
        mov     ecx, edi
        mov     edx, offset digits_end
        sub     edx, edi
        int     0x80
        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80
