/*
 * cvec_raw.c - a vector without readiness bytes: cells start zeroed, have one owner each, and publish themselves.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_fixture.h"

struct cell {
    uint64_t value;
    struct vbuf_atomic_u64 ready;
    uint64_t unused[14];
};

CVEC_RAW_DEFINE(cells, struct cell)

static struct cells cells;
static size_t claims[EXPLORE_MOST_THREADS + 1];

static void set_up(void)
{
    struct cvec_options options = {.max_len = 64};
    EXPLORE(cells_create(&cells, &options) == VBUF_OK);
}

static void fill(struct cell *cell)
{
    EXPLORE(cell->value == 0 && vbuf_u64_load_relaxed(&cell->ready) == 0);
    cell->value = 7;
    vbuf_u64_store_release(&cell->ready, 1);
}

static void claim_and_fill(size_t count)
{
    size_t first;
    struct cell *slots;
    enum vbuf_status status = cells_claim(&cells, count, &first, &slots);
    EXPLORE(status == VBUF_OK || status == VBUF_NOMEM);
    if (status != VBUF_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        fill(&slots[i]);
        EXPLORE(cells_get(&cells, first + i) == &slots[i]);
    }
    claims[explore_self()] += count;
    EXPLORE(cells_len(&cells) >= first + count);
}

static void claim_three(void)
{
    claim_and_fill(3);
}

static void claim_two(void)
{
    if (explore_choose(2) == 1) {
        enum vbuf_status status = cells_reserve(&cells, 2);
        EXPLORE(status == VBUF_NOMEM || (status == VBUF_OK && cells_capacity(&cells) >= 2));
    }
    claim_and_fill(2);
}

static void read_cells(void)
{
    for (size_t i = 0; i < 3; i++) {
        struct cell *cell = cells_get(&cells, i);
        EXPLORE(cell == NULL || cell->unused[0] == 0); /* nobody writes to it, claimed or not */
        if (cell != NULL && vbuf_u64_load_acquire(&cell->ready))
            EXPLORE(cell->value == 7);
    }
}

static void finish(void)
{
    size_t count = claims[1] + claims[2];
    struct cvec *vector = (struct cvec *)(void *)cells.raw;
    check_quiet(vector, count);
    for (size_t i = 0; i < count; i++)
        EXPLORE(cells_get(&cells, i)->value == 7);
    EXPLORE(cells_truncate(&cells, 0) == VBUF_OK);
    EXPLORE(cells_reserve(&cells, 2) == VBUF_OK);
    EXPLORE(cells_get(&cells, 0)->value == 0); /* zero again */
    EXPLORE(cells_shrink_to_fit(&cells) == VBUF_OK);
    EXPLORE(cells_capacity(&cells) == 0 && cells_get(&cells, 0) == NULL);
    cells_close(&cells);
    cells_destroy(&cells);
}

const struct explore_scenario cvec_raw_claim_both = {
    .name = "cvec.raw",
    .checks = "C1 C5",
    .set_up = set_up,
    .threads = {claim_three, claim_two, read_cells},
    .finish = finish,
    .bounds = {.stale = 1},
};
