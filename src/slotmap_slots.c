/*
 * slotmap_slots.c - where vacant slots come from, and where removed ones go.
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
 * Taking over. What an idle thread has must not be lost to the others, whether it sleeps or has exited:
 * a value it removed may hold a socket, and its limbo counts against max_limbo. Whoever collects puts
 * its token into every part's `frozen`, issues one heavy fence, and then, where the owner is not busy,
 * raises token to token | TAKING by CAS, empties the part, and sets it to 0.
 *
 *      owner   busy = 1;  light fence;  frozen is 0, or CAS frozen from a mere token to 0: the lists
 *              are its own.  Else (TAKING, for the moment of the emptying) busy = 0, and it does
 *              without: takes a slot from the chunks, leaves one with the orphans.
 *      taker   CAS frozen from 0 to token;  heavy fence;  busy is 0, and CAS token to token | TAKING:
 *              the lists are its own.
 *
 * The fence makes one of them see the other, and the CASes on one word decide. Tokens are unique, so
 * that a taker that was stopped for long cannot take up a later one's freeze, without a fence of its
 * own behind it. A taker stopped anywhere but in the emptying itself stops nobody. What is emptied goes
 * to the orphans part by part, and from there into the limbo of whoever collects.
 * Destructors run outside: the part is left, and entered again, around each, so a destructor may use
 * the map, and one that takes long holds up nobody's lists.
 * A thread stopped in the middle of a call keeps what it has entered: its own lists, at most.
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
 * Orphans are pushed one by one or in chains and taken all at once, so there is no ABA either. Whoever
 * takes them seals them itself, later than their unlink, as a tag must be.
 *
 * How much to keep. Grace periods come in millisecond steps where a barrier is dear, so reclaimed slots
 * come in tens of thousands at once. A thread keeps as many as it has inserted since the last time, up
 * to cache_limit, and hands the rest on, a few chunks a call; what it has not yet handed on stays in
 * limbo in the books.
 *
 * S5, the sum: there are slots for max_len and max_limbo, and for what each part's free list and vacant
 * chain can hold. An insert that has room (fewer than max_len are live) and finds no slot anywhere, then
 * finds more than max_limbo in limbo, or a thread stopped with slots in its hands: VBUF_BUSY; or slots
 * that left service make up the difference: VBUF_FULL.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "slotmap_internal.h"
#include "system.h"
#include "threads.h"

#define CHUNKS_SHARED_A_CALL 16
#define DESTROYS_A_CALL 128 /* more than a batch, so that what waited for a stalled pin drains */
#define CROWDED_BATCH (4 * SLOTMAP_BATCH_)
#define PATIENCE 16 /* yields */

/* The next slot of a list. Relaxed: whoever walks a list owns it, or proves what it read by a CAS. */
static uint32_t link_of(const struct map *map, uint32_t index)
{
    return vbuf_u32_load_relaxed(&slot_at(map, index)->link);
}

static void set_link(const struct map *map, uint32_t index, uint32_t next)
{
    vbuf_u32_store_relaxed(&slot_at(map, index)->link, next);
}

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
    /* Release: what was reclaimed was removed before; pairs with slots_in_limbo. */
    if (is_shared(map, part))
        vbuf_u64_fetch_add_acq_rel(figure, by);
    else
        vbuf_u64_owner_add_release(figure, by);
}

size_t slots_in_limbo(const struct map *map)
{
    uint64_t reclaimed = 0, removed = 0;
    uint32_t parts = map_parts(map);
    /* In this order: whoever counted a slot as reclaimed saw it counted as removed. Churn in between
     * makes the difference larger than it ever was. */
    for (uint32_t i = 0; i < parts; i++)
        reclaimed += vbuf_u64_load_acquire(&part_at(map, i)->reclaimed);
    for (uint32_t i = 0; i < parts; i++)
        removed += vbuf_u64_load_acquire(&part_at(map, i)->head.removed);
    return removed > reclaimed ? (size_t)(removed - reclaimed) : 0;
}

/* The same, but rather too few: for concluding that there are too many. */
static size_t surely_in_limbo(const struct map *map)
{
    uint64_t reclaimed = 0, removed = 0;
    uint32_t parts = map_parts(map);
    for (uint32_t i = 0; i < parts; i++)
        removed += vbuf_u64_load_acquire(&part_at(map, i)->head.removed);
    for (uint32_t i = 0; i < parts; i++)
        reclaimed += vbuf_u64_load_acquire(&part_at(map, i)->reclaimed);
    return removed > reclaimed ? (size_t)(removed - reclaimed) : 0;
}

