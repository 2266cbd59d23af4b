/*
 * slotmap_chunks.c - slots that go from thread to thread, by the stack of chunks and by the orphans.
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

/* Makes `count` vacant slots with numbers from `from` up, and pushes them as chunks of this many. */
static void make_chunks(unsigned from, unsigned count)
{
    struct part *part = map_own_part(map_of(map));
    for (unsigned i = from; i < from + count; i++)
        handles[i] = insert(i);
    for (unsigned i = from; i < from + count; i++)
        take_out(i, handles[i]);
    slotmap_collect(map);
    EXPLORE(part_enter(map_of(map), part));
    while (part->vacant.first != 0)
        slots_share_chunk(map_of(map), &part->vacant);
    part_leave(part);
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

static void share_vacant(void)
{
    struct part *part = map_own_part(map_of(map));
    if (!part_enter(map_of(map), part))
        return;
    while (part->vacant.first != 0)
        slots_share_chunk(map_of(map), &part->vacant);
    part_leave(part);
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
    options.max_len = 3;
    options.max_limbo = 6;
    make_map(options);
    map_of(map)->chunk = 2;
    for (unsigned i = 1; i <= 3; i++)
        handles[i] = insert(i);
    for (unsigned i = 1; i <= 3; i++)
        take_out(i, handles[i]);
    slotmap_collect(map);
    share_vacant();
    exit_all();
}

static void pop_and_stay(void)
{
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
