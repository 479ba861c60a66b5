/* The same language without a machine: the tree is walked. What it prints must be the same. */
#include "compiler.h"

typedef struct {
    const Program *program;
    int (*arrays)[ARRAY_SIZE];
    Text output;
    int returning, result;
} World;

static int value_of(World *w, const Node *node, int *variables);
static void run_list(World *w, const Node *node, int *variables);

static int call(World *w, const Node *node, int *variables)
{
    const Function *function = &w->program->functions[node->number];
    int inner[MOST_LOCALS] = {0};
    u32 i = 0;
    for (const Node *argument = node->first; argument; argument = argument->next)
        inner[i++] = value_of(w, argument, variables);
    w->result = 0;
    run_list(w, function->body, inner);
    w->returning = 0;
    return w->result;
}

static int value_of(World *w, const Node *node, int *variables)
{
    int left;
    switch (node->kind) {
    case N_NUMBER:
        return node->number;
    case N_VARIABLE:
        return variables[node->number];
    case N_ELEMENT:
        return w->arrays[node->number][(u32)value_of(w, node->first, variables) % ARRAY_SIZE];
    case N_CALL:
        return call(w, node, variables);
    case N_UNARY:
        return operate(node->operator, 0, value_of(w, node->first, variables));
    case N_BINARY:
        left = value_of(w, node->first, variables);
        if (node->operator== T_BOTH && !left)
            return 0;
        if (node->operator== T_EITHER && left)
            return 1;
        return operate(node->operator, left, value_of(w, node->second, variables));
    default:
        check(0);
        return 0;
    }
}

static void run(World *w, const Node *node, int *variables)
{
    u32 index;
    switch (node->kind) {
    case N_ASSIGN:
        variables[node->number] = value_of(w, node->first, variables);
        break;
    case N_STORE:
        index = (u32)value_of(w, node->first, variables) % ARRAY_SIZE;
        w->arrays[node->number][index] = value_of(w, node->second, variables);
        break;
    case N_IF:
        run(w, value_of(w, node->first, variables) ? node->second : node->third, variables);
        break;
    case N_WHILE:
        while (!w->returning && value_of(w, node->first, variables))
            run(w, node->second, variables);
        break;
    case N_RETURN:
        w->result = value_of(w, node->first, variables);
        w->returning = 1;
        break;
    case N_PRINT:
        text_number(&w->output, value_of(w, node->first, variables));
        text_char(&w->output, '\n');
        break;
    case N_BLOCK:
        run_list(w, node->first, variables);
        break;
    case N_EXPRESSION:
        value_of(w, node->first, variables);
        break;
    default:
        break;
    }
}

static void run_list(World *w, const Node *node, int *variables)
{
    for (; node && !w->returning; node = node->next)
        run(w, node, variables);
}

Text evaluate_tree(const Program *program)
{
    World world = {.program = program, .output = text_new()};
    int variables[MOST_LOCALS] = {0};
    world.arrays = allocate_array(MOST_ARRAYS, sizeof(int[ARRAY_SIZE]));
    run_list(&world, program->functions[0].body, variables);
    return world.output;
}