/* ---- whose lists ---- */

/* Begins to use a part's lists; false: they must be left alone. Part 0 is anybody's, one at a time. */
static bool enter(struct map *map, struct part *part)
{
    if (is_shared(map, part)) {
        uint32_t free = 0;
        return vbuf_u32_cas_acquire(&part->head.busy, &free, 1); /* pairs with leave */
    }
    if (slotmap_enter_(&map->head, &part->head))
        return true;
    /* We are busy, and the fence is behind us: to take the freeze back is all that is missing. */
    uint64_t seen = vbuf_u64_load_acquire(&part->head.frozen); /* pairs with the taker's release */
    while (seen != 0 && !(seen & SLOTMAP_TAKING_)) {
        if (vbuf_u64_cas_acq_rel(&part->head.frozen, &seen, 0)) /* against the taker's to TAKING */
            return true;
    }
    if (seen == 0)
        return true;
    slotmap_leave_(&part->head);
    return false;
}

/* Likewise, but does not give up at once: a taker is through in microseconds, unless it was stopped. */
static bool enter_patiently(struct map *map, struct part *part)
{
    for (unsigned round = 0; round < PATIENCE; round++) {
        if (enter(map, part))
            return true;
        vbuf_sys_relax(round);
    }
    return false;
}

static void leave(struct part *part)
{
    slotmap_leave_(&part->head);
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
        memcpy(rest, value_of(map, slot_at(map, head)), sizeof *rest);
    return head;
}

/* Cuts a chunk off a chain and pushes it; how many slots that were. */
static uint64_t share_chunk(struct map *map, struct limbo_chain *chain)
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
        size_t page = vmem_page_size();
        size_t begin = vmem_align_up(limit * size, page);
        size_t end = vmem_align_up((size_t)wanted[i] * size, page);
        uint64_t fits = end / size; /* to the end of its last page */
        if (fits > map->slots) {
            fits = map->slots;
            end = vmem_align_up((size_t)fits * size, page);
        }
        status = vbuf_commit(&map->memory, map->slots_offset + begin, end - begin);
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
        uint32_t begin = seen;
        /* Release: committed before an iterator looks there. */
        if (vbuf_u32_cas_acq_rel(&map->made, &seen, begin + *made)) {
            *first = begin; /* only now: *first may be a free list */
            break;
        }
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
    uint64_t inserted = vbuf_u64_load_relaxed(&part->head.inserted); /* a guess is enough */
    uint64_t keep = inserted - part->inserted_before;
    part->inserted_before = inserted;
    keep = keep < map->chunk ? map->chunk : keep;
    part->keep = keep < map->cache_limit ? keep : map->cache_limit;
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
    count(map, part, &part->reclaimed, reclaimed);
    return reclaimed;
}

/*
 * Destroys one value, outside of the part, and keeps its slot; false: the part could not be entered
 * again.
 */
static bool destroy_one(struct map *map, struct part *part)
{
    uint32_t index = pop_first(map, &part->limbo.ready);
    leave(part);
    vbuf_self_.reclaiming++;
    map->destroy(map->context, value_of(map, slot_at(map, index)));
    vbuf_self_.reclaiming--;
    count(map, part, &part->reclaimed, 1);
    if (!enter_patiently(map, part)) {
        push_chunk(map, index, 0);
        return false;
    }
    push_first(map, &part->vacant, index);
    if (part->vacant.count >= part->keep + map->chunk)
        share_chunk(map, &part->vacant);
    return true;
}

/* Ready slots whose values need one, within the budget. Inside a destructor: nothing. */
static bool destroy_ready(struct map *map, struct part *part, size_t *budget, uint64_t *reclaimed)
{
    bool entered = true;
    while (entered && vbuf_self_.reclaiming == 0 && *budget > 0 && part->limbo.ready.first != 0) {
        --*budget;
        ++*reclaimed;
        entered = destroy_one(map, part);
    }
    return entered;
}

/*
 * Reclaims what the epoch has passed, within the budget of destructors. The part is entered; false: it
 * is not any more.
 */
static bool settle(struct map *map, struct part *part, size_t *budget, uint64_t *reclaimed)
{
    uint64_t ready = part->limbo.ready.count;
    limbo_settle(&part->limbo, ebr_epoch(map->head.domain_), link_slots, map);
    if (part->limbo.ready.count != ready || part->keep == 0)
        update_keep(map, part);
    if (part->limbo.ready.first == 0)
        return true;
    if (map->destroy != NULL)
        return destroy_ready(map, part, budget, reclaimed);
    *reclaimed += take_ready(map, part);
    return true;
}

