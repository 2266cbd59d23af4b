/*
 * slotmap_internal.h - the map's parts, for the files that make it.
 *
 *     slotmap.c         layout, creation, the plain calls
 *     slotmap_steps.c   claim, publish, cancel; invalidate, release
 *     slotmap_value.c   values that are written in place
 *     slotmap_walk.c    clear, retain, and handles from pointers
 *     slotmap_slots.c   where vacant slots come from and go
 *     slotmap_limbo.c   removed slots, and whose lists are whose
 *     slotmap_room.c    max_len, exactly
 *     slotmap_fork.c    maps in a fork's child
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_SLOTMAP_INTERNAL_H
#define VBUF_SLOTMAP_INTERNAL_H

#include "ebr_internal.h"
#include "limbo.h"
#include "registry.h"
#include "slotmap/slotmap.h"
#include "threads.h"

/*
 * A thread's part of a map; what inlined calls touch comes first. Part 0 is shared by the threads that
 * get no part of their own: its counters are changed by RMW, and its busy word is a try-lock.
 */
struct part {
    struct slotmap_thread_ head;
    /* Written by the owner (by RMW in part 0); read by anybody who counts. */
    struct vbuf_atomic_u64 reclaimed; /* slots that left limbo through this part */
    struct vbuf_atomic_u64 exhausted; /* slots found out of service */
    /* More lists: of whoever is busy, or has them frozen and found nobody busy. */
    struct limbo limbo;
    struct limbo_chain vacant; /* reclaimed and destroyed; refills the free list */
    uint64_t inserted_before;  /* `inserted` when slots were last reclaimed */
    uint64_t keep;             /* vacant slots worth keeping: what was inserted between reclaims */
};
_Static_assert(sizeof(struct part) <= SLOTMAP_THREAD_STRIDE_, "a part fits its stride");

/* A map lies at the start of its reservation: | struct map | parts 0, 1, 2 … | slots 0, 1, 2 … |, at fixed offsets. */
struct map {
    struct slotmap head;
    /* Room granted to no thread; and movements of room: {how many were made 48, are under way 16}. */
    struct vbuf_atomic_u64 pool __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    struct vbuf_atomic_u64 moves;
    /* Slots that have left their threads. */
    struct vbuf_atomic_u32 chunks
        __attribute__((aligned(VBUF_CACHE_LINE_PAIR))); /* free: a stack */
    struct vbuf_atomic_u32 orphans; /* in limbo, not sealed: a stack emptied whole */
    struct vbuf_atomic_u32 made;    /* slots below were handed out at least once */
    struct vbuf_atomic_u64 freezes; /* tokens given to takers: each is unique */
    struct vbuf_atomic_u32
        holds; /* some value was ever invalidated: every slot in limbo must be looked at */
    /* Fixed at creation. */
    uint32_t slots __attribute__((aligned(VBUF_CACHE_LINE_PAIR))); /* slots there can be, with 0 */
    uint32_t first_generation;
    uint32_t generation_seed;
    uint32_t max_threads;
    uint32_t room_batch;  /* how much room moves at a time */
    uint32_t chunk;       /* how many slots move at a time */
    uint64_t cache_limit; /* slots a thread's free list, and its vacant chain, may hold */
    size_t max_len;
    size_t max_limbo;
    size_t copy_size;       /* of an updatable map's values, of which there are two */
    size_t rest_offset;     /* in a slot that heads a chunk: where the rest of it is written down */
    size_t destroys_a_call; /* destructors that an insert or remove may run */
    bool revivable;
    bool owns_domain;
    void (*destroy)(void *context, void *value);
    void *context;
    struct vbuf memory;
    struct registry_link link; /* in the list of maps */
    uint64_t
        abandoned; /* slots found in nobody's hands; written in forks' children, by their only thread */
};

static inline struct map *map_of(const struct slotmap *map)
{
    return (struct map *)(uintptr_t)map;
}

_Static_assert(sizeof(struct map) <= SLOTMAP_THREADS_OFFSET_, "the parts come behind it");
_Static_assert(SLOTMAP_THREADS_OFFSET_ + VBUF_THREAD_NUMBERS * SLOTMAP_THREAD_STRIDE_ <=
                   SLOTMAP_SLOTS_OFFSET_,
               "the slots come behind them");

