/* Pointer chasing: a ring of nodes in random order through 512 KiB, and look-ups in a binary tree. */
#include "guest.h"

enum { NODES = 32768, STEPS = 3 * NODES, KEYS = 1500 };

typedef struct Node {
    struct Node *next;
    u32 value, padding[2];
} Node;

typedef struct Leaf {
    struct Leaf *child[2];
    u32 key;
} Leaf;

static Node nodes[NODES];
static Leaf leaves[KEYS];

/* Sattolo's shuffle: one cycle through all nodes. */
static void link_ring(u32 *state)
{
    for (u32 i = 0; i < NODES; i++)
        nodes[i].next = &nodes[i], nodes[i].value = i;
    for (u32 i = NODES - 1; i > 0; i--) {
        u32 j = (u32)((u64)next_random(state) * i >> 32);
        Node *next = nodes[i].next;
        nodes[i].next = nodes[j].next;
        nodes[j].next = next;
    }
}

static u32 walk_ring(void)
{
    u32 sum = 0;
    const Node *node = nodes;
    for (u32 step = 0; step < STEPS; step++, node = node->next)
        sum = (sum << 1 | sum >> 31) ^ node->value;
    return node == nodes ? sum : 0; /* three times round */
}

static Leaf *grow_tree(u32 *state)
{
    Leaf *root = 0;
    for (u32 i = 0; i < KEYS; i++) {
        Leaf **place = &root;
        leaves[i] = (Leaf){.key = next_random(state)};
        while (*place)
            place = &(*place)->child[leaves[i].key > (*place)->key];
        *place = &leaves[i];
    }
    return root;
}

static u32 depth_of(const Leaf *root, u32 key)
{
    u32 depth = 0;
    for (const Leaf *leaf = root; leaf && leaf->key != key; leaf = leaf->child[key > leaf->key])
        depth++;
    return depth;
}

u32 round(u32 number)
{
    u32 state = seed_of(number), sum;
    link_ring(&state);
    sum = walk_ring();
    const Leaf *root = grow_tree(&state);
    for (u32 i = 0; i < KEYS; i++)
        sum = sum * 31 + depth_of(root, leaves[i].key);
    return sum;
}
