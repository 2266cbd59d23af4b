/*
 * slotmap_lists.c - whose lists are whose: threads that collect take them over from threads that sleep, that
 * wake up, and that collect themselves.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle handles[MOST_VALUES];

/* Only where the system may refuse something. */
static bool refused;

static void finish(void)
{
    EXPLORE(!refused);
    check_all_is_there();
    destroy_map();
}

static void collect(void)
{
    slotmap_collect(map);
}

/* ---- an owner that wakes up while its lists are taken over ---- */

/* Number 1 has one value removed, one live, and free slots; and has exited, so the first thread is it. */
static void set_up_owner(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 3;
    options.max_limbo = 3;
    make_map(options);
    act_as(1);
    handles[1] = insert(1);
    handles[2] = insert(2);
    take_out(1, handles[1]);
    exit_all();
}

static void wake_up(void)
{
    take_out(2, handles[2]);
    if (try_insert(3, &handles[3]) == VBUF_OK)
        take_out(3, handles[3]);
    else
        refused = true;
}

const struct explore_scenario slotmap_lists_owner_wakes = {
    .name = "slotmap.lists-owner-wakes",
    .checks = "S5 S6 S9",
    .set_up = set_up_owner,
    .threads = {wake_up, collect},
    .finish = finish,
    NOTHING_FAILS,
};

const struct explore_scenario slotmap_lists_owner_wakes_full_fence = {
    .name = "slotmap.lists-owner-wakes-full-fence",
    .checks = "S5 S6 S9",
    .set_up = set_up_owner,
    .threads = {wake_up, collect},
    .finish = finish,
    .full_fence = true,
    NOTHING_FAILS,
};

static void finish_refused(void)
{
    refused = false;
    finish();
}

const struct explore_scenario slotmap_lists_refused = {
    .name = "slotmap.lists-refused",
    .checks = "S5 S6",
    .set_up = set_up_owner,
    .threads = {wake_up, collect},
    .finish = finish_refused,
    .barriers_fail = true,
};

/* ---- the same, and two that take over ---- */

static void wake_up_shortly(void)
{
    take_out(2, handles[2]);
    turn_over();
}

const struct explore_scenario slotmap_lists_two_takers = {
    .name = "slotmap.lists-two-takers",
    .checks = "S5 S6 S9",
    .set_up = set_up_owner,
    .threads = {wake_up_shortly, collect, collect},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- an owner that has just left its lists, in the middle of a turn-over, finds them being emptied ---- */

static void turn_over_only(void)
{
    line_up(2);
    turn_over();
}

static void collect_lined_up(void)
{
    line_up(2);
    slotmap_collect(map);
}

const struct explore_scenario slotmap_lists_turn_over = {
    .name = "slotmap.lists-turn-over",
    .checks = "S6",
    .set_up = set_up_owner,
    .threads = {turn_over_only, collect_lined_up},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1, .reorders = EXPLORE_NONE},
};

/* ---- a sleeper's values, and two that collect: afterwards all is destroyed ---- */

static void set_up_sleeper(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 3;
    options.max_limbo = 3;
    make_map(options);
    for (unsigned i = 1; i <= 3; i++)
        handles[i] = insert(i);
    take_out(1, handles[1]);
    turn_over(); /* one in a bag, one in the open batch */
    take_out(2, handles[2]);
    insert(4);
    insert(5);
    EXPLORE(try_insert(6, NULL) == VBUF_FULL); /* its last call failed */
    if (explore_choose(2) != 0) {              /* a taker was stopped before its fence */
        uint64_t token = vbuf_u64_fetch_add_acq_rel(&map_of(map)->freezes, 2) + 2;
        vbuf_u64_store_relaxed(&map_own_part(map_of(map))->head.frozen, token);
    }
}

static void remove_and_collect(void)
{
    take_out(3, handles[3]);
    slotmap_collect(map);
}

static void finish_collected(void)
{
    for (unsigned i = 1; i <= 3; i++)
        EXPLORE(destroyed[i] == 1);
    finish();
}

const struct explore_scenario slotmap_lists_sleeper = {
    .name = "slotmap.lists-sleeper",
    .checks = "S6 S9",
    .set_up = set_up_sleeper,
    .threads = {remove_and_collect},
    .finish = finish_collected,
    NOTHING_FAILS,
};

const struct explore_scenario slotmap_lists_two_collect = {
    .name = "slotmap.lists-two-collect",
    .checks = "S6 S9",
    .set_up = set_up_sleeper,
    .threads = {remove_and_collect, collect},
    .finish = finish_collected,
    NOTHING_FAILS,
};

/* ---- a pin holds all of limbo: busy when it is full, and never full ---- */

static void set_up_pinned(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 1;
    options.max_limbo = 2;
    make_map(options);
    act_as(1);
    slotmap_pin(map);
    if (explore_choose(2) != 0)
        map_of(map)->slots = 3; /* as if all others were in somebody's hands */
}

static void fill_limbo(void)
{
    for (unsigned i = 0; i < 6; i++) {
        unsigned number = 8 * explore_self() + i;
        enum vbuf_status status = try_insert(number, &handles[number]);
        size_t limbo = slots_in_limbo(map_of(map));
        if (status == VBUF_OK)
            take_out(number, handles[number]);
        else
            EXPLORE(status == VBUF_BUSY &&
                    (limbo > map_of(map)->max_limbo || map_of(map)->slots == 3));
    }
}

static void finish_pinned(void)
{
    EXPLORE(slots_in_limbo(map_of(map)) <= map_of(map)->max_limbo + 1);
    slotmap_unpin(map);
    map_of(map)->slots = 12;
    finish();
}

const struct explore_scenario slotmap_lists_pinned = {
    .name = "slotmap.lists-pinned",
    .checks = "S5",
    .set_up = set_up_pinned,
    .threads = {fill_limbo},
    .finish = finish_pinned,
    NOTHING_FAILS,
};

/* ---- nobody is pinned: never busy, however little limbo may hold, and whoever else has filled it ---- */

static void set_up_not_pinned(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 1;
    options.max_limbo = 1;
    make_map(options);
    for (unsigned i = 1; i <= 2; i++) {
        act_as(i);
        handles[i] = insert(i);
        take_out(i, handles[i]);
    }
}

static void come_and_go(void)
{
    for (unsigned i = 8; i < 12; i++) {
        handles[i] = insert(i);
        take_out(i, handles[i]);
    }
}

const struct explore_scenario slotmap_lists_not_pinned = {
    .name = "slotmap.lists-not-pinned",
    .checks = "S5",
    .set_up = set_up_not_pinned,
    .threads = {come_and_go},
    .finish = finish,
    NOTHING_FAILS,
};
