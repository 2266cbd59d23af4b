/*
 * slotmap_all.c - S1 to S9: all that a slot map does, at once.
 *
 * Three maps a round: one whose values are read under pins, one whose values are written in place, one that is
 * cleared now and then; each large or tiny, with a domain of its own or shared, with parts for all threads or
 * for a few, with slots that last or run out. Threads insert, one or many; claim, and publish late, cancel, or leave
 * either to another thread; race for removes; invalidate, and release late or elsewhere; write, read, look under
 * pins, iterate in pieces, sweep, collect. Some exit with limbo in their hands, some sleep on it; small maps come
 * and go on the shared domain. Memory is refused, by the hook and by the system, and now and then the barrier.
 *
 * A value says who it is and which version of it; what becomes of each is written down (slotmap_all_lives.c).
 * At the end of a round everything must add up: lives, destructors, handles, and slots.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_all.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "fault.h"

enum { MAX_LIMBO = 2048, CHUNK = 64 };

/* ---- threads ---- */

bool table_goes_on(struct table_hand *hand)
{
    struct table_run *run = hand->run;
    if (hand->operations - hand->counted >= 1024) {
        stress_count(hand->operations - hand->counted);
        hand->counted = hand->operations;
    }
    /* Where nothing can be inserted any more, ids last for ever. */
    return !stress_failed() && vbuf_u64_load_relaxed(&run->next) < run->room &&
           hand->steps++ < 4 * run->room;
}

bool table_goes_by(const struct table_run *run)
{
    return vbuf_u32_load_relaxed(&run->working) > 0 && !stress_failed();
}

static const struct role {
    void (*step)(struct table_hand *hand);
    void (*whole)(struct table_hand *hand); /* instead of steps */
    bool works;                             /* the round lasts as long as those who do */
} roles[] = {
    {table_insert_step, NULL, true},     {table_claim_step, NULL, true},
    {table_remove_step, NULL, true},     {table_update_step, NULL, true},
    {table_read_step, NULL, false},      {NULL, NULL, false}, /* walks */
    {NULL, table_keep_small_maps, true}, {table_keep_step, NULL, false},
    {table_guest_step, NULL, true},      {table_claim_step, NULL, true},
    {table_read_step, NULL, false},      {NULL, NULL, false},
    {table_update_step, NULL, true},
};

enum { ROLES = sizeof roles / sizeof roles[0] };

static unsigned count_workers(unsigned threads)
{
    unsigned workers = 0;
    for (unsigned i = 0; i < threads; i++)
        workers += roles[i % ROLES].works;
    return workers;
}

static uint64_t all_ids(const struct table_run *run)
{
    uint64_t ids = run->room + 2; /* one is never used, and one that fill tries in vain */
    for (unsigned i = 0; i < TABLE_MAPS; i++)
        ids += run->maps[i].max_len;
    return ids;
}

static void *zeros(uint64_t count, size_t size)
{
    void *memory = calloc((size_t)count, size);
    if (memory == NULL)
        abort();
    return memory;
}

static void walk(struct table_hand *hand)
{
    struct vbuf_atomic_u32 *stamps = zeros(all_ids(hand->run), sizeof *stamps);
    table_walk(hand, stamps);
    free(stamps);
}

static void take_part(struct stress_thread *self)
{
    struct table_run *run = self->context;
    const struct role *role = &roles[self->id % ROLES];
    struct table_hand hand = {.run = run, .rng = &self->rng};
    if (role->whole != NULL) {
        role->whole(&hand);
    } else if (role->step == NULL) {
        walk(&hand);
    } else {
        while (role->works ? table_goes_on(&hand) : table_goes_by(run)) {
            role->step(&hand);
            if (stress_chance(&self->rng, 4))
                table_do_letter(&hand);
            stress_disturb(&self->rng);
        }
    }
    table_finish(&hand);
    if (role->works) {
        stress_count(hand.operations - hand.counted);
        vbuf_u32_fetch_add_relaxed(&run->working, UINT32_MAX);
    } else {
        vbuf_u64_fetch_add_relaxed(&run->looks, hand.operations);
    }
}

/* ---- a round's maps ---- */

