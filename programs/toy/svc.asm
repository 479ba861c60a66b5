; A kernel with system calls: a user program in its own window asks for everything by SVC.

        .machine toy/clean

        .org 1
        .psw s, trap, 0, WORDS          ; E[1]: what every trap loads

        .equ PUT, 1                     ; system calls: print r1, …
        .equ EXIT, 2                    ; end with r1

start:  lpsw user_psw

trap:   sta  r0, saved
        in   r0, CAUSE
        addi r0, r0, -TRAP_SVC
        bnz  r0, bad
        in   r0, INFO
        addi r0, r0, -PUT
        bz   r0, put
        addi r0, r0, PUT - EXIT
        bz   r0, exit
bad:    li   r0, 255
        halt

put:    out  r1, CONSOLE_DATA
        lda  r0, 0                      ; the old PSW; its P is that of the SVC
        sta  r1, saved + 1
        lui  r1, P_ONE >> 16
        add  r0, r0, r1
        sta  r0, user_psw
        lda  r1, saved + 1
        lda  r0, saved
        lpsw user_psw

exit:   mov  r0, r1
        halt

saved:  .space 2
user_psw:
        .psw u, main, user, user_end - user

        .window user
main:   li   r2, text
@next:  ld   r1, [r2]
        bz   r1, @done
        svc  PUT
        addi r2, r2, 1
        jmp  @next
@done:  li   r1, 0
        svc  EXIT
text:   .string "I own address 0, and so does the kernel.\n"
        .endwindow
