/*
 * slotmap_fork.c - a map in a fork's child (E3).
 *
 * The child has one thread, and the parent's memory. Each of the parent's other threads is stopped there for ever,
 * between two instructions of its own; what it stored before that is there, and nothing that it would have stored
 * after. So of what they were at,
 *
 *      whole      each word that is changed by one atomic step: generations, the stacks of chunks and orphans, `made`
 *                 whatever is behind it: chunks and orphans that have been pushed, values that have been published
 *                 the lists of a part that nobody was at: not busy, and not being taken
 *      not        the lists of a part that somebody was at; they cannot be told from whole ones, but by that
 *      nowhere    slots in somebody's hands: taken for an insert, unlinked and not yet buried, popped for their
 *                 destructor, on their way from one list to another
 *      miscounted an insert that had counted itself in, a remove that had not yet; room that had left one place for another
 *
 * So the child counts what there is, and makes everything else follow from that:
 *
 *   1. Parts that somebody was at lose their lists. All parts are free again.
 *   2. All slots on the lists that are left are marked, a bit each in memory of its own.
 *   3. All slots are looked at. What lives, or is claimed, or invalidated, is so in the child too. Of the others, one
 *      without a mark is lost: in nobody's hands. It becomes CANCELLED, so that no destructor is ever run for what may
 *      be in it (it may have been run, or be half through; the value may be half overwritten), and goes to the orphans: a pin of
 *      the child's thread may see what was removed there. So no slot is lost for good, and no value destroyed twice.
 *   4. An invalidated one without a mark becomes HELD: its grace is not followed any more, and its value, likewise, not
 *      destroyed. Its release is still to come, from whoever has the handle.
 *   5. Figures and room are set to what was found. Room that is not under a value, goes to the pool. The
 *      counts only go up: a lost slot counts as one more claim, and its cancel.
 *
 * What removed values are on whole lists, wait there for their grace and their destructor as ever; whoever collects takes
 * them over, as from threads that have exited. Claims stay claimed: their handles may be anywhere. Nobody writes an
 * updatable value any more, so locked ones are unlocked.
 *
 * Without memory for the marks, all lists are given up: all values in limbo are abandoned, but still no slot is lost.
 *
 * All of it is plain loads and stores in effect: nobody else runs. It costs a look at every slot, in order, and another
 * at those on lists, out of order, but several lists at a time: 5 and 13 ms for a million slots, all live or all vacant. Little
 * of the map is written, so little of it is copied for the child. That nobody was at anything cannot be known for less: a
 * thread that has unlinked a value by its first call has not even a number yet.
 *
 * A fork in a callback of ours (a destructor, on_commit, on_stall) finds the forking thread itself in the middle of
 * a call, which may go on in the child: slots that nobody has may be its own. Then maps are left as they are.
 *
 * The list of maps is found whole as well, and no lock is held across a fork: registry.h.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <pthread.h>
#include <stddef.h>

#include "slotmap_internal.h"
#include "vmem_os.h"

static struct registry maps = REGISTRY_EMPTY;
static pthread_once_t hooks_once = PTHREAD_ONCE_INIT;

/* Lists are walked along so many at a time: each step waits for memory. */
#define WALKS 16

/* What is found in a map. */
struct census {
    uint64_t *marks;    /* a bit for every slot: it is on a list; NULL: none is */
    uint64_t live;      /* slots that count as live */
    uint64_t limbo;     /* slots on lists of limbo that do not */
    uint64_t exhausted; /* slots out of service */
    struct limbo_chain lost;
    struct walk {
        uint32_t index;
        bool limbo;
    } walks[WALKS]; /* the next slots of lists that are being walked along */
    unsigned walk_count;
};

/* ---- the lists ---- */

static uint32_t last_part(const struct map *map)
{
    return vbuf_u32_load_relaxed(
        &map->head.thread_limit_); /* relaxed here and below: nobody else runs */
}

