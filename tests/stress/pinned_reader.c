/*
 * pinned_reader.c - E4, S3, S5: a reader that stays pinned while others churn.
 *
 * The reader gets values, which are removed at once, and looks at them until the end. The others insert and remove
 * until limbo is past max_limbo and insert says VBUF_BUSY; then they go on with everything else, and each of
 * their calls returns. Meanwhile the figures tell how much waits, and name the reader. When it unpins, the next
 * insert works, and a collect leaves nothing.
 *
 * In every other round the others are still at it when the reader unpins.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "stress.h"

#include <inttypes.h>

#include "team.h"

enum { HELD = 16, WINDOW = 24, MAX_LIMBO = 4096, LEAST_CALLS = 2000, CHUNK = 64 };

struct reader_run {
    struct slotmap *map;
    unsigned threads;
    slotmap_handle held[HELD]; /* written before the reader starts */
    struct gate pinned;        /* the reader holds them */
    struct gate enough;        /* it may unpin */
    struct gate unpinned;
    struct vbuf_atomic_u64 reader_thread; /* the system's number */
    struct vbuf_atomic_u32 over;
    struct vbuf_atomic_u32
        crowded; /* threads that have been told VBUF_BUSY and done enough since */
    struct vbuf_atomic_u64 inserted, removed, destroyed, busy, looks;
};

/* Relaxed counters, so that they order nothing. */
static void add(struct vbuf_atomic_u64 *counter, uint64_t amount)
{
    vbuf_u64_fetch_add_relaxed(counter, amount);
}

static uint64_t value_of(const struct vbuf_atomic_u64 *counter)
{
    return vbuf_u64_load_relaxed(counter);
}

static void destroy(void *context, void *value)
{
    struct reader_run *run = context;
    struct stress_value *own = value;
    STRESS_CHECK(stress_value_intact(own, own->id), "value %" PRIx64 " was not whole at its end",
                 own->id);
    stress_value_poison(own);
    add(&run->destroyed, 1);
}

/* ---- the reader ---- */

static void *read_on(void *context)
{
    struct reader_run *run = context;
    const struct stress_value *values[HELD];
    vbuf_u64_store_relaxed(&run->reader_thread, team_thread_id());
    slotmap_pin(run->map);
    for (uint64_t i = 0; i < HELD; i++) {
        values[i] = slotmap_get(run->map, run->held[i]);
        if (!STRESS_CHECK(values[i] != NULL, "a live value is not found"))
            break;
    }
    gate_open(&run->pinned);
    while (!gate_is_open(&run->enough) && !stress_failed()) {
        for (uint64_t i = 0; i < HELD; i++)
            STRESS_CHECK(stress_value_intact(values[i], i),
                         "value %" PRIu64 " changed under a long pin", i);
        add(&run->looks, HELD);
        stress_sleep(200000);
    }
    slotmap_unpin(run->map);
    gate_open(&run->unpinned);
    return NULL;
}

/* ---- the others ---- */

struct churner {
    struct reader_run *run;
    struct check_rng *rng;
    slotmap_handle window[WINDOW];
    uint64_t serial, calls, calls_since_busy;
    bool busy, told;
};

static void insert_one(struct churner *churner, slotmap_handle *place)
{
    struct reader_run *run = churner->run;
    struct stress_value value;
    stress_value_make(&value, ++churner->serial << 8 | 255);
    enum vbuf_status status = slotmap_insert(run->map, &value, place);
    if (status == VBUF_OK) {
        add(&run->inserted, 1);
        return;
    }
    place->bits = 0;
    STRESS_CHECK(status == VBUF_BUSY, "insert says %s", vbuf_status_string(status));
    add(&run->busy, 1);
    churner->busy = true;
}

/* Everything but inserting goes on as ever. */
static void use_one(struct churner *churner, slotmap_handle *place)
{
    struct reader_run *run = churner->run;
    slotmap_handle handle = *place;
    struct stress_value value;
    STRESS_CHECK(slotmap_read(run->map, handle, &value) == VBUF_OK &&
                     stress_value_intact(&value, value.id),
                 "a live value cannot be read");
    slotmap_pin(run->map);
    const struct stress_value *found = slotmap_get(run->map, handle);
    STRESS_CHECK(found != NULL && stress_value_intact(found, value.id), "a live value is lost");
    slotmap_unpin(run->map);
    if (churner->busy && stress_chance(churner->rng, 2))
        return;
    STRESS_CHECK(slotmap_remove(run->map, handle, NULL) == VBUF_OK, "a live value is lost");
    STRESS_CHECK(!slotmap_contains(run->map, handle), "%" PRIx64 " resolves", handle.bits);
    place->bits = 0;
    add(&run->removed, 1);
}

