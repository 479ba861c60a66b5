/* A hash table with open addressing; removal moves what follows back, so that there are no gravestones. */
#include "workshop.h"

enum { FIRST_CAPACITY = 16 };

Table table_new(void)
{
    Table table = {allocate_array(FIRST_CAPACITY, sizeof(Entry)), 0, FIRST_CAPACITY};
    return table;
}

static u32 hash_of(const char *key)
{
    return digest(DIGEST_START, key, string_length(key));
}

/* The entry that has the key, or the free one where it would be. */
static Entry *slot_of(const Table *table, const char *key, u32 hash)
{
    u32 mask = table->capacity - 1;
    for (u32 i = hash & mask;; i = (i + 1) & mask) {
        Entry *entry = &table->entries[i];
        if (!entry->key || (entry->hash == hash && string_equal(entry->key, key)))
            return entry;
    }
}

static void grow(Table *table)
{
    Table larger = {allocate_array(2 * table->capacity, sizeof(Entry)), table->count,
                    2 * table->capacity};
    for (u32 i = 0; i < table->capacity; i++) {
        Entry *entry = &table->entries[i];
        if (entry->key)
            *slot_of(&larger, entry->key, entry->hash) = *entry;
    }
    *table = larger;
}

u32 *table_find(const Table *table, const char *key)
{
    Entry *entry = slot_of(table, key, hash_of(key));
    return entry->key ? &entry->value : 0;
}

u32 *table_place(Table *table, const char *key, u32 value)
{
    u32 hash = hash_of(key);
    Entry *entry = slot_of(table, key, hash);
    if (entry->key)
        return &entry->value;
    if (4 * (table->count + 1) > 3 * table->capacity) {
        grow(table);
        entry = slot_of(table, key, hash);
    }
    *entry = (Entry){key, hash, value};
    table->count++;
    return &entry->value;
}

int table_remove(Table *table, const char *key)
{
    u32 mask = table->capacity - 1;
    Entry *entry = slot_of(table, key, hash_of(key));
    if (!entry->key)
        return 0;
    u32 hole = (u32)(entry - table->entries);
    for (u32 i = (hole + 1) & mask; table->entries[i].key; i = (i + 1) & mask) {
        u32 home = table->entries[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            table->entries[hole] = table->entries[i];
            hole = i;
        }
    }
    table->entries[hole].key = 0;
    table->count--;
    return 1;
}

/* Count the words of a text, forget every third, and find the rest again. */
u32 run_table(u32 *state)
{
    Text text = prose(state, 400);
    Table counts = table_new();
    u32 words = 0, sum = 0, answer = DIGEST_START;
    for (u32 at = 0; at < text.size;) {
        u32 start = at;
        while (at < text.size && is_letter(text.data[at]))
            at++;
        if (at > start) {
            ++*table_place(&counts, string_copy(text.data + start, at - start), 0);
            words++;
        }
        while (at < text.size && !is_letter(text.data[at]))
            at++;
    }
    for (u32 i = 0; i < counts.capacity; i++)
        if (counts.entries[i].key) {
            sum += counts.entries[i].value;
            answer += digest_word(counts.entries[i].hash, counts.entries[i].value);
        }
    check(sum == words && words == 400);

    const char *keys[64];
    u32 known = 0;
    for (u32 i = 0; i < counts.capacity && known < COUNT(keys); i++)
        if (counts.entries[i].key)
            keys[known++] = counts.entries[i].key;
    for (u32 i = 0; i < known; i += 3)
        check(table_remove(&counts, keys[i]));
    for (u32 i = 0; i < known; i++)
        check((table_find(&counts, keys[i]) != 0) == (i % 3 != 0));
    return answer + counts.count;
}
