/* An arena: memory is handed out from the bottom and given back all at once. */
#include "workshop.h"

enum { ARENA = 1 << 20, ALIGNMENT = 8 };

static u8 arena[ARENA] __attribute__((aligned(ALIGNMENT)));
static u32 taken, dirty, failures;

void arena_reset(void)
{
    taken = 0;
}

void check(int holds)
{
    failures += !holds;
}

u32 failed_checks(void)
{
    return failures;
}

void *allocate(u32 size)
{
    u32 place = taken;
    size = (size + ALIGNMENT - 1) & -(u32)ALIGNMENT;
    if (size > ARENA - taken) {
        check(0);
        taken = place = 0; /* the answer is spoilt; only the end matters now */
    }
    taken += size;
    if (place < dirty)
        memset(arena + place, 0, (taken < dirty ? taken : dirty) - place);
    if (taken > dirty)
        dirty = taken;
    return arena + place;
}

void *allocate_array(u32 count, u32 size)
{
    return allocate(count * size);
}
