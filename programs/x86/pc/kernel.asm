# A kernel you can read in an hour: two processes at ring 3, each with its own page table and stack,
# system calls, a timer that takes the processor away from them, and memory that comes when touched.
#
# System calls (INT 30h): EAX 0 exit, 1 write the character in BL, 2 yield, 3 who am I (in EAX).
.machine pc/kernel

.set COM1, 0x3F8
.set KERNEL_STACK, 0x180000
.set FRAMES, 0x200000           # physical pages are given out from here
.set CODE, 0x400000             # where a process sees its program ...
.set HEAP, 0x500000             # ... and memory that it has not got yet
.set STACK, 0x800000            # its stack ends here
.set PROCESSES, 2
.set HZ, 1193182 / 200          # PIT counts from tick to tick

# A process's place in the table: its page directory, its kernel ESP, whether it lives.
.set P_CR3, 0
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
    mov eax, offset tss         # the TSS's descriptor has its address in pieces
    mov word ptr [gdt_tss + 2], ax
    shr eax, 16
    mov byte ptr [gdt_tss + 4], al
    mov byte ptr [gdt_tss + 7], ah
    lgdt [gdt_pointer]
    push 0x08
    push offset flat
    retf
flat:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov dword ptr [tss + 8], 0x10   # SS0
    mov word ptr [tss + 102], 104   # no I/O permission map: ports are the kernel's
    mov ax, 0x28
    ltr ax

    mov ebx, 14
    mov eax, offset page_fault
    mov ecx, 0x8E00             # an interrupt gate for the kernel
    call set_gate
    mov ebx, 0x20
    mov eax, offset tick
    call set_gate
    mov ebx, 0x30
    mov eax, offset system_call
    mov ecx, 0xEE00             # one that ring 3 may use
    call set_gate
    lidt [idt_pointer]

    call set_up_interrupts
    mov esi, offset hello_text
    call print

    xor ebp, ebp                # make the processes
1:  call make_process
    inc ebp
    cmp ebp, PROCESSES
    jne 1b

    mov eax, dword ptr [processes + P_CR3]
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80010000          # PG, and WP: read-only is read-only for the kernel too
    mov cr0, eax
    mov dword ptr [current], 0
    jmp resume

# Make process EBP: a directory, the program's page, a stack, and a frame to return to.
make_process:
    imul ebx, ebp, P_SIZE
    add ebx, offset processes
    call new_frame              # the page directory
    mov dword ptr [ebx + P_CR3], edi
    call new_frame              # one table: the first 4 MiB as they are, for the kernel alone
    mov eax, dword ptr [ebx + P_CR3]
    lea ecx, [edi + 3]
    mov dword ptr [eax], ecx
    mov ecx, 1024
    mov eax, 3
1:  stosd
    add eax, 0x1000
    loop 1b

    mov eax, dword ptr [ebx + P_CR3]
    mov cr3, eax                # no paging yet: map_page only looks at it
    mov edx, CODE               # the program: the same page for all, read-only
    mov eax, offset program
    or eax, 5
    call map_page
    call new_frame              # the top of its stack
    mov eax, edi
    or eax, 7
    mov edx, STACK - 0x1000
    call map_page

    call new_frame              # its kernel stack
    add edi, 0x1000
    mov dword ptr [ebx + P_STACK], edi
    mov dword ptr [edi - 4], 0x23       # what IRET will take: SS, ESP, EFLAGS, CS, EIP
    mov dword ptr [edi - 8], STACK
    mov dword ptr [edi - 12], 0x202     # interrupts on
    mov dword ptr [edi - 16], 0x1B
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

map_page:                       # in the directory of CR3: page EDX with the entry EAX
    push edi
    push ecx
    push ebx
    mov ebx, cr3
    mov ecx, edx
    shr ecx, 22
    lea ebx, [ebx + ecx * 4]
    test dword ptr [ebx], 1
    jnz 1f
    call new_frame
    or edi, 7
    mov dword ptr [ebx], edi
