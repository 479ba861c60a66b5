; Numbers larger than a word: 30! by multiplying an array of four-digit limbs.

        .machine toy/clean

        .equ LAST, 30
        .equ BASE, 10000
        .equ LIMBS, 12

start:  li   sp, stack
        li   r0, 1
        sta  r0, number
        li   r1, 2
@next:  call multiply
        addi r1, r1, 1
        li   r2, LAST + 1
        bne  r1, r2, @next
        call print
        li   r0, 0
        halt

; number := number × r1
multiply:
        li   r2, number
        li   r3, 0              ; carry
        li   r6, BASE
@limb:  ld   r4, [r2]
        mul  r4, r4, r1
        add  r4, r4, r3
        divu r3, r4, r6
        modu r4, r4, r6
        st   r4, [r2]
        addi r2, r2, 1
        li   r5, number + LIMBS
        bne  r2, r5, @limb
        ret

; skip leading zero limbs, print the first plain and the others with four digits
print:  li   r2, number + LIMBS
@skip:  addi r2, r2, -1
        ld   r0, [r2]
        bz   r0, @skip
        li   r1, 1
        jmp  @show
@next:  ld   r0, [r2]
        li   r1, 4
@show:  call digits
        addi r2, r2, -1
        li   r3, number
        bgeu r2, r3, @next
        li   r3, '\n'
        out  r3, CONSOLE_DATA
        ret

; print r0 with at least r1 digits
digits: li   r5, 0
        li   r3, 10
@split: modu r4, r0, r3
        divu r0, r0, r3
        push r4
        addi r5, r5, 1
        bnz  r0, @split
        bltu r5, r1, @split
@write: pop  r4
        addi r4, r4, '0'
        out  r4, CONSOLE_DATA
        addi r5, r5, -1
        bnz  r5, @write
        ret

number: .space LIMBS
        .space 20
stack:
