/* A small database: two tables, filters, a join by hash, groups, and an order by several columns. */
#include "workshop.h"

enum { PEOPLE = 60, ORDERS = 240, TOWNS = 8, MOST_COLUMNS = 6 };

typedef struct {
    u32 columns, count, capacity;
    u32 (*rows)[MOST_COLUMNS];
} Relation;

typedef int (*Predicate)(const u32 *row, u32 argument);

enum { PERSON, TOWN, AGE };               /* of people */
enum { ORDER, BUYER, AMOUNT };            /* of orders; joined: then the person's */
enum { JOINED_TOWN = 4, JOINED_AGE = 5 };

static Relation relation_new(u32 columns, u32 capacity)
{
    Relation relation = {columns, 0, capacity, allocate_array(capacity, sizeof(u32[MOST_COLUMNS]))};
    return relation;
}

static u32 *append(Relation *relation)
{
    check(relation->count < relation->capacity);
    return relation->rows[relation->count++];
}

static Relation select(const Relation *from, Predicate holds, u32 argument)
{
    Relation result = relation_new(from->columns, from->count + 1);
    for (u32 i = 0; i < from->count; i++)
        if (holds(from->rows[i], argument))
            memcpy(append(&result), from->rows[i], sizeof from->rows[i]);
    return result;
}

/* Rows of both whose columns are equal, side by side; chains of a hash index over `right`. */
static Relation join(const Relation *left, u32 left_column, const Relation *right, u32 right_column)
{
    enum { BUCKETS = 32 };
    u32 heads[BUCKETS] = {0}, *next = allocate_array(right->count + 1, sizeof(u32));
    Relation result = relation_new(left->columns + right->columns, left->count * 2 + 1);
    for (u32 i = 0; i < right->count; i++) {
        u32 bucket = right->rows[i][right_column] % BUCKETS;
        next[i + 1] = heads[bucket];
        heads[bucket] = i + 1;
    }
    for (u32 i = 0; i < left->count; i++) {
        u32 key = left->rows[i][left_column];
        for (u32 j = heads[key % BUCKETS]; j; j = next[j])
            if (right->rows[j - 1][right_column] == key) {
                u32 *row = append(&result);
                memcpy(row, left->rows[i], left->columns * sizeof(u32));
                memcpy(row + left->columns, right->rows[j - 1], right->columns * sizeof(u32));
            }
    }
    return result;
}

/* One row for each value of a column: the value, how many rows, the sum and the maximum of another. */
static Relation group(const Relation *from, u32 column, u32 of)
{
    Relation result = relation_new(4, from->count + 1);
    for (u32 i = 0; i < from->count; i++) {
        u32 key = from->rows[i][column], value = from->rows[i][of], j = 0;
        while (j < result.count && result.rows[j][0] != key)
            j++;
        u32 *row = j < result.count ? result.rows[j] : append(&result);
        row[0] = key;
        row[1]++;
        row[2] += value;
        row[3] = value > row[3] ? value : row[3];
    }
    return result;
}

static int compare_rows(const u32 *left, const u32 *right, const u8 *columns, u32 count)
{
    for (u32 i = 0; i < count; i++) {
        u32 column = columns[i];
        if (left[column] != right[column])
            return left[column] < right[column] ? -1 : 1;
    }
    return 0;
}

/* A merge sort, which keeps the order of rows that are equal in the columns. */
static void order_by(Relation *relation, const u8 *columns, u32 count)
{
    u32(*other)[MOST_COLUMNS] = allocate_array(relation->count + 1, sizeof(u32[MOST_COLUMNS]));
    for (u32 width = 1; width < relation->count; width *= 2) {
        for (u32 low = 0; low < relation->count; low += 2 * width) {
            u32 middle = low + width < relation->count ? low + width : relation->count;
            u32 high = middle + width < relation->count ? middle + width : relation->count;
            u32 left = low, right = middle;
            for (u32 to = low; to < high; to++) {
                int first = right == high ||
                            (left < middle && compare_rows(relation->rows[left], relation->rows[right],
                                                           columns, count) <= 0);
                memcpy(other[to], relation->rows[first ? left++ : right++], sizeof other[to]);
            }
        }
        u32(*t)[MOST_COLUMNS] = relation->rows;
        relation->rows = other;
        other = t;
    }
}

static int older(const u32 *row, u32 age)
{
    return row[JOINED_AGE] > age;
}

static Relation make_people(u32 *state)
{
    Relation people = relation_new(3, PEOPLE);
    for (u32 i = 0; i < PEOPLE; i++) {
        u32 *row = append(&people);
        row[PERSON] = i * 7 + 1;
        row[TOWN] = below(state, TOWNS);
        row[AGE] = 18 + below(state, 60);
    }
    return people;
}

static Relation make_orders(u32 *state)
{
    Relation orders = relation_new(3, ORDERS);
    for (u32 i = 0; i < ORDERS; i++) {
        u32 *row = append(&orders);
        row[ORDER] = i;
        row[BUYER] = below(state, PEOPLE + 4) * 7 + 1; /* some are nobody's */
        row[AMOUNT] = 1 + below(state, 500);
    }
    return orders;
}

/* The sum of a column, for checks. */
static u32 total(const Relation *relation, u32 column)
{
    u32 sum = 0;
    for (u32 i = 0; i < relation->count; i++)
        sum += relation->rows[i][column];
    return sum;
}

static u32 digest_rows(u32 answer, const Relation *relation)
{
    for (u32 i = 0; i < relation->count; i++)
        answer = digest(answer, relation->rows[i], relation->columns * sizeof(u32));
    return answer;
}

u32 run_query(u32 *state)
{
    static const u8 by_town_and_amount[] = {JOINED_TOWN, AMOUNT}, by_sum[] = {2, 0};
    Relation people = make_people(state), orders = make_orders(state);
    Relation joined = join(&orders, BUYER, &people, PERSON);
    Relation chosen = select(&joined, older, 40);
    Relation towns = group(&chosen, JOINED_TOWN, AMOUNT);
    check(total(&towns, 1) == chosen.count);
    check(total(&towns, 2) == total(&chosen, AMOUNT));
    order_by(&chosen, by_town_and_amount, 2);
    order_by(&towns, by_sum, 2);
    for (u32 i = 1; i < chosen.count; i++)
        check(compare_rows(chosen.rows[i - 1], chosen.rows[i], by_town_and_amount, 2) <= 0);
    return digest_rows(digest_rows(DIGEST_START, &chosen), &towns);
}
