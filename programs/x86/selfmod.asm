# Code that changes itself: the operand, then the opcode of an instruction about to run; mprotect(2) makes code writable.

        .text
        .globl  _start
_start:
        mov     eax, 125                # mprotect: this page, read, write and execute
        mov     ebx, offset _start
        and     ebx, 0xfffff000
        mov     ecx, 4096
        mov     edx, 7
        int     0x80
        test    eax, eax
        jnz     failed

        mov     esi, 5                  # change an operand each time round a loop
again:
        mov     eax, 0x11111111
        mov     cl, 10
        call    print
        inc     dword ptr [again + 1]
        dec     esi
        jnz     again

        mov     eax, 1000
        mov     byte ptr [change], 0x48 # the very next instruction: INC EAX becomes DEC EAX
change:
        inc     eax
        mov     cl, 10
        call    print

        mov     edi, offset made        # write a function, call it: MOV EAX, 7; RET
        mov     byte ptr [edi], 0xb8
        mov     dword ptr [edi + 1], 7
        mov     byte ptr [edi + 5], 0xc3
        call    edi
        mov     cl, 10
        call    print

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80
failed:
        mov     eax, 1
        mov     ebx, 1
        int     0x80

made:
        .fill   6, 1, 0xcc

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
