/* Integer matrices: a product of two 56 × 56 matrices, checked by Freivalds' method. */
#include "guest.h"

enum { SIZE = 56 };

typedef u32 Matrix[SIZE][SIZE];
typedef u32 Vector[SIZE];

static Matrix left, right, product;

static void fill(Matrix matrix, u32 *state)
{
    for (int row = 0; row < SIZE; row++)
        for (int column = 0; column < SIZE; column++)
            matrix[row][column] = next_random(state);
}

static void multiply(Matrix result, Matrix a, Matrix b)
{
    for (int row = 0; row < SIZE; row++)
        for (int column = 0; column < SIZE; column++) {
            u32 sum = 0;
            for (int i = 0; i < SIZE; i++)
                sum += a[row][i] * b[i][column];
            result[row][column] = sum;
        }
}

static void apply(Vector result, Matrix matrix, Vector vector)
{
    for (int row = 0; row < SIZE; row++) {
        u32 sum = 0;
        for (int i = 0; i < SIZE; i++)
            sum += matrix[row][i] * vector[i];
        result[row] = sum;
    }
}

u32 round(u32 number)
{
    u32 state = seed_of(number), sum = 0;
    Vector probe, inner, expected, found;
    fill(left, &state);
    fill(right, &state);
    multiply(product, left, right);
    for (int i = 0; i < SIZE; i++)
        probe[i] = next_random(&state);
    apply(inner, right, probe);
    apply(expected, left, inner);
    apply(found, product, probe);
    for (int i = 0; i < SIZE; i++) {
        if (expected[i] != found[i])
            return 0;
        sum = sum * 31 + product[i][SIZE - 1 - i];
    }
    return sum;
}
