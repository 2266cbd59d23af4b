/*
 * slotmap_remove.c - removes that race, and generations that come to their end.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle first;
static unsigned won[EXPLORE_MOST_THREADS + 1];

/* ---- three removes of one handle ---- */

static void set_up(void)
{
    make_map(usual_options());
    first = insert(1);
}

static void remove_first(void)
{
    slotmap_pin(map);
    void *value;
    enum vbuf_status status = slotmap_remove(map, first, &value);
    EXPLORE(status == VBUF_OK || status == VBUF_STALE);
    if (status == VBUF_OK) {
        check_value(value, 1);
        won[explore_self()] = 1;
    }
    EXPLORE(!slotmap_contains(map, first));
    slotmap_unpin(map);
}

static void finish(void)
{
    EXPLORE(won[1] + won[2] + won[3] == 1);
    removed[1] = 1;
    check_all_is_there();
    destroy_map();
}

const struct explore_scenario slotmap_remove_race = {
    .name = "slotmap.remove-race",
    .checks = "S2 S6",
    .set_up = set_up,
    .threads = {remove_first, remove_first, remove_first},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- slots at the end of their generations: every handle is new, and none resolves again ---- */

#define LIVES 3
#define OLD (SLOTMAP_LAST_GENERATION - 17) /* a slot that has lived so often has two lives left */

static slotmap_handle handles[MOST_VALUES];

/* Neither past the end, nor at the start again. */
static bool is_one_of_the_last(slotmap_handle handle)
{
    return handle.bits >> 32 > OLD && handle.bits >> 32 <= SLOTMAP_LAST_GENERATION;
}

static void set_up_old(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 1;
    options.max_limbo = 1;
    options.max_threads = 2;
    options.first_generation = OLD;
    make_map(options);
}

static void live(void)
{
    for (unsigned i = 0; i < LIVES; i++) {
        unsigned number = explore_self() * LIVES + i;
        slotmap_handle handle;
        enum vbuf_status status = try_insert(number, &handle);
        EXPLORE(status == VBUF_OK || status == VBUF_FULL || status == VBUF_BUSY);
        if (status != VBUF_OK)
            continue;
        EXPLORE(is_one_of_the_last(handle));
        handles[number] = handle;
        take_out(number, handle);
        slotmap_collect(map);
        for (unsigned k = 0; k <= i; k++)
            EXPLORE(!slotmap_contains(map, handles[number - k]));
    }
}

static void finish_old(void)
{
    for (unsigned i = 0; i < MOST_VALUES; i++) {
        EXPLORE(!slotmap_contains(map, handles[i]));
        for (unsigned k = 0; k < i && handles[i].bits != 0; k++)
            EXPLORE(handles[k].bits != handles[i].bits);
    }
    check_figures();
    unsigned number = MOST_VALUES - 1; /* wears out all that is left */
    slotmap_handle handle;
    while (try_insert(number, &handle) == VBUF_OK) {
        for (unsigned i = 0; i < MOST_VALUES; i++)
            EXPLORE(handles[i].bits != handle.bits);
        take_out(number, handle);
        handles[number--] = handle;
        slotmap_collect(map);
    }
    struct slotmap_report stats;
    EXPLORE(slotmap_stats(map, &stats) == VBUF_OK);
    EXPLORE(stats.exhausted == stats.slots && stats.inserted == 2 * stats.slots);
    EXPLORE(try_insert(0, &handle) == VBUF_FULL);
    destroy_map();
}

const struct explore_scenario slotmap_remove_last_life = {
    .name = "slotmap.remove-last-life",
    .checks = "S1 S6",
    .set_up = set_up_old,
    .threads = {live, live},
    .finish = finish_old,
    NOTHING_FAILS,
};

/* ---- a free list on which a slot that is out of service follows one that is not ---- */

static void set_up_mixed(void)
{
    struct slotmap_options options = usual_options();
    options.max_threads = 1;
    options.max_limbo = 8;
    options.first_generation = OLD;
    make_map(options);
}

static void use_up_one(void)
{
    unsigned order = explore_choose(2);
    take_out(1, handles[1] = insert(1)); /* the first slot's first life */
    slotmap_collect(map);
    handles[2] = insert(2); /* the second's first */
    handles[3] = insert(3); /* the first's last */
    take_out(2 + order, handles[2 + order]);
    take_out(3 - order, handles[3 - order]);
    slotmap_collect(map);
    for (unsigned i = 4; i <= 5; i++) {
        handles[i] = insert(i);
        EXPLORE(is_one_of_the_last(handles[i]) && slotmap_contains(map, handles[i]));
    }
    for (unsigned i = 1; i <= 3; i++)
        EXPLORE(!slotmap_contains(map, handles[i]));
}

static void finish_mixed(void)
{
    check_figures();
    check_slots();
    destroy_map();
}

const struct explore_scenario slotmap_remove_mixed = {
    .name = "slotmap.remove-mixed",
    .checks = "S1 S6",
    .set_up = set_up_mixed,
    .threads = {use_up_one},
    .finish = finish_mixed,
    NOTHING_FAILS,
};
