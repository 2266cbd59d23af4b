/*
 * slotmap_all_lives.c - what becomes of each value of the case slotmap-all, from its id being drawn to its
 * destructor; and the hooks.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_all.h"

#include <errno.h>
#include <inttypes.h>

/* Ids from `room` on are the main thread's, between rounds. */
static bool is_id(const struct table_run *run, uint64_t id)
{
    return id < vbuf_u64_load_relaxed(&run->next);
}

bool table_check(const struct table_map *map, const struct stress_value *value, const char *where)
{
    uint64_t word = value->id, id = word >> TABLE_VERSION_BITS;
    if (!STRESS_CHECK(stress_value_intact(value, word) && is_id(map->run, id),
                      "%s: a value that is not whole: id %" PRIx64, where, word))
        return false;
    return STRESS_CHECK(vbuf_u8_load_relaxed(&map->run->lives[id].map) == map->number,
                        "%s: value %" PRIu64 " belongs to another map", where, id);
}

bool table_draw(struct table_hand *hand, uint64_t *id)
{
    struct table_run *run = hand->run;
    if (hand->has_spare) {
        hand->has_spare = false;
        *id = hand->spare;
        return true;
    }
    if (vbuf_u64_load_relaxed(&run->next) >= run->room) /* so that it does not run far past it */
        return false;
    *id = vbuf_u64_fetch_add_relaxed(&run->next, 1);
    return *id < run->room;
}

void table_draw_back(struct table_hand *hand, uint64_t id)
{
    hand->spare = id;
    hand->has_spare = true;
}

/* ---- births and deaths ---- */

static void settle(struct table_life *life, uint64_t id)
{
    STRESS_CHECK(vbuf_u8_fetch_add_relaxed(&life->settled, 1) == 0,
                 "value %" PRIu64 " was published or cancelled twice", id);
}

void table_born(struct table_map *map, uint64_t id, slotmap_handle handle)
{
    struct table_life *life = &map->run->lives[id];
    STRESS_CHECK((uint32_t)(handle.bits >> 32) > map->first_generation &&
                     (uint32_t)(handle.bits >> 32) <= SLOTMAP_LAST_GENERATION,
                 "%" PRIx64 " has a generation that is used up", handle.bits);
    settle(life, id);
    vbuf_u64_store_relaxed(&life->handle, handle.bits);
    vbuf_u8_store_relaxed(&life->born, 1);
    vbuf_u64_fetch_add_relaxed(&map->born, 1);
}

void table_cancelled(struct table_map *map, uint64_t id)
{
    settle(&map->run->lives[id], id);
    vbuf_u64_fetch_add_relaxed(&map->cancelled, 1);
}

void table_wanted(struct table_map *map, uint64_t id)
{
    vbuf_u8_store_relaxed(&map->run->lives[id].wanted, 1);
}

void table_removed(struct table_map *map, uint64_t id)
{
    STRESS_CHECK(vbuf_u8_fetch_add_relaxed(&map->run->lives[id].removed, 1) == 0,
                 "value %" PRIu64 " was removed twice", id);
    vbuf_u64_fetch_add_relaxed(&map->removed, 1);
}

/* ---- the hooks ---- */

/* The owner's last write is what is left. It may not yet have said so. */
static void check_version(const struct table_life *life, const struct stress_value *value)
{
    uint32_t version = table_version_of(value);
    uint32_t written = vbuf_u32_load_relaxed(&life->written);
    uint32_t tried = vbuf_u32_load_relaxed(&life->tried);
    STRESS_CHECK(version >= written && version <= tried,
                 "value %" PRIu64 " ends at version %" PRIu32 "; written %" PRIu32
                 ", tried %" PRIu32,
                 table_id_of(value), version, written, tried);
}

