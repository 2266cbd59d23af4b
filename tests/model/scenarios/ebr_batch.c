/*
 * ebr_batch.c - retires that fill batches, and so seal, step and reclaim by themselves; reclaim functions that
 * retire again.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_objects.h"

#define BATCH 64 /* as in ebr.c */

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[1];
static unsigned retired, reclaimed, depth;

static void set_up(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
}

/* With no record left for the threads. */
static void set_up_shared(void)
{
    struct ebr_options options = {.max_threads = 1};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    EXPLORE(ebr_attach(domain) == VBUF_OK && ebr_detach(domain) == VBUF_OK);
    place_object(&places[0]);
}

static void finish(void)
{
    clear_and_destroy(domain, places, 1);
    EXPLORE(reclaimed == retired);
}

static void reclaim_counted(struct ebr_entry *entry)
{
    EXPLORE(depth == 0); /* none inside another */
    reclaimed++;
    free_object(entry);
}

static void retire_many(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        retired++;
        ebr_retire(domain, &make_object()->entry, reclaim_counted);
    }
}

static void look_at_first(void)
{
    look_pinned(domain, &places[0]);
}

/* The object is the first of the first batch. */
static void remove_and_fill(void)
{
    unlink_and_retire(domain, &places[0]);
    retire_many(BATCH - 1);
    explore_yield();
    retire_many(BATCH);
    explore_yield();
    retire_many(BATCH);
}

const struct explore_scenario ebr_batch_fill = {
    .name = "ebr.batch-fill",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_at_first, remove_and_fill},
    .finish = finish,
    .bounds = {.together = 1},
};

const struct explore_scenario ebr_batch_shared = {
    .name = "ebr.batch-shared",
    .checks = "E1",
    .set_up = set_up_shared,
    .threads = {look_at_first, remove_and_fill},
    .finish = finish,
    .bounds = {.together = 1, .failures = EXPLORE_NONE},
};

/* ---- a reclaim function that retires a batch and more ---- */

static void reclaim_and_retire(struct ebr_entry *entry)
{
    EXPLORE(depth++ == 0);
    retire_many(BATCH + 1);
    EXPLORE(ebr_collect(domain) == 0);
    depth--;
    free_object(entry);
}

/* It is the first of its batch to be reclaimed, so that the others are ready meanwhile. */
static void remove_one_with_more(void)
{
    retire_many(2);
    ebr_retire(domain, &unlink_object(&places[0])->entry, reclaim_and_retire);
    ebr_collect(domain);
    ebr_collect(domain);
}

const struct explore_scenario ebr_batch_reclaim_retires = {
    .name = "ebr.batch-reclaim-retires",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_at_first, remove_one_with_more},
    .finish = finish,
    .bounds = {.together = 1},
};

const struct explore_scenario ebr_batch_reclaim_shared = {
    .name = "ebr.batch-reclaim-shared",
    .checks = "E1",
    .set_up = set_up_shared,
    .threads = {look_at_first, remove_one_with_more},
    .finish = finish,
    .bounds = {.together = 1, .failures = EXPLORE_NONE},
};

/* ---- what waited for a pin is reclaimed little by little: at most 128 a call ---- */

static void retire_after_pin(void)
{
    ebr_pin(domain);
    retire_many(4 * BATCH);
    EXPLORE(reclaimed == 0);
    ebr_unpin(domain);
    unsigned calls = 0;
    while (reclaimed < 4 * BATCH) {
        unsigned before = reclaimed;
        retire_many(1);
        EXPLORE(reclaimed - before <= 2 * BATCH);
        calls += reclaimed != before;
    }
    EXPLORE(calls > 1);
}

const struct explore_scenario ebr_batch_budget = {
    .name = "ebr.batch-budget",
    .checks = "E4",
    .set_up = set_up,
    .threads = {retire_after_pin},
    .finish = finish,
};
