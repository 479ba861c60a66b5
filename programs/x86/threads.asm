# Threads: two of them count together under a lock that is a futex, and main joins.

        .bss
        .balign 16
numbers:                                # each thread's, 0 once it has ended
        .space  8
counter:
        .space  4
lock:                                   # 0 free, 1 held, 2 held and somebody waits
        .space  4
        .space  4096
first_stack:
        .space  4096
second_stack:
own:                                    # each thread's own word, at GS:0
        .space  8

        .data
        .balign 4
descriptor:                             # struct user_desc: entry, base, limit, flags
        .long   -1, own, 0xfffff, 0x51  # any entry; 32 bit, in pages, useable

        .text
        .globl  _start
_start:
        mov     eax, 243                # set_thread_area
        mov     ebx, offset descriptor
        int     0x80
        mov     eax, [descriptor]       # which entry it is
        lea     eax, [eax * 8 + 3]      # privilege level 3
        mov     gs, eax

        mov     ecx, offset first_stack
        mov     edx, offset numbers
        call    start
        mov     ecx, offset second_stack
        mov     edx, offset numbers + 4
        mov     dword ptr [descriptor + 4], offset own + 4
        call    start

        mov     esi, offset numbers
        call    join
        mov     esi, offset numbers + 4
        call    join
        mov     eax, [counter]
        call    print
        mov     eax, [own]              # what each has done
        add     eax, [own + 4]
        call    print
        mov     eax, 252                # exit_group
        xor     ebx, ebx
        int     0x80

# Start a thread on the stack that ends at ECX; its number is at EDX until it has ended.
start:
        mov     eax, 120                # clone
        mov     ebx, 0x3d0f00           # CLONE_VM FS FILES SIGHAND THREAD SYSVSEM SETTLS *_TID
        mov     esi, offset descriptor
        mov     edi, edx
        int     0x80
        test    eax, eax
        jz      count
        ret

count:
        mov     ebp, 2000
1:      call    acquire
        inc     dword ptr [counter]
        call    release
        inc     dword ptr gs:[0]
        dec     ebp
        jnz     1b
        mov     eax, 1                  # exit: this thread
        xor     ebx, ebx
        int     0x80

acquire:
        xor     eax, eax
        mov     ecx, 1
        lock cmpxchg [lock], ecx
        jz      2f
1:      mov     eax, 2
        xchg    [lock], eax
        test    eax, eax
        jz      2f
        mov     eax, 240                # futex: until it is not 2
        mov     ebx, offset lock
        mov     ecx, 128                # FUTEX_WAIT, private to the process
        mov     edx, 2
        xor     esi, esi
        int     0x80
        jmp     1b
2:      ret

release:
        xor     eax, eax
        xchg    [lock], eax
        cmp     eax, 2
        jne     1f
        mov     eax, 240                # futex: one may try
        mov     ebx, offset lock
        mov     ecx, 129                # FUTEX_WAKE
        mov     edx, 1
        int     0x80
1:      ret

# Wait until the number at ESI is 0.
join:
        mov     edx, [esi]
        test    edx, edx
        jz      1f
        mov     eax, 240
        mov     ebx, esi
        mov     ecx, 0                  # FUTEX_WAIT; the kernel wakes whoever shares the word
        push    esi
        xor     esi, esi
        int     0x80
        pop     esi
        jmp     join
1:      ret

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