static inline size_t part_offset(uint32_t number)
{
    return SLOTMAP_THREADS_OFFSET_ + (size_t)number * SLOTMAP_THREAD_STRIDE_;
}

static inline struct part *part_at(const struct map *map, uint32_t number)
{
    return (struct part *)((uintptr_t)map + part_offset(number));
}

static inline bool is_shared(const struct map *map, const struct part *part)
{
    return part == part_at(map, 0);
}

static inline struct slotmap_slot_ *slot_at(const struct map *map, uint32_t index)
{
    return slotmap_slot_at_(&map->head, index, map->head.slot_size_);
}

/* Where a value begins; in an updatable map, its first copy. */
static inline void *value_of(const struct map *map, const struct slotmap_slot_ *slot)
{
    return (unsigned char *)(uintptr_t)slot + map->head.value_offset_;
}

/* The value, for who has it to itself, or removed it: slotmap_value.c. */
void *value_now(const struct map *map, struct slotmap_slot_ *slot);

/* In a fork's child: ends a write that goes on in the parent only. It has changed nothing. */
void value_take_lock_away(struct slotmap_slot_ *slot);

/* Before a value is written to a vacant slot of a map whose slots have more to them. */
void value_begin(struct map *map, struct slotmap_slot_ *slot);

static inline enum slotmap_state_ state_of(uint32_t generation)
{
    return (enum slotmap_state_)(generation & SLOTMAP_STATE_);
}

static inline uint32_t with_state(uint32_t generation, enum slotmap_state_ state)
{
    return (generation & ~SLOTMAP_STATE_) | (uint32_t)state;
}

/* The next slot of a list. Relaxed: whoever walks a list owns it, or proves what it read by a CAS. */
static inline uint32_t link_of(const struct map *map, uint32_t index)
{
    return vbuf_u32_load_relaxed(&slot_at(map, index)->link);
}

static inline void set_link(const struct map *map, uint32_t index, uint32_t next)
{
    vbuf_u32_store_relaxed(&slot_at(map, index)->link, next);
}

static inline uint32_t pop_first(const struct map *map, struct limbo_chain *chain)
{
    uint32_t index = (uint32_t)chain->first;
    chain->first = link_of(map, index);
    if (--chain->count == 0)
        chain->first = chain->last = 0;
    return index;
}

static inline void push_first(const struct map *map, struct limbo_chain *chain, uint32_t index)
{
    set_link(map, index, (uint32_t)chain->first);
    if (chain->first == 0)
        chain->last = index;
    chain->first = index;
    chain->count++;
}

/* Commits memory of the map, which asks its on_commit hook. */
static inline enum vbuf_status map_commit(struct map *map, size_t offset, size_t length)
{
    vbuf_self_.hooked++;
    enum vbuf_status status = vbuf_commit(&map->memory, offset, length);
    vbuf_self_.hooked--;
    return status;
}

/* The calling thread's part, made now if need be; part 0 when it gets none. */
struct part *map_own_part(struct map *map);

/* Counts a removed value: its room is free. The part is the calling thread's, or part 0. */
void map_count_removed(struct map *map, struct part *part);

/* Removes, ever: for seeing whether there was one. */
uint64_t map_removed_so_far(const struct map *map);

/* One more than the highest part that may be in use: what a scan must cover, from 0. */
uint32_t map_parts(const struct map *map);

/* ---- slotmap_slots.c: vacant slots ---- */

/*
 * Takes one vacant slot that is not out of service. Status as slotmap_insert's; nothing changed then.
 * The caller has taken room. Runs at most 128 destructors.
 */
enum vbuf_status slots_take(struct map *map, struct part *part, uint32_t *index);

/*
 * Pushes the slot `head`, and the list `rest` behind it, to the stack of chunks. Neither has been a head
 * since its last grace period.
 */
void slots_push_chunk(struct map *map, uint32_t head, uint32_t rest);

/* Whether a slot has left service, and been dropped. For who knows that it is on no list. */
bool slots_was_dropped(const struct map *map, uint32_t index);

/* What a slot's generation starts at. */
uint32_t slots_first_generation(const struct map *map, uint32_t index);

