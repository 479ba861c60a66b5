/* Hashing by shifts and look-ups: CRC-32 of 64 KiB from a table, the table and a sixteenth bit by bit. */
#include "guest.h"

enum { SIZE = 65536, POLYNOMIAL = 0xEDB88320 };

static u8 data[SIZE];
static u32 table[256];

static u32 one_byte(u32 crc)
{
    for (int bit = 0; bit < 8; bit++)
        crc = crc & 1 ? crc >> 1 ^ (u32)POLYNOMIAL : crc >> 1;
    return crc;
}

static u32 bit_by_bit(const u8 *from, u32 size)
{
    u32 crc = ~0u;
    while (size--)
        crc = one_byte(crc ^ *from++);
    return ~crc;
}

static u32 by_table(const u8 *from, u32 size)
{
    u32 crc = ~0u;
    while (size--)
        crc = crc >> 8 ^ table[(crc ^ *from++) & 255];
    return ~crc;
}

u32 round(u32 number)
{
    u32 state = seed_of(number);
    for (u32 i = 0; i < COUNT(table); i++)
        table[i] = one_byte(i);
    for (u32 i = 0; i < SIZE; i++)
        data[i] = (u8)next_random(&state);
    if (bit_by_bit(data, SIZE / 16) != by_table(data, SIZE / 16))
        return 0;
    return by_table(data, SIZE);
}
