/*
 * slotmap_all_owners.c - the threads of the case slotmap-all that insert, write, remove, invalidate and release.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_all.h"

#include <inttypes.h>
#include <sched.h>

enum { MOST_DESTROYS = 128 /* in one insert or remove */, WRITES_A_STEP = 16, DELAYS = 32 };

static struct table_map *any_map(struct table_hand *hand)
{
    return &hand->run->maps[stress_below(hand->rng, TABLE_MAPS)];
}

static void check_destroys(uint64_t before, const char *call)
{
    uint64_t destroyed = stress_destroyed_here - before;
    STRESS_CHECK(destroyed <= MOST_DESTROYS, "%" PRIu64 " destructors in one %s", destroyed, call);
}

/* ---- the board ---- */

slotmap_handle table_pick(struct table_map *map, struct check_rng *rng)
{
    /* Relaxed: the handle is just a number; get must do the ordering. */
    slotmap_handle handle = {vbuf_u64_load_relaxed(&map->board[stress_below(rng, TABLE_BOARD)])};
    return handle;
}

void table_offer(struct table_hand *hand, struct table_map *map, slotmap_handle handle)
{
    struct vbuf_atomic_u64 *place = &map->board[stress_below(hand->rng, TABLE_BOARD)];
    uint64_t seen = vbuf_u64_load_relaxed(place);
    /* There is no exchange that orders nothing; without a release this orders nothing either. */
    while (!vbuf_u64_cas_acquire(place, &seen, handle.bits)) {
    }
    table_remove(hand, map, (slotmap_handle){seen});
}

/* ---- inserting ---- */

bool table_refused(struct table_hand *hand, struct table_map *map, enum vbuf_status status)
{
    vbuf_u64_fetch_add_relaxed(&hand->run->busy, status == VBUF_BUSY);
    bool may = status == VBUF_BUSY || status == VBUF_NOMEM ||
               (status == VBUF_FULL && (!map->roomy || map->runs_out));
    if (!STRESS_CHECK(may, "an insert or claim says %s", vbuf_status_string(status)))
        return false;
    for (unsigned i = 0; i < 4; i++)
        table_remove(hand, map, table_pick(map, hand->rng));
    if (status == VBUF_BUSY)
        slotmap_collect(map->map);
    sched_yield();
    return true;
}

bool table_insert(struct table_hand *hand, struct table_map *map, uint64_t *id,
                  slotmap_handle *handle)
{
    struct stress_value value;
    if (!table_draw(hand, id))
        return false;
    vbuf_u8_store_relaxed(&hand->run->lives[*id].map, (uint8_t)map->number);
    table_make(&value, *id, 0);
    uint64_t before = stress_destroyed_here;
    if (stress_chance(hand->rng, DELAYS)) /* the fence of whoever takes our lists over must tell */
        stress_delay_stores(hand->rng);
    enum vbuf_status status = slotmap_insert(map->map, &value, handle);
    check_destroys(before, "insert");
    hand->operations++;
    if (status != VBUF_OK) {
        table_draw_back(hand, *id);
        table_refused(hand, map, status);
        return false;
    }
    table_born(map, *id, *handle);
    return true;
}

static void insert_many(struct table_hand *hand, struct table_map *map)
{
    struct stress_value values[TABLE_MOST_MANY];
    slotmap_handle handles[TABLE_MOST_MANY];
    uint64_t ids[TABLE_MOST_MANY];
    size_t fit = map->max_len + 1 < TABLE_MOST_MANY ? map->max_len + 1 : TABLE_MOST_MANY;
    unsigned count = 0, most = 1 + (unsigned)stress_below(hand->rng, fit);
    while (count < most && table_draw(hand, &ids[count])) {
        vbuf_u8_store_relaxed(&hand->run->lives[ids[count]].map, (uint8_t)map->number);
        table_make(&values[count], ids[count], 0);
        count++;
    }
    enum vbuf_status status = slotmap_insert_many(map->map, values, count, handles);
    hand->operations += count;
    if (status != VBUF_OK) { /* ids are many: these are not used again */
        vbuf_u64_fetch_add_relaxed(&map->undone, count);
        table_refused(hand, map, status);
        return;
    }
    for (unsigned i = 0; i < count; i++)
        table_born(map, ids[i], handles[i]);
    for (unsigned i = 0; i < count; i++)
        table_offer(hand, map, handles[i]);
}

