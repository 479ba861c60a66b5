# Memory at run time: brk(2) for a linked list, mmap2(2) for a page, munmap(2) to give it back.

nodes = 1000

        .text
        .globl  _start
_start:
        mov     eax, 45                 # brk: where does the heap end?
        xor     ebx, ebx
        int     0x80
        mov     edi, eax
        lea     ebx, [eax + 8 * nodes]  # move the end up
        mov     eax, 45
        int     0x80
        cmp     eax, ebx
        jne     failed

        xor     esi, esi                # build a list: [next, value], the newest first
        xor     eax, eax
1:      mov     [edi], esi
        mov     [edi + 4], eax
        mov     esi, edi
        add     edi, 8
        inc     eax
        cmp     eax, nodes
        jb      1b

        xor     eax, eax                # walk along it
2:      add     eax, [esi + 4]
        mov     esi, [esi]
        test    esi, esi
        jnz     2b
        mov     cl, 10
        call    print

        mov     eax, 192                # mmap2: a page of zeros, anywhere
        xor     ebx, ebx
        mov     ecx, 4096
        mov     edx, 3                  # read, write
        mov     esi, 0x22               # private, anonymous
        mov     edi, -1
        xor     ebp, ebp
        int     0x80
        cmp     eax, 0xfffff000
        ja      failed
        mov     esi, eax
        test    esi, 4095               # it starts a page
        jnz     failed
        mov     dword ptr [esi + 4092], 99
        mov     eax, [esi + 4092]
        add     eax, [esi]
        mov     cl, 10
        call    print
        mov     eax, 91                 # munmap
        mov     ebx, esi
        mov     ecx, 4096
        int     0x80
        mov     cl, 10
        call    print

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80
failed:
        mov     eax, 1
        mov     ebx, 1
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