static bool create(struct table_run *run, struct table_map *map, struct check_rng *rng)
{
    static const uint32_t lives[] = {1, 2, 7, 40};
    static const uint32_t parts[] = {0, 0, 1, 2, 6};
    if (map->runs_out)
        map->first_generation = SLOTMAP_LAST_GENERATION - 1 - 8 * lives[stress_below(rng, 4)];
    /* The tiniest hand slots from thread to thread one by one. */
    map->max_len = map->roomy              ? 4096 + 128 * (size_t)run->threads
                   : stress_chance(rng, 3) ? 1 + stress_below(rng, 16)
                                           : 32 + stress_below(rng, 400);
    map->side = zeros(TABLE_SIDE, sizeof *map->side);
    struct slotmap_options options = {.value_size = sizeof(struct stress_value),
                                      .max_len = map->max_len,
                                      .max_limbo = MAX_LIMBO,
                                      .domain = stress_chance(rng, 2) ? run->domain : NULL,
                                      .max_threads = parts[stress_below(rng, 5)],
                                      .first_generation = map->first_generation,
                                      .updatable = map->updatable,
                                      .destroy = table_destroy_value,
                                      .on_commit = table_ask,
                                      .context = map};
    return STRESS_CHECK(slotmap_create(&map->map, &options) == VBUF_OK, "create");
}

static bool begin_round(struct table_run *run, struct check_rng *rng, unsigned threads)
{
    *run = (struct table_run){.threads = threads, .seed = check_rng_next(rng)};
    run->room = 1000 + stress_below(rng, stress_amount(400000, 3000));
    vbuf_u32_store_relaxed(&run->plenty, 1);
    if (!STRESS_CHECK(ebr_domain_create(&run->domain, NULL) == VBUF_OK, "create a domain"))
        return false;
    for (unsigned i = 0; i < TABLE_MAPS; i++) {
        struct table_map *map = &run->maps[i];
        map->run = run;
        map->number = i + 1;
        map->updatable = i == 1;
        map->clears = i == 2;
        map->roomy = stress_chance(rng, 2);
        map->runs_out = i != 2 && stress_chance(rng, 4); /* in one at least there is always room */
        if (!create(run, map, rng))
            return false;
    }
    run->lives = zeros(all_ids(run), sizeof *run->lives);
    vbuf_u32_store_relaxed(&run->working, count_workers(threads));
    return true;
}

static void begin_faults(struct table_run *run, struct check_rng *rng)
{
    vbuf_u32_store_relaxed(&run->plenty, stress_chance(rng, 4));
    if (!stress_chance(rng, 4))
        fault_fail_randomly(FAULT_MPROTECT, (uint32_t)stress_below(rng, 500000),
                            check_rng_next(rng), ENOMEM);
    if (stress_chance(rng, 4) && fault_has_call(FAULT_MEMBARRIER))
        fault_fail_randomly(FAULT_MEMBARRIER, (uint32_t)stress_below(rng, 100000),
                            check_rng_next(rng), ENOMEM);
}

/* ---- the checks, with nobody else at it ---- */

static bool in_order(struct table_map *map, struct slotmap_report *stats)
{
    slotmap_stats(map->map, stats);
    uint64_t live = vbuf_u64_load_relaxed(&map->born) - vbuf_u64_load_relaxed(&map->destroyed);
    uint64_t least = vbuf_u64_load_relaxed(&map->born) + vbuf_u64_load_relaxed(&map->cancelled);
    uint64_t most = least + vbuf_u64_load_relaxed(&map->undone);
    /* A value released when it was destroyed already passes limbo a second time, but counts once. */
    return STRESS_CHECK(stats->limbo == 0 && stats->destroyed == stats->removed,
                        "%zu wait, removed %" PRIu64 ", destroyed %" PRIu64 ", and nobody is here",
                        stats->limbo, stats->removed, stats->destroyed) &&
           STRESS_CHECK(stats->len == live && stats->inserted - stats->removed == live,
                        "%zu live, should be %" PRIu64, stats->len, live) &&
           STRESS_CHECK(stats->inserted >= least && stats->inserted <= most,
                        "inserted %" PRIu64 ", should be %" PRIu64 " to %" PRIu64, stats->inserted,
                        least, most) &&
           STRESS_CHECK(stats->domain.stalled_thread == 0, "thread %" PRIu64 " is gone and pinned",
                        stats->domain.stalled_thread);
}

