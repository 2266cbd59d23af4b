/*
 * slotmap_slots.c - where vacant slots come from. (Where removed ones go is in slotmap_limbo.c.)
 *
 * Of a thread's own part, no line shared (each -> is O(1), or bounded):
 *
 *      open batch -full-> bags -grace-> ready -destructor-> vacant -refill-> free list -> insert
 *
 * and between threads:
 *
 *      ready or vacant, more than is worth keeping  -> chunks -> free list of who has none
 *      slots never used (from `made` up to `slots`) -> free list, a chunk at a time; may commit
 *      removed by threads without a part            -> part 0, or, when that is busy, orphans
 *      all that a thread has, taken over            -> chunks, and limbo of who collects
 *
 * All lists are threaded through the slots' link words; 0 ends them. Nothing is allocated, so removing
 * cannot fail.
 *
 * Chunks are a Treiber stack whose nodes are head slots: the head's link names the next chunk, and the
 * first word of its value (vacant, and at least 4 bytes) the rest of its own chunk. The link is read by
 * poppers that may have lost already, hence it is the atomic word; the value is touched by the winner
 * alone. Against ABA there is no tag that could wrap, but a rule:
 *
 *      between two times that a slot is a head of the stack, a grace period has passed,
 *
 * and poppers are pinned: a popper that has read a head finds it either unmoved, or moved and not back.
 * The rule holds because who pops a head uses that slot at once, for its insert; it comes back through
 * limbo. (Or it drops it, out of service.) Every other slot of a chunk, and of a free list, has not been
 * a head since its last grace period, so it may go back to the stack as it is.
 *
 * S5, the sum: there are slots for max_len and max_limbo, and for what each part's free list and vacant
 * chain can hold. An insert that has room (fewer than max_len are live) and finds no slot anywhere, then
 * finds more than max_limbo in limbo, or a thread stopped with slots in its hands: VBUF_BUSY; or every slot is in use
 * or has left service: VBUF_FULL. Which of them is seen by looking at the slots (why_none).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "slotmap_internal.h"

/* ---- chunks ---- */

/* Where the head of a chunk keeps the rest of it: in place of its value, unless that is still there. */
static void *rest_of(const struct map *map, uint32_t head)
{
    return (unsigned char *)slot_at(map, head) + map->rest_offset;
}

uint32_t slots_rest_of(const struct map *map, uint32_t head)
{
    uint32_t rest;
    memcpy(&rest, rest_of(map, head), sizeof rest);
    return rest;
}

void slots_push_chunk(struct map *map, uint32_t head, uint32_t rest)
{
    memcpy(rest_of(map, head), &rest, sizeof rest);
    uint32_t seen = vbuf_u32_load_relaxed(&map->chunks); /* the CAS decides */
    do {
        set_link(map, head, seen);
        /* Release: the chunk is written; pairs with the acquires in pop_chunk. */
    } while (!vbuf_u32_cas_acq_rel(&map->chunks, &seen, head));
}

/* Takes a chunk: its head, which the caller uses at once, and the list of the rest; or 0. */
static uint32_t pop_chunk(struct map *map, uint32_t *rest)
{
    if (vbuf_u32_load_relaxed(&map->chunks) == 0) /* a look, to spare the pin */
        return 0;
    ebr_pin(map->head.domain_);
    uint32_t head = vbuf_u32_load_acquire(&map->chunks); /* pairs with push_chunk */
    while (head != 0 && !vbuf_u32_cas_acq_rel(&map->chunks, &head, link_of(map, head))) {
    }
    ebr_unpin(map->head.domain_);
    if (head != 0)
        *rest = slots_rest_of(map, head);
    return head;
}

uint64_t slots_share_chunk(struct map *map, struct limbo_chain *chain)
{
    uint32_t head = pop_first(map, chain);
    uint32_t rest = (uint32_t)chain->first;
    uint32_t last = 0;
    uint64_t shared = 1;
    while (shared < map->chunk && chain->first != 0) {
        last = pop_first(map, chain);
        shared++;
    }
    if (last != 0)
        set_link(map, last, 0);
    slots_push_chunk(map, head, last != 0 ? rest : 0);
    return shared;
}

/* ---- growth ---- */

