# Primes below 200,000, six times over: byte stores with a stride, a counting loop. About 16 million instructions.

limit = 200000
rounds = 6

        .bss
composite:
        .space  limit

        .text
        .globl  _start
_start:
        mov     ebp, rounds
again:
        mov     edi, offset composite
        mov     ecx, limit / 4
        xor     eax, eax
        cld
        rep stosd
        xor     ebx, ebx                # how many primes
        mov     esi, 2
next:
        cmp     byte ptr [composite + esi], 0
        jne     skip
        inc     ebx
        mov     eax, esi
        imul    eax, esi
        jo      skip
        cmp     eax, limit
        jae     skip
strike:
        mov     byte ptr [composite + eax], 1
        add     eax, esi
        cmp     eax, limit
        jb      strike
skip:
        inc     esi
        cmp     esi, limit
        jb      next
        dec     ebp
        jnz     again

        mov     eax, ebx
        mov     cl, 10
        call    print

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
