/*
 * stale.c - S1: a handle whose remove has returned never resolves.
 *
 * First part: a tiny map whose slots are reused all the time. Churners insert and remove, and put
 * each removed handle into a ring; triers take handles out of it, in any order and as often as they
 * like, and ask for them in every way there is. Half of the ring is filled once, so that its
 * handles grow as old as the run; in the other half new ones replace old ones.
 *
 * Second part: slots start near their last generation, so that all of them are used up. Each slot
 * lives as often as it can and no more, no handle is issued twice, and what is used up is counted.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>

enum { RING = 8192, CHUNK = 1024, WINDOW = 48 };
enum { TRIES_A_REUSE = 200 }; /* at most: without inserts meanwhile, tries prove nothing */

struct ring_run {
    struct slotmap *map;
    uint64_t tries;
    struct vbuf_atomic_u64 taken;  /* tries begun so far */
    struct vbuf_atomic_u32 triers; /* still at it */
    struct vbuf_atomic_u64 live;   /* at the end, left in windows */
    struct vbuf_atomic_u64 reused; /* inserts by churners */
    struct vbuf_atomic_u64 ring[RING];
};

/* Nobody has a claim or an invalidated slot under the handle any more. */
static enum vbuf_status try_steps(struct slotmap *map, slotmap_handle handle, uint64_t draw)
{
    switch (draw % 4) {
    case 0:
        return slotmap_publish(map, handle);
    case 1:
        return slotmap_cancel(map, handle);
    case 2:
        return slotmap_invalidate(map, handle);
    default:
        return slotmap_release(map, handle);
    }
}

/* One try, in one of the ways there are. The handle's remove has returned. */
static void try_stale(struct slotmap *map, slotmap_handle handle, uint64_t draw)
{
    struct stress_value value;
    enum vbuf_status status;
    switch (draw & 15) {
    case 0:
        status = slotmap_remove(map, handle, NULL);
        STRESS_CHECK(status == VBUF_STALE, "stale handle %" PRIx64 " resolves: remove says %s",
                     handle.bits, vbuf_status_string(status));
        break;
    case 1:
        status = slotmap_read(map, handle, &value);
        STRESS_CHECK(status == VBUF_STALE, "stale handle %" PRIx64 " resolves: read says %s",
                     handle.bits, vbuf_status_string(status));
        break;
    case 2: /* seldom: a thread that loses its processor while pinned stops all reuse */
        slotmap_pin(map);
        STRESS_CHECK(slotmap_get(map, handle) == NULL, "stale handle %" PRIx64 " resolves: get",
                     handle.bits);
        slotmap_unpin(map);
        break;
    case 3:
        status = try_steps(map, handle, draw >> 4);
        STRESS_CHECK(status == VBUF_STALE, "stale handle %" PRIx64 " resolves: step %d says %s",
                     handle.bits, (int)(draw >> 4 & 3), vbuf_status_string(status));
        break;
    default:
        STRESS_CHECK(!slotmap_contains(map, handle), "stale handle %" PRIx64 " resolves: contains",
                     handle.bits);
    }
}

/* Inserts; waits where that may be needed. False when the map is full. */
static bool insert_patiently(struct slotmap *map, uint64_t id, slotmap_handle *handle)
{
    struct stress_value value;
    stress_value_make(&value, id);
    for (unsigned round = 0;;) {
        enum vbuf_status status = slotmap_insert(map, &value, handle);
        if (status == VBUF_OK)
            return true;
        if (status != VBUF_BUSY) {
            STRESS_CHECK(status == VBUF_FULL, "insert says %s", vbuf_status_string(status));
            return false;
        }
        slotmap_collect(map);
        if (!stress_wait(&round))
            return stress_fail("insert stays busy for ten seconds");
    }
}

static void keep(struct ring_run *run, struct check_rng *rng, slotmap_handle removed)
{
    struct vbuf_atomic_u64 *place = &run->ring[stress_below(rng, RING)];
    bool old_half = place < run->ring + RING / 2;
    if (old_half && vbuf_u64_load_relaxed(place) != 0)
        return;
    /* Release: who takes the handle out must know that its remove has returned. */
    vbuf_u64_store_release(place, removed.bits);
}

