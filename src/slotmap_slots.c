/*
 * slotmap_slots.c - where vacant slots come from, and where removed ones go.
 *
 * Of a thread's own part, no line shared (each → is O(1), or bounded):
 *
 *      open batch ─full→ bags ─grace→ ready ─destructor→ vacant ─refill→ free list ─→ insert
 *
 * and between threads:
 *
 *      ready or vacant, more than worth keeping ─→ chunks ─→ free list of who has none
 *      slots never used (made … slots)          ─→ free list, 64 at a time; commits when it must
 *      threads without a part, exited threads   ─→ orphans ─→ adopted by who collects
 *
 * All lists are threaded through the slots' link words; 0 ends them. Nothing is allocated, so
 * removing cannot fail.
 *
 * Chunks are a Treiber stack whose nodes are head slots: the head's link names the next chunk, and
 * the first word of its value (vacant, and at least 4 bytes) the rest of its own chunk. The link is
 * read by poppers that may have lost already, hence it is the atomic word; the value is touched by
 * the winner alone. Against ABA there is no tag that could wrap, but a rule:
 *
 *      between two times that a slot is a head of the stack, a grace period has passed,
 *
 * and poppers are pinned: a popper that has read a head finds it either unmoved, or moved and not
 * back. The rule holds because a popped head is the first slot of a free list that was empty, and
 * is used up by the very insert that popped it; it comes back through limbo. Every other slot on a
 * free list has not been a head since its last grace period, so free lists of exited threads may go
 * back to the stack as they are.
 *
 * Orphans are pushed one by one or in chains and taken all at once, so there is no ABA either.
 * Whoever takes them seals them itself, later than their unlink, as a tag must be.
 *
 * How much to keep. Grace periods come in millisecond steps where a barrier is dear, so reclaimed
 * slots come in tens of thousands at once. A thread keeps as many as it has inserted since the last
 * time, up to cache_limit, and hands the rest on, a few chunks a call; what it has not yet handed
 * on stays in limbo in the books, so that no thread ever strands more than its cache (S5).
 *
 * S5, the sum: there are max_len + max_limbo + what caches can hold slots. An insert that has room
 * (fewer than max_len are live) and finds no slot, then finds more than max_limbo in limbo:
 * VBUF_BUSY; or slots that left service took the difference: VBUF_FULL.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "slotmap_internal.h"
#include "threads.h"

#define CHUNK SLOTMAP_BATCH_
#define CHUNKS_SHARED_A_CALL 16
#define FRESH_BATCH SLOTMAP_BATCH_
#define DESTROYS_A_CALL 64
#define CROWDED_BATCH (4 * SLOTMAP_BATCH_)

static void link_slots(const void *context, uint64_t node, uint64_t next)
{
    set_link(context, (uint32_t)node, (uint32_t)next);
}

static uint32_t pop_first(const struct map *map, struct limbo_chain *chain)
{
    uint32_t index = (uint32_t)chain->first;
    chain->first = link_of(map, index);
    if (--chain->count == 0)
        chain->first = chain->last = 0;
    return index;
}

static void push_first(const struct map *map, struct limbo_chain *chain, uint32_t index)
{
    set_link(map, index, (uint32_t)chain->first);
    if (chain->first == 0)
        chain->last = index;
    chain->first = index;
    chain->count++;
}

static void count(struct map *map, struct part *part, struct vbuf_atomic_u64 *figure, uint64_t by)
{
    if (part == NULL || part == part_at(map, 0))
        vbuf_u64_fetch_add_relaxed(figure, by); /* figures order nothing */
    else
        vbuf_u64_owner_add_relaxed(figure, by);
}

static void count_reclaimed(struct map *map, struct part *part, uint64_t by)
{
    if (part == NULL)
        part = part_at(map, 0);
    count(map, part, &part->reclaimed, by);
}

void slots_count_exhausted(struct map *map, struct part *part)
{
    count(map, part, &part->exhausted, 1);
}

