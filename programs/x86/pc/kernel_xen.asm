# The kernel of kernel.asm, ported to the paravirtual monitor: it runs in ring 1 and asks, by Xen's
# hypercalls, for what it did with privileged instructions. Its processes are the same, byte for byte.
#
# System calls (INT 30h): EAX 0 exit, 1 write the character in BL, 2 yield, 3 who am I (in EAX).
.machine pc/kernel

.set SHARED, 0x1FF000           # where the page is shown that is shared with the monitor
.set PENDING, SHARED + 2048     # its events
.set PHYSICAL, 0xFC000000       # the monitor's table: which of our pages a machine frame is
.set KERNEL_CS, 0xE019
.set KERNEL_DS, 0xE021
.set USER_CS, 0xE02B
.set USER_DS, 0xE033
.set KERNEL_STACK, 0x180000
.set FRAMES, 0x200000           # physical pages are given out from here
.set CODE, 0x400000             # where a process sees its program ...
.set HEAP, 0x500000             # ... and memory that it has not got yet
.set STACK, 0x800000            # its stack ends here
.set PROCESSES, 2
.set HZ, 1000000000 / 200       # nanoseconds from tick to tick

# A process's place in the table: its page directory, its kernel ESP, whether it lives.
.set P_CR3, 0                   # by our own addresses, not the machine's
.set P_ESP, 4
.set P_ALIVE, 8
.set P_STACK, 12                # top of its kernel stack
.set P_SIZE, 16

header:
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long header, header, 0, 0, start

# -- starting --------------------------------------------------------------------------------------

start:
    mov esp, KERNEL_STACK
    mov eax, dword ptr [esi + 68]       # start_info: which machine frames are ours
    mov dword ptr [frames], eax
    mov eax, dword ptr [esi + 60]       # the directory that we begin with has our first 4 MiB
    mov eax, dword ptr [eax]
    mov dword ptr [first_table], eax
    mov ebx, SHARED
    mov ecx, dword ptr [esi + 36]
    or ecx, 3
    mov eax, 14                 # update_va_mapping
    xor edx, edx
    xor esi, esi
    int 0x82
    mov eax, 0                  # set_trap_table
    mov ebx, offset traps
    int 0x82
    mov eax, 4                  # set_callbacks
    mov ebx, KERNEL_CS
    mov ecx, offset tick
    mov edx, KERNEL_CS
    mov esi, offset exit
    int 0x82

    call set_up_interrupts
    mov esi, offset hello_text
    call print

    xor ebp, ebp                # make the processes
1:  call make_process
    inc ebp
    cmp ebp, PROCESSES
    jne 1b

    mov dword ptr [current], 1  # the 8254 ticks at once, and so there B is the first
    jmp resume

# Make process EBP: a directory, the program's page, a stack, and a frame to return to.
make_process:
    imul ebx, ebp, P_SIZE
    add ebx, offset processes
    call new_frame              # the page directory
    mov dword ptr [ebx + P_CR3], edi
    mov dword ptr [directory], edi
    mov edi, dword ptr [first_table]    # the first 4 MiB as they are, for the kernel
    mov eax, dword ptr [ebx + P_CR3]
    mov dword ptr [eax], edi

    mov edx, CODE               # the program: the same page for all, read-only
    mov edi, offset program
    call machine
    mov eax, edi
    or eax, 5
    call map_page
    call new_frame              # the top of its stack
    call machine
    mov eax, edi
    or eax, 7
    mov edx, STACK - 0x1000
    call map_page
    mov edi, dword ptr [directory]      # tables are read-only, and then can be pinned
    call read_only
    mov edi, dword ptr [edi + 4]
    call physical
    call read_only
    mov edi, dword ptr [directory]
    mov eax, 1                  # PIN_L2_TABLE
    call about_table

    call new_frame              # its kernel stack
    add edi, 0x1000
    mov dword ptr [ebx + P_STACK], edi
    mov dword ptr [edi - 4], USER_DS    # what IRET will take: SS, ESP, EFLAGS, CS, EIP
    mov dword ptr [edi - 8], STACK
    mov dword ptr [edi - 12], 0x202     # interrupts on
    mov dword ptr [edi - 16], USER_CS
    mov dword ptr [edi - 20], CODE
    sub edi, 20 + 32                    # below it what POPAD takes: zeros
    mov dword ptr [ebx + P_ESP], edi
    mov dword ptr [ebx + P_ALIVE], 1
    ret

