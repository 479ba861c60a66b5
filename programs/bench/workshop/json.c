/* JSON (RFC 8259, whole numbers only): a parser, a printer, paths, and documents made up at random. */
#include "workshop.h"

typedef enum { NOTHING, TRUTH, NUMBER, STRING, LIST, OBJECT } Kind;

typedef struct Value {
    Kind kind;
    int number;
    const char *string;
    struct Value *first, *next; /* of a list or object, and the neighbour in one */
    const char *key;
} Value;

typedef struct {
    const char *at;
    const char *error;
} Reader;

static Value *value_new(Kind kind)
{
    Value *value = allocate(sizeof *value);
    value->kind = kind;
    return value;
}

/* -- reading ------------------------------------------------------------------------------- */

static Value *read_value(Reader *reader, int depth);

static void skip_space(Reader *reader)
{
    while (is_space(*reader->at))
        reader->at++;
}

static Value *fail(Reader *reader, const char *message)
{
    if (!reader->error)
        reader->error = message;
    return value_new(NOTHING);
}

static int accept(Reader *reader, const char *word)
{
    u32 size = string_length(word), i = 0;
    while (i < size && reader->at[i] == word[i])
        i++;
    if (i < size)
        return 0;
    reader->at += size;
    return 1;
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four digits after \u, as UTF-8. */
static void read_code_point(Reader *reader, Text *text)
{
    u32 code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(*reader->at);
        if (digit < 0) {
            fail(reader, "four hexadecimal digits");
            return;
        }
        code = code << 4 | (u32)digit;
        reader->at++;
    }
    if (code < 0x80) {
        text_char(text, (char)code);
    } else if (code < 0x800) {
        text_char(text, (char)(0xC0 | code >> 6));
        text_char(text, (char)(0x80 | (code & 63)));
    } else {
        text_char(text, (char)(0xE0 | code >> 12));
        text_char(text, (char)(0x80 | (code >> 6 & 63)));
        text_char(text, (char)(0x80 | (code & 63)));
    }
}

static void read_escape(Reader *reader, Text *text)
{
    char c = *reader->at++;
    switch (c) {
    case '"': case '\\': case '/':
        text_char(text, c);
        break;
    case 'b':
        text_char(text, '\b');
        break;
    case 'f':
        text_char(text, '\f');
        break;
    case 'n':
        text_char(text, '\n');
        break;
    case 'r':
        text_char(text, '\r');
        break;
    case 't':
        text_char(text, '\t');
        break;
    case 'u':
        read_code_point(reader, text);
        break;
    default:
        reader->at--;
        fail(reader, "an escape");
    }
}

static const char *read_string(Reader *reader)
{
    Text text = text_new();
    if (!accept(reader, "\"")) {
        fail(reader, "a string");
        return "";
    }
    while (!reader->error && *reader->at != '"') {
        if ((u8)*reader->at < ' ')
            fail(reader, "the end of the string");
        else if (*reader->at == '\\')
            reader->at++, read_escape(reader, &text);
        else
            text_char(&text, *reader->at++);
    }
    reader->at += !reader->error;
    return text_end(&text);
}

static Value *read_number(Reader *reader)
{
    Value *value = value_new(NUMBER);
    int negative = accept(reader, "-");
    u32 number = 0;
    if (!is_digit(*reader->at))
        return fail(reader, "a value");
    if (*reader->at == '0' && is_digit(reader->at[1]))
        return fail(reader, "no leading zero");
    while (is_digit(*reader->at))
        number = number * 10 + (u32)(*reader->at++ - '0');
    value->number = negative ? -(int)number : (int)number;
    return value;
}

/* The members of a list or object, up to its end. */
static Value *read_members(Reader *reader, Kind kind, const char *end, int depth)
{
    Value *whole = value_new(kind), **place = &whole->first;
    skip_space(reader);
    if (accept(reader, end))
        return whole;
    while (!reader->error) {
        const char *key = 0;
        skip_space(reader);
        if (kind == OBJECT) {
            key = read_string(reader);
            skip_space(reader);
            if (!accept(reader, ":"))
                return fail(reader, "a colon");
        }
        *place = read_value(reader, depth);
        (*place)->key = key;
        place = &(*place)->next;
        skip_space(reader);
        if (accept(reader, end))
            break;
        if (!accept(reader, ","))
            return fail(reader, "a comma");
    }
    return whole;
}

static Value *read_value(Reader *reader, int depth)
{
    if (depth == 0)
        return fail(reader, "less depth");
    skip_space(reader);
    if (accept(reader, "{"))
        return read_members(reader, OBJECT, "}", depth - 1);
    if (accept(reader, "["))
        return read_members(reader, LIST, "]", depth - 1);
    if (accept(reader, "null"))
        return value_new(NOTHING);
    if (*reader->at == '"') {
        Value *value = value_new(STRING);
        value->string = read_string(reader);
        return value;
    }
    if (accept(reader, "true")) {
        Value *value = value_new(TRUTH);
        value->number = 1;
        return value;
    }
    return accept(reader, "false") ? value_new(TRUTH) : read_number(reader);
}

