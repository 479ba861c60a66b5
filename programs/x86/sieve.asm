# The sieve of Eratosthenes: byte arrays in .bss, REP STOSB, and a routine that prints numbers.

limit = 200

        .bss
composite:
        .space  limit

        .text
        .globl  _start
_start:
        mov     esi, 2
next:
        cmp     byte ptr [composite + esi], 0
        jne     skip
        mov     eax, esi
        mov     cl, 0x20                # a space
        call    print
        lea     edi, [esi * 2]          # strike out every multiple
strike:
        cmp     edi, limit
        jae     skip
        mov     byte ptr [composite + edi], 1
        add     edi, esi
        jmp     strike
skip:
        inc     esi
        cmp     esi, limit
        jb      next

        mov     edi, offset composite   # forget it all, and see that it is forgotten
        mov     ecx, limit
        xor     eax, eax
        cld
        rep stosb
        movzx   eax, byte ptr [composite + 4]
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
