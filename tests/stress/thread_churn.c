/*
 * thread_churn.c - threads come and go: S2, S6, E1, E3.
 *
 * Lanes of threads: as soon as one has ended, its lane starts the next, so that comings and goings
 * overlap. Each thread inserts some values, puts their handles where others find them, removes some
 * of its own and of others' (several may try the same: one wins), retires some objects, and exits
 * with half-full batches, with free slots of its own, sometimes pinned. The ledger knows what
 * became of every value. In the end nothing may be missing: neither a destructor, nor a slot, nor a
 * thread number.
 *
 * Once with room for all threads, once with room for few, so that most go through the shared words.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <inttypes.h>
#include <stdlib.h>

enum { OFFERS = 512, MOST_INSERTS = 150, MAX_LANES = STRESS_MAX_THREADS };

struct churn_run {
    struct ebr_domain *domain;
    struct slotmap *map;
    struct stress_ledger values;
    struct stress_ledger objects;
    struct vbuf_atomic_u64 offers[OFFERS]; /* handles for anybody to remove */
    struct vbuf_atomic_u32 alive;
    struct vbuf_atomic_u32 most_alive;
    struct vbuf_atomic_u64 busy;
    bool few; /* max_threads is smaller than the number of threads */
};

/* An object to retire. */
struct churn_object {
    struct ebr_entry entry;
    struct stress_ledger *ledger;
    uint64_t id;
};

struct churn_thread {
    struct churn_run *run;
    struct check_rng rng;
    pthread_t handle;
    bool started;
};

static void reclaim_object(struct ebr_entry *entry)
{
    struct churn_object *object = (struct churn_object *)(void *)entry;
    stress_ledger_destroyed(object->ledger, object->id);
    free(object);
}

static void retire_object(struct churn_run *run)
{
    uint64_t id;
    if (!stress_ledger_draw(&run->objects, &id))
        return;
    struct churn_object *object = malloc(sizeof *object);
    if (object == NULL)
        abort();
    *object = (struct churn_object){.ledger = &run->objects, .id = id};
    stress_ledger_inserted(&run->objects, id);
    stress_ledger_wanted(&run->objects, id);
    stress_ledger_removed(&run->objects, id);
    ebr_retire(run->domain, &object->entry, reclaim_object);
}

/* Tries to remove; whether somebody else was faster does not matter. */
static void remove_value(struct churn_run *run, struct check_rng *rng, slotmap_handle handle)
{
    struct stress_value copy;
    uint64_t ran = stress_destroyed_here;
    bool pinned = stress_chance(rng, 2);
    if (pinned) {
        slotmap_pin(run->map);
        const struct stress_value *value = slotmap_get(run->map, handle);
        if (value == NULL) {
            slotmap_unpin(run->map);
            return;
        }
        copy = *value;
    } else if (slotmap_read(run->map, handle, &copy) != VBUF_OK) {
        return;
    }
    if (STRESS_CHECK(copy.id < run->values.room && stress_value_intact(&copy, copy.id),
                     "a handle led to a value that is not whole")) {
        stress_ledger_wanted(&run->values, copy.id);
        stress_disturb(rng);
        void *value = NULL;
        enum vbuf_status status = slotmap_remove(run->map, handle, pinned ? &value : NULL);
        if (status == VBUF_OK)
            stress_ledger_removed(&run->values, copy.id);
        else
            STRESS_CHECK(status == VBUF_STALE, "remove says %s", vbuf_status_string(status));
        if (pinned && status == VBUF_OK)
            STRESS_CHECK(stress_value_intact(value, copy.id), "removed %" PRIu64 ", and it changed",
                         copy.id);
    }
    if (pinned)
        slotmap_unpin(run->map);
    STRESS_CHECK(stress_destroyed_here - ran <= 128, "one remove ran %" PRIu64 " destructors",
                 stress_destroyed_here - ran);
}

static bool insert_value(struct churn_run *run, slotmap_handle *handle)
{
    struct stress_value value;
    uint64_t id;
    if (!stress_ledger_draw(&run->values, &id))
        return false;
    stress_value_make(&value, id);
    uint64_t ran = stress_destroyed_here;
    enum vbuf_status status = slotmap_insert(run->map, &value, handle);
    STRESS_CHECK(stress_destroyed_here - ran <= 128, "one insert ran %" PRIu64 " destructors",
                 stress_destroyed_here - ran);
    if (status == VBUF_OK) {
        stress_ledger_inserted(&run->values, id);
        return true;
    }
    /* Busy: too much waits for threads that are pinned and not running. */
    STRESS_CHECK(status == VBUF_BUSY, "insert says %s", vbuf_status_string(status));
    vbuf_u64_fetch_add_relaxed(&run->busy, 1);
    return false;
}