size_t slots_in_limbo(const struct map *map)
{
    uint64_t reclaimed = 0, removed = 0;
    uint32_t parts = map_parts(map);
    /* Relaxed, acquire: what was reclaimed was removed before, so this order never gives less than 0. */
    for (uint32_t i = 0; i < parts; i++)
        reclaimed += vbuf_u64_load_relaxed(&part_at(map, i)->reclaimed);
    for (uint32_t i = 0; i < parts; i++)
        removed += vbuf_u64_load_acquire(&part_at(map, i)->head.removed);
    return removed > reclaimed ? (size_t)(removed - reclaimed) : 0;
}

/* ---- chunks ---- */

/* Pushes the slot `head`, and the list `rest` behind it, as one chunk. */
static void push_chunk(struct map *map, uint32_t head, uint32_t rest)
{
    memcpy(value_of(map, slot_at(map, head)), &rest, sizeof rest);
    uint32_t seen = vbuf_u32_load_relaxed(&map->chunks); /* the CAS decides */
    do {
        set_link(map, head, seen);
        /* Release: the chunk is written; pairs with the acquires in pop_chunk. */
    } while (!vbuf_u32_cas_acq_rel(&map->chunks, &seen, head));
}

/* Takes a chunk: its head, linked to the rest again; or 0. */
static uint32_t pop_chunk(struct map *map)
{
    if (vbuf_u32_load_relaxed(&map->chunks) == 0) /* a look, to spare the pin */
        return 0;
    ebr_pin(map->head.domain_);
    uint32_t head = vbuf_u32_load_acquire(&map->chunks); /* pairs with push_chunk */
    while (head != 0 && !vbuf_u32_cas_acq_rel(&map->chunks, &head, link_of(map, head))) {
    }
    ebr_unpin(map->head.domain_);
    if (head == 0)
        return 0;
    uint32_t rest;
    memcpy(&rest, value_of(map, slot_at(map, head)), sizeof rest);
    set_link(map, head, rest);
    return head;
}

/* Cuts up to CHUNK slots off a chain and pushes them; how many. */
static uint64_t share_chunk(struct map *map, struct limbo_chain *chain)
{
    uint32_t head = pop_first(map, chain);
    uint32_t rest = (uint32_t)chain->first;
    uint32_t last = 0;
    uint64_t shared = 1;
    while (shared < CHUNK && chain->first != 0) {
        last = pop_first(map, chain);
        shared++;
    }
    if (last != 0)
        set_link(map, last, 0);
    push_chunk(map, head, last != 0 ? rest : 0);
    return shared;
}

/* ---- growth ---- */

/* Commits slots below `need` at least: twice what there is, or, refused that, what is needed. */
static enum vbuf_status commit_slots(struct map *map, uint32_t need)
{
    uint32_t limit = vbuf_u32_load_acquire(&map->head.slot_limit_);
    if (need <= limit)
        return VBUF_OK;
    size_t size = map->head.slot_size_;
    uint64_t wanted[2] = {(uint64_t)limit * 2, need};
    enum vbuf_status status = VBUF_NOMEM;
    for (int i = 0; i < 2 && status != VBUF_OK; i++) {
        if (wanted[i] < need)
            wanted[i] = need;
        /* To the end of its last page. */
        uint64_t fits = vmem_align_up((size_t)wanted[i] * size, vmem_page_size()) / size;
        if (fits > map->slots)
            fits = map->slots;
        status = vbuf_commit(&map->memory, map->slots_offset + limit * size, (fits - limit) * size);
        if (status == VBUF_OK)
            /* Pairs with the acquire in slotmap_find_. */
            vbuf_u32_max_release(&map->head.slot_limit_, (uint32_t)fits);
    }
    return status;
}

