/* String operations: the processor's own, repeated and not, and the same work byte by byte. */
#include "guest.h"

enum { SIZE = 8192, LINES = 64, WIDTH = SIZE / LINES };

static u8 text[SIZE], copy[SIZE], other[SIZE];

static void copy_bytes(void *to, const void *from, u32 size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static void copy_words(void *to, const void *from, u32 size)
{
    __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static void copy_backwards(u8 *to, const u8 *from, u32 size)
{
    to += size - 1, from += size - 1;
    __asm__ volatile("std; rep movsb; cld" : "+D"(to), "+S"(from), "+c"(size) : : "memory", "cc");
}

static void fill_words(void *to, u32 value, u32 size)
{
    __asm__ volatile("rep stosl" : "+D"(to), "+c"(size) : "a"(value) : "memory");
}

/* How many bytes stand before the first `wanted`, or `size`. */
static u32 scan(const u8 *from, u8 wanted, u32 size)
{
    u32 left = size;
    u8 found;
    __asm__ volatile("repne scasb; sete %2" : "+D"(from), "+c"(left), "=q"(found) : "a"(wanted)
                     : "memory", "cc");
    return found ? size - left - 1 : size;
}

/* How many bytes of both are the same from the start on. */
static u32 common(const u8 *left, const u8 *right, u32 size)
{
    u32 rest = size;
    u8 equal;
    __asm__ volatile("cmp %%eax, %%eax; repe cmpsb; sete %3"
                     : "+S"(left), "+D"(right), "+c"(rest), "=q"(equal) : : "memory", "cc");
    return equal ? size : size - rest - 1;
}

/* Letters to upper case, by LODS and STOS without repetition. */
static void raise(u8 *to, const u8 *from, u32 size)
{
    while (size--) {
        u8 letter;
        __asm__ volatile("lodsb" : "=a"(letter), "+S"(from) : : "memory");
        if (letter >= 'a' && letter <= 'z')
            letter -= 'a' - 'A';
        __asm__ volatile("stosb" : "+D"(to) : "a"(letter) : "memory");
    }
}

static u32 length(const u8 *from)
{
    const u8 *end = from;
    while (*end)
        end++;
    return (u32)(end - from);
}

static void reverse(u8 *low, u8 *high)
{
    while (low < high) {
        u8 t = *low;
        *low++ = *--high;
        *high = t;
    }
}

/* How often the pattern occurs, tried at every place. */
static u32 occurrences(const u8 *from, const u8 *pattern)
{
    u32 found = 0;
    for (; *from; from++) {
        const u8 *a = from, *b = pattern;
        while (*b && *a == *b)
            a++, b++;
        found += !*b;
    }
    return found;
}

static void write_text(u32 *state)
{
    for (u32 i = 0; i < SIZE; i++)
        text[i] = (i + 1) % WIDTH ? (u8)('a' + next_random(state) % 23) : '\n';
    text[SIZE - 1] = 0;
}

static u32 by_processor(void)
{
    u32 sum = 0;
    for (int turn = 0; turn < 8; turn++) {
        fill_words(copy, 0x20202020u + (u32)turn, SIZE / 4);
        copy_words(other, text, SIZE / 4);
        copy_bytes(copy, other, SIZE);
        copy_backwards(copy + 1, copy, SIZE - 1);
        sum = sum * 31 + common(copy + 1, text, SIZE - 1);
        sum = sum * 31 + common(copy, text, SIZE);
    }
    for (u32 at = 0; at < SIZE; at += scan(text + at, '\n', SIZE - at) + 1)
        sum = sum * 31 + at;
    return sum;
}

static u32 by_bytes(void)
{
    u32 sum = length(text);
    static const u8 *const patterns[] = {(u8 *)"a", (u8 *)"be", (u8 *)"cab", (u8 *)"\n"};
    raise(copy, text, SIZE);
    reverse(copy, copy + SIZE - 1);
    for (u32 i = 0; i < COUNT(patterns); i++)
        sum = sum * 31 + occurrences(text, patterns[i]);
    for (u32 i = 0; i < SIZE; i++)
        sum = sum * 33 ^ copy[i];
    return sum;
}

u32 round(u32 number)
{
    u32 state = seed_of(number);
    write_text(&state);
    return by_processor() + by_bytes();
}
