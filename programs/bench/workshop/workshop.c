/* A program of some breadth: a compiler and its machine, JSON, regular expressions, compression, Lisp,
 * trees, graphs, a spreadsheet, queries, and differences of texts, each a little, one after the other. */
#include "workshop.h"

typedef u32 (*Part)(u32 *state);

static const Part parts[] = {
    run_table, run_json, run_regex, run_squeeze, run_lisp, run_tree,
    run_graph, run_sheet, run_query, run_difference, run_compiler,
};

u32 round(u32 number)
{
    u32 state = seed_of(number), answer = DIGEST_START;
    for (u32 i = 0; i < COUNT(parts); i++) {
        arena_reset();
        answer = digest_word(answer, parts[i](&state));
    }
    return failed_checks() ? failed_checks() : answer;
}
