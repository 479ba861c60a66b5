; The smallest whole program: a loop over a string, output through a port, HALT.

        .machine toy/clean

start:  li   r1, text
@next:  ld   r2, [r1]
        bz   r2, @done
        out  r2, CONSOLE_DATA
        addi r1, r1, 1
        jmp  @next
@done:  li   r0, 0
        halt

text:   .string "Hello from the third generation!\n"