/* Commits slots below `need` at least: twice what there is, or, refused that, what is needed. */
static enum vbuf_status commit_slots(struct map *map, uint32_t need)
{
    uint32_t limit = vbuf_u32_load_acquire(&map->head.slot_limit_); /* pairs with the max below */
    if (need <= limit)
        return VBUF_OK;
    size_t size = map->head.slot_size_;
    uint64_t wanted[2] = {(uint64_t)limit * 2, need};
    enum vbuf_status status = VBUF_NOMEM;
    for (int i = 0; i < 2 && status != VBUF_OK; i++) {
        if (wanted[i] < need)
            wanted[i] = need;
        size_t page = vmem_page_size();
        size_t begin = vmem_align_up(limit * size, page);
        size_t end = vmem_align_up((size_t)wanted[i] * size, page);
        uint64_t fits = end / size; /* to the end of its last page */
        if (fits > map->slots) {
            fits = map->slots;
            end = vmem_align_up((size_t)fits * size, page);
        }
        status = map_commit(map, SLOTMAP_SLOTS_OFFSET_ + begin, end - begin);
        if (status == VBUF_OK)
            /* Pairs with the acquire in slotmap_find_. */
            vbuf_u32_max_release(&map->head.slot_limit_, (uint32_t)fits);
    }
    return status;
}

/* Spread: over the lower half, by a good mixer's first bits. */
uint32_t slots_first_generation(const struct map *map, uint32_t index)
{
    if (map->generation_seed == 0)
        return map->first_generation;
    uint64_t mixed = ((uint64_t)map->generation_seed << 32 | index) * UINT64_C(0x9E3779B97F4A7C15);
    mixed = (mixed ^ (mixed >> 29)) * UINT64_C(0xBF58476D1CE4E5B9);
    return (uint32_t)(mixed >> 33) & ~SLOTMAP_STATE_;
}

/* Takes up to `most` slots that were never used: the first and how many. FULL: there are none. */
static enum vbuf_status make_slots(struct map *map, uint32_t most, uint32_t *first, uint32_t *made)
{
    uint32_t seen = vbuf_u32_load_acquire(&map->made); /* pairs with the CAS below */
    for (;;) {
        *made = map->slots - seen < most ? map->slots - seen : most;
        if (*made == 0)
            return VBUF_FULL;
        enum vbuf_status status = commit_slots(map, seen + *made);
        if (status != VBUF_OK)
            return status;
        uint32_t begin = seen;
        /* Release: committed before an iterator looks there. */
        if (vbuf_u32_cas_acq_rel(&map->made, &seen, begin + *made)) {
            *first = begin; /* only now: *first may be a free list */
            break;
        }
    }
    for (uint32_t i = 0; i < *made; i++) {
        struct slotmap_slot_ *slot = slot_at(map, *first + i);
        uint32_t generation = slots_first_generation(map, *first + i);
        if (generation != 0) /* relaxed: UNUSED, as the 0 it replaces: never resolves */
            vbuf_u32_store_relaxed(&slot->generation, generation);
        vbuf_u32_store_relaxed(&slot->link, i + 1 < *made ? *first + i + 1 : 0); /* ours */
    }
    return VBUF_OK;
}

enum vbuf_status slots_reserve(struct map *map, size_t count, bool prefault)
{
    if (count > map->max_len)
        return VBUF_FULL;
    uint32_t made = vbuf_u32_load_acquire(&map->made); /* pairs with the CAS above */
    /* Slots are made a chunk at a time. At the end of the map are all there can be. */
    uint64_t need = (uint64_t)made + count + map->chunk;
    need = need < map->slots ? need : map->slots;
    enum vbuf_status status = commit_slots(map, (uint32_t)need);
    if (status != VBUF_OK || !prefault)
        return status;
    size_t size = map->head.slot_size_;
    return vmem_prefault(&map->memory.memory, SLOTMAP_SLOTS_OFFSET_ + made * size,
                         (size_t)(need - made) * size);
}

/* ---- taking a slot ---- */

static bool is_exhausted(struct map *map, struct part *part, uint32_t index)
{
    /* Relaxed: the slot is ours. */
    if (vbuf_u32_load_relaxed(&slot_at(map, index)->generation) < SLOTMAP_LAST_GENERATION)
        return false;
    part_count(map, part, &part->exhausted, 1);
    set_link(map, index, index); /* and drop it: it is the end of no list, and on none */
    return true;
}

bool slots_was_dropped(const struct map *map, uint32_t index)
{
    return link_of(map, index) == index;
}

