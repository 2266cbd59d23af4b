/*
 * slotmap_shared.c - threads without a part of their own, which share part 0, or leave slots with the orphans.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle handles[MOST_VALUES];

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

/* ---- removed by two while a third is at the shared lists: left with the orphans ---- */

static struct vbuf_atomic_u32 entered, gone;

static void set_up_two(void)
{
    struct slotmap_options options = usual_options();
    options.max_threads = 1;
    options.max_limbo = 4;
    make_map(options);
    act_as(1);
    handles[1] = insert(1);
    handles[2] = insert(2);
}

static void remove_one(void)
{
    wait_for_flag(&entered, 1);
    take_out(explore_self(), handles[explore_self()]);
    raise_flag(&gone);
}

static void be_at_lists(void)
{
    EXPLORE(part_enter(map_of(map), part_at(map_of(map), 0)));
    raise_flag(&entered);
    wait_for_flag(&gone, 1 + explore_choose(2));
    part_leave(part_at(map_of(map), 0));
    slotmap_collect(map);
}

static void finish_orphans(void)
{
    check_slots();
    if (explore_choose(2) != 0)
        finish();
    else
        destroy_map();
}

const struct explore_scenario slotmap_shared_orphans = {
    .name = "slotmap.shared-orphans",
    .checks = "S6 S9",
    .set_up = set_up_two,
    .threads = {remove_one, remove_one, be_at_lists},
    .finish = finish_orphans,
    NOTHING_FAILS,
};

/* ---- orphans that nobody has adopted when the map is destroyed ---- */

static void be_at_lists_only(void)
{
    EXPLORE(part_enter(map_of(map), part_at(map_of(map), 0)));
    raise_flag(&entered);
    wait_for_flag(&gone, 1);
    part_leave(part_at(map_of(map), 0));
}

static void finish_as_it_is(void)
{
    check_figures();
    check_slots();
    destroy_map();
}

const struct explore_scenario slotmap_shared_destroy = {
    .name = "slotmap.shared-destroy",
    .checks = "S6",
    .set_up = set_up_two,
    .threads = {remove_one, be_at_lists_only},
    .finish = finish_as_it_is,
    NOTHING_FAILS,
};

/* ---- what a thread without a part has removed is collected by one with a part ---- */

static void set_up_left_behind(void)
{
    struct slotmap_options options = usual_options();
    options.max_threads = 1;
    make_map(options);
    act_as(2);
    handles[1] = insert(1);
    take_out(1, handles[1]);
    act_as(1);
    exit_all();
}

static void collect(void)
{
    slotmap_collect(map);
}

static void finish_collected(void)
{
    EXPLORE(destroyed[1] == 1);
    finish();
}

const struct explore_scenario slotmap_shared_collected = {
    .name = "slotmap.shared-collected",
    .checks = "S9",
    .set_up = set_up_left_behind,
    .threads = {collect, collect},
    .finish = finish_collected,
    NOTHING_FAILS,
};

/* ---- a chunk of several, popped without lists to keep the rest on ---- */

static void set_up_chunk(void)
{
    struct slotmap_options options = usual_options();
    options.max_threads = 1;
    options.max_len = 3;
    options.max_limbo = 6;
    make_map(options);
    act_as(1);
    for (unsigned i = 1; i <= 3; i++)
        handles[i] = insert(i);
    for (unsigned i = 1; i <= 3; i++)
        take_out(i, handles[i]);
    slotmap_collect(map);
    struct part *part = map_own_part(map_of(map));
    while (part->vacant.first != 0)
        slots_share_chunk(map_of(map), &part->vacant);
}

static void stay_at_lists(void)
{
    EXPLORE(part_enter(map_of(map), part_at(map_of(map), 0)));
    raise_flag(&entered);
    wait_for_flag(&gone, 2);
    part_leave(part_at(map_of(map), 0));
}

static void take_without_lists(void)
{
    unsigned number = 8 * explore_self();
    wait_for_flag(&entered, 1);
    handles[number] = insert(number);
    raise_flag(&gone);
}

const struct explore_scenario slotmap_shared_chunk = {
    .name = "slotmap.shared-chunk",
    .checks = "S5",
    .set_up = set_up_chunk,
    .threads = {take_without_lists, take_without_lists, stay_at_lists},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- one room among two that share: one gets it, and sees what it was freed by ---- */

static unsigned stayed[EXPLORE_MOST_THREADS + 1];

static void set_up_room(void)
{
    struct slotmap_options options = usual_options();
    options.max_threads = 1;
    options.max_len = 1;
    options.max_limbo = 16;
    options.destroy = NULL;
    make_map(options);
    act_as(1);
    if (explore_choose(2) != 0) { /* unused room in the shared part */
        vbuf_u64_store_relaxed(&part_at(map_of(map), 0)->head.granted, 1);
        vbuf_u64_store_relaxed(&map_of(map)->pool, 0);
    }
}

static void stay(void)
{
    enum vbuf_status status = slotmap_insert(map, &(struct value){1, 1}, NULL);
    EXPLORE(status == VBUF_OK || status == VBUF_FULL);
    stayed[explore_self()] += status == VBUF_OK;
}

static void finish_room(void)
{
    EXPLORE(stayed[1] + stayed[2] + stayed[3] == map_of(map)->max_len);
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, NULL) == VBUF_FULL);
    slotmap_destroy(map);
}

const struct explore_scenario slotmap_shared_room = {
    .name = "slotmap.shared-room",
    .checks = "S5",
    .set_up = set_up_room,
    .threads = {stay, stay},
    .finish = finish_room,
    NOTHING_FAILS,
};

/* ---- two rooms, in the pool: both get one at the same time ---- */

static void set_up_rooms(void)
{
    set_up_room();
    map_of(map)->max_len = 2;
    vbuf_u64_fetch_add_acq_rel(&map_of(map)->pool, 1);
}

const struct explore_scenario slotmap_shared_rooms = {
    .name = "slotmap.shared-rooms",
    .checks = "S5",
    .set_up = set_up_rooms,
    .threads = {stay, stay, stay},
    .finish = finish_room,
    NOTHING_FAILS,
};

/* ---- one that leaves and one that comes ---- */

static void set_up_handover(void)
{
    set_up_room();
    act_as(2);
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &handles[1]) == VBUF_OK);
}

static void leave(void)
{
    EXPLORE(slotmap_remove(map, handles[1], NULL) == VBUF_OK);
}

static void come(void)
{
    stay();
    EXPLORE(stayed[explore_self()] == 0 || !slotmap_contains(map, handles[1]));
}

static void finish_handover(void)
{
    if (stayed[2] == 0)
        stay();
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, NULL) == VBUF_FULL);
    slotmap_destroy(map);
}

const struct explore_scenario slotmap_shared_handover = {
    .name = "slotmap.shared-handover",
    .checks = "S5",
    .set_up = set_up_handover,
    .threads = {leave, come},
    .finish = finish_handover,
    NOTHING_FAILS,
};
