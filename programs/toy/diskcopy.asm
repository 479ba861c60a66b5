; A block device: write a sector, copy it to another by way of memory, read it back; each command
; ends with an interrupt, for which the program waits in user mode.

        .machine toy/clean

        .org 1
        .psw s, trap, 0, WORDS

        .equ READ, 1
        .equ WRITE, 2

        .macro disk command, sector, address
        li   r1, \command
        li   r2, \sector
        li   r3, \address
        call transfer
        .endm

start:  li   sp, stack
        in   r0, DISK_SIZE
        li   r1, 3
        bltu r0, r1, fail
        disk WRITE, 0, text
        disk READ, 0, buffer
        disk WRITE, 2, buffer
        disk READ, 2, buffer + 64
        li   r1, buffer + 64
@next:  ld   r2, [r1]
        bz   r2, @done
        out  r2, CONSOLE_DATA
        addi r1, r1, 1
        jmp  @next
@done:  li   r0, 0
        halt

; carry out command r1 with sector r2 and the words at r3; back when it is done
transfer:
        out  r2, DISK_SECTOR
        out  r3, DISK_ADDRESS
        out  r1, DISK_COMMAND
        lpsw wait_psw                   ; the trap handler returns to our caller
trap:   in   r0, CAUSE
        addi r0, r0, -TRAP_DISK
        bnz  r0, fail
        in   r0, DISK_STATUS
        bnz  r0, fail
        ret

fail:   li   r0, 1
        halt

wait_psw:
        .psw u, wait, 0, WORDS          ; all of storage: only the mode differs
wait:   jmp  wait

        .align 64
text:   .string "Sector 0 went to sector 2 and came back.\n"
        .align 64
buffer: .space 128
        .space 20
stack:
