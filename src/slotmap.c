/*
 * slotmap.c - a lock-free generational slot map.
 *
 *      | struct map | part 0 | part 1 | part 2 | …    | slot 0 | slot 1 | slot 2 | …            |
 *                     shared   thread 1  thread 2       never    {generation, link, value}
 *
 * One reservation. Slots are committed from the left as they are needed and stay committed, so any
 * index below slot_limit may be looked at by anybody at any time; what a generation word says is
 * always true of some life of that slot.
 *
 * The generation word: {life 29, state 3}. A handle is the word of a live slot, and the slot's index.
 *
 *      UNUSED       0   never lived
 *      LIVE         1   a value lies in the slot, whole: the only state in which a handle resolves
 *      REMOVED      2   in limbo, or vacant since: on a list, or in an inserter's hands
 *      CLAIMED      3   in a claimer's hands, and its handle is out
 *      CANCELLED    4   in limbo, or vacant since; there was no value
 *      INVALIDATED  5   in limbo, and not to become vacant before its release
 *      HELD         6   out of limbo, destroyed, and waiting for its release
 *
 *      vacant ──publish: store, release, by who holds the slot──▶ LIVE of the next life
 *      vacant ──claim: store──▶ CLAIMED of the next ──publish: CAS──▶ LIVE
 *                                                   ──cancel: CAS───▶ CANCELLED
 *      LIVE ──remove: CAS, acq_rel, by anybody──▶ REMOVED
 *      LIVE ──invalidate: CAS───────────────────▶ INVALIDATED ──release: CAS─────────▶ REMOVED
 *             INVALIDATED ──grace has passed, destroyed: CAS──▶ HELD ──release: CAS──▶ CANCELLED
 *                    REMOVED ──destroyed while it was released: store────────────────▶ CANCELLED
 *
 * (UNUSED, and REMOVED and CANCELLED out of limbo, are vacant. Which of them matters in a revivable map only:
 * REMOVED says that the value is still there. So one whose release comes while it is destroyed ends as CANCELLED.) Only the
 * holder of a vacant slot writes its word by a store, all else are CASes from one exact value, so the word only
 * goes up, but for INVALIDATED to REMOVED and HELD to CANCELLED, which resolve as little. Each LIVE word is one life,
 * and of racing removes one wins (S2). A slot that has lived in SLOTMAP_LAST_GENERATION is dropped by the insert that
 * meets it: nothing wraps, so a handle that named one life never names another (S1). Stale
 * reads of the word are harmless: an older LIVE is an older life, whose value, for a pinned reader, is
 * still intact.
 *
 * get: acquire the word, compare with the handle. Equal: the value was whole at the publish
 * (acquire, release), and the slot is not reused before the reader unpins: after the unlink it
 * waits in limbo for a grace period that began after the unlink (ebr.c; S3). get takes two loads
 * and waits for nobody (S8).
 *
 * insert takes room (slotmap_room.c: S5), takes the first slot of its thread's free list, copies,
 * publishes: plain loads and stores on lines that are its thread's own. remove unlinks by one CAS
 * and puts the slot on its thread's open batch. Both touch shared lines once in 64 calls or less
 * (slotmap_slots.c). Neither waits for anybody; a grace period that has not passed is found not to
 * have passed.
 *
 * What a thread has, in limbo or free, belongs to its number in this map, not to the thread: when
 * the thread exits, the next with its number inherits it, and meanwhile whoever collects may borrow
 * the number and take it (S6). Thread-local storage names no map, so maps and threads come and go
 * in any order.
 *
 * Limbo is the map's, not the domain's: destroying a map destroys what is in it, at once, since
 * nobody can look any more; nothing is left with the domain.
 *
 * Slots are not padded. A value of 16 bytes makes slots of 24, a quarter of which straddle two lines; padded to 32,
 * none does. Measured, a pin and a get at random: 1.40 against 1.69 ns for a thousand values, 4.1 and 4.2 for a hundred
 * thousand, 32.2 and 32.3 for a million, 48.3 and 47.4 for ten: nothing is gained, and a third more memory is used.
 *
 * A fork's child gets a map made whole: slotmap_fork.c (E3).
 *
 * Iteration looks at every slot made so far, once: a value live throughout does not move, so it is
 * met exactly once, and none is met twice (S7).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap/slotmap.h"

#include <assert.h>
#include <string.h>

#include "slotmap_internal.h"
#include "threads.h"

#define DEFAULT_MAX_THREADS 1024
#define DEFAULT_MAX_LEN ((size_t)1 << 24)
#define DEFAULT_LIMBO ((size_t)1 << 17)
/* Of address space, at most, for defaults. */
#define DEFAULT_SPACE (SIZE_MAX > UINT32_MAX ? (size_t)(UINT64_C(16) << 30) : SIZE_MAX / 16)
#define MAX_VALUE_SIZE ((size_t)1 << 20)
#define MAX_ROOM_BATCH 64
#define MAX_CACHE 65536
#define DESTROYS_A_CALL 128 /* more than a batch, so that what waited for a stalled pin drains */
#define MAX_CACHE_BYTES ((size_t)1 << 20)

/* ---- parts ---- */

uint32_t map_parts(const struct map *map)
{
    uint32_t limit = vbuf_u32_load_acquire(&map->head.thread_limit_) + 1; /* pairs with below */
    uint32_t used = vbuf_thread_numbers_used();
    return limit < used ? limit : used;
}

static bool commit_part(struct map *map, uint32_t number)
{
    size_t page = vmem_page_size();
    /* Acquire: what another committed is ours to write. A stale limit commits again. */
    uint32_t limit = vbuf_u32_load_acquire(&map->head.thread_limit_);
    size_t begin = vmem_align_up(part_offset(limit + 1), page);
    size_t end = vmem_align_up(part_offset(number + 1), page);
    if (end > begin && map_commit(map, begin, end - begin) != VBUF_OK)
        return false;
    size_t last = (end - SLOTMAP_THREADS_OFFSET_) / SLOTMAP_THREAD_STRIDE_ - 1;
    vbuf_u32_max_release(&map->head.thread_limit_,
                         last < map->max_threads ? (uint32_t)last : map->max_threads);
    return true;
}

struct part *map_own_part(struct map *map)
{
    struct slotmap_thread_ *own;
    if (slotmap_thread_of_(&map->head, &own))
        return (struct part *)own;
    uint32_t number = vbuf_thread_number();
    if (number > map->max_threads) /* 0, no number, is part 0 as well */
        return part_at(map, 0);
    /* Acquire, as in slotmap_thread_of_; a stale limit only makes us commit again. */
    if (number > vbuf_u32_load_acquire(&map->head.thread_limit_) && !commit_part(map, number))
        return part_at(map, 0);
    return part_at(map, number);
}

/* ---- creation ---- */

