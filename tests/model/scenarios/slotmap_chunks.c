/*
 * slotmap_chunks.c - slots that go from thread to thread, by the stack of chunks and by the orphans.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_domain.h"
#include "slotmap_scenario.h"

static slotmap_handle handles[MOST_VALUES];

static void finish(void)
{
    check_all_is_there();
    destroy_map();
}

/* Pushes the calling thread's vacant slots as chunks. */
static void share_vacant(void)
{
    struct part *part = map_own_part(map_of(map));
    if (!part_enter(map_of(map), part))
        return;
    while (part->vacant.first != 0)
        slots_share_chunk(map_of(map), &part->vacant);
    part_leave(part);
}

/* Makes `count` vacant slots with numbers from `from` up, and pushes them as chunks of this many. */
static void make_chunks(unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++)
        handles[i] = insert(i);
    for (unsigned i = from; i < from + count; i++)
        take_out(i, handles[i]);
    slotmap_collect(map);
    share_vacant();
}

/* ---- a popper that was stopped finds the head it has read unmoved, or not back ---- */

static void set_up_chunks(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 2;
    options.max_limbo = 4;
    make_map(options);
    make_chunks(1, 2);
    map_of(map)->chunk = 1;
    make_chunks(3, 2);
    exit_all();
}

static void pop(void)
{
    unsigned number = 8 * explore_self();
    take_out(number, insert(number));
}

/* Pops all, and brings back the first. */
static void pop_and_push(void)
{
    unsigned number = 8 * explore_self();
    handles[number] = insert(number);
    take_out(number, handles[number]);
    slotmap_collect(map);
    share_vacant();
}

const struct explore_scenario slotmap_chunks_back = {
    .name = "slotmap.chunks-back",
    .checks = "S5 S6",
    .set_up = set_up_chunks,
    .threads = {pop, pop_and_push},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- chunks from several threads to several ---- */

static void churn(void)
{
    unsigned number = 8 * explore_self();
    for (unsigned i = 0; i < 2; i++) {
        handles[number] = insert(number);
        take_out(number, handles[number]);
        share_vacant();
        turn_over();
        number++;
    }
}

const struct explore_scenario slotmap_chunks_churn = {
    .name = "slotmap.chunks-churn",
    .checks = "S5 S6",
    .set_up = set_up_chunks,
    .threads = {churn, churn},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- two pop meanwhile, and what one of them did not use yet is taken over ---- */

static void set_up_kept(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 4;
    options.max_limbo = 8;
    make_map(options);
    map_of(map)->chunk = 2;
    make_chunks(1, 4);
    exit_all();
}

static void pop_and_stay(void)
{
    line_up(3);
    unsigned number = 8 * explore_self();
    handles[number] = insert(number);
}

static void pop_and_take_over(void)
{
    pop_and_stay();
    slotmap_collect(map);
}

const struct explore_scenario slotmap_chunks_kept = {
    .name = "slotmap.chunks-kept",
    .checks = "S5 S6",
    .set_up = set_up_kept,
    .threads = {pop_and_stay, pop_and_stay, pop_and_take_over},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- two that push at the same time, and one that pops ---- */

static void set_up_pushes(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 4;
    options.max_limbo = 8;
    make_map(options);
    map_of(map)->chunk = 2;
    for (unsigned i = 1; i <= 2; i++) {
        act_as(i);
        handles[2 * i] = insert(2 * i);
        handles[2 * i + 1] = insert(2 * i + 1);
        take_out(2 * i, handles[2 * i]);
        take_out(2 * i + 1, handles[2 * i + 1]);
    }
    for (unsigned i = 1; i <= 2; i++) { /* from limbo to vacant */
        act_as(i);
        struct part *part = map_own_part(map_of(map));
        for (int step = 0; step < 3; step++)
            turn_over();
        EXPLORE(part->vacant.count == 2);
    }
    act_as(3);
    exit_all();
}

static void push(void)
{
    line_up(3);
    share_vacant();
}

static void pop_late(void)
{
    line_up(3);
    handles[8] = insert(8);
}

const struct explore_scenario slotmap_chunks_push = {
    .name = "slotmap.chunks-push",
    .checks = "S5 S6",
    .set_up = set_up_pushes,
    .threads = {push, push, pop_late},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- a popper that has read a head, and pins only after it was removed ---- */

static struct vbuf_atomic_u32 popped;

static bool popper_is_pinned(const void *context)
{
    (void)context;
    const struct ebr_record_ *record = &record_at(map->domain_, 2)->head;
    return record->epoch.raw > EBR_IDLE_ || popped.raw != 0;
}

static void set_up_late(void)
{
    set_up_kept();
    act_as(2);
    EXPLORE(ebr_attach(map->domain_) == VBUF_OK);
    exit_all();
}

static void pop_slowly(void)
{
    line_up(2);
    handles[8] = insert(8);
    raise_flag(&popped);
}

static void bring_back(void)
{
    line_up(2);
    struct part *part = map_own_part(map_of(map));
    handles[16] = insert(16);
    take_out(16, handles[16]);
    turn_over();
    explore_wait(popper_is_pinned, NULL);
    turn_over();
    turn_over();
    if (part->head.free != 0) {
        handles[17] = insert(17);
    }
    share_vacant();
}

const struct explore_scenario slotmap_chunks_late = {
    .name = "slotmap.chunks-late",
    .checks = "S5 S6",
    .set_up = set_up_late,
    .threads = {bring_back, pop_slowly},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .stale = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

/* ---- a popper that was stopped, and one that takes what is next, and gives the head it has read up ---- */

static void set_up_singles(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 4;
    options.max_limbo = 8;
    make_map(options);
    map_of(map)->chunk = 1;
    make_chunks(1, 3);
    exit_all();
}

static void pop_one(void)
{
    handles[8] = insert(8);
}

static void claim_and_cancel(void)
{
    void *value;
    slotmap_handle handle;
    EXPLORE(slotmap_claim(map, &handle, &value) == VBUF_OK);
    handles[16] = insert(16);
    EXPLORE(slotmap_cancel(map, handle) == VBUF_OK);
    inserted[17] = removed[17] = 1; /* so it counts */
}

static void finish_cancelled(void)
{
    slotmap_collect(map);
    destroyed[17] = 1;
    finish();
}

const struct explore_scenario slotmap_chunks_cancel = {
    .name = "slotmap.chunks-cancel",
    .checks = "S5 S6",
    .set_up = set_up_singles,
    .threads = {pop_one, claim_and_cancel},
    .finish = finish_cancelled,
    NOTHING_FAILS,
};
