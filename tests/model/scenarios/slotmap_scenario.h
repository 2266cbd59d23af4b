/*
 * slotmap_scenario.h - what the scenarios of slotmap share: a map of numbered values, each of which is
 * destroyed once, and what a thread that sleeps waits for.
 *
 * A value is its number twice; a destroyed one is poisoned, so whoever still reads it fails the run. Every
 * number is inserted at most once.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SLOTMAP_SCENARIO_H
#define SLOTMAP_SCENARIO_H

#include "explore.h"
#include "slotmap_internal.h"
#include "threads.h"

#define MOST_VALUES 64

/* Where what the system refuses is not the matter. */
#define NOTHING_FAILS .bounds = {.failures = EXPLORE_NONE}

struct value {
    uint64_t number, copy;
};

static struct slotmap *map;
static uint64_t inserted[MOST_VALUES], removed[MOST_VALUES], destroyed[MOST_VALUES];

static inline void check_value(const struct value *value, uint64_t number)
{
    EXPLORE(value->number == number && value->copy == number);
}

static inline void destroy_value(void *context, void *memory)
{
    (void)context;
    struct value *value = memory;
    uint64_t number = value->number;
    EXPLORE(number < MOST_VALUES && value->copy == number);
    EXPLORE(destroyed[number] == 0);
    destroyed[number] = 1;
    explore_poison(value, sizeof *value);
}

static inline struct slotmap_options usual_options(void)
{
    return (struct slotmap_options){.value_size = sizeof(struct value),
                                    .max_len = 2,
                                    .max_limbo = 2,
                                    .max_threads = 4,
                                    .destroy = destroy_value};
}

static inline void make_map(struct slotmap_options options)
{
    EXPLORE(slotmap_create(&map, &options) == VBUF_OK);
}

/* Status as slotmap_insert's. */
static inline enum vbuf_status try_insert(uint64_t number, slotmap_handle *handle)
{
    struct value value = {number, number};
    enum vbuf_status status = slotmap_insert(map, &value, handle);
    if (status == VBUF_OK)
        inserted[number] = 1;
    return status;
}

static inline slotmap_handle insert(uint64_t number)
{
    slotmap_handle handle;
    enum vbuf_status status = try_insert(number, &handle);
    if (status != VBUF_OK)
        explore_fail("insert of %u: status %d", (unsigned)number, (int)status);
    return handle;
}

/* Removes what this thread alone may remove. */
static inline void take_out(uint64_t number, slotmap_handle handle)
{
    EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
    removed[number] = 1;
}

static inline void check_figures(void)
{
    struct slotmap_report stats;
    EXPLORE(slotmap_stats(map, &stats) == VBUF_OK);
    uint64_t born = 0, taken_out = 0, gone = 0;
    for (unsigned i = 0; i < MOST_VALUES; i++) {
        born += inserted[i];
        taken_out += removed[i];
        gone += destroyed[i];
        EXPLORE(destroyed[i] <= removed[i]);
    }
    EXPLORE(stats.len == born - taken_out && slotmap_len(map) == stats.len);
    EXPLORE(stats.inserted == born && stats.removed == taken_out);
    EXPLORE(stats.limbo == taken_out - gone && stats.destroyed == gone);
}

/* ---- every slot is somewhere, once ---- */

#define MOST_SLOTS 256

static inline void meet(unsigned char *met, uint32_t index)
{
    EXPLORE(index < vbuf_u32_load_relaxed(&map_of(map)->made));
    EXPLORE(met[index]++ == 0);
}

static inline void meet_list(unsigned char *met, uint32_t index)
{
    for (; index != 0; index = link_of(map_of(map), index))
        meet(met, index);
}

static inline void meet_chain(unsigned char *met, const struct limbo_chain *chain)
{
    uint32_t index = (uint32_t)chain->first;
    for (uint64_t i = 0; i < chain->count; i++) {
        meet(met, index);
        EXPLORE(i + 1 < chain->count || index == chain->last);
        index = link_of(map_of(map), index);
    }
    EXPLORE(index == 0); /* as a fork's child needs it */
}

static inline void meet_chunks(unsigned char *met)
{
    uint32_t head = vbuf_u32_load_relaxed(&map_of(map)->chunks);
    for (; head != 0; head = link_of(map_of(map), head)) {
        meet(met, head);
        meet_list(met, slots_rest_of(map_of(map), head));
    }
}

static inline void meet_part(unsigned char *met, const struct part *part)
{
    meet_list(met, part->head.free);
    meet_list(met, part->head.open_first);
    meet_chain(met, &part->vacant);
    meet_chain(met, &part->limbo.bags[0].chain);
    meet_chain(met, &part->limbo.bags[1].chain);
    meet_chain(met, &part->limbo.ready);
}

/* Belongs to who has the handle, rather than to a list. */
static inline bool is_in_use(enum slotmap_state_ state)
{
    return state == SLOTMAP_LIVE_ || state == SLOTMAP_CLAIMED_ || state == SLOTMAP_HELD_;
}

/* With nobody else there. */
static inline void check_slots(void)
{
    unsigned char met[MOST_SLOTS] = {0};
    uint32_t made = vbuf_u32_load_relaxed(&map_of(map)->made);
    EXPLORE(made <= MOST_SLOTS);
    meet_chunks(met);
    meet_list(met, vbuf_u32_load_relaxed(&map_of(map)->orphans));
    for (uint32_t i = 0; i <= vbuf_u32_load_relaxed(&map->thread_limit_); i++)
        meet_part(met, part_at(map_of(map), i));
    for (uint32_t i = 1; i < made; i++) {
        uint32_t generation = vbuf_u32_load_relaxed(&slot_at(map_of(map), i)->generation);
        if (generation > SLOTMAP_LAST_GENERATION)
            EXPLORE(met[i] <= 1); /* dropped, or about to be */
        else
            EXPLORE(met[i] == (is_in_use(state_of(generation)) ? 0 : 1));
    }
}

/* With nobody else there: what is removed can be destroyed, all of it, and max_len values fit (S5, S9). */
static inline void check_all_is_there(void)
{
    check_figures();
    check_slots();
    slotmap_collect(map);
    check_slots();
    for (unsigned i = 0; i < MOST_VALUES; i++)
        EXPLORE(destroyed[i] == removed[i]);
    unsigned number = MOST_VALUES - 1;
    for (size_t len = slotmap_len(map); len < map_of(map)->max_len; len++)
        insert(number--);
    EXPLORE(try_insert(number, NULL) == VBUF_FULL);
}

/* Destroys the map, and sees every value destroyed once (S6). */
static inline void destroy_map(void)
{
    slotmap_destroy(map);
    for (unsigned i = 0; i < MOST_VALUES; i++)
        EXPLORE(destroyed[i] == inserted[i]);
}

/*
 * set_up can be one thread after another: it goes on as the one with this number. They are all there, asleep, and
 * what runs later gets higher numbers; or they exit.
 */
static inline void act_as(uint32_t number)
{
    ebr_detach(map->domain_);
    while (vbuf_thread_numbers_used() <= number) {
        vbuf_thread_set_number(0);
        vbuf_thread_number();
    }
    vbuf_thread_set_number(number);
}

/* Those up to this number exit. */
static inline void exit_up_to(uint32_t number)
{
    for (uint32_t i = number; i > 0; i--) {
        vbuf_thread_set_number(i);
        explore_end_thread();
    }
}

static inline void exit_all(void)
{
    exit_up_to(vbuf_thread_numbers_used() - 1);
}

/* The thread with this number gets unused room from the pool. */
static inline void give_room(uint32_t number, uint64_t room)
{
    act_as(number);
    struct part *part = map_own_part(map_of(map));
    vbuf_u64_fetch_add_acq_rel(&part->head.granted, room);
    vbuf_u64_fetch_add_acq_rel(&map_of(map)->pool, UINT64_C(0) - room);
}

/* ---- flags between threads ---- */

static inline void raise_flag(struct vbuf_atomic_u32 *flag)
{
    vbuf_u32_fetch_add_acq_rel(flag, 1);
}

struct flag_wait {
    const struct vbuf_atomic_u32 *flag;
    uint32_t count;
};

static inline bool is_raised(const void *context)
{
    const struct flag_wait *wait = context;
    return wait->flag->raw >= wait->count;
}

/* Waits until it has been raised so often. */
static inline void wait_for_flag(const struct vbuf_atomic_u32 *flag, uint32_t count)
{
    while (vbuf_u32_load_acquire(flag) < count)
        explore_wait(is_raised, &(struct flag_wait){flag, count});
}

/* Handles that go from thread to thread without any ordering. */
static inline void show(struct vbuf_atomic_u64 *shown, slotmap_handle handle)
{
    vbuf_u64_store_relaxed(shown, handle.bits);
}

static inline slotmap_handle look(const struct vbuf_atomic_u64 *shown)
{
    return (slotmap_handle){vbuf_u64_load_relaxed(shown)};
}

/* Threads take their numbers, and wait for each other. */
static struct vbuf_atomic_u32 lined_up;

static inline void line_up(uint32_t count)
{
    vbuf_thread_number();
    raise_flag(&lined_up);
    wait_for_flag(&lined_up, count);
}

/* The same, but it orders nothing. */
static inline void raise_blindly(struct vbuf_atomic_u32 *flag)
{
    vbuf_u32_fetch_add_relaxed(flag, 1);
}

static inline void wait_blindly(const struct vbuf_atomic_u32 *flag)
{
    explore_wait(is_raised, &(struct flag_wait){flag, 1});
}

/* One try of slotmap_collect, beside somebody for whom it would wait in vain. */
static inline size_t collect_once(void)
{
    enum slots_met met;
    return slots_collect(map_of(map), &met);
}

/* What comes with every 64th remove. */
static inline void turn_over(void)
{
    slotmap_turn_over_(map, &map_own_part(map_of(map))->head);
}

/* What this thread has removed is sealed, and its grace passes. */
static inline void make_ready(void)
{
    turn_over();
    for (unsigned i = 0; i < LIMBO_GRACE / 2; i++)
        ebr_advance(map->domain_, true);
}

/* What take_part does before it empties: true iff the part is the taker's. */
static inline bool begin_to_take(struct part *part)
{
    uint64_t token = vbuf_u64_fetch_add_acq_rel(&map_of(map)->freezes, 2) + 2;
    uint64_t seen = vbuf_u64_load_acquire(&part->head.frozen);
    if ((seen & SLOTMAP_TAKING_) || !vbuf_u64_cas_acq_rel(&part->head.frozen, &seen, token))
        return false;
    vbuf_fence_heavy();
    seen = token;
    if (vbuf_u32_load_acquire(&part->head.busy) != 0)
        return false;
    return vbuf_u64_cas_acq_rel(&part->head.frozen, &seen, token | SLOTMAP_TAKING_);
}

/* As who is at the lists does. */
static inline void touch_lists(struct part *part)
{
    explore_write(&part->head.free, sizeof part->head.free);
    explore_write(&part->head.open_first, sizeof part->head.open_first);
    explore_write(&part->limbo, sizeof part->limbo);
    explore_write(&part->vacant, sizeof part->vacant);
}

#endif