static void remove_offered(struct churn_run *run, struct check_rng *rng)
{
    slotmap_handle handle = {vbuf_u64_load_relaxed(&run->offers[stress_below(rng, OFFERS)])};
    if (handle.bits != 0)
        remove_value(run, rng, handle);
}

/* Offers the handle; what it displaces, and nobody has removed yet, is ours to remove. */
static void offer(struct churn_run *run, struct check_rng *rng, slotmap_handle handle)
{
    struct vbuf_atomic_u64 *place = &run->offers[stress_below(rng, OFFERS)];
    uint64_t seen = vbuf_u64_load_relaxed(place);
    while (!vbuf_u64_cas_acquire(place, &seen, handle.bits)) {
    }
    if (seen != 0)
        remove_value(run, rng, (slotmap_handle){seen});
}

static void insert_and_remove(struct churn_run *run, struct check_rng *rng)
{
    static const unsigned amounts[] = {0, 1, 3, 20, 64, MOST_INSERTS};
    slotmap_handle kept[MOST_INSERTS];
    unsigned count = 0;
    unsigned inserts = amounts[stress_below(rng, sizeof amounts / sizeof amounts[0])];
    for (unsigned i = 0; i < inserts && !stress_failed(); i++) {
        slotmap_handle handle;
        if (!insert_value(run, &handle))
            break;
        if (stress_chance(rng, 3))
            kept[count++] = handle;
        else
            offer(run, rng, handle);
        if (stress_chance(rng, 4))
            remove_offered(run, rng);
    }
    if (stress_chance(rng, 2)) /* now and then long enough for others to come and go */
        stress_sleep((int64_t)stress_below(rng, 1000000));
    while (count > 0) {
        slotmap_handle handle = kept[--count];
        if (stress_chance(rng, 2))
            remove_value(run, rng, handle);
        else
            offer(run, rng, handle);
    }
}

static void *live(void *context)
{
    struct churn_thread *self = context;
    struct churn_run *run = self->run;
    vbuf_u32_max_release(&run->most_alive, vbuf_u32_fetch_add_relaxed(&run->alive, 1) + 1);
    if (stress_chance(&self->rng, 2)) {
        enum vbuf_status status = ebr_attach(run->domain);
        STRESS_CHECK(status == VBUF_OK || (run->few && status == VBUF_FULL),
                     "attach says %s: numbers are not given back", vbuf_status_string(status));
    }
    insert_and_remove(run, &self->rng);
    for (uint64_t i = stress_below(&self->rng, 12); i > 0; i--)
        retire_object(run);
    if (stress_chance(&self->rng, 16))
        slotmap_collect(run->map);
    if (stress_chance(&self->rng, 16))
        ebr_collect(run->domain);
    if (stress_chance(&self->rng, 8))
        ebr_detach(run->domain);
    /* A thread that has a record may exit pinned: that ends its pins. */
    if (stress_chance(&self->rng, 8) && ebr_attach(run->domain) == VBUF_OK)
        ebr_pin(run->domain);
    vbuf_u32_fetch_add_relaxed(&run->alive, UINT32_MAX);
    return NULL;
}

static void churn(struct churn_run *run, unsigned lanes, uint64_t lives, uint64_t stream)
{
    static struct churn_thread threads[MAX_LANES];
    for (unsigned i = 0; i < lanes; i++)
        threads[i] = (struct churn_thread){.run = run};
    for (uint64_t life = 0; life < lives && !stress_failed(); life++) {
        struct churn_thread *next = &threads[life % lanes];
        if (next->started)
            pthread_join(next->handle, NULL);
        next->rng = stress_stream(stream << 32 | life);
        next->started = true;
        stress_spawn(&next->handle, live, next);
        stress_count(1);
    }
    for (unsigned i = 0; i < lanes; i++) {
        if (threads[i].started)
            pthread_join(threads[i].handle, NULL);
    }
}

/* Nothing was lost: max_len values fit, and not one more. */
static void fill(struct churn_run *run, size_t max_len)
{
    struct stress_value value;
    slotmap_handle handle;
    stress_value_make(&value, 0);
    for (size_t len = slotmap_len(run->map); len < max_len; len++) {
        uint64_t id;
        if (!STRESS_CHECK(stress_ledger_draw(&run->values, &id), "the ledger is too small"))
            return;
        stress_value_make(&value, id);
        enum vbuf_status status = slotmap_insert(run->map, &value, &handle);
        if (!STRESS_CHECK(status == VBUF_OK, "slots are lost: with %zu of %zu live insert says %s",
                          len, max_len, vbuf_status_string(status)))
            return;
        stress_ledger_inserted(&run->values, id);
    }
    enum vbuf_status status = slotmap_insert(run->map, &value, &handle);
    STRESS_CHECK(status == VBUF_FULL, "one more than max_len: insert says %s",
                 vbuf_status_string(status));
}

