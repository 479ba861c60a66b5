/* From tokens to a tree, by recursive descent; names become numbers. */
#include "compiler.h"

typedef struct {
    Token *at;
    Program *program;
    Function *function;
    const char *locals[MOST_LOCALS];
} Parser;

static Node *expression(Parser *p);
static Node *statement(Parser *p);

static Node *node_new(NodeKind kind)
{
    Node *node = allocate(sizeof *node);
    node->kind = kind;
    return node;
}

static void complain(Parser *p, const char *message)
{
    if (!p->program->error) {
        p->program->error = message;
        p->program->error_line = p->at->line;
    }
}

static int accept(Parser *p, TokenKind kind)
{
    if (p->at->kind != kind)
        return 0;
    p->at++;
    return 1;
}

static void expect(Parser *p, TokenKind kind, const char *message)
{
    if (!accept(p, kind))
        complain(p, message);
}

static const char *expect_name(Parser *p)
{
    const char *name = p->at->kind == T_NAME ? p->at->name : "";
    expect(p, T_NAME, "a name");
    return name;
}

/* -- names --------------------------------------------------------------------------------- */

static int find_local(Parser *p, const char *name)
{
    for (u32 i = 0; i < p->function->locals; i++)
        if (string_equal(p->locals[i], name))
            return (int)i;
    return -1;
}

static int declare_local(Parser *p, const char *name)
{
    int slot = find_local(p, name);
    if (slot >= 0)
        return slot;
    if (p->function->locals == MOST_LOCALS) {
        complain(p, "fewer variables");
        return 0;
    }
    p->locals[p->function->locals] = name;
    return (int)p->function->locals++;
}

static int find_array(const Parser *p, const char *name)
{
    for (u32 i = 0; i < p->program->array_count; i++)
        if (string_equal(p->program->arrays[i], name))
            return (int)i;
    return -1;
}

static int find_function(const Parser *p, const char *name)
{
    for (u32 i = 1; i < p->program->function_count; i++)
        if (string_equal(p->program->functions[i].name, name))
            return (int)i;
    return -1;
}

/* -- expressions --------------------------------------------------------------------------- */

static Node *call(Parser *p, const char *name)
{
    Node *node = node_new(N_CALL), **place = &node->first;
    u32 arguments = 0;
    node->number = find_function(p, name);
    while (p->at->kind != T_CLOSE && !p->program->error) {
        *place = expression(p);
        place = &(*place)->next;
        arguments++;
        if (!accept(p, T_COMMA))
            break;
    }
    expect(p, T_CLOSE, "a closing parenthesis");
    if (node->number < 0)
        complain(p, "a known function");
    else if (p->program->functions[node->number].parameters != arguments)
        complain(p, "as many arguments as parameters");
    return node;
}

static Node *named(Parser *p, const char *name)
{
    if (accept(p, T_OPEN))
        return call(p, name);
    if (accept(p, T_INDEX)) {
        Node *node = node_new(N_ELEMENT);
        node->number = find_array(p, name);
        if (node->number < 0)
            complain(p, "a known array");
        node->first = expression(p);
        expect(p, T_INDEXED, "a closing bracket");
        return node;
    }
    Node *node = node_new(N_VARIABLE);
    node->number = find_local(p, name);
    if (node->number < 0)
        complain(p, "a known variable");
    return node;
}

static Node *unary(Parser *p)
{
    if (p->at->kind == T_SUB || p->at->kind == T_NOT) {
        Node *node = node_new(N_UNARY);
        node->operator= p->at++->kind;
        node->first = unary(p);
        return node;
    }
    if (p->at->kind == T_NUMBER) {
        Node *node = node_new(N_NUMBER);
        node->number = p->at++->number;
        return node;
    }
    if (accept(p, T_OPEN)) {
        Node *node = expression(p);
        expect(p, T_CLOSE, "a closing parenthesis");
        return node;
    }
    if (p->at->kind == T_NAME)
        return named(p, p->at++->name);
    complain(p, "an expression");
    return node_new(N_NUMBER);
}

/* How tightly an operator binds; 0 for what is none. */
static int strength(TokenKind kind)
{
    switch (kind) {
    case T_MUL: case T_DIV: case T_MOD:
        return 8;
    case T_ADD: case T_SUB:
        return 7;
    case T_SHL: case T_SHR:
        return 6;
    case T_LT: case T_LE: case T_GT: case T_GE:
        return 5;
    case T_EQ: case T_NE:
        return 4;
    case T_AND: case T_OR: case T_XOR:
        return 3;
    case T_BOTH:
        return 2;
    case T_EITHER:
        return 1;
    default:
        return 0;
    }
}

