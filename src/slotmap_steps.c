/*
 * slotmap_steps.c - inserting and removing in two steps.
 *
 * A claim is an insert that stops before its publish: it has its room and its slot, and the slot's word says
 * CLAIMED, so that nothing but this claim's own publish or cancel can be meant by its handle, and of two of them,
 * from whatever threads, one wins its CAS.
 *
 * A cancelled slot goes through limbo like a removed one, without a destructor. No reader can have it, but
 * a thread may be about to pop it off the stack of chunks, where it was a head a moment ago: it has read its
 * link, and must not find it there again with another (slotmap_slots.c: a head once a grace period).
 *
 * A revivable map leaves removed values where they are: their slots say REMOVED, on whatever list they are, until they are
 * claimed. An insert destroys what it finds before it writes; a revive hands it over.
 *
 * An invalidated value is removed, but its slot not counted so: it keeps its room until its release. Its
 * grace and its release may come in either order. The word decides: who reclaims it makes it HELD, by CAS, unless
 * the release was first and made it REMOVED; then it is like any other, or, where it was destroyed by then, like a
 * cancelled one. A release that finds it HELD sends it through limbo once more, as a cancelled one: that spares a
 * path, and a slot is held seldom.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "slotmap_internal.h"

/* Lets a claim's handle out. */
static void announce_claim(const struct slotmap *map, const struct slotmap_claim_ *claim,
                           slotmap_handle *handle, void **value)
{
    /* Relaxed: nobody has the handle yet. */
    vbuf_u32_store_relaxed(&claim->slot->generation, with_state(claim->live, SLOTMAP_CLAIMED_));
    *handle = slotmap_handle_from_u64((uint64_t)claim->live << 32 | claim->index);
    *value = value_of(map_of(map), claim->slot);
}

enum vbuf_status slotmap_claim(struct slotmap *map, slotmap_handle *handle, void **value)
{
    if (handle == NULL || value == NULL)
        return VBUF_INVALID;
    struct slotmap_claim_ claim;
    enum vbuf_status status = slotmap_claim_slot_(map, map->slot_size_, &claim);
    if (status != VBUF_OK)
        return status;
    if (map->apart_)
        value_begin(map_of(map), claim.slot);
    announce_claim(map, &claim, handle, value);
    return VBUF_OK;
}

enum vbuf_status slotmap_revive(struct slotmap *map, slotmap_handle *handle, void **value,
                                bool *revived)
{
    if (handle == NULL || value == NULL || revived == NULL || !map_of(map)->revivable)
        return VBUF_INVALID;
    struct slotmap_claim_ claim;
    enum vbuf_status status = slotmap_claim_slot_(map, map->slot_size_, &claim);
    if (status != VBUF_OK)
        return status;
    /* Relaxed: ours. */
    *revived = state_of(vbuf_u32_load_relaxed(&claim.slot->generation)) == SLOTMAP_REMOVED_;
    if (!*revived)
        value_begin(map_of(map), claim.slot);
    announce_claim(map, &claim, handle, value);
    if (*revived)
        *value = value_now(map_of(map), claim.slot);
    return VBUF_OK;
}

/* Brings the slot of a handle from one state of its life to another; false: it is not in it. */
static bool change_state(struct slotmap *map, slotmap_handle handle, enum slotmap_state_ from,
                         enum slotmap_state_ to, struct slotmap_slot_ **slot)
{
    uint32_t index = (uint32_t)handle.bits, live = (uint32_t)(handle.bits >> 32);
    /* Acquire pairs with growth: below the limit is committed. */
    if (state_of(live) != SLOTMAP_LIVE_ || index >= vbuf_u32_load_acquire(&map->slot_limit_))
        return false;
    *slot = slotmap_slot_at_(map, index, map->slot_size_);
    uint32_t generation = with_state(live, from);
    /* Release: what was done with the value is done; acquire: what others did is seen. */
    return vbuf_u32_cas_acq_rel(&(*slot)->generation, &generation, with_state(live, to));
}

enum vbuf_status slotmap_publish(struct slotmap *map, slotmap_handle handle)
{
    struct slotmap_slot_ *slot;
    bool published = change_state(map, handle, SLOTMAP_CLAIMED_, SLOTMAP_LIVE_, &slot);
    return published ? VBUF_OK : VBUF_STALE;
}

