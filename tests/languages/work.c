/* Compiled, linked and run by compilers that are guests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char name[16]; int weight; } item;

static int by_weight(const void *a, const void *b)
{
    return ((const item *)a)->weight - ((const item *)b)->weight;
}

static unsigned long long factorial(int n)
{
    return n < 2 ? 1 : n * factorial(n - 1);
}

int main(int count, char **arguments)
{
    item items[20];
    double sum = 0;
    int i;

    for (i = 0; i < 20; i++) {
        snprintf(items[i].name, sizeof items[i].name, "item %d", i);
        items[i].weight = i * 7919 % 101;
        sum += 1.0 / (i + 1);
    }
    qsort(items, 20, sizeof *items, by_weight);
    for (i = 0; i < 5; i++)
        printf("%s: %d\n", items[i].name, items[i].weight);
    printf("%.12f %llu %d %s\n", sum, factorial(20), count, strrchr(arguments[0], 'w'));
    return sum > 3.5 ? 7 : 0;
}