/* What nobody protects goes at once, whoever removed it (S9); but destructors may remove more. */
static void collect_all(struct table_map *map)
{
    struct slotmap_report stats;
    slotmap_collect(map->map);
    slotmap_stats(map->map, &stats);
    STRESS_CHECK(stats.limbo == 0, "%zu wait after a collect, and nobody is here", stats.limbo);
}

/* Each live value once (S7). */
static void iterate(struct table_map *map, struct table_hand *hand)
{
    struct vbuf_atomic_u32 *stamps = zeros(all_ids(map->run), sizeof *stamps);
    struct table_walk whole = {.map = map, .stamps = stamps, .number = 1};
    struct table_piece pieces[2] = {{.walk = &whole, .iter = slotmap_iter_begin(map->map)},
                                    {.walk = &whole}};
    bool split = slotmap_iter_split(&pieces[0].iter, &pieces[1].iter);
    table_walk_piece(hand, &pieces[0]);
    if (split)
        table_walk_piece(hand, &pieces[1]);
    uint64_t met = 0;
    for (uint64_t id = 0; id < all_ids(map->run); id++)
        met += vbuf_u32_load_relaxed(&stamps[id]);
    STRESS_CHECK(met == slotmap_len(map->map), "an iteration met %" PRIu64 " of %zu", met,
                 slotmap_len(map->map));
    free(stamps);
}

/* Inserts until the map is full: exactly max_len fit (S5). How many it took. */
static size_t fill(struct table_map *map)
{
    struct table_run *run = map->run;
    size_t count = 0;
    for (;; count++) {
        struct stress_value value;
        slotmap_handle handle;
        uint64_t id = vbuf_u64_load_relaxed(&run->next);
        if (!STRESS_CHECK(id < all_ids(run), "more than max_len fit"))
            return count;
        vbuf_u64_store_relaxed(&run->next, id + 1);
        vbuf_u8_store_relaxed(&run->lives[id].map, (uint8_t)map->number);
        table_make(&value, id, 0);
        enum vbuf_status status = slotmap_insert(map->map, &value, &handle);
        if (status != VBUF_OK) {
            vbuf_u64_store_relaxed(&run->next, id); /* not used */
            STRESS_CHECK(status == VBUF_FULL, "nobody is here, and insert says %s",
                         vbuf_status_string(status));
            return count;
        }
        table_born(map, id, handle);
    }
}

/* Slots add up: those that were free are used before others are made, so none was lost. */
static void check_slots(struct table_map *map)
{
    struct slotmap_report before, after;
    slotmap_stats(map->map, &before);
    fill(map);
    slotmap_stats(map->map, &after);
    if (map->runs_out && after.len < map->max_len) {
        STRESS_CHECK(after.slots == after.exhausted + after.len,
                     "%zu slots, %zu used up, %zu live, and nothing fits", after.slots,
                     after.exhausted, after.len);
        return;
    }
    size_t need = after.len + after.exhausted, most = before.slots > need ? before.slots : need;
    STRESS_CHECK(after.len == map->max_len && after.limbo == 0, "full at %zu of %zu", after.len,
                 map->max_len);
    STRESS_CHECK(after.slots <= most + CHUNK,
                 "%zu live and %zu used up took %zu slots; there were %zu", after.len,
                 after.exhausted, after.slots, before.slots);
}

static void check_map(struct table_map *map, struct table_hand *hand)
{
    struct slotmap_report stats;
    uint64_t invalidated = vbuf_u64_load_relaxed(&map->invalidated);
    uint64_t released = vbuf_u64_load_relaxed(&map->released);
    STRESS_CHECK(invalidated == released, "%" PRIu64 " invalidated, %" PRIu64 " released",
                 invalidated, released);
    collect_all(map);
    if (stress_failed() || !in_order(map, &stats))
        return;
    iterate(map, hand);
    table_audit(map);
    if (!stress_failed())
        check_slots(map);
    if (!stress_failed())
        table_audit(map);
}

