/* The stack machine. A frame is its function's variables; below it stand the caller's frame and place. */
#include "compiler.h"

enum { STACK = 2048, MOST_STEPS = 2000000 };

typedef struct {
    const Program *program;
    int *stack, *top, *frame;
    int (*arrays)[ARRAY_SIZE];
    u32 pc;
    Text output;
} Machine;

/* Push a frame: the arguments on the stack become the first variables. */
static void enter(Machine *m, u32 number)
{
    const Function *function = &m->program->functions[number];
    int *frame = m->top - function->parameters;
    int *kept = frame + function->locals;
    check(kept + 32 < m->stack + STACK);
    for (int *variable = m->top; variable < kept; variable++)
        *variable = 0;
    kept[0] = (int)(m->frame - m->stack);
    kept[1] = (int)m->pc;
    kept[2] = (int)number;
    m->frame = frame;
    m->top = kept + 3;
    m->pc = function->entry;
}

/* Pop the frame, leaving the result; 0 if it was the last one. */
static int leave_function(Machine *m, u32 locals)
{
    int result = m->top[-1], *kept = m->frame + locals;
    if (m->frame == m->stack)
        return 0;
    m->top = m->frame;
    m->frame = m->stack + kept[0];
    m->pc = (u32)kept[1];
    *m->top++ = result;
    return 1;
}

static int *element(Machine *m, int array, int index)
{
    return &m->arrays[array][(u32)index % ARRAY_SIZE];
}

static void print_number(Machine *m, int number)
{
    text_number(&m->output, number);
    text_char(&m->output, '\n');
}

Text execute(const Program *program, const Code *code)
{
    Machine machine = {.program = program, .output = text_new()}, *m = &machine;
    u32 running = 0, callers[64]; /* numbers of the functions that are being run */
    m->stack = m->top = m->frame = allocate_array(STACK, sizeof(int));
    m->arrays = allocate_array(MOST_ARRAYS, sizeof(int[ARRAY_SIZE]));
    enter(m, callers[0] = 0);
    for (u32 steps = 0;; steps++) {
        const Instruction *i = &code->instructions[m->pc++];
        if (steps == MOST_STEPS) {
            check(0);
            return m->output;
        }
        switch ((Opcode)i->opcode) {
        case O_NUMBER:
            *m->top++ = i->operand;
            break;
        case O_LOAD:
            *m->top++ = m->frame[i->operand];
            break;
        case O_STORE:
            m->frame[i->operand] = *--m->top;
            break;
        case O_LOAD_ELEMENT:
            m->top[-1] = *element(m, i->operand, m->top[-1]);
            break;
        case O_STORE_ELEMENT:
            m->top -= 2;
            *element(m, i->operand, m->top[0]) = m->top[1];
            break;
        case O_UNARY:
            m->top[-1] = operate((TokenKind)i->extra, 0, m->top[-1]);
            break;
        case O_BINARY:
            m->top--;
            m->top[-1] = operate((TokenKind)i->extra, m->top[-1], m->top[0]);
            break;
        case O_JUMP:
            m->pc = (u32)i->operand;
            break;
        case O_BRANCH_IF_ZERO:
            if (!*--m->top)
                m->pc = (u32)i->operand;
            break;
        case O_CALL:
            check(running + 1 < COUNT(callers));
            enter(m, callers[++running % COUNT(callers)] = (u32)i->operand);
            break;
        case O_RETURN:
            if (!leave_function(m, program->functions[callers[running]].locals))
                return m->output;
            running--;
            break;
        case O_PRINT:
            print_number(m, *--m->top);
            break;
        case O_DROP:
            m->top--;
            break;
        }
    }
}
