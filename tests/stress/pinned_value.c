/*
 * pinned_value.c - S3: a value got under a pin stays intact until the unpin.
 *
 * Readers take handles from a small table, and look at what they get again and again under short,
 * long and nested pins. Removers replace what the table names: fast ones in a loop, collecting now
 * and then so that the epoch moves; slow ones a value at a time with pauses between, so that their
 * batches of removed slots stay open over many epochs (a batch tagged too early frees its last
 * values under readers). The destructor poisons the value, so one look too late shows.
 *
 * The table passes handles without ordering anything: what is in a value must be visible to whoever
 * finds it by its handle, however it came by that.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <inttypes.h>
#include <sched.h>

enum { TABLE = 64, MAX_LIMBO = 4096 };

struct pinned_run {
    struct slotmap *map;
    struct vbuf_atomic_u64 table[TABLE];
    struct vbuf_atomic_u64 inserted;
    struct vbuf_atomic_u64 removed;
    struct vbuf_atomic_u64 destroyed;
    struct vbuf_atomic_u64 looks;
};

static void destroy(void *context, void *value)
{
    struct pinned_run *run = context;
    struct stress_value *own = value;
    STRESS_CHECK(stress_value_intact(own, own->id), "value %" PRIx64 " was not whole at its end",
                 own->id);
    stress_value_poison(own);
    vbuf_u64_fetch_add_relaxed(&run->destroyed, 1);
}

static slotmap_handle pick(struct pinned_run *run, struct check_rng *rng)
{
    /* Relaxed: the handle is just a number; get must do the ordering. */
    slotmap_handle handle = {vbuf_u64_load_relaxed(&run->table[stress_below(rng, TABLE)])};
    return handle;
}

/* Looks `looks` times, with pauses; the caller is pinned and has just got the value. */
static bool look(const struct stress_value *value, unsigned looks, struct check_rng *rng)
{
    uint64_t id = value->id;
    for (unsigned i = 0; i < looks; i++) {
        if (!STRESS_CHECK(stress_value_intact(value, id),
                          "value %" PRIu64 " changed under a pin, seen at look %u of %u", id, i,
                          looks))
            return false;
        stress_disturb(rng);
    }
    return true;
}

static void read_short(struct pinned_run *run, struct check_rng *rng)
{
    slotmap_pin(run->map);
    const struct stress_value *value = slotmap_get(run->map, pick(run, rng));
    if (value != NULL)
        look(value, 1 + (unsigned)stress_below(rng, 3), rng);
    slotmap_unpin(run->map);
}

/* Several values under one pin, with inner pins that end while the outer goes on. */
static void read_long(struct pinned_run *run, struct check_rng *rng)
{
    enum { HELD = 8 };
    const struct stress_value *held[HELD];
    uint64_t ids[HELD];
    unsigned count = 0;
    slotmap_pin(run->map);
    for (unsigned i = 0; i < HELD; i++) {
        slotmap_pin(run->map);
        const struct stress_value *value = slotmap_get(run->map, pick(run, rng));
        if (value != NULL) {
            held[count] = value;
            ids[count++] = value->id;
            look(value, 2, rng);
        }
        slotmap_unpin(run->map);
        sched_yield();
    }
    unsigned rounds = (unsigned)stress_below(rng, 16);
    for (unsigned i = 0; i < rounds && !stress_failed(); i++) {
        for (unsigned j = 0; j < count; j++)
            STRESS_CHECK(stress_value_intact(held[j], ids[j]),
                         "value %" PRIu64 " changed under a long pin", ids[j]);
        stress_sleep((int64_t)stress_below(rng, 50000));
    }
    slotmap_unpin(run->map);
}

static void read_values(struct stress_thread *self)
{
    struct pinned_run *run = self->context;
    struct stress_value copy;
    uint64_t looks = 0;
    while (stress_going()) {
        for (unsigned i = 0; i < 64; i++)
            read_short(run, &self->rng);
        if (slotmap_read(run->map, pick(run, &self->rng), &copy) == VBUF_OK)
            STRESS_CHECK(stress_value_intact(&copy, copy.id),
                         "read copied a value that is not whole");
        if (stress_chance(&self->rng, 8))
            read_long(run, &self->rng);
        looks += 64;
        stress_count(64);
    }
    vbuf_u64_fetch_add_relaxed(&run->looks, looks);
}

