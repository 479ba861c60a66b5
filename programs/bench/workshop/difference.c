/* Differences of texts: the longest common subsequence of their lines as an edit script, applied again. */
#include "workshop.h"

enum { LINES = 70 };

typedef struct {
    const char *lines[2 * LINES];
    u32 count;
} Lines;

typedef enum { KEEP, DELETE, INSERT } Operation;

typedef struct {
    Operation operation;
    u32 count;
    const char **lines; /* to insert */
} Hunk;

typedef struct {
    Hunk hunks[4 * LINES];
    u32 count;
} Script;

static Lines *make_lines(u32 *state)
{
    Lines *lines = allocate(sizeof *lines);
    Text words = prose(state, 2 * LINES);
    u32 at = 0;
    while (lines->count < LINES) {
        u32 end = at, spaces = 0;
        while (end < words.size && spaces < 2)
            spaces += words.data[end++] == ' ' || words.data[end - 1] == '\n';
        lines->lines[lines->count++] = string_copy(words.data + at, end - at);
        at = end;
    }
    return lines;
}

/* The same lines, some of them lost, doubled or changed. */
static Lines *edited(const Lines *from, u32 *state)
{
    Lines *lines = allocate(sizeof *lines);
    for (u32 i = 0; i < from->count; i++) {
        u32 fate = below(state, 12);
        if (fate == 0)
            continue;
        if (fate == 1)
            lines->lines[lines->count++] = from->lines[below(state, from->count)];
        lines->lines[lines->count++] = fate == 2 ? "something else" : from->lines[i];
    }
    return lines;
}

static void add(Script *script, Operation operation, const char **lines)
{
    Hunk *last = script->count ? &script->hunks[script->count - 1] : 0;
    if (last && last->operation == operation)
        last->count++;
    else
        script->hunks[script->count++] = (Hunk){operation, 1, lines};
}

/* lengths[i][j]: how long the longest common subsequence is of what follows lines i and j. */
static Script *compare(Lines *old, Lines *new)
{
    u32 width = new->count + 1;
    u16 *lengths = allocate_array((old->count + 1) * width, sizeof(u16));
    Script *script = allocate(sizeof *script);
    for (u32 i = old->count; i-- > 0;)
        for (u32 j = new->count; j-- > 0;) {
            u16 down = lengths[(i + 1) * width + j], right = lengths[i * width + j + 1];
            lengths[i * width + j] = string_equal(old->lines[i], new->lines[j])
                                         ? (u16)(lengths[(i + 1) * width + j + 1] + 1)
                                         : down > right ? down : right;
        }
    for (u32 i = 0, j = 0; i < old->count || j < new->count;) {
        if (i < old->count && j < new->count && string_equal(old->lines[i], new->lines[j])) {
            add(script, KEEP, 0);
            i++, j++;
        } else if (i < old->count &&
                   (j == new->count || lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
            add(script, DELETE, 0);
            i++;
        } else {
            add(script, INSERT, &new->lines[j]);
            j++;
        }
    }
    return script;
}

static Lines *apply(const Lines *old, const Script *script)
{
    Lines *lines = allocate(sizeof *lines);
    u32 at = 0;
    for (u32 i = 0; i < script->count; i++) {
        const Hunk *hunk = &script->hunks[i];
        for (u32 j = 0; j < hunk->count; j++) {
            if (hunk->operation == INSERT)
                lines->lines[lines->count++] = hunk->lines[j];
            else if (hunk->operation == KEEP)
                lines->lines[lines->count++] = old->lines[at++];
            else
                at++;
        }
    }
    check(at == old->count);
    return lines;
}

u32 run_difference(u32 *state)
{
    Lines *old = make_lines(state), *new = edited(old, state);
    Script *script = compare(old, new);
    Lines *again = apply(old, script);
    u32 answer = DIGEST_START;
    check(again->count == new->count);
    for (u32 i = 0; i < new->count; i++)
        check(string_equal(again->lines[i], new->lines[i]));
    for (u32 i = 0; i < script->count; i++)
        answer = digest_word(answer, script->hunks[i].operation << 16 | script->hunks[i].count);
    return answer;
}
