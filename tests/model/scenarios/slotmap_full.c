/*
 * slotmap_full.c - VBUF_FULL only if at one moment during the call there was no unused room.
 *
 * A thread that inserts is under way until its value is gone. An insert may be refused if, during it, as many
 * others as max_len were under way at the same time: then it was crowded.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static struct vbuf_atomic_u64 crowd; /* {how often it got crowded 32, under way 32} */
static struct vbuf_atomic_u32 live;  /* surely */
static slotmap_handle handles[EXPLORE_MOST_THREADS + 1];
static bool refuse;

/* How often it had been crowded before. */
static uint64_t get_under_way(void)
{
    uint64_t seen = vbuf_u64_load_relaxed(&crowd), next;
    do {
        bool crowded = (uint32_t)seen >= map_of(map)->max_len;
        next = seen + 1 + ((uint64_t)crowded << 32);
    } while (!vbuf_u64_cas_acq_rel(&crowd, &seen, next));
    return seen >> 32;
}

static void arrive(void)
{
    vbuf_u64_fetch_add_acq_rel(&crowd, UINT64_MAX); /* minus 1 */
}

static bool was_crowded_since(uint64_t before)
{
    return vbuf_u64_fetch_add_acq_rel(&crowd, 0) >> 32 != before;
}

static void check_refusal(enum vbuf_status status, uint64_t before)
{
    EXPLORE(status == VBUF_FULL && was_crowded_since(before));
}

static enum vbuf_status insert_any(void)
{
    return slotmap_insert(map, &(struct value){1, 1}, &handles[explore_self()]);
}

static void come(void)
{
    line_up(3);
    uint64_t before = get_under_way();
    enum vbuf_status status = insert_any();
    if (status != VBUF_OK)
        check_refusal(status, before);
}

static struct vbuf_atomic_u32 refused, gone;

static bool two_are_under_way(const void *context)
{
    (void)context;
    return (uint32_t)crowd.raw >= 2;
}

/* Number 1 is refused memory, once another has begun to look. */
static bool refuses(void *context, size_t bytes)
{
    (void)context, (void)bytes;
    if (!refuse || vbuf_self_.id != 1)
        return true;
    raise_flag(&refused);
    explore_wait(two_are_under_way, NULL);
    return false;
}

static struct slotmap_options lean_options(size_t max_len)
{
    struct slotmap_options options = usual_options();
    options.max_len = max_len;
    options.max_limbo = 16; /* nobody collects */
    options.destroy = NULL;
    options.on_commit = refuses;
    return options;
}

static void finish(void)
{
    refuse = false;
    while (slotmap_len(map) < map_of(map)->max_len)
        EXPLORE(slotmap_insert(map, &(struct value){1, 1}, NULL) == VBUF_OK);
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, NULL) == VBUF_FULL);
    slotmap_destroy(map);
}

/* ---- behind the back of who looks, one leaves, and then another comes: there was room throughout ---- */

static void make_leapfrog(bool inlined)
{
    make_map(lean_options(2));
    give_room(1, 1);
    handles[0] = insert(1);
    give_room(2, 1);
    if (inlined) { /* a free slot, so the inlined call does */
        slotmap_handle handle = insert(2);
        EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
    }
    act_as(3);
    exit_all();
    get_under_way(); /* the one that leaves */
}

static void set_up_leapfrog(void)
{
    make_leapfrog(false);
}

static void set_up_inlined(void)
{
    make_leapfrog(true);
}

static void leave(void)
{
    line_up(3);
    EXPLORE(slotmap_remove(map, handles[0], NULL) == VBUF_OK);
    arrive();
}

const struct explore_scenario slotmap_full_leapfrog = {
    .name = "slotmap.full-leapfrog",
    .checks = "S5",
    .set_up = set_up_leapfrog,
    .threads = {leave, come, come},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .preemptions = 1, .stale = 1, .reorders = EXPLORE_NONE},
};

const struct explore_scenario slotmap_full_inlined = {
    .name = "slotmap.full-inlined",
    .checks = "S5",
    .set_up = set_up_inlined,
    .threads = {leave, come, come},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .preemptions = 1, .stale = 1, .reorders = EXPLORE_NONE},
};

/* ---- the same, where the one that leaves was refused memory: it never came ---- */

static void set_up_no_slot(void)
{
    struct slotmap_options options = lean_options(2);
    options.value_align = 128; /* a slot a page */
    options.value_size = 128;
    make_map(options);
    give_room(1, 1);
    give_room(2, 1);
    act_as(3);
    exit_all();
    refuse = true;
}

static enum vbuf_status insert_large(void)
{
    unsigned char value[128] = {0};
    return slotmap_insert(map, value, NULL);
}

static void fail_to_come(void)
{
    line_up(3);
    if (vbuf_self_.id == 2)
        wait_for_flag(&gone, 1);
    if (vbuf_self_.id == 3)
        wait_for_flag(&refused, 1);
    uint64_t before = get_under_way();
    enum vbuf_status status = insert_large();
    if (status == VBUF_FULL)
        check_refusal(status, before);
    if (status != VBUF_OK)
        arrive();
    raise_flag(&gone);
}

