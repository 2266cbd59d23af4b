/*
 * slotmap_internal.h - the map's parts, for the three files that make it: slotmap.c (the calls),
 * slotmap_slots.c (where vacant slots come from and go), slotmap_room.c (max_len, exactly).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_SLOTMAP_INTERNAL_H
#define VBUF_SLOTMAP_INTERNAL_H

#include "ebr_internal.h"
#include "limbo.h"
#include "slotmap/slotmap.h"

/* A thread's part of a map; what inlined calls touch comes first. Part 0 is shared by all threads that
 * get no part of their own: of it only the counters are used, and they are changed by RMW. */
struct part {
    struct slotmap_thread_ head;
    /* Written by the owner (by RMW in part 0); read by anybody who counts. */
    struct vbuf_atomic_u64 reclaimed; /* slots that left limbo through this part */
    struct vbuf_atomic_u64 exhausted; /* slots found out of service */
    /* Owner only. */
    struct limbo limbo;
    struct limbo_chain vacant; /* reclaimed and destroyed; refills the free list */
    uint64_t inserted_before;  /* `inserted` when slots were last reclaimed */
    uint64_t keep;             /* vacant slots worth keeping: what was inserted between reclaims */
    bool destroying;           /* inside a destructor */
};
_Static_assert(sizeof(struct part) <= SLOTMAP_THREAD_STRIDE_, "a part fits its stride");

/* A map lies at the start of its reservation:  | struct map | parts 0, 1, 2 … | slots 0, 1, 2 … | */
struct map {
    struct slotmap head;
    /* Room for values that is granted to no thread, and a count of movements: {moves 48, in flight 16}. */
    struct vbuf_atomic_u64 pool __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    struct vbuf_atomic_u64 moves;
    /* Slots that have left their threads. */
    struct vbuf_atomic_u32 chunks
        __attribute__((aligned(VBUF_CACHE_LINE_PAIR))); /* free: a stack */
    struct vbuf_atomic_u32 orphans; /* in limbo, not sealed: a stack emptied whole */
    struct vbuf_atomic_u32 made;    /* slots below were handed out at least once */
    /* Fixed at creation. */
    uint32_t slots
        __attribute__((aligned(VBUF_CACHE_LINE_PAIR))); /* slots there can be, 0 included */
    uint32_t first_generation;
    uint32_t max_threads;
    uint32_t room_batch;  /* how much room moves at a time */
    uint64_t cache_limit; /* slots a thread's free list, and its vacant chain, may hold */
    size_t max_len;
    size_t max_limbo;
    size_t parts_offset;
    size_t slots_offset;
    bool owns_domain;
    void (*destroy)(void *context, void *value);
    void *context;
    struct vbuf memory;
};

static inline struct map *map_of(const struct slotmap *map)
{
    return (struct map *)(uintptr_t)map;
}

static inline struct part *part_at(const struct map *map, uint32_t number)
{
    return (struct part *)(void *)(map->head.threads_ + (size_t)number * SLOTMAP_THREAD_STRIDE_);
}

static inline struct slotmap_slot_ *slot_at(const struct map *map, uint32_t index)
{
    return slotmap_slot_at_(&map->head, index, map->head.slot_size_);
}

static inline void *value_of(const struct map *map, struct slotmap_slot_ *slot)
{
    return (unsigned char *)slot + map->head.value_offset_;
}

/* The next slot of a list. Relaxed: whoever walks a list owns it, or validates what it read by a CAS. */
static inline uint32_t link_of(const struct map *map, uint32_t index)
{
    return vbuf_u32_load_relaxed(&slot_at(map, index)->link);
}

static inline void set_link(const struct map *map, uint32_t index, uint32_t next)
{
    vbuf_u32_store_relaxed(&slot_at(map, index)->link, next);
}

/* The calling thread's part, made now if need be, or NULL: then part 0 is the one to use. */
struct part *map_own_part(struct map *map);

/* One more than the highest part that may be in use: what a scan must cover, from 0. */
uint32_t map_parts(const struct map *map);

/* ---- slotmap_slots.c ---- */

/* Gives part->free a slot. Status as slotmap_insert's; nothing changed then. Runs destructors. */
enum vbuf_status slots_refill(struct map *map, struct part *part);

/* Takes one vacant slot, not exhausted, for a thread without a part. */
enum vbuf_status slots_take_shared(struct map *map, uint32_t *index);

/* Counts a slot whose generations are used up; whoever found it drops it. */
void slots_count_exhausted(struct map *map, struct part *part);

/* Puts an unlinked slot where a collector finds it: for threads without a part. */
void slots_push_orphan(struct map *map, uint32_t index);

/* Every 64 removes: seals the open batch or lets it grow a little, tries one paced step, reclaims,
 * destroys at most 64. */
void slots_turn_over(struct map *map, struct part *part);

/* Adopts what exited threads and threads without a part left, presses the epoch on, reclaims, and runs
 * up to `most` destructors; the number of slots that left limbo. */
size_t slots_collect(struct map *map, size_t most);

/* Removed slots that have not been reclaimed. */
size_t slots_in_limbo(const struct map *map);

/* Calls destroy for every value in limbo. Exclusive access. */
void slots_destroy_limbo(struct map *map);

/* ---- slotmap_room.c ---- */

/* Takes room for one value: what slotmap_take_room_ does, with whatever it needs from elsewhere.
 * VBUF_FULL iff there is none, VBUF_BUSY iff it cannot be known. `part` may be part 0. */
enum vbuf_status room_take(struct map *map, struct part *part);

/* Gives back room taken by room_take. */
void room_give_back(struct map *map, struct part *part);

/* Hands the pool what the calling thread has too much of. */
void room_share_surplus(struct map *map, struct part *part);

#endif
