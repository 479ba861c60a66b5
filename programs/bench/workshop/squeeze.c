/* Compression: Lempel and Ziv's references to what came before, then canonical Huffman codes; and back. */
#include "workshop.h"

enum {
    WINDOW = 4096, SHORTEST = 3, LONGEST = 18, HASHES = 1024, CHAIN = 16,
    END = 256, LENGTHS = 257, SYMBOLS = LENGTHS + LONGEST - SHORTEST + 1, DISTANCE_BITS = 12,
    DEEPEST = 15,
};

/* -- bits ---------------------------------------------------------------------------------- */

typedef struct {
    Text text;
    u32 held, count;
} BitWriter;

typedef struct {
    const u8 *data;
    u32 size, at, held, count;
} BitReader;

static void put_bits(BitWriter *writer, u32 bits, u32 count)
{
    while (count--) {
        writer->held = writer->held << 1 | (bits >> count & 1);
        if (++writer->count == 8) {
            text_char(&writer->text, (char)writer->held);
            writer->held = writer->count = 0;
        }
    }
}

static void finish_bits(BitWriter *writer)
{
    while (writer->count)
        put_bits(writer, 0, 1);
}

static u32 get_bit(BitReader *reader)
{
    if (!reader->count) {
        reader->held = reader->at < reader->size ? reader->data[reader->at] : 0;
        reader->at++;
        reader->count = 8;
    }
    return reader->held >> --reader->count & 1;
}

static u32 get_bits(BitReader *reader, u32 count)
{
    u32 bits = 0;
    while (count--)
        bits = bits << 1 | get_bit(reader);
    return bits;
}

/* -- references ---------------------------------------------------------------------------- */

/* A literal (distance 0) or a reference back. */
typedef struct {
    u16 symbol, distance;
} Token;

typedef struct {
    Token *tokens;
    u32 count;
} Tokens;

static u32 hash_at(const u8 *data)
{
    return (data[0] * 0x9E5u ^ data[1] * 0x1F1u ^ data[2] * 0x3Bu) & (HASHES - 1);
}

static u32 match_length(const u8 *left, const u8 *right, u32 most)
{
    u32 length = 0;
    while (length < most && left[length] == right[length])
        length++;
    return length;
}

typedef struct {
    u32 heads[HASHES], *previous; /* positions plus 1 */
} Index;

static void remember(Index *index, const u8 *data, u32 at)
{
    u32 hash = hash_at(data + at);
    index->previous[at] = index->heads[hash];
    index->heads[hash] = at + 1;
}

/* The longest earlier match of what stands at `at`; its distance through the pointer. */
static u32 longest(const Index *index, const u8 *data, u32 size, u32 at, u32 *distance)
{
    u32 best = 0, most = size - at < LONGEST ? size - at : LONGEST;
    u32 place = index->heads[hash_at(data + at)];
    for (u32 tries = CHAIN; place && tries; tries--, place = index->previous[place - 1]) {
        if (at - (place - 1) >= WINDOW)
            break;
        u32 length = match_length(data + place - 1, data + at, most);
        if (length > best)
            best = length, *distance = at - (place - 1);
    }
    return best;
}

static Tokens find_references(const u8 *data, u32 size)
{
    Tokens found = {allocate_array(size + 1, sizeof(Token)), 0};
    Index *index = allocate(sizeof *index);
    index->previous = allocate_array(size, sizeof(u32));
    for (u32 at = 0; at < size;) {
        u32 distance = 0, length = 0;
        if (at + SHORTEST <= size)
            length = longest(index, data, size, at, &distance);
        if (length < SHORTEST) {
            found.tokens[found.count++] = (Token){data[at], 0};
            length = 1;
        } else {
            found.tokens[found.count++] = (Token){(u16)(LENGTHS + length - SHORTEST), (u16)distance};
        }
        for (; length; length--, at++)
            if (at + SHORTEST <= size)
                remember(index, data, at);
    }
    found.tokens[found.count++] = (Token){END, 0};
    return found;
}

/* -- codes --------------------------------------------------------------------------------- */

typedef struct {
    u8 lengths[SYMBOLS];
    u16 codes[SYMBOLS];
    u16 counts[DEEPEST + 1], sorted[SYMBOLS]; /* symbols by length, and how many there are of each */
} Codes;

typedef struct {
    u32 weight;
    short left, right; /* of an inner node */
} HuffmanNode;

static void assign_depths(const HuffmanNode *nodes, int node, u32 depth, u8 *lengths)
{
    if (node < SYMBOLS) {
        lengths[node] = (u8)(depth ? depth : 1);
        return;
    }
    assign_depths(nodes, nodes[node].left, depth + 1, lengths);
    assign_depths(nodes, nodes[node].right, depth + 1, lengths);
}

