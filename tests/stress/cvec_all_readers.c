/*
 * cvec_all_readers.c - the threads of the case cvec-all that look: they walk snapshots, get what is
 * newest, follow with a cursor, wait; one reserves, counts and closes. And who does what.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_all.h"

#include <inttypes.h>

static bool goes_by(const struct all_run *run)
{
    return vbuf_u32_load_relaxed(&run->writing) > 0 && !stress_failed();
}

static void walk(struct all_reader *reader, const void *data, size_t first, size_t end)
{
    struct all_run *run = reader->run;
    STRESS_CHECK(reader->base == NULL || data == reader->base, "the elements moved");
    reader->base = data;
    for (size_t i = first; i < end && !stress_failed(); i++) {
        uint64_t id;
        const void *element = (const char *)data + i * all_element_size(run);
        if (!STRESS_CHECK(all_whole(run, element, &id),
                          "element %zu is in the prefix of %zu and not whole", i, end))
            return;
        stress_order_step(&reader->order, id);
        reader->sum += id;
    }
}

void all_walk_on(struct all_reader *reader)
{
    struct all_run *run = reader->run;
    size_t first = run->start + (size_t)reader->order.count;
    struct cvec_slice slice = cvec_snapshot(run->vector);
    STRESS_CHECK(slice.count >= first, "the prefix shrank from %zu to %zu", first, slice.count);
    walk(reader, slice.data, first, slice.count);
}

static void read_snapshots(struct stress_thread *self)
{
    struct all_reader reader = {.run = self->context};
    while (goes_by(reader.run)) {
        all_walk_on(&reader);
        stress_disturb(&self->rng);
    }
}

/* The newest claims, as soon as they are published: what get gives is whole (C2). */
static void look_at_newest(struct stress_thread *self)
{
    struct all_run *run = self->context;
    while (goes_by(run)) {
        size_t claimed = cvec_claimed(run->vector);
        for (size_t i = claimed; i-- > run->start && i + 64 > claimed;) {
            uint64_t id;
            const void *element = cvec_get(run->vector, i);
            if (element != NULL && STRESS_CHECK(all_whole(run, element, &id),
                                                "get gave element %zu before it was whole", i))
                STRESS_CHECK(stress_item_writer(id) < run->threads, "element %zu is nobody's", i);
        }
        STRESS_CHECK(cvec_get(run->vector, cvec_max_len(run->vector)) == NULL, "get(max_len)");
        stress_disturb(&self->rng);
    }
}

/* Not at all, for a moment, or for ever. */
static int64_t some_timeout(struct check_rng *rng, bool for_ever)
{
    if (for_ever && stress_chance(rng, 2))
        return -1;
    return stress_chance(rng, 4) ? 0 : (int64_t)stress_below(rng, 3000000);
}

/* Whatever ends the round, a cursor has given everything by then. */
static void check_end(struct all_reader *reader, enum vbuf_status status)
{
    struct all_run *run = reader->run;
    size_t claimed = cvec_claimed(run->vector);
    STRESS_CHECK(status == (run->ending == EXACTLY_FULL ? VBUF_FULL : VBUF_CLOSED) &&
                     run->ending != OPEN,
                 "a cursor says %s", vbuf_status_string(status));
    STRESS_CHECK(run->start + reader->order.count == claimed,
                 "a cursor says %s after %" PRIu64 " from %zu of %zu", vbuf_status_string(status),
                 reader->order.count, run->start, claimed);
}

static void follow(struct stress_thread *self)
{
    struct all_run *run = self->context;
    struct all_reader reader = {.run = run};
    struct cvec_cursor cursor = {run->vector, run->start};
    for (;;) {
        struct cvec_slice slice;
        size_t next = cursor.next;
        size_t most = stress_chance(&self->rng, 2) ? 0 : 1 + stress_below(&self->rng, 500);
        int64_t timeout = some_timeout(&self->rng, run->ending != OPEN);
        bool over = !goes_by(run);
        enum vbuf_status status = cvec_cursor_next(&cursor, most, timeout, &slice);
        if (status == VBUF_OK) {
            STRESS_CHECK(slice.count > 0 && (most == 0 || slice.count <= most) &&
                             cursor.next == next + slice.count,
                         "a cursor gave %zu of at most %zu", slice.count, most);
            const char *base = (const char *)slice.data - next * all_element_size(run);
            walk(&reader, base, next, cursor.next);
        } else if (status != VBUF_TIMEDOUT) {
            check_end(&reader, status);
            return;
        } else if (STRESS_CHECK(timeout >= 0 && cursor.next == next, "a cursor's time was up") &&
                   over && run->ending == OPEN) {
            return;
        }
        if (stress_failed())
            return;
        stress_disturb(&self->rng);
    }
}