/* Puts a new value in a place of the table; the handle that was there comes back. */
static bool replace(struct pinned_run *run, struct stress_thread *self, uint64_t *serial,
                    slotmap_handle *old)
{
    struct stress_value value;
    stress_value_make(&value, (uint64_t)(self->id + 1) << 40 | ++*serial);
    slotmap_handle handle;
    enum vbuf_status status = slotmap_insert(run->map, &value, &handle);
    if (status != VBUF_OK) {
        STRESS_CHECK(status == VBUF_BUSY, "insert says %s", vbuf_status_string(status));
        slotmap_collect(run->map);
        sched_yield();
        return false;
    }
    vbuf_u64_fetch_add_relaxed(&run->inserted, 1);
    struct vbuf_atomic_u64 *place = &run->table[stress_below(&self->rng, TABLE)];
    uint64_t seen = vbuf_u64_load_relaxed(place);
    while (!vbuf_u64_cas_acquire(place, &seen, handle.bits)) {
    }
    old->bits = seen;
    return seen != 0;
}

static void remove_old(struct pinned_run *run, struct check_rng *rng, slotmap_handle handle)
{
    if (stress_chance(rng, 4)) { /* what a pinned thread removes, it may still read */
        slotmap_pin(run->map);
        void *value = NULL;
        enum vbuf_status status = slotmap_remove(run->map, handle, &value);
        if (STRESS_CHECK(status == VBUF_OK, "remove says %s", vbuf_status_string(status)))
            look(value, 2, rng);
        slotmap_unpin(run->map);
    } else {
        enum vbuf_status status = slotmap_remove(run->map, handle, NULL);
        STRESS_CHECK(status == VBUF_OK, "remove says %s", vbuf_status_string(status));
    }
    vbuf_u64_fetch_add_relaxed(&run->removed, 1);
}

static void remove_fast(struct stress_thread *self)
{
    struct pinned_run *run = self->context;
    uint64_t serial = 0;
    slotmap_handle old;
    while (stress_going()) {
        for (unsigned i = 0; i < 32; i++) {
            if (replace(run, self, &serial, &old))
                remove_old(run, &self->rng, old);
            stress_disturb(&self->rng);
        }
        if (stress_chance(&self->rng, 2))
            slotmap_collect(run->map);
        stress_count(32);
    }
}

/* One at a time: in between, others move the epoch on. */
static void remove_slowly(struct stress_thread *self)
{
    struct pinned_run *run = self->context;
    uint64_t serial = 0;
    slotmap_handle old;
    while (stress_going()) {
        if (replace(run, self, &serial, &old)) {
            if (stress_chance(&self->rng, 16))
                stress_sleep((int64_t)stress_below(&self->rng, 200000));
            remove_old(run, &self->rng, old);
        }
        sched_yield();
        stress_count(1);
    }
}

static void do_role(struct stress_thread *self)
{
    switch (self->id % 6) {
    case 0:
        remove_fast(self);
        break;
    case 1:
    case 3:
        remove_slowly(self);
        break;
    default:
        read_values(self);
    }
}

void stress_pinned_value(void)
{
    struct pinned_run run = {0};
    unsigned threads = stress_threads(6, 3);
    struct slotmap_options options = {.value_size = sizeof(struct stress_value),
                                      .max_len = TABLE + threads,
                                      .max_limbo = MAX_LIMBO,
                                      .destroy = destroy,
                                      .context = &run};
    if (!STRESS_CHECK(slotmap_create(&run.map, &options) == VBUF_OK, "create"))
        return;
    stress_run(threads, do_role, &run);

    uint64_t inserted = vbuf_u64_load_relaxed(&run.inserted);
    uint64_t removed = vbuf_u64_load_relaxed(&run.removed);
    slotmap_collect(run.map);
    struct slotmap_report stats;
    slotmap_stats(run.map, &stats);
    STRESS_CHECK(stats.len == inserted - removed, "%zu live, should be %" PRIu64, stats.len,
                 inserted - removed);
    STRESS_CHECK(stats.limbo == 0, "%zu left in limbo, and nobody is here", stats.limbo);
    STRESS_CHECK(vbuf_u64_load_relaxed(&run.destroyed) == removed,
                 "%" PRIu64 " removed, %" PRIu64 " destroyed", removed,
                 vbuf_u64_load_relaxed(&run.destroyed));
    slotmap_destroy(run.map);
    STRESS_CHECK(vbuf_u64_load_relaxed(&run.destroyed) == inserted,
                 "%" PRIu64 " inserted, %" PRIu64 " destroyed in the end", inserted,
                 vbuf_u64_load_relaxed(&run.destroyed));
    stress_note("%.1f M looks, %.1f M removed", (double)vbuf_u64_load_relaxed(&run.looks) / 1e6,
                (double)removed / 1e6);
}
