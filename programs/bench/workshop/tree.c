/* A balanced tree (AVL) under insertions and removals, against a plain array of marks. */
#include "workshop.h"

enum { KEYS = 256, STEPS = 600 };

typedef struct Branch {
    struct Branch *left, *right;
    u32 key;
    int height;
} Branch;

static Branch *spare;

static int height(const Branch *branch)
{
    return branch ? branch->height : 0;
}

static void measure(Branch *branch)
{
    int left = height(branch->left), right = height(branch->right);
    branch->height = 1 + (left > right ? left : right);
}

static Branch *rotate_right(Branch *branch)
{
    Branch *top = branch->left;
    branch->left = top->right;
    top->right = branch;
    measure(branch);
    measure(top);
    return top;
}

static Branch *rotate_left(Branch *branch)
{
    Branch *top = branch->right;
    branch->right = top->left;
    top->left = branch;
    measure(branch);
    measure(top);
    return top;
}

static Branch *balance(Branch *branch)
{
    int slope = height(branch->left) - height(branch->right);
    measure(branch);
    if (slope > 1) {
        if (height(branch->left->left) < height(branch->left->right))
            branch->left = rotate_left(branch->left);
        return rotate_right(branch);
    }
    if (slope < -1) {
        if (height(branch->right->right) < height(branch->right->left))
            branch->right = rotate_right(branch->right);
        return rotate_left(branch);
    }
    return branch;
}

static Branch *insert(Branch *branch, u32 key)
{
    if (!branch) {
        branch = spare ? spare : allocate(sizeof *branch);
        spare = spare ? spare->left : 0;
        *branch = (Branch){0, 0, key, 1};
        return branch;
    }
    if (key < branch->key)
        branch->left = insert(branch->left, key);
    else if (key > branch->key)
        branch->right = insert(branch->right, key);
    return balance(branch);
}

static u32 smallest(const Branch *branch)
{
    while (branch->left)
        branch = branch->left;
    return branch->key;
}

static Branch *discard(Branch *branch)
{
    Branch *rest = branch->left ? branch->left : branch->right;
    branch->left = spare;
    spare = branch;
    return rest;
}

static Branch *erase(Branch *branch, u32 key)
{
    if (!branch)
        return 0;
    if (key < branch->key) {
        branch->left = erase(branch->left, key);
    } else if (key > branch->key) {
        branch->right = erase(branch->right, key);
    } else if (branch->left && branch->right) {
        branch->key = smallest(branch->right);
        branch->right = erase(branch->right, branch->key);
    } else {
        return discard(branch);
    }
    return balance(branch);
}

/* Walk in order; every key must be marked, and larger than the one before. */
static u32 count_in_order(const Branch *branch, const u8 *marks, u32 *least)
{
    if (!branch)
        return 0;
    int slope = height(branch->left) - height(branch->right);
    check(slope >= -1 && slope <= 1);
    u32 count = count_in_order(branch->left, marks, least);
    check(branch->key >= *least && marks[branch->key]);
    *least = branch->key + 1;
    return count + 1 + count_in_order(branch->right, marks, least);
}

u32 run_tree(u32 *state)
{
    Branch *root = 0;
    u8 *marks = allocate(KEYS);
    u32 expected = 0, least = 0, answer = DIGEST_START;
    spare = 0;
    for (int i = 0; i < STEPS; i++) {
        u32 key = below(state, KEYS);
        int insertion = below(state, 3) != 0;
        root = insertion ? insert(root, key) : erase(root, key);
        expected += (u32)(insertion - marks[key]);
        marks[key] = (u8)insertion;
        answer = digest_word(answer, root ? root->key : 0);
    }
    check(count_in_order(root, marks, &least) == expected);
    return answer + (u32)height(root);
}
