# Decimal arithmetic as the 8086 had it: DAA and DAS on packed digits, AAA, AAS, AAM and AAD on single ones.

        .text
        .globl  _start
_start:
        mov     al, 0x38                # 38 + 45 = 83, packed
        add     al, 0x45
        daa
        call    show
        mov     al, 0x99                # 99 + 1 = 100: the carry is the hundred
        add     al, 1
        daa
        call    show
        mov     al, 0x83                # 83 - 45 = 38
        sub     al, 0x45
        das
        call    show
        mov     ax, 0x0009              # 9 + 8 = 17 in two digits: AH 1, AL 7
        add     al, 8
        aaa
        call    show
        mov     ax, 0x0203              # 23 - 8 = 15
        sub     al, 8
        aas
        call    show
        mov     al, 9                   # 9 × 7 = 63: AH 6, AL 3
        mov     bl, 7
        mul     bl
        aam
        call    show
        aad                             # and back: 63 = 0x3f
        call    show
        mov     al, 0xff                # AAM with another base: hexadecimal digits
        aam     16
        call    show

        xor     edi, edi                # count from 0 to 9999 in packed digits
        mov     esi, 9999
1:      mov     eax, edi
        add     al, 1
        daa
        mov     dl, al
        mov     al, ah
        adc     al, 0
        daa
        mov     ah, al
        mov     al, dl
        mov     edi, eax
        dec     esi
        jnz     1b
        call    show

        mov     eax, 1                  # exit
        xor     ebx, ebx
        int     0x80

# Print AX and the carry flag as digits, keeping everything but the flags.
show:
        pushad
        setc    dl
        movzx   edx, dl
        shl     edx, 16
        movzx   eax, ax
        or      eax, edx
        mov     cl, 10
        call    print_hex
        popad
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
