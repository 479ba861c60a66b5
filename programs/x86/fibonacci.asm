# Recursion: arguments and results in registers, what must survive a call on the stack.

        .text
        .globl  _start
_start:
        xor     esi, esi
next:
        mov     eax, esi
        call    fibonacci
        mov     cl, 10
        call    print
        inc     esi
        cmp     esi, 16
        jbe     next

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

# EAX := the EAX-th Fibonacci number.
fibonacci:
        cmp     eax, 2
        jb      1f                      # 0 and 1 are their own
        push    ebx
        mov     ebx, eax
        dec     eax
        call    fibonacci
        xchg    eax, ebx
        sub     eax, 2
        call    fibonacci
        add     eax, ebx
        pop     ebx
1:      ret

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
