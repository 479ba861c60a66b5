# A signal handler: SIGSEGV tells the address that was touched; the handler mends the register in its frame and returns.

        .section .rodata
text:
        .ascii  "touched "
size = . - text

        .data
        .balign 4
action:                                 # struct sigaction of rt_sigaction
        .long   handler
        .long   0x04000004              # SA_RESTORER, SA_SIGINFO
        .long   restorer
        .long   0, 0                    # nothing more is blocked
value:
        .long   4711

        .text
        .globl  _start
_start:
        mov     eax, 174                # rt_sigaction
        mov     ebx, 11                 # SIGSEGV
        mov     ecx, offset action
        xor     edx, edx
        mov     esi, 8                  # bytes of a signal set
        int     0x80

        mov     esi, 0xdeadbee0         # a wild pointer
        mov     eax, [esi + 4]          # runs twice: once for the fault, once when mended
        mov     cl, 10
        call    print

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

# handler(number, information, context), its arguments on the stack
handler:
        push    ebx
        mov     eax, 4                  # write
        mov     ebx, 1
        mov     ecx, offset text
        mov     edx, size
        int     0x80
        mov     ebx, [esp + 12]
        mov     eax, [ebx + 12]         # si_addr
        mov     cl, 10
        call    print_hex
        mov     ebx, [esp + 16]
        mov     dword ptr [ebx + 20 + 20], offset value - 4     # ESI in uc_mcontext
        pop     ebx
        ret

restorer:
        mov     eax, 173                # rt_sigreturn
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

# Print EAX as eight hexadecimal digits and the character in CL after them.
print_hex:
        sub     esp, 12
        mov     [esp + 8], cl
        mov     edx, eax
        xor     ecx, ecx
1:      rol     edx, 4                  # the highest digit comes first
        mov     al, dl
        and     al, 15
        cmp     al, 10                  # three instructions that turn 0-15 into "0"-"F"
        sbb     al, 0x69
        das
        mov     [esp + ecx], al
        inc     ecx
        cmp     ecx, 8
        jb      1b
        mov     eax, 4                  # write
        push    ebx
        mov     ebx, 1
        lea     ecx, [esp + 4]
        mov     edx, 9
        int     0x80
        pop     ebx
        add     esp, 12
        ret
