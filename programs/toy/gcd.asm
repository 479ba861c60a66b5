; Subroutines that keep their return address in a register (JAL, JR), and Euclid's algorithm.

        .machine toy/clean

        .macro show_gcd first, second
        li   r1, \first
        li   r2, \second
        jal  r7, gcd
        jal  r7, print
        .endm

start:  show_gcd 1071, 462
        show_gcd 17, 31
        show_gcd 30000, 12500
        show_gcd 0, 9
        li   r0, 0
        halt

; r1 := the greatest common divisor of r1 and r2
gcd:    bz   r2, @done
        modu r3, r1, r2
        mov  r1, r2
        mov  r2, r3
        jmp  gcd
@done:  jr   r7

; print r1 and a new line; digits are left in a buffer from its end
print:  li   r4, digits_end
        li   r5, 10
@split: addi r4, r4, -1
        modu r3, r1, r5
        divu r1, r1, r5
        addi r3, r3, '0'
        st   r3, [r4]
        bnz  r1, @split
@write: ld   r3, [r4]
        out  r3, CONSOLE_DATA
        addi r4, r4, 1
        li   r5, digits_end
        bne  r4, r5, @write
        li   r3, '\n'
        out  r3, CONSOLE_DATA
        jr   r7

        .space 10
digits_end:
