/*
 * slotmap_taker.c - takers that were stopped: in the middle of the emptying, or with a token that has grown old.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle handles[MOST_VALUES];
static struct vbuf_atomic_u32 ask, held, done, inside;

static void finish(void)
{
    check_all_is_there();
    destroy_map();
}

/* ---- an owner whose lists are being emptied throughout: it does without them ---- */

static void hold_lists(void)
{
    struct part *part = part_at(map_of(map), 1);
    wait_blindly(&ask);
    bool mine = begin_to_take(part);
    raise_blindly(&held);
    wait_blindly(&done);
    if (!mine)
        return;
    touch_lists(part);
    vbuf_u64_store_release(&part->head.frozen, 0);
}

static void set_up_three(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 3;
    options.max_limbo = 6;
    make_map(options);
    act_as(1);
    handles[1] = insert(1);
    handles[2] = insert(2);
    take_out(1, handles[1]);
    act_as(2);
    handles[3] = insert(3);
}

static void set_up(void)
{
    set_up_three();
    exit_up_to(1);
}

static void do_without(void)
{
    EXPLORE(vbuf_thread_number() == 1);
    raise_blindly(&ask);
    wait_blindly(&held);
    take_out(2, handles[2]);
    handles[8] = insert(8);
    turn_over();
    take_out(8, handles[8]);
    collect_once();
    raise_blindly(&done);
}

/* Number 2, which was there throughout, collects what number 1 has left. */
static void finish_by_other(void)
{
    vbuf_thread_set_number(2);
    finish();
}

const struct explore_scenario slotmap_taker_stopped = {
    .name = "slotmap.taker-stopped",
    .checks = "S5 S6",
    .set_up = set_up,
    .threads = {do_without, hold_lists},
    .finish = finish_by_other,
    NOTHING_FAILS,
};

/* ---- the same, from within a destructor on ---- */

static void destroy_slowly(void *context, void *memory)
{
    destroy_value(context, memory);
    if (explore_self() == 1) {
        raise_blindly(&ask);
        wait_blindly(&held);
    }
}

static void set_up_destructor(void)
{
    set_up();
    map_of(map)->destroy = destroy_slowly;
}

static void collect_own(void)
{
    EXPLORE(vbuf_thread_number() == 1);
    collect_once();
    raise_blindly(&ask);
    handles[8] = insert(8);
    raise_blindly(&done);
}

