/* From a tree to code for a stack machine. */
#include "compiler.h"

static void emit_node(Code *code, const Node *node);

static u32 emit(Code *code, Opcode opcode, int extra, int operand)
{
    if (code->count == code->capacity) {
        Instruction *larger = allocate_array(2 * code->capacity, sizeof(Instruction));
        memcpy(larger, code->instructions, code->count * sizeof(Instruction));
        code->instructions = larger;
        code->capacity *= 2;
    }
    code->instructions[code->count] = (Instruction){(u16)opcode, (short)extra, operand};
    return code->count++;
}

/* The jump at `from` leads to what comes next. */
static void land(Code *code, u32 from)
{
    code->instructions[from].operand = (int)code->count;
}

static void emit_list(Code *code, const Node *node)
{
    for (; node; node = node->next)
        emit_node(code, node);
}

/* && and || evaluate their right side only if it matters, and give 0 or 1. */
static void emit_short_circuit(Code *code, const Node *node)
{
    int both = node->operator== T_BOTH;
    emit_node(code, node->first);
    if (!both)
        emit(code, O_UNARY, T_NOT, 0);
    u32 decided = emit(code, O_BRANCH_IF_ZERO, 0, 0);
    emit_node(code, node->second);
    emit(code, O_UNARY, T_NOT, 0);
    emit(code, O_UNARY, T_NOT, 0);
    u32 end = emit(code, O_JUMP, 0, 0);
    land(code, decided);
    emit(code, O_NUMBER, 0, !both);
    land(code, end);
}

static void emit_if(Code *code, const Node *node)
{
    emit_node(code, node->first);
    u32 otherwise = emit(code, O_BRANCH_IF_ZERO, 0, 0);
    emit_node(code, node->second);
    u32 end = emit(code, O_JUMP, 0, 0);
    land(code, otherwise);
    emit_node(code, node->third);
    land(code, end);
}

static void emit_while(Code *code, const Node *node)
{
    u32 top = code->count;
    emit_node(code, node->first);
    u32 end = emit(code, O_BRANCH_IF_ZERO, 0, 0);
    emit_node(code, node->second);
    emit(code, O_JUMP, 0, (int)top);
    land(code, end);
}

static void emit_binary(Code *code, const Node *node)
{
    if (node->operator== T_BOTH || node->operator== T_EITHER) {
        emit_short_circuit(code, node);
        return;
    }
    emit_node(code, node->first);
    emit_node(code, node->second);
    emit(code, O_BINARY, node->operator, 0);
}

static void emit_node(Code *code, const Node *node)
{
    switch (node->kind) {
    case N_NUMBER:
        emit(code, O_NUMBER, 0, node->number);
        break;
    case N_VARIABLE:
        emit(code, O_LOAD, 0, node->number);
        break;
    case N_ELEMENT:
        emit_node(code, node->first);
        emit(code, O_LOAD_ELEMENT, 0, node->number);
        break;
    case N_CALL:
        emit_list(code, node->first);
        emit(code, O_CALL, 0, node->number);
        break;
    case N_UNARY:
        emit_node(code, node->first);
        emit(code, O_UNARY, node->operator, 0);
        break;
    case N_BINARY:
        emit_binary(code, node);
        break;
    case N_ASSIGN:
        emit_node(code, node->first);
        emit(code, O_STORE, 0, node->number);
        break;
    case N_STORE:
        emit_node(code, node->first);
        emit_node(code, node->second);
        emit(code, O_STORE_ELEMENT, 0, node->number);
        break;
    case N_IF:
        emit_if(code, node);
        break;
    case N_WHILE:
        emit_while(code, node);
        break;
    case N_RETURN:
        emit_node(code, node->first);
        emit(code, O_RETURN, 0, 0);
        break;
    case N_PRINT:
        emit_node(code, node->first);
        emit(code, O_PRINT, 0, 0);
        break;
    case N_BLOCK:
        emit_list(code, node->first);
        break;
    case N_EXPRESSION:
        emit_node(code, node->first);
        emit(code, O_DROP, 0, 0);
        break;
    case N_NOTHING:
        break;
    }
}

Code generate(Program *program)
{
    Code code = {allocate_array(64, sizeof(Instruction)), 0, 64};
    for (u32 i = 0; i < program->function_count; i++) {
        program->functions[i].entry = code.count;
        emit_node(&code, program->functions[i].body);
        emit(&code, O_NUMBER, 0, 0);
        emit(&code, O_RETURN, 0, 0);
    }
    return code;
}