/* Takes up to `most` slots that were never used: the first and how many. FULL: there are none. */
static enum vbuf_status make_slots(struct map *map, uint32_t most, uint32_t *first, uint32_t *made)
{
    uint32_t seen = vbuf_u32_load_acquire(&map->made);
    for (;;) {
        *made = map->slots - seen < most ? map->slots - seen : most;
        if (*made == 0)
            return VBUF_FULL;
        enum vbuf_status status = commit_slots(map, seen + *made);
        if (status != VBUF_OK)
            return status;
        *first = seen;
        /* Release: committed before an iterator looks there. */
        if (vbuf_u32_cas_acq_rel(&map->made, &seen, seen + *made))
            break;
    }
    for (uint32_t i = 0; i < *made; i++) {
        struct slotmap_slot_ *slot = slot_at(map, *first + i);
        if (map->first_generation != 0) /* relaxed: even, like the 0 it replaces: never resolves */
            vbuf_u32_store_relaxed(&slot->generation, map->first_generation);
        vbuf_u32_store_relaxed(&slot->link, i + 1 < *made ? *first + i + 1 : 0); /* ours */
    }
    return VBUF_OK;
}

/* ---- reclaim ---- */

/* How many vacant slots the thread may be expected to use before the next are reclaimed. */
static void update_keep(struct map *map, struct part *part)
{
    uint64_t inserted = vbuf_u64_load_relaxed(&part->head.inserted); /* our own */
    uint64_t keep = inserted - part->inserted_before;
    part->inserted_before = inserted;
    part->keep = keep < CHUNK ? CHUNK : keep < map->cache_limit ? keep : map->cache_limit;
}

/* Ready slots whose values need no destructor: all at once, but for what others should have. */
static uint64_t take_ready(struct map *map, struct part *part)
{
    uint64_t before = part->limbo.ready.count;
    for (int i = 0; i < CHUNKS_SHARED_A_CALL && part->limbo.ready.first != 0; i++) {
        if (part->vacant.count + part->limbo.ready.count <= part->keep)
            break;
        share_chunk(map, &part->limbo.ready);
    }
    uint64_t reclaimed = before - part->limbo.ready.count;
    if (part->vacant.count + part->limbo.ready.count <= map->cache_limit) {
        reclaimed += part->limbo.ready.count;
        limbo_join(&part->vacant, &part->limbo.ready, link_slots, map);
    }
    return reclaimed;
}

/* Ready slots whose values do: one by one. A destructor may use the map, and so this part. */
static uint64_t destroy_ready(struct map *map, struct part *part, size_t most)
{
    uint64_t destroyed = 0;
    part->destroying = true;
    while (destroyed < most && part->limbo.ready.first != 0) {
        uint32_t index = pop_first(map, &part->limbo.ready);
        map->destroy(map->context, value_of(map, slot_at(map, index)));
        push_first(map, &part->vacant, index);
        destroyed++;
        if (part->vacant.count >= part->keep + CHUNK)
            share_chunk(map, &part->vacant);
    }
    part->destroying = false;
    return destroyed;
}

/* Reclaims what the epoch has passed: at most `most` destructors. Inside a destructor: nothing. */
static uint64_t settle(struct map *map, struct part *part, size_t most)
{
    if (part->destroying)
        return 0;
    uint64_t ready = part->limbo.ready.count;
    limbo_settle(&part->limbo, ebr_epoch(map->head.domain_), link_slots, map);
    if (part->limbo.ready.count != ready || part->keep == 0)
        update_keep(map, part);
    if (part->limbo.ready.first == 0)
        return 0;
    uint64_t reclaimed =
        map->destroy != NULL ? destroy_ready(map, part, most) : take_ready(map, part);
    count_reclaimed(map, part, reclaimed);
    return reclaimed;
}

static void seal_open(struct map *map, struct part *part)
{
    struct limbo_chain batch = {part->head.open_first, part->head.open_last, part->head.open_count};
    if (batch.first == 0)
        return;
    part->head.open_first = part->head.open_last = part->head.open_count = 0;
    limbo_seal(&part->limbo, &batch, ebr_seal_tag(map->head.domain_), link_slots, map);
}

