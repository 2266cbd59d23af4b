/*
 * slotmap_limbo.c - where removed slots go, and who may use whose lists.
 *
 * (The flow of slots as a whole is drawn in slotmap_slots.c.)
 *
 * Taking over. What an idle thread has must not be lost to the others, whether it sleeps or has exited:
 * a value it removed may hold a socket, and its limbo counts against max_limbo. Whoever collects puts
 * its token into every part's `frozen`, issues one heavy fence, and then, where the owner is not busy,
 * raises token to token | TAKING by CAS, empties the part, and sets it to 0.
 *
 *      owner   busy = 1;  light fence;  frozen is 0, or CAS frozen from a mere token to 0: the lists
 *              are its own.  Else (TAKING, for the moment of the emptying) busy = 0, and it does
 *              without: takes a slot from the chunks, leaves one with the orphans.
 *      taker   CAS frozen from 0, or another's mere token, to its own;  heavy fence;  busy is 0, and CAS token to token | TAKING:
 *              the lists are its own.
 *
 * The fence makes one of them see the other, and the CASes on one word decide. Tokens are unique, so
 * that a taker that was stopped for long cannot take up a later one's freeze, without a fence of its
 * own behind it. A taker stopped anywhere but in the emptying itself stops nobody. Only what is ready
 * is taken, and vacant slots; the open batch is sealed where it is. So a collector takes over twice: to
 * seal everything, and, two steps of the epoch later, to take what has become ready.
 *
 * Nothing taken is left (S9). Beside an insert that collects because it finds no slot, a slotmap_collect must not miss
 * what that has in its hands, and then keeps. So whoever takes values to destroy destroys them before it returns. An insert
 * takes no more than its budget, and destroys it in hand: nobody can come in between. Who collects all lays it into its
 * own part, where others may help; if it cannot finish there, it collects again. Orphans are the exception: a
 * remove may adopt them, and seals them in its own part. So a collector exchanges the orphans before it looks at the
 * parts: who was faster is busy, or has sealed them where the look finds them. Whom it finds busy, slotmap_collect looks
 * at again a few times; whom it finds taking over as well, as long as any thread may be kept from running.
 *
 * Destructors run outside: the part is left, and entered again, around each, so a destructor may use
 * the map, and one that takes long holds up nobody's lists.
 * A thread stopped in the middle of a call keeps what it has in its hands: the lists it has entered, or
 * what was ready in the one part that it was emptying.
 *
 * Orphans are pushed one by one or in chains and taken all at once, so there is no ABA either. Whoever
 * takes them seals them itself, later than their unlink, as a tag must be.
 *
 * How much to keep. Grace periods come in millisecond steps where a barrier is dear, so reclaimed slots
 * come in tens of thousands at once. A thread keeps as many as it has inserted since the last time, up
 * to cache_limit, and hands the rest on, a few chunks a call; what it has not yet handed on stays in
 * limbo in the books.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_internal.h"
#include "system.h"

#define CHUNKS_SHARED_A_CALL 16
#define CROWDED_BATCH (4 * SLOTMAP_BATCH_)
#define PATIENCE 16 /* yields */
#define TRIES 3
#define TRIES_BESIDE_TAKERS 32 /* some milliseconds: see vbuf_sys_relax */

static void link_slots(const void *context, uint64_t node, uint64_t next)
{
    set_link(context, (uint32_t)node, (uint32_t)next);
}

void part_count(struct map *map, struct part *part, struct vbuf_atomic_u64 *figure, uint64_t by)
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
    parts = map_parts(map); /* that there are by now */
    for (uint32_t i = 0; i < parts; i++)
        removed += vbuf_u64_load_acquire(&part_at(map, i)->head.removed);
    return removed > reclaimed ? (size_t)(removed - reclaimed) : 0;
}

size_t slots_surely_in_limbo(const struct map *map)
{
    uint64_t reclaimed = 0, removed = 0;
    uint32_t parts = map_parts(map);
    for (uint32_t i = 0; i < parts; i++)
        removed += vbuf_u64_load_acquire(&part_at(map, i)->head.removed);
    parts = map_parts(map); /* that there are by now */
    for (uint32_t i = 0; i < parts; i++)
        reclaimed += vbuf_u64_load_acquire(&part_at(map, i)->reclaimed);
    return removed > reclaimed ? (size_t)(removed - reclaimed) : 0;
}

/* ---- whose lists ---- */

bool part_enter(struct map *map, struct part *part)
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
static bool part_enter_patiently(struct map *map, struct part *part)
{
    for (unsigned round = 0; round < PATIENCE; round++) {
        if (part_enter(map, part))
            return true;
        vbuf_sys_relax(round);
    }
    return false;
}

