; A kernel with system calls, ported to the paravirtual monitor.

        .machine toy/clean

        .org 1
        .psw s, trap, 0, WORDS          ; E[1]: what every trap loads

        .equ PUT, 1                     ; system calls: print r1, …
        .equ EXIT, 2                    ; end with r1

        .equ HV_RESUME, 0x8000          ; hypercalls: see vmm/monitors/paravirtual.py
        .equ HV_PUT, 0x8001
        .equ HV_CAUSE, 0x8002
        .equ HV_INFO, 0x8003
        .equ HV_HALT, 0x8005

start:  lda  r0, user_psw
        sta  r0, 0
        svc  HV_RESUME

trap:   sta  r0, saved
        sta  r1, saved + 1
        svc  HV_CAUSE
        addi r0, r1, -TRAP_SVC
        bnz  r0, bad
        svc  HV_INFO
        addi r0, r1, -PUT
        lda  r1, saved + 1
        bz   r0, put
        addi r0, r0, PUT - EXIT
        bz   r0, exit
bad:    li   r0, 255
        svc  HV_HALT

put:    svc  HV_PUT
        lda  r0, 0                      ; the old PSW; its P is that of the SVC
        lui  r1, P_ONE >> 16
        add  r0, r0, r1
        sta  r0, 0
        lda  r1, saved + 1
        lda  r0, saved
        svc  HV_RESUME

exit:   mov  r0, r1
        svc  HV_HALT

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