/* Makes all parts free again. Where calls were cut off, or everywhere, without their lists. */
static void free_parts(struct map *map, bool drop_all)
{
    for (uint32_t i = 0; i <= last_part(map); i++) {
        struct part *part = part_at(map, i);
        if (drop_all || part_was_cut_off(part)) {
            part->head.free = 0;
            part->head.open_first = part->head.open_last = part->head.open_count = 0;
            part->limbo = (struct limbo){.ready = {0, 0, 0}};
            part->vacant = (struct limbo_chain){0, 0, 0};
        }
        vbuf_u32_store_relaxed(&part->head.busy, 0);
        vbuf_u64_store_relaxed(&part->head.frozen, 0);
    }
    if (drop_all) {
        vbuf_u32_store_relaxed(&map->chunks, 0);
        vbuf_u32_store_relaxed(&map->orphans, 0);
    }
}

static void mark(struct census *census, uint64_t index)
{
    census->marks[index / 64] |= UINT64_C(1) << index % 64;
}

static bool is_marked(const struct census *census, uint32_t index)
{
    return census->marks != NULL && (census->marks[index / 64] >> index % 64 & 1) != 0;
}

/* One step along each list. */
static void take_steps(const struct map *map, struct census *census)
{
    for (unsigned i = 0; i < census->walk_count; i++) {
        struct walk *walk = &census->walks[i];
        const struct slotmap_slot_ *slot = slot_at(map, walk->index);
        uint32_t generation = vbuf_u32_load_relaxed(&slot->generation);
        mark(census, walk->index);
        census->limbo += walk->limbo && state_of(generation) != SLOTMAP_INVALIDATED_;
        walk->index = link_of(map, walk->index);
        if (walk->index == 0)
            *walk = census->walks[--census->walk_count];
        __builtin_prefetch(slot_at(map, walk->index));
    }
}

/* Marks a list, by and by. */
static void mark_list(const struct map *map, struct census *census, uint64_t index, bool limbo)
{
    if (index == 0)
        return;
    while (census->walk_count == WALKS)
        take_steps(map, census);
    census->walks[census->walk_count++] = (struct walk){(uint32_t)index, limbo};
}

static void mark_chunks(const struct map *map, struct census *census)
{
    uint32_t head = vbuf_u32_load_relaxed(&map->chunks);
    for (; head != 0; head = link_of(map, head)) {
        mark(census, head);
        mark_list(map, census, slots_rest_of(map, head), false);
    }
}

static void mark_lists(const struct map *map, struct census *census)
{
    mark_list(map, census, vbuf_u32_load_relaxed(&map->orphans), true);
    for (uint32_t i = 0; i <= last_part(map); i++) {
        const struct part *part = part_at(map, i);
        mark_list(map, census, part->head.free, false);
        mark_list(map, census, part->vacant.first, false);
        mark_list(map, census, part->head.open_first, true);
        mark_list(map, census, part->limbo.bags[0].chain.first, true);
        mark_list(map, census, part->limbo.bags[1].chain.first, true);
        mark_list(map, census, part->limbo.ready.first, true);
    }
    mark_chunks(map, census);
    while (census->walk_count != 0)
        take_steps(map, census);
}

/* ---- the slots ---- */

static void set_state(struct slotmap_slot_ *slot, uint32_t generation, enum slotmap_state_ state)
{
    vbuf_u32_store_relaxed(&slot->generation, with_state(generation, state));
}

/* A slot that no life is in, and that is on no list. */
static void take_lost(struct map *map, struct census *census, uint32_t index, uint32_t generation)
{
    struct slotmap_slot_ *slot = slot_at(map, index);
    if (slots_was_dropped(map, index)) { /* with its value, in a revivable map */
        census->exhausted++;
        return;
    }
    if (generation == 0) /* it may have been made just now */
        generation = slots_first_generation(map, index);
    set_state(slot, generation, SLOTMAP_CANCELLED_);
    if (generation >= SLOTMAP_LAST_GENERATION)
        census->exhausted++;
    else
        push_first(map, &census->lost, index);
}

