; An interpreter: threaded code in the manner of Forth, printing squares and Fibonacci numbers.
;
; r1 is the threaded code's program counter, r2 the return stack, sp the data stack.

        .machine toy/clean

        .macro next
        ld   r0, [r1]
        addi r1, r1, 1
        jr   r0
        .endm

        .macro colon body               ; a word made of words
        push_return r1
        li   r1, \body
        next
        .endm

        .macro push_return register
        addi r2, r2, -1
        st   \register, [r2]
        .endm

start:  li   sp, data_stack
        li   r2, return_stack
        li   r1, program
        next

; -- words in machine code

lit:    ld   r3, [r1]                   ; push the number that follows
        addi r1, r1, 1
        push r3
        next
dup:    ld   r3, [sp]
        push r3
        next
swap:   pop  r3
        pop  r4
        push r3
        push r4
        next
over:   ld   r3, [sp+1]
        push r3
        next
plus:   pop  r3
        pop  r4
        add  r3, r3, r4
        push r3
        next
times:  pop  r3
        pop  r4
        mul  r3, r3, r4
        push r3
        next
drop:   pop  r3
        next
emit:   pop  r3
        out  r3, CONSOLE_DATA
        next
less:   pop  r4
        pop  r3
        slt  r3, r3, r4
        push r3
        next
branch_if:                              ; go to the address that follows if the top is not 0
        ld   r4, [r1]
        addi r1, r1, 1
        pop  r3
        bz   r3, @no
        mov  r1, r4
@no:    next
exit:   ld   r1, [r2]                   ; the end of a word made of words
        addi r2, r2, 1
        next
bye:    li   r0, 0
        halt
dot:    pop  r3                         ; print a number and a space
        li   r4, 10
        li   r5, 0
@split: modu r6, r3, r4
        divu r3, r3, r4
        push r6
        addi r5, r5, 1
        bnz  r3, @split
@write: pop  r6
        addi r6, r6, '0'
        out  r6, CONSOLE_DATA
        addi r5, r5, -1
        bnz  r5, @write
        li   r6, ' '
        out  r6, CONSOLE_DATA
        next

; -- words made of words

square: colon @body
@body:  .word dup, times, exit
newline: colon @body
@body:  .word lit, '\n', emit, exit
squares: colon @body                    ; ( n -- ) the squares below n
@body:  .word lit, 0
@loop:  .word dup, square, dot, lit, 1, plus
        .word over, over, swap, less, branch_if, @loop
        .word drop, drop, newline, exit
fibonacci: colon @body                  ; ( limit -- ) the Fibonacci numbers below limit
@body:  .word lit, 0, lit, 1            ; limit a b
@loop:  .word over, dot, swap, over, plus
        .word less_limit, branch_if, @loop
        .word drop, drop, drop, newline, exit
less_limit:                             ; ( limit a b -- limit a b flag ) is a below the limit?
        ld   r3, [sp+1]
        ld   r4, [sp+2]
        slt  r3, r3, r4
        push r3
        next

program: .word lit, 12, squares, lit, 500, fibonacci, bye

        .space 40
data_stack:
        .space 40
return_stack:
