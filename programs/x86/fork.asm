# Processes: fork answers twice, waitpid tells how a child has ended, and only vfork shares memory.

        .bss
        .balign 4
status:
        .space  4
value:
        .space  4

        .text
        .globl  _start
_start:
        mov     eax, 2                  # fork
        int     0x80
        test    eax, eax
        jz      first_child
        call    wait
        movzx   eax, byte ptr [status + 1]
        call    print                   # its exit code
        mov     eax, [value]
        call    print                   # it wrote to its own copy

        mov     eax, 2
        int     0x80
        test    eax, eax
        jz      second_child
        call    wait
        mov     eax, [status]
        call    print                   # the signal that ended it

        mov     eax, 190                # vfork: we go on when the child has ended
        int     0x80
        test    eax, eax
        jz      third_child
        mov     eax, [value]
        call    print                   # it wrote to our memory
        call    wait

        mov     ebx, -1
        call    wait                    # nobody is left
        neg     eax
        call    print                   # ECHILD

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

first_child:
        mov     dword ptr [value], 42
        mov     eax, 1
        mov     ebx, 7
        int     0x80

second_child:
        mov     eax, 20                 # getpid
        int     0x80
        mov     ebx, eax
        mov     eax, 37                 # kill
        mov     ecx, 9                  # SIGKILL
        int     0x80
        ud2                             # never reached

third_child:
        mov     dword ptr [value], 43
        mov     eax, 1
        xor     ebx, ebx
        int     0x80

# Wait for the child whose number is in EAX; what waitpid answers is in EAX.
wait:
        mov     ebx, eax
        mov     eax, 7                  # waitpid
        mov     ecx, offset status
        xor     edx, edx
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