static bool is_power_of_two(size_t number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

/* Fills in defaults; false iff the options cannot be right. */
static bool complete_options(struct slotmap_options *options)
{
    size_t size = options->value_size;
    if (size == 0 || size > MAX_VALUE_SIZE)
        return false;
    if (options->value_align == 0) {
        size_t align = size & (~size + 1); /* the largest power of two that divides it */
        options->value_align = align < 16 ? align : 16;
    }
    if (!is_power_of_two(options->value_align) || options->value_align > vmem_page_size() ||
        size % options->value_align != 0)
        return false;
    size_t most =
        DEFAULT_SPACE / (options->updatable ? SLOTMAP_UPDATABLE_SIZE_(size, options->value_align)
                                            : SLOTMAP_SLOT_SIZE_(size, options->value_align));
    if (options->max_len == 0)
        options->max_len = DEFAULT_MAX_LEN < most ? DEFAULT_MAX_LEN : most;
    if (options->max_limbo == 0) {
        size_t half = options->max_len / 2;
        options->max_limbo = half < DEFAULT_LIMBO     ? DEFAULT_LIMBO
                             : half < DEFAULT_MAX_LEN ? half
                                                      : DEFAULT_MAX_LEN;
        if (options->max_limbo > most)
            options->max_limbo = most;
    }
    if (options->max_threads == 0)
        options->max_threads = DEFAULT_MAX_THREADS;
    return options->max_len < UINT32_MAX && options->max_limbo < UINT32_MAX &&
           !(options->revivable && options->destroy_in_collect) &&
           options->max_threads < VBUF_THREAD_NUMBERS && options->first_generation % 8 == 0 &&
           options->first_generation < SLOTMAP_LAST_GENERATION - 8 &&
           (options->first_generation == 0 || options->generation_seed == 0);
}

/* The layout, and the figures that follow from the options. False: too many slots, or bytes. */
static bool lay_out(struct map *map, const struct slotmap_options *options)
{
    size_t size = SLOTMAP_SLOT_SIZE_(options->value_size, options->value_align);
    map->head.value_offset_ = SLOTMAP_VALUE_OFFSET_(options->value_align);
    map->rest_offset = map->head.value_offset_; /* a vacant slot has no value */
    map->head.updatable_ = options->updatable;
    map->revivable = options->revivable;
    map->head.apart_ = options->updatable || options->revivable;
    if (map->head
            .apart_) { /* {generation, link}, sequence, rest, padding, copy, copy: what it needs of these */
        size_t align = options->value_align > 8 ? options->value_align : 8;
        size_t head = sizeof(struct slotmap_slot_) + 8 * (size_t)options->updatable;
        map->rest_offset = options->revivable ? head : sizeof(struct slotmap_slot_);
        map->copy_size = vmem_align_up(options->value_size, align);
        map->head.value_offset_ = vmem_align_up(head + 8 * (size_t)options->revivable, align);
        size = map->head.value_offset_ + (options->updatable ? 2 : 1) * map->copy_size;
    }
    size_t cache = MAX_CACHE_BYTES / size;
    cache = cache > MAX_CACHE ? MAX_CACHE : cache;
    cache = cache > options->max_len ? options->max_len : cache;
    cache = cache < 1 ? 1 : cache;
    size_t chunk = cache < SLOTMAP_BATCH_ ? cache : SLOTMAP_BATCH_;
    /* A free list, a vacant chain, and what is on its way from one list to another. */
    uint64_t cached = ((uint64_t)options->max_threads + 1) * (2 * cache + 2 * chunk);
    uint64_t slots = 1 + options->max_len + options->max_limbo + cached;
    if (slots > UINT32_MAX || slots > (SIZE_MAX / 4) / size)
        return false;
    size_t room_batch = options->max_len / 16;
    room_batch = room_batch < 1 ? 1 : room_batch;
    map->room_batch = (uint32_t)(room_batch < MAX_ROOM_BATCH ? room_batch : MAX_ROOM_BATCH);
    map->chunk = (uint32_t)chunk;
    map->cache_limit = cache;
    map->slots = (uint32_t)slots;
    map->first_generation = options->first_generation;
    map->generation_seed = options->generation_seed;
    map->head.index_bits_ = (uint8_t)(32 - __builtin_clz(map->slots));
    map->max_threads = options->max_threads;
    map->max_len = options->max_len;
    map->max_limbo = options->max_limbo;
    map->destroy = options->destroy;
    bool by_collect = options->destroy_in_collect && options->destroy != NULL;
    map->destroys_a_call = by_collect ? 0 : DESTROYS_A_CALL;
    map->context = options->context;
    map->head.slot_size_ = size;
    map->head.value_size_ = options->value_size;
    return true;
}

/* Makes the map in its own memory: the header, and part 0. */
static enum vbuf_status build(const struct map *plan, const struct slotmap_options *options,
                              struct map **result)
{
    struct vbuf memory;
    enum vbuf_status status = vbuf_init(
        &memory, &(struct vbuf_options){
                     .max = SLOTMAP_SLOTS_OFFSET_ + (size_t)plan->slots * plan->head.slot_size_,
                     .on_commit = options->on_commit,
                     .context = options->context,
                 });
    if (status != VBUF_OK)
        return status;
    status = vbuf_commit(&memory, 0, part_offset(1));
    if (status != VBUF_OK) {
        vbuf_destroy(&memory);
        return status;
    }
    struct map *map = (struct map *)(void *)memory.data;
    *map = *plan;
    map->memory = memory;
    vbuf_u32_store_relaxed(&map->made, 1); /* slot 0 is nobody's. Relaxed: not yet shared */
    vbuf_u64_store_relaxed(&map->pool, map->max_len);
    *result = map;
    return VBUF_OK;
}

enum vbuf_status slotmap_create(struct slotmap **result, const struct slotmap_options *given)
{
    if (result == NULL || given == NULL)
        return VBUF_INVALID;
    struct slotmap_options options = *given;
    struct map plan;
    memset(&plan, 0, sizeof plan);
    if (!complete_options(&options) || !lay_out(&plan, &options))
        return VBUF_INVALID;
    struct map *map;
    enum vbuf_status status = build(&plan, &options, &map);
    if (status != VBUF_OK)
        return status;
    map->head.domain_ = options.domain;
    if (options.domain == NULL) {
        struct ebr_options domain_options = {.max_threads = options.max_threads};
        status = ebr_domain_create(&map->head.domain_, &domain_options);
        if (status != VBUF_OK) {
            struct vbuf memory = map->memory;
            vbuf_destroy(&memory);
            return status;
        }
        map->owns_domain = true;
    }
    map->head.full_fence_ = vbuf_fence_kind() == VBUF_FENCE_FULL;
    map_enlist(map);
    *result = &map->head;
    return VBUF_OK;
}

static void destroy_live(struct map *map)
{
    uint32_t end = vbuf_u32_load_acquire(&map->made);
    for (uint32_t i = 1; i < end; i++) {
        struct slotmap_slot_ *slot = slot_at(map, i);
        enum slotmap_state_ state =
            state_of(vbuf_u32_load_acquire(&slot->generation)); /* pairs with slotmap_publish_ */
        if (state == SLOTMAP_LIVE_ || (map->revivable && state == SLOTMAP_REMOVED_))
            map->destroy(map->context, value_now(map, slot));
    }
}

void slotmap_destroy(struct slotmap *handle)
{
    if (handle == NULL)
        return;
    struct map *map = map_of(handle);
    map_delist(map); /* first: a fork's child has nothing to do with a map that is half gone */
    if (map->destroy != NULL) {
        slots_destroy_limbo(map);
        destroy_live(map);
    }
    if (map->owns_domain)
        ebr_domain_destroy(map->head.domain_);
    struct vbuf memory = map->memory; /* the map lies in what is given back */
    vbuf_destroy(&memory);
}

/* ---- insert, remove: the slow halves ---- */

enum vbuf_status slotmap_claim_slow_(struct slotmap *handle, struct slotmap_claim_ *claim)
{
    struct map *map = map_of(handle);
    struct part *part = map_own_part(map);
    enum vbuf_status status = room_take(map, part);
    if (status != VBUF_OK)
        return status;
    status = slots_take(map, part, &claim->index);
    if (status != VBUF_OK) {
        room_give_back(map, part);
        return status;
    }
    claim->slot = slot_at(map, claim->index);
    claim->live = slotmap_next_life_(vbuf_u32_load_relaxed(&claim->slot->generation)); /* ours */
    return VBUF_OK;
}

void slotmap_turn_over_(struct slotmap *handle, struct slotmap_thread_ *thread)
{
    struct map *map = map_of(handle);
    struct part *part = (struct part *)thread;
    slots_turn_over(map, part);
    room_share_surplus(map, part);
}

void map_count_removed(struct map *map, struct part *part)
{
    /* Release: as in slotmap_bury_. */
    if (is_shared(map, part))
        vbuf_u64_fetch_add_acq_rel(&part->head.removed, 1);
    else
        vbuf_u64_owner_add_release(&part->head.removed, 1);
}

void slotmap_bury_slow_(struct slotmap *handle, uint32_t index)
{
    struct map *map = map_of(handle);
    struct part *part = map_own_part(map);
    map_count_removed(map, part);
    slots_bury(map, part, index);
}

void slotmap_bury_frozen_(struct slotmap *handle, struct slotmap_thread_ *thread, uint32_t index)
{
    slots_bury(map_of(handle), (struct part *)thread, index);
}

/* ---- public ---- */

enum vbuf_status slotmap_insert(struct slotmap *map, const void *value, slotmap_handle *handle)
{
    if (value == NULL)
        return VBUF_INVALID;
    struct slotmap_claim_ claim;
    enum vbuf_status status = slotmap_claim_slot_(map, map->slot_size_, &claim);
    if (status != VBUF_OK)
        return status;
    if (VBUF_UNLIKELY(map->apart_))
        value_begin(map_of(map), claim.slot);
    memcpy((unsigned char *)claim.slot + map->value_offset_, value, map->value_size_);
    uint64_t bits = slotmap_publish_(&claim);
    if (handle != NULL)
        handle->bits = bits;
    return VBUF_OK;
}

enum vbuf_status slotmap_read(struct slotmap *map, slotmap_handle handle, void *value)
{
    if (value == NULL)
        return VBUF_INVALID;
    slotmap_pin(map);
    struct slotmap_slot_ *slot;
    bool found = slotmap_find_(map, handle.bits, map->slot_size_, &slot);
    if (found && VBUF_UNLIKELY(map->updatable_))
        slotmap_copy_out_(slot, map->value_offset_, map_of(map)->copy_size, map->value_size_,
                          value);
    else if (found)
        memcpy(value, (unsigned char *)slot + map->value_offset_, map->value_size_);
    slotmap_unpin(map);
    return found ? VBUF_OK : VBUF_STALE;
}

enum vbuf_status slotmap_remove(struct slotmap *map, slotmap_handle handle, void **value)
{
    struct slotmap_slot_ *slot;
    enum vbuf_status status =
        slotmap_unlink_(map, handle.bits, map->slot_size_, SLOTMAP_REMOVED_, &slot);
    if (status != VBUF_OK)
        return status;
    if (value != NULL)
        *value = value_now(map_of(map), slot);
    slotmap_bury_(map, slot, (uint32_t)handle.bits);
    return VBUF_OK;
}

size_t slotmap_collect(struct slotmap *map)
{
    return slots_collect_all(map_of(map));
}

unsigned slotmap_tag_bits(const struct slotmap *map)
{
    return 32u - map->index_bits_;
}

#if defined(VBUF_DEBUG)
void slotmap_assert_pinned_(const struct slotmap *map)
{
    assert(ebr_may_be_pinned(map->domain_) && "get without a pin");
}
#endif

size_t slotmap_capacity(const struct slotmap *map)
{
    uint32_t limit = vbuf_u32_load_relaxed(&map->slot_limit_); /* a figure */
    return limit != 0 ? limit - 1 : 0;
}

struct slotmap_iter slotmap_iter_begin(struct slotmap *map)
{
    /* Acquire pairs with the CAS in make_slots: what is below is committed. */
    uint32_t end = vbuf_u32_load_acquire(&map_of(map)->made);
    struct slotmap_iter iter = {map, slot_at(map_of(map), 1), 1, end};
    return iter;
}

/* Sums over parts. Removed first: what is missed of inserted can then not make the length negative. */
static void count_values(const struct map *map, uint64_t *inserted, uint64_t *removed)
{
    uint32_t parts = map_parts(map);
    *inserted = *removed = 0;
    for (uint32_t i = 0; i < parts; i++)
        *removed += vbuf_u64_load_acquire(&part_at(map, i)->head.removed);
    parts = map_parts(map); /* that there are by now */
    for (uint32_t i = 0; i < parts; i++)
        *inserted += vbuf_u64_load_acquire(&part_at(map, i)->head.inserted);
}

static size_t length(const struct map *map, uint64_t inserted, uint64_t removed)
{
    uint64_t len = inserted > removed ? inserted - removed : 0;
    return len < map->max_len ? (size_t)len : map->max_len; /* failing inserts count for a moment */
}

size_t slotmap_len(const struct slotmap *handle)
{
    const struct map *map = map_of(handle);
    uint64_t inserted, removed;
    count_values(map, &inserted, &removed);
    return length(map, inserted, removed);
}

enum vbuf_status slotmap_stats(struct slotmap *handle, struct slotmap_report *stats)
{
    if (stats == NULL)
        return VBUF_INVALID;
    struct map *map = map_of(handle);
    size_t page = vmem_page_size();
    uint32_t limit = vbuf_u32_load_acquire(&handle->slot_limit_);
    uint32_t threads = vbuf_u32_load_acquire(&handle->thread_limit_);
    *stats = (struct slotmap_report){
        .max_len = map->max_len,
        .capacity = slotmap_capacity(handle),
        .slots = vbuf_u32_load_acquire(&map->made) - 1,
        .limbo = slots_in_limbo(map),
        .max_slots = map->slots - 1,
        .max_limbo = map->max_limbo,
        .abandoned = map->abandoned,
        .committed_bytes = vmem_align_up(part_offset(threads + 1), page) +
                           vmem_align_up((size_t)limit * handle->slot_size_, page),
    };
    uint32_t parts = map_parts(map);
    for (uint32_t i = 0; i < parts; i++) {
        stats->destroyed += vbuf_u64_load_relaxed(&part_at(map, i)->reclaimed); /* figures */
        stats->exhausted += (size_t)vbuf_u64_load_relaxed(&part_at(map, i)->exhausted);
    }
    count_values(map, &stats->inserted, &stats->removed);
    stats->len = length(map, stats->inserted, stats->removed);
    return ebr_stats(handle->domain_, &stats->domain);
}
