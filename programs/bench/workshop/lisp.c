/* A Lisp: reader, evaluator with lexical closures, printer, and a collector that marks and sweeps. */
#include "workshop.h"

enum { CELLS = 1200, ROOTS = 4096, SYMBOL_LIMIT = 96 };

typedef enum { FREE, NIL, INTEGER, SYMBOL, PAIR, CLOSURE, PRIMITIVE } CellKind;

typedef struct Cell {
    u8 kind, marked;
    union {
        int integer;
        const char *name;
        struct { struct Cell *head, *tail; } pair;
        struct { struct Cell *code, *scope; } closure; /* code: (parameters . body) */
        struct Cell *(*primitive)(struct Cell *arguments);
    };
} Cell;

static Cell *cells, *free_cells, *globals, *symbols[SYMBOL_LIMIT], nil_cell = {.kind = NIL};
static Cell **roots[ROOTS];
static u32 root_count, symbol_count, collections;

#define NIL_CELL (&nil_cell)

/* -- memory -------------------------------------------------------------------------------- */

/* Variables of C that hold cells are roots while their block runs. */
static void hold(Cell **place)
{
    check(root_count < ROOTS);
    roots[root_count++] = place;
}

static void release(u32 count)
{
    root_count -= count;
}

static void mark(Cell *cell)
{
    while (cell && !cell->marked && cell->kind != NIL) {
        cell->marked = 1;
        if (cell->kind != PAIR && cell->kind != CLOSURE)
            return;
        mark(cell->pair.head); /* a closure's parts lie at the same place */
        cell = cell->pair.tail;
    }
}

static void collect(void)
{
    collections++;
    mark(globals);
    for (u32 i = 0; i < symbol_count; i++)
        mark(symbols[i]);
    for (u32 i = 0; i < root_count; i++)
        mark(*roots[i]);
    free_cells = 0;
    for (u32 i = 0; i < CELLS; i++) {
        if (!cells[i].marked) {
            cells[i].kind = FREE;
            cells[i].pair.tail = free_cells;
            free_cells = &cells[i];
        }
        cells[i].marked = 0;
    }
    check(free_cells != 0);
}

static Cell *cell_new(CellKind kind)
{
    if (!free_cells)
        collect();
    Cell *cell = free_cells;
    free_cells = cell->pair.tail;
    cell->kind = (u8)kind;
    return cell;
}

static Cell *integer(int value)
{
    Cell *cell = cell_new(INTEGER);
    cell->integer = value;
    return cell;
}

static Cell *cons(Cell *head, Cell *tail)
{
    hold(&head), hold(&tail);
    Cell *cell = cell_new(PAIR);
    release(2);
    cell->pair.head = head;
    cell->pair.tail = tail;
    return cell;
}

static Cell *symbol(const char *name)
{
    for (u32 i = 0; i < symbol_count; i++)
        if (string_equal(symbols[i]->name, name))
            return symbols[i];
    check(symbol_count < SYMBOL_LIMIT);
    Cell *cell = cell_new(SYMBOL);
    cell->name = name;
    return symbols[symbol_count++] = cell;
}

static Cell *head(const Cell *cell)
{
    return cell->kind == PAIR ? cell->pair.head : NIL_CELL;
}

static Cell *tail(const Cell *cell)
{
    return cell->kind == PAIR ? cell->pair.tail : NIL_CELL;
}

/* -- reading and printing ------------------------------------------------------------------ */

static Cell *read(const char **at);

static Cell *read_list(const char **at)
{
    while (is_space(**at))
        ++*at;
    if (**at == ')' || !**at) {
        *at += **at == ')';
        return NIL_CELL;
    }
    Cell *first = read(at), *rest = NIL_CELL;
    hold(&first);
    rest = read_list(at);
    release(1);
    return cons(first, rest);
}

static Cell *read(const char **at)
{
    while (is_space(**at))
        ++*at;
    if (**at == '(') {
        ++*at;
        return read_list(at);
    }
    if (**at == '\'') {
        ++*at;
        Cell *quoted = cons(read(at), NIL_CELL);
        hold(&quoted);
        Cell *quote = symbol("quote");
        release(1);
        return cons(quote, quoted);
    }
    const char *start = *at;
    while (**at && !is_space(**at) && **at != '(' && **at != ')')
        ++*at;
    if (is_digit(*start)) {
        int value = 0;
        for (; start < *at; start++)
            value = value * 10 + (*start - '0');
        return integer(value);
    }
    return symbol(string_copy(start, (u32)(*at - start)));
}