static void churn(struct stress_thread *self)
{
    struct reader_run *run = self->context;
    struct churner churner = {.run = run, .rng = &self->rng};
    while (!vbuf_u32_load_relaxed(&run->over) && !stress_failed()) {
        slotmap_handle *place = &churner.window[stress_below(&self->rng, WINDOW)];
        if (place->bits == 0)
            insert_one(&churner, place);
        else
            use_one(&churner, place);
        churner.calls++;
        if (churner.busy && ++churner.calls_since_busy == LEAST_CALLS)
            vbuf_u32_fetch_add_relaxed(&run->crowded, 1);
        if (churner.calls % 256 == 0 || churner.calls_since_busy > 4 * LEAST_CALLS)
            stress_disturb(&self->rng);
        if (churner.calls_since_busy > 4 * LEAST_CALLS)
            stress_sleep(1000000); /* it has shown what there is to show */
    }
}

/* ---- the figures ---- */

static void check_figures(struct reader_run *run, size_t *before)
{
    struct slotmap_report stats;
    slotmap_stats(run->map, &stats);
    STRESS_CHECK(stats.limbo >= *before, "%zu waited, now %zu, and the reader is pinned", *before,
                 stats.limbo);
    STRESS_CHECK(stats.destroyed == 0 && value_of(&run->destroyed) == 0,
                 "%" PRIu64 " were destroyed, and the reader is pinned since before",
                 stats.destroyed);
    uint64_t reader = value_of(&run->reader_thread), stalled = stats.domain.stalled_thread;
    /* Others are behind for a moment, but not as far. */
    if (stats.limbo > stats.max_limbo)
        STRESS_CHECK(stalled == reader, "thread %" PRIu64 " is pinned, the figures name %" PRIu64,
                     reader, stalled);
    /* What can come on top: values that were live, and slots made already, a chunk or so a thread. */
    STRESS_CHECK(stats.limbo <= stats.max_limbo + stats.max_len + (run->threads + 2) * 2 * CHUNK,
                 "%zu wait, and %zu may", stats.limbo, stats.max_limbo);
    *before = stats.limbo;
}

/* Until the time is over and everybody has run against the limit. */
static void wait_for_crowd(struct reader_run *run)
{
    size_t limbo = 0;
    uint64_t calls = 0;
    while (!stress_failed() &&
           (stress_going() || vbuf_u32_load_relaxed(&run->crowded) < run->threads)) {
        check_figures(run, &limbo);
        uint64_t now = value_of(&run->inserted) + value_of(&run->removed) + value_of(&run->busy);
        stress_count(now - calls);
        calls = now;
        stress_sleep(2000000);
    }
    struct slotmap_report stats;
    slotmap_stats(run->map, &stats);
    STRESS_CHECK(stats.limbo > stats.max_limbo && value_of(&run->busy) > 0,
                 "insert was busy %" PRIu64 " times with %zu of %zu in limbo", value_of(&run->busy),
                 stats.limbo, stats.max_limbo);
}

/* ---- before and after ---- */

static bool begin(struct reader_run *run, bool own_domain, struct ebr_domain *domain)
{
    *run = (struct reader_run){.threads = stress_threads(4, 1)};
    struct slotmap_options options = {.value_size = sizeof(struct stress_value),
                                      .max_len = (size_t)run->threads * WINDOW + HELD + 1,
                                      .max_limbo = MAX_LIMBO,
                                      .domain = own_domain ? NULL : domain,
                                      .max_threads = run->threads + 2,
                                      .destroy = destroy,
                                      .context = run};
    if (!STRESS_CHECK(slotmap_create(&run->map, &options) == VBUF_OK, "create"))
        return false;
    for (uint64_t i = 0; i < HELD; i++) {
        struct stress_value value;
        stress_value_make(&value, i);
        if (!STRESS_CHECK(slotmap_insert(run->map, &value, &run->held[i]) == VBUF_OK, "insert"))
            return false;
        add(&run->inserted, 1);
    }
    return true;
}