static struct limbo_chain take_open(struct part *part)
{
    struct limbo_chain open = {part->head.open_first, part->head.open_last, part->head.open_count};
    part->head.open_first = part->head.open_last = part->head.open_count = 0;
    return open;
}

/* ---- orphans, and taking over ---- */

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

static void push_orphan(struct map *map, uint32_t index)
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

/* Empties a part that the caller may use: limbo to `adopted`, the rest to the chunks. */
static void empty_part(struct map *map, struct part *part, struct limbo_chain *adopted)
{
    struct limbo_chain open = take_open(part);
    struct limbo_chain all = limbo_take_all(&part->limbo, link_slots, map);
    limbo_join(adopted, &all, link_slots, map);
    limbo_join(adopted, &open, link_slots, map);
    while (part->vacant.first != 0)
        share_chunk(map, &part->vacant);
    if (part->head.free != 0) /* at most a cache: one chunk, however long */
        push_chunk(map, part->head.free, link_of(map, part->head.free));
    part->head.free = 0;
}

/* Empties a part that has frozen under this token, unless its owner is busy, or is so by now. */
static void take_part(struct map *map, struct part *part, uint64_t token)
{
    uint64_t seen = token;
    if (vbuf_u32_load_acquire(&part->head.busy) != 0) { /* pairs with slotmap_leave_ */
        vbuf_u64_cas_acq_rel(&part->head.frozen, &seen, 0);
        return;
    }
    if (!vbuf_u64_cas_acq_rel(&part->head.frozen, &seen, token | SLOTMAP_TAKING_))
        return; /* its owner took it back */
    struct limbo_chain taken = {0, 0, 0};
    empty_part(map, part, &taken);
    vbuf_u64_store_release(&part->head.frozen, 0); /* pairs with slotmap_enter_ */
    push_orphan_chain(map, &taken);
}

/* Takes over what the others have, to the orphans. Parts that another taker has frozen are its. */
static void take_over(struct map *map, const struct part *own)
{
    uint32_t parts = map_parts(map);
    uint64_t token = vbuf_u64_fetch_add_acq_rel(&map->freezes, 2) + 2; /* even, and never 0 */
    for (uint32_t i = 1; i < parts; i++) {
        uint64_t nobody = 0;
        /* Pairs with the load in slotmap_enter_, over the fences. */
        if (part_at(map, i) != own)
            vbuf_u64_cas_acq_rel(&part_at(map, i)->head.frozen, &nobody, token);
    }
    bool fenced = vbuf_fence_heavy();
    for (uint32_t i = 1; i < parts; i++) {
        struct part *part = part_at(map, i);
        uint64_t seen = vbuf_u64_load_acquire(&part->head.frozen);
        if (seen != token)
            continue;
        if (fenced)
            take_part(map, part, token);
        else
            vbuf_u64_cas_acq_rel(&part->head.frozen, &seen, 0);
    }
    struct part *shared = part_at(map, 0);
    if (shared != own && enter(map, shared)) {
        struct limbo_chain taken = {0, 0, 0};
        empty_part(map, shared, &taken);
        leave(shared);
        push_orphan_chain(map, &taken);
    }
}

/* Seals the orphans, and the open batch with them if it is time, into an entered part. */
static void seal_all(struct map *map, struct part *part, bool open_too)
{
    struct limbo_chain batch = {0, 0, 0};
    adopt_orphans(map, &batch);
    if (open_too) {
        struct limbo_chain open = take_open(part);
        limbo_join(&batch, &open, link_slots, map);
    }
    if (batch.first != 0)
        limbo_seal(&part->limbo, &batch, ebr_seal_tag(map->head.domain_), link_slots, map);
}

/* Settles until nothing more comes; enters and leaves. How many slots left limbo. */
static uint64_t settle_all(struct map *map, struct part *part, size_t *budget)
{
    uint64_t reclaimed = 0, before;
    if (!enter_patiently(map, part))
        return 0;
    bool entered;
    do {
        before = reclaimed;
        entered = settle(map, part, budget, &reclaimed);
    } while (entered && reclaimed != before && *budget > 0);
    if (entered)
        leave(part);
    return reclaimed;
}

