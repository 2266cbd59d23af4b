/*
 * slotmap_iterate.c - iterations while others insert and remove.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle handles[MOST_VALUES];

static void set_up(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 3;
    options.max_limbo = 3;
    make_map(options);
    handles[1] = insert(1);
    handles[2] = insert(2);
}

static void iterate(void)
{
    unsigned visits[MOST_VALUES] = {0};
    struct slotmap_iter iter = slotmap_iter_begin(map);
    const struct value *value;
    slotmap_handle handle;
    slotmap_pin(map);
    while ((value = slotmap_iter_next(&iter, &handle)) != NULL) {
        EXPLORE(value->number == value->copy && value->number < MOST_VALUES);
        EXPLORE(visits[value->number]++ == 0);
    }
    slotmap_unpin(map);
    EXPLORE(visits[1] == 1);
}

static void churn(void)
{
    take_out(2, handles[2]);
    slotmap_collect(map);
    handles[3] = insert(3);
    handles[4] = insert(4);
}

static void finish(void)
{
    check_all_is_there();
    destroy_map();
}

const struct explore_scenario slotmap_iterate_churn = {
    .name = "slotmap.iterate-churn",
    .checks = "S3 S7",
    .set_up = set_up,
    .threads = {iterate, churn},
    .finish = finish,
    NOTHING_FAILS,
};
