; Strings: length, reversal in place, upper case, and a palindrome test, by pointers.

        .machine toy/clean

start:  li   sp, stack
        li   r1, text
        call puts
        li   r1, text
        call reverse
        li   r1, text
        call puts
        li   r1, text
        call upper
        li   r1, text
        call puts
        li   r1, word
        call palindrome
        li   r1, yes
        bnz  r0, @say
        li   r1, no
@say:   call puts
        li   r0, 0
        halt

puts:   ld   r2, [r1]
        bz   r2, @done
        out  r2, CONSOLE_DATA
        addi r1, r1, 1
        jmp  puts
@done:  li   r2, '\n'
        out  r2, CONSOLE_DATA
        ret

; r2 := the last character's address of the string at r1
last:   mov  r2, r1
@next:  ld   r3, [r2]
        addi r2, r2, 1
        bnz  r3, @next
        addi r2, r2, -2
        ret

reverse:
        call last
@swap:  bgeu r1, r2, @done
        ld   r3, [r1]
        ld   r4, [r2]
        st   r4, [r1]
        st   r3, [r2]
        addi r1, r1, 1
        addi r2, r2, -1
        jmp  @swap
@done:  ret

upper:  ld   r2, [r1]
        bz   r2, @done
        li   r3, 'a'
        bltu r2, r3, @keep
        li   r3, 'z' + 1
        bgeu r2, r3, @keep
        addi r2, r2, 'A' - 'a'
        st   r2, [r1]
@keep:  addi r1, r1, 1
        jmp  upper
@done:  ret

; r0 := 1 if the string at r1 reads the same backwards
palindrome:
        li   r0, 1
        call last
@pair:  bgeu r1, r2, @done
        ld   r3, [r1]
        ld   r4, [r2]
        bne  r3, r4, @no
        addi r1, r1, 1
        addi r2, r2, -1
        jmp  @pair
@no:    li   r0, 0
@done:  ret

text:   .string "stressed desserts; drawer"
word:   .string "ablewasiereisawelba"
yes:    .string "a palindrome"
no:     .string "no palindrome"
        .space 20
stack:
