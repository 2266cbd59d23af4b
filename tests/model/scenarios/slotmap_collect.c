/*
 * slotmap_collect.c - S9 beside others that move things about: what was removed before a slotmap_collect is destroyed
 * when it, and the calls beside it, have returned; whoever had it in hand.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle handles[MOST_VALUES];
static bool has_no_slots;

/* As slotmap_collect, but with all the patience in the world for whom it meets. */
static void collect(void)
{
    enum slots_met met;
    for (;;) {
        slots_collect(map_of(map), &met);
        if (met == MET_NOBODY)
            return;
        explore_yield();
    }
}

/* Marks what was removed beside a collect, which may destroy it or not. */
#define BESIDE 32

static void finish_collected(void)
{
    for (unsigned i = 0; i < BESIDE; i++) {
        EXPLORE(destroyed[i] == removed[i] || removed[BESIDE + i] != 0);
        removed[i] |= removed[BESIDE + i];
        removed[BESIDE + i] = 0;
    }
    if (has_no_slots)
        map_of(map)->slots = 32;
    check_all_is_there();
    destroy_map();
}

/* ---- an insert finds no slot, and collects within a budget smaller than what a sleeper has removed ---- */

/* Number 2, which sleeps, has removed two values: sealed, or ready to be destroyed, or one still in its open batch. */
static void set_up_sleeper(bool in_collect, size_t budget)
{
    struct slotmap_options options = usual_options();
    options.max_len = 4;
    options.max_limbo = 4;
    options.destroy_in_collect = in_collect;
    make_map(options);
    map_of(map)->destroys_a_call = budget;
    map_of(map)->chunk = 1;
    act_as(2);
    for (unsigned i = 1; i <= 3; i++)
        handles[i] = insert(i);
    take_out(1, handles[1]);
    unsigned sealed = explore_choose(3);
    if (sealed == 0) {
        take_out(2, handles[2]);
        turn_over();
    } else {
        turn_over();
        take_out(2, handles[2]);
    }
    for (unsigned i = 0; sealed != 1 && i < LIMBO_GRACE / 2; i++)
        ebr_advance(map->domain_, true);
    map_of(map)->slots = vbuf_u32_load_relaxed(&map_of(map)->made);
    has_no_slots = true;
    act_as(1);
    map_own_part(map_of(map)); /* the inserter's */
}

static void set_up_in_collect(void)
{
    set_up_sleeper(true, 0);
}

static void set_up_budget(void)
{
    set_up_sleeper(false, 1);
}

static void insert_without_slots(void)
{
    vbuf_thread_set_number(1);
    try_insert(8, &handles[8]);
}

const struct explore_scenario slotmap_collect_beside_insert = {
    .name = "slotmap.collect-beside-insert",
    .checks = "S9",
    .set_up = set_up_in_collect,
    .threads = {insert_without_slots, collect},
    .finish = finish_collected,
    NOTHING_FAILS,
};

const struct explore_scenario slotmap_collect_beside_budget = {
    .name = "slotmap.collect-beside-budget",
    .checks = "S9",
    .set_up = set_up_budget,
    .threads = {insert_without_slots, collect},
    .finish = finish_collected,
    NOTHING_FAILS,
};

/* ---- orphans, which a remove of another thread takes along ---- */

static void set_up_orphan(void)
{
    make_map(usual_options());
    act_as(1);
    handles[1] = insert(1);
    handles[2] = insert(2);
    act_as(2);
    map_own_part(map_of(map));
    EXPLORE(slotmap_remove(map, handles[1], NULL) == VBUF_OK);
    removed[1] = 1;
    struct part *part = map_own_part(map_of(map)); /* as if another had had its lists just then */
    uint32_t index = part->head.open_first;
    part->head.open_first = part->head.open_last = part->head.open_count = 0;
    slots_bury_orphans(map_of(map), &(struct limbo_chain){index, index, 1});
}

static void turn_over_beside(void)
{
    vbuf_thread_set_number(1);
    turn_over();
}

const struct explore_scenario slotmap_collect_beside_orphans = {
    .name = "slotmap.collect-beside-orphans",
    .checks = "S9",
    .set_up = set_up_orphan,
    .threads = {turn_over_beside, collect},
    .finish = finish_collected,
    .bounds = {.failures = EXPLORE_NONE,
               .stale = EXPLORE_NONE,
               .reorders = EXPLORE_NONE,
               .preemptions = 3},
};

/* ---- what one thread without a part has removed, while another is at the shared lists ---- */

static void set_up_shared(void)
{
    struct slotmap_options options = usual_options();
    options.max_threads = 1;
    options.max_limbo = 4;
    make_map(options);
    act_as(2);
    handles[1] = insert(1);
    handles[2] = insert(2);
    take_out(1, handles[1]);
}

static void remove_shared(void)
{
    vbuf_thread_set_number(3);
    EXPLORE(slotmap_remove(map, handles[2], NULL) == VBUF_OK);
    removed[BESIDE + 2] = 1;
}

static void collect_as_owner(void)
{
    vbuf_thread_set_number(1);
    collect();
}

const struct explore_scenario slotmap_collect_beside_shared = {
    .name = "slotmap.collect-beside-shared",
    .checks = "S9",
    .set_up = set_up_shared,
    .threads = {collect_as_owner, remove_shared},
    .finish = finish_collected,
    NOTHING_FAILS,
};

/* ---- what somebody has removed who is then in the middle of another call ---- */

static void set_up_busy(void)
{
    make_map(usual_options());
    act_as(1);
    handles[1] = insert(1);
    handles[2] = insert(2);
    take_out(1, handles[1]);
}

static void remove_another(void)
{
    vbuf_thread_set_number(1);
    EXPLORE(slotmap_remove(map, handles[2], NULL) == VBUF_OK);
    removed[BESIDE + 2] = 1;
}

const struct explore_scenario slotmap_collect_beside_remove = {
    .name = "slotmap.collect-beside-remove",
    .checks = "S9",
    .set_up = set_up_busy,
    .threads = {remove_another, collect},
    .finish = finish_collected,
    NOTHING_FAILS,
};

/* ---- a collector that finds its own lists in use by another one, who is emptying them ---- */

static void set_up_two_collectors(void)
{
    make_map(usual_options());
    act_as(3);
    handles[1] = insert(1);
    take_out(1, handles[1]);
    act_as(1);
    handles[2] = insert(2);
    take_out(2, handles[2]);
    act_as(2);
    map_own_part(map_of(map));
    exit_up_to(2);
}

const struct explore_scenario slotmap_collect_beside_collect = {
    .name = "slotmap.collect-beside-collect",
    .checks = "S9",
    .set_up = set_up_two_collectors,
    .threads = {collect, collect},
    .finish = finish_collected,
    NOTHING_FAILS,
};

/* ---- in a destructor nothing can be destroyed, so nothing is taken from others ---- */

static void destroy_and_collect(void *context, void *memory)
{
    uint64_t number = ((struct value *)memory)->number;
    destroy_value(context, memory);
    if (number == 1)
        slotmap_collect(map);
}

static void set_up_destructor(void)
{
    struct slotmap_options options = usual_options();
    options.destroy = destroy_and_collect;
    make_map(options);
    map_of(map)->destroys_a_call = 0;
    act_as(2);
    handles[2] = insert(2);
    take_out(2, handles[2]);
    make_ready();
    act_as(1);
    handles[1] = insert(1);
    take_out(1, handles[1]);
    make_ready();
    map_of(map)->destroys_a_call = 1;
}

const struct explore_scenario slotmap_collect_beside_destructor = {
    .name = "slotmap.collect-beside-destructor",
    .checks = "S9",
    .set_up = set_up_destructor,
    .threads = {turn_over_beside, collect},
    .finish = finish_collected,
    NOTHING_FAILS,
};

/* ---- an insert takes no more than it may destroy, from all of them, and that before what was its own ---- */

static void set_up_both_ready(void)
{
    make_map(usual_options());
    map_of(map)->destroys_a_call = 0;
    for (uint32_t i = 3; i > 0; i--) {
        act_as(i);
        handles[i] = insert(i);
        take_out(i, handles[i]);
        make_ready();
    }
    turn_over(); /* onto the list of what is ready */
}

static void collect_within_budget(void)
{
    vbuf_thread_set_number(1);
    size_t budget = 1;
    slots_collect_some(map_of(map), &budget);
    EXPLORE(destroyed[1] + destroyed[2] + destroyed[3] == 1 && budget == 0);
    EXPLORE(map_own_part(map_of(map))->limbo.ready.count == 1); /* and that is its own */
}

static void finish(void)
{
    check_all_is_there();
    destroy_map();
}

const struct explore_scenario slotmap_collect_within_budget = {
    .name = "slotmap.collect-within-budget",
    .checks = "S9",
    .set_up = set_up_both_ready,
    .threads = {collect_within_budget},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- somebody who was in the middle of a call at the first look, and is not any more; and nobody who ever was ---- */

static struct vbuf_atomic_u32 inside;

static bool was_looked_at(const void *context)
{
    (void)context;
    return explore_heavy_fences() >= 2 + LIMBO_GRACE / 2;
}

static void be_at_lists(void)
{
    vbuf_thread_set_number(1);
    ebr_attach(map->domain_); /* so that steps of the epoch need a fence */
    struct part *part = map_own_part(map_of(map));
    EXPLORE(part_enter(map_of(map), part));
    raise_blindly(&inside);
    explore_wait(was_looked_at, NULL);
    part_leave(part);
}

static void collect_twice_at_least(void)
{
    wait_blindly(&inside);
    slotmap_collect(map);
    EXPLORE(destroyed[1] == 1 || explore_heavy_fences() > 2 + LIMBO_GRACE / 2);
}

const struct explore_scenario slotmap_collect_looks_again = {
    .name = "slotmap.collect-looks-again",
    .checks = "S9",
    .set_up = set_up_busy,
    .threads = {be_at_lists, collect_twice_at_least},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .preemptions = EXPLORE_NONE},
};

static void collect_alone(void)
{
    ebr_attach(map->domain_);
    slotmap_collect(map);
    EXPLORE(explore_heavy_fences() <= 2 + LIMBO_GRACE / 2 && destroyed[1] == 1);
}

const struct explore_scenario slotmap_collect_looks_once = {
    .name = "slotmap.collect-looks-once",
    .checks = "S9",
    .set_up = set_up_busy,
    .threads = {collect_alone},
    .finish = finish_collected,
    NOTHING_FAILS,
};

/* ---- a collector, or an insert that collects, is kept out of its own lists for longer than it tries ---- */

static struct vbuf_atomic_u32 ask, held, collected, inserted_now;

static void destroy_and_ask(void *context, void *memory)
{
    destroy_value(context, memory);
    if (explore_self() == 1) {
        raise_blindly(&ask);
        wait_blindly(&held);
    }
}

/* Number `sleeper` has removed two values, which are ready; nobody finds a slot. */
static void set_up_kept_out(uint32_t sleeper, uint32_t max_threads)
{
    struct slotmap_options options = usual_options();
    options.max_len = 8;
    options.max_limbo = 8;
    options.max_threads = max_threads;
    make_map(options);
    map_of(map)->destroys_a_call = 0;
    map_of(map)->chunk = 1;
    act_as(sleeper);
    for (unsigned i = 1; i <= 2; i++)
        handles[i] = insert(i);
    for (unsigned i = 1; i <= 2; i++)
        take_out(i, handles[i]);
    make_ready();
    turn_over();
    map_of(map)->slots = vbuf_u32_load_relaxed(&map_of(map)->made);
    has_no_slots = true;
    map_of(map)->destroys_a_call = 2;
    act_as(3);
    map_own_part(map_of(map));
    act_as(1);
    map_own_part(map_of(map));
}

static void set_up_emptied(void)
{
    set_up_kept_out(2, 4);
    map_of(map)->destroy = destroy_and_ask;
}

static void collect_as_first(void)
{
    vbuf_thread_set_number(1);
    enum slots_met met;
    size_t count = slots_collect(map_of(map), &met);
    EXPLORE(count == 2 || met == MET_TAKER);
    raise_blindly(&collected);
}

