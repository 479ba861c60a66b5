# Paging: one page at two addresses, accessed and dirty bits, and a fault that is mended.
.machine pc/kernel

.set COM1, 0x3F8
.set DIRECTORY, 0x200000
.set TABLE, 0x201000
.set PAGE, 0x210000             # the physical page that is shown
.set HERE, 0x300000             # two linear addresses of it
.set THERE, 0x301000
.set MISSING, 0x302000          # a linear address without a page, at first

header:                         # Multiboot: where the file goes, and where it is entered
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long header, header, 0, 0, start

start:
    mov esp, 0x180000
    lgdt [gdt_pointer]
    push 8                      # CS changes by a far transfer only
    push offset flat
    retf
flat:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax

    mov edi, DIRECTORY          # one table maps the first 4 MiB to themselves
    mov ecx, 2048
    xor eax, eax
    rep stosd
    mov dword ptr [DIRECTORY], TABLE + 3
    mov edi, TABLE
    mov eax, 3
2:  stosd
    add eax, 0x1000
    cmp eax, 0x400003
    jne 2b
    mov dword ptr [TABLE + HERE / 1024], PAGE + 3
    mov dword ptr [TABLE + THERE / 1024], PAGE + 3
    mov dword ptr [TABLE + MISSING / 1024], 0

    mov eax, offset page_fault  # the gate of vector 14
    mov word ptr [idt + 14 * 8], ax
    shr eax, 16
    mov word ptr [idt + 14 * 8 + 6], ax
    lidt [idt_pointer]

    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov esi, offset on_text
    call print

    mov dword ptr [HERE], 0x2A  # written at one address, read at the other
    mov eax, dword ptr [THERE]
    mov esi, offset alias_text
    call print_number

    mov eax, dword ptr [TABLE + HERE / 1024]
    and eax, 0x60
    mov esi, offset here_text
    call print_number           # accessed and dirty
    mov eax, dword ptr [TABLE + THERE / 1024]
    and eax, 0x60
    mov esi, offset there_text
    call print_number           # accessed

    mov eax, dword ptr [MISSING]
    mov esi, offset mended_text
    call print_number
    mov esi, offset done_text
    call print
    cli
    hlt

page_fault:                     # give the page that is missing, and let the load be done again
    push eax
    push esi
    mov eax, cr2
    mov esi, offset fault_text
    call print_number
    mov eax, dword ptr [esp + 8]
    mov esi, offset code_text
    call print_number
    mov dword ptr [TABLE + MISSING / 1024], PAGE + 3
    invlpg [MISSING]
    pop esi
    pop eax
    add esp, 4                  # the error code
    iretd

print_number:                   # the text at ESI, then EAX in hexadecimal
    push eax
    call print
    pop eax
    push ecx
    mov ecx, 8
1:  rol eax, 4
    push eax
    and al, 15
    cmp al, 10
    sbb al, 0x69
    das
    mov dx, COM1
    out dx, al
    pop eax
    loop 1b
    mov al, 10
    out dx, al
    pop ecx
    ret

print:
    mov dx, COM1
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  ret

on_text:     .asciz "paging is on\n"
alias_text:  .asciz "written here, read there: "
here_text:   .asciz "entry of the page written: "
there_text:  .asciz "entry of the page read:    "
fault_text:  .asciz "page fault at "
code_text:   .asciz "error code    "
mended_text: .asciz "the load, done again: "
done_text:   .asciz "done\n"

    .balign 8
gdt:
    .quad 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF
gdt_pointer:
    .word 23
    .long gdt
idt_pointer:
    .word 15 * 8 - 1
    .long idt
    .balign 8
idt:
    .fill 14, 8, 0
    .long 0x00080000, 0x00008E00
