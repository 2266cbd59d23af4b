/*
 * slotmap_figures.c - figures that others change meanwhile: what was so throughout, they say.
 *
 * One value lives throughout; one is in limbo throughout, on the lists of a thread that was stopped in the
 * middle of a call. Others come and go.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle handles[MOST_VALUES];
static uint32_t stopped;

static void stop_in_a_call(uint32_t number)
{
    act_as(number);
    handles[1] = insert(1);
    handles[2] = insert(2);
    take_out(2, handles[2]);
    EXPLORE(part_enter(map_of(map), map_own_part(map_of(map))));
    stopped = number;
}

static void finish(void)
{
    part_leave(part_at(map_of(map), stopped));
    check_all_is_there();
    destroy_map();
}

static void look_at_one(void)
{
    size_t limbo;
    switch (explore_choose(4)) {
    case 0:
        EXPLORE(slotmap_len(map) >= 1);
        break;
    case 1:
        limbo = slots_surely_in_limbo(map_of(map));
        EXPLORE(limbo <= 2);
        break;
    case 2:
        slotmap_collect(map);
        limbo = slots_in_limbo(map_of(map));
        EXPLORE(limbo >= 1);
        break;
    default:
        limbo = slots_in_limbo(map_of(map));
        EXPLORE(limbo >= 1);
    }
}

static void come_and_go(void)
{
    handles[8] = insert(8);
    take_out(8, handles[8]);
    for (int i = 0; i < 3; i++) /* reclaims without a heavy fence: nobody else is there */
        turn_over();
    handles[9] = insert(9);
    take_out(9, handles[9]);
}

static void set_up(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 4;
    options.max_limbo = 8;
    make_map(options);
    stop_in_a_call(1);
}

const struct explore_scenario slotmap_figures_own = {
    .name = "slotmap.figures-own",
    .checks = "S5",
    .set_up = set_up,
    .threads = {come_and_go, look_at_one},
    .finish = finish,
    NOTHING_FAILS,
};

static void set_up_shared(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 4;
    options.max_limbo = 8;
    options.max_threads = 1;
    make_map(options);
    stop_in_a_call(1);
}

const struct explore_scenario slotmap_figures_shared = {
    .name = "slotmap.figures-shared",
    .checks = "S5",
    .set_up = set_up_shared,
    .threads = {come_and_go, look_at_one},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- slots that others get as chunks were counted as reclaimed before ---- */

/* Number 1 has two in a bag, more than it may keep. */
static void set_up_chunks(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 4;
    options.max_limbo = 8;
    options.destroy = NULL;
    make_map(options);
    stop_in_a_call(3);
    map_of(map)->chunk = 1;
    act_as(1);
    handles[3] = insert(3);
    handles[4] = insert(4);
    slotmap_collect(map);
    take_out(3, handles[3]);
    take_out(4, handles[4]);
    exit_up_to(2);
}

static void share(void)
{
    slotmap_collect(map);
}

static void use_shared(void)
{
    slotmap_handle handle = insert(8);
    take_out(8, handle);
    size_t limbo = slots_surely_in_limbo(map_of(map));
    EXPLORE(limbo <= 4);        /* the stopped thread's, two of the other's, one of ours */
    if (handle.bits >> 32 != 9) /* one of the other's slots: no longer in limbo there */
        EXPLORE(limbo <= 3);
}

static void finish_chunks(void)
{
    part_leave(part_at(map_of(map), stopped));
    check_slots();
    slotmap_destroy(map);
}

const struct explore_scenario slotmap_figures_chunks = {
    .name = "slotmap.figures-chunks",
    .checks = "S5",
    .set_up = set_up_chunks,
    .threads = {share, use_shared},
    .finish = finish_chunks,
    NOTHING_FAILS,
};

/* ---- a thread that was never there before inserts, and one that was removes that: one value lives throughout ---- */

static struct vbuf_atomic_u32 came;

static void come_new(void)
{
    handles[8] = insert(8);
    raise_flag(&came);
}

static void take_out_new(void)
{
    vbuf_thread_set_number(2);
    wait_for_flag(&came, 1);
    take_out(8, handles[8]);
}

static void look_before_new(void)
{
    EXPLORE(slotmap_len(map) >= 1);
}

/* It goes the other way, too: who was not there removes, and one that was reclaims that. */
static void go_new(void)
{
    take_out(1, handles[1]);
    raise_flag(&came);
}

static void reclaim_new(void)
{
    vbuf_thread_set_number(2);
    wait_for_flag(&came, 1);
    slotmap_collect(map);
}

static void look_at_limbo(void)
{
    EXPLORE(slots_in_limbo(map_of(map)) >= 1);
}

static void set_up_new(void)
{
    set_up();
    act_as(2);
    map_own_part(map_of(map));
    EXPLORE(ebr_attach(map->domain_) == VBUF_OK);
}

const struct explore_scenario slotmap_figures_new = {
    .name = "slotmap.figures-new",
    .checks = "S5",
    .set_up = set_up_new,
    .threads = {look_before_new, come_new, take_out_new},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .preemptions = 1, .stale = 1, .reorders = EXPLORE_NONE},
};

const struct explore_scenario slotmap_figures_new_limbo = {
    .name = "slotmap.figures-new-limbo",
    .checks = "S5",
    .set_up = set_up_new,
    .threads = {look_at_limbo, go_new, reclaim_new},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .preemptions = 1, .stale = 1, .reorders = EXPLORE_NONE},
};

/* The other way, too: who was not there reclaims, and one that was removes another. */
static void collect_new(void)
{
    slotmap_collect(map);
    raise_flag(&came);
}

static void go_after_new(void)
{
    vbuf_thread_set_number(2);
    wait_for_flag(&came, 1);
    take_out(9, handles[9]);
}

static void look_surely(void)
{
    EXPLORE(slots_surely_in_limbo(map_of(map)) <= 2); /* the stopped thread's, and one */
}

static void set_up_new_collector(void)
{
    set_up_new();
    handles[8] = insert(8);
    handles[9] = insert(9);
    take_out(8, handles[8]);
}

const struct explore_scenario slotmap_figures_new_surely = {
    .name = "slotmap.figures-new-surely",
    .checks = "S5",
    .set_up = set_up_new_collector,
    .threads = {look_surely, collect_new, go_after_new},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .preemptions = 1, .stale = 1, .reorders = EXPLORE_NONE},
};
