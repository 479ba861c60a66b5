# The 3n + 1 problem: branches that nobody can predict; LEA as arithmetic, BT and SAR on the low bit.

        .text
        .globl  _start
_start:
        mov     esi, 27
        mov     eax, esi
        call    steps
        mov     cl, 10
        call    print

        xor     ebp, ebp                # the longest way from a number below 1000
        mov     esi, 1
next:
        mov     eax, esi
        call    steps
        cmp     eax, ebp
        jbe     1f
        mov     ebp, eax
        mov     edi, esi
1:      inc     esi
        cmp     esi, 1000
        jb      next
        mov     eax, edi
        mov     cl, 0x20
        call    print
        mov     eax, ebp
        mov     cl, 10
        call    print

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

# EAX := how many steps lead from EAX to 1.
steps:
        xor     ecx, ecx
1:      cmp     eax, 1
        je      3f
        inc     ecx
        bt      eax, 0
        jc      2f
        sar     eax, 1
        jmp     1b
2:      lea     eax, [eax + eax * 2 + 1]
        jmp     1b
3:      mov     eax, ecx
        ret

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