/* Whether a slot is in use, or out of service; else it is on some list, or in somebody's hands. */
static bool is_not_to_be_had(uint32_t generation)
{
    switch (state_of(generation)) {
    case SLOTMAP_LIVE_:
    case SLOTMAP_CLAIMED_:
    case SLOTMAP_INVALIDATED_: /* keeps its room, until its release */
    case SLOTMAP_HELD_:
        return true;
    default:
        return generation >= SLOTMAP_LAST_GENERATION;
    }
}

/*
 * Why there are no slots left for a caller that has room: FULL iff, at one moment, none was to be had. Every slot is
 * looked at: without a remove meanwhile, what was in use stays so to the end. Figures would not do: inserts that will
 * find no slot either count in them. That is dear, and only ever asked where so many are out of service that it can be.
 */
static enum vbuf_status why_none(const struct map *map)
{
    uint64_t hidden = slots_in_limbo(map); /* which may be in their last life */
    uint32_t parts = map_parts(map);
    for (uint32_t i = 0; i < parts; i++)
        hidden +=
            vbuf_u64_load_relaxed(&part_at(map, i)->exhausted); /* of threads that we know of */
    if (hidden + map->max_len + 1 < map->slots)                 /* slot 0 is nobody's */
        return VBUF_BUSY;
    uint64_t removed = map_removed_so_far(map);
    for (uint32_t i = 1; i < map->slots; i++) {
        /* Acquire: who removed what was here counted that, we know of, first. Pairs with slotmap_publish_, and the CASes. */
        if (!is_not_to_be_had(vbuf_u32_load_acquire(&slot_at(map, i)->generation)))
            return VBUF_BUSY;
    }
    return map_removed_so_far(map) == removed ? VBUF_FULL : VBUF_BUSY;
}

/* Slots never used, unless limbo is past its limit. */
static enum vbuf_status make_within_limits(struct map *map, uint32_t most, uint32_t *first)
{
    uint32_t made = vbuf_u32_load_relaxed(&map->made); /* a look: limbo is never more than it */
    size_t limit =
        map->max_limbo + (size_t)map->abandoned; /* which were not in limbo before a fork */
    if (made > limit && slots_surely_in_limbo(map) > limit)
        return VBUF_BUSY;
    enum vbuf_status status = make_slots(map, most, first, &made);
    return status == VBUF_FULL ? why_none(map) : status;
}

/* Without lists: one slot off the stack of chunks, whose rest goes back under a head of its own. */
static enum vbuf_status take_directly(struct map *map, struct part *part, uint32_t *index)
{
    uint32_t rest;
    while ((*index = pop_chunk(map, &rest)) != 0) {
        if (rest != 0)
            slots_push_chunk(map, rest, link_of(map, rest));
        if (!is_exhausted(map, part, *index))
            return VBUF_OK;
    }
    return make_within_limits(map, 1, index);
}

/* From the part's lists, or through them. The part is entered. */
static enum vbuf_status take_entered(struct map *map, struct part *part, uint32_t *index)
{
    enum vbuf_status status = VBUF_OK;
    do {
        if (part->head.free == 0 && part->vacant.first != 0) {
            part->head.free = (uint32_t)part->vacant.first;
            part->vacant = (struct limbo_chain){0, 0, 0};
        }
        *index = part->head.free;
        if (*index != 0)
            part->head.free = link_of(map, *index);
        else if ((*index = pop_chunk(map, &part->head.free)) == 0) {
            status = make_within_limits(map, map->chunk, index);
            part->head.free = status == VBUF_OK ? link_of(map, *index) : 0;
        }
    } while (status == VBUF_OK && is_exhausted(map, part, *index));
    return status;
}

static enum vbuf_status try_to_take(struct map *map, struct part *part, size_t *budget,
                                    uint32_t *index)
{
    uint64_t reclaimed = 0;
    if (!part_enter(map, part) || !slots_settle(map, part, budget, &reclaimed))
        return take_directly(map, part, index);
    enum vbuf_status status = take_entered(map, part, index);
    part_leave(part);
    return status;
}

enum vbuf_status slots_take(struct map *map, struct part *part, uint32_t *index)
{
    size_t budget = map->destroys_a_call;
    enum vbuf_status status = try_to_take(map, part, &budget, index);
    if (status == VBUF_OK)
        return status;
    slots_collect_some(map, &budget);
    return try_to_take(map, part, &budget, index);
}
