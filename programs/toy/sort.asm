; Arrays and addresses: insertion sort of signed numbers, printed before and after.

        .machine toy/clean

        .macro put char
        li   r6, \char
        out  r6, CONSOLE_DATA
        .endm

        .equ COUNT, end - table

start:  li   sp, stack
        call show
        call sort
        call show
        li   r0, 0
        halt

sort:   li   r1, table + 1      ; everything below r1 is in order
@outer: li   r2, table + COUNT
        bgeu r1, r2, @done
        ld   r3, [r1]           ; the one to insert
        mov  r4, r1
@inner: li   r2, table
        beq  r4, r2, @place
        ld   r5, [r4-1]
        bge  r3, r5, @place
        st   r5, [r4]           ; make room
        addi r4, r4, -1
        jmp  @inner
@place: st   r3, [r4]
        addi r1, r1, 1
        jmp  @outer
@done:  ret

show:   li   r1, table
@next:  ld   r0, [r1]
        call print
        put  ' '
        addi r1, r1, 1
        li   r2, end
        bne  r1, r2, @next
        put  '\n'
        ret

; print r0, signed; r2..r6 are lost
print:  li   r2, 0
        bge  r0, r2, @plain
        put  '-'
        sub  r0, r2, r0
@plain: li   r2, 10
        li   r3, 0
@split: modu r4, r0, r2
        divu r0, r0, r2
        addi r4, r4, '0'
        push r4
        addi r3, r3, 1
        bnz  r0, @split
@write: pop  r4
        out  r4, CONSOLE_DATA
        addi r3, r3, -1
        bnz  r3, @write
        ret

table:  .word 31, -41, 59, 26, -53, 58, 97, -93, 0, 2147483647, -2147483647, 7
end:
        .space 50
stack:
