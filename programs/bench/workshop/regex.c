/* Regular expressions, matched in two ways that must agree: by Thompson's simulation of a
 * non-deterministic automaton, and by a deterministic one whose states are made when needed. */
#include "workshop.h"

enum { MOST_STATES = 96, SET_WORDS = MOST_STATES / 32, MOST_SETS = 64 };

/* A state consumes a class of characters, splits into two, or matches. */
typedef enum { CLASS, SPLIT, MATCH } StateKind;

typedef struct {
    StateKind kind;
    u32 class[8];
    u32 next, other;
} NState;

typedef struct {
    u32 bits[SET_WORDS];
} Set;

typedef struct {
    const char *at;
    NState states[MOST_STATES];
    u32 count, start;
    Set sets[MOST_SETS];
    u8 accepting[MOST_SETS];
    short moves[MOST_SETS][128];
    u32 set_count;
} Automaton;

/* A part of an automaton: its start, and the list of exits to be linked, threaded through them.
 * An exit is 2 × state + (1 for `other`), plus 1; 0 ends the list. */
typedef struct {
    u32 start, exits;
} Part;

/* -- compiling ----------------------------------------------------------------------------- */

static Part alternatives(Automaton *a);

static u32 state_new(Automaton *a, StateKind kind, u32 next, u32 other)
{
    if (a->count == MOST_STATES) {
        check(0);
        a->count = 0;
    }
    a->states[a->count] = (NState){.kind = kind, .next = next, .other = other};
    return a->count++;
}

static u32 *exit_of(Automaton *a, u32 exit)
{
    NState *state = &a->states[(exit - 1) / 2];
    return (exit - 1) % 2 ? &state->other : &state->next;
}

static void link(Automaton *a, u32 exits, u32 to)
{
    while (exits) {
        u32 *place = exit_of(a, exits);
        exits = *place;
        *place = to;
    }
}

static u32 join(Automaton *a, u32 exits, u32 more)
{
    if (!exits)
        return more;
    u32 last = exits;
    while (*exit_of(a, last))
        last = *exit_of(a, last);
    *exit_of(a, last) = more;
    return exits;
}

static void class_add(NState *state, u32 c)
{
    state->class[c / 32] |= 1u << c % 32;
}

static void class_range(NState *state, u32 low, u32 high)
{
    for (u32 c = low; c <= high; c++)
        class_add(state, c);
}

static void class_escape(NState *state, char c)
{
    switch (c) {
    case 'd':
        class_range(state, '0', '9');
        break;
    case 'w':
        class_range(state, 'a', 'z');
        class_range(state, 'A', 'Z');
        class_range(state, '0', '9');
        class_add(state, '_');
        break;
    case 's':
        class_add(state, ' ');
        class_range(state, '\t', '\r');
        break;
    default:
        class_add(state, (u8)c);
    }
}

/* The inside of brackets. */
static void class_brackets(Automaton *a, NState *state)
{
    int negated = *a->at == '^';
    a->at += negated;
    while (*a->at && *a->at != ']') {
        if (*a->at == '\\') {
            class_escape(state, a->at[1]);
            a->at += 2;
        } else if (a->at[1] == '-' && a->at[2] && a->at[2] != ']') {
            class_range(state, (u8)a->at[0], (u8)a->at[2]);
            a->at += 3;
        } else {
            class_add(state, (u8)*a->at++);
        }
    }
    a->at += *a->at == ']';
    for (u32 i = 0; negated && i < 8; i++)
        state->class[i] = ~state->class[i];
}

static Part atom(Automaton *a)
{
    if (*a->at == '(') {
        a->at++;
        Part inner = alternatives(a);
        check(*a->at == ')');
        a->at++;
        return inner;
    }
    u32 number = state_new(a, CLASS, 0, 0);
    NState *state = &a->states[number];
    char c = *a->at++;
    if (c == '.')
        class_range(state, 1, 255);
    else if (c == '[')
        class_brackets(a, state);
    else if (c == '\\')
        class_escape(state, *a->at++);
    else
        class_add(state, (u8)c);
    return (Part){number, 2 * number + 1};
}

static Part repeated(Automaton *a)
{
    Part part = atom(a);
    for (char c; (c = *a->at) == '*' || c == '+' || c == '?'; a->at++) {
        u32 split = state_new(a, SPLIT, part.start, 0), out = 2 * split + 2;
        if (c == '?') {
            part = (Part){split, join(a, part.exits, out)};
        } else {
            link(a, part.exits, split);
            part = (Part){c == '*' ? split : part.start, out};
        }
    }
    return part;
}

static Part sequence(Automaton *a)
{
    Part whole = repeated(a);
    while (*a->at && *a->at != '|' && *a->at != ')') {
        Part next = repeated(a);
        link(a, whole.exits, next.start);
        whole.exits = next.exits;
    }
    return whole;
}

static Part alternatives(Automaton *a)
{
    Part whole = sequence(a);
    while (*a->at == '|') {
        a->at++;
        Part other = sequence(a);
        u32 split = state_new(a, SPLIT, whole.start, other.start);
        whole = (Part){split, join(a, whole.exits, other.exits)};
    }
    return whole;
}

static Automaton *compile(const char *pattern)
{
    Automaton *a = allocate(sizeof *a);
    a->at = pattern;
    Part whole = alternatives(a);
    check(!*a->at);
    link(a, whole.exits, state_new(a, MATCH, 0, 0));
    a->start = whole.start;
    return a;
}

/* -- the non-deterministic automaton ------------------------------------------------------- */

static int set_has(const Set *set, u32 state)
{
    return set->bits[state / 32] >> state % 32 & 1;
}

/* Add a state and what splits lead to. */
static void follow(const Automaton *a, Set *set, u32 state)
{
    if (set_has(set, state))
        return;
    set->bits[state / 32] |= 1u << state % 32;
    if (a->states[state].kind == SPLIT) {
        follow(a, set, a->states[state].next);
        follow(a, set, a->states[state].other);
    }
}

static Set start_set(const Automaton *a)
{
    Set set = {{0}};
    follow(a, &set, a->start);
    return set;
}

static Set step(const Automaton *a, const Set *from, u8 c)
{
    Set to = {{0}};
    for (u32 i = 0; i < a->count; i++)
        if (set_has(from, i) && a->states[i].kind == CLASS && a->states[i].class[c / 32] >> c % 32 & 1)
            follow(a, &to, a->states[i].next);
    return to;
}

static int is_match(const Automaton *a, const Set *set)
{
    for (u32 i = 0; i < a->count; i++)
        if (a->states[i].kind == MATCH && set_has(set, i))
            return 1;
    return 0;
}

static int is_empty(const Set *set)
{
    u32 all = 0;
    for (u32 i = 0; i < SET_WORDS; i++)
        all |= set->bits[i];
    return !all;
}

/* The length of the longest match at the start of a text, or -1. */
static int longest_by_sets(const Automaton *a, const char *text)
{
    Set set = start_set(a);
    int best = is_match(a, &set) ? 0 : -1;
    for (int i = 0; text[i] && !is_empty(&set); i++) {
        set = step(a, &set, (u8)text[i]);
        if (is_match(a, &set))
            best = i + 1;
    }
    return best;
}

/* -- the deterministic automaton ----------------------------------------------------------- */

static int number_of(Automaton *a, const Set *set)
{
    for (u32 i = 0; i < a->set_count; i++)
        if (memcmp(&a->sets[i], set, sizeof *set) == 0)
            return (int)i;
    if (a->set_count == MOST_SETS) {
        check(0);
        a->set_count = 0;
    }
    a->sets[a->set_count] = *set;
    a->accepting[a->set_count] = (u8)is_match(a, set);
    for (u32 c = 0; c < 128; c++)
        a->moves[a->set_count][c] = -1;
    return (int)a->set_count++;
}

static int longest_by_table(Automaton *a, const char *text)
{
    Set start = start_set(a);
    int state = number_of(a, &start), best = a->accepting[state] ? 0 : -1;
    for (int i = 0; text[i]; i++) {
        short *move = &a->moves[state][text[i] & 127];
        if (*move < 0) {
            Set next = step(a, &a->sets[state], (u8)text[i]);
            *move = (short)number_of(a, &next);
        }
        state = *move;
        if (a->accepting[state])
            best = i + 1;
        if (is_empty(&a->sets[state]))
            break;
    }
    return best;
}

/* -- using it ------------------------------------------------------------------------------ */

typedef struct {
    const char *pattern, *text;
    int length;
} Example;

static const Example examples[] = {
    {"a*b", "aaab", 4}, {"a*b", "c", -1}, {"(ab|a)(bc)?", "abc", 3}, {"[^x-z]+", "abcx", 3},
    {"\\d+\\.\\d*", "31.4.1", 4}, {"(a|b)*abb", "ababbab", 5}, {"x?y+z", "yyyz", 4}, {".*", "", 0},
};

static const char *const patterns[] = {
    "[a-z]*nd", "(b|br|st)[aeiou]+(n|r)?", "\\w+,\\s\\w+", "[^aeiou\\s][aeiou][^aeiou\\s]", "(tr|st)\\w*\\.",
};

u32 run_regex(u32 *state)
{
    u32 answer = DIGEST_START;
    for (u32 i = 0; i < COUNT(examples); i++) {
        Automaton *a = compile(examples[i].pattern);
        check(longest_by_sets(a, examples[i].text) == examples[i].length);
        check(longest_by_table(a, examples[i].text) == examples[i].length);
    }
    Text text = prose(state, 24);
    for (u32 i = 0; i < COUNT(patterns); i++) {
        Automaton *a = compile(patterns[i]);
        for (u32 at = 0; at < text.size; at++) {
            int length = longest_by_table(a, text.data + at);
            if (at % 16 == 0)
                check(length == longest_by_sets(a, text.data + at));
            if (length > 0)
                answer = digest(answer, text.data + at, (u32)length);
        }
    }
    return answer;
}