/* The lightest node without a parent, taken out of the forest. */
static int take_lightest(HuffmanNode *nodes, short *forest, u32 *count)
{
    u32 best = 0;
    for (u32 i = 1; i < *count; i++)
        if (nodes[forest[i]].weight < nodes[forest[best]].weight)
            best = i;
    int node = forest[best];
    forest[best] = forest[--*count];
    return node;
}

static u32 deepest(const u8 *lengths)
{
    u32 most = 0;
    for (u32 i = 0; i < SYMBOLS; i++)
        most = lengths[i] > most ? lengths[i] : most;
    return most;
}

static void build_lengths(const u32 *weights, u8 *lengths)
{
    static HuffmanNode nodes[2 * SYMBOLS];
    static short forest[SYMBOLS];
    u32 count = 0;
    int next = SYMBOLS;
    for (int i = 0; i < SYMBOLS; i++) {
        nodes[i].weight = weights[i];
        lengths[i] = 0;
        if (weights[i])
            forest[count++] = (short)i;
    }
    while (count > 1) {
        int left = take_lightest(nodes, forest, &count), right = take_lightest(nodes, forest, &count);
        nodes[next] = (HuffmanNode){nodes[left].weight + nodes[right].weight, (short)left, (short)right};
        forest[count++] = (short)next++;
    }
    assign_depths(nodes, forest[0], 0, lengths);
}

/* Codes of the same length are consecutive, in the order of their symbols. */
static void number_codes(Codes *codes)
{
    u32 code = 0, place = 0;
    for (u32 length = 1; length <= DEEPEST; length++, code <<= 1)
        for (u32 i = 0; i < SYMBOLS; i++)
            if (codes->lengths[i] == length) {
                codes->codes[i] = (u16)code++;
                codes->counts[length]++;
                codes->sorted[place++] = (u16)i;
            }
}

static void make_codes(Codes *codes, const Tokens *tokens)
{
    u32 weights[SYMBOLS] = {0};
    for (u32 i = 0; i < tokens->count; i++)
        weights[tokens->tokens[i].symbol]++;
    build_lengths(weights, codes->lengths);
    while (deepest(codes->lengths) > DEEPEST) { /* flatter weights make a flatter tree */
        for (u32 i = 0; i < SYMBOLS; i++)
            weights[i] = weights[i] ? weights[i] / 2 + 1 : 0;
        build_lengths(weights, codes->lengths);
    }
    number_codes(codes);
}

static u32 read_symbol(const Codes *codes, BitReader *reader)
{
    u32 code = 0, first = 0, place = 0; /* of the codes as long as what was read */
    for (u32 length = 1; length <= DEEPEST; length++) {
        code = code << 1 | get_bit(reader);
        if (code - first < codes->counts[length])
            return codes->sorted[place + code - first];
        place += codes->counts[length];
        first = (first + codes->counts[length]) << 1;
    }
    check(0);
    return END;
}

/* -- the whole ----------------------------------------------------------------------------- */

static Text compress(const Text *text)
{
    BitWriter writer = {text_new(), 0, 0};
    Codes codes = {.counts = {0}};
    Tokens found = find_references((const u8 *)text->data, text->size);
    make_codes(&codes, &found);
    for (u32 i = 0; i < SYMBOLS; i++)
        put_bits(&writer, codes.lengths[i], 4);
    for (u32 i = 0; i < found.count; i++) {
        Token token = found.tokens[i];
        put_bits(&writer, codes.codes[token.symbol], codes.lengths[token.symbol]);
        if (token.distance)
            put_bits(&writer, token.distance, DISTANCE_BITS);
    }
    finish_bits(&writer);
    return writer.text;
}

static Text expand(const Text *packed)
{
    BitReader reader = {(const u8 *)packed->data, packed->size, 0, 0, 0};
    Codes codes = {.counts = {0}};
    Text text = text_new();
    for (u32 i = 0; i < SYMBOLS; i++)
        codes.lengths[i] = (u8)get_bits(&reader, 4);
    number_codes(&codes);
    for (u32 symbol; (symbol = read_symbol(&codes, &reader)) != END;) {
        if (symbol < END) {
            text_char(&text, (char)symbol);
            continue;
        }
        u32 distance = get_bits(&reader, DISTANCE_BITS);
        for (u32 length = symbol - LENGTHS + SHORTEST; length && distance <= text.size; length--)
            text_char(&text, text.data[text.size - distance]);
    }
    return text;
}

u32 run_squeeze(u32 *state)
{
    Text text = prose(state, 100);
    Text packed = compress(&text);
    Text again = expand(&packed);
    check(packed.size < text.size);
    check(again.size == text.size && memcmp(again.data, text.data, text.size) == 0);
    return digest(DIGEST_START, packed.data, packed.size);
}
