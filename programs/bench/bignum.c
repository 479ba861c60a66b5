/* Long numbers: the factorial of about 750, in words with carries, and its decimal digits by division. */
#include "guest.h"

enum { SMALLEST = 750, WORDS = 256, BILLION = 1000000000 };

static u32 words[WORDS];
static u32 size;

static void multiply(u32 factor)
{
    u64 carry = 0;
    for (u32 i = 0; i < size; i++) {
        carry += (u64)words[i] * factor;
        words[i] = (u32)carry;
        carry >>= 32;
    }
    if (carry)
        words[size++] = (u32)carry;
}

/* Divide by a billion and return the remainder: nine decimal digits. */
static u32 divide(void)
{
    u32 remainder = 0;
    for (u32 i = size; i-- > 0;)
        __asm__("divl %4"
                : "=a"(words[i]), "=d"(remainder)
                : "0"(words[i]), "1"(remainder), "r"(BILLION)
                : "cc");
    while (size && !words[size - 1])
        size--;
    return remainder;
}

u32 round(u32 number)
{
    u32 last = SMALLEST + number % 16, sum = 0;
    words[0] = size = 1;
    for (u32 factor = 2; factor <= last; factor++)
        multiply(factor);
    while (size)
        for (u32 digits = divide(); digits; digits /= 10)
            sum += digits % 10;
    return sum;
}