void slots_turn_over(struct map *map, struct part *part)
{
    /* The tag is a write to the line that every pin reads. */
    if (part->head.open_count >= CROWDED_BATCH || !ebr_is_crowded(map->head.domain_))
        seal_open(map, part);
    ebr_advance(map->head.domain_, false);
    settle(map, part, DESTROYS_A_CALL);
}

/* ---- orphans, and collecting ---- */

static void push_orphan_chain(struct map *map, const struct limbo_chain *chain)
{
    if (chain->first == 0)
        return;
    uint32_t seen = vbuf_u32_load_relaxed(&map->orphans); /* the CAS decides */
    do {
        set_link(map, (uint32_t)chain->last, seen);
        /* Release: the links are written; pairs with the exchange in adopt_orphans. */
    } while (!vbuf_u32_cas_acq_rel(&map->orphans, &seen, (uint32_t)chain->first));
}

void slots_push_orphan(struct map *map, uint32_t index)
{
    push_orphan_chain(map, &(struct limbo_chain){index, index, 1});
}

static void adopt_orphans(struct map *map, struct limbo_chain *adopted)
{
    if (vbuf_u32_load_relaxed(&map->orphans) == 0) /* a look, to spare the exchange */
        return;
    uint32_t index = vbuf_u32_exchange_acq_rel(&map->orphans, 0);
    while (index != 0) {
        uint32_t next = link_of(map, index);
        push_first(map, adopted, index);
        index = next;
    }
}

/* What an exited thread left under its number, which the caller holds. */
static void empty_part(struct map *map, struct part *part, struct limbo_chain *adopted)
{
    struct limbo_chain open = {part->head.open_first, part->head.open_last, part->head.open_count};
    part->head.open_first = part->head.open_last = part->head.open_count = 0;
    part->destroying = false; /* a thread may exit inside a destructor */
    struct limbo_chain all = limbo_take_all(&part->limbo, link_slots, map);
    limbo_join(adopted, &all, link_slots, map);
    limbo_join(adopted, &open, link_slots, map);
    while (part->vacant.first != 0)
        share_chunk(map, &part->vacant);
    if (part->head.free != 0) /* at most a cache: one chunk, however long */
        push_chunk(map, part->head.free, link_of(map, part->head.free));
    part->head.free = 0;
}

static void adopt_exited(struct map *map, struct limbo_chain *adopted)
{
    uint32_t parts = map_parts(map);
    for (uint32_t i = 1; i < parts; i++) {
        if (!vbuf_thread_borrow(i))
            continue;
        empty_part(map, part_at(map, i), adopted);
        vbuf_thread_return(i);
    }
}

/* Into `part`, which may be a temporary one. */
static uint64_t collect_into(struct map *map, struct part *part, size_t most)
{
    struct limbo_chain adopted = {0, 0, 0};
    adopt_orphans(map, &adopted);
    adopt_exited(map, &adopted);
    seal_open(map, part);
    if (adopted.first != 0)
        limbo_seal(&part->limbo, &adopted, ebr_seal_tag(map->head.domain_), link_slots, map);
    for (int step = 0; step < LIMBO_GRACE / 2; step++) {
        if (ebr_advance(map->head.domain_, true) != EBR_ADVANCED)
            break;
    }
    uint64_t reclaimed = 0, more;
    do {
        more = settle(map, part, most - reclaimed);
        reclaimed += more;
    } while (more != 0 && reclaimed < most);
    return reclaimed;
}