size_t slots_collect(struct map *map, size_t *budget)
{
    struct part *part = map_own_part(map);
    /* What destructors remove may become ready at once, and so on: not in this call. */
    size_t waiting = slots_in_limbo(map);
    *budget = *budget < waiting ? *budget : waiting;
    take_over(map, part);
    if (!enter_patiently(map, part))
        return 0; /* all is with the orphans, for the next collector */
    seal_all(map, part, true);
    leave(part);
    for (int step = 0; step < LIMBO_GRACE / 2; step++) {
        if (ebr_advance(map->head.domain_, true) != EBR_ADVANCED)
            break;
    }
    return (size_t)settle_all(map, part, budget);
}

void slots_turn_over(struct map *map, struct part *part)
{
    if (!enter(map, part))
        return;
    /* The tag is a write to the line that every pin reads. */
    seal_all(map, part,
             part->head.open_count >= CROWDED_BATCH || !ebr_is_crowded(map->head.domain_));
    leave(part);
    ebr_advance(map->head.domain_, false);
    size_t budget = DESTROYS_A_CALL;
    uint64_t reclaimed = 0;
    if (enter(map, part) && settle(map, part, &budget, &reclaimed))
        leave(part);
}

void slots_bury(struct map *map, struct part *part, uint32_t index)
{
    if (!enter(map, part)) {
        push_orphan(map, index);
        return;
    }
    bool due = slotmap_bury_into_(&part->head, slot_at(map, index), index);
    leave(part);
    if (due)
        slots_turn_over(map, part);
}

void slots_destroy_limbo(struct map *map)
{
    struct limbo_chain all = {0, 0, 0};
    adopt_orphans(map, &all);
    uint32_t limit = vbuf_u32_load_acquire(&map->head.thread_limit_);
    for (uint32_t i = 0; i <= limit; i++) {
        struct part *part = part_at(map, i);
        struct limbo_chain open = take_open(part);
        struct limbo_chain rest = limbo_take_all(&part->limbo, link_slots, map);
        limbo_join(&all, &rest, link_slots, map);
        limbo_join(&all, &open, link_slots, map);
    }
    while (all.first != 0)
        map->destroy(map->context, value_of(map, slot_at(map, pop_first(map, &all))));
}

/* ---- taking a slot ---- */

static bool is_exhausted(struct map *map, struct part *part, uint32_t index)
{
    /* Relaxed: the slot is ours. */
    if (vbuf_u32_load_relaxed(&slot_at(map, index)->generation) != SLOTMAP_EXHAUSTED_)
        return false;
    count(map, part, &part->exhausted, 1); /* and drop it */
    return true;
}

/* Why there are no slots left for a caller that has room. */
static enum vbuf_status why_none(const struct map *map)
{
    uint64_t inserted = 0, gone = 0;
    uint32_t parts = map_parts(map);
    /* Inserted first: a life that ends in between may then be missed, never counted twice. */
    for (uint32_t i = 0; i < parts; i++)
        inserted += vbuf_u64_load_acquire(&part_at(map, i)->head.inserted);
    uint64_t exhausted = 0;
    for (uint32_t i = 0; i < parts; i++) {
        gone += vbuf_u64_load_acquire(&part_at(map, i)->head.removed);
        exhausted += vbuf_u64_load_acquire(&part_at(map, i)->exhausted);
    }
    /* The caller is among those inserted; slot 0 is among the slots. */
    return inserted + exhausted >= map->slots + gone ? VBUF_FULL : VBUF_BUSY;
}

/* Slots never used, unless limbo is past its limit. */
static enum vbuf_status make_within_limits(struct map *map, uint32_t most, uint32_t *first)
{
    uint32_t made = vbuf_u32_load_relaxed(&map->made); /* a look: limbo is never more than it */
    if (made > map->max_limbo && surely_in_limbo(map) > map->max_limbo)
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
            push_chunk(map, rest, link_of(map, rest));
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
    if (!enter(map, part) || !settle(map, part, budget, &reclaimed))
        return take_directly(map, part, index);
    enum vbuf_status status = take_entered(map, part, index);
    leave(part);
    return status;
}

enum vbuf_status slots_take(struct map *map, struct part *part, uint32_t *index)
{
    size_t budget = DESTROYS_A_CALL;
    enum vbuf_status status = try_to_take(map, part, &budget, index);
    if (status == VBUF_OK)
        return status;
    slots_collect(map, &budget);
    return try_to_take(map, part, &budget, index);
}