/* Ends a life in one of the ways there are; its handle is stale from then on. */
static void end_life(struct slotmap *map, struct check_rng *rng, slotmap_handle handle)
{
    bool by_steps = stress_chance(rng, 16);
    enum vbuf_status status =
        by_steps ? slotmap_invalidate(map, handle) : slotmap_remove(map, handle, NULL);
    STRESS_CHECK(status == VBUF_OK, "%" PRIx64 " is live, remove says %s", handle.bits,
                 vbuf_status_string(status));
    if (!by_steps)
        return;
    stress_disturb(rng);
    status = slotmap_release(map, handle);
    STRESS_CHECK(status == VBUF_OK, "%" PRIx64 " is invalidated, release says %s", handle.bits,
                 vbuf_status_string(status));
}

/* A claim that comes to nothing: its handle was never of any use. */
static void claim_and_cancel(struct ring_run *run, struct check_rng *rng)
{
    slotmap_handle handle;
    void *value;
    if (slotmap_claim(run->map, &handle, &value) != VBUF_OK)
        return;
    vbuf_u64_fetch_add_relaxed(&run->reused, 1);
    STRESS_CHECK(!slotmap_contains(run->map, handle), "%" PRIx64 " resolves before its publish",
                 handle.bits);
    STRESS_CHECK(slotmap_cancel(run->map, handle) == VBUF_OK, "%" PRIx64 " lost its claim",
                 handle.bits);
    keep(run, rng, handle);
}

static void churn(struct stress_thread *self)
{
    struct ring_run *run = self->context;
    slotmap_handle window[WINDOW] = {{0}};
    uint64_t inserted = 0;
    while (vbuf_u32_load_relaxed(&run->triers) > 0) {
        slotmap_handle *mine = &window[stress_below(&self->rng, WINDOW)];
        if (mine->bits != 0) {
            slotmap_handle handle = *mine;
            end_life(run->map, &self->rng, handle);
            mine->bits = 0;
            keep(run, &self->rng, handle);
            try_stale(run->map, handle, check_rng_next(&self->rng));
        } else {
            if (!STRESS_CHECK(insert_patiently(run->map, inserted, mine), "full, and it is not"))
                break;
            inserted++;
            vbuf_u64_fetch_add_relaxed(&run->reused, 1);
            STRESS_CHECK(slotmap_contains(run->map, *mine), "%" PRIx64 " is live and not found",
                         mine->bits);
            if (stress_chance(&self->rng, 16))
                claim_and_cancel(run, &self->rng);
        }
        stress_disturb(&self->rng);
    }
    for (unsigned i = 0; i < WINDOW; i++)
        vbuf_u64_fetch_add_relaxed(&run->live, window[i].bits != 0);
}

static bool more_tries(struct ring_run *run)
{
    return vbuf_u64_fetch_add_relaxed(&run->taken, CHUNK) < run->tries ||
           vbuf_u64_load_relaxed(&run->reused) < run->tries / TRIES_A_REUSE;
}

static void try_from_ring(struct stress_thread *self)
{
    struct ring_run *run = self->context;
    while (!stress_failed() && more_tries(run)) {
        for (unsigned i = 0; i < CHUNK; i++) {
            uint64_t draw = check_rng_next(&self->rng);
            /*
             * Pairs with the release in keep. An empty place gives 0, which is no handle: as good.
             */
            slotmap_handle handle = {vbuf_u64_load_acquire(&run->ring[draw >> 32 & (RING - 1)])};
            try_stale(run->map, handle, draw);
        }
        stress_count(CHUNK);
        stress_disturb(&self->rng);
    }
    vbuf_u32_fetch_add_relaxed(&run->triers, UINT32_MAX); /* one fewer */
}

