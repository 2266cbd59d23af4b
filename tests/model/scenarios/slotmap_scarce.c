/*
 * slotmap_scarce.c - no slot to be had, while lives end and begin: VBUF_FULL only if every slot is out of service.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle handles[EXPLORE_MOST_THREADS + 1];
static struct vbuf_atomic_u32 left;
static uint32_t first, second;

static struct slotmap_options lean_options(uint32_t max_threads)
{
    struct slotmap_options options = usual_options();
    options.max_len = 8;
    options.max_limbo = 16; /* nobody collects for its sake */
    options.max_threads = max_threads;
    options.destroy = NULL;
    return options;
}

static enum vbuf_status insert_any(void)
{
    return slotmap_insert(map, &(struct value){1, 1}, &handles[explore_self()]);
}

/* One value, and as many slots besides as are in somebody's hands: so there are some to come, whoever looks. */
static void make_scarce(uint32_t hands, uint32_t max_threads)
{
    make_map(lean_options(max_threads));
    map_of(map)->chunk = 1;
    act_as(1);
    handles[0] = insert(1);
    map_of(map)->slots = 2 + hands;
    vbuf_u32_store_relaxed(&map_of(map)->made, 2 + hands);
    for (uint32_t number = 2; number <= 3; number++) {
        act_as(number);
        map_own_part(map_of(map));
    }
}

static void come_to_scarce(void)
{
    vbuf_thread_set_number(first);
    enum vbuf_status status = insert_any();
    EXPLORE(status == VBUF_OK || status == VBUF_BUSY);
}

static void finish_scarce(void)
{
    slotmap_destroy(map);
}

/* Two lives more, if the slot is to be had; then one that is not. */
static void live_on(void)
{
    vbuf_thread_set_number(second);
    for (unsigned i = 0; i < 2 && handles[0].bits != 0; i++) {
        EXPLORE(slotmap_remove(map, handles[0], NULL) == VBUF_OK);
        slotmap_collect(map);
        handles[0] = (slotmap_handle){0};
        EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &handles[0]) != VBUF_FULL);
    }
    EXPLORE(insert_any() != VBUF_FULL);
}

static void set_up_scarce(void)
{
    make_scarce(2, 2);
    first = 2;
    second = 1;
}

const struct explore_scenario slotmap_scarce_alone = {
    .name = "slotmap.scarce-alone",
    .checks = "S5",
    .set_up = set_up_scarce,
    .threads = {come_to_scarce, live_on},
    .finish = finish_scarce,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1, .reorders = EXPLORE_NONE},
};

/* One removes it, another has its slot then. */
static void go(void)
{
    vbuf_thread_set_number(second);
    EXPLORE(slotmap_remove(map, handles[0], NULL) == VBUF_OK);
    slotmap_collect(map);
    raise_flag(&left);
}

static void follow(void)
{
    vbuf_thread_set_number(3);
    wait_for_flag(&left, 1);
    EXPLORE(insert_any() != VBUF_FULL);
}

static void set_up_scarce_shared(void)
{
    make_scarce(1, 2);
    first = 2;
    second = 1;
}

/* Who follows uses the shared part. */
const struct explore_scenario slotmap_scarce_shared = {
    .name = "slotmap.scarce-shared",
    .checks = "S5",
    .set_up = set_up_scarce_shared,
    .threads = {come_to_scarce, go, follow},
    .finish = finish_scarce,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1, .reorders = EXPLORE_NONE, .preemptions = 1},
};

/* Who goes was never there before. */
static void set_up_scarce_new(void)
{
    make_scarce(1, 4);
    first = 2;
    second = 0;
}

static void go_new(void)
{
    EXPLORE(vbuf_thread_number() == 4);
    EXPLORE(slotmap_remove(map, handles[0], NULL) == VBUF_OK);
    slotmap_collect(map);
    raise_flag(&left);
}

