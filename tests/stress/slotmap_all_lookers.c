/*
 * slotmap_all_lookers.c - the threads of the case slotmap-all that look: they read under pins, short and long, and
 * iterate, alone and in pieces; one counts, collects, reserves and sweeps.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_all.h"

#include <inttypes.h>
#include <sched.h>

enum { MOST_PIECES = 8, READ_AT_ONCE = 6 };

static struct table_map *any_map(struct table_hand *hand)
{
    return &hand->run->maps[stress_below(hand->rng, TABLE_MAPS)];
}

/* ---- reading ---- */

/* The value under a pin stays as it is, and leads back to its handle (S3). */
static void look_again(struct table_hand *hand, struct table_map *map, slotmap_handle handle,
                       const struct stress_value *value, uint64_t word)
{
    STRESS_CHECK(stress_value_intact(value, word), "value %" PRIx64 " changed under a pin", word);
    STRESS_CHECK(slotmap_handle_of(map->map, value).bits == handle.bits,
                 "the value under %" PRIx64 " says that it is %" PRIx64, handle.bits,
                 slotmap_handle_of(map->map, value).bits);
    hand->operations++;
}

static void read_pinned(struct table_hand *hand, struct table_map *map)
{
    const struct stress_value *values[READ_AT_ONCE];
    slotmap_handle handles[READ_AT_ONCE];
    uint64_t words[READ_AT_ONCE];
    unsigned count = 0, looks = 1 + (unsigned)stress_below(hand->rng, 4);
    slotmap_pin(map->map);
    for (unsigned i = 0; i < READ_AT_ONCE; i++) {
        slotmap_handle handle = table_pick(map, hand->rng);
        slotmap_pin(map->map); /* an inner one, which ends before we are through */
        const struct stress_value *value = slotmap_get(map->map, handle);
        if (value != NULL && table_check(map, value, "get")) {
            handles[count] = handle;
            words[count] = value->id;
            values[count++] = value;
        }
        slotmap_unpin(map->map);
    }
    for (unsigned i = 0; i < looks && !stress_failed(); i++) {
        stress_disturb(hand->rng);
        for (unsigned j = 0; j < count; j++)
            look_again(hand, map, handles[j], values[j], words[j]);
    }
    if (stress_chance(hand->rng, 200)) { /* long: limbo fills, and inserts are told so */
        stress_sleep((int64_t)stress_below(hand->rng, 3000000));
        for (unsigned j = 0; j < count; j++)
            look_again(hand, map, handles[j], values[j], words[j]);
    }
    slotmap_unpin(map->map);
}

/* A value is read whole, and an owner's versions only go up (S4). */
static void read_copies(struct table_hand *hand, struct table_map *map)
{
    struct stress_value first, second;
    slotmap_handle handle = table_pick(map, hand->rng);
    hand->operations += 2;
    if (slotmap_read(map->map, handle, &first) != VBUF_OK || !table_check(map, &first, "read"))
        return;
    if (stress_chance(hand->rng, 4))
        stress_disturb(hand->rng);
    if (slotmap_read(map->map, handle, &second) != VBUF_OK || !table_check(map, &second, "read"))
        return;
    STRESS_CHECK(table_id_of(&first) == table_id_of(&second),
                 "%" PRIx64 " led to value %" PRIu64 ", then to %" PRIu64, handle.bits,
                 table_id_of(&first), table_id_of(&second));
    if (table_id_of(&first) % 2 == 1)
        STRESS_CHECK(table_version_of(&first) <= table_version_of(&second),
                     "value %" PRIu64 " went back from version %" PRIu32 " to %" PRIu32,
                     table_id_of(&first), table_version_of(&first), table_version_of(&second));
}

void table_read_step(struct table_hand *hand)
{
    struct table_map *map = any_map(hand);
    if (map->updatable || stress_chance(hand->rng, 4))
        read_copies(hand, map);
    else
        read_pinned(hand, map);
}

/* ---- iterating ---- */

