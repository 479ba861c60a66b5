# Memory that is written for ever, for `vmm migrate`: a working set of PAGES pages, each written once
# in a round of PAGES * PAUSE * 2 instructions or so, behind a table of 256 KiB that is written once.
# After ROUNDS rounds it prints a checksum over everything, so that a lost page shows.
.machine pc/kernel

.set COM1, 0x3F8
.set PAGES, 48                  # of the working set
.set PAUSE, 400                 # iterations between two pages
.set ROUNDS, 40
.set TABLE, 0x120000
.set TABLE_PAGES, 64
.set SET, TABLE + TABLE_PAGES * 0x1000

header:
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long header, header, 0, 0, start

start:
    mov esp, 0x118000
    mov edi, TABLE              # each word its own address
    mov ecx, TABLE_PAGES * 1024
1:  mov dword ptr [edi], edi
    add edi, 4
    dec ecx
    jnz 1b

    mov ebp, ROUNDS
round:
    mov ebx, SET
    mov edx, PAGES
page:
    mov ecx, PAUSE
2:  dec ecx
    jnz 2b
    mov eax, dword ptr [ebx]    # what is written depends on all that was written before
    imul eax, eax, 1103515245
    add eax, edx
    add eax, ebp
    mov dword ptr [ebx], eax
    mov dword ptr [ebx + 0x804], eax
    add ebx, 0x1000
    dec edx
    jnz page
    mov al, '.'
    mov dx, COM1
    out dx, al
    dec ebp
    jnz round

    xor eax, eax                # the checksum
    mov esi, TABLE
    mov ecx, (TABLE_PAGES + PAGES) * 1024
3:  rol eax, 1
    xor eax, dword ptr [esi]
    add esi, 4
    dec ecx
    jnz 3b
    mov ebx, eax
    mov al, ' '
    out dx, al
    mov ecx, 8
4:  rol ebx, 4
    mov al, bl
    and al, 15
    cmp al, 10
    sbb al, 0x69
    das
    out dx, al
    dec ecx
    jnz 4b
    mov al, 10
    out dx, al
    cli
    hlt
