/* The language Tab: whole numbers, variables, arrays, functions, `if`, `while`, and `print`.
 *
 *     def gcd(a, b) { while b { var r = a % b; a = b; b = r; } return a; }
 *     print gcd(91, 35);
 *
 * scan.c makes tokens of a text, parse.c a tree of tokens, fold.c simplifies the tree, generate.c makes
 * code of it for a stack machine, and execute.c runs that; evaluate.c runs the tree as it stands. */
#ifndef COMPILER_H
#define COMPILER_H

#include "workshop.h"

/* -- tokens -------------------------------------------------------------------------------- */

typedef enum {
    T_END, T_NUMBER, T_NAME,
    T_DEF, T_VAR, T_ARRAY, T_IF, T_ELSE, T_WHILE, T_RETURN, T_PRINT,
    T_ADD, T_SUB, T_MUL, T_DIV, T_MOD, T_AND, T_OR, T_XOR, T_SHL, T_SHR,
    T_EQ, T_NE, T_LT, T_LE, T_GT, T_GE, T_BOTH, T_EITHER, T_NOT,
    T_ASSIGN, T_OPEN, T_CLOSE, T_BEGIN, T_FINISH, T_INDEX, T_INDEXED, T_COMMA, T_STOP,
    T_WRONG,
} TokenKind;

typedef struct {
    TokenKind kind;
    int number, line;
    const char *name;
} Token;

Token *scan(const char *source);

/* -- trees --------------------------------------------------------------------------------- */

typedef enum {
    N_NUMBER, N_VARIABLE, N_ELEMENT, N_CALL, N_UNARY, N_BINARY,
    N_ASSIGN, N_STORE, N_IF, N_WHILE, N_RETURN, N_PRINT, N_BLOCK, N_EXPRESSION, N_NOTHING,
} NodeKind;

/* What is where: VARIABLE number (slot); ELEMENT number (array), first (index); CALL number
 * (function), first (arguments, linked); UNARY and BINARY operator, first, second; ASSIGN number,
 * first; STORE number, first (index), second; IF first, second, third; WHILE first, second; RETURN
 * and PRINT and EXPRESSION first; BLOCK first (statements, linked). */
typedef struct Node {
    NodeKind kind;
    TokenKind operator;
    int number;
    struct Node *first, *second, *third, *next;
} Node;

enum { MOST_FUNCTIONS = 16, MOST_LOCALS = 16, MOST_ARRAYS = 4, ARRAY_SIZE = 128 };

typedef struct {
    const char *name;
    u32 parameters, locals;
    Node *body;
    u32 entry; /* in the code */
} Function;

/* Function 0 is what stands outside of functions. */
typedef struct {
    Function functions[MOST_FUNCTIONS];
    u32 function_count, array_count;
    const char *arrays[MOST_ARRAYS];
    const char *error;
    int error_line;
} Program;

Program *parse_program(const char *source);
u32 fold_program(Program *program); /* how many nodes became simpler */

/* The meaning of an operator; division by 0 gives 0. */
int operate(TokenKind operator, int left, int right);

/* -- running ------------------------------------------------------------------------------- */

typedef enum {
    O_NUMBER, O_LOAD, O_STORE, O_LOAD_ELEMENT, O_STORE_ELEMENT, O_UNARY, O_BINARY, O_JUMP,
    O_BRANCH_IF_ZERO, O_CALL, O_RETURN, O_PRINT, O_DROP,
} Opcode;

typedef struct {
    u16 opcode;
    short extra;
    int operand;
} Instruction;

typedef struct {
    Instruction *instructions;
    u32 count, capacity;
} Code;

Code generate(Program *program);

Text execute(const Program *program, const Code *code);
Text evaluate_tree(const Program *program);

#endif