static void look_at_slot(struct map *map, struct census *census, uint32_t index)
{
    struct slotmap_slot_ *slot = slot_at(map, index);
    uint32_t generation = vbuf_u32_load_relaxed(&slot->generation);
    switch (state_of(generation)) {
    case SLOTMAP_LIVE_:
        if (map->head.updatable_)
            value_take_lock_away(slot);
        census->live++;
        break;
    case SLOTMAP_CLAIMED_:
    case SLOTMAP_HELD_:
        census->live++;
        break;
    case SLOTMAP_INVALIDATED_:
        if (!is_marked(census, index))
            set_state(slot, generation, SLOTMAP_HELD_);
        census->live++;
        break;
    default:
        if (!is_marked(census, index))
            take_lost(map, census, index, generation);
    }
}

/* ---- the figures ---- */

static void raise(struct vbuf_atomic_u64 *figure, uint64_t by)
{
    vbuf_u64_store_relaxed(figure, vbuf_u64_load_relaxed(figure) + by);
}

/* Makes the sums over all parts what was found, by part 0. */
static void correct_figures(struct map *map, const struct census *census)
{
    uint64_t inserted = 0, removed = 0, reclaimed = 0, exhausted = 0;
    for (uint32_t i = 0; i <= last_part(map); i++) {
        const struct part *part = part_at(map, i);
        inserted += vbuf_u64_load_relaxed(&part->head.inserted);
        removed += vbuf_u64_load_relaxed(&part->head.removed);
        reclaimed += vbuf_u64_load_relaxed(&part->reclaimed);
        exhausted += vbuf_u64_load_relaxed(&part->exhausted);
    }
    struct part *shared = part_at(map, 0);
    uint64_t ended = inserted - census->live; /* removed, and what was in the middle */
    uint64_t lost = census->lost.count;
    raise(&shared->head.inserted, lost);
    raise(&shared->head.removed, ended - removed + lost);
    raise(&shared->reclaimed, ended - census->limbo - reclaimed);
    raise(&shared->exhausted, census->exhausted - exhausted);
    map->abandoned += lost;
}

/* ---- fork ---- */

/*
 * Memory for the marks, all zeros; false: there is none. Not through vmem.c, which tells the leak checker of it, under a
 * lock of that, which a thread may have had that is not here.
 */
static bool get_marks(struct census *census, size_t size)
{
    const struct vmem_options plain = {.name = NULL};
    void *base;
    if (vmem_os_reserve(size, vmem_page_size(), &plain, &base) != VBUF_OK)
        return false;
    if (vmem_os_commit(base, size) != VBUF_OK) {
        vmem_os_release(base, size);
        return false;
    }
    census->marks = base;
    return true;
}

static void make_whole(struct map *map)
{
    struct census census = {.marks = NULL};
    uint32_t made = vbuf_u32_load_relaxed(&map->made);
    size_t size = vmem_align_up(((size_t)made / 64 + 1) * sizeof *census.marks, vmem_page_size());
    bool can_mark = get_marks(&census, size);
    free_parts(map, !can_mark);
    if (can_mark)
        mark_lists(map, &census);
    for (uint32_t i = 1; i < made; i++)
        look_at_slot(map, &census, i);
    correct_figures(map, &census);
    room_recover(map, census.live);
    slots_bury_orphans(map, &census.lost);
    if (can_mark)
        vmem_os_release(census.marks, size);
}

static struct map *map_of_link(struct registry_link *link)
{
    return (struct map *)(void *)((unsigned char *)link - offsetof(struct map, link));
}

/* A call of the only thread's own may be under way. */
static bool is_inside_a_callback(void)
{
    return vbuf_self_.reclaiming != 0 || vbuf_self_.hooked != 0;
}

static void forget_other_threads(void)
{
    registry_heal(&maps);
    if (is_inside_a_callback())
        return;
    for (struct registry_link *link = registry_first(&maps); link != NULL;
         link = registry_next(link))
        make_whole(map_of_link(link));
}

static void install_hooks(void)
{
    pthread_atfork(NULL, NULL, forget_other_threads);
}

/* Before main, so that no fork can come in between, and before others: their handlers find maps whole. */
__attribute__((constructor(101))) static void install_hooks_early(void)
{
    pthread_once(&hooks_once, install_hooks);
}

void map_enlist(struct map *map)
{
    pthread_once(&hooks_once, install_hooks);
    registry_add(&maps, &map->link);
}

void map_delist(struct map *map)
{
    registry_remove(&maps, &map->link);
}
