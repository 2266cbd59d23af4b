/*
 * slotmap_all_claims.c - the threads of the case slotmap-all that claim, publish and cancel; who has a slot to
 * himself; and the letters by which threads hand to others what they have begun.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_all.h"

#include <inttypes.h>

enum { PATIENCE = 2000 };

/* A letter's states. */
enum { EMPTY, TAKEN, WAITING };

static struct table_map *any_map(struct table_hand *hand)
{
    return &hand->run->maps[stress_below(hand->rng, TABLE_MAPS)];
}

/* ---- a slot to oneself ---- */

static struct vbuf_atomic_u64 *side_of(struct table_map *map, slotmap_handle handle)
{
    uint32_t index = slotmap_handle_index(handle);
    return map->side != NULL && index < TABLE_SIDE ? &map->side[index] : NULL;
}

/* Relaxed, both: who had the slot before us has given it back, and the library ordered that. */
void table_mark_side(struct table_map *map, slotmap_handle handle)
{
    struct vbuf_atomic_u64 *side = side_of(map, handle);
    if (side == NULL)
        return;
    uint64_t before = vbuf_u64_load_relaxed(side);
    vbuf_u64_store_relaxed(side, handle.bits);
    STRESS_CHECK(before == 0, "%" PRIx64 " has a slot that %" PRIx64 " has to itself", handle.bits,
                 before);
}

void table_clear_side(struct table_map *map, slotmap_handle handle)
{
    struct vbuf_atomic_u64 *side = side_of(map, handle);
    if (side == NULL)
        return;
    uint64_t before = vbuf_u64_load_relaxed(side);
    vbuf_u64_store_relaxed(side, 0);
    STRESS_CHECK(before == handle.bits, "%" PRIx64 " took the slot that %" PRIx64 " had to itself",
                 before, handle.bits);
}

void table_check_stale(struct table_hand *hand, struct table_map *map, slotmap_handle handle,
                       const char *when)
{
    struct stress_value value;
    enum vbuf_status status = VBUF_STALE;
    bool found = false;
    switch (stress_below(hand->rng, 6)) {
    case 0:
        status = slotmap_remove(map->map, handle, NULL);
        break;
    case 1:
        status = slotmap_read(map->map, handle, &value);
        break;
    case 2:
        status = slotmap_invalidate(map->map, handle);
        break;
    case 3:
        table_make(&value, 0, 0);
        if (map->updatable)
            status = slotmap_write(map->map, handle, &value);
        break;
    case 4:
        slotmap_pin(map->map);
        found = slotmap_get(map->map, handle) != NULL;
        slotmap_unpin(map->map);
        break;
    default:
        found = slotmap_contains(map->map, handle);
    }
    hand->operations++;
    STRESS_CHECK(status == VBUF_STALE && !found, "%" PRIx64 " resolves %s", handle.bits, when);
}

/* ---- claiming ---- */

static bool publish(struct table_hand *hand, struct table_map *map, slotmap_handle handle,
                    uint64_t id)
{
    hand->operations++;
    if (slotmap_publish(map->map, handle) != VBUF_OK)
        return false;
    table_born(map, id, handle);
    table_offer(hand, map, handle);
    return true;
}

static bool cancel(struct table_hand *hand, struct table_map *map, slotmap_handle handle,
                   uint64_t id)
{
    hand->operations++;
    if (slotmap_cancel(map->map, handle) != VBUF_OK)
        return false;
    table_cancelled(map, id);
    table_check_stale(hand, map, handle, "though it was cancelled");
    return true;
}

void table_await_taker(const struct table_letter *place)
{
    for (unsigned i = 0; place != NULL && i < PATIENCE; i++) {
        if (vbuf_u32_load_relaxed(&place->state) != WAITING) /* orders nothing */
            return;
    }
}

/* Publishes or cancels what another may be settling as well: one of both wins. */
static void settle_somehow(struct table_hand *hand, struct table_map *map, slotmap_handle handle,
                           uint64_t id)
{
    if (stress_chance(hand->rng, 2))
        publish(hand, map, handle, id);
    else
        cancel(hand, map, handle, id);
}

static void write_and_publish(struct table_hand *hand, const struct table_held *held)
{
    table_make(held->value, held->id, 0);
    table_clear_side(held->map, held->handle);
    STRESS_CHECK(publish(hand, held->map, held->handle, held->id), "%" PRIx64 " lost its claim",
                 held->handle.bits);
}