const struct explore_scenario slotmap_scarce_new = {
    .name = "slotmap.scarce-new",
    .checks = "S5",
    .set_up = set_up_scarce_new,
    .threads = {come_to_scarce, go_new, follow},
    .finish = finish_scarce,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1, .reorders = EXPLORE_NONE, .preemptions = 1},
};

/*
 * While one is in a destructor, in the middle of its insert, another lives on, without a fence after its removes; and
 * is stopped when the last of its inserts has failed inline.
 */
static slotmap_handle lives[4];
static struct vbuf_atomic_u32 asked;

static void destroy_and_wait(void *context, void *memory)
{
    (void)context, (void)memory;
    if (explore_self() != 1 || asked.raw != 0)
        return;
    raise_blindly(&asked);
    wait_blindly(&left);
}

static void live_on_and_tell(void)
{
    vbuf_thread_set_number(1);
    wait_blindly(&asked);
    for (unsigned i = 2; i < 4; i++)
        EXPLORE(slotmap_remove(map, lives[i], NULL) == VBUF_OK);
    slotmap_collect(map); /* two slots */
    for (unsigned i = 0; i < 2; i++) {
        EXPLORE(slotmap_remove(map, lives[i], NULL) == VBUF_OK);
        EXPLORE(slotmap_insert(map, &(struct value){1, 1}, NULL) == VBUF_OK);
    }
    raise_blindly(&left);
    EXPLORE(insert_any() != VBUF_FULL);
}

static void set_up_scarce_failed(void)
{
    struct slotmap_options options = lean_options(4);
    options.destroy = destroy_and_wait;
    make_map(options);
    map_of(map)->chunk = 1;
    map_of(map)->slots = 6;
    map_of(map)->destroys_a_call = 1;
    act_as(1);
    for (unsigned i = 0; i < 4; i++)
        lives[i] = insert(i);
    act_as(2);
    EXPLORE(slotmap_invalidate(map, insert(4)) == VBUF_OK); /* its slot is not to be had */
    first = 2;
}

const struct explore_scenario slotmap_scarce_failed = {
    .name = "slotmap.scarce-failed",
    .checks = "S5",
    .set_up = set_up_scarce_failed,
    .threads = {come_to_scarce, live_on_and_tell},
    .finish = finish_scarce,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1, .reorders = EXPLORE_NONE, .preemptions = 1},
};

/* ---- two that look for the last slot, which is to come: both are one too many, or neither ---- */

static void come_too(void)
{
    vbuf_thread_set_number(second);
    EXPLORE(insert_any() != VBUF_FULL);
}

const struct explore_scenario slotmap_scarce_race = {
    .name = "slotmap.scarce-race",
    .checks = "S5",
    .set_up = set_up_scarce_shared,
    .threads = {come_to_scarce, come_too},
    .finish = finish_scarce,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1, .reorders = EXPLORE_NONE},
};

/* ---- a value that moves from slot to slot: one of them is always to be had ---- */

static void set_up_scarce_leap(void)
{
    make_map(lean_options(2));
    map_of(map)->chunk = 2;
    act_as(1);
    handles[0] = insert(1); /* and a slot on its list */
    map_of(map)->slots = 3;
    act_as(2);
    map_own_part(map_of(map));
    first = 2;
}

static void leap(void)
{
    vbuf_thread_set_number(1);
    for (unsigned i = 0; i < 2 && handles[0].bits != 0; i++) {
        EXPLORE(slotmap_remove(map, handles[0], NULL) == VBUF_OK);
        handles[0] = (slotmap_handle){0};
        EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &handles[0]) != VBUF_FULL);
    }
}

const struct explore_scenario slotmap_scarce_leap = {
    .name = "slotmap.scarce-leap",
    .checks = "S5",
    .set_up = set_up_scarce_leap,
    .threads = {come_to_scarce, leap},
    .finish = finish_scarce,
    .bounds = {.failures = EXPLORE_NONE, .stale = 2, .reorders = EXPLORE_NONE},
};