void part_leave(struct part *part)
{
    slotmap_leave_(&part->head);
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
        uint64_t ready = part->limbo.ready.count;
        if (part->vacant.count + ready <= part->keep)
            break;
        /* Before others can have them: what is removed again must be counted as reclaimed once. */
        part_count(map, part, &part->reclaimed, ready < map->chunk ? ready : map->chunk);
        slots_share_chunk(map, &part->limbo.ready);
    }
    if (part->vacant.count + part->limbo.ready.count <= map->cache_limit) {
        part_count(map, part, &part->reclaimed, part->limbo.ready.count);
        limbo_join(&part->vacant, &part->limbo.ready, link_slots, map);
    }
    return before - part->limbo.ready.count;
}

/* Ends a life whose grace has passed. True: the slot is vacant; false: it waits for its release. */
static bool end_life(struct map *map, struct slotmap_slot_ *slot)
{
    /* Acquire pairs with the CASes that put it here; only INVALIDATED can change now. */
    uint32_t generation = vbuf_u32_load_acquire(&slot->generation);
    bool kept = map->revivable && state_of(generation) == SLOTMAP_REMOVED_;
    if (map->destroy != NULL && state_of(generation) != SLOTMAP_CANCELLED_ && !kept) {
        vbuf_self_.reclaiming++;
        map->destroy(map->context, value_now(map, slot));
        vbuf_self_.reclaiming--;
    }
    if (state_of(generation) != SLOTMAP_INVALIDATED_)
        return true;
    /* Release: destroyed before it is anybody's; pairs with the CAS in slotmap_release, which may be first. */
    if (vbuf_u32_cas_acq_rel(&slot->generation, &generation, with_state(generation, SLOTMAP_HELD_)))
        return false;
    /* Released meanwhile: but REMOVED would say, in a revivable map, that the value is still there. Relaxed: ours. */
    vbuf_u32_store_relaxed(&slot->generation, with_state(generation, SLOTMAP_CANCELLED_));
    return true;
}

/*
 * Destroys one value, outside of the part, and keeps its slot; false: the part could not be entered
 * again.
 */
