/*
 * hand_over.c - slots go round between threads: S1, S2, S6.
 *
 * Some threads only insert, others only remove, so every slot goes from the free lists of the ones
 * over the belt to the limbo of the others, and back through what threads share with each other. A
 * side array has an owner for each slot number: two live handles must never share one. Threads are
 * stopped in the middle of everything (ambush.c), because what may go wrong here, a slot taken off
 * a shared list that comes back while somebody is about to take it too, takes a few instructions on
 * one side and a whole life of the slot on the other.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>

enum { BELT = 256, OWNERS = 1 << 20 };

struct belt_run {
    struct slotmap *map;
    struct stress_ledger values;
    struct vbuf_atomic_u64 belt[BELT]; /* handles on their way */
    struct vbuf_atomic_u32
        *owners; /* by slot number: 0, or the low bits of the value's id, and 1 */
    struct vbuf_atomic_u32 inserting;
};

static uint32_t token_of(uint64_t id)
{
    return (uint32_t)id << 1 | 1;
}

static void take_ownership(struct belt_run *run, slotmap_handle handle, uint64_t id)
{
    uint32_t index = slotmap_handle_index(handle);
    uint32_t before = 0;
    if (STRESS_CHECK(index > 0 && index < OWNERS, "slot number %" PRIu32, index))
        STRESS_CHECK(vbuf_u32_cas_acquire(&run->owners[index], &before, token_of(id)),
                     "slot %" PRIu32 " was given to %" PRIu64 " and belongs to another", index, id);
}

static void give_up_ownership(struct belt_run *run, slotmap_handle handle, uint64_t id)
{
    uint32_t token = token_of(id);
    STRESS_CHECK(vbuf_u32_cas_acquire(&run->owners[slotmap_handle_index(handle)], &token, 0),
                 "slot %" PRIu32 " of %" PRIu64 " belongs to another", slotmap_handle_index(handle),
                 id);
}

static void put_on_belt(struct belt_run *run, struct check_rng *rng, slotmap_handle handle)
{
    while (!stress_failed()) {
        struct vbuf_atomic_u64 *place = &run->belt[stress_below(rng, BELT)];
        uint64_t seen = 0;
        if (vbuf_u64_cas_acquire(place, &seen, handle.bits))
            return;
        if (stress_chance(rng, 4)) /* it is full, or nearly */
            sched_yield();
    }
}

static void insert_values(struct belt_run *run, struct check_rng *rng)
{
    struct stress_value value;
    slotmap_handle handle;
    uint64_t id;
    unsigned waited = 0;
    while (stress_going() && stress_ledger_draw(&run->values, &id)) {
        stress_value_make(&value, id);
        if (stress_chance(rng, 16))
            stress_delay_stores(rng);
        enum vbuf_status status = slotmap_insert(run->map, &value, &handle);
        if (status == VBUF_OK) {
            waited = 0;
            stress_ledger_inserted(&run->values, id);
            take_ownership(run, handle, id);
            put_on_belt(run, rng, handle);
            stress_count(1);
            continue;
        }
        STRESS_CHECK(status == VBUF_BUSY, "insert says %s", vbuf_status_string(status));
        if (stress_chance(rng, 8))
            slotmap_collect(run->map);
        if (!stress_wait(&waited))
            stress_fail("insert stays busy for ten seconds");
    }
    vbuf_u32_fetch_add_relaxed(&run->inserting, UINT32_MAX);
}

static void remove_value(struct belt_run *run, struct check_rng *rng, slotmap_handle handle)
{
    slotmap_pin(run->map);
    const struct stress_value *value = slotmap_get(run->map, handle);
    if (!STRESS_CHECK(value != NULL && value->id < run->values.room &&
                          stress_value_intact(value, value->id),
                      "the belt has %" PRIx64 ", the map does not", handle.bits)) {
        slotmap_unpin(run->map);
        return;
    }
    uint64_t id = value->id;
    slotmap_unpin(run->map);
    give_up_ownership(run, handle, id);
    stress_ledger_wanted(&run->values, id);
    if (stress_chance(rng, 16))
        stress_delay_stores(rng);
    if (STRESS_CHECK(slotmap_remove(run->map, handle, NULL) == VBUF_OK, "%" PRIx64 " was lost",
                     handle.bits))
        stress_ledger_removed(&run->values, id);
}

/* Until nobody inserts any more, and the belt is empty. */
static void remove_values(struct belt_run *run, struct check_rng *rng)
{
    bool more;
    do {
        more = vbuf_u32_load_relaxed(&run->inserting) > 0;
        bool found = false;
        for (uint64_t i = 0, first = stress_below(rng, BELT); i < BELT; i++) {
            struct vbuf_atomic_u64 *place = &run->belt[(first + i) % BELT];
            uint64_t bits = vbuf_u64_load_relaxed(place);
            if (bits == 0 || !vbuf_u64_cas_acquire(place, &bits, 0))
                continue;
            remove_value(run, rng, (slotmap_handle){bits});
            more = found = true;
        }
        if (!found)
            sched_yield();
        if (stress_chance(rng, 64))
            slotmap_collect(run->map);
    } while (more && !stress_failed());
}

static void insert_or_remove(struct stress_thread *self)
{
    if (self->id % 2 == 0)
        insert_values(self->context, &self->rng);
    else
        remove_values(self->context, &self->rng);
}

static bool open_run(struct belt_run *run, struct check_rng *rng, unsigned threads)
{
    *run = (struct belt_run){0};
    stress_ledger_open(&run->values, stress_amount(1 << 17, 1 << 14));
    run->owners = calloc(OWNERS, sizeof *run->owners);
    vbuf_u32_store_relaxed(&run->inserting, (threads + 1) / 2);
    /* Little room in limbo and in caches: the fewer slots there are, the sooner one comes back. */
    struct slotmap_options options = {.value_size = sizeof(struct stress_value),
                                      .max_len = BELT + threads,
                                      .max_limbo = 64 + stress_below(rng, 1024),
                                      .max_threads = stress_chance(rng, 2) ? 1 : 0,
                                      .destroy = stress_destroy_value,
                                      .context = &run->values};
    return STRESS_CHECK(run->owners != NULL && slotmap_create(&run->map, &options) == VBUF_OK,
                        "create");
}

static uint64_t close_run(struct belt_run *run)
{
    slotmap_collect(run->map);
    struct slotmap_report stats;
    slotmap_stats(run->map, &stats);
    if (!stress_failed()) {
        STRESS_CHECK(stats.len == 0 && stats.limbo == 0,
                     "%zu live and %zu in limbo, and nobody is here", stats.len, stats.limbo);
        stress_ledger_audit(&run->values);
    }
    stress_ledger_ending(&run->values);
    slotmap_destroy(run->map);
    if (!stress_failed())
        stress_ledger_audit_end(&run->values);
    stress_ledger_close(&run->values);
    free(run->owners);
    return stats.inserted;
}

void stress_hand_over(void)
{
    static struct belt_run run;
    struct check_rng rng = stress_stream(0);
    unsigned threads = stress_threads(8, 2);
    uint64_t values = 0;
    do { /* until the time is over: each time, until the ledger is full */
        if (!open_run(&run, &rng, threads))
            return;
        stress_run(threads, insert_or_remove, &run);
        values += close_run(&run);
    } while (stress_going());
    stress_note("%.2f M values", (double)values / 1e6);
}