# -- memory ----------------------------------------------------------------------------------------

new_frame:                      # EDI: the address of a physical page of zeros
    mov edi, dword ptr [next_frame]
    add dword ptr [next_frame], 0x1000
    push edi
    push eax
    push ecx
    xor eax, eax
    mov ecx, 1024
    rep stosd
    pop ecx
    pop eax
    pop edi
    ret

map_page:                       # in the new directory: page EDX with the entry EAX
    push edi
    push ecx
    push ebx
    mov ebx, dword ptr [directory]
    mov ecx, edx
    shr ecx, 22
    lea ebx, [ebx + ecx * 4]
    test dword ptr [ebx], 1
    jnz 1f
    call new_frame
    call machine
    or edi, 7
    mov dword ptr [ebx], edi
1:  mov edi, dword ptr [ebx]
    call physical
    mov ebx, edi
    mov ecx, edx
    shr ecx, 12
    and ecx, 1023
    mov dword ptr [ebx + ecx * 4], eax
    pop ebx
    pop ecx
    pop edi
    ret

machine:                        # EDI: where the machine has our page EDI
    push eax
    mov eax, dword ptr [frames]
    shr edi, 12
    mov edi, dword ptr [eax + edi * 4]
    shl edi, 12
    pop eax
    ret

physical:                       # EDI: which of our pages the entry EDI leads to
    shr edi, 12
    mov edi, dword ptr [PHYSICAL + edi * 4]
    shl edi, 12
    ret

read_only:                      # we shall not write to our page EDI any more
    pushad
    mov ebx, edi
    call machine
    lea ecx, [edi + 1]
    xor edx, edx
    xor esi, esi
    mov eax, 14                 # update_va_mapping
    int 0x82
    popad
    ret

about_table:                    # mmuext_op: command EAX for the table in our page EDI
    pushad
    call machine
    shr edi, 12
    mov dword ptr [request], eax
    mov dword ptr [request + 4], edi
    mov eax, 26
    mov ebx, offset request
    mov ecx, 1
    xor edx, edx
    mov esi, 0x7FF0             # this domain's
    int 0x82
    popad
    ret

page_fault:                     # at HEAP a page is given; anywhere else the process ends
    pushad
    mov edx, dword ptr [SHARED + 8]     # CR2
    mov eax, edx
    and eax, 0xFFFFF000
    cmp eax, HEAP
    jne 1f
    test dword ptr [esp + 32], 1        # ... unless it is there already: a right is missing
    jnz 1f
    mov esi, offset fault_text
    call print
    call name
    call new_frame
    call machine
    mov ebx, edx
    lea ecx, [edi + 7]
    xor edx, edx
    xor esi, esi
    mov eax, 14                 # update_va_mapping
    int 0x82
    popad
    add esp, 4
    jmp return
1:  mov esi, offset killed_text
    call print
    call name
    jmp exit

# -- processes -------------------------------------------------------------------------------------

tick:
    pushad
    mov byte ptr [SHARED], 0            # no event is pending now
    mov dword ptr [SHARED + 4], 0
    mov dword ptr [PENDING], 0
    jmp switch

system_call:
    pushad
    cmp eax, 1
    jb exit
    je write
    cmp eax, 2
    je switch
    mov eax, dword ptr [current]
    mov dword ptr [esp + 28], eax       # the EAX that POPAD takes
    popad
    jmp return

write:
    mov al, bl
    call put
    popad
    jmp return

exit:
    call process
    mov dword ptr [ebx + P_ALIVE], 0

switch:                         # keep where this process is; go on with the next one that lives
    call process
    mov dword ptr [ebx + P_ESP], esp
    mov ecx, PROCESSES
