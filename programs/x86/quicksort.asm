# Quicksort: indexed addresses, a frame with EBP, the carry of RCR as a random generator's feedback.

count = 40

        .bss
        .balign 4
numbers:
        .space  4 * count

        .text
        .globl  _start
_start:
        mov     eax, 0xace1             # a 16-bit linear feedback shift register
        xor     esi, esi
fill:
        mov     [numbers + esi * 4], eax
        shr     eax, 1
        jnc     1f
        xor     eax, 0xb400
1:      inc     esi
        cmp     esi, count
        jb      fill

        push    offset numbers + 4 * (count - 1)
        push    offset numbers
        call    sort

        xor     esi, esi
show:
        mov     eax, [numbers + esi * 4]
        mov     cl, 0x20
        cmp     esi, count - 1
        jne     1f
        mov     cl, 10
1:      call    print
        inc     esi
        cmp     esi, count
        jb      show

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

# sort(first, last): sort the doublewords from one address to the other, both included.
sort:
        push    ebp
        mov     ebp, esp
        push    esi
        push    edi
        mov     esi, [ebp + 8]
        mov     edi, [ebp + 12]
        cmp     esi, edi
        jae     sorted
        mov     edx, [esi]              # the pivot; its place is the gap
partition:
        cmp     [edi], edx              # from above: the first one below the pivot
        jb      2f
1:      sub     edi, 4
        cmp     esi, edi
        jne     partition
        jmp     met
2:      mov     eax, [edi]
        mov     [esi], eax
3:      add     esi, 4
        cmp     esi, edi
        je      met
        cmp     [esi], edx              # from below: the first one above it
        jbe     3b
        mov     eax, [esi]
        mov     [edi], eax
        jmp     1b
met:
        mov     [esi], edx
        lea     eax, [esi - 4]
        push    eax
        push    dword ptr [ebp + 8]
        call    sort
        push    dword ptr [ebp + 12]
        lea     eax, [esi + 4]
        push    eax
        call    sort
sorted:
        pop     edi
        pop     esi
        leave
        ret     8

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