/* With nobody pinned and nobody in the middle of a call, there is room at once. */
static void insert_at_once(struct reader_run *run)
{
    struct stress_value value;
    stress_value_make(&value, 255);
    enum vbuf_status status = slotmap_insert(run->map, &value, NULL);
    STRESS_CHECK(status == VBUF_OK, "nobody is pinned any more, and insert says %s",
                 vbuf_status_string(status));
    add(&run->inserted, 1);
}

/* With the others at it, inserts work again before long. */
static void wait_for_inserts(struct reader_run *run)
{
    uint64_t before = value_of(&run->inserted);
    for (unsigned round = 0; value_of(&run->inserted) < before + 100 && !stress_failed();)
        if (!stress_wait(&round))
            stress_fail("nobody is pinned any more, and nothing is inserted");
}

static void check_end(struct reader_run *run)
{
    slotmap_collect(run->map);
    struct slotmap_report stats;
    slotmap_stats(run->map, &stats);
    uint64_t removed = value_of(&run->removed);
    STRESS_CHECK(stats.limbo == 0 && value_of(&run->destroyed) == removed,
                 "removed %" PRIu64 ", destroyed %" PRIu64 ", %zu wait", removed,
                 value_of(&run->destroyed), stats.limbo);
    STRESS_CHECK(stats.domain.stalled_thread == 0 &&
                     stats.len == value_of(&run->inserted) - removed,
                 "%zu live; thread %" PRIu64 " is named", stats.len, stats.domain.stalled_thread);
    slotmap_destroy(run->map);
    STRESS_CHECK(value_of(&run->destroyed) == value_of(&run->inserted),
                 "inserted %" PRIu64 ", destroyed %" PRIu64, value_of(&run->inserted),
                 value_of(&run->destroyed));
}

static bool one_reader(struct reader_run *run, struct ebr_domain *domain, unsigned round)
{
    struct stress_crew crew;
    pthread_t reader;
    bool leave_first = round % 2 == 0;
    if (!begin(run, round % 4 < 2, domain))
        return false;
    stress_spawn(&reader, read_on, run);
    gate_wait(&run->pinned);
    for (unsigned i = 0; i < HELD && !stress_failed(); i++) {
        STRESS_CHECK(slotmap_remove(run->map, run->held[i], NULL) == VBUF_OK, "remove");
        add(&run->removed, 1);
    }
    stress_crew_start(&crew, run->threads, churn, run);
    wait_for_crowd(run);
    if (leave_first) {
        vbuf_u32_store_relaxed(&run->over, 1);
        stress_crew_join(&crew);
    }
    gate_open(&run->enough);
    gate_wait(&run->unpinned);
    if (leave_first) {
        insert_at_once(run);
    } else {
        wait_for_inserts(run);
        vbuf_u32_store_relaxed(&run->over, 1);
        stress_crew_join(&crew);
    }
    pthread_join(reader, NULL);
    if (!stress_failed())
        check_end(run);
    return !stress_failed();
}

void stress_pinned_reader(void)
{
    static struct reader_run run;
    enum { ROUNDS = 4 };
    uint64_t looks = 0, busy = 0, calls = 0;
    struct ebr_domain *domain;
    if (!STRESS_CHECK(ebr_domain_create(&domain, NULL) == VBUF_OK, "create a domain"))
        return;
    for (unsigned round = 0; round < ROUNDS; round++) {
        stress_part(1.0 / ROUNDS);
        if (!one_reader(&run, domain, round))
            return;
        looks += value_of(&run.looks);
        busy += value_of(&run.busy);
        calls += value_of(&run.inserted) + value_of(&run.removed);
    }
    STRESS_CHECK(ebr_domain_destroy(domain) == VBUF_OK, "somebody is still pinned");
    stress_note("%d pins of %.1f s, %" PRIu64 " looks, insert was busy %" PRIu64 " times, %" PRIu64
                " inserts and removes",
                ROUNDS, stress.seconds / ROUNDS, looks, busy, calls);
}