const struct explore_scenario slotmap_taker_in_destructor = {
    .name = "slotmap.taker-in-destructor",
    .checks = "S5 S6",
    .set_up = set_up_destructor,
    .threads = {collect_own, hold_lists},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- the same, when what is destroyed waits for its release: nobody else gets its slot ---- */

static void set_up_held(void)
{
    set_up_three();
    act_as(1);
    EXPLORE(slotmap_invalidate(map, handles[2]) == VBUF_OK);
    exit_up_to(1);
    map_of(map)->destroy = destroy_slowly;
}

static void collect_held(void)
{
    EXPLORE(vbuf_thread_number() == 1);
    collect_once();
    raise_blindly(&ask);
    EXPLORE(try_insert(8, &handles[8]) == VBUF_FULL || destroyed[2] == 0 ||
            slotmap_handle_index(handles[8]) != slotmap_handle_index(handles[2]));
    raise_blindly(&done);
}

static void finish_held(void)
{
    slotmap_collect(map);
    EXPLORE(destroyed[2] == 1 && slotmap_release(map, handles[2]) == VBUF_OK);
    removed[2] = 1;
    slotmap_collect(map);
    finish();
}

const struct explore_scenario slotmap_taker_held = {
    .name = "slotmap.taker-held",
    .checks = "S6",
    .set_up = set_up_held,
    .threads = {collect_held, hold_lists},
    .finish = finish_held,
    NOTHING_FAILS,
};

/* ---- a taker that has got ready slots of another finds its own lists being emptied ---- */

/* Number 3 sleeps with what becomes ready. */
static void set_up_ready(void)
{
    set_up_three();
    act_as(3);
    take_out(3, handles[3]);
    exit_up_to(1);
}

static void collect_without(void)
{
    EXPLORE(vbuf_thread_number() == 1);
    raise_blindly(&ask);
    wait_blindly(&held);
    EXPLORE(collect_once() == 1 && destroyed[3] == 1); /* at once, rather than left somewhere */
    raise_blindly(&done);
}

const struct explore_scenario slotmap_taker_gets_ready = {
    .name = "slotmap.taker-gets-ready",
    .checks = "S6 S9",
    .set_up = set_up_ready,
    .threads = {collect_without, hold_lists},
    .finish = finish,
    NOTHING_FAILS,
};

static void collect_within_budget(void)
{
    EXPLORE(vbuf_thread_number() == 1);
    raise_blindly(&ask);
    wait_blindly(&held);
    size_t budget = 2;
    slots_collect_some(map_of(map), &budget);
    EXPLORE(destroyed[3] == 1 && budget == 1);
    raise_blindly(&done);
}

const struct explore_scenario slotmap_taker_budget = {
    .name = "slotmap.taker-budget",
    .checks = "S9",
    .set_up = set_up_ready,
    .threads = {collect_within_budget, hold_lists},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- the same, and what it has got waits for its release ---- */

static void set_up_ready_held(void)
{
    set_up_three();
    act_as(3);
    EXPLORE(slotmap_invalidate(map, handles[3]) == VBUF_OK);
    exit_up_to(1);
}

static void finish_ready_held(void)
{
    EXPLORE(slotmap_release(map, handles[3]) == VBUF_OK);
    removed[3] = 1;
    slotmap_collect(map);
    finish();
}

const struct explore_scenario slotmap_taker_gets_held = {
    .name = "slotmap.taker-gets-held",
    .checks = "S6",
    .set_up = set_up_ready_held,
    .threads = {collect_without, hold_lists},
    .finish = finish_ready_held,
    NOTHING_FAILS,
};

/* ---- a taker stopped behind its fence, with a token; the owner is at its lists; another taker freezes ---- */

static void set_up_old(void)
{
    make_map(usual_options());
    act_as(1);
    handles[1] = insert(1);
    handles[2] = insert(2);
    take_out(1, handles[1]);
    exit_up_to(1);
}

static void collect_late(void)
{
    wait_for_flag(&ask, 1);
    collect_once();
    raise_flag(&done);
}

static bool has_fenced(const void *context)
{
    (void)context;
    return explore_heavy_fences() > 0;
}

static void be_at_lists(void)
{
    EXPLORE(vbuf_thread_number() == 1);
    struct part *part = map_own_part(map_of(map));
    raise_flag(&ask);
    explore_wait(has_fenced, NULL);
    if (part_enter(map_of(map), part))
        part_leave(part);
    bool entered = part_enter(map_of(map), part);
    if (entered)
        touch_lists(part);
    raise_blindly(&inside);
    wait_blindly(&held);
    wait_blindly(&done);
    if (!entered)
        return;
    touch_lists(part);
    part_leave(part);
}

static void freeze_and_stop(void)
{
    wait_blindly(&inside);
    struct part *part = part_at(map_of(map), 1);
    uint64_t token = vbuf_u64_fetch_add_acq_rel(&map_of(map)->freezes, 2) + 2, seen = 0;
    vbuf_u64_cas_acq_rel(&part->head.frozen, &seen, token);
    raise_blindly(&held);
}

static void finish_old(void)
{
    vbuf_u64_store_relaxed(&part_at(map_of(map), 1)->head.frozen, 0);
    finish();
}

const struct explore_scenario slotmap_taker_old_token = {
    .name = "slotmap.taker-old-token",
    .checks = "S6",
    .set_up = set_up_old,
    .threads = {be_at_lists, collect_late, freeze_and_stop},
    .finish = finish_old,
    NOTHING_FAILS,
};

/* ---- a taker that found the owner busy takes its token back late: another is emptying the part by then ---- */

static struct vbuf_atomic_u32 collected;

static void collect_busy(void)
{
    wait_for_flag(&inside, 1);
    collect_once();
    raise_blindly(&collected);
}

static void be_busy(void)
{
    EXPLORE(vbuf_thread_number() == 1);
    struct part *part = map_own_part(map_of(map));
    EXPLORE(part_enter(map_of(map), part));
    raise_flag(&inside);
    explore_wait(has_fenced, NULL);
    part_leave(part);
    raise_blindly(&ask);
    wait_blindly(&held);
    wait_blindly(&collected);
    if (part_enter(map_of(map), part)) {
        touch_lists(part);
        part_leave(part);
    }
    raise_blindly(&done);
}

const struct explore_scenario slotmap_taker_late = {
    .name = "slotmap.taker-late",
    .checks = "S6",
    .set_up = set_up,
    .threads = {be_busy, collect_busy, hold_lists},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- a taker that is refused the barrier takes its own tokens back, and leaves the lists to who is emptying them ---- */

static void collect_beside(void)
{
    wait_blindly(&held);
    collect_once();
    raise_blindly(&collected);
}

static void wake_up(void)
{
    vbuf_thread_set_number(1);
    struct part *part = map_own_part(map_of(map));
    raise_blindly(&ask);
    wait_blindly(&collected);
    if (part_enter(map_of(map), part)) {
        touch_lists(part);
        part_leave(part);
    }
    raise_blindly(&done);
}

const struct explore_scenario slotmap_taker_refused = {
    .name = "slotmap.taker-refused",
    .checks = "S6",
    .set_up = set_up_three,
    .threads = {wake_up, collect_beside, hold_lists},
    .finish = finish_by_other,
    .barriers_fail = true,
};