/* The list behind a head of a chunk. */
uint32_t slots_rest_of(const struct map *map, uint32_t head);

/* Commits memory for so many more slots than there are. VBUF_OK, VBUF_FULL, VBUF_NOMEM. */
enum vbuf_status slots_reserve(struct map *map, size_t count, bool prefault);

/* Cuts a chunk off a chain and pushes it; how many slots that were. */
uint64_t slots_share_chunk(struct map *map, struct limbo_chain *chain);

/* ---- slotmap_limbo.c: removed slots, and whose lists are whose ---- */

/* Begins to use a part's lists; false: they must be left alone. Part 0 is anybody's, one at a time. */
bool part_enter(struct map *map, struct part *part);
void part_leave(struct part *part);

/* Adds to a figure of the part, which is the calling thread's, or part 0. */
void part_count(struct map *map, struct part *part, struct vbuf_atomic_u64 *figure, uint64_t by);

/*
 * Reclaims what the epoch has passed, within the budget of destructors, which it takes off *budget. The
 * part is entered; false: it is not any more.
 */
bool slots_settle(struct map *map, struct part *part, size_t *budget, uint64_t *reclaimed);

/* The same as slots_in_limbo, but rather too few: for concluding that there are too many. */
size_t slots_surely_in_limbo(const struct map *map);

/* Puts an unlinked slot, counted already, into limbo, where the inlined way does not do. */
void slots_bury(struct map *map, struct part *part, uint32_t index);

/*
 * At every 64th remove: seals the open batch or lets it grow a little, tries one paced step of the
 * epoch, reclaims, and runs at most 128 destructors.
 */
void slots_turn_over(struct map *map, struct part *part);

/* Whom a collector could not take over from. */
enum slots_met {
    MET_NOBODY,
    MET_BUSY,  /* somebody in the middle of a call, who keeps what is his own */
    MET_TAKER, /* somebody who takes over as well; or at what is shared, or the collector's own */
};

/*
 * Takes over what all threads that are not in the middle of a call have, presses the epoch on, reclaims, and runs
 * the destructors. What it takes, of values to destroy, it destroys before it returns, unless it meets a taker. How many
 * slots left limbo.
 */
size_t slots_collect(struct map *map, enum slots_met *met);

/* The same, again and again for a while, as long as it meets somebody. */
size_t slots_collect_all(struct map *map);

/* The same once, with at most *budget destructors, which it takes off *budget, and no more values than that. */
void slots_collect_some(struct map *map, size_t *budget);

/* Puts unlinked slots, counted already, into limbo. Needs no part. */
void slots_bury_orphans(struct map *map, const struct limbo_chain *chain);

/* Removed slots that have not been reclaimed; under churn, rather too many. */
size_t slots_in_limbo(const struct map *map);

/* Calls destroy for every value in limbo. Exclusive access. */
void slots_destroy_limbo(struct map *map);

/* ---- slotmap_room.c ---- */

/*
 * Takes room for one value, from wherever it is. VBUF_FULL iff there is none; VBUF_BUSY iff that cannot
 * be known, because a thread was stopped while it moved some, or the system refuses the barrier.
 */
enum vbuf_status room_take(struct map *map, struct part *part);

/* Gives back room taken by room_take. */
void room_give_back(struct map *map, struct part *part);

/* Hands the pool what the part has too much of. */
void room_share_surplus(struct map *map, struct part *part);

/*
 * In a fork's child: puts all room that the `live` values there are leave into the pool, wherever it was. What the parts
 * have counted adds up to `live`.
 */
void room_recover(struct map *map, uint64_t live);

/* ---- slotmap_fork.c ---- */

/* Into the list of maps, and out of it: a fork's child makes those in it whole. */
void map_enlist(struct map *map);
void map_delist(struct map *map);

/*
 * In a fork's child, whose owner's or taker's call goes on in the parent only: whether the part's lists are as that
 * call left them, half-updated perhaps.
 */
static inline bool part_was_cut_off(const struct part *part)
{
    return vbuf_u32_load_relaxed(&part->head.busy) != 0 || /* exclusive access */
           (vbuf_u64_load_relaxed(&part->head.frozen) & SLOTMAP_TAKING_) != 0;
}

#endif