/* Destroys a map with values live, and others removed. */
static void end_map(struct table_map *map, struct check_rng *rng)
{
    struct table_run *run = map->run;
    for (uint64_t i = 0, end = vbuf_u64_load_relaxed(&run->next); i < 200; i++) {
        uint64_t id = stress_below(rng, end);
        slotmap_handle handle = {vbuf_u64_load_relaxed(&run->lives[id].handle)};
        if (vbuf_u8_load_relaxed(&run->lives[id].map) == map->number)
            table_remove_plainly(map, handle);
    }
    map->ending = true;
    slotmap_destroy(map->map);
    free(map->side);
}

/* ---- rounds ---- */

struct totals {
    uint64_t rounds, born, cancelled, invalidated, writes, walks, small_maps, most_small_maps;
    uint64_t refusals, busy, exhausted;
};

static void add_up(struct totals *totals, const struct table_run *run)
{
    totals->rounds++;
    totals->writes += vbuf_u64_load_relaxed(&run->writes);
    totals->walks += vbuf_u64_load_relaxed(&run->walks);
    totals->refusals += vbuf_u64_load_relaxed(&run->refusals);
    totals->busy += vbuf_u64_load_relaxed(&run->busy);
    totals->small_maps += vbuf_u64_load_relaxed(&run->small_maps);
    uint64_t most = vbuf_u64_load_relaxed(&run->most_small_maps);
    if (most > totals->most_small_maps)
        totals->most_small_maps = most;
    for (unsigned i = 0; i < TABLE_MAPS; i++) {
        struct slotmap_report stats;
        slotmap_stats(run->maps[i].map, &stats);
        totals->exhausted += stats.exhausted;
        totals->born += vbuf_u64_load_relaxed(&run->maps[i].born);
        totals->cancelled += vbuf_u64_load_relaxed(&run->maps[i].cancelled);
        totals->invalidated += vbuf_u64_load_relaxed(&run->maps[i].invalidated);
    }
}

/* Letters that nobody has taken, and then the checks. */
static void end_round(struct table_run *run, struct check_rng *rng)
{
    struct table_hand hand = {.run = run, .rng = rng};
    fault_clear();
    vbuf_u32_store_relaxed(&run->plenty, 1);
    do /* what we finish may in turn become a letter */
        table_finish(&hand);
    while (table_do_letter(&hand) && !stress_failed());
    vbuf_u32_store_relaxed(&run->calm, 1);
    vbuf_u64_store_relaxed(&run->next, run->room + 1); /* fill's ids come behind all others */
    stress_count(vbuf_u64_load_relaxed(&run->looks) + 1);
    for (unsigned i = 0; i < TABLE_MAPS && !stress_failed(); i++)
        check_map(&run->maps[i], &hand);
}

static void close_round(struct table_run *run, struct check_rng *rng)
{
    for (unsigned i = 0; i < TABLE_MAPS; i++)
        end_map(&run->maps[i], rng);
    table_audit_end(run);
    STRESS_CHECK(ebr_domain_destroy(run->domain) == VBUF_OK, "somebody is still pinned");
    free(run->lives);
}

void stress_slotmap_all(void)
{
    static struct table_run run;
    struct check_rng rng = stress_stream(0);
    unsigned threads = stress_threads(ROLES, TABLE_LEAST_THREADS);
    struct totals totals = {0};
    fault_clear();
    do {
        if (!begin_round(&run, &rng, threads))
            return;
        begin_faults(&run, &rng);
        stress_run(threads, take_part, &run);
        fault_clear();
        if (stress_failed())
            return;
        end_round(&run, &rng);
        if (stress_failed())
            return;
        add_up(&totals, &run);
        close_round(&run, &rng);
    } while (stress_going());
    stress_note("%" PRIu64 " rounds, %.2f M values, %" PRIu64 " cancelled, %" PRIu64
                " invalidated, %.2f M writes, %" PRIu64 " walks, %" PRIu64
                " slots used up, %" PRIu64 " small maps, %" PRIu64 " at once, %" PRIu64
                " refusals, %" PRIu64 " times busy",
                totals.rounds, (double)totals.born / 1e6, totals.cancelled, totals.invalidated,
                (double)totals.writes / 1e6, totals.walks, totals.exhausted, totals.small_maps,
                totals.most_small_maps, totals.refusals, totals.busy);
}