static void empty_slowly(void)
{
    struct part *part = part_at(map_of(map), 1);
    wait_blindly(&ask);
    bool takes = begin_to_take(part);
    raise_blindly(&held);
    wait_blindly(&collected);
    if (takes)
        vbuf_u64_store_release(&part->head.frozen, 0);
}

static void finish_emptied(void)
{
    map_of(map)->destroy = destroy_value;
    collect();
    finish_collected();
}

const struct explore_scenario slotmap_collect_emptied = {
    .name = "slotmap.collect-emptied",
    .checks = "S9",
    .set_up = set_up_emptied,
    .threads = {collect_as_first, empty_slowly},
    .finish = finish_emptied,
    NOTHING_FAILS,
};

static void set_up_left(void)
{
    set_up_kept_out(2, 4);
}

static void insert_and_tell(void)
{
    vbuf_thread_set_number(1);
    try_insert(8, &handles[8]);
    raise_blindly(&inserted_now);
}

static void collect_and_tell(void)
{
    vbuf_thread_set_number(3);
    collect();
    raise_blindly(&collected);
}

static void empty_late(void)
{
    struct part *part = part_at(map_of(map), 1);
    wait_blindly(&collected);
    if (!begin_to_take(part))
        return;
    wait_blindly(&inserted_now);
    vbuf_u64_store_release(&part->head.frozen, 0);
}

const struct explore_scenario slotmap_collect_left = {
    .name = "slotmap.collect-left",
    .checks = "S9",
    .set_up = set_up_left,
    .threads = {insert_and_tell, collect_and_tell, empty_late},
    .finish = finish_collected,
    .bounds = {.failures = EXPLORE_NONE,
               .stale = EXPLORE_NONE,
               .reorders = EXPLORE_NONE,
               .preemptions = 3},
};

/* The same without parts of their own. */
static void set_up_left_shared(void)
{
    set_up_kept_out(1, 1);
}

static void insert_shared(void)
{
    vbuf_thread_set_number(2);
    try_insert(8, &handles[8]);
    raise_blindly(&inserted_now);
}

static void be_at_shared_lists(void)
{
    struct part *part = part_at(map_of(map), 0);
    wait_blindly(&collected);
    if (!part_enter(map_of(map), part))
        return;
    wait_blindly(&inserted_now);
    part_leave(part);
}

const struct explore_scenario slotmap_collect_left_shared = {
    .name = "slotmap.collect-left-shared",
    .checks = "S9",
    .set_up = set_up_left_shared,
    .threads = {insert_shared, collect_and_tell, be_at_shared_lists},
    .finish = finish_collected,
    .bounds = {.failures = EXPLORE_NONE,
               .stale = EXPLORE_NONE,
               .reorders = EXPLORE_NONE,
               .preemptions = 3},
};

/* ---- a taker that is stopped for a while is waited for ---- */

static bool was_looked_at_often(const void *context)
{
    (void)context;
    return explore_heavy_fences() >= 20;
}

static void take_for_long(void)
{
    struct part *part = part_at(map_of(map), 1);
    EXPLORE(begin_to_take(part));
    raise_blindly(&inside);
    explore_wait(was_looked_at_often, NULL);
    vbuf_u64_store_release(&part->head.frozen, 0);
}

static void collect_patiently(void)
{
    wait_blindly(&inside);
    slotmap_collect(map);
    EXPLORE(destroyed[1] == 1);
}

const struct explore_scenario slotmap_collect_waits = {
    .name = "slotmap.collect-waits",
    .checks = "S9",
    .set_up = set_up_busy,
    .threads = {take_for_long, collect_patiently},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .preemptions = EXPLORE_NONE},
};

/* ---- the system refuses the barrier: nobody was taken over from, and that is known ---- */

static void collect_refused(void)
{
    enum slots_met met;
    slots_collect(map_of(map), &met);
    EXPLORE(destroyed[1] == 1 || met != MET_NOBODY);
}

const struct explore_scenario slotmap_collect_refused = {
    .name = "slotmap.collect-refused",
    .checks = "S9",
    .set_up = set_up_busy,
    .threads = {collect_refused},
    .finish = finish,
    .barriers_fail = true,
};
