# Signals between processes: one that interrupts a read, one that lets it begin anew, and one that ends a child.

        .data
        .balign 4
action:                                 # struct sigaction of rt_sigaction
        .long   handler
        .long   0x04000000              # SA_RESTORER
        .long   restorer
        .long   0, 0                    # nothing more is blocked
time:                                   # struct timespec: 50 ms
        .long   0, 50000000

        .bss
        .balign 4
ends:
        .space  8
status:
        .space  4
handled:
        .space  4
byte:
        .space  4

        .text
        .globl  _start
_start:
        mov     eax, 42                 # pipe
        mov     ebx, offset ends
        int     0x80
        call    install
        call    start_child
        call    read
        neg     eax
        call    print                   # EINTR
        mov     eax, 37                 # kill
        mov     ebx, esi
        mov     ecx, 15                 # SIGTERM
        int     0x80
        call    wait
        mov     eax, [status]
        call    print

        or      dword ptr [action + 4], 0x10000000      # SA_RESTART
        call    install
        call    start_child
        call    read                    # goes on waiting when the handler returns
        call    print
        call    wait
        mov     eax, [handled]
        call    print
        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

install:
        mov     eax, 174                # rt_sigaction
        mov     ebx, 10                 # SIGUSR1
        mov     ecx, offset action
        xor     edx, edx
        mov     esi, 8                  # bytes of a signal set
        int     0x80
        ret

# Start a child, its number in ESI, that sends us SIGUSR1, and then a byte if reads begin anew.
start_child:
        mov     eax, 2                  # fork
        int     0x80
        mov     esi, eax
        test    eax, eax
        jz      1f
        ret
1:      call    sleep
        mov     eax, 64                 # getppid
        int     0x80
        mov     ebx, eax
        mov     eax, 37                 # kill
        mov     ecx, 10
        int     0x80
        call    sleep
        test    dword ptr [action + 4], 0x10000000
        jz      2f
        mov     eax, 4                  # write
        mov     ebx, [ends + 4]
        mov     ecx, offset byte
        mov     edx, 1
        int     0x80
        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80
2:      mov     eax, 29                 # pause, until a signal ends us
        int     0x80
        jmp     2b

sleep:
        mov     eax, 162                # nanosleep
        mov     ebx, offset time
        xor     ecx, ecx
        int     0x80
        ret

read:
        mov     eax, 3
        mov     ebx, [ends]
        mov     ecx, offset byte
        mov     edx, 4
        int     0x80
        ret

wait:
        mov     eax, 7                  # waitpid
        mov     ebx, esi
        mov     ecx, offset status
        xor     edx, edx
        int     0x80
        ret

handler:
        inc     dword ptr [handled]
        ret

restorer:
        pop     eax                     # the number: this frame is of the old kind
        mov     eax, 119                # sigreturn
        int     0x80

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
