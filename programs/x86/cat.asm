# Reading until the end, and errors: read(2) and write(2) in a loop; a short write goes on where it stopped.

        .bss
buffer:
        .space  4096

        .text
        .globl  _start
_start:
        mov     eax, 3                  # read
        xor     ebx, ebx                # standard input
        mov     ecx, offset buffer
        mov     edx, 4096
        int     0x80
        test    eax, eax
        js      failed
        jz      done                    # the end
        mov     edx, eax
again:
        mov     eax, 4                  # write
        mov     ebx, 1
        int     0x80
        test    eax, eax
        jle     failed
        add     ecx, eax
        sub     edx, eax
        jnz     again
        jmp     _start
done:
        xor     ebx, ebx
        jmp     leave
failed:
        mov     ebx, 1
leave:
        mov     eax, 1                  # exit
        int     0x80