static void part_ring(void)
{
    static struct ring_run run; /* too large for a stack */
    unsigned churners = stress_threads(4, 2) / 2;
    unsigned triers = stress_threads(4, 2) - churners;
    struct slotmap_options options = {.value_size = sizeof(struct stress_value),
                                      .max_len = (size_t)churners * WINDOW,
                                      .max_limbo = 2048 + (size_t)churners * 128,
                                      .max_threads = churners + triers};
    if (!STRESS_CHECK(slotmap_create(&run.map, &options) == VBUF_OK, "create"))
        return;
    run.tries = stress.tries != 0 ? stress.tries : stress_amount(100000000, 200000);
    stress_goal(run.tries);
    vbuf_u64_store_relaxed(&run.taken, 0);
    vbuf_u64_store_relaxed(&run.live, 0);
    vbuf_u64_store_relaxed(&run.reused, 0);
    vbuf_u32_store_relaxed(&run.triers, triers);
    for (unsigned i = 0; i < RING; i++)
        vbuf_u64_store_relaxed(&run.ring[i], 0);

    struct stress_crew churning;
    stress_crew_start(&churning, churners, churn, &run);
    stress_run(triers, try_from_ring, &run);
    stress_crew_join(&churning);

    struct slotmap_report stats;
    slotmap_stats(run.map, &stats);
    STRESS_CHECK(stats.len == vbuf_u64_load_relaxed(&run.live), "%zu live, should be %" PRIu64,
                 stats.len, vbuf_u64_load_relaxed(&run.live));
    STRESS_CHECK(stats.inserted == vbuf_u64_load_relaxed(&run.reused), "inserts were miscounted");
    STRESS_CHECK(stats.exhausted == 0, "%zu slots are used up", stats.exhausted);
    for (unsigned i = 0; i < RING; i++) {
        slotmap_handle handle = {vbuf_u64_load_relaxed(&run.ring[i])};
        try_stale(run.map, handle, 2);
        try_stale(run.map, handle, 8);
    }
    stress_note("%.0f M tries, %zu slots lived %.0f times each",
                (double)vbuf_u64_load_relaxed(&run.taken) / 1e6, stats.slots,
                (double)stats.inserted / (double)stats.slots);
    slotmap_destroy(run.map);
}

/* ---- generations run to their end ---- */

enum { END_THREADS = 4, END_WINDOW = 16 };

struct handle_log {
    uint64_t *bits;
    size_t count;
    size_t room;
};

struct end_run {
    struct slotmap *map;
    uint32_t first;                          /* generation */
    struct handle_log logs[END_THREADS + 1]; /* the last is the main thread's */
};

static void write_down(struct handle_log *log, slotmap_handle handle)
{
    if (log->count == log->room) {
        log->room = log->room == 0 ? 1024 : log->room * 2;
        log->bits = realloc(log->bits, log->room * sizeof *log->bits);
        if (log->bits == NULL)
            abort();
    }
    log->bits[log->count++] = handle.bits;
}

/* Inserts and removes, a few live at a time, until the map is full though nearly empty. */
static void use_up(struct slotmap *map, uint32_t first, struct handle_log *log,
                   struct check_rng *rng)
{
    slotmap_handle window[END_WINDOW];
    unsigned count = 0;
    bool more = true;
    while (!stress_failed() && (more || count > 0)) {
        if (more && count < END_WINDOW) {
            more = insert_patiently(map, log->count, &window[count]);
            if (more && !STRESS_CHECK((window[count].bits >> 32) > first, "%" PRIx64 " wraps round",
                                      window[count].bits))
                break;
            count += more;
        } else {
            unsigned which = (unsigned)stress_below(rng, count);
            slotmap_handle handle = window[which];
            window[which] = window[--count];
            STRESS_CHECK(slotmap_remove(map, handle, NULL) == VBUF_OK, "%" PRIx64 " was lost",
                         handle.bits);
            write_down(log, handle);
            slotmap_handle stale = {log->bits[stress_below(rng, log->count)]};
            try_stale(map, stale, check_rng_next(rng));
        }
        stress_disturb(rng);
    }
    stress_count(log->count);
}

static void use_up_in_thread(struct stress_thread *self)
{
    struct end_run *run = self->context;
    use_up(run->map, run->first, &run->logs[self->id], &self->rng);
}

static int compare_bits(const void *a, const void *b)
{
    const uint64_t *left = a;
    const uint64_t *right = b;
    return (*left > *right) - (*left < *right);
}