/*
 * Slots are made when none is free and limbo is within its limit, so there are no more than fit
 * into the map, into limbo, and into the caches of the threads there were at once; unless exits
 * lose some.
 */
static void check_slots(const struct slotmap_report *stats, unsigned lanes)
{
    size_t most = stats->max_len + stats->max_limbo + (size_t)(lanes + 1) * 128;
    STRESS_CHECK(stats->slots <= most, "%zu slots were made; what exits left is not used again",
                 stats->slots);
}

static void check_sums(struct churn_run *run, unsigned lanes)
{
    struct slotmap_report stats;
    struct stress_sums sums = stress_ledger_audit(&run->values);
    slotmap_stats(run->map, &stats);
    STRESS_CHECK(stats.inserted == sums.inserted && stats.removed == sums.removed &&
                     stats.destroyed == sums.destroyed,
                 "stats say %" PRIu64 " inserted, %" PRIu64 " removed, %" PRIu64
                 " destroyed; it was %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                 stats.inserted, stats.removed, stats.destroyed, sums.inserted, sums.removed,
                 sums.destroyed);
    STRESS_CHECK(stats.len == sums.inserted - sums.removed, "%zu live, should be %" PRIu64,
                 stats.len, sums.inserted - sums.removed);
    STRESS_CHECK(stats.limbo == 0, "%zu left in limbo, and nobody is here", stats.limbo);
    STRESS_CHECK(stats.domain.threads <= 1 && stats.domain.overflow_pins == 0,
                 "%" PRIu32 " threads and %" PRIu32 " pins are left of those that exited",
                 stats.domain.threads, stats.domain.overflow_pins);
    STRESS_CHECK(stats.domain.retired == stats.domain.reclaimed,
                 "%" PRIu64 " objects retired, %" PRIu64 " reclaimed", stats.domain.retired,
                 stats.domain.reclaimed);
    stress_ledger_audit(&run->objects);
    check_slots(&stats, lanes);
}

static void run_churn(uint64_t lives, uint32_t domain_threads, uint32_t map_threads,
                      uint64_t stream)
{
    static struct churn_run run;
    run = (struct churn_run){.few = map_threads != 0};
    unsigned lanes = stress_threads(64, 2);
    size_t max_len = OFFERS + (size_t)(lanes + 1) * (MOST_INSERTS + 1);
    stress_ledger_open(&run.values, lives * MOST_INSERTS + max_len + 1);
    stress_ledger_open(&run.objects, lives * 12);
    struct ebr_options domain_options = {.max_threads = domain_threads};
    if (!STRESS_CHECK(ebr_domain_create(&run.domain, &domain_options) == VBUF_OK, "create"))
        return;
    struct slotmap_options options = {.value_size = sizeof(struct stress_value),
                                      .max_len = max_len,
                                      .max_limbo = 4096,
                                      .domain = run.domain,
                                      .max_threads = map_threads,
                                      .destroy = stress_destroy_value,
                                      .context = &run.values};
    if (!STRESS_CHECK(slotmap_create(&run.map, &options) == VBUF_OK, "create"))
        return;
    churn(&run, lanes, lives, stream);
    slotmap_collect(run.map);
    ebr_collect(run.domain);
    if (!stress_failed())
        check_sums(&run, lanes);
    if (!stress_failed())
        fill(&run, max_len);
    stress_note("%" PRIu64 " threads, %" PRIu32 " at once, %.1f M values, %" PRIu64 " busy", lives,
                vbuf_u32_load_relaxed(&run.most_alive),
                (double)vbuf_u64_load_relaxed(&run.values.next) / 1e6,
                vbuf_u64_load_relaxed(&run.busy));
    stress_ledger_ending(&run.values);
    slotmap_destroy(run.map);
    stress_ledger_audit_end(&run.values);
    STRESS_CHECK(ebr_domain_destroy(run.domain) == VBUF_OK, "somebody is still pinned");
    stress_ledger_audit_end(&run.objects);
    stress_ledger_close(&run.values);
    stress_ledger_close(&run.objects);
}

void stress_thread_churn(void)
{
    uint64_t lives =
        stress_threads(64, 2) * (stress.tries != 0 ? stress.tries : stress_amount(1000, 100));
    run_churn(lives, 0, 0, 1);
    if (!stress_failed())
        run_churn(lives / 4, 8, 4, 2);
}
