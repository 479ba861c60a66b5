; Primes below 8,000, sixty times over, by a user program that computes and a kernel that prints.

        .machine toy/clean

        .org 1
        .psw s, trap, 0, WORDS

        .equ LIMIT, 8000
        .equ ROUNDS, 60

start:  lpsw process

; The only system call: print r1 in decimal, and end.

trap:   in   r2, CAUSE
        addi r2, r2, -TRAP_SVC
        li   r0, 1
        bnz  r2, @end
        li   sp, stack
        li   r2, 10
        li   r3, 0                      ; digits pushed
@split: modu r4, r1, r2
        divu r1, r1, r2
        addi r4, r4, '0'
        push r4
        addi r3, r3, 1
        bnz  r1, @split
@write: pop  r4
        out  r4, CONSOLE_DATA
        addi r3, r3, -1
        bnz  r3, @write
        out  r2, CONSOLE_DATA           ; 10 is also the new line
        li   r0, 0
@end:   halt

        .space 16
stack:
process:
        .psw u, main, user, user_end - user + LIMIT

        .window user
main:   li   r7, ROUNDS
again:  li   r1, 0
        li   r6, LIMIT
@clear: st   r0, [r1+composite]
        addi r1, r1, 1
        bltu r1, r6, @clear
        li   r5, 0                      ; how many primes
        li   r2, 2
next:   ld   r3, [r2+composite]
        bnz  r3, @skip
        addi r5, r5, 1
        mul  r1, r2, r2
        bgeu r1, r6, @skip
@strike:
        st   r2, [r1+composite]
        add  r1, r1, r2
        bltu r1, r6, @strike
@skip:  addi r2, r2, 1
        bltu r2, r6, next
        addi r7, r7, -1
        bnz  r7, again
        mov  r1, r5
        svc  0
composite:                              ; LIMIT words behind what is assembled
        .endwindow
