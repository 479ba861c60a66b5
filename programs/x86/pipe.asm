# A pipe between two processes: the writer waits while it is full, the reader while it is empty, and both learn of the end.

        .equ    SIZE, 200000            # three times what a pipe holds

        .bss
        .balign 4
ends:                                   # the descriptors for reading and writing
        .space  8
data:
        .space  SIZE

        .text
        .globl  _start
_start:
        mov     eax, 42                 # pipe
        mov     ebx, offset ends
        int     0x80
        mov     eax, 2                  # fork
        int     0x80
        test    eax, eax
        jz      child
        mov     ebx, [ends + 4]
        call    close                   # else there would be a writer for ever
        xor     esi, esi                # bytes so far
1:      mov     eax, 3                  # read
        mov     ebx, [ends]
        mov     ecx, offset data
        mov     edx, 30000
        int     0x80
        add     esi, eax
        test    eax, eax
        jnz     1b
        mov     eax, esi
        call    print

        mov     ebx, [ends]
        call    close
        mov     eax, 42                 # another pipe, without a reader
        mov     ebx, offset ends
        int     0x80
        mov     ebx, [ends]
        call    close
        mov     eax, 48                 # signal
        mov     ebx, 13                 # SIGPIPE
        mov     ecx, 1                  # SIG_IGN
        int     0x80
        mov     eax, 4                  # write
        mov     ebx, [ends + 4]
        mov     ecx, offset data
        mov     edx, 1
        int     0x80
        neg     eax
        call    print                   # EPIPE

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

child:
        mov     ebx, [ends]
        call    close
        mov     eax, 4                  # write: returns when all has been taken
        mov     ebx, [ends + 4]
        mov     ecx, offset data
        mov     edx, SIZE
        int     0x80
        cmp     eax, SIZE
        setne   bl
        movzx   ebx, bl
        mov     eax, 1
        int     0x80

close:
        mov     eax, 6
        int     0x80
        ret

# Print the unsigned number in EAX on a line.
print:
        push    ebx
        push    edi
        sub     esp, 16
        lea     edi, [esp + 15]         # digits are written from the last to the first
        mov     byte ptr [edi], 10
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