/* What cvec_wait promises: the elements happen before its return. */
static void check_wait(struct stress_thread *self, enum vbuf_status status, size_t count,
                       int64_t timeout)
{
    struct all_run *run = self->context;
    size_t at = count - 1 - (size_t)stress_below(&self->rng, count - run->start);
    uint64_t id;
    switch (status) {
    case VBUF_OK:
        /* Not through get, which would order it anew. */
        STRESS_CHECK(all_whole(run, run->vector->elements + at * all_element_size(run), &id),
                     "waited for %zu, and element %zu is not whole", count, at);
        STRESS_CHECK(cvec_len(run->vector) >= count, "waited for %zu: %zu", count,
                     cvec_len(run->vector));
        return;
    case VBUF_TIMEDOUT:
        STRESS_CHECK(timeout >= 0, "time is up, and it was for ever");
        return;
    case VBUF_CLOSED:
        STRESS_CHECK(cvec_is_closed(run->vector) && cvec_claimed(run->vector) < count,
                     "closed, waiting for %zu", count);
        return;
    default:
        STRESS_CHECK(status == VBUF_FULL && count > cvec_max_len(run->vector), "waiting says %s",
                     vbuf_status_string(status));
    }
}

static void wait_for_lengths(struct stress_thread *self)
{
    struct all_run *run = self->context;
    size_t all = run->start + (size_t)run->total;
    while (goes_by(run)) {
        size_t count = cvec_len(run->vector) + 1 + (size_t)stress_below(&self->rng, 2000);
        if (stress_chance(&self->rng, 8))
            count = run->start + 1 + (size_t)stress_below(&self->rng, run->total);
        if (stress_chance(&self->rng, 500))
            count = cvec_max_len(run->vector) + 1;
        int64_t timeout = some_timeout(&self->rng, count <= all || run->ending >= CLOSED_LATE);
        int64_t began = stress_now();
        check_wait(self, cvec_wait(run->vector, count, timeout), count, timeout);
        if (stress_now() - began > 20000)
            vbuf_u64_fetch_add_relaxed(&run->sleeps, 1);
        stress_disturb(&self->rng);
    }
}

/* ---- who reserves, counts and closes ---- */

static void reserve_some(struct all_run *run, struct check_rng *rng)
{
    size_t capacity = cvec_capacity(run->vector) + (size_t)stress_below(rng, 2000);
    enum vbuf_status status = stress_chance(rng, 2) ? cvec_reserve(run->vector, capacity)
                                                    : cvec_reserve_exact(run->vector, capacity);
    size_t now = cvec_capacity(run->vector);
    if (status == VBUF_OK)
        STRESS_CHECK(now >= capacity, "reserved %zu, and the capacity is %zu", capacity, now);
    else
        STRESS_CHECK(status == VBUF_NOMEM ||
                         (status == VBUF_FULL && capacity > cvec_max_len(run->vector)) ||
                         (status == VBUF_CLOSED && cvec_is_closed(run->vector)),
                     "reserve of %zu says %s", capacity, vbuf_status_string(status));
}

static void keep(struct stress_thread *self)
{
    struct all_run *run = self->context;
    while (goes_by(run)) {
        struct cvec_report stats;
        if (stress_chance(&self->rng, 50))
            reserve_some(run, &self->rng);
        cvec_stats(run->vector, &stats);
        STRESS_CHECK(stats.len <= stats.claimed && stats.capacity <= stats.max_len &&
                         stats.claimed <= stats.max_len && stats.waiters <= run->threads,
                     "stats: len %zu, claimed %zu, capacity %zu, %zu wait", stats.len,
                     stats.claimed, stats.capacity, stats.waiters);
        if (run->ending == CLOSED_EARLY && stats.claimed >= run->close_at)
            all_close_and_tell(run);
        stress_sleep((int64_t)stress_below(&self->rng, 200000));
    }
    if (run->ending >= CLOSED_LATE)
        all_close_and_tell(run);
}

static const struct role {
    bool writes;
    void (*body)(struct stress_thread *self);
} roles[] = {
    {true, all_write_by_push},     {true, all_write_by_claim},
    {true, all_write_by_appender}, {true, all_write_by_extend},
    {false, read_snapshots},       {false, follow},
    {false, wait_for_lengths},     {false, keep},
    {true, all_write_by_push},     {true, all_write_by_claim},
    {false, look_at_newest},       {false, follow},
    {false, wait_for_lengths},
};

enum { ROLES = sizeof roles / sizeof roles[0] };

unsigned all_count_writers(unsigned threads)
{
    unsigned writers = 0;
    for (unsigned i = 0; i < threads; i++)
        writers += roles[i % ROLES].writes;
    return writers;
}

void all_take_part(struct stress_thread *self)
{
    struct all_run *run = self->context;
    run->added[self->id] = 0;
    run->sums[self->id] = 0;
    roles[self->id % ROLES].body(self);
}
