/*
 * slotmap_room.c - max_len, exactly, without a shared counter.
 *
 * Every value needs room for one. There is room for max_len, always somewhere: in the pool, granted
 * to a thread, or under a live value. A part's unused room is
 *
 *      granted + removed - inserted
 *
 * where its owner alone counts inserted and removed (by plain stores), and granted is changed by
 * CAS. So the common insert takes room by counting one up, and the common remove frees it by
 * counting one up; what is live is the sum of inserted less the sum of removed, and nobody shares a
 * line.
 *
 * Taking back. When the pool is empty, unused room is taken from other threads, running, asleep or
 * gone (S5). Owner and taker are Dekker's pair over an asymmetric fence:
 *
 *      owner   inserted += 1;  light fence;  if granted + removed < inserted: undo, go the slow way
 *      taker   granted -= k by CAS;  heavy fence;  if inserted > granted + removed: give the excess back
 *
 * One of them sees the other. If the owner's insert stands and the taker has taken the room under
 * it, the taker sees that and gives it back. If both see it, both step back, and the room is the
 * owner's. Giving back more than was needed is harmless: it is only room in another place. Room is
 * never made.
 *
 * VBUF_FULL is exact: it is said only if at one moment during the call there was no unused room.
 * `moves` counts movements of room between the pool and parts, and how many are under way. Seen
 * without movement, and without a remove, from before the first look to after the last, unused room
 * can only have shrunk, so what was looked at one after the other was empty all at once at the end.
 * A remove in between means that somebody made progress, and we look again; a movement that does
 * not end is its thread's being stopped in the middle, and after a while we say VBUF_BUSY rather
 * than wait for it.
 *
 * Part 0 belongs to all threads without a part. They change its counters by RMW and are otherwise
 * owners like any other: counted up, light fence, looked at granted.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_internal.h"
#include "system.h"

#define MOVES_IN_FLIGHT UINT64_C(0xFFFF)
#define MOVE_DONE (MOVES_IN_FLIGHT + 1)
#define PATIENCE 64 /* rounds: some yields, then sleeps of up to a millisecond */

static void count_inserted(struct map *map, struct part *part, uint64_t change)
{
    /* Release: who counts us in or out sees what we did before; pairs with the loads in unused_room. */
    if (part == part_at(map, 0))
        vbuf_u64_fetch_add_acq_rel(&part->head.inserted, change);
    else
        vbuf_u64_owner_add_release(&part->head.inserted, change);
}

/* A part's unused room. `removed` is read first: what is missed can only make it less. */
static int64_t unused_room(const struct part *part)
{
    uint64_t removed = vbuf_u64_load_acquire(&part->head.removed); /* pairs with slotmap_bury_ */
    uint64_t granted = vbuf_u64_load_acquire(&part->head.granted);
    uint64_t inserted = vbuf_u64_load_acquire(&part->head.inserted);
    return (int64_t)(granted + removed - inserted);
}

static void begin_move(struct map *map)
{
    vbuf_u64_fetch_add_acq_rel(&map->moves, 1);
}

static void end_move(struct map *map)
{
    vbuf_u64_fetch_add_acq_rel(&map->moves, MOVE_DONE - 1); /* one more done, one less in flight */
}

static uint64_t removed_so_far(const struct map *map)
{
    uint64_t sum = 0;
    uint32_t parts = map_parts(map);
    for (uint32_t i = 0; i < parts; i++)
        sum += vbuf_u64_load_acquire(&part_at(map, i)->head.removed); /* pairs with slotmap_bury_ */
    return sum;
}

/* Moves room from the pool to the part; false iff the pool is empty. */
static bool take_from_pool(struct map *map, struct part *part)
{
    uint64_t pool = vbuf_u64_load_acquire(&map->pool);
    if (pool == 0)
        return false;
    begin_move(map);
    uint64_t taken = 0;
    while (pool != 0) {
        taken = pool < map->room_batch ? pool : map->room_batch;
        if (vbuf_u64_cas_acq_rel(&map->pool, &pool, pool - taken))
            break;
        taken = 0;
    }
    vbuf_u64_fetch_add_acq_rel(&part->head.granted, taken);
    end_move(map);
    return taken != 0;
}