1:  mov ebx, dword ptr [ebx]
    and ebx, 0xFFFFF000
    mov ecx, edx
    shr ecx, 12
    and ecx, 1023
    mov dword ptr [ebx + ecx * 4], eax
    pop ebx
    pop ecx
    pop edi
    ret

page_fault:                     # at HEAP a page is given; anywhere else the process ends
    pushad
    mov edx, cr2
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
    mov eax, edi
    or eax, 7
    call map_page
    popad
    add esp, 4
    iretd
1:  mov esi, offset killed_text
    call print
    call name
    jmp exit

# -- processes -------------------------------------------------------------------------------------

tick:
    pushad
    mov al, 0x20                # end of interrupt
    out 0x20, al
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
    iretd

write:
    mov dx, COM1
    mov al, bl
    out dx, al
    popad
    iretd

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
    cli
    hlt

resume:
    call process
    mov eax, dword ptr [ebx + P_STACK]
    mov dword ptr [tss + 4], eax        # ESP0: where the next interrupt finds its stack
    mov eax, dword ptr [ebx + P_CR3]
    mov cr3, eax
    mov esp, dword ptr [ebx + P_ESP]
    mov ax, 0x23
    mov ds, ax
    mov es, ax
    popad
    iretd

process:                        # EBX: the present process's place in the table
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    imul ebx, dword ptr [current], P_SIZE
    add ebx, offset processes
    ret

# -- devices ---------------------------------------------------------------------------------------

set_up_interrupts:
    mov esi, offset commands
1:  lodsb                       # pairs of port and value, 0 at the end
    movzx edx, al
    lodsb
    test edx, edx
    jz 2f
    out dx, al
    jmp 1b
2:  ret

commands:
    .byte 0x20, 0x11, 0xA0, 0x11, 0x21, 0x20, 0xA1, 0x28    # 8259s: vectors 20h and 28h
    .byte 0x21, 0x04, 0xA1, 0x02, 0x21, 0x01, 0xA1, 0x01
    .byte 0x21, 0xFE, 0xA1, 0xFF                            # only the timer
    .byte 0x43, 0x34, 0x40, HZ % 256, 0x40, HZ / 256        # 8254: a tick 200 times a second
    .byte 0, 0

set_gate:                       # of vector EBX: to EAX, of kind CX
    mov word ptr [idt + ebx * 8], ax
    mov word ptr [idt + ebx * 8 + 2], 8
    mov word ptr [idt + ebx * 8 + 4], cx
    shr eax, 16
    mov word ptr [idt + ebx * 8 + 6], ax
    ret

print:
    push eax
    push edx
    mov dx, COM1
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  pop edx
    pop eax
    ret

name:                           # of the present process, and a new line
    push eax
    push edx
    mov dx, COM1
    mov al, byte ptr [current]
    add al, 'A'
    out dx, al
    mov al, 10
    out dx, al
    pop edx
    pop eax
    ret

hello_text:  .asciz "kernel: two processes\n"
fault_text:  .asciz "kernel: a page for "
killed_text: .asciz "kernel: no such address; the end of "
done_text:   .asciz "kernel: all processes have ended\n"

    .balign 8
gdt:
    .quad 0
    .quad 0x00CF9A000000FFFF    # 08: kernel code
    .quad 0x00CF92000000FFFF    # 10: kernel data
    .quad 0x00CFFA000000FFFF    # 18: user code
    .quad 0x00CFF2000000FFFF    # 20: user data
gdt_tss:
    .quad 0x0000890000000067    # 28: the TSS
gdt_pointer:
    .word . - gdt - 1
    .long gdt
idt_pointer:
    .word 0x31 * 8 - 1
    .long idt
current:
    .long 0
next_frame:
    .long FRAMES
processes:
    .fill PROCESSES * P_SIZE, 1, 0
    .balign 8
tss:
    .fill 104, 1, 0
    .balign 8
idt:
    .fill 0x31, 8, 0

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