static void print(Text *text, const Cell *cell)
{
    switch (cell->kind) {
    case NIL:
        text_string(text, "()");
        break;
    case INTEGER:
        text_number(text, cell->integer);
        break;
    case SYMBOL:
        text_string(text, cell->name);
        break;
    case PAIR:
        text_char(text, '(');
        for (; cell->kind == PAIR; cell = cell->pair.tail) {
            print(text, cell->pair.head);
            if (cell->pair.tail->kind == PAIR)
                text_char(text, ' ');
        }
        text_char(text, ')');
        break;
    default:
        text_string(text, "#function");
    }
}

/* -- evaluating ---------------------------------------------------------------------------- */

static Cell *evaluate(Cell *expression, Cell *scope);

/* A scope is a list of pairs (symbol . value); the last ones are the globals. */
static Cell *binding(const Cell *name, Cell *scope)
{
    for (; scope->kind == PAIR; scope = scope->pair.tail)
        if (scope->pair.head->pair.head == name)
            return scope->pair.head;
    for (scope = globals; scope->kind == PAIR; scope = scope->pair.tail)
        if (scope->pair.head->pair.head == name)
            return scope->pair.head;
    return NIL_CELL;
}

static Cell *evaluate_all(Cell *expressions, Cell *scope)
{
    if (expressions->kind != PAIR)
        return NIL_CELL;
    hold(&expressions), hold(&scope);
    Cell *first = evaluate(head(expressions), scope);
    hold(&first);
    Cell *rest = evaluate_all(tail(expressions), scope);
    release(3);
    return cons(first, rest);
}

static Cell *bind(Cell *names, Cell *values, Cell *scope)
{
    hold(&names), hold(&values), hold(&scope);
    for (; names->kind == PAIR; names = tail(names), values = tail(values)) {
        Cell *pair = cons(head(names), head(values));
        scope = cons(pair, scope);
    }
    release(3);
    return scope;
}

static Cell *define(Cell *name, Cell *value)
{
    hold(&name), hold(&value);
    Cell *pair = cons(name, value);
    globals = cons(pair, globals);
    release(2);
    return name;
}

static int is_symbol(const Cell *cell, const char *name)
{
    return cell->kind == SYMBOL && string_equal(cell->name, name);
}

/* The special forms; 0 if it is none. `*again` is set to what has to be evaluated in its place. */
static Cell *special(Cell *form, Cell *scope, Cell **again)
{
    Cell *operator= head(form), *second = head(tail(form)), *third = head(tail(tail(form)));
    if (is_symbol(operator, "quote"))
        return second;
    if (is_symbol(operator, "if")) {
        int holds = evaluate(second, scope)->kind != NIL;
        *again = holds ? third : head(tail(tail(tail(form))));
        return NIL_CELL;
    }
    if (is_symbol(operator, "define"))
        return define(second, evaluate(third, scope));
    if (is_symbol(operator, "lambda")) {
        hold(&form), hold(&scope);
        Cell *closure = cell_new(CLOSURE);
        release(2);
        closure->closure.code = tail(form);
        closure->closure.scope = scope;
        return closure;
    }
    return 0;
}

/* Evaluate; calls in tail position do not grow the stack. */
static Cell *evaluate(Cell *expression, Cell *scope)
{
    Cell *result = NIL_CELL, *function = NIL_CELL, *arguments = NIL_CELL;
    hold(&expression), hold(&scope), hold(&function), hold(&arguments);
    for (;;) {
        Cell *again = 0;
        if (expression->kind == SYMBOL) {
            result = tail(binding(expression, scope));
            break;
        }
        if (expression->kind != PAIR) {
            result = expression;
            break;
        }
        result = special(expression, scope, &again);
        if (again) {
            expression = again;
            continue;
        }
        if (result)
            break;
        function = evaluate(head(expression), scope);
        arguments = evaluate_all(tail(expression), scope);
        if (function->kind == PRIMITIVE) {
            result = function->primitive(arguments);
            break;
        }
        if (function->kind != CLOSURE) {
            check(0);
            result = NIL_CELL;
            break;
        }
        scope = bind(head(function->closure.code), arguments, function->closure.scope);
        expression = head(tail(function->closure.code));
    }
    release(4);
    return result;
}