/* A walk meets no value twice (S7). */
static void meet(struct table_hand *hand, const struct table_walk *walk,
                 const struct stress_value *value)
{
    if (!table_check(walk->map, value, "an iteration"))
        return;
    uint64_t id = table_id_of(value);
    hand->operations++;
    uint32_t before = vbuf_u32_exchange_acq_rel(&walk->stamps[id], walk->number);
    STRESS_CHECK(before != walk->number, "an iteration met value %" PRIu64 " twice", id);
}

void table_walk_piece(struct table_hand *hand, struct table_piece *piece)
{
    struct table_map *map = piece->walk->map;
    slotmap_handle handle;
    const struct stress_value *value;
    slotmap_pin(map->map);
    while ((value = slotmap_iter_next(&piece->iter, &handle)) != NULL) {
        struct stress_value copy;
        if (!map->updatable)
            meet(hand, piece->walk, value);
        else if (slotmap_read(map->map, handle, &copy) == VBUF_OK)
            meet(hand, piece->walk, &copy);
        if (stress_chance(hand->rng, 64)) { /* unpinning in between is fine */
            slotmap_unpin(map->map);
            stress_disturb(hand->rng);
            slotmap_pin(map->map);
        }
    }
    slotmap_unpin(map->map);
    vbuf_u32_store_release(&piece->done, 1); /* pairs with the acquire in walk_all */
}

/* Goes through all of it, in pieces, of which others may take some. */
static void walk_all(struct table_hand *hand, struct table_walk *walk)
{
    struct table_piece pieces[MOST_PIECES];
    unsigned count = 1, most = 1 + (unsigned)stress_below(hand->rng, MOST_PIECES);
    pieces[0] = (struct table_piece){.walk = walk, .iter = slotmap_iter_begin(walk->map->map)};
    while (count < most) {
        struct table_piece *piece = &pieces[stress_below(hand->rng, count)];
        pieces[count] = (struct table_piece){.walk = walk};
        if (!slotmap_iter_split(&piece->iter, &pieces[count].iter))
            break;
        count++;
    }
    for (unsigned i = 0; i < count; i++) {
        struct table_letter letter = {.kind = TABLE_WALK, .piece = &pieces[i]};
        if (!stress_chance(hand->rng, 2) || table_post(hand, &letter) == NULL)
            table_walk_piece(hand, &pieces[i]);
    }
    /* What nobody takes we take ourselves. Others may have the rest: our stack must stay. */
    for (unsigned i = 0, round = 0; i < count; i++) {
        while (vbuf_u32_load_acquire(&pieces[i].done) == 0) { /* pairs with the end of a piece */
            table_do_letter(hand);
            if (!stress_wait(&round)) {
                stress_fail("a piece of an iteration is not walked");
                round = 0;
            }
        }
    }
    vbuf_u64_fetch_add_relaxed(&hand->run->walks, 1);
}

struct anchors {
    struct table_map *map;
    uint64_t ids[TABLE_ANCHORS];
    slotmap_handle handles[TABLE_ANCHORS];
    unsigned count;
};

/* An anchor lives until its owner removes it. It is marked before anybody can meet it. */
static void drop_anchor(struct table_hand *hand, struct anchors *anchors)
{
    uint64_t id;
    if (!table_draw(hand, &id))
        return;
    table_draw_back(hand, id);
    vbuf_u8_store_relaxed(&hand->run->lives[id].anchor, 1);
    if (!table_insert(hand, anchors->map, &id, &anchors->handles[anchors->count])) {
        vbuf_u8_store_relaxed(&hand->run->lives[id].anchor, 0);
        return;
    }
    anchors->ids[anchors->count++] = id;
}

static void weigh_anchor(struct anchors *anchors, struct check_rng *rng)
{
    uint64_t which = stress_below(rng, anchors->count);
    slotmap_handle handle = anchors->handles[which];
    uint64_t id = anchors->ids[which];
    anchors->count--;
    anchors->handles[which] = anchors->handles[anchors->count];
    anchors->ids[which] = anchors->ids[anchors->count];
    table_wanted(anchors->map, id);
    enum vbuf_status status = slotmap_remove(anchors->map->map, handle, NULL);
    if (STRESS_CHECK(status == VBUF_OK, "value %" PRIu64 " was to stay: remove says %s", id,
                     vbuf_status_string(status)))
        table_removed(anchors->map, id);
}

