/* Simpler trees of the same meaning: constants are computed, neutral operations and dead branches go. */
#include "compiler.h"

int operate(TokenKind operator, int left, int right)
{
    u32 a = (u32)left, b = (u32)right;
    switch (operator) {
    case T_ADD:
        return (int)(a + b);
    case T_SUB:
        return (int)(a - b);
    case T_MUL:
        return (int)(a * b);
    case T_DIV:
        return right == 0 ? 0 : right == -1 ? (int)-a : left / right;
    case T_MOD:
        return right == 0 || right == -1 ? 0 : left % right;
    case T_AND:
        return (int)(a & b);
    case T_OR:
        return (int)(a | b);
    case T_XOR:
        return (int)(a ^ b);
    case T_SHL:
        return (int)(a << (b & 31));
    case T_SHR:
        return (int)(a >> (b & 31));
    case T_EQ:
        return left == right;
    case T_NE:
        return left != right;
    case T_LT:
        return left < right;
    case T_LE:
        return left <= right;
    case T_GT:
        return left > right;
    case T_GE:
        return left >= right;
    case T_BOTH:
        return left && right;
    case T_EITHER:
        return left || right;
    case T_NOT:
        return !right;
    default:
        check(0);
        return 0;
    }
}

static u32 fold(Node *node);

static u32 become(Node *node, const Node *other)
{
    Node *next = node->next;
    *node = *other;
    node->next = next;
    return 1;
}

static u32 become_number(Node *node, int number)
{
    Node constant = {.kind = N_NUMBER, .number = number};
    return become(node, &constant);
}

static int is_number(const Node *node, int number)
{
    return node->kind == N_NUMBER && node->number == number;
}

static u32 fold_binary(Node *node)
{
    Node *left = node->first, *right = node->second;
    if (left->kind == N_NUMBER && right->kind == N_NUMBER)
        return become_number(node, operate(node->operator, left->number, right->number));
    switch (node->operator) {
    case T_ADD: case T_OR: case T_XOR:
        if (is_number(left, 0))
            return become(node, right);
        return is_number(right, 0) ? become(node, left) : 0;
    case T_SUB: case T_SHL: case T_SHR:
        return is_number(right, 0) ? become(node, left) : 0;
    case T_MUL:
        if (is_number(left, 1))
            return become(node, right);
        return is_number(right, 1) ? become(node, left) : 0;
    case T_DIV:
        return is_number(right, 1) ? become(node, left) : 0;
    default:
        return 0;
    }
}

static u32 fold_list(Node *node)
{
    u32 changes = 0;
    for (; node; node = node->next)
        changes += fold(node);
    return changes;
}

static u32 fold(Node *node)
{
    static const Node nothing = {.kind = N_NOTHING};
    u32 changes = fold_list(node->first);
    if (node->second)
        changes += fold_list(node->second);
    if (node->third)
        changes += fold_list(node->third);
    switch (node->kind) {
    case N_UNARY:
        if (node->first->kind == N_NUMBER)
            changes += become_number(node, operate(node->operator, 0, node->first->number));
        return changes;
    case N_BINARY:
        return changes + fold_binary(node);
    case N_IF:
        if (node->first->kind == N_NUMBER)
            changes += become(node, node->first->number ? node->second : node->third);
        return changes;
    case N_WHILE:
        return changes + (is_number(node->first, 0) ? become(node, &nothing) : 0);
    default:
        return changes;
    }
}

u32 fold_program(Program *program)
{
    u32 changes = 0;
    for (u32 i = 0; i < program->function_count; i++)
        changes += fold(program->functions[i].body);
    return changes;
}