static int number_at(Cell *list, int index)
{
    while (index--)
        list = tail(list);
    return head(list)->integer;
}

static Cell *truth(int holds)
{
    return holds ? symbol("t") : NIL_CELL;
}

static Cell *do_add(Cell *a) { return integer(number_at(a, 0) + number_at(a, 1)); }
static Cell *do_subtract(Cell *a) { return integer(number_at(a, 0) - number_at(a, 1)); }
static Cell *do_multiply(Cell *a) { return integer((int)((u32)number_at(a, 0) * (u32)number_at(a, 1))); }
static Cell *do_less(Cell *a) { return truth(number_at(a, 0) < number_at(a, 1)); }
static Cell *do_equal(Cell *a) { return truth(number_at(a, 0) == number_at(a, 1)); }
static Cell *do_cons(Cell *a) { return cons(head(a), head(tail(a))); }
static Cell *do_head(Cell *a) { return head(head(a)); }
static Cell *do_tail(Cell *a) { return tail(head(a)); }
static Cell *do_null(Cell *a) { return truth(head(a)->kind == NIL); }

static const struct {
    const char *name;
    Cell *(*function)(Cell *);
} primitives[] = {
    {"+", do_add}, {"-", do_subtract}, {"*", do_multiply}, {"<", do_less}, {"=", do_equal},
    {"cons", do_cons}, {"head", do_head}, {"tail", do_tail}, {"null", do_null},
};

static const char *const program[] = {
    "(define map (lambda (f l) (if (null l) '() (cons (f (head l)) (map f (tail l))))))",
    "(define fold (lambda (f a l) (if (null l) a (fold f (f a (head l)) (tail l)))))",
    "(define range (lambda (a b) (if (< a b) (cons a (range (+ a 1) b)) '())))",
    "(define filter (lambda (p l) (if (null l) '() (if (p (head l)) (cons (head l) (filter p (tail l)))"
    " (filter p (tail l))))))",
    "(define adder (lambda (n) (lambda (x) (+ x n))))",
    "(define append (lambda (a b) (if (null a) b (cons (head a) (append (tail a) b)))))",
    "(define sort (lambda (l) (if (null l) '() (append (sort (filter (lambda (x) (< x (head l))) (tail l)))"
    " (cons (head l) (sort (filter (lambda (x) (if (< x (head l)) '() 't)) (tail l))))))))",
};

static Cell *run(const char *source)
{
    Cell *expression = read(&source);
    return evaluate(expression, NIL_CELL);
}

static void start(void)
{
    root_count = symbol_count = collections = 0;
    globals = NIL_CELL;
    cells = allocate_array(CELLS, sizeof(Cell));
    collect();
    for (u32 i = 0; i < COUNT(primitives); i++) {
        Cell *cell = cell_new(PRIMITIVE);
        cell->primitive = primitives[i].function;
        hold(&cell);
        define(symbol(primitives[i].name), cell);
        release(1);
    }
    for (u32 i = 0; i < COUNT(program); i++)
        run(program[i]);
}

static const char *printed(Cell *cell)
{
    Text text = text_new();
    print(&text, cell);
    return text_end(&text);
}

/* A list of numbers as source. */
static Text numbers(u32 *state, u32 count)
{
    Text text = text_new();
    for (u32 i = 0; i < count; i++) {
        text_number(&text, (int)below(state, 1000));
        text_char(&text, ' ');
    }
    return text;
}

u32 run_lisp(u32 *state)
{
    Text source = text_new(), list = numbers(state, 10);
    start();
    check(string_equal(printed(run("(map (adder 10) '(1 2 3))")), "(11 12 13)"));
    check(string_equal(printed(run("(fold * 1 (range 1 8))")), "5040"));
    check(string_equal(printed(run("(sort '(3 1 2))")), "(1 2 3)"));
    check(string_equal(printed(run("(if (null '(1)) 'yes '(no (nested)))")), "(no (nested))"));
    text_string(&source, "(sort '(");
    text_bytes(&source, list.data, list.size);
    text_string(&source, "))");
    const char *sorted = printed(run(text_end(&source)));
    check(collections > 1);
    return digest(DIGEST_START, sorted, string_length(sorted));
}