static void finish_no_slot(void)
{
    refuse = false;
    while (slotmap_len(map) < map_of(map)->max_len)
        EXPLORE(insert_large() == VBUF_OK);
    EXPLORE(insert_large() == VBUF_FULL);
    slotmap_destroy(map);
}

const struct explore_scenario slotmap_full_no_slot = {
    .name = "slotmap.full-no-slot",
    .checks = "S5",
    .set_up = set_up_no_slot,
    .threads = {fail_to_come, fail_to_come, fail_to_come},
    .finish = finish_no_slot,
    .bounds = {.failures = EXPLORE_NONE, .stale = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

/* ---- room that moves to the pool, and is met nowhere ---- */

static void set_up_surplus(void)
{
    make_map(lean_options(3));
    give_room(1, 3);
    act_as(2);
    exit_all();
}

static void give_surplus(void)
{
    line_up(2);
    turn_over();
    insert_any();
}

static void come_alone(void)
{
    line_up(2);
    EXPLORE(insert_any() == VBUF_OK);
}

const struct explore_scenario slotmap_full_surplus = {
    .name = "slotmap.full-surplus",
    .checks = "S5",
    .set_up = set_up_surplus,
    .threads = {give_surplus, come_alone},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- one leaves; then one comes, into the shared part; then one looks, and knows of neither ---- */

static void set_up_shared(void)
{
    struct slotmap_options options = lean_options(2);
    options.max_threads = 2;
    make_map(options);
    give_room(1, 1);
    handles[0] = insert(1);
    give_room(3, 1); /* to the shared part */
    act_as(2);
    exit_all();
    get_under_way(); /* the one that leaves */
}

const struct explore_scenario slotmap_full_shared = {
    .name = "slotmap.full-shared",
    .checks = "S5",
    .set_up = set_up_shared,
    .threads = {leave, come, come},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE,
               .preemptions = 1,
               .stale = 3,
               .reorders = EXPLORE_NONE,
               .together = 4},
};

/* ---- threads that come and go ---- */

static void set_up_churn(void)
{
    make_map(lean_options(1));
}

static void come_and_go(void)
{
    uint64_t before = get_under_way();
    enum vbuf_status status = insert_any();
    if (status == VBUF_OK) {
        uint32_t others = vbuf_u32_fetch_add_relaxed(&live, 1);
        EXPLORE(others < map_of(map)->max_len);
        vbuf_u32_fetch_add_relaxed(&live, UINT32_MAX); /* minus 1 */
        EXPLORE(slotmap_remove(map, handles[explore_self()], NULL) == VBUF_OK);
    } else {
        check_refusal(status, before);
    }
    arrive();
}

static void come_and_go_twice(void)
{
    come_and_go();
    come_and_go();
}

const struct explore_scenario slotmap_full_churn = {
    .name = "slotmap.full-churn",
    .checks = "S5",
    .set_up = set_up_churn,
    .threads = {come_and_go_twice, come_and_go},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- a thread that moved room was stopped in the middle: busy, unless there is room elsewhere ---- */

static void set_up_stopped(void)
{
    make_map(lean_options(1));
    if (explore_choose(2) != 0)
        handles[0] = insert(1);
    vbuf_u64_fetch_add_acq_rel(&map_of(map)->moves, 1);
}

static void finish_stopped(void)
{
    vbuf_u64_fetch_add_acq_rel(&map_of(map)->moves, UINT64_MAX);
    finish();
}

static void come_to_stopped(void)
{
    enum vbuf_status status = insert_any();
    EXPLORE(status == (handles[0].bits != 0 ? VBUF_BUSY : VBUF_OK));
}

const struct explore_scenario slotmap_full_stopped = {
    .name = "slotmap.full-stopped",
    .checks = "S5",
    .set_up = set_up_stopped,
    .threads = {come_to_stopped},
    .finish = finish_stopped,
    NOTHING_FAILS,
};

/* ---- what one that looks for a slot has counted before, and takes back, hides no remove of its thread ---- */

static slotmap_handle leavers[2];

static void set_up_undone(void)
{
    make_map(lean_options(4));
    map_of(map)->chunk = 4;
    act_as(1);
    leavers[0] = insert(1);
    leavers[1] = insert(2); /* and two slots on its list */
    give_room(1, 2);
    act_as(2);
    map_own_part(map_of(map));
}

/* Never more than two, and a third that comes. */
static void leave_and_come(void)
{
    vbuf_thread_set_number(1);
    for (unsigned i = 0; i < 2; i++)
        EXPLORE(slotmap_remove(map, leavers[i], NULL) == VBUF_OK);
    for (unsigned i = 0; i < 3; i++)
        EXPLORE(insert_any() == VBUF_OK);
}

static void come_as_fourth(void)
{
    vbuf_thread_set_number(2);
    EXPLORE(insert_any() == VBUF_OK);
}

const struct explore_scenario slotmap_full_undone = {
    .name = "slotmap.full-undone",
    .checks = "S5",
    .set_up = set_up_undone,
    .threads = {leave_and_come, come_as_fourth},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE,
               .preemptions = 1,
               .stale = 4,
               .reorders = EXPLORE_NONE,
               .together = 5},
};
