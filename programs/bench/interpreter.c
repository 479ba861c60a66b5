/* An interpreter loop with indirect jumps: a stack machine counts the steps of Collatz sequences. */
#include "guest.h"

enum { SEQUENCES = 110, MOST = 4095 };

enum { PUSH, LOAD, STORE, ADD, MULTIPLY, HALVE, ODD, LESS, JUMP, BRANCH, STOP };

enum { VALUE, STEPS, VARIABLES };

typedef struct {
    u32 operation, operand;
} Instruction;

enum { TOP = 0, ODD_STEP = 15, DONE = 22 };

static const Instruction program[] = {
    [TOP] = {LOAD, VALUE}, {PUSH, 2}, {LESS, 0}, {BRANCH, DONE},
    {LOAD, STEPS}, {PUSH, 1}, {ADD, 0}, {STORE, STEPS},
    {LOAD, VALUE}, {ODD, 0}, {BRANCH, ODD_STEP},
    {LOAD, VALUE}, {HALVE, 0}, {STORE, VALUE}, {JUMP, TOP},
    [ODD_STEP] = {LOAD, VALUE}, {PUSH, 3}, {MULTIPLY, 0}, {PUSH, 1}, {ADD, 0},
    {STORE, VALUE}, {JUMP, TOP},
    [DONE] = {STOP, 0},
};

/* Run the program on `variables`; threaded code with gcc's labels as values. */
static void run(const Instruction *pc, u32 *variables)
{
    static const void *const handlers[] = {
        &&push, &&load, &&store, &&add, &&multiply, &&halve, &&odd, &&less, &&jump, &&branch, &&stop,
    };
    u32 stack[8], *top = stack;
    const Instruction *start = pc;

#define NEXT goto *handlers[pc->operation]
    NEXT;
push:
    *top++ = pc++->operand;
    NEXT;
load:
    *top++ = variables[pc++->operand];
    NEXT;
store:
    variables[pc++->operand] = *--top;
    NEXT;
add:
    top--, top[-1] += *top, pc++;
    NEXT;
multiply:
    top--, top[-1] *= *top, pc++;
    NEXT;
halve:
    top[-1] >>= 1, pc++;
    NEXT;
odd:
    top[-1] &= 1, pc++;
    NEXT;
less:
    top--, top[-1] = top[-1] < *top, pc++;
    NEXT;
jump:
    pc = start + pc->operand;
    NEXT;
branch:
    pc = *--top ? start + pc->operand : pc + 1;
    NEXT;
stop:
    return;
#undef NEXT
}

u32 round(u32 number)
{
    u32 state = seed_of(number), sum = 0;
    for (int i = 0; i < SEQUENCES; i++) {
        u32 variables[VARIABLES] = {[VALUE] = (next_random(&state) & MOST) + 1};
        run(program, variables);
        sum = sum * 31 + variables[STEPS];
    }
    return sum;
}
