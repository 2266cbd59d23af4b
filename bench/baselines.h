/*
 * baselines.h - the containers in the types used here, and what they are compared with: their
 * single-threaded forms, and locks.
 *
 * plain_vec is a growable array. plain_map is a generational slot map with a free list: the same
 * slot layout, the same handles and the same promise (a slot whose generations are used up is not
 * used again) as slotmap, without any synchronisation. Both are what one would write by hand,
 * inlined. A guard is the lock around them; guard_none makes the calls free.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef BENCH_BASELINES_H
#define BENCH_BASELINES_H

#include <pthread.h>
#include <stdlib.h>

#include <ck_rwlock.h>
#include <cvec/cvec.h>
#include <slotmap/slotmap.h>

#include "bench.h"

/* ---- ours ---- */

struct item {
    uint64_t a, b;
};

static inline struct item item_at(uint64_t i)
{
    return (struct item){i * 5 + 1, i ^ 0x5555};
}

CVEC_DEFINE(words, uint64_t)
SLOTMAP_DEFINE(items, struct item)
SLOTMAP_DEFINE_UPDATABLE(cells, struct item)

/* ---- a growable array ---- */

struct plain_vec {
    uint64_t *data;
    size_t len, capacity;
};

/* Cold. */
void plain_vec_grow(struct plain_vec *vec, size_t capacity);

static inline size_t plain_vec_push(struct plain_vec *vec, uint64_t value)
{
    if (VBUF_UNLIKELY(vec->len == vec->capacity))
        plain_vec_grow(vec, vec->len + 1);
    vec->data[vec->len] = value;
    return vec->len++;
}

static inline size_t plain_vec_extend(struct plain_vec *vec, const uint64_t *values, size_t count)
{
    size_t first = vec->len;
    if (VBUF_UNLIKELY(vec->capacity - first < count))
        plain_vec_grow(vec, first + count);
    __builtin_memcpy(vec->data + first, values, count * sizeof *values);
    vec->len = first + count;
    return first;
}

/* What data[0 .. count) adds up to. Not inlined: the same machine code for everybody's elements. */
uint64_t sum_words(const uint64_t *data, size_t count);

/* ---- a generational slot map ---- */

/* As slotmap lays it out. */
struct plain_slot {
    uint32_t generation; /* odd: live */
    uint32_t next;       /* on the free list; 0 ends it */
    struct item value;
};

struct plain_map {
    struct plain_slot *slots; /* slot 0 is never used */
    uint32_t used;            /* slots below were used at least once */
    uint32_t capacity;
    uint32_t free;
    size_t len;
};

#define PLAIN_EXHAUSTED UINT32_C(0xFFFFFFFE)

/* Cold. */
void plain_map_grow(struct plain_map *map);

static inline uint64_t plain_map_insert(struct plain_map *map, struct item value)
{
    uint32_t index = map->free;
    struct plain_slot *slot;
    if (VBUF_LIKELY(index != 0)) {
        slot = &map->slots[index];
        map->free = slot->next;
    } else {
        if (VBUF_UNLIKELY(map->used == map->capacity))
            plain_map_grow(map);
        index = map->used++;
        slot = &map->slots[index];
        slot->generation = 8; /* so that the first handles are the same as those of slotmap */
    }
    slot->value = value;
    slot->generation++;
    map->len++;
    return (uint64_t)slot->generation << 32 | index;
}

static inline struct item *plain_map_get(const struct plain_map *map, uint64_t handle)
{
    uint32_t index = (uint32_t)handle;
    uint32_t generation = (uint32_t)(handle >> 32);
    if (VBUF_UNLIKELY(index >= map->used))
        return NULL;
    struct plain_slot *slot = &map->slots[index];
    return slot->generation == generation && (generation & 1) ? &slot->value : NULL;
}

