/*
 * capacity.c - S5 and S9: max_len live values always fit, and never one more.
 *
 * Maps of one to two hundred values and threads that want more than that, or nearly as much, or
 * together less. Two bounds, both on the safe side, frame what is live: `below` counts a value from
 * after its insert to before its remove, so it may never pass max_len; the other counts from before
 * the insert to after the remove, so insert may say VBUF_FULL only if that one reached max_len
 * during the call.
 *
 * In the end half of the threads exit and the others go to sleep, all of them with slots and room
 * of their own; then a collect must find all that was removed, and max_len values must fit all the
 * same.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <inttypes.h>

enum { MOST_HELD = 128, MOST_LEN = 200 };

struct capacity_run {
    struct slotmap *map;
    size_t max_len;
    unsigned hold; /* how many values a thread keeps at most */
    bool collects; /* before the last fill */
    int64_t until;
    struct vbuf_atomic_u64 below;   /* live at least */
    struct vbuf_atomic_u64 started; /* inserts begun */
    struct vbuf_atomic_u64 refused; /* inserts ended without success */
    struct vbuf_atomic_u64 removed; /* removes ended */
    struct vbuf_atomic_u64 late;    /* inserts by sleepers that woke up */
    struct vbuf_atomic_u64 full;    /* how often a map was full */
    struct vbuf_atomic_u64 busy;
    pthread_barrier_t everybody; /* all threads and main */
    pthread_barrier_t sleepers;  /* those that stay and main */
};

/*
 * One insert, and whether its answer is right. The counters are read and changed by acq_rel adds:
 * each figure must really be from before the call, or from after.
 */
static enum vbuf_status insert_one(struct capacity_run *run, slotmap_handle *handle)
{
    uint64_t value = 1;
    uint64_t refused = vbuf_u64_fetch_add_acq_rel(&run->refused, 0);
    uint64_t removed = vbuf_u64_fetch_add_acq_rel(&run->removed, 0);
    vbuf_u64_fetch_add_acq_rel(&run->started, 1);
    enum vbuf_status status = slotmap_insert(run->map, &value, handle);
    uint64_t started = vbuf_u64_fetch_add_acq_rel(&run->started, 0);
    if (status == VBUF_OK) {
        uint64_t live = vbuf_u64_fetch_add_acq_rel(&run->below, 1) + 1;
        STRESS_CHECK(live <= run->max_len, "%" PRIu64 " values are live in a map of %zu", live,
                     run->max_len);
        return status;
    }
    uint64_t others = started - refused - removed - 1; /* live or being inserted, at most */
    if (status == VBUF_FULL)
        STRESS_CHECK(others >= run->max_len,
                     "full, and at most %" PRIu64 " of %zu were live or being inserted", others,
                     run->max_len);
    else
        STRESS_CHECK(status == VBUF_BUSY, "insert says %s", vbuf_status_string(status));
    vbuf_u64_fetch_add_acq_rel(&run->refused, 1);
    vbuf_u64_fetch_add_relaxed(status == VBUF_FULL ? &run->full : &run->busy, 1);
    return status;
}

static void remove_one(struct capacity_run *run, slotmap_handle handle)
{
    vbuf_u64_fetch_add_acq_rel(&run->below, UINT64_MAX);
    enum vbuf_status status = slotmap_remove(run->map, handle, NULL);
    STRESS_CHECK(status == VBUF_OK, "remove says %s", vbuf_status_string(status));
    vbuf_u64_fetch_add_acq_rel(&run->removed, 1);
}

/* Inserts and removes around the limit; returns with nothing held. */
static void churn(struct capacity_run *run, struct check_rng *rng, uint64_t rounds)
{
    slotmap_handle held[MOST_HELD];
    unsigned count = 0;
    unsigned waited = 0;
    for (uint64_t i = 0; i < rounds && !stress_failed(); i++) {
        bool insert = count == 0 || (count < run->hold && stress_chance(rng, 2));
        if (insert) {
            enum vbuf_status status = insert_one(run, &held[count]);
            count += status == VBUF_OK;
            if (status == VBUF_OK)
                waited = 0;
            if (status == VBUF_BUSY) {
                slotmap_collect(run->map);
                if (!stress_wait(&waited))
                    stress_fail("insert stays busy for ten seconds");
            }
        } else {
            unsigned which = (unsigned)stress_below(rng, count);
            remove_one(run, held[which]);
            held[which] = held[--count];
        }
        stress_disturb(rng);
    }
    while (count > 0)
        remove_one(run, held[--count]);
}

/* What all threads do first; ends with everybody holding slots, room and an open batch. */
static void use(struct stress_thread *self)
{
    struct capacity_run *run = self->context;
    while (stress_now() < run->until && !stress_failed()) {
        churn(run, &self->rng, 256);
        stress_count(256);
    }
    pthread_barrier_wait(&run->everybody);
    slotmap_collect(run->map); /* nobody is pinned: this thread's limbo is empty now */
    churn(run, &self->rng, 48);
    pthread_barrier_wait(&run->everybody);
}

