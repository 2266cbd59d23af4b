/*
 * slotmap_room.c - max_len, exactly, without a shared counter.
 *
 * Every value needs room for one. There is room for max_len, always somewhere: in the pool, granted to
 * a thread, or under a live value. A part's unused room is
 *
 *      granted + removed - inserted
 *
 * where its owner alone counts inserted and removed (by plain stores), and granted is changed by CAS.
 * So the common insert takes room by counting one up, and the common remove frees it by counting one
 * up; what is live is the sum of inserted less the sum of removed, and nobody shares a line.
 *
 * Taking back. When the pool is empty, unused room is taken from other threads, running, asleep or gone
 * (S5). Owner and taker are Dekker's pair over an asymmetric fence:
 *
 *      owner   inserted += 1;  light fence;  if granted + removed < inserted: undo, go the slow way
 *      taker   granted -= k by CAS;  heavy fence;  if inserted > granted + removed: give the excess back
 *
 * One of them sees the other. If the owner's insert stands and the taker has taken the room under it,
 * the taker sees that and gives it back. If both see it, both step back, and the room is the owner's.
 * Giving back more than was needed is harmless: it is only room in another place. Room is never made.
 * What is taken arrives used: the taker counts its own insert in before it raises its own granted, so
 * that nobody can take it back in between, and two takers cannot do so to each other for ever.
 *
 * VBUF_FULL is exact: it is said only if at one moment during the call there was no unused room (that
 * of a value being inserted is used). `moves` counts movements of room between the pool and parts, and
 * room given back by an insert that failed, and how many are under way. Seen without movement, and
 * without a remove, from before the first look to after the last, unused room can only have shrunk, so
 * what was looked at one after the other was empty all at once at the end. A remove in between means
 * that somebody made progress, and we look again; a movement that does not end is its thread's being
 * stopped in the middle, and after a while we say VBUF_BUSY rather than wait for it.
 *
 * Part 0 belongs to all threads without a part of their own. They count in by CAS, and only where there
 * is room, so none of them can make another believe that there is none.
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
    /* Release: who counts us sees what we did before; pairs with the loads in unused_room. */
    if (is_shared(map, part))
        vbuf_u64_fetch_add_acq_rel(&part->head.inserted, change);
    else
        vbuf_u64_owner_add_release(&part->head.inserted, change);
}

/*
 * A part's unused room, if this much is granted to it. `removed` is read first: what is missed of it
 * can only make the room less.
 */
static int64_t unused_of(const struct part *part, uint64_t granted)
{
    uint64_t removed = vbuf_u64_load_acquire(&part->head.removed); /* pairs with slotmap_bury_ */
    uint64_t inserted = vbuf_u64_load_acquire(&part->head.inserted);
    return (int64_t)(granted + removed - inserted);
}

static int64_t unused_room(const struct part *part)
{
    return unused_of(part, vbuf_u64_load_acquire(&part->head.granted)); /* pairs with its CASes */
}

static void begin_move(struct map *map)
{
    vbuf_u64_fetch_add_acq_rel(&map->moves, 1);
}

static void end_move(struct map *map)
{
    vbuf_u64_fetch_add_acq_rel(&map->moves, MOVE_DONE - 1); /* one more made, one less under way */
}

uint64_t map_removed_so_far(const struct map *map)
{
    uint64_t sum = 0;
    uint32_t parts = map_parts(map);
    for (uint32_t i = 0; i < parts; i++)
        sum += vbuf_u64_load_acquire(&part_at(map, i)->head.removed); /* pairs with slotmap_bury_ */
    return sum;
}

/* Gives the part room of which one is used at once, by the insert that looks for it. */
static void grant_and_use(struct map *map, struct part *part, uint64_t granted)
{
    count_inserted(map, part, 1);
    vbuf_u64_fetch_add_acq_rel(&part->head.granted, granted);
}

static bool take_from_pool(struct map *map, struct part *part)
{
    uint64_t pool = vbuf_u64_load_acquire(&map->pool); /* pairs with the adds and CASes to it */
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
    if (taken != 0)
        grant_and_use(map, part, taken);
    end_move(map);
    return taken != 0;
}

