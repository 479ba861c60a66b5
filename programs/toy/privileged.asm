; Privileged instructions in user mode: each of them traps, and the kernel says which it was.

        .machine toy/clean

        .org 1
        .psw s, trap, 0, WORDS

start:  li   sp, stack              ; the user program leaves sp alone, so traps find it here
        lpsw user_psw

trap:   in   r0, CAUSE
        addi r0, r0, -TRAP_PRIVILEGED
        bnz  r0, done                   ; the SVC at the end
        in   r0, INFO                   ; the instruction
        shri r0, r0, 24                 ; its opcode
        addi r0, r0, -0x80              ; the privileged ones stand in a row
        muli r0, r0, 7
        li   r1, names
        add  r1, r1, r0
        call puts
        lda  r0, 0                      ; go on behind it
        lui  r1, P_ONE >> 16
        add  r0, r0, r1
        sta  r0, user_psw
        lpsw user_psw

done:   li   r0, 0
        halt

puts:   ld   r2, [r1]
        bz   r2, @end
        out  r2, CONSOLE_DATA
        addi r1, r1, 1
        jmp  puts
@end:   li   r2, '\n'
        out  r2, CONSOLE_DATA
        ret

names:  .string "LPSW  ", "LR    ", "STIMER", "IN    ", "OUT   ", "HALT  "
user_psw:
        .psw u, main, user, user_end - user
        .space 10
stack:

        .window user
main:   lpsw 0
        lr   r1, r2
        stimer r1
        in   r1, 0
        out  r1, CONSOLE_DATA
        halt
        svc  0
        .endwindow