size_t slots_collect(struct map *map, size_t most)
{
    struct part *part = map_own_part(map);
    if (part != NULL)
        return (size_t)collect_into(map, part, most);
    struct part temporary;
    memset(&temporary, 0, sizeof temporary);
    uint64_t reclaimed = collect_into(map, &temporary, most);
    while (temporary.vacant.first != 0)
        share_chunk(map, &temporary.vacant);
    struct limbo_chain rest = limbo_take_all(&temporary.limbo, link_slots, map);
    push_orphan_chain(map, &rest);
    count_reclaimed(map, NULL, vbuf_u64_load_relaxed(&temporary.reclaimed)); /* a local */
    return (size_t)reclaimed;
}

static void destroy_chain(struct map *map, struct limbo_chain chain)
{
    while (chain.first != 0)
        map->destroy(map->context, value_of(map, slot_at(map, pop_first(map, &chain))));
}

void slots_destroy_limbo(struct map *map)
{
    struct limbo_chain all = {0, 0, 0};
    adopt_orphans(map, &all);
    uint32_t limit = vbuf_u32_load_acquire(&map->head.thread_limit_);
    for (uint32_t i = 1; i <= limit; i++) {
        struct part *part = part_at(map, i);
        struct limbo_chain open = {part->head.open_first, part->head.open_last,
                                   part->head.open_count};
        struct limbo_chain rest = limbo_take_all(&part->limbo, link_slots, map);
        limbo_join(&all, &rest, link_slots, map);
        limbo_join(&all, &open, link_slots, map);
    }
    destroy_chain(map, all);
}

/* ---- refill ---- */

/* From what the thread has, or another had too much of. */
static bool refill_from_lists(struct map *map, struct part *part)
{
    if (part->head.free != 0) /* a destructor, just now, refilled it */
        return true;
    if (part->vacant.first != 0) {
        part->head.free = (uint32_t)part->vacant.first;
        part->vacant = (struct limbo_chain){0, 0, 0};
        return true;
    }
    part->head.free = pop_chunk(map);
    return part->head.free != 0;
}

/* Slots never used, unless limbo is past its limit. */
static enum vbuf_status make_within_limits(struct map *map, uint32_t most, uint32_t *first)
{
    uint32_t made;
    if (slots_in_limbo(map) > map->max_limbo)
        return VBUF_BUSY;
    enum vbuf_status status = make_slots(map, most, first, &made);
    if (status == VBUF_FULL && slots_in_limbo(map) != 0)
        return VBUF_BUSY;
    return status;
}

enum vbuf_status slots_refill(struct map *map, struct part *part)
{
    settle(map, part, DESTROYS_A_CALL);
    if (refill_from_lists(map, part))
        return VBUF_OK;
    enum vbuf_status status = make_within_limits(map, FRESH_BATCH, &part->head.free);
    if (status == VBUF_OK)
        return VBUF_OK;
    slots_collect(map, DESTROYS_A_CALL);
    if (refill_from_lists(map, part))
        return VBUF_OK;
    return make_within_limits(map, FRESH_BATCH, &part->head.free);
}

/* One slot off the stack of chunks; the rest goes back under a head of its own. */
static uint32_t take_from_chunk(struct map *map)
{
    uint32_t index = pop_chunk(map);
    if (index != 0 && link_of(map, index) != 0) {
        uint32_t next = link_of(map, index);
        push_chunk(map, next, link_of(map, next));
    }
    return index;
}

enum vbuf_status slots_take_shared(struct map *map, uint32_t *index)
{
    enum vbuf_status status = VBUF_OK;
    for (int attempt = 0; attempt < 2; attempt++) {
        while ((*index = take_from_chunk(map)) != 0) {
            /* Relaxed: ours now. */
            if (vbuf_u32_load_relaxed(&slot_at(map, *index)->generation) != SLOTMAP_EXHAUSTED_)
                return VBUF_OK;
            slots_count_exhausted(map, part_at(map, 0));
        }
        status = make_within_limits(map, 1, index);
        if (status == VBUF_OK)
            return VBUF_OK;
        if (attempt == 0)
            slots_collect(map, DESTROYS_A_CALL);
    }
    return status;
}
