# The 26th Fibonacci number by plain recursion: calls, returns and the stack. About 5 million instructions.

        .text
        .globl  _start
_start:
        mov     eax, 26
        call    fibonacci
        mov     cl, 10
        call    print

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

# EAX := the EAX-th Fibonacci number.
fibonacci:
        push    ebp
        mov     ebp, esp
        push    ebx
        mov     ebx, eax
        cmp     eax, 2
        jb      1f
        dec     eax
        call    fibonacci
        xchg    eax, ebx
        sub     eax, 2
        call    fibonacci
        add     eax, ebx
1:      pop     ebx
        pop     ebp
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
