; Memory traps: a user program walks off its window upwards and downwards; the kernel tells where.

        .machine toy/clean

        .org 1
        .psw s, trap, 0, WORDS

start:  li   sp, stack              ; the user program leaves sp alone, so traps find it here
        lpsw user_psw

trap:   push r0
        in   r0, CAUSE
        addi r0, r0, -TRAP_MEMORY
        bnz  r0, done
        in   r0, INFO
        call hex
        pop  r0
        lda  r5, 0                      ; skip the instruction
        lui  r6, P_ONE >> 16
        add  r5, r5, r6
        sta  r5, user_psw
        lpsw user_psw

done:   li   r0, 0
        halt

; print r0 as eight hexadecimal digits
hex:    li   r3, 28
@digit: shr  r4, r0, r3
        andi r4, r4, 15
        li   r5, 10
        addi r6, r4, '0'
        bltu r4, r5, @put
        addi r6, r4, 'a' - 10
@put:   out  r6, CONSOLE_DATA
        addi r3, r3, -4
        li   r5, 0
        bge  r3, r5, @digit
        li   r6, '\n'
        out  r6, CONSOLE_DATA
        ret

user_psw:
        .psw u, main, user, user_end - user
        .space 10
stack:

        .window user
main:   li   r1, GRANULE - 1            ; the last word of the window
        ld   r2, [r1]                   ; is there
        ld   r2, [r1+1]                 ; is not
        li   r1, 0
        st   r2, [r1-1]                 ; an address is never negative
        lui  r1, 0x7fff
        ld   r2, [r1+4]
        lda  r2, 4000
        svc  0
        .endwindow