/* Takes unused room back from another part. *refused: the system refused the barrier. */
static bool take_back(struct map *map, struct part *part, struct part *other, bool *refused)
{
    uint64_t granted = vbuf_u64_load_acquire(&other->head.granted);
    int64_t unused = unused_of(other, granted);
    if (unused <= 0)
        return false;
    uint64_t taken = (uint64_t)unused < map->room_batch ? (uint64_t)unused : map->room_batch;
    begin_move(map);
    /* Pairs with the load in slotmap_claim_slot_, over the fences. */
    if (!vbuf_u64_cas_acq_rel(&other->head.granted, &granted, granted - taken)) {
        end_move(map);
        return false;
    }
    uint64_t excess = taken; /* without the fence nothing may be concluded */
    if (vbuf_fence_heavy()) {
        int64_t left = unused_room(other);
        excess = left >= 0 ? 0 : (uint64_t)-left < taken ? (uint64_t)-left : taken;
    } else {
        *refused = true;
    }
    if (excess != 0)
        vbuf_u64_fetch_add_acq_rel(&other->head.granted, excess);
    if (taken != excess)
        grant_and_use(map, part, taken - excess);
    end_move(map);
    return taken != excess;
}

static bool take_back_from_any(struct map *map, struct part *part, bool *refused)
{
    uint32_t parts = map_parts(map);
    for (uint32_t i = 0; i < parts && !*refused; i++) {
        struct part *other = part_at(map, i);
        if (other != part && take_back(map, part, other, refused))
            return true;
    }
    return false;
}

/* Counts in where there is room, for the threads that share part 0. */
static bool take_shared(struct part *part)
{
    /* Pairs with the CAS below and count_inserted, of the other threads that share the part. */
    uint64_t inserted = vbuf_u64_load_acquire(&part->head.inserted);
    do {
        uint64_t room =
            vbuf_u64_load_acquire(&part->head.granted) + vbuf_u64_load_acquire(&part->head.removed);
        if ((int64_t)(room - inserted) <= 0)
            return false;
    } while (!vbuf_u64_cas_acq_rel(&part->head.inserted, &inserted, inserted + 1));
    return true;
}

/* Counts in, and looks afterwards whether the room is still there: the owner of the pair above. */
static bool take_own(struct map *map, struct part *part)
{
    if (!is_shared(map, part))
        count_inserted(map, part, 1);
    else if (!take_shared(part))
        return false;
    if (map->head.full_fence_)
        vbuf_fence_full();
    else
        vbuf_fence_light();
    if (unused_room(part) >= 0)
        return true;
    count_inserted(map, part, UINT64_MAX); /* minus 1: a taker was faster, or there was none */
    return false;
}

enum vbuf_status room_take(struct map *map, struct part *part)
{
    if (take_own(map, part))
        return VBUF_OK;
    for (unsigned round = 0;;) {
        uint64_t moves = vbuf_u64_load_acquire(&map->moves); /* pairs with end_move */
        uint64_t removed = map_removed_so_far(map);
        bool refused = false;
        if (take_own(map, part) || take_from_pool(map, part) ||
            take_back_from_any(map, part, &refused))
            return VBUF_OK;
        if (refused)
            return VBUF_BUSY;
        bool removes = map_removed_so_far(map) != removed;
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

void room_give_back(struct map *map, struct part *part)
{
    begin_move(map);                       /* who looks for room must not overlook it */
    count_inserted(map, part, UINT64_MAX); /* minus 1 */
    end_move(map);
}

void room_recover(struct map *map, uint64_t live)
{
    uint32_t limit = vbuf_u32_load_relaxed(&map->head.thread_limit_);
    for (uint32_t i = 0; i <= limit; i++) { /* relaxed, all of it: nobody else runs */
        struct part *part = part_at(map, i);
        uint64_t removed = vbuf_u64_load_relaxed(&part->head.removed);
        uint64_t used = vbuf_u64_load_relaxed(&part->head.inserted) - removed;
        vbuf_u64_store_relaxed(&part->head.granted, used);
    }
    vbuf_u64_store_relaxed(&map->pool, map->max_len - live);
    uint64_t moves = vbuf_u64_load_relaxed(&map->moves);
    vbuf_u64_store_relaxed(&map->moves, moves & ~MOVES_IN_FLIGHT);
}

void room_share_surplus(struct map *map, struct part *part)
{
    if (is_shared(map, part)) /* its counters move meanwhile; others take it back */
        return;
    int64_t most = 2 * (int64_t)map->room_batch;
    if (unused_room(part) <= most)
        return;
    begin_move(map);
    uint64_t granted = vbuf_u64_load_acquire(&part->head.granted);
    int64_t unused = unused_of(part, granted);
    if (unused > most) {
        uint64_t surplus = (uint64_t)unused - map->room_batch;
        /* A taker may have been faster: then the surplus is gone. */
        if (vbuf_u64_cas_acq_rel(&part->head.granted, &granted, granted - surplus))
            vbuf_u64_fetch_add_acq_rel(&map->pool, surplus);
    }
    end_move(map);
}