static void use_and_sleep(struct stress_thread *self)
{
    struct capacity_run *run = self->context;
    slotmap_handle handle;
    use(self);
    pthread_barrier_wait(&run->sleepers); /* main fills the map meanwhile */
    if (!stress_failed())
        STRESS_CHECK(insert_one(run, &handle) == VBUF_FULL, "insert into a full map");
    pthread_barrier_wait(&run->sleepers);
    pthread_barrier_wait(&run->sleepers); /* main removes one */
    for (unsigned round = 0; !stress_failed() && vbuf_u64_load_relaxed(&run->late) == 0;) {
        if (insert_one(run, &handle) == VBUF_OK)
            vbuf_u64_fetch_add_relaxed(&run->late, 1);
        else if (!stress_wait(&round))
            stress_fail("one value was removed, and none fits for ten seconds");
    }
}

/* The others sleep, or have exited: what they removed does not wait for them (S9). */
static void collect_all(struct capacity_run *run)
{
    struct slotmap_report stats;
    slotmap_collect(run->map);
    slotmap_stats(run->map, &stats);
    STRESS_CHECK(stats.limbo == 0 && stats.len == 0,
                 "others sleep, and %zu values are live, %zu in limbo after a collect", stats.len,
                 stats.limbo);
}

/* Fills the map from empty, whatever others cache; `last` is a handle that lives. */
static void fill(struct capacity_run *run, slotmap_handle *last)
{
    for (size_t len = 0; len < run->max_len && !stress_failed(); len++) {
        enum vbuf_status status = insert_one(run, last);
        STRESS_CHECK(status == VBUF_OK, "others sleep, with %zu of %zu live insert says %s", len,
                     run->max_len, vbuf_status_string(status));
    }
    slotmap_handle none;
    if (!stress_failed())
        STRESS_CHECK(insert_one(run, &none) == VBUF_FULL, "insert past max_len");
    STRESS_CHECK(slotmap_len(run->map) == run->max_len, "%zu live, should be %zu",
                 slotmap_len(run->map), run->max_len);
}

static void run_threads(struct capacity_run *run, unsigned leaving, unsigned staying)
{
    static struct stress_crew leavers;
    static struct stress_crew stayers;
    slotmap_handle last = {0};
    pthread_barrier_init(&run->everybody, NULL, leaving + staying + 1);
    pthread_barrier_init(&run->sleepers, NULL, staying + 1);
    stress_crew_start(&leavers, leaving, use, run);
    stress_crew_start(&stayers, staying, use_and_sleep, run);
    pthread_barrier_wait(&run->everybody);
    pthread_barrier_wait(&run->everybody);
    stress_crew_join(&leavers);
    if (run->collects && !stress_failed())
        collect_all(run);
    fill(run, &last);
    pthread_barrier_wait(&run->sleepers);
    pthread_barrier_wait(&run->sleepers);
    if (!stress_failed())
        remove_one(run, last);
    pthread_barrier_wait(&run->sleepers);
    stress_crew_join(&stayers);
    STRESS_CHECK(stress_failed() || slotmap_len(run->map) == run->max_len,
                 "one removed and one inserted: %zu live in a map of %zu", slotmap_len(run->map),
                 run->max_len);
    pthread_barrier_destroy(&run->everybody);
    pthread_barrier_destroy(&run->sleepers);
}

static void choose(struct capacity_run *run, struct check_rng *rng, unsigned threads)
{
    static const size_t lens[] = {1, 2, 3, 16, 63, 64, 65, 100, 128, MOST_LEN};
    run->max_len = lens[stress_below(rng, sizeof lens / sizeof lens[0])];
    /* Together: twice what fits, just too much, or less. */
    size_t wanted = run->max_len * 2;
    if (stress_chance(rng, 3))
        wanted = run->max_len + threads;
    else if (stress_chance(rng, 2))
        wanted = run->max_len > threads * 2 ? run->max_len - threads : threads;
    run->hold = (unsigned)(wanted / threads);
    if (run->hold < 1)
        run->hold = 1;
    if (run->hold > MOST_HELD)
        run->hold = MOST_HELD;
}

static void one_map(struct check_rng *rng, uint64_t totals[2])
{
    static struct capacity_run run;
    run = (struct capacity_run){0};
    unsigned threads = stress_threads(2 + (unsigned)stress_below(rng, 11), 2);
    choose(&run, rng, threads);
    run.collects = stress_chance(rng, 2);
    run.until = stress_now() + 20000000 + (int64_t)stress_below(rng, 100000000);
    struct slotmap_options options = {.value_size = sizeof(uint64_t),
                                      .max_len = run.max_len,
                                      .max_limbo = 4096 + threads * 128,
                                      .max_threads = stress_chance(rng, 3) ? 2 : 0};
    if (!STRESS_CHECK(slotmap_create(&run.map, &options) == VBUF_OK, "create"))
        return;
    run_threads(&run, threads / 2, threads - threads / 2);
    totals[0] += vbuf_u64_load_relaxed(&run.full);
    totals[1] += vbuf_u64_load_relaxed(&run.busy);
    slotmap_destroy(run.map);
}

void stress_capacity(void)
{
    struct check_rng rng = stress_stream(0);
    uint64_t totals[2] = {0, 0};
    uint64_t maps = 0;
    do {
        one_map(&rng, totals);
        maps++;
    } while (stress_going());
    stress_note("%" PRIu64 " maps, %" PRIu64 " times full, %" PRIu64 " busy", maps, totals[0],
                totals[1]);
}