static Value *parse(const char *text, const char **error)
{
    Reader reader = {text, 0};
    Value *value = read_value(&reader, 32);
    skip_space(&reader);
    if (*reader.at)
        fail(&reader, "the end");
    *error = reader.error;
    return value;
}

/* -- writing ------------------------------------------------------------------------------- */

static void write_string(Text *text, const char *string)
{
    text_char(text, '"');
    for (; *string; string++) {
        u8 c = (u8)*string;
        if (c == '"' || c == '\\') {
            text_char(text, '\\');
            text_char(text, (char)c);
        } else if (c == '\n') {
            text_string(text, "\\n");
        } else if (c < ' ') {
            text_string(text, "\\u00");
            text_char(text, "0123456789abcdef"[c >> 4]);
            text_char(text, "0123456789abcdef"[c & 15]);
        } else {
            text_char(text, (char)c);
        }
    }
    text_char(text, '"');
}

/* A new line, if the text is to be read by people (`indent` is not negative). */
static void write_line(Text *text, int indent)
{
    if (indent < 0)
        return;
    text_char(text, '\n');
    while (indent--)
        text_string(text, "  ");
}

static void write_value(Text *text, const Value *value, int indent)
{
    int inner = indent < 0 ? indent : indent + 1;
    switch (value->kind) {
    case NOTHING:
        text_string(text, "null");
        break;
    case TRUTH:
        text_string(text, value->number ? "true" : "false");
        break;
    case NUMBER:
        text_number(text, value->number);
        break;
    case STRING:
        write_string(text, value->string);
        break;
    case LIST:
    case OBJECT:
        text_char(text, value->kind == LIST ? '[' : '{');
        for (const Value *member = value->first; member; member = member->next) {
            write_line(text, inner);
            if (member->key) {
                write_string(text, member->key);
                text_string(text, indent < 0 ? ":" : ": ");
            }
            write_value(text, member, inner);
            if (member->next)
                text_char(text, ',');
        }
        if (value->first)
            write_line(text, indent);
        text_char(text, value->kind == LIST ? ']' : '}');
    }
}

/* -- using it ------------------------------------------------------------------------------ */

/* What stands under a path of keys and indices, such as `items.3.name`; 0 if nothing does. */
static const Value *look_up(const Value *value, const char *path)
{
    while (value && *path) {
        const char *end = path;
        while (*end && *end != '.')
            end++;
        const char *step = string_copy(path, (u32)(end - path));
        const Value *member = value->first;
        if (value->kind == LIST) {
            for (int index = step[0] - '0'; member && index; index--)
                member = member->next;
        } else {
            while (member && !string_equal(member->key, step))
                member = member->next;
        }
        value = member;
        path = *end ? end + 1 : end;
    }
    return value;
}

static Value *make_up(u32 *state, int depth)
{
    static const char *const strings[] = {"", "plain", "with \"quotes\"", "two\nlines", "tab\there", "Grüße"};
    static const char *const keys[] = {"name", "size", "kind", "items", "next", "x", "y", "colour"};
    Value *value = value_new((Kind)below(state, depth ? 6 : 4));
    Value **place = &value->first;
    int number = (int)next_random(state);
    value->number = value->kind == TRUTH ? number & 1 : number >> below(state, 30);
    value->string = strings[below(state, COUNT(strings))];
    if (value->kind < LIST)
        return value;
    for (u32 i = below(state, 6); i; i--) {
        *place = make_up(state, depth - 1);
        if (value->kind == OBJECT)
            (*place)->key = keys[below(state, COUNT(keys))];
        place = &(*place)->next;
    }
    return value;
}

static const char *const wrong[] = {
    "", "{", "[1,]", "{\"a\" 1}", "\"\\x\"", "01", "[1 2]", "nul", "\"open", "{\"a\":1,}", "\"\\u12g4\"", "1 1",
};

static void refuse_what_is_wrong(void)
{
    for (u32 i = 0; i < COUNT(wrong); i++) {
        const char *error;
        parse(wrong[i], &error);
        check(error != 0);
    }
}

static void find_by_path(void)
{
    const char *error;
    Value *value = parse(" {\"a\": [1, {\"b\": \"\\u00e9\\n\"}], \"c\": -12} ", &error);
    check(!error);
    check(look_up(value, "c") && look_up(value, "c")->number == -12);
    check(look_up(value, "a.1.b") && string_equal(look_up(value, "a.1.b")->string, "\xc3\xa9\n"));
    check(!look_up(value, "a.2") && !look_up(value, "b"));
}

u32 run_json(u32 *state)
{
    u32 answer = DIGEST_START;
    refuse_what_is_wrong();
    find_by_path();
    for (int i = 0; i < 6; i++) {
        const char *error;
        Value *whole = value_new(LIST);
        Text compact = text_new(), pretty = text_new(), again = text_new();
        whole->first = make_up(state, 4);
        whole->first->next = make_up(state, 4);
        write_value(&compact, whole, -1);
        write_value(&pretty, parse(text_end(&compact), &error), 0);
        check(!error);
        write_value(&again, parse(text_end(&pretty), &error), -1);
        check(!error && string_equal(compact.data, text_end(&again)));
        answer = digest(answer, pretty.data, pretty.size);
    }
    return answer;
}
