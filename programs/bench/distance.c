/* Dynamic programming: Levenshtein's distance of two texts of 300 letters. */
#include "guest.h"

enum { SIZE = 300, LETTERS = 4 };

static u8 left[SIZE], right[SIZE];
static u32 row[SIZE + 1];

static u32 smaller(u32 a, u32 b)
{
    return a < b ? a : b;
}

static u32 distance(void)
{
    for (u32 j = 0; j <= SIZE; j++)
        row[j] = j;
    for (u32 i = 0; i < SIZE; i++) {
        u32 diagonal = row[0];
        row[0] = i + 1;
        for (u32 j = 0; j < SIZE; j++) {
            u32 replaced = diagonal + (left[i] != right[j]);
            diagonal = row[j + 1];
            row[j + 1] = smaller(replaced, smaller(diagonal, row[j]) + 1);
        }
    }
    return row[SIZE];
}

u32 round(u32 number)
{
    u32 state = seed_of(number);
    for (u32 i = 0; i < SIZE; i++) {
        left[i] = (u8)(next_random(&state) >> 20) % LETTERS;
        right[i] = (u8)(next_random(&state) >> 20) % LETTERS;
    }
    return distance();
}
