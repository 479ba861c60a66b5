; Recursion: the towers of Hanoi, arguments and return addresses on the stack.

        .machine toy/clean

        .equ DISCS, 4

start:  li   sp, stack
        li   r0, DISCS
        li   r1, 'A'
        li   r2, 'B'            ; the spare peg
        li   r3, 'C'
        call hanoi
        li   r0, 0
        halt

; move r0 discs from peg r1 by way of r2 to r3
hanoi:  bz   r0, @done
        push r0
        push r1
        push r2
        push r3
        addi r0, r0, -1         ; all but the largest from r1 to r2
        mov  r4, r2
        mov  r2, r3
        mov  r3, r4
        call hanoi
        pop  r3
        pop  r2
        pop  r1
        pop  r0
        call show
        push r0
        push r1
        push r2
        push r3
        addi r0, r0, -1         ; and from r2 to r3
        mov  r4, r1
        mov  r1, r2
        mov  r2, r4
        call hanoi
        pop  r3
        pop  r2
        pop  r1
        pop  r0
@done:  ret

show:   out  r1, CONSOLE_DATA
        out  r3, CONSOLE_DATA
        li   r5, ' '
        li   r6, 1
        bne  r0, r6, @put       ; a new line after each smallest disc
        li   r5, '\n'
@put:   out  r5, CONSOLE_DATA
        ret

        .space 100
stack:
