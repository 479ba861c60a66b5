/* Programs in Tab: known ones, wrong ones, and expressions made up at random. */
#include "compiler.h"

typedef struct {
    const char *source, *output;
} Example;

static const Example examples[] = {
    {"def gcd(a, b) { while b { var r = a % b; a = b; b = r; } return a; } print gcd(91, 35);", "7\n"},
    {"def fib(n) { if n < 2 { return n; } return fib(n - 1) + fib(n - 2); } print fib(11);", "89\n"},
    {"array sieve; var i = 2; while i < 40 { if sieve[i] == 0 { print i; var j = i * i;\n"
     "while j < 40 { sieve[j] = 1; j = j + i; } } i = i + 1; }",
     "2\n3\n5\n7\n11\n13\n17\n19\n23\n29\n31\n37\n"},
    {"array a; var i = 0; var x = 7; while i < 16 { x = (x * 13 + 5) % 64; a[i] = x; i = i + 1; }\n"
     "i = 1; while i < 16 { var v = a[i]; var k = i; while k > 0 && a[k - 1] > v { a[k] = a[k - 1];\n"
     "k = k - 1; } a[k] = v; i = i + 1; } print a[0]; print a[15]; i = 1;\n"
     "while i < 16 { if a[i - 1] > a[i] { print 0 - 1; } i = i + 1; }", "2\n61\n"},
    {"# constants fold\nif 1 + 1 == 2 { print 6 * 7; } else { print 0; } while 0 { print 1; }", "42\n"},
    {"print 7 / 0; print 1 || 7 / 0; print 0 && 1; print !5; print -3 * 2; print 1 << 4 | 3;",
     "0\n1\n0\n0\n-6\n19\n"},
};

static const Example wrong[] = {
    {"print 1", "a semicolon"}, {"print x;", "a known variable"}, {"f(1);", "a known function"},
    {"def f(a) { return a; } print f();", "as many arguments as parameters"}, {"print );", "an expression"},
    {"1 = 2;", "something that can be assigned to"}, {"if 1 print 2;", "an opening brace"},
};

static u32 hash_of(const Text *text)
{
    return digest(DIGEST_START, text->data, text->size);
}

/* Compile and run a program in four ways; 0 if it is wrong. */
static const char *run_everywhere(const char *source, u32 *hash)
{
    Program *program = parse_program(source);
    if (program->error)
        return 0;
    Text walked = evaluate_tree(program);
    Code plain = generate(program);
    Text executed = execute(program, &plain);
    fold_program(program);
    Text folded = evaluate_tree(program);
    Code shorter = generate(program);
    Text last = execute(program, &shorter);
    check(hash_of(&walked) == hash_of(&executed));
    check(hash_of(&walked) == hash_of(&folded));
    check(hash_of(&walked) == hash_of(&last));
    check(shorter.count <= plain.count);
    *hash = digest(*hash, last.data, last.size);
    return text_end(&last);
}

static void make_expression(Text *text, u32 *state, int depth)
{
    static const char *const operators[] = {"+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>",
                                            "==", "!=", "<", "<=", ">", ">=", "&&", "||"};
    if (depth == 0) {
        if (below(state, 2))
            text_number(text, (int)below(state, 20));
        else
            text_char(text, "ab"[below(state, 2)]);
        return;
    }
    text_string(text, below(state, 8) ? "(" : "(-");
    make_expression(text, state, depth - 1);
    text_char(text, ' ');
    text_string(text, operators[below(state, COUNT(operators))]);
    text_char(text, ' ');
    make_expression(text, state, depth - 1);
    text_char(text, ')');
}

static const char *make_program(u32 *state)
{
    Text text = text_new();
    text_string(&text, "def f(a, b) { return ");
    make_expression(&text, state, 4);
    text_string(&text, "; }\nvar i = 0; var sum = 0; while i < 12 { sum = sum * 3 + f(i, sum); print f(sum, i);\n");
    text_string(&text, "var a = sum; var b = i; if ");
    make_expression(&text, state, 3);
    text_string(&text, " { print 1; } else if ");
    make_expression(&text, state, 2);
    text_string(&text, " { print 2; } i = i + 1; }\nprint sum;");
    return text_end(&text);
}

u32 run_compiler(u32 *state)
{
    u32 hash = DIGEST_START;
    const Example *example = &examples[below(state, COUNT(examples))];
    const char *output = run_everywhere(example->source, &hash);
    check(output && string_equal(output, example->output));
    for (u32 i = 0; i < COUNT(wrong); i++) {
        Program *program = parse_program(wrong[i].source);
        check(program->error && string_equal(program->error, wrong[i].output));
    }
    check(run_everywhere(make_program(state), &hash) != 0);
    return hash;
}
