/* Graphs: shortest ways by Dijkstra's and by Bellman and Ford's algorithm, and a smallest spanning tree. */
#include "workshop.h"

enum { NODES = 64, EDGES = 320, FAR = 0x3FFFFFFF };

typedef struct {
    u8 from, to;
    u16 length;
} Edge;

typedef struct {
    Edge edges[EDGES];
    u16 first[NODES + 1]; /* edges are sorted by `from` */
} Graph;

static void sort_edges(Edge *edges, int by_length)
{
    for (u32 gap = EDGES / 2; gap; gap /= 2) /* Shell's sort */
        for (u32 i = gap; i < EDGES; i++) {
            Edge edge = edges[i];
            u32 key = by_length ? edge.length : edge.from, j = i;
            for (; j >= gap; j -= gap) {
                u32 other = by_length ? edges[j - gap].length : edges[j - gap].from;
                if (other <= key)
                    break;
                edges[j] = edges[j - gap];
            }
            edges[j] = edge;
        }
}

static Graph *make_graph(u32 *state)
{
    Graph *graph = allocate(sizeof *graph);
    for (u32 i = 0; i < EDGES; i++) {
        u32 from = i < NODES ? i : below(state, NODES), to = below(state, NODES);
        graph->edges[i] = (Edge){(u8)from, (u8)to, (u16)(1 + below(state, 1000))};
    }
    sort_edges(graph->edges, 0);
    for (u32 i = 0; i < EDGES; i++)
        graph->first[graph->edges[i].from + 1] = (u16)(i + 1);
    return graph;
}

/* -- a heap of nodes by distance ----------------------------------------------------------- */

typedef struct {
    u8 nodes[NODES], places[NODES];
    u32 count, *distances;
} Heap;

static void heap_swap(Heap *heap, u32 a, u32 b)
{
    u8 node = heap->nodes[a];
    heap->nodes[a] = heap->nodes[b];
    heap->nodes[b] = node;
    heap->places[heap->nodes[a]] = (u8)a;
    heap->places[heap->nodes[b]] = (u8)b;
}

static int heap_less(const Heap *heap, u32 a, u32 b)
{
    return heap->distances[heap->nodes[a]] < heap->distances[heap->nodes[b]];
}

static void heap_rise(Heap *heap, u32 at)
{
    for (; at && heap_less(heap, at, (at - 1) / 2); at = (at - 1) / 2)
        heap_swap(heap, at, (at - 1) / 2);
}

static u32 heap_take(Heap *heap)
{
    u32 node = heap->nodes[0], at = 0;
    heap_swap(heap, 0, --heap->count);
    for (u32 child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && heap_less(heap, child + 1, child))
            child++;
        if (!heap_less(heap, child, at))
            break;
        heap_swap(heap, at, child);
    }
    return node;
}

static void dijkstra(const Graph *graph, u32 start, u32 *distances)
{
    Heap heap = {.count = NODES, .distances = distances};
    for (u32 i = 0; i < NODES; i++) {
        distances[i] = FAR;
        heap.nodes[i] = heap.places[i] = (u8)i;
    }
    distances[start] = 0;
    heap_rise(&heap, start);
    while (heap.count) {
        u32 node = heap_take(&heap);
        for (u32 i = graph->first[node]; i < graph->first[node + 1]; i++) {
            const Edge *edge = &graph->edges[i];
            if (distances[node] + edge->length < distances[edge->to]) {
                distances[edge->to] = distances[node] + edge->length;
                heap_rise(&heap, heap.places[edge->to]);
            }
        }
    }
}

static void bellman_ford(const Graph *graph, u32 start, u32 *distances)
{
    int changed = 1;
    for (u32 i = 0; i < NODES; i++)
        distances[i] = i == start ? 0 : FAR;
    while (changed) {
        changed = 0;
        for (const Edge *edge = graph->edges; edge < graph->edges + EDGES; edge++)
            if (distances[edge->from] + edge->length < distances[edge->to]) {
                distances[edge->to] = distances[edge->from] + edge->length;
                changed = 1;
            }
    }
}

/* -- spanning trees ------------------------------------------------------------------------ */

static u32 group_of(u8 *parents, u32 node)
{
    while (parents[node] != node) {
        parents[node] = parents[parents[node]];
        node = parents[node];
    }
    return node;
}

/* Kruskal's algorithm; the sum of the lengths. */
static u32 spanning_tree(Graph *graph)
{
    u8 parents[NODES];
    u32 sum = 0;
    for (u32 i = 0; i < NODES; i++)
        parents[i] = (u8)i;
    sort_edges(graph->edges, 1);
    for (u32 i = 0; i < EDGES; i++) {
        u32 from = group_of(parents, graph->edges[i].from), to = group_of(parents, graph->edges[i].to);
        if (from != to) {
            parents[from] = (u8)to;
            sum += graph->edges[i].length;
        }
    }
    return sum;
}

u32 run_graph(u32 *state)
{
    Graph *graph = make_graph(state);
    u32 answer = DIGEST_START, ours[NODES], theirs[NODES];
    for (u32 start = 0; start < NODES; start += 16) {
        dijkstra(graph, start, ours);
        bellman_ford(graph, start, theirs);
        check(memcmp(ours, theirs, sizeof ours) == 0);
        answer = digest(answer, ours, sizeof ours);
    }
    return digest_word(answer, spanning_tree(graph));
}