1:  mov eax, dword ptr [current]
    inc eax
    cmp eax, PROCESSES
    jb 2f
    xor eax, eax
2:  mov dword ptr [current], eax
    call process
    cmp dword ptr [ebx + P_ALIVE], 0
    jne resume
    loop 1b
    mov esi, offset done_text
    call print
    mov eax, 29                 # sched_op: shut down
    mov ebx, 2
    mov ecx, offset zero
    int 0x82

resume:
    call process
    mov edi, dword ptr [ebx + P_CR3]
    mov eax, 5                  # NEW_BASEPTR
    call about_table
    mov esp, dword ptr [ebx + P_ESP]
    mov ecx, dword ptr [ebx + P_STACK]  # where the next trap finds its stack
    mov ebx, KERNEL_DS
    mov eax, 3                  # stack_switch
    int 0x82
    mov ax, USER_DS
    mov ds, ax
    mov es, ax
    popad
return:                         # as IRETD, and events come again if its EFLAGS have IF
    push eax
    mov eax, 23
    int 0x82

process:                        # EBX: the present process's place in the table
    mov ax, KERNEL_DS
    mov ds, ax
    mov es, ax
    imul ebx, dword ptr [current], P_SIZE
    add ebx, offset processes
    ret

# -- devices ---------------------------------------------------------------------------------------

set_up_interrupts:
    mov eax, 32                 # event_channel_op: bind the timer ...
    mov ebx, 1
    mov ecx, offset timer
    int 0x82
    mov eax, 32                 # ... and let it through
    mov ebx, 9
    mov ecx, offset timer_port
    int 0x82
    mov eax, 24                 # vcpu_op: it ticks
    mov ebx, 6
    xor ecx, ecx
    mov edx, offset period
    int 0x82
    ret

put:                            # the character in AL
    pushad
    mov byte ptr [character], al
    mov eax, 18                 # console_io
    xor ebx, ebx
    mov ecx, 1
    mov edx, offset character
    int 0x82
    popad
    ret

print:
    push eax
1:  lodsb
    test al, al
    jz 2f
    call put
    jmp 1b
2:  pop eax
    ret

name:                           # of the present process, and a new line
    push eax
    mov al, byte ptr [current]
    add al, 'A'
    call put
    mov al, 10
    call put
    pop eax
    ret

hello_text:  .asciz "kernel: two processes\n"
fault_text:  .asciz "kernel: a page for "
killed_text: .asciz "kernel: no such address; the end of "
done_text:   .asciz "kernel: all processes have ended\n"

    .balign 8
traps:                          # vector, ring that may use it + 4 (events are masked), CS, EIP
    .byte 14, 4
    .word KERNEL_CS
    .long page_fault
    .byte 0x30, 7
    .word KERNEL_CS
    .long system_call
    .quad 0
request:
    .long 0, 0, 0
timer:
    .long 0, 0                  # VIRQ_TIMER, of VCPU 0
timer_port:
    .long 0
period:
    .quad HZ
zero:
    .long 0
frames:
    .long 0
directory:
    .long 0
first_table:
    .long 0
character:
    .byte 0
    .balign 4
current:
    .long 0
next_frame:
    .long FRAMES
processes:
    .fill PROCESSES * P_SIZE, 1, 0

# -- what the processes run: position does not matter, it is shown at CODE -------------------------

    .balign 4096
program:
    mov eax, 3
    int 0x30
    mov edi, eax                # 0 or 1
    mov esi, 3                  # three rounds
1:  lea ebx, [edi + 'a']
    mov eax, 1
    int 0x30
    inc dword ptr [HEAP]        # the first time, there is no page
    mov ecx, 20000              # long enough for the timer to come in between
2:  dec ecx
    jnz 2b
    dec esi
    jnz 1b
    mov ebx, dword ptr [HEAP]   # its own page: 3, whatever the other one did
    add ebx, '0'
    mov eax, 1
    int 0x30
    mov ebx, 10
    mov eax, 1
    int 0x30
    test edi, edi
    jz 3f
    mov dword ptr [CODE], 0     # B writes where it may only read
3:  xor eax, eax
    int 0x30