/* ---- the same, by somebody who was at its lists while they were asked for, and tells of nothing else ---- */

static struct vbuf_atomic_u32 inside;

static bool was_asked(const void *context)
{
    (void)context;
    return explore_heavy_fences() >= 2;
}

static void come_late(void)
{
    wait_blindly(&inside);
    come_to_scarce();
}

static void leap_late(void)
{
    vbuf_thread_set_number(1);
    struct part *part = map_own_part(map_of(map));
    EXPLORE(part_enter(map_of(map), part));
    raise_blindly(&inside);
    explore_wait(was_asked, NULL);
    part_leave(part);
    EXPLORE(slotmap_remove(map, handles[0], NULL) == VBUF_OK);
    EXPLORE(insert_any() != VBUF_FULL);
}

const struct explore_scenario slotmap_scarce_late = {
    .name = "slotmap.scarce-late",
    .checks = "S5",
    .set_up = set_up_scarce_leap,
    .threads = {come_late, leap_late},
    .finish = finish_scarce,
    .bounds = {.failures = EXPLORE_NONE, .stale = 2, .reorders = EXPLORE_NONE},
};

/* ---- none is to be had, and that is said ---- */

static slotmap_handle claimed;

static void set_up_scarce_none(void)
{
    make_map(lean_options(2));
    map_of(map)->chunk = 1;
    act_as(1);
    handles[0] = insert(1);
    void *value;
    EXPLORE(slotmap_claim(map, &claimed, &value) == VBUF_OK);
    slotmap_handle held = insert(3);
    EXPLORE(slotmap_invalidate(map, held) == VBUF_OK);
    slotmap_collect(map); /* held */
    EXPLORE(slotmap_invalidate(map, insert(2)) == VBUF_OK);
    act_as(3);
    slotmap_pin(map); /* and that is not */
    map_of(map)->slots = 5;
    first = 1 + explore_choose(2);
}

static void come_to_none(void)
{
    vbuf_thread_set_number(first);
    EXPLORE(insert_any() == VBUF_FULL);
}

static void finish_scarce_none(void)
{
    EXPLORE(insert_any() == VBUF_FULL);
    slotmap_unpin(map);
    EXPLORE(slotmap_cancel(map, claimed) == VBUF_OK);
    EXPLORE(insert_any() == VBUF_OK); /* collected */
    slotmap_destroy(map);
}

const struct explore_scenario slotmap_scarce_none = {
    .name = "slotmap.scarce-none",
    .checks = "S5",
    .set_up = set_up_scarce_none,
    .threads = {come_to_none},
    .finish = finish_scarce_none,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1, .reorders = EXPLORE_NONE},
};

/* ---- those in limbo have no life left: they are as good as out of service ---- */

static void set_up_last_lives(void)
{
    struct slotmap_options options = lean_options(2);
    options.max_len = 1;
    make_map(options);
    map_of(map)->chunk = 1;
    act_as(1);
    slotmap_pin(map); /* they stay there */
    for (uint32_t i = 1; i <= 2; i++) {
        EXPLORE(slotmap_remove(map, insert(i), NULL) == VBUF_OK);
        vbuf_u32_store_relaxed(&slot_at(map_of(map), i)->generation,
                               with_state(SLOTMAP_LAST_GENERATION, SLOTMAP_REMOVED_));
    }
    map_of(map)->slots = 3;
    first = 2;
}

static void finish_last_lives(void)
{
    vbuf_thread_set_number(1);
    slotmap_unpin(map);
    slotmap_destroy(map);
}

const struct explore_scenario slotmap_scarce_last_lives = {
    .name = "slotmap.scarce-last-lives",
    .checks = "S5",
    .set_up = set_up_last_lives,
    .threads = {come_to_none},
    .finish = finish_last_lives,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1, .reorders = EXPLORE_NONE},
};
