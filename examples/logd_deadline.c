/*
 * logd_deadline.c - a worker's parked clients, the one whose time is over next first.
 *
 * A binary heap: the children of place i are at 2i + 1 and 2i + 2, and none is due before its
 * parent. Each client knows its place, so one that is answered leaves from wherever it stands.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "logd_deadline.h"

#include "logd_memory.h"

enum vbuf_status deadlines_open(struct parked_heap *deadlines, size_t max_clients)
{
    struct vbuf_options options = {
        .on_commit = memory_commit_clients,
        .on_decommit = memory_decommit_clients,
    };
    return parked_heap_init(deadlines, max_clients, &options);
}

static void put(struct parked **heap, size_t place, struct parked *parked)
{
    heap[place] = parked;
    parked->place = place;
}

/* `parked` is at `place` or nearer to the root. */
static void sift_up(struct parked **heap, size_t place, struct parked *parked)
{
    while (place > 0 && parked->deadline < heap[(place - 1) / 2]->deadline) {
        put(heap, place, heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put(heap, place, parked);
}

/* `parked` is at `place` or farther from the root. */
static void sift_down(struct parked **heap, size_t count, size_t place, struct parked *parked)
{
    size_t child;
    while ((child = 2 * place + 1) < count) {
        if (child + 1 < count && heap[child + 1]->deadline < heap[child]->deadline)
            child++;
        if (parked->deadline <= heap[child]->deadline)
            break;
        put(heap, place, heap[child]);
        place = child;
    }
    put(heap, place, parked);
}

enum vbuf_status deadlines_add(struct parked_heap *deadlines, struct parked *parked)
{
    enum vbuf_status status = parked_heap_push(deadlines, parked);
    if (status == VBUF_OK)
        sift_up(parked_heap_data(deadlines), parked_heap_len(deadlines) - 1, parked);
    return status;
}

void deadlines_remove(struct parked_heap *deadlines, struct parked *parked)
{
    size_t place = parked->place;
    struct parked *last;
    if (place == NO_PLACE || !parked_heap_pop(deadlines, &last))
        return;
    parked->place = NO_PLACE;
    if (last == parked)
        return;
    struct parked **heap = parked_heap_data(deadlines);
    if (place > 0 && last->deadline < heap[(place - 1) / 2]->deadline)
        sift_up(heap, place, last);
    else
        sift_down(heap, parked_heap_len(deadlines), place, last);
}
