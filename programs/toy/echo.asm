; Interrupts: the kernel sleeps in user mode and echoes each character when the console has one.

        .machine toy/clean

        .org 1
        .psw s, trap, 0, WORDS

start:  li   r0, 1
        out  r0, CONSOLE_CONTROL        ; start receiving
        lpsw idle_psw

trap:   sta  r0, saved
        sta  r1, saved + 1
        in   r0, CAUSE
        addi r0, r0, -TRAP_CONSOLE
        bnz  r0, bad
        in   r0, CONSOLE_DATA
        li   r1, -1
        beq  r0, r1, end                ; the end of the input
        li   r1, 'a'
        bltu r0, r1, echo
        li   r1, 'z' + 1
        bgeu r0, r1, echo
        addi r0, r0, 'A' - 'a'          ; loudly
echo:   out  r0, CONSOLE_DATA
        lda  r1, saved + 1
        lda  r0, saved
        lpsw 0                          ; go on where the interrupt came

end:    li   r0, 0
        halt
bad:    li   r0, 255
        halt

saved:  .space 2
idle_psw:
        .psw u, idle, window, window_end - window

        .window window
idle:   addi r2, r2, 1                  ; nothing better to do
        jmp  idle
        .endwindow