/* Everything that was ever issued is stale now, and so is every earlier life of every slot. */
static void check_handles(struct end_run *run, struct slotmap_report *stats)
{
    struct handle_log all = {NULL, 0, 0};
    uint32_t first = run->first;
    for (unsigned i = 0; i <= END_THREADS; i++) {
        for (size_t j = 0; j < run->logs[i].count; j++)
            write_down(&all, (slotmap_handle){run->logs[i].bits[j]});
    }
    STRESS_CHECK(stats->inserted == all.count, "%" PRIu64 " inserts counted, %zu were",
                 stats->inserted, all.count);
    if (all.count > 0)
        qsort(all.bits, all.count, sizeof *all.bits, compare_bits);
    for (size_t i = 0; i < all.count; i++) {
        slotmap_handle handle = {all.bits[i]};
        STRESS_CHECK(i == 0 || all.bits[i] != all.bits[i - 1], "%" PRIx64 " was issued twice",
                     handle.bits);
        uint32_t generation = (uint32_t)(handle.bits >> 32);
        STRESS_CHECK(generation > first && generation <= SLOTMAP_LAST_GENERATION,
                     "%" PRIx64 " has a generation that is used up", handle.bits);
        try_stale(run->map, handle, i);
    }
    for (uint64_t index = 0; index <= stats->slots; index++) {
        for (uint64_t generation = 0; generation <= 8; generation++) {
            try_stale(run->map, (slotmap_handle){generation << 32 | index}, generation);
            try_stale(run->map, (slotmap_handle){(first - generation) << 32 | index}, generation);
            try_stale(run->map, (slotmap_handle){(UINT32_MAX - generation) << 32 | index},
                      generation);
        }
    }
    free(all.bits);
}

/* Slots that may live `lives` times more. */
static void part_end(uint32_t lives, uint64_t *used_up)
{
    uint32_t first = SLOTMAP_LAST_GENERATION - 1 - 8 * lives;
    struct end_run run = {.first = first};
    struct slotmap_options options = {.value_size = sizeof(struct stress_value),
                                      .max_len = END_THREADS * END_WINDOW * 2,
                                      .max_limbo = 512,
                                      .max_threads = END_THREADS + 1,
                                      .first_generation = first};
    if (!STRESS_CHECK(slotmap_create(&run.map, &options) == VBUF_OK, "create near the end"))
        return;
    stress_run(END_THREADS, use_up_in_thread, &run);
    /* What the threads' own lists still held is the main thread's now. */
    struct check_rng rng = stress_stream(lives);
    struct slotmap_report stats = {0};
    for (unsigned round = 0; round < 64; round++) {
        size_t before = run.logs[END_THREADS].count;
        use_up(run.map, first, &run.logs[END_THREADS], &rng);
        slotmap_collect(run.map);
        if (run.logs[END_THREADS].count == before)
            break;
    }
    slotmap_stats(run.map, &stats);
    STRESS_CHECK(stats.len == 0 && stats.limbo == 0,
                 "%zu live and %zu in limbo, and nobody is here", stats.len, stats.limbo);
    STRESS_CHECK(stats.exhausted == stats.slots, "%zu of %zu slots are used up, and nothing fits",
                 stats.exhausted, stats.slots);
    STRESS_CHECK(stats.inserted == (uint64_t)stats.slots * lives,
                 "%zu slots of %" PRIu32 " lives gave %" PRIu64 " lives", stats.slots, lives,
                 stats.inserted);
    struct stress_value value;
    stress_value_make(&value, 0);
    enum vbuf_status status = slotmap_insert(run.map, &value, NULL);
    STRESS_CHECK(status == VBUF_FULL, "nothing is left, and insert says %s",
                 vbuf_status_string(status));
    check_handles(&run, &stats);
    *used_up += stats.exhausted;
    for (unsigned i = 0; i <= END_THREADS; i++)
        free(run.logs[i].bits);
    slotmap_destroy(run.map);
}

void stress_stale(void)
{
    static const uint32_t lives[] = {1, 2, 7, 40};
    uint64_t used_up = 0;
    part_ring();
    for (unsigned i = 0; i < sizeof lives / sizeof lives[0] && !stress_failed(); i++)
        part_end(lives[i], &used_up);
    stress_note("%" PRIu64 " slots used up", used_up);
}
