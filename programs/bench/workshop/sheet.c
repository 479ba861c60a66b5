/* A spreadsheet: formulas with references and ranges, evaluated when asked for, with circles found. */
#include "workshop.h"

enum { COLUMNS = 8, ROWS = 20, CELLS = COLUMNS * ROWS };

typedef enum { EMPTY, VALUE, FORMULA } Content;
typedef enum { UNKNOWN, BUSY, KNOWN } Progress;

typedef struct {
    u8 content, progress, wrong;
    int value;
    const char *formula;
} Cell;

typedef struct {
    Cell cells[CELLS];
    u32 evaluations;
} Sheet;

typedef struct {
    Sheet *sheet;
    const char *at;
    int wrong;
} Formula;

static int cell_value(Sheet *sheet, u32 number, int *wrong);
static int sum(Formula *f);

/* A reference such as C12; the cell's number, or CELLS if it is none. */
static u32 reference(Formula *f)
{
    u32 column = (u32)(*f->at - 'A'), row = 0;
    if (column >= COLUMNS) {
        f->wrong = 1;
        return CELLS;
    }
    for (f->at++; is_digit(*f->at); f->at++)
        row = row * 10 + (u32)(*f->at - '0');
    if (row < 1 || row > ROWS) {
        f->wrong = 1;
        return CELLS;
    }
    return (row - 1) * COLUMNS + column;
}

static int referred(Formula *f, u32 number)
{
    return number < CELLS ? cell_value(f->sheet, number, &f->wrong) : 0;
}

/* The cells of a rectangle, combined: + for the sum, > for the largest, # for how many are filled. */
static int range(Formula *f, char how)
{
    u32 from = reference(f), to;
    int result = how == '>' ? -0x7FFFFFFF : 0;
    f->wrong |= *f->at != ':';
    f->at += *f->at == ':';
    to = reference(f);
    if (f->wrong)
        return 0;
    for (u32 row = from / COLUMNS; row <= to / COLUMNS; row++)
        for (u32 column = from % COLUMNS; column <= to % COLUMNS; column++) {
            u32 number = row * COLUMNS + column;
            int value = referred(f, number);
            if (how == '+')
                result = (int)((u32)result + (u32)value);
            else if (how == '#')
                result += f->sheet->cells[number].content != EMPTY;
            else if (value > result)
                result = value;
        }
    return result;
}

static int take(Formula *f, const char *word)
{
    u32 i = 0;
    while (word[i] && f->at[i] == word[i])
        i++;
    if (word[i])
        return 0;
    f->at += i;
    return 1;
}

static int closed(Formula *f, int value)
{
    f->wrong |= *f->at != ')';
    f->at += *f->at == ')';
    return value;
}

static int factor(Formula *f)
{
    if (take(f, "-"))
        return (int)-(u32)factor(f);
    if (take(f, "SUM("))
        return closed(f, range(f, '+'));
    if (take(f, "MAX("))
        return closed(f, range(f, '>'));
    if (take(f, "COUNT("))
        return closed(f, range(f, '#'));
    if (take(f, "("))
        return closed(f, sum(f));
    if (is_digit(*f->at)) {
        u32 value = 0;
        for (; is_digit(*f->at); f->at++)
            value = value * 10 + (u32)(*f->at - '0');
        return (int)value;
    }
    return referred(f, reference(f));
}

static int product(Formula *f)
{
    int value = factor(f);
    for (char sign; (sign = *f->at) == '*' || sign == '/';) {
        f->at++;
        int other = factor(f);
        if (sign == '*')
            value = (int)((u32)value * (u32)other);
        else if (other == 0 || other == -1)
            f->wrong |= other == 0, value = (int)-(u32)value;
        else
            value /= other;
    }
    return value;
}

static int sum(Formula *f)
{
    int value = product(f);
    for (char sign; (sign = *f->at) == '+' || sign == '-';) {
        f->at++;
        u32 other = (u32)product(f);
        value = (int)(sign == '+' ? (u32)value + other : (u32)value - other);
    }
    return value;
}

