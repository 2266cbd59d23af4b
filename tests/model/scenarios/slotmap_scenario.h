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
    EXPLORE(try_insert(number, &handle) == VBUF_OK);
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

/* With nobody else there: what is removed can be destroyed, all of it, and max_len values fit (S5, S9). */
static inline void check_all_is_there(void)
{
    check_figures();
    slotmap_collect(map);
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
        vbuf_self_.id = 0;
        vbuf_thread_number();
    }
    vbuf_self_.id = number;
}

static inline void exit_all(void)
{
    for (uint32_t i = vbuf_thread_numbers_used() - 1; i > 0; i--) {
        vbuf_self_.id = i;
        explore_end_thread();
    }
}

/* ---- flags between threads ---- */

static inline void raise_flag(struct vbuf_atomic_u32 *flag)
{
    vbuf_u32_fetch_add_acq_rel(flag, 1);
}

/* Waits until it was raised so often. */
static inline void wait_for_flag(const struct vbuf_atomic_u32 *flag, uint32_t count)
{
    while (vbuf_u32_load_acquire(flag) < count)
        explore_yield();
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

/* The slow half that comes with every 64th remove. */
static inline void turn_over(void)
{
    struct slotmap_thread_ *own;
    if (slotmap_thread_of_(map, &own))
        slotmap_turn_over_(map, own);
}

#endif