enum vbuf_status slotmap_cancel(struct slotmap *map, slotmap_handle handle)
{
    struct slotmap_slot_ *slot;
    if (!change_state(map, handle, SLOTMAP_CLAIMED_, SLOTMAP_CANCELLED_, &slot))
        return VBUF_STALE;
    slotmap_bury_(map, slot, (uint32_t)handle.bits);
    return VBUF_OK;
}

/* Slots that one call has claimed, in order, linked; their words still say that they are vacant. */
struct claims {
    uint32_t first, last;
};

static void add_claim(const struct map *map, struct claims *claims, uint32_t index)
{
    set_link(map, index, 0);
    if (claims->last != 0)
        set_link(map, claims->last, index);
    else
        claims->first = index;
    claims->last = index;
}

static uint32_t next_life_of(const struct map *map, uint32_t index)
{
    return slotmap_next_life_(vbuf_u32_load_relaxed(&slot_at(map, index)->generation)); /* ours */
}

static void cancel_claims(struct map *map, const struct claims *claims)
{
    for (uint32_t next, index = claims->first; index != 0; index = next) {
        struct slotmap_slot_ *slot = slot_at(map, index);
        next = link_of(map, index);
        /* Relaxed: nobody has its handle. */
        vbuf_u32_store_relaxed(&slot->generation,
                               with_state(next_life_of(map, index), SLOTMAP_CANCELLED_));
        slotmap_bury_(&map->head, slot, index);
    }
}

static void publish_claims(const struct map *map, const struct claims *claims,
                           slotmap_handle *handles)
{
    for (uint32_t next, index = claims->first; index != 0; index = next) {
        next = link_of(map, index); /* once it is live others may remove it */
        struct slotmap_claim_ claim = {slot_at(map, index), index, next_life_of(map, index)};
        uint64_t bits = slotmap_publish_(&claim);
        if (handles != NULL)
            *handles++ = slotmap_handle_from_u64(bits);
    }
}

enum vbuf_status slotmap_insert_many(struct slotmap *map, const void *values, size_t count,
                                     slotmap_handle *handles)
{
    if (values == NULL && count != 0)
        return VBUF_INVALID;
    if (count > map_of(map)->max_len)
        return VBUF_FULL;
    struct claims claims = {0, 0};
    for (size_t i = 0; i < count; i++) {
        struct slotmap_claim_ claim;
        enum vbuf_status status = slotmap_claim_slot_(map, map->slot_size_, &claim);
        if (status != VBUF_OK) {
            cancel_claims(map_of(map), &claims);
            return status;
        }
        if (map->apart_)
            value_begin(map_of(map), claim.slot);
        memcpy(value_of(map_of(map), claim.slot),
               (const unsigned char *)values + i * map->value_size_, map->value_size_);
        add_claim(map_of(map), &claims, claim.index);
    }
    publish_claims(map_of(map), &claims, handles);
    return VBUF_OK;
}

enum vbuf_status slotmap_invalidate(struct slotmap *map, slotmap_handle handle)
{
    /* Before the slot can come onto a list: see slots_settle. Relaxed: the lists carry it. */
    if (vbuf_u32_load_relaxed(&map_of(map)->holds) == 0)
        vbuf_u32_store_relaxed(&map_of(map)->holds, 1);
    struct slotmap_slot_ *slot;
    enum vbuf_status status =
        slotmap_unlink_(map, handle.bits, map->slot_size_, SLOTMAP_INVALIDATED_, &slot);
    if (status == VBUF_OK)
        slots_bury(map_of(map), map_own_part(map_of(map)), (uint32_t)handle.bits);
    return status;
}

enum vbuf_status slotmap_release(struct slotmap *map, slotmap_handle handle)
{
    struct slotmap_slot_ *slot;
    if (change_state(map, handle, SLOTMAP_INVALIDATED_, SLOTMAP_REMOVED_, &slot)) {
        map_count_removed(map_of(map), map_own_part(map_of(map)));
        return VBUF_OK;
    }
    if (!change_state(map, handle, SLOTMAP_HELD_, SLOTMAP_CANCELLED_, &slot))
        return VBUF_STALE;
    slotmap_bury_(map, slot, (uint32_t)handle.bits);
    return VBUF_OK;
}