static bool destroy_one(struct map *map, struct part *part)
{
    uint32_t index = pop_first(map, &part->limbo.ready);
    part_leave(part);
    bool vacant = end_life(map, slot_at(map, index));
    if (vacant)
        part_count(map, part, &part->reclaimed, 1);
    if (!part_enter_patiently(map, part)) {
        if (vacant)
            slots_push_chunk(map, index, 0);
        return false;
    }
    if (!vacant)
        return true;
    push_first(map, &part->vacant, index);
    if (part->vacant.count >= part->keep + map->chunk)
        slots_share_chunk(map, &part->vacant);
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

/* Whether what leaves limbo must be looked at, slot by slot. The caller has the list that it asks for. */
static bool lives_must_end(const struct map *map)
{
    /* Relaxed: who invalidated a slot set it before the slot came onto the list. */
    return (map->destroy != NULL && !map->revivable) || vbuf_u32_load_relaxed(&map->holds) != 0;
}

bool slots_settle(struct map *map, struct part *part, size_t *budget, uint64_t *reclaimed)
{
    uint64_t ready = part->limbo.ready.count;
    limbo_settle(&part->limbo, ebr_epoch(map->head.domain_), link_slots, map);
    if (part->limbo.ready.count != ready || part->keep == 0)
        update_keep(map, part);
    if (part->limbo.ready.first == 0)
        return true;
    if (lives_must_end(map))
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

/* Seals a batch into an entered part, or one that the caller may use. */
static void seal(struct map *map, struct part *part, struct limbo_chain batch)
{
    if (batch.first != 0)
        limbo_seal(&part->limbo, &batch, ebr_seal_tag(map->head.domain_), link_slots, map);
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

/* What a collector takes from the others, in a look or two at everybody. */
struct taking {
    struct part *own;
    size_t *budget; /* of destructors */
    size_t most;    /* values that may yet be taken: they are destroyed before the call returns */
    bool in_hand;   /* at once, rather than from the own part */
    uint64_t ended; /* lives that were ended in hand */
    enum slots_met met; /* the worst */
};

static void meet(struct taking *taking, enum slots_met met)
{
    if (taking->met < met)
        taking->met = met;
}

/* Takes at most so many off a chain's front. */
static struct limbo_chain take_first(struct map *map, struct limbo_chain *chain, size_t most)
{
    struct limbo_chain taken = {0, 0, 0};
    if (chain->count <= most) {
        limbo_join(&taken, chain, link_slots, map);
        return taken;
    }
    while (most-- > 0) {
        uint64_t index = pop_first(map, chain);
        limbo_join(&taken, &(struct limbo_chain){index, index, 1}, link_slots, map);
    }
    if (taken.first != 0)
        set_link(map, (uint32_t)taken.last, 0);
    return taken;
}

/* Ends lives that are on no list: they are in no other hands. */
static void end_in_hand(struct map *map, struct taking *taking, struct limbo_chain *taken)
{
    *taking->budget -= taken->count < *taking->budget ? (size_t)taken->count : *taking->budget;
    taking->ended += taken->count;
    while (taken->first != 0) {
        uint32_t index = pop_first(map, taken);
        if (!end_life(map, slot_at(map, index)))
            continue;
        part_count(map, taking->own, &taking->own->reclaimed, 1);
        slots_push_chunk(map, index, 0);
    }
}

/* What was taken goes to what is ready in the collector's own part: others may help, while it destroys. */
static void keep_taken(struct map *map, struct taking *taking, struct limbo_chain *taken)
{
    struct part *own = taking->own;
    if (taken->first == 0)
        return;
    if ((taking->in_hand && lives_must_end(map)) || !part_enter_patiently(map, own)) {
        end_in_hand(map, taking, taken);
        return;
    }
    limbo_join(&own->limbo.ready, taken, link_slots, map);
    part_leave(own);
}

/*
 * Takes what can be used out of a part that the caller may use: what is ready, as much of it as the caller will
 * destroy, and vacant slots, for the chunks. The open batch is sealed, and sealed batches stay, under their own tags:
 * taken along and sealed again, they would start their grace anew with every collector.
 */
static struct limbo_chain empty_part(struct map *map, struct part *part, struct taking *taking)
{
    seal(map, part, take_open(part));
    limbo_settle(&part->limbo, ebr_epoch(map->head.domain_), link_slots, map);
    bool end = lives_must_end(map);
    struct limbo_chain taken = take_first(map, &part->limbo.ready, end ? taking->most : SIZE_MAX);
    if (end)
        taking->most -= (size_t)taken.count;
    while (part->vacant.first != 0)
        slots_share_chunk(map, &part->vacant);
    if (part->head.free != 0) /* at most a cache: one chunk, however long */
        slots_push_chunk(map, part->head.free, link_of(map, part->head.free));
    part->head.free = 0;
    return taken;
}

/* Empties a part frozen under this token, unless its owner is busy, or is so by now. */
static void take_part(struct map *map, struct part *part, uint64_t token, struct taking *taking)
{
    uint64_t seen = token;
    if (vbuf_u32_load_acquire(&part->head.busy) != 0) {     /* pairs with slotmap_leave_ */
        vbuf_u64_cas_acq_rel(&part->head.frozen, &seen, 0); /* against the owner's to 0 */
        meet(taking, MET_BUSY);
        return;
    }
    if (!vbuf_u64_cas_acq_rel(&part->head.frozen, &seen, token | SLOTMAP_TAKING_)) {
        meet(taking, seen == 0 ? MET_BUSY
                               : MET_TAKER); /* its owner took it back, or another taker has it */
        return;
    }
    struct limbo_chain taken = empty_part(map, part, taking);
    vbuf_u64_store_release(&part->head.frozen, 0); /* pairs with slotmap_enter_ */
    keep_taken(map, taking, &taken);
}

/* The shared part has no owner who could wake up: it is entered. */
static void take_shared_part(struct map *map, struct taking *taking)
{
    struct part *shared = part_at(map, 0);
    if (shared == taking->own)
        return;
    if (!part_enter(map, shared)) {
        meet(taking, MET_TAKER); /* or another's call: what lies there is others' */
        return;
    }
    struct limbo_chain taken = empty_part(map, shared, taking);
    part_leave(shared);
    keep_taken(map, taking, &taken);
}

/* Takes over what the others have. */
static void take_over(struct map *map, struct taking *taking)
{
    uint32_t parts = map_parts(map);
    uint64_t token = vbuf_u64_fetch_add_acq_rel(&map->freezes, 2) + 2; /* even, and never 0 */
    for (uint32_t i = 1; i < parts; i++) {
        struct part *part = part_at(map, i);
        uint64_t seen = vbuf_u64_load_acquire(&part->head.frozen);
        /* A mere token may be of a taker that was stopped: ours replaces it, our fence is behind it.
         * Pairs with the load in slotmap_enter_, over the fences. */
        while (part != taking->own && !(seen & SLOTMAP_TAKING_)) {
            if (vbuf_u64_cas_acq_rel(&part->head.frozen, &seen, token))
                break;
        }
    }
    bool fenced = vbuf_fence_heavy();
    for (uint32_t i = 1; i < parts; i++) {
        struct part *part = part_at(map, i);
        uint64_t seen = vbuf_u64_load_acquire(&part->head.frozen);
        if (part == taking->own)
            continue;
        if (seen != token) {
            meet(taking, seen == 0 ? MET_BUSY : MET_TAKER);
        } else if (fenced) {
            take_part(map, part, token, taking);
        } else {
            vbuf_u64_cas_acq_rel(&part->head.frozen, &seen, 0);
            meet(taking, MET_BUSY);
        }
    }
    take_shared_part(map, taking);
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
    seal(map, part, batch);
}

/*
 * Settles what is ready by now, within the budget; enters and leaves. What destructors remove may become
 * ready meanwhile: it joins behind, and is left to a later call. How many slots left limbo.
 */
static uint64_t settle_all(struct map *map, struct taking *taking)
{
    struct part *part = taking->own;
    uint64_t reclaimed = 0, before;
    if (!part_enter_patiently(map, part)) {
        meet(taking, MET_TAKER);
        return 0;
    }
    limbo_settle(&part->limbo, ebr_epoch(map->head.domain_), link_slots, map);
    uint64_t ready = part->limbo.ready.count;
    size_t most = *taking->budget < ready ? *taking->budget : (size_t)ready;
    *taking->budget -= most;
    bool entered;
    do {
        before = reclaimed;
        entered = slots_settle(map, part, &most, &reclaimed);
    } while (entered && reclaimed != before && most > 0);
    if (entered)
        part_leave(part);
    else
        meet(taking, MET_TAKER);
    *taking->budget += most;
    return reclaimed;
}

static size_t collect(struct map *map, struct taking *taking)
{
    struct part *part = taking->own;
    if (part_enter_patiently(map, part)) {
        /* The orphans first: who has adopted those is busy, or has sealed them in its part. */
        seal_all(map, part, true);
        part_leave(part);
    } else {
        meet(taking, MET_TAKER);
    }
    take_over(map, taking);
    for (int step = 0; step < LIMBO_GRACE / 2; step++) {
        if (ebr_advance(map->head.domain_, true) != EBR_ADVANCED)
            break;
    }
    /* What the steps have made ready. In a destructor nothing is destroyed, so nothing is taken. */
    taking->most = vbuf_self_.reclaiming == 0 ? *taking->budget : 0;
    take_over(map, taking);
    return (size_t)(taking->ended + settle_all(map, taking));
}

size_t slots_collect(struct map *map, enum slots_met *met)
{
    size_t budget = SIZE_MAX;
    struct taking taking = {.own = map_own_part(map), .budget = &budget};
    size_t count = collect(map, &taking);
    *met = taking.met;
    return count;
}

size_t slots_collect_all(struct map *map)
{
    enum slots_met met;
    size_t count = slots_collect(map, &met);
    unsigned left[] = {[MET_BUSY] = TRIES, [MET_TAKER] = TRIES_BESIDE_TAKERS};
    for (unsigned tries = 1; left[met] != 0 && vbuf_self_.reclaiming == 0; tries++) {
        left[met]--;
        vbuf_sys_relax(tries);
        count += slots_collect(map, &met);
    }
    return count;
}

void slots_collect_some(struct map *map, size_t *budget)
{
    struct taking taking = {.own = map_own_part(map), .budget = budget, .in_hand = true};
    collect(map, &taking);
}

void slots_turn_over(struct map *map, struct part *part)
{
    if (!part_enter(map, part))
        return;
    /* The tag is a write to the line that every pin reads. */
    seal_all(map, part,
             part->head.open_count >= CROWDED_BATCH || !ebr_is_crowded(map->head.domain_));
    part_leave(part);
    ebr_advance(map->head.domain_, false);
    size_t budget = map->destroys_a_call;
    uint64_t reclaimed = 0;
    if (part_enter(map, part) && slots_settle(map, part, &budget, &reclaimed))
        part_leave(part);
}

void slots_bury(struct map *map, struct part *part, uint32_t index)
{
    if (!part_enter(map, part)) {
        push_orphan(map, index);
        return;
    }
    bool due = slotmap_bury_into_(&part->head, slot_at(map, index), index);
    part_leave(part);
    if (due)
        slots_turn_over(map, part);
}

void slots_bury_orphans(struct map *map, const struct limbo_chain *chain)
{
    push_orphan_chain(map, chain);
}

void slots_destroy_limbo(struct map *map)
{
    struct limbo_chain all = {0, 0, 0};
    adopt_orphans(map, &all);
    uint32_t limit = vbuf_u32_load_acquire(&map->head.thread_limit_);
    for (uint32_t i = 0; i <= limit; i++) {
        struct part *part = part_at(map, i);
        if (part_was_cut_off(part))
            continue; /* abandoned */
        struct limbo_chain open = take_open(part);
        struct limbo_chain rest = limbo_take_all(&part->limbo, link_slots, map);
        limbo_join(&all, &rest, link_slots, map);
        limbo_join(&all, &open, link_slots, map);
    }
    while (all.first != 0)
        end_life(map, slot_at(map, pop_first(map, &all)));
}
