/* The sieve of Eratosthenes, byte by byte: how many primes there are below about 100,000. */
#include "guest.h"

enum { LIMIT = 100000 };

static u8 composite[LIMIT + 1024];

u32 round(u32 number)
{
    u32 limit = LIMIT + number % 1024, primes = 0;
    for (u32 i = 0; i < limit; i++)
        composite[i] = 0;
    for (u32 i = 2; i * i < limit; i++)
        if (!composite[i])
            for (u32 multiple = i * i; multiple < limit; multiple += i)
                composite[multiple] = 1;
    for (u32 i = 2; i < limit; i++)
        primes += !composite[i];
    return primes;
}