static void settle_claim(struct table_hand *hand, const struct table_held *held)
{
    struct table_letter letter = {.kind = TABLE_WRITE_AND_PUBLISH,
                                  .map = held->map,
                                  .handle = held->handle,
                                  .id = held->id,
                                  .value = held->value};
    table_check_stale(hand, held->map, held->handle, "before it is published");
    switch (stress_below(hand->rng, 5)) {
    case 0:
        if (table_post(hand, &letter) != NULL)
            return;
        break;
    case 1: /* two at once */
        table_make(held->value, held->id, 0);
        table_clear_side(held->map, held->handle);
        letter.kind = TABLE_SETTLE;
        table_await_taker(table_post(hand, &letter));
        settle_somehow(hand, held->map, held->handle, held->id);
        return;
    case 2:
        stress_value_poison(held->value); /* never to be seen */
        table_clear_side(held->map, held->handle);
        STRESS_CHECK(cancel(hand, held->map, held->handle, held->id), "%" PRIx64 " lost its claim",
                     held->handle.bits);
        return;
    default:
        break;
    }
    write_and_publish(hand, held);
}

static void claim(struct table_hand *hand)
{
    struct table_held held = {.map = any_map(hand)};
    if (!table_draw(hand, &held.id))
        return;
    struct table_life *life = &hand->run->lives[held.id];
    vbuf_u8_store_relaxed(&life->map, (uint8_t)held.map->number);
    enum vbuf_status status = slotmap_claim(held.map->map, &held.handle, &held.value);
    hand->operations++;
    if (status != VBUF_OK) {
        table_draw_back(hand, held.id);
        table_refused(hand, held.map, status);
        return;
    }
    vbuf_u8_store_relaxed(&life->claimed, 1);
    table_mark_side(held.map, held.handle);
    STRESS_CHECK(slotmap_handle_of(held.map->map, held.value).bits == held.handle.bits,
                 "the claim of %" PRIx64 " has another's value", held.handle.bits);
    hand->claims[hand->claim_count++] = held;
}

static void settle_one(struct table_hand *hand)
{
    struct table_held *place = &hand->claims[stress_below(hand->rng, hand->claim_count)];
    struct table_held held = *place;
    *place = hand->claims[--hand->claim_count];
    settle_claim(hand, &held);
}

void table_claim_step(struct table_hand *hand)
{
    if (hand->claim_count < TABLE_HELD && stress_chance(hand->rng, 2))
        claim(hand);
    else if (hand->claim_count > 0)
        settle_one(hand);
    if (stress_chance(hand->rng, 4))
        table_remove(hand, any_map(hand), table_pick(any_map(hand), hand->rng));
}

/* ---- letters ---- */

/* All but the state, which others look at meanwhile. */
static void copy_letter(struct table_letter *to, const struct table_letter *from)
{
    to->kind = from->kind;
    to->map = from->map;
    to->handle = from->handle;
    to->id = from->id;
    to->value = from->value;
    to->piece = from->piece;
}

const struct table_letter *table_post(struct table_hand *hand, const struct table_letter *letter)
{
    struct table_letter *place = &hand->run->letters[stress_below(hand->rng, TABLE_LETTERS)];
    uint32_t state = EMPTY;
    if (!vbuf_u32_cas_acquire(&place->state, &state, TAKEN)) /* pairs with the release below */
        return NULL;
    copy_letter(place, letter);
    vbuf_u32_store_release(&place->state, WAITING); /* pairs with the CAS in take_letter */
    return place;
}

static bool take_letter(struct table_hand *hand, struct table_letter *letter)
{
    struct table_letter *places = hand->run->letters;
    uint64_t first = stress_below(hand->rng, TABLE_LETTERS);
    for (uint64_t i = 0; i < TABLE_LETTERS; i++) {
        struct table_letter *place = &places[(first + i) % TABLE_LETTERS];
        uint32_t state = WAITING;
        if (vbuf_u32_load_relaxed(&place->state) != WAITING ||
            !vbuf_u32_cas_acquire(&place->state, &state, TAKEN))
            continue;
        copy_letter(letter, place);
        vbuf_u32_store_release(&place->state, EMPTY); /* pairs with the CAS in table_post */
        return true;
    }
    return false;
}

bool table_do_letter(struct table_hand *hand)
{
    struct table_letter letter;
    if (!take_letter(hand, &letter))
        return false;
    switch (letter.kind) {
    case TABLE_WRITE_AND_PUBLISH:
        write_and_publish(hand,
                          &(struct table_held){letter.map, letter.handle, letter.id, letter.value});
        break;
    case TABLE_SETTLE:
        settle_somehow(hand, letter.map, letter.handle, letter.id);
        break;
    case TABLE_RELEASE:
        STRESS_CHECK(table_release(hand, letter.map, letter.handle),
                     "%" PRIx64 " was released twice", letter.handle.bits);
        break;
    case TABLE_RACE_FOR_RELEASE:
        table_release(hand, letter.map, letter.handle);
        break;
    default:
        table_walk_piece(hand, letter.piece);
    }
    return true;
}

void table_finish(struct table_hand *hand)
{
    while (hand->claim_count > 0 && !stress_failed())
        settle_one(hand);
    while (hand->invalid_count > 0 && !stress_failed())
        table_release_one(hand);
}