void table_insert_step(struct table_hand *hand)
{
    struct table_map *map = any_map(hand);
    slotmap_handle handle;
    uint64_t id;
    if (stress_chance(hand->rng, 16))
        insert_many(hand, map);
    else if (table_insert(hand, map, &id, &handle))
        table_offer(hand, map, handle);
}

/* ---- removing ---- */

bool table_release(struct table_hand *hand, struct table_map *map, slotmap_handle handle)
{
    hand->operations++;
    if (slotmap_release(map->map, handle) != VBUF_OK)
        return false;
    vbuf_u64_fetch_add_relaxed(&map->released, 1);
    return true;
}

static void release_held(struct table_hand *hand, const struct table_held *held)
{
    struct table_letter letter = {
        .kind = TABLE_RELEASE, .map = held->map, .handle = held->handle, .id = held->id};
    table_check_stale(hand, held->map, held->handle, "though it was invalidated");
    table_clear_side(held->map, held->handle);
    uint64_t draw = stress_below(hand->rng, 4);
    if (draw == 0 && table_post(hand, &letter) != NULL)
        return;
    letter.kind = TABLE_RACE_FOR_RELEASE;
    const struct table_letter *races = draw == 1 ? table_post(hand, &letter) : NULL;
    table_await_taker(races);
    bool won = table_release(hand, held->map, held->handle);
    STRESS_CHECK(won || races != NULL, "%" PRIx64 " was released twice", held->handle.bits);
}

void table_release_one(struct table_hand *hand)
{
    struct table_held *place = &hand->invalid[stress_below(hand->rng, hand->invalid_count)];
    struct table_held held = *place;
    *place = hand->invalid[--hand->invalid_count];
    release_held(hand, &held);
}

static bool invalidate(struct table_hand *hand, struct table_map *map, slotmap_handle handle,
                       uint64_t id)
{
    if (slotmap_invalidate(map->map, handle) != VBUF_OK)
        return false;
    table_mark_side(map, handle);
    vbuf_u64_fetch_add_relaxed(&map->invalidated, 1);
    hand->invalid[hand->invalid_count++] = (struct table_held){map, handle, id, NULL};
    return true;
}

/* What a pinned caller removes it may look at until it unpins (S3). */
static void check_removed(const struct table_map *map, struct check_rng *rng,
                          const struct stress_value *value, uint64_t id)
{
    uint64_t word = value->id;
    STRESS_CHECK(word >> TABLE_VERSION_BITS == id, "remove gave value %" PRIx64 " for %" PRIu64,
                 word, id);
    for (unsigned i = 0; i < 2; i++) {
        stress_disturb(rng);
        table_check(map, value, "after a remove");
        STRESS_CHECK(value->id == word, "value %" PRIu64 " was written after its remove", id);
    }
}

/* Tries to end the life; whether this try won. The caller is pinned if `pinned`. */
static bool end_life(struct table_hand *hand, struct table_map *map, slotmap_handle handle,
                     uint64_t id, bool pinned)
{
    hand->operations++;
    if (hand->invalid_count < TABLE_HELD && stress_chance(hand->rng, 8))
        return invalidate(hand, map, handle, id);
    void *value = NULL;
    uint64_t before = stress_destroyed_here;
    if (stress_chance(hand->rng, DELAYS))
        stress_delay_stores(hand->rng);
    enum vbuf_status status = slotmap_remove(map->map, handle, pinned ? &value : NULL);
    check_destroys(before, "remove");
    STRESS_CHECK(status == VBUF_OK || status == VBUF_STALE, "remove says %s",
                 vbuf_status_string(status));
    if (status == VBUF_OK && pinned)
        check_removed(map, hand->rng, value, id);
    return status == VBUF_OK;
}

void table_remove(struct table_hand *hand, struct table_map *map, slotmap_handle handle)
{
    struct stress_value value;
    bool pinned = stress_chance(hand->rng, 2);
    if (pinned)
        slotmap_pin(map->map);
    hand->operations++;
    if (slotmap_read(map->map, handle, &value) == VBUF_OK && table_check(map, &value, "read") &&
        !vbuf_u8_load_relaxed(&hand->run->lives[table_id_of(&value)].anchor)) {
        uint64_t id = table_id_of(&value);
        table_wanted(map, id);
        stress_disturb(hand->rng);
        if (end_life(hand, map, handle, id, pinned)) {
            table_removed(map, id);
            table_check_stale(hand, map, handle, "though it was removed");
        }
    }
    if (pinned)
        slotmap_unpin(map->map);
}