void table_destroy_value(void *context, void *given)
{
    struct table_map *map = context;
    struct stress_value *value = given;
    stress_destroyed_here++;
    if (!table_check(map, value, "a destructor"))
        return;
    uint64_t id = table_id_of(value);
    struct table_life *life = &map->run->lives[id];
    STRESS_CHECK(vbuf_u8_fetch_add_relaxed(&life->destroyed, 1) == 0,
                 "value %" PRIu64 " was destroyed twice", id);
    STRESS_CHECK(map->ending || map->clears || vbuf_u8_load_relaxed(&life->wanted) != 0,
                 "value %" PRIu64 " was destroyed, and nobody had removed it", id);
    if (id % 2 == 1)
        check_version(life, value);
    stress_value_poison(value);
    vbuf_u64_fetch_add_relaxed(&map->destroyed, 1);
    /* A destructor may use the map. */
    struct check_rng rng = {map->run->seed ^ id};
    if (!map->ending && map->number != TABLE_SMALL && !vbuf_u32_load_relaxed(&map->run->calm) &&
        stress_chance(&rng, 64))
        table_remove_plainly(map, table_pick(map, &rng));
}

bool table_ask(void *context, size_t bytes)
{
    struct table_map *map = context;
    (void)bytes;
    uint64_t turn = vbuf_u64_fetch_add_relaxed(&map->asked, 1);
    if (vbuf_u32_load_relaxed(&map->run->plenty))
        return true;
    struct check_rng rng = {map->run->seed + turn};
    if (!stress_chance(&rng, 3))
        return true;
    vbuf_u64_fetch_add_relaxed(&map->run->refusals, 1);
    errno = ENOMEM;
    return false;
}

/* ---- the books ---- */

static void audit_life(struct table_map *map, uint64_t id, uint64_t *live)
{
    struct table_life *life = &map->run->lives[id];
    bool born = vbuf_u8_load_relaxed(&life->born) != 0;
    bool removed = vbuf_u8_load_relaxed(&life->removed) != 0;
    bool destroyed = vbuf_u8_load_relaxed(&life->destroyed) != 0;
    slotmap_handle handle = {vbuf_u64_load_relaxed(&life->handle)};
    if (vbuf_u8_load_relaxed(&life->claimed))
        STRESS_CHECK(vbuf_u8_load_relaxed(&life->settled) == 1,
                     "claim %" PRIu64 " was neither published nor cancelled", id);
    if (!born) {
        STRESS_CHECK(!removed && !destroyed, "value %" PRIu64 " never lived, and ended", id);
        return;
    }
    if (removed)
        STRESS_CHECK(destroyed, "value %" PRIu64 " was removed and is not destroyed", id);
    struct stress_value value;
    enum vbuf_status status = slotmap_read(map->map, handle, &value);
    STRESS_CHECK(status == (destroyed ? VBUF_STALE : VBUF_OK),
                 "value %" PRIu64 ", destroyed %d: reading %" PRIx64 " says %s", id, destroyed,
                 handle.bits, vbuf_status_string(status));
    if (status == VBUF_OK && table_check(map, &value, "at the end"))
        STRESS_CHECK(table_id_of(&value) == id,
                     "%" PRIx64 " leads to value %" PRIu64 " instead of %" PRIu64, handle.bits,
                     table_id_of(&value), id);
    *live += !destroyed;
}

void table_audit(struct table_map *map)
{
    uint64_t live = 0, end = vbuf_u64_load_relaxed(&map->run->next);
    for (uint64_t id = 0; id < end && !stress_failed(); id++) {
        if (vbuf_u8_load_relaxed(&map->run->lives[id].map) == map->number)
            audit_life(map, id, &live);
    }
    uint64_t born = vbuf_u64_load_relaxed(&map->born);
    uint64_t removed = vbuf_u64_load_relaxed(&map->removed);
    uint64_t swept = vbuf_u64_load_relaxed(&map->swept);
    uint64_t destroyed = vbuf_u64_load_relaxed(&map->destroyed);
    STRESS_CHECK(destroyed == removed + swept && live == born - destroyed,
                 "born %" PRIu64 ", removed %" PRIu64 ", swept %" PRIu64 ", destroyed %" PRIu64
                 ", live %" PRIu64,
                 born, removed, swept, destroyed, live);
}

void table_audit_end(struct table_run *run)
{
    uint64_t end = vbuf_u64_load_relaxed(&run->next);
    for (uint64_t id = 0; id < end; id++) {
        unsigned born = vbuf_u8_load_relaxed(&run->lives[id].born);
        unsigned destroyed = vbuf_u8_load_relaxed(&run->lives[id].destroyed);
        STRESS_CHECK(born == destroyed,
                     "value %" PRIu64 ": live %u times, destroyed %u times in the end", id, born,
                     destroyed);
    }
}
