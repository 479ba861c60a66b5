/* Sorting: quicksort and heapsort of the same 4,096 numbers, whose results must be one. */
#include "guest.h"

enum { SIZE = 4096, SMALL = 12 };

static u32 first[SIZE], second[SIZE];

static void insertion_sort(u32 *low, u32 *high)
{
    for (u32 *next = low + 1; next < high; next++) {
        u32 value = *next, *hole = next;
        for (; hole > low && hole[-1] > value; hole--)
            *hole = hole[-1];
        *hole = value;
    }
}

static u32 middle(u32 a, u32 b, u32 c)
{
    if (a > b) {
        u32 t = a;
        a = b;
        b = t;
    }
    return c < a ? a : c > b ? b : c;
}

/* Hoare's quicksort of [low, high), the larger part by iteration. */
static void quicksort(u32 *low, u32 *high)
{
    while (high - low > SMALL) {
        u32 pivot = middle(low[0], low[(high - low) / 2], high[-1]);
        u32 *left = low, *right = high - 1;
        for (;; left++, right--) {
            while (*left < pivot)
                left++;
            while (*right > pivot)
                right--;
            if (left >= right)
                break;
            u32 t = *left;
            *left = *right;
            *right = t;
        }
        u32 *cut = left > right + 1 ? right + 1 : left;
        if (cut == low)
            cut = low + 1;
        if (cut - low < high - cut) {
            quicksort(low, cut);
            low = cut;
        } else {
            quicksort(cut, high);
            high = cut;
        }
    }
    insertion_sort(low, high);
}

static void sift_down(u32 *heap, u32 root, u32 size)
{
    u32 value = heap[root];
    for (u32 child; (child = 2 * root + 1) < size; root = child) {
        if (child + 1 < size && heap[child + 1] > heap[child])
            child++;
        if (heap[child] <= value)
            break;
        heap[root] = heap[child];
    }
    heap[root] = value;
}

static void heapsort(u32 *heap, u32 size)
{
    for (u32 root = size / 2; root-- > 0;)
        sift_down(heap, root, size);
    while (--size > 0) {
        u32 t = heap[0];
        heap[0] = heap[size];
        heap[size] = t;
        sift_down(heap, 0, size);
    }
}

u32 round(u32 number)
{
    u32 state = seed_of(number), sum = 0;
    for (u32 i = 0; i < SIZE; i++)
        first[i] = second[i] = next_random(&state);
    quicksort(first, first + SIZE);
    heapsort(second, SIZE);
    for (u32 i = 0; i < SIZE; i++) {
        if (first[i] != second[i])
            return 0;
        sum = sum * 31 + first[i];
    }
    return sum;
}
