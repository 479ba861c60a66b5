/* From a text to tokens. */
#include "compiler.h"

typedef struct {
    const char *spelling;
    TokenKind kind;
} Spelling;

static const Spelling keywords[] = {
    {"def", T_DEF}, {"var", T_VAR}, {"array", T_ARRAY}, {"if", T_IF}, {"else", T_ELSE},
    {"while", T_WHILE}, {"return", T_RETURN}, {"print", T_PRINT},
};

/* The longer ones first. */
static const Spelling signs[] = {
    {"<<", T_SHL}, {">>", T_SHR}, {"==", T_EQ}, {"!=", T_NE}, {"<=", T_LE}, {">=", T_GE},
    {"&&", T_BOTH}, {"||", T_EITHER}, {"+", T_ADD}, {"-", T_SUB}, {"*", T_MUL}, {"/", T_DIV},
    {"%", T_MOD}, {"&", T_AND}, {"|", T_OR}, {"^", T_XOR}, {"<", T_LT}, {">", T_GT}, {"!", T_NOT},
    {"=", T_ASSIGN}, {"(", T_OPEN}, {")", T_CLOSE}, {"{", T_BEGIN}, {"}", T_FINISH}, {"[", T_INDEX},
    {"]", T_INDEXED}, {",", T_COMMA}, {";", T_STOP},
};

static const char *skip_blanks(const char *at, int *line)
{
    for (;;) {
        if (*at == '#')
            while (*at && *at != '\n')
                at++;
        if (!is_space(*at))
            return at;
        *line += *at++ == '\n';
    }
}

static const char *scan_number(const char *at, Token *token)
{
    u32 number = 0;
    while (is_digit(*at))
        number = number * 10 + (u32)(*at++ - '0');
    token->kind = T_NUMBER;
    token->number = (int)number;
    return at;
}

static const char *scan_name(const char *at, Token *token)
{
    const char *start = at;
    while (is_letter(*at) || is_digit(*at))
        at++;
    token->kind = T_NAME;
    token->name = string_copy(start, (u32)(at - start));
    for (u32 i = 0; i < COUNT(keywords); i++)
        if (string_equal(token->name, keywords[i].spelling))
            token->kind = keywords[i].kind;
    return at;
}

static const char *scan_sign(const char *at, Token *token)
{
    token->kind = T_WRONG;
    for (u32 i = 0; i < COUNT(signs); i++) {
        const char *spelling = signs[i].spelling;
        if (at[0] == spelling[0] && (!spelling[1] || at[1] == spelling[1])) {
            token->kind = signs[i].kind;
            return at + string_length(spelling);
        }
    }
    return at + 1;
}

Token *scan(const char *source)
{
    Token *tokens = allocate_array(string_length(source) + 1, sizeof(Token)), *token = tokens;
    int line = 1;
    for (;; token++) {
        source = skip_blanks(source, &line);
        token->line = line;
        if (!*source)
            break;
        if (is_digit(*source))
            source = scan_number(source, token);
        else if (is_letter(*source))
            source = scan_name(source, token);
        else
            source = scan_sign(source, token);
    }
    token->kind = T_END;
    return tokens;
}
