/*
 * slotmap_calls.c - what one call does and leaves: how many destructors it runs, what it takes in spite of the
 * pace, whose lists it is done with.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_domain.h"
#include "slotmap_scenario.h"

static struct vbuf_atomic_u32 done;

static void finish(void)
{
    check_all_is_there();
    destroy_map();
}

/* ---- at most 128 destructors in an insert or a remove; a collect runs them all, and counts what it reclaims ---- */

#define MANY 300
#define MOST_DESTROYS 128

static unsigned destroys;

static void count_destroys(void *context, void *memory)
{
    (void)context;
    (void)memory;
    destroys++;
}

static void set_up_many(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = MANY;
    options.max_limbo = MANY;
    options.destroy = count_destroys;
    make_map(options);
    static slotmap_handle many[MANY];
    for (unsigned i = 0; i < MANY; i++)
        EXPLORE(slotmap_insert(map, &(struct value){i, i}, &many[i]) == VBUF_OK);
    slotmap_pin(map); /* so that all become ready at once */
    for (unsigned i = 0; i < MANY; i++)
        EXPLORE(slotmap_remove(map, many[i], NULL) == VBUF_OK);
    slotmap_unpin(map);
    EXPLORE(destroys == 0);
    ebr_advance(map->domain_, true);
    ebr_advance(map->domain_, true);
    exit_all();
}

static void call_often(void)
{
    unsigned before = 0;
    struct slotmap_report stats;
    turn_over(); /* as a remove does */
    EXPLORE(destroys <= MOST_DESTROYS);
    before = destroys;
    slotmap_handle handle;
    while (destroys == before)
        EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &handle) == VBUF_OK);
    EXPLORE(destroys - before <= MOST_DESTROYS && destroys < MANY);
    before = destroys;
    EXPLORE(slotmap_collect(map) == MANY - before);
    EXPLORE(destroys == MANY && slotmap_stats(map, &stats) == VBUF_OK && stats.limbo == 0);
}

static void destroy_it(void)
{
    slotmap_destroy(map);
}

const struct explore_scenario slotmap_calls_budget = {
    .name = "slotmap.calls-budget",
    .checks = "S6 S9",
    .set_up = set_up_many,
    .threads = {call_often},
    .finish = destroy_it,
    NOTHING_FAILS,
};

/* ---- a remove waits until the next barrier is due, and a collect does not ---- */

static void set_up_paced(void)
{
    make_map(usual_options());
    act_as(2);
    EXPLORE(ebr_attach(map->domain_) == VBUF_OK);
    vbuf_self_.id = 1;
    EXPLORE(ebr_attach(map->domain_) == VBUF_OK);
    vbuf_u64_store_relaxed(&map->domain_->next_barrier, INT64_MAX);
}

static void collect_paced(void)
{
    take_out(8, insert(8));
    unsigned fences = explore_heavy_fences();
    turn_over();
    EXPLORE(explore_heavy_fences() == fences);
    slotmap_collect(map);
    EXPLORE(destroyed[8] == 1);
}

const struct explore_scenario slotmap_calls_paced = {
    .name = "slotmap.calls-paced",
    .checks = "S9",
    .set_up = set_up_paced,
    .threads = {collect_paced},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- who has collected, and sleeps, keeps the only slot from nobody ---- */

static void set_up_single(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 1;
    make_map(options);
    map_of(map)->slots = 2; /* with 0 */
    act_as(1);
    take_out(1, insert(1));
    exit_up_to(1);
}

static void collect_and_sleep(void)
{
    slotmap_collect(map);
    EXPLORE(destroyed[1] == 1);
    raise_flag(&done);
}

static void insert_late(void)
{
    wait_for_flag(&done, 1);
    take_out(8, insert(8));
}

const struct explore_scenario slotmap_calls_left = {
    .name = "slotmap.calls-left",
    .checks = "S5",
    .set_up = set_up_single,
    .threads = {collect_and_sleep, insert_late},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- more becomes ready at once than a thread may keep: others have it ---- */

static void set_up_more(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 4;
    options.max_limbo = 12;
    options.destroy = NULL;
    make_map(options);
    slotmap_pin(map);
    for (unsigned i = 0; i < 12; i++)
        take_out(i, insert(i));
    slotmap_unpin(map);
}

static void collect_more(void)
{
    EXPLORE(slotmap_collect(map) == 12);
    EXPLORE(slots_in_limbo(map_of(map)) == 0);
}

const struct explore_scenario slotmap_calls_more = {
    .name = "slotmap.calls-more",
    .checks = "S5 S9",
    .set_up = set_up_more,
    .threads = {collect_more},
    .finish = destroy_it,
    NOTHING_FAILS,
};

/* ---- figures are added up while what was counted first grows old ---- */

static void set_up_few(void)
{
    make_map(usual_options());
}

static void look_at_limbo(void)
{
    EXPLORE(slots_surely_in_limbo(map_of(map)) <= 1);
    EXPLORE(slots_in_limbo(map_of(map)) <= 1);
    EXPLORE(slotmap_len(map) <= 1);
}

static void come_and_go(void)
{
    take_out(8, insert(8));
    slotmap_collect(map);
}

const struct explore_scenario slotmap_calls_clamped = {
    .name = "slotmap.calls-clamped",
    .checks = "S5",
    .set_up = set_up_few,
    .threads = {look_at_limbo, come_and_go},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- a destructor that comes back, and leaves again: a collect does not run after it ---- */

#define LAST 30

static void destroy_and_return(void *context, void *memory)
{
    uint64_t number = ((struct value *)memory)->number + 1;
    destroy_value(context, memory);
    if (number > LAST)
        return;
    take_out(number, insert(number));
    for (unsigned i = 0; i < LIMBO_GRACE / 2; i++)
        turn_over();
}

static void set_up_return(void)
{
    struct slotmap_options options = usual_options();
    options.max_limbo = 8;
    options.destroy = destroy_and_return;
    make_map(options);
}

static void collect_shortly(void)
{
    take_out(1, insert(1));
    EXPLORE(slotmap_collect(map) < LAST / 2);
}

static void finish_return(void)
{
    while (destroyed[LAST] == 0)
        slotmap_collect(map);
    finish();
}

const struct explore_scenario slotmap_calls_bounded = {
    .name = "slotmap.calls-bounded",
    .checks = "S9",
    .set_up = set_up_return,
    .threads = {collect_shortly},
    .finish = finish_return,
    NOTHING_FAILS,
};