void table_walk(struct table_hand *hand, struct vbuf_atomic_u32 *stamps)
{
    struct anchors anchors = {.map = any_map(hand)};
    struct table_walk walk = {.stamps = stamps, .map = anchors.map};
    /* In a tiny map they would take all the room. */
    size_t most =
        anchors.map->max_len / 8 < TABLE_ANCHORS ? anchors.map->max_len / 8 : TABLE_ANCHORS;
    while (table_goes_by(hand->run)) {
        /* Where all may be cleared, nothing lives throughout; but nothing is met twice there either. */
        for (unsigned i = 0; i < 4 && !anchors.map->clears; i++) {
            if (anchors.count < most)
                drop_anchor(hand, &anchors);
            else if (anchors.count > 0)
                weigh_anchor(&anchors, hand->rng);
        }
        walk.number++;
        walk_all(hand, &walk);
        for (unsigned i = 0; i < anchors.count; i++)
            STRESS_CHECK(vbuf_u32_load_relaxed(&stamps[anchors.ids[i]]) == walk.number,
                         "value %" PRIu64 " lived throughout an iteration that did not meet it",
                         anchors.ids[i]);
        stress_disturb(hand->rng);
    }
}

/* ---- keeping ---- */

static void check_figures(struct table_map *map)
{
    struct slotmap_report stats;
    slotmap_stats(map->map, &stats);
    STRESS_CHECK(stats.len <= map->max_len && stats.max_len == map->max_len &&
                     stats.removed <= stats.inserted && stats.exhausted <= stats.slots &&
                     (map->runs_out || stats.exhausted == 0),
                 "stats: %zu of %zu live, %" PRIu64 " inserted, %" PRIu64
                 " removed, %zu slots, %zu exhausted",
                 stats.len, map->max_len, stats.inserted, stats.removed, stats.slots,
                 stats.exhausted);
}

/* Lets one in four go. */
static bool keep_most(void *context, slotmap_handle handle, void *value)
{
    struct table_map *map = context;
    struct stress_value copy;
    const struct stress_value *own = value;
    if (map->updatable) {
        if (slotmap_read(map->map, handle, &copy) != VBUF_OK)
            return true;
        own = &copy;
    }
    if (!table_check(map, own, "retain"))
        return true;
    uint64_t id = table_id_of(own);
    struct table_life *life = &map->run->lives[id];
    if (vbuf_u8_load_relaxed(&life->anchor) || (id ^ map->run->seed) % 4 != 0)
        return true;
    table_wanted(map, id);
    return false;
}

static void sweep(struct table_hand *hand, struct table_map *map)
{
    size_t swept = 0;
    if (map->clears && stress_chance(hand->rng, 2))
        swept = slotmap_clear(map->map);
    else
        swept = slotmap_retain(map->map, keep_most, map);
    vbuf_u64_fetch_add_relaxed(&map->swept, swept);
    hand->operations += swept + 1;
}

static void reserve(struct table_hand *hand, struct table_map *map)
{
    size_t count = (size_t)stress_below(hand->rng, map->max_len + 2);
    enum vbuf_status status = slotmap_reserve(map->map, count, stress_chance(hand->rng, 2));
    STRESS_CHECK(count > map->max_len ? status == VBUF_FULL
                                      : status == VBUF_OK || status == VBUF_NOMEM,
                 "reserve of %zu of %zu says %s", count, map->max_len, vbuf_status_string(status));
    hand->operations++;
}

void table_keep_step(struct table_hand *hand)
{
    struct table_map *map = any_map(hand);
    check_figures(map);
    switch (stress_below(hand->rng, 8)) {
    case 0:
        sweep(hand, map);
        break;
    case 1:
        reserve(hand, map);
        break;
    case 2: /* pinned, and collecting: others' share goes on, its own waits */
        slotmap_pin(map->map);
        slotmap_collect(map->map);
        slotmap_unpin(map->map);
        break;
    default:
        slotmap_collect(map->map);
    }
    hand->operations++;
    stress_sleep((int64_t)stress_below(hand->rng, 300000));
}
