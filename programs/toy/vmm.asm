; A virtual machine monitor: Popek and Goldberg's control program, which even runs itself.
;
; It owns words 0 up to `guest` of the machine it runs on; from there on a whole machine lives: its
; E[0] is the word `guest`, its E[1] the next one. The guest runs in user mode, under R moved up by
; `guest` and clipped to what is there, so every privileged instruction and every trap comes to the
; dispatcher. `vmm/nest.py` puts another guest behind it: another system, or this whole program.
;
; The guest's timer counts the guest's own instructions, exactly but for one thing. The dispatcher has
; to save a register before it can read a port, so a timer that runs out while a user program traps
; and one that runs out with the next instruction look the same to it; it takes them for the former.
; A guest can tell only if its own dispatcher begins with IN TIMER and so loses a register of its
; user's: it reads 0, not 1. The paper exempts timing (section 3).
;
; Section numbers are those of the paper (CACM 17(7), 1974).

        .machine toy/clean

        .org 1
        .psw s, sized, 0, WORDS         ; E[1]: first used to find out how much storage there is

        .equ L_LOW, 9                   ; places in a PSW: M at 31, P at 17, l at 9, b at 0
        .equ L_MASK, ALL - 1
        .equ B_MASK, 2 * ALL - 1
        .equ GRANULE_LOW, 6
        .equ MINE, guest / GRANULE      ; granules that the monitor keeps for itself
        .equ DISK_BUSY, 1
        .equ LEAVING, 2                 ; instructions between STIMER and the guest: LDA, LPSW
        .equ ENTERING, 1                ; between a trap and the reading of the timer: STA
        .equ SLACK, 2                   ; for a supervisor, see `go`

        .macro others instruction       ; for r1 to r7
        \instruction r1, regs + 1
        \instruction r2, regs + 2
        \instruction r3, regs + 3
        \instruction r4, regs + 4
        \instruction r5, regs + 5
        \instruction r6, regs + 6
        \instruction r7, regs + 7
        .endm

; Storage that exists can be read. The first granule that cannot be traps, and that ends the search.

start:  li   r0, guest
@next:  ld   r1, [r0]
        addi r0, r0, GRANULE
        jmp  @next

sized:  shri r0, r0, GRANULE_LOW
        addi r0, r0, -MINE
        sta  r0, room
        lda  r0, plain_entry
        sta  r0, 1                      ; from now on every trap comes to the dispatcher
        jmp  reload

