/*
 * slotmap_shared.c - threads without a part of their own, which share part 0, or leave slots with the orphans.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle handles[MOST_VALUES];
static struct vbuf_atomic_u64 shown[EXPLORE_MOST_THREADS + 1];

static void finish(void)
{
    check_all_is_there();
    destroy_map();
}

/* Number 1, which sleeps, has the only part. */
static void set_up(void)
{
    struct slotmap_options options = usual_options();
    options.max_threads = 1;
    options.max_limbo = 4;
    make_map(options);
    act_as(1);
    handles[1] = insert(1);
    take_out(1, handles[1]);
}

static void churn(void)
{
    unsigned number = 8 * explore_self();
    handles[number] = insert(number);
    take_out(number, handles[number]);
    slotmap_collect(map);
}

const struct explore_scenario slotmap_shared_churn = {
    .name = "slotmap.shared-churn",
    .checks = "S5 S6",
    .set_up = set_up,
    .threads = {churn, churn},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- one has a part, one has not: they take over from each other ---- */

static void set_up_both(void)
{
    struct slotmap_options options = usual_options();
    options.max_threads = 1;
    options.max_len = 3;
    options.max_limbo = 5;
    make_map(options);
    act_as(1);
    handles[1] = insert(1);
    act_as(2);
    handles[2] = insert(2);
    take_out(2, handles[2]);
    exit_all();
}

const struct explore_scenario slotmap_shared_and_own = {
    .name = "slotmap.shared-and-own",
    .checks = "S5 S6 S9",
    .set_up = set_up_both,
    .threads = {churn, churn},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- removed by two at once, collected by a third ---- */

static void set_up_two(void)
{
    struct slotmap_options options = usual_options();
    options.max_threads = 1;
    options.max_limbo = 4;
    make_map(options);
    handles[1] = insert(1);
    handles[2] = insert(2);
}

static void remove_one(void)
{
    take_out(explore_self(), handles[explore_self()]);
}

static void collect(void)
{
    slotmap_collect(map);
}

const struct explore_scenario slotmap_shared_orphans = {
    .name = "slotmap.shared-orphans",
    .checks = "S6 S9",
    .set_up = set_up_two,
    .threads = {remove_one, remove_one, collect},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- one room among two that share ---- */

static void set_up_room(void)
{
    struct slotmap_options options = usual_options();
    options.max_threads = 1;
    options.max_len = 1;
    options.max_limbo = 16;
    options.destroy = NULL;
    make_map(options);
    act_as(1);
}

static void come_and_go(void)
{
    unsigned self = explore_self(), other = 3 - self;
    slotmap_handle handle;
    enum vbuf_status status = slotmap_insert(map, &(struct value){1, 1}, &handle);
    EXPLORE(status == VBUF_OK || status == VBUF_FULL);
    if (status != VBUF_OK)
        return;
    EXPLORE(!slotmap_contains(map, look(&shown[other])));
    show(&shown[self], handle);
    EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
}

static void finish_room(void)
{
    EXPLORE(slotmap_len(map) == 0);
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, NULL) == VBUF_OK);
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, NULL) == VBUF_FULL);
    slotmap_destroy(map);
}

const struct explore_scenario slotmap_shared_room = {
    .name = "slotmap.shared-room",
    .checks = "S5",
    .set_up = set_up_room,
    .threads = {come_and_go, come_and_go},
    .finish = finish_room,
    NOTHING_FAILS,
};