static int cell_value(Sheet *sheet, u32 number, int *wrong)
{
    Cell *cell = &sheet->cells[number];
    if (cell->progress == BUSY)
        *wrong = 1; /* a circle */
    if (cell->content == FORMULA && cell->progress == UNKNOWN) {
        Formula f = {sheet, cell->formula, 0};
        cell->progress = BUSY;
        sheet->evaluations++;
        cell->value = sum(&f);
        cell->wrong = (u8)(f.wrong || *f.at);
        cell->progress = KNOWN;
    }
    *wrong |= cell->wrong;
    return cell->wrong ? 0 : cell->value;
}

static void forget_values(Sheet *sheet)
{
    for (u32 i = 0; i < CELLS; i++)
        if (sheet->cells[i].content == FORMULA)
            sheet->cells[i].progress = UNKNOWN, sheet->cells[i].wrong = 0;
    sheet->evaluations = 0;
}

static void set_formula(Sheet *sheet, u32 number, const char *formula)
{
    sheet->cells[number] = (Cell){.content = FORMULA, .formula = formula};
}

static void name_cell(Text *text, u32 number)
{
    text_char(text, (char)('A' + number % COLUMNS));
    text_number(text, (int)(number / COLUMNS + 1));
}

/* A formula over cells above, so that nothing is circular. */
static const char *random_formula(u32 *state, u32 number)
{
    static const char *const functions[] = {"SUM(", "MAX(", "COUNT("};
    Text text = text_new();
    u32 above = number / COLUMNS * COLUMNS;
    for (u32 terms = 1 + below(state, 3); terms; terms--) {
        if (below(state, 3)) {
            name_cell(&text, below(state, above));
        } else {
            u32 row = below(state, above / COLUMNS), column = below(state, COLUMNS);
            u32 last_row = row + below(state, above / COLUMNS - row) % 4;
            text_string(&text, functions[below(state, COUNT(functions))]);
            name_cell(&text, row * COLUMNS + column);
            text_char(&text, ':');
            name_cell(&text, last_row * COLUMNS + column + below(state, COLUMNS - column));
            text_char(&text, ')');
        }
        if (terms > 1)
            text_char(&text, "+-*/"[below(state, 4)]);
    }
    return text_end(&text);
}

static void fill(Sheet *sheet, u32 *state)
{
    for (u32 i = 0; i < CELLS; i++) {
        if (i < 2 * COLUMNS || below(state, 3) == 0)
            sheet->cells[i] = (Cell){.content = VALUE, .value = (int)below(state, 100) - 20};
        else if (below(state, 8))
            set_formula(sheet, i, random_formula(state, i));
    }
}

static void known_examples(void)
{
    static const struct {
        const char *formula;
        int value, wrong;
    } examples[] = {
        {"1+2*3", 7, 0}, {"(1+2)*-3", -9, 0}, {"A2-1", 0, 1}, {"7/0", 0, 1}, {"B1*B1", 49, 0},
        {"SUM(B1:C1)", 12, 0}, {"MAX(B1:C2)", 7, 0}, {"COUNT(B1:H2)", 2, 0}, {"Z1", 0, 1}, {"1+", 0, 1},
    };
    for (u32 i = 0; i < COUNT(examples); i++) {
        Sheet *sheet = allocate(sizeof *sheet);
        int wrong = 0;
        sheet->cells[1] = (Cell){.content = VALUE, .value = 7};
        sheet->cells[2] = (Cell){.content = VALUE, .value = 5};
        set_formula(sheet, 0, examples[i].formula);
        set_formula(sheet, COLUMNS, "A1+1"); /* A2, for the circle */
        int value = cell_value(sheet, 0, &wrong);
        check(wrong == examples[i].wrong && value == examples[i].value);
    }
}

u32 run_sheet(u32 *state)
{
    Sheet *sheet = allocate(sizeof *sheet);
    u32 answer = DIGEST_START;
    known_examples();
    fill(sheet, state);
    for (u32 turn = 0; turn < 3; turn++) {
        forget_values(sheet);
        sheet->cells[turn].value++;
        for (u32 i = 0; i < CELLS; i++) {
            int wrong = 0;
            answer = digest_word(answer, (u32)cell_value(sheet, i, &wrong));
            answer = digest_word(answer, (u32)wrong);
        }
    }
    return answer + sheet->evaluations;
}
