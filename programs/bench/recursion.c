/* Recursion: Fibonacci's numbers, Ackermann's function, and the queens of a chess board. */
#include "guest.h"

enum { QUEENS = 7 };

static u32 __attribute__((noinline)) fibonacci(u32 n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static u32 __attribute__((noinline)) ackermann(u32 m, u32 n)
{
    if (m == 0)
        return n + 1;
    return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

/* How many ways there are to place queens from `row` on; bits of columns and diagonals are taken. */
static u32 __attribute__((noinline)) place(u32 row, u32 columns, u32 rising, u32 falling)
{
    u32 ways = 0;
    if (row == QUEENS)
        return 1;
    for (u32 free = ~(columns | rising | falling) & ((1u << QUEENS) - 1); free; free &= free - 1) {
        u32 queen = free & -free;
        ways += place(row + 1, columns | queen, (rising | queen) << 1, (falling | queen) >> 1);
    }
    return ways;
}

u32 round(u32 number)
{
    u32 column = 1u << number % QUEENS;
    u32 ways = place(1, column, column << 1, column >> 1);
    return fibonacci(21 + number % 3) * 1000 + ackermann(2, 50 + number % 8) + (ways << 24);
}