static Node *binary(Parser *p, int least)
{
    Node *left = unary(p);
    for (int force; (force = strength(p->at->kind)) >= least && !p->program->error;) {
        Node *node = node_new(N_BINARY);
        node->operator= p->at++->kind;
        node->first = left;
        node->second = binary(p, force + 1);
        left = node;
    }
    return left;
}

static Node *expression(Parser *p)
{
    return binary(p, 1);
}

/* -- statements ---------------------------------------------------------------------------- */

static Node *block(Parser *p)
{
    Node *node = node_new(N_BLOCK), **place = &node->first;
    expect(p, T_BEGIN, "an opening brace");
    while (!accept(p, T_FINISH) && !p->program->error) {
        *place = statement(p);
        place = &(*place)->next;
    }
    return node;
}

static Node *conditional(Parser *p)
{
    Node *node = node_new(N_IF);
    node->first = expression(p);
    node->second = block(p);
    node->third = accept(p, T_ELSE) ? (p->at->kind == T_IF ? statement(p) : block(p)) : node_new(N_NOTHING);
    return node;
}

static Node *loop(Parser *p)
{
    Node *node = node_new(N_WHILE);
    node->first = expression(p);
    node->second = block(p);
    return node;
}

static Node *with_value(Parser *p, NodeKind kind)
{
    Node *node = node_new(kind);
    node->first = expression(p);
    expect(p, T_STOP, "a semicolon");
    return node;
}

static Node *declaration(Parser *p)
{
    const char *name = expect_name(p);
    expect(p, T_ASSIGN, "an equals sign");
    Node *node = with_value(p, N_ASSIGN);
    node->number = declare_local(p, name);
    return node;
}

static Node *array_declaration(Parser *p)
{
    const char *name = expect_name(p);
    if (p->program->array_count == MOST_ARRAYS)
        complain(p, "fewer arrays");
    else
        p->program->arrays[p->program->array_count++] = name;
    expect(p, T_STOP, "a semicolon");
    return node_new(N_NOTHING);
}

/* An expression, or an assignment to what it names. */
static Node *assignment(Parser *p)
{
    Node *target = expression(p);
    if (accept(p, T_ASSIGN)) {
        Node *node = with_value(p, target->kind == N_ELEMENT ? N_STORE : N_ASSIGN);
        if (target->kind != N_ELEMENT && target->kind != N_VARIABLE)
            complain(p, "something that can be assigned to");
        if (target->kind == N_ELEMENT) {
            node->second = node->first;
            node->first = target->first;
        }
        node->number = target->number;
        return node;
    }
    Node *node = node_new(N_EXPRESSION);
    node->first = target;
    expect(p, T_STOP, "a semicolon");
    return node;
}

static Node *statement(Parser *p)
{
    if (accept(p, T_VAR))
        return declaration(p);
    if (accept(p, T_ARRAY))
        return array_declaration(p);
    if (accept(p, T_IF))
        return conditional(p);
    if (accept(p, T_WHILE))
        return loop(p);
    if (accept(p, T_RETURN))
        return with_value(p, N_RETURN);
    if (accept(p, T_PRINT))
        return with_value(p, N_PRINT);
    if (p->at->kind == T_BEGIN)
        return block(p);
    return assignment(p);
}

/* A function, which may call itself and those before it. */
static void definition(Parser *p)
{
    Parser inner = {.at = p->at, .program = p->program};
    if (p->program->function_count == MOST_FUNCTIONS) {
        complain(p, "fewer functions");
        return;
    }
    inner.function = &p->program->functions[p->program->function_count++];
    inner.function->name = expect_name(&inner);
    expect(&inner, T_OPEN, "an opening parenthesis");
    while (inner.at->kind == T_NAME) {
        declare_local(&inner, inner.at++->name);
        if (!accept(&inner, T_COMMA))
            break;
    }
    inner.function->parameters = inner.function->locals;
    expect(&inner, T_CLOSE, "a closing parenthesis");
    inner.function->body = block(&inner);
    p->at = inner.at;
}

Program *parse_program(const char *source)
{
    Program *program = allocate(sizeof *program);
    Parser parser = {.at = scan(source), .program = program, .function = program->functions};
    Node *body = node_new(N_BLOCK), **place = &body->first;
    program->function_count = 1;
    program->functions[0].name = "";
    program->functions[0].body = body;
    while (parser.at->kind != T_END && !program->error) {
        if (accept(&parser, T_DEF)) {
            definition(&parser);
        } else {
            *place = statement(&parser);
            place = &(*place)->next;
        }
    }
    return program;
}
