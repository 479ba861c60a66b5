/* What every benchmark guest has: types, a generator of numbers, and the one function it defines. */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The guest's work, a million instructions or a few; the answer depends on the number only. */
u32 round(u32 number);

/* One step of Marsaglia's xorshift generator; the state must not be 0. */
static inline u32 next_random(u32 *state)
{
    u32 x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

/* A state of the generator that belongs to a round. */
static inline u32 seed_of(u32 number)
{
    return number * 2654435761u + 1;
}

/* What gcc may call for loops and assignments. */
void *memcpy(void *to, const void *from, u32 size);
void *memset(void *to, int value, u32 size);
void *memmove(void *to, const void *from, u32 size);
int memcmp(const void *left, const void *right, u32 size);

#endif
