; Loops, division and decimal output: the primes below 100 by trial division.

        .machine toy/clean

        .macro print char
        li   r6, \char
        out  r6, CONSOLE_DATA
        .endm

start:  li   sp, stack
        li   r1, 2              ; the candidate
next:   call is_prime
        bz   r0, @skip
        mov  r0, r1
        call print_number
        print ' '
@skip:  addi r1, r1, 1
        li   r2, 100
        blt  r1, r2, next
        print '\n'
        li   r0, 0
        halt

; r0 := 1 if r1 is prime, else 0
is_prime:
        li   r2, 2              ; the divisor
@try:   mul  r3, r2, r2
        blt  r1, r3, @yes
        modu r3, r1, r2
        bz   r3, @no
        addi r2, r2, 1
        jmp  @try
@yes:   li   r0, 1
        ret
@no:    li   r0, 0
        ret

; print r0 in decimal; r2..r5 are lost
print_number:
        li   r2, 10
        li   r3, 0              ; digits pushed
@split: modu r4, r0, r2
        divu r0, r0, r2
        addi r4, r4, '0'
        push r4
        addi r3, r3, 1
        bnz  r0, @split
@write: pop  r4
        out  r4, CONSOLE_DATA
        addi r3, r3, -1
        bnz  r3, @write
        ret

        .space 32
stack:
