/* Entry, command line and output of the guests: `GUEST ROUNDS` prints each round's answer on a line. */
#include "guest.h"

enum { EXIT = 1, WRITE = 4, LINE = 9, USAGE = 2 };

__asm__(".globl _start\n"
        "_start:\n"
        "    xor  %ebp, %ebp\n"
        "    mov  %esp, %eax\n"
        "    and  $-16, %esp\n"
        "    sub  $12, %esp\n"
        "    push %eax\n"
        "    call start\n");

static char text[4096];
static u32 used;

static int system_call(int number, int first, const void *second, u32 third)
{
    int result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(first), "c"(second), "d"(third)
                     : "memory");
    return result;
}

static void __attribute__((noreturn)) leave(int code)
{
    for (;;)
        system_call(EXIT, code, 0, 0);
}

static void flush(void)
{
    for (u32 done = 0; done < used;) {
        int written = system_call(WRITE, 1, text + done, used - done);
        if (written <= 0)
            leave(USAGE);
        done += (u32)written;
    }
    used = 0;
}

static void print_line(u32 answer)
{
    if (used + LINE > sizeof text)
        flush();
    for (int shift = 28; shift >= 0; shift -= 4)
        text[used++] = "0123456789abcdef"[answer >> shift & 15];
    text[used++] = '\n';
}

/* A decimal number, or -1. */
static int number_in(const char *word)
{
    int value = 0;
    if (!*word)
        return -1;
    for (; *word; word++) {
        if (*word < '0' || *word > '9' || value > 100000000)
            return -1;
        value = value * 10 + (*word - '0');
    }
    return value;
}

/* `stack` as Linux leaves it: argc, then the arguments. */
void __attribute__((noreturn, used)) start(int *stack)
{
    int rounds = stack[0] == 2 ? number_in((const char *)stack[2]) : -1;
    if (rounds < 0)
        leave(USAGE);
    for (int number = 0; number < rounds; number++)
        print_line(round((u32)number));
    flush();
    leave(0);
}

void *memcpy(void *to, const void *from, u32 size)
{
    void *end = to;
    __asm__ volatile("rep movsb" : "+D"(end), "+S"(from), "+c"(size) : : "memory");
    return to;
}

void *memset(void *to, int value, u32 size)
{
    void *end = to;
    __asm__ volatile("rep stosb" : "+D"(end), "+c"(size) : "a"(value) : "memory");
    return to;
}

void *memmove(void *to, const void *from, u32 size)
{
    u8 *target = to;
    const u8 *source = from;
    if (target <= source || target >= source + size)
        return memcpy(to, from, size);
    while (size--)
        target[size] = source[size];
    return to;
}

int memcmp(const void *left, const void *right, u32 size)
{
    const u8 *a = left, *b = right;
    for (; size; size--, a++, b++)
        if (*a != *b)
            return *a - *b;
    return 0;
}