/* Takes back unused room from another part. False: it had none, or used it meanwhile. */
static bool take_back(struct map *map, struct part *part, struct part *other)
{
    uint64_t granted = vbuf_u64_load_acquire(&other->head.granted);
    int64_t unused = unused_room(other);
    if (unused <= 0)
        return false;
    uint64_t taken = (uint64_t)unused < map->room_batch ? (uint64_t)unused : map->room_batch;
    begin_move(map);
    /* Pairs with the load in slotmap_take_room_, over the fences. */
    if (!vbuf_u64_cas_acq_rel(&other->head.granted, &granted, granted - taken)) {
        end_move(map);
        return false;
    }
    uint64_t excess = taken; /* without the fence nothing may be concluded */
    if (vbuf_fence_heavy()) {
        int64_t left = unused_room(other);
        excess = left >= 0 ? 0 : (uint64_t)-left < taken ? (uint64_t)-left : taken;
    }
    if (excess != 0)
        vbuf_u64_fetch_add_acq_rel(&other->head.granted, excess);
    vbuf_u64_fetch_add_acq_rel(&part->head.granted, taken - excess);
    end_move(map);
    return taken != excess;
}

static bool take_back_from_any(struct map *map, struct part *part)
{
    uint32_t parts = map_parts(map);
    for (uint32_t i = 0; i < parts; i++) {
        struct part *other = part_at(map, i);
        if (other != part && take_back(map, part, other))
            return true;
    }
    return false;
}

/* Grants the part more room, wherever it is. */
static enum vbuf_status find_room(struct map *map, struct part *part)
{
    for (unsigned round = 0;;) {
        uint64_t moves = vbuf_u64_load_acquire(&map->moves);
        uint64_t removed = removed_so_far(map);
        if (unused_room(part) > 0 || take_from_pool(map, part) || take_back_from_any(map, part))
            return VBUF_OK;
        bool removes = removed_so_far(map) != removed;
        /* An RMW: the looks before it cannot slip behind it. */
        bool moved = vbuf_u64_fetch_add_acq_rel(&map->moves, 0) != moves;
        if (!removes && !moved && (moves & MOVES_IN_FLIGHT) == 0)
            return VBUF_FULL;
        if (removes)
            continue; /* somebody made progress, and room */
        if (++round == PATIENCE)
            return VBUF_BUSY;
        vbuf_sys_relax(round);
    }
}

/* slotmap_take_room_, for part 0 too. */
static bool take_own(struct map *map, struct part *part)
{
    if (part != part_at(map, 0))
        return slotmap_take_room_(&map->head, &part->head);
    count_inserted(map, part, 1);
    if (map->head.full_fence_)
        vbuf_fence_full();
    else
        vbuf_fence_light();
    if (unused_room(part) >= 0)
        return true;
    count_inserted(map, part, UINT64_MAX); /* minus 1 */
    return false;
}

enum vbuf_status room_take(struct map *map, struct part *part)
{
    while (!take_own(map, part)) {
        enum vbuf_status status = find_room(map, part);
        if (status != VBUF_OK)
            return status;
    }
    return VBUF_OK;
}

void room_give_back(struct map *map, struct part *part)
{
    count_inserted(map, part, UINT64_MAX); /* minus 1 */
}

void room_share_surplus(struct map *map, struct part *part)
{
    int64_t most = 2 * (int64_t)map->room_batch;
    if (unused_room(part) <= most)
        return;
    begin_move(map);
    uint64_t granted = vbuf_u64_load_acquire(&part->head.granted);
    int64_t unused = unused_room(part);
    if (unused > most) {
        uint64_t surplus = (uint64_t)unused - map->room_batch;
        /* A taker may have been faster: then the surplus is gone. */
        if (vbuf_u64_cas_acq_rel(&part->head.granted, &granted, granted - surplus))
            vbuf_u64_fetch_add_acq_rel(&map->pool, surplus);
    }
    end_move(map);
}
