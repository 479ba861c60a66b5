; Multiprogramming, ported to the paravirtual monitor: what traps anyway is asked for by hypercall.

        .machine toy/clean

        .org 1
        .psw s, trap, 0, WORDS

        .equ SLICE, 300                 ; instructions a process may run
        .equ SIZE, 9                    ; a process block: r0..r7 and a PSW
        .equ PUT, 1
        .equ EXIT, 2

        .equ HV_RESUME, 0x8000          ; hypercalls: see vmm/monitors/paravirtual.py
        .equ HV_PUT, 0x8001
        .equ HV_CAUSE, 0x8002
        .equ HV_INFO, 0x8003
        .equ HV_TIMER, 0x8004
        .equ HV_HALT, 0x8005

        .macro each instruction         ; for all registers
        \instruction r0, saved
        \instruction r1, saved + 1
        \instruction r2, saved + 2
        \instruction r3, saved + 3
        \instruction r4, saved + 4
        \instruction r5, saved + 5
        \instruction r6, saved + 6
        \instruction r7, saved + 7
        .endm

start:  li   sp, stack
        li   r0, 0
        jmp  switch

trap:   each sta
        li   sp, stack
        lda  r0, 0
        sta  r0, saved + 8
        svc  HV_CAUSE
        li   r2, TRAP_TIMER
        beq  r1, r2, slice_over
        li   r2, TRAP_SVC
        bne  r1, r2, bad
        lui  r2, P_ONE >> 16            ; go on behind the SVC
        add  r0, r0, r2
        sta  r0, saved + 8
        svc  HV_INFO
        li   r2, PUT
        beq  r1, r2, put
        li   r2, EXIT
        beq  r1, r2, exit
bad:    li   r0, 255
        svc  HV_HALT

put:    lda  r1, saved + 1
        svc  HV_PUT
resume: lda  r0, saved + 8
        sta  r0, 0
        each lda
        svc  HV_RESUME

slice_over:
        lda  r0, current
        call block
        li   r3, saved
        call copy
        lda  r0, current
        li   r1, 1
        sub  r0, r1, r0                 ; the other one
        lda  r2, alive
        shr  r3, r2, r0
        andi r3, r3, 1
        bnz  r3, switch
        lda  r0, current
switch: sta  r0, current
        call block
        mov  r3, r2
        li   r2, saved
        call copy
        li   r0, SLICE
        svc  HV_TIMER
        jmp  resume

exit:   lda  r0, current
        li   r1, 1
        shl  r1, r1, r0
        not  r1, r1
        lda  r2, alive
        and  r2, r2, r1
        sta  r2, alive
        bnz  r2, slice_over
        li   r1, '\n'
        svc  HV_PUT
        li   r0, 0
        svc  HV_HALT

; r2 := the address of process block r0
block:  muli r2, r0, SIZE
        addi r2, r2, blocks
        ret

; copy a process block from r3 to r2
copy:   li   r4, SIZE
@word:  ld   r5, [r3]
        st   r5, [r2]
        addi r2, r2, 1
        addi r3, r3, 1
        addi r4, r4, -1
        bnz  r4, @word
        ret

current: .word 0
alive:  .word 0b11
saved:  .space SIZE
blocks: .space 8
        .psw u, main_a, a, a_end - a
        .space 8
        .psw u, main_b, b, b_end - b
        .space 20
stack:

        .window a
main_a: li   r2, 12                     ; twelve letters, with work in between
@next:  li   r1, 'a'
        svc  PUT
        li   r3, 40
@work:  addi r3, r3, -1
        bnz  r3, @work
        addi r2, r2, -1
        bnz  r2, @next
        svc  EXIT
        .endwindow

        .window b
main_b: li   r2, 20
@next:  li   r1, 'B'
        svc  PUT
        li   r3, 25
@work:  addi r3, r3, -1
        bnz  r3, @work
        addi r2, r2, -1
        bnz  r2, @next
        svc  EXIT
        .endwindow
