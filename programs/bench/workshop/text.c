/* Texts, digests and random prose. */
#include "workshop.h"

Text text_new(void)
{
    Text text = {allocate(32), 0, 32};
    return text;
}

static void text_reserve(Text *text, u32 more)
{
    if (text->size + more <= text->capacity)
        return;
    while (text->capacity < text->size + more)
        text->capacity *= 2;
    char *data = allocate(text->capacity);
    memcpy(data, text->data, text->size);
    text->data = data;
}

void text_char(Text *text, char c)
{
    text_reserve(text, 1);
    text->data[text->size++] = c;
}

void text_bytes(Text *text, const char *bytes, u32 size)
{
    text_reserve(text, size);
    memcpy(text->data + text->size, bytes, size);
    text->size += size;
}

void text_string(Text *text, const char *string)
{
    text_bytes(text, string, string_length(string));
}

void text_number(Text *text, int number)
{
    char digits[12];
    u32 used = 0, rest = number < 0 ? -(u32)number : (u32)number;
    do
        digits[used++] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0)
        text_char(text, '-');
    while (used)
        text_char(text, digits[--used]);
}

const char *text_end(Text *text)
{
    text_char(text, 0);
    text->size--;
    return text->data;
}

u32 string_length(const char *string)
{
    const char *end = string;
    while (*end)
        end++;
    return (u32)(end - string);
}

int string_compare(const char *left, const char *right)
{
    while (*left && *left == *right)
        left++, right++;
    return (u8)*left - (u8)*right;
}

int string_equal(const char *left, const char *right)
{
    return string_compare(left, right) == 0;
}

char *string_copy(const char *from, u32 size)
{
    char *copy = allocate(size + 1);
    memcpy(copy, from, size);
    return copy;
}

int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

int is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

u32 digest(u32 hash, const void *data, u32 size)
{
    const u8 *bytes = data;
    while (size--)
        hash = (hash ^ *bytes++) * 0x01000193;
    return hash;
}

u32 digest_word(u32 hash, u32 word)
{
    for (int i = 0; i < 4; i++, word >>= 8)
        hash = (hash ^ (word & 255)) * 0x01000193;
    return hash;
}

u32 below(u32 *state, u32 limit)
{
    return (u32)((u64)next_random(state) * limit >> 32);
}

static void word_of(Text *text, u32 *state)
{
    static const char *const starts[] = {"b", "br", "c", "d", "f", "g", "h", "l", "m", "n", "p", "st", "tr", "v"};
    static const char *const middles[] = {"a", "e", "i", "o", "u", "ea", "ou", "ai"};
    static const char *const ends[] = {"", "n", "r", "s", "t", "nd", "ck", "lm", "rn"};
    for (u32 syllables = 1 + below(state, 3); syllables; syllables--) {
        text_string(text, starts[below(state, COUNT(starts))]);
        text_string(text, middles[below(state, COUNT(middles))]);
        text_string(text, ends[below(state, COUNT(ends))]);
    }
}

/* Words of a small vocabulary, the first of it much more often than the last. */
Text prose(u32 *state, u32 words)
{
    enum { VOCABULARY = 64 };
    Text vocabulary[VOCABULARY], text = text_new();
    for (u32 i = 0; i < VOCABULARY; i++) {
        vocabulary[i] = text_new();
        word_of(&vocabulary[i], state);
    }
    for (u32 i = 0; i < words; i++) {
        Text *word = &vocabulary[below(state, 1 + below(state, VOCABULARY))];
        text_bytes(&text, word->data, word->size);
        text_string(&text, i + 1 == words ? ".\n" : i % 11 == 10 ? ".\n" : i % 5 == 4 ? ", " : " ");
    }
    text_end(&text);
    return text;
}
