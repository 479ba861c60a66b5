# execve: what it refuses, and what stays of a process when its program is another one.

        .section .rodata
missing:
        .asciz  "/no/such/program"
root:
        .asciz  "/"
itself:
        .asciz  "/proc/self/exe"
name:
        .asciz  "exec"
again:
        .asciz  "again"
kept:
        .ascii  "kept\n"
kept_size = . - kept

        .data
        .balign 4
arguments:
        .long   name, again, 0
value:
        .long   0

        .text
        .globl  _start
_start:
        cmp     dword ptr [esp], 2      # argc: is it the second time?
        je      second
        mov     ebx, offset missing
        call    execute                 # ENOENT
        mov     ebx, offset root
        call    execute                 # EACCES
        mov     ebx, 16                 # no pointer
        call    execute                 # EFAULT

        mov     eax, 63                 # dup2: one to keep
        mov     ebx, 1
        mov     ecx, 100
        int     0x80
        mov     eax, 330                # dup3: one to be closed
        mov     ecx, 101
        mov     edx, 0x80000            # O_CLOEXEC
        int     0x80
        mov     dword ptr [value], 1
        mov     ebx, offset itself
        call    execute
        mov     ebx, 1
        jmp     leave

second:
        mov     eax, 4                  # write
        mov     ebx, 100
        mov     ecx, offset kept
        mov     edx, kept_size
        int     0x80
        mov     eax, 6                  # close
        mov     ebx, 101
        int     0x80
        neg     eax
        call    print                   # EBADF
        mov     eax, [value]
        call    print                   # the memory is new
        xor     ebx, ebx
leave:
        mov     eax, 1                  # exit
        int     0x80

# Execute the program at the path that EBX points to; print the error.
execute:
        mov     eax, 11                 # execve
        mov     ecx, offset arguments
        xor     edx, edx
        int     0x80
        neg     eax
        call    print
        ret

# Print the unsigned number in EAX on a line.
print:
        push    ebx
        push    edi
        sub     esp, 16
        lea     edi, [esp + 15]         # digits are written from the last to the first
        mov     byte ptr [edi], 10
        mov     ebx, 10
1:      xor     edx, edx
        div     ebx
        add     dl, 0x30                # the digit zero
        dec     edi
        mov     [edi], dl
        test    eax, eax
        jnz     1b
        lea     edx, [esp + 16]
        sub     edx, edi                # how many characters
        mov     ecx, edi
        mov     ebx, 1
        mov     eax, 4                  # write
        int     0x80
        add     esp, 16
        pop     edi
        pop     ebx
        ret
