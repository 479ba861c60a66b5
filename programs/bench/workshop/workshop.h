/* What the parts of the workshop share. Each part is a small program of its own, in a file or more;
 * `run_PART` does some work with random numbers, checks it, and returns a digest of the results. */
#ifndef WORKSHOP_H
#define WORKSHOP_H

#include "../guest.h"


/* memory.c: everything is taken from one arena, which is emptied before each part. */
void arena_reset(void);
void *allocate(u32 size);           /* zeroed */
void *allocate_array(u32 count, u32 size);

/* memory.c: failures of a part's own checks are counted, and spoil the answer. */
void check(int holds);
u32 failed_checks(void);

/* text.c: texts that grow. */
typedef struct {
    char *data;
    u32 size, capacity;
} Text;

Text text_new(void);
void text_char(Text *text, char c);
void text_string(Text *text, const char *string);
void text_bytes(Text *text, const char *bytes, u32 size);
void text_number(Text *text, int number);
const char *text_end(Text *text);   /* with a NUL after it */

u32 string_length(const char *string);
int string_equal(const char *left, const char *right);
int string_compare(const char *left, const char *right);
char *string_copy(const char *from, u32 size);

int is_digit(char c);
int is_letter(char c);
int is_space(char c);

/* text.c: digests (FNV-1a). */
u32 digest(u32 hash, const void *data, u32 size);
u32 digest_word(u32 hash, u32 word);
enum { DIGEST_START = 0x811C9DC5u & 0x7FFFFFFF };

/* text.c: random numbers below a limit, and random prose. */
u32 below(u32 *state, u32 limit);
Text prose(u32 *state, u32 words);

/* table.c: a hash table from strings to words. */
typedef struct {
    const char *key;
    u32 hash, value;
} Entry;

typedef struct {
    Entry *entries;
    u32 count, capacity;
} Table;

Table table_new(void);
u32 *table_find(const Table *table, const char *key);        /* 0 if it is not there */
u32 *table_place(Table *table, const char *key, u32 value);  /* put there with `value` if it was not */
int table_remove(Table *table, const char *key);

/* compiler/: the language Tab. */
u32 run_compiler(u32 *state);

u32 run_table(u32 *state);
u32 run_json(u32 *state);
u32 run_regex(u32 *state);
u32 run_squeeze(u32 *state);
u32 run_lisp(u32 *state);
u32 run_tree(u32 *state);
u32 run_graph(u32 *state);
u32 run_sheet(u32 *state);
u32 run_query(u32 *state);
u32 run_difference(u32 *state);

#endif