static inline bool plain_map_remove(struct plain_map *map, uint64_t handle)
{
    uint32_t index = (uint32_t)handle;
    uint32_t generation = (uint32_t)(handle >> 32);
    if (VBUF_UNLIKELY(index >= map->used))
        return false;
    struct plain_slot *slot = &map->slots[index];
    if (slot->generation != generation || !(generation & 1))
        return false;
    slot->generation++;
    map->len--;
    if (VBUF_LIKELY(slot->generation != PLAIN_EXHAUSTED)) {
        slot->next = map->free;
        map->free = index;
    }
    return true;
}

/*
 * The same, but unlinked by a compare-and-swap, as every remove that may race with another must: what is left of
 * slotmap's price is then what it pays for the rest.
 */
static inline bool plain_map_remove_cas(struct plain_map *map, uint64_t handle)
{
    uint32_t index = (uint32_t)handle;
    uint32_t generation = (uint32_t)(handle >> 32);
    if (VBUF_UNLIKELY(index >= map->used))
        return false;
    struct plain_slot *slot = &map->slots[index];
    if (slot->generation != generation || !(generation & 1) ||
        !vbuf_u32_cas_acq_rel((struct vbuf_atomic_u32 *)(void *)&slot->generation, &generation,
                              generation + 1))
        return false;
    map->len--;
    if (VBUF_LIKELY(generation + 1 != PLAIN_EXHAUSTED)) {
        slot->next = map->free;
        map->free = index;
    }
    return true;
}

/* ---- locks ---- */

enum guard_kind { GUARD_NONE, GUARD_MUTEX, GUARD_RWLOCK, GUARD_CK_RWLOCK };

struct guard {
    pthread_mutex_t mutex BENCH_LINES;
    pthread_rwlock_t rwlock BENCH_LINES;
    ck_rwlock_t ck_rwlock BENCH_LINES;
} BENCH_LINES;

void guard_init(struct guard *guard);
void guard_destroy(struct guard *guard);

static BENCH_INLINE void guard_read(struct guard *guard, enum guard_kind kind)
{
    if (kind == GUARD_MUTEX)
        pthread_mutex_lock(&guard->mutex);
    else if (kind == GUARD_RWLOCK)
        pthread_rwlock_rdlock(&guard->rwlock);
    else if (kind == GUARD_CK_RWLOCK)
        ck_rwlock_read_lock(&guard->ck_rwlock);
}

static BENCH_INLINE void guard_read_end(struct guard *guard, enum guard_kind kind)
{
    if (kind == GUARD_MUTEX)
        pthread_mutex_unlock(&guard->mutex);
    else if (kind == GUARD_RWLOCK)
        pthread_rwlock_unlock(&guard->rwlock);
    else if (kind == GUARD_CK_RWLOCK)
        ck_rwlock_read_unlock(&guard->ck_rwlock);
}

static BENCH_INLINE void guard_write(struct guard *guard, enum guard_kind kind)
{
    if (kind == GUARD_MUTEX)
        pthread_mutex_lock(&guard->mutex);
    else if (kind == GUARD_RWLOCK)
        pthread_rwlock_wrlock(&guard->rwlock);
    else if (kind == GUARD_CK_RWLOCK)
        ck_rwlock_write_lock(&guard->ck_rwlock);
}

static BENCH_INLINE void guard_write_end(struct guard *guard, enum guard_kind kind)
{
    if (kind == GUARD_MUTEX)
        pthread_mutex_unlock(&guard->mutex);
    else if (kind == GUARD_RWLOCK)
        pthread_rwlock_unlock(&guard->rwlock);
    else if (kind == GUARD_CK_RWLOCK)
        ck_rwlock_write_unlock(&guard->ck_rwlock);
}

/* ---- memory ---- */

/* Pages as the containers use them, so that both sides meet the same faults and the same TLB. */
void *pages_alloc(size_t size);
void pages_free(void *pages, size_t size);
/* Makes [memory, memory + size) resident without changing it. Nobody else may be writing there. */
void pages_touch(void *memory, size_t size);

#endif