void table_remove_plainly(struct table_map *map, slotmap_handle handle)
{
    struct stress_value value;
    if (slotmap_read(map->map, handle, &value) != VBUF_OK ||
        !table_check(map, &value, "read in a destructor"))
        return;
    table_wanted(map, table_id_of(&value));
    if (slotmap_remove(map->map, handle, NULL) == VBUF_OK)
        table_removed(map, table_id_of(&value));
}

void table_remove_step(struct table_hand *hand)
{
    struct table_map *map = any_map(hand);
    if (hand->invalid_count > 0 && stress_chance(hand->rng, 4))
        table_release_one(hand);
    slotmap_handle handle = table_pick(map, hand->rng);
    table_remove(hand, map, handle);
    if (stress_chance(hand->rng, 2)) /* and who removes must insert, or there is nothing left */
        table_insert_step(hand);
}

/* ---- writing ---- */

/* Others read it and may remove it, but nobody else writes it. */
static void own_new_one(struct table_hand *hand, struct table_map *map)
{
    struct table_owned owned = {.map = map};
    if (!table_insert(hand, map, &owned.id, &owned.handle))
        return;
    if (owned.id % 2 == 1)
        hand->owned[hand->owned_count++] = owned;
    table_offer(hand, map, owned.handle);
}

/* An owner's write goes in whole and at once, unless the value is gone (S4). */
static void write_own(struct table_hand *hand)
{
    struct table_owned *owned = &hand->owned[stress_below(hand->rng, hand->owned_count)];
    struct table_life *life = &hand->run->lives[owned->id];
    struct stress_value value;
    uint32_t version = owned->version + 1;
    vbuf_u32_store_relaxed(&life->tried, version);
    table_make(&value, owned->id, version);
    enum vbuf_status status = slotmap_write(owned->map->map, owned->handle, &value);
    hand->operations += 2;
    STRESS_CHECK(status == VBUF_OK || status == VBUF_STALE, "a sole writer is told %s",
                 vbuf_status_string(status));
    if (status == VBUF_OK) {
        owned->version = version;
        vbuf_u32_store_relaxed(&life->written, version);
        vbuf_u64_fetch_add_relaxed(&hand->run->writes, 1);
        status = slotmap_read(owned->map->map, owned->handle, &value);
        if (status == VBUF_OK && table_check(owned->map, &value, "read by its writer"))
            STRESS_CHECK(table_id_of(&value) == owned->id && table_version_of(&value) == version,
                         "value %" PRIu64 ": wrote version %" PRIu32 ", read %" PRIx64, owned->id,
                         version, value.id);
    }
    if (status == VBUF_STALE || version + 1 == 1u << TABLE_VERSION_BITS)
        *owned = hand->owned[--hand->owned_count];
}

/* Values with even ids are anybody's to write. */
static void write_any(struct table_hand *hand, struct table_map *map, slotmap_handle handle)
{
    struct stress_value value;
    hand->operations += 2;
    if (slotmap_read(map->map, handle, &value) != VBUF_OK || !table_check(map, &value, "read") ||
        table_id_of(&value) % 2 == 1)
        return;
    table_make(&value, table_id_of(&value),
               (uint32_t)stress_below(hand->rng, 1u << TABLE_VERSION_BITS));
    enum vbuf_status status = slotmap_write(map->map, handle, &value);
    STRESS_CHECK(status == VBUF_OK || status == VBUF_STALE || status == VBUF_BUSY, "write says %s",
                 vbuf_status_string(status));
    vbuf_u64_fetch_add_relaxed(&hand->run->writes, status == VBUF_OK);
}

void table_update_step(struct table_hand *hand)
{
    struct table_map *map = any_map(hand);
    if (!map->updatable)
        table_insert_step(hand);
    else if (hand->owned_count < TABLE_HELD && stress_chance(hand->rng, 8))
        own_new_one(hand, map);
    /* One place is hot: writers meet there. */
    slotmap_handle hot = {vbuf_u64_load_relaxed(&map->board[0])};
    slotmap_handle handle = stress_chance(hand->rng, 2) ? hot : table_pick(map, hand->rng);
    for (unsigned i = 0; i < WRITES_A_STEP && map->updatable; i++) {
        if (hand->owned_count > 0 && stress_chance(hand->rng, 3))
            write_own(hand);
        else
            write_any(hand, map, handle);
    }
}