; ---- D, the dispatcher (section 3: "its initial instruction is placed at the location to which the
; hardware traps: the value of P in E[1]"). It has two entry points; E[1] names the one that fits.

timed:  sta  r0, regs                   ; the guest's timer is running
        in   r0, TIMER                  ; at once: the monitor's instructions do not count for it
        sta  r0, left
        jmp  common

plain:  sta  r0, regs                   ; it is off

common: others sta
        in   r1, CAUSE                  ; r1: why, and below r2: about what
        lda  r0, 0                      ; the guest's P; all else of its PSW only the monitor changes
        lda  r3, vpsw
        xor  r0, r0, r3
        lda  r4, p_mask
        and  r0, r0, r4
        xor  r3, r3, r0
        sta  r3, vpsw

        lda  r0, vtimer
        bz   r0, @untimed
        lda  r2, left
        lda  r4, granted
        sub  r4, r4, r2                 ; r4: instructions that the guest has had, this one too
        bnz  r2, @known
        addi r4, r4, 1                  ; the real timer has run out
@known: li   r2, TRAP_TIMER
        beq  r1, r2, @ran
        shri r2, r1, 4                  ; another interrupt: as if it had not come yet
        sub  r4, r4, r2
@ran:   jal  r6, run_down
        li   r2, TRAP_TIMER
        beq  r1, r2, resume             ; it only ended what was granted
@untimed:
        shri r0, r1, 4
        bnz  r0, interrupt              ; causes from 16 on
        in   r2, INFO
        li   r0, TRAP_PRIVILEGED
        bne  r1, r0, reflect
        shri r0, r3, 31                 ; the mode that the guest believes in
        bnz  r0, reflect

        shri r0, r2, 24                 ; its supervisor used a privileged instruction: r2
        shri r4, r2, 20                 ; r4: where its register rd is kept
        andi r4, r4, 7
        addi r4, r4, regs
        shri r5, r2, 16                 ; r5: the same for ra
        andi r5, r5, 7
        addi r5, r5, regs
        addi r0, r0, routines - 0x80    ; the opcodes stand in a row
        jr   r0

routines:
        jmp  v_lpsw
        jmp  v_lr
        jmp  v_stimer
        jmp  v_in
        jmp  v_out
        others lda                      ; v_HALT: the machine above it halts, in the same state
        lda  r0, regs
        halt

; ---- A, the allocator (section 3: "invoked by the dispatcher whenever an attempted execution of a
; privileged instruction in a virtual machine environment occurs which would have the effect of
; changing the machine resources associated with that environment"). From the R the guest wants it
; makes the R it gets: l + base, b clipped to the room there is. Returns to r6; changes r0, r3..r5.

allocate:
        lda  r0, vpsw
        shri r3, r0, L_LOW
        andi r3, r3, L_MASK             ; l
        andi r0, r0, B_MASK             ; b
        lda  r4, room
        sub  r4, r4, r3                 ; what there is behind l
        li   r5, 0
        blt  r5, r4, @some
        li   r4, 0                      ; nothing: every reference is to trap
        li   r3, 0
@some:  bgeu r4, r0, @clipped
        mov  r0, r4
@clipped:
        addi r3, r3, MINE
        shli r3, r3, L_LOW
        or   r0, r0, r3
        lda  r3, user
        or   r0, r0, r3
        sta  r0, real_r                 ; with M = u: "on exit … the mode is set to user"
        jr   r6

; ---- v_i, the interpreter routines (section 3: "one interpreter routine per privileged
; instruction; its purpose is to simulate the effect of the instruction which trapped").

v_lpsw: andi r0, r2, 0xffff             ; an address of the guest's: through its R, as real
        lda  r3, real_r
        andi r4, r3, B_MASK
        shli r4, r4, GRANULE_LOW
        bgeu r0, r4, @out
        shri r4, r3, L_LOW
        andi r4, r4, L_MASK
        shli r4, r4, GRANULE_LOW
        add  r4, r4, r0
        ld   r0, [r4]
        jmp  load
@out:   li   r1, TRAP_MEMORY
        mov  r2, r0
        jmp  reflect

v_lr:   andi r4, r2, 7                  ; rb stands in the lowest bits
        addi r4, r4, regs
        ld   r4, [r4]
        andi r4, r4, B_MASK
        ld   r5, [r5]
        andi r5, r5, L_MASK
        shli r5, r5, L_LOW
        or   r4, r4, r5
        shri r3, r3, L_LOW + 8          ; M and P stay
        shli r3, r3, L_LOW + 8
        or   r3, r3, r4
        sta  r3, vpsw
        jal  r6, allocate
        jmp  advance

v_stimer:
        ld   r0, [r5]
        sta  r0, vtimer
        lda  r0, pending                ; what had run out before is forgotten
        shri r0, r0, 1
        shli r0, r0, 1
        sta  r0, pending
        jmp  advance

; Each port is granted or virtual; what is in no table reads 0 and ignores what is written.

        .macro grant port
        in   r3, \port
        jmp  fetched
        .endm
        .macro none
        li   r3, 0
        jmp  fetched
        .endm

v_in:   andi r0, r2, 0xffff
        li   r3, 0
        li   r5, DISK_SIZE + 1
        bgeu r0, r5, fetched
        add  r0, r0, r0
        addi r0, r0, @ports
        jr   r0
@ports: lda  r3, vcause
        jmp  fetched
        lda  r3, vinfo
        jmp  fetched
        lda  r3, before
        jmp  fetched
        none
        none
        none
        none
        none
        grant CONSOLE_DATA
        grant CONSOLE_STATUS
        grant CONSOLE_CONTROL
        none
        none
        none
        none
        none
        grant DISK_SECTOR
        lda  r3, vaddress
        jmp  fetched
        grant DISK_COMMAND
        grant DISK_STATUS
        grant DISK_SIZE
fetched:
        st   r3, [r4]
        jmp  advance

v_out:  ld   r3, [r4]
        andi r0, r2, 0xffff
        li   r5, CONSOLE_DATA
        beq  r0, r5, @data
        li   r5, CONSOLE_CONTROL
        beq  r0, r5, @control
        li   r5, DISK_SECTOR
        beq  r0, r5, @sector
        li   r5, DISK_COMMAND
        beq  r0, r5, @command
        li   r5, DISK_ADDRESS
        bne  r0, r5, advance
        in   r0, DISK_STATUS            ; a real address: the guest's own, moved up, or none
        li   r5, DISK_BUSY
        beq  r0, r5, advance
        sta  r3, vaddress
        lda  r0, room
        shli r0, r0, GRANULE_LOW
        addi r0, r0, 1 - GRANULE        ; a sector is a granule
        bltu r3, r0, @inside
        li   r3, -1 - guest             ; beyond all storage: the transfer fails
@inside:
        addi r3, r3, guest
        out  r3, DISK_ADDRESS
        jmp  advance
@sector:
        out  r3, DISK_SECTOR
        jmp  advance
@command:
        out  r3, DISK_COMMAND
        jmp  advance
@control:
        out  r3, CONSOLE_CONTROL
        jmp  advance
@data:  out  r3, CONSOLE_DATA

; ---- back to the guest. First P := P + 1, modulo its width.

advance:
        lda  r0, vpsw
        lda  r1, p_mask
        and  r2, r0, r1
        xor  r0, r0, r2
        lda  r3, p_one
        add  r2, r2, r3
        and  r2, r2, r1
        or   r0, r0, r2
        sta  r0, vpsw

resume: lda  r0, vpsw
        shri r1, r0, 31
        bz   r1, go                     ; interrupts wait until the guest is in user mode
        lda  r1, pending
        bz   r1, go
        li   r2, 1                      ; the lowest bit goes first: timer, console, disk
        li   r5, TRAP_TIMER
@find:  and  r3, r1, r2
        bnz  r3, @found
        add  r2, r2, r2
        addi r5, r5, 1
        jmp  @find
@found: xor  r1, r1, r2
        sta  r1, pending
        mov  r1, r5
        lda  r0, vtimer
        bz   r0, @none
        li   r4, 1                      ; taking an interrupt counts
        jal  r6, run_down
@none:  li   r2, 0

; A trap of the guest's own (section 2, "Traps"), cause r1, info r2: done to its E as real.

reflect:
        sta  r1, vcause
        sta  r2, vinfo
        lda  r0, vpsw
        sta  r0, guest                  ; E[0] := (M, P, R)
        lda  r0, guest + 1              ; (M, P, R) := E[1]
load:   sta  r0, vpsw
reload: jal  r6, allocate
        jmp  resume

interrupt:
        addi r1, r1, -TRAP_TIMER
        li   r0, 1
        shl  r0, r0, r1
        lda  r1, pending
        or   r0, r0, r1
        sta  r0, pending
        jmp  resume

; The guest, whose timer is running, has had r4 instructions. Returns to r6; changes r0, r5.

run_down:
        li   r5, 0
        lda  r0, vtimer
        bltu r0, r4, @out               ; it had run out before the last of them
        sub  r0, r0, r4
        addi r5, r0, 1                  ; what was left before the last of them
        bnz  r0, @running
@out:   lda  r0, pending
        ori  r0, r0, 1
        sta  r0, pending
        li   r0, 0
@running:
        sta  r0, vtimer
        sta  r5, before
        jr   r6

go:     lda  r1, p_mask                 ; the real PSW: user mode, its P, the R that A has granted
        and  r0, r0, r1
        lda  r1, real_r
        or   r0, r0, r1
        sta  r0, rpsw
        lda  r0, vtimer
        bnz  r0, @timed
        lda  r1, 1
        lda  r2, plain_entry
        beq  r1, r2, @leave             ; the timer was off and is
        sta  r2, 1
        sta  r0, before
        stimer r0
@leave: others lda
        lda  r0, regs
        lpsw rpsw

; A user program is to be interrupted on the dot. A supervisor is not to be interrupted at all, so it
; is given some more: then what is left when it traps tells how its own timer stands. A timer that
; is set for ages is granted in pieces, so that the sum does not overflow.

@timed: lui  r1, AGES >> 16
        bltu r0, r1, @soon
        mov  r0, r1
@soon:  lda  r1, vpsw
        shri r1, r1, 31
        bnz  r1, @user
        addi r0, r0, SLACK
@user:  addi r0, r0, LEAVING
        addi r1, r0, -LEAVING - ENTERING
        sta  r1, granted
        lda  r1, timed_entry
        sta  r1, 1
        others lda
        stimer r0
        lda  r0, regs
        lpsw rpsw

p_mask: .word ALL * L_ONE * P_MASK      ; P in a PSW
p_one:  .word P_ONE
user:   .psw u, 0, 0, 0
plain_entry: .psw s, plain, 0, WORDS
timed_entry: .psw s, timed, 0, WORDS
        .equ L_ONE, 1 << L_LOW
        .equ P_MASK, WORDS - 1
        .equ AGES, 1 << 31

; The guest's processor, as it believes it to be.

vpsw:   .psw s, begin, 0, WORDS         ; its mode, P and R: here its whole beginning
regs:   .space 8
vtimer: .word 0                         ; instructions left, 0: off
before: .word 0                         ; the same, before the instruction that trapped
vcause: .word 0
vinfo:  .word 0
vaddress: .word 0                       ; of the disk
pending: .word 0                        ; interrupts that wait: bit 0 timer, 1 console, 2 disk

; The real one, as the guest is given it.

rpsw:   .word 0
real_r: .word 0
room:   .word 0                         ; granules of storage
granted: .word 0                        ; what the real timer shows when a first instruction trapped,
                                        ; and one more
left:   .word 0                         ; what it showed when the guest trapped
vmm_end:

        .window guest                   ; stands here until another takes its place
        .org 1
        .psw s, service, 0, WORDS

begin:  lpsw process                    ; words 0 and 1 are mine, am I not the machine?

service:
        li   r1, text
@next:  ld   r0, [r1]
        bz   r0, @end
        out  r0, CONSOLE_DATA
        addi r1, r1, 1
        jmp  @next
@end:   halt

text:   .string "I have a machine of my own.\n"
process: .psw u, ask, 0, WORDS
ask:    svc  0
        .endwindow
