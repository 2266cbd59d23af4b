/*
 * cvec_all.c - C1 to C6, waiting, closing and exclusive calls: all that a vector does, at once.
 *
 * Each vector is small at first, is refused memory all the time, by its hook and by the system, and
 * so grows in many small steps. Some threads append: they push, extend, fill appenders' blocks, or
 * claim and publish late, in pieces and out of order. Others look: they walk snapshots, look at the
 * newest elements, follow with a cursor, or sleep until there are so many. One reserves and closes.
 * An element says who wrote it, when, and in which run, so one walk shows whether each that was
 * acknowledged is there once, whole, and in its writer's order.
 *
 * A vector has up to three rounds. Between them, with the vector to itself, the case pushes,
 * truncates and shrinks; destructors are counted, and the books of the memory hooks must balance.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_all.h"

#include <errno.h>
#include <inttypes.h>

#include "fault.h"

enum { LARGE_STEP = 12 * 4096, MOST_ROUNDS = 3, EXCLUSIVE_WRITER = STRESS_MAX_THREADS - 1 };

/* ---- the hooks ---- */

static bool ask(void *context, size_t bytes)
{
    struct all_run *run = context;
    uint64_t turn = vbuf_u64_fetch_add_relaxed(&run->asked, 1);
    if (!vbuf_u32_load_relaxed(&run->plenty)) {
        struct check_rng rng = {run->seed + turn};
        if (stress_below(&rng, 8) < (bytes > LARGE_STEP ? 6 : 1)) {
            vbuf_u64_fetch_add_relaxed(&run->refusals, 1);
            errno = ENOMEM;
            return false;
        }
    }
    vbuf_u64_fetch_add_relaxed(&run->committed, bytes);
    return true;
}

static void hear(void *context, size_t bytes)
{
    struct all_run *run = context;
    vbuf_u64_fetch_add_relaxed(&run->committed, 0 - (uint64_t)bytes);
}

static void destroy(void *context, void *element)
{
    struct all_run *run = context;
    uint64_t id;
    STRESS_CHECK(all_whole(run, element, &id), "a destructor was given what is not whole");
    if (run->exclusive) {
        STRESS_CHECK(run->destroyed_last == NULL || element > run->destroyed_last,
                     "destructors run out of order");
        run->destroyed_last = element;
    }
    all_make(run, element, ~id);
    ((struct stress_pair *)element)->complement = 0; /* whole no more */
    vbuf_u64_fetch_add_relaxed(&run->destroyed, 1);
}

/* ---- the checks, with nobody else at it ---- */

static uint64_t sum_of(const struct all_run *run, size_t first, size_t end)
{
    uint64_t sum = 0;
    for (size_t i = first; i < end; i++) {
        uint64_t id;
        const void *element = cvec_get(run->vector, i);
        if (!STRESS_CHECK(element != NULL && all_whole(run, element, &id),
                          "element %zu of %zu is lost", i, end))
            return 0;
        sum += id;
    }
    return sum;
}

static void check_books(const struct all_run *run)
{
    struct cvec_report stats;
    cvec_stats(run->vector, &stats);
    uint64_t committed = vbuf_u64_load_relaxed(&run->committed);
    STRESS_CHECK(committed == stats.committed_bytes,
                 "the hooks were told of %" PRIu64 " bytes, and %zu are committed", committed,
                 stats.committed_bytes);
    STRESS_CHECK(stats.waiters == 0, "%zu wait, and nobody is there", stats.waiters);
    STRESS_CHECK(stats.capacity <= stats.max_len && stats.len <= stats.capacity,
                 "%zu elements, capacity %zu, max_len %zu", stats.len, stats.capacity,
                 stats.max_len);
}

/* Every acknowledged element once, in its writer's order, and nothing else. */
static void check_round(struct all_run *run)
{
    static struct all_reader reader;
    reader = (struct all_reader){.run = run};
    uint64_t added = 0, sum = 0;
    for (unsigned i = 0; i < run->threads; i++) {
        added += run->added[i];
        sum += run->sums[i];
    }
    all_walk_on(&reader);
    size_t claimed = cvec_claimed(run->vector);
    STRESS_CHECK(reader.order.count == added && claimed == run->start + added,
                 "appended %" PRIu64 " to %zu: claimed %zu, published %" PRIu64, added, run->start,
                 claimed, reader.order.count);
    STRESS_CHECK(reader.sum == sum, "the sum is wrong");
    for (unsigned i = 0; i < run->threads; i++)
        STRESS_CHECK(reader.order.next[i] == run->added[i],
                     "thread %u appended %" PRIu64 ", and %" PRIu64 " are there", i, run->added[i],
                     reader.order.next[i]);
    STRESS_CHECK(sum_of(run, 0, run->start) == run->start_sum, "what was there before changed");
    STRESS_CHECK(cvec_get(run->vector, claimed) == NULL, "an element nobody appended");
    bool closed = cvec_is_closed(run->vector);
    STRESS_CHECK(closed == (run->ending >= CLOSED_LATE), "closed: %d", closed);
    if (closed)
        STRESS_CHECK(claimed == vbuf_u64_load_relaxed(&run->final),
                     "claimed %zu after the close, and %" PRIu64 " then", claimed,
                     vbuf_u64_load_relaxed(&run->final));
    check_books(run);
}

/* ---- exclusive calls ---- */

static void push_exclusively(struct all_run *run, struct check_rng *rng)
{
    struct stress_value element;
    struct stress_pairs view = stress_pairs_of(run->vector);
    for (uint64_t i = stress_below(rng, 300); i > 0; i--) {
        size_t index = 0, claimed = cvec_claimed(run->vector);
        uint64_t id = stress_item_id(EXCLUSIVE_WRITER, 0, claimed);
        all_make(run, &element, id);
        enum vbuf_status status =
            !run->large && i % 2 == 0
                ? stress_pairs_push_exclusive(&view, (struct stress_pair){id, ~id}, &index)
                : cvec_push_exclusive(run->vector, &element, &index);
        enum vbuf_status expected = cvec_is_closed(run->vector)            ? VBUF_CLOSED
                                    : claimed == cvec_max_len(run->vector) ? VBUF_FULL
                                                                           : VBUF_OK;
        if (!STRESS_CHECK(status == expected, "push_exclusive says %s",
                          vbuf_status_string(status)) ||
            status != VBUF_OK)
            return;
        STRESS_CHECK(index == claimed && cvec_get(run->vector, index) != NULL,
                     "push_exclusive gave %zu of %zu", index, claimed);
        run->acknowledged++;
    }
}

static void truncate_somewhere(struct all_run *run, struct check_rng *rng)
{
    size_t claimed = cvec_claimed(run->vector), len = 0;
    if (!stress_chance(rng, 3))
        len = (size_t)stress_below(rng, claimed + 1);
    uint64_t sum = sum_of(run, 0, len), before = vbuf_u64_load_relaxed(&run->destroyed);
    run->destroyed_last = NULL;
    STRESS_CHECK(cvec_truncate(run->vector, len) == VBUF_OK, "truncate");
    uint64_t destroyed = vbuf_u64_load_relaxed(&run->destroyed) - before;
    STRESS_CHECK(destroyed == claimed - len, "%zu of %zu are left, %" PRIu64 " destroyed", len,
                 claimed, destroyed);
    STRESS_CHECK(cvec_len(run->vector) == len && cvec_claimed(run->vector) == len,
                 "truncated to %zu, and %zu are there", len, cvec_len(run->vector));
    for (size_t i = len; i < claimed && i < len + 64; i++)
        STRESS_CHECK(cvec_get(run->vector, i) == NULL, "element %zu was taken out", i);
    STRESS_CHECK(sum_of(run, 0, len) == sum, "truncate changed what it left");
}

static void shrink(struct all_run *run, struct check_rng *rng)
{
    size_t len = cvec_len(run->vector), before = cvec_capacity(run->vector);
    uint64_t sum = sum_of(run, 0, len);
    bool refuse = stress_chance(rng, 2);
    if (refuse)
        fault_fail_at(FAULT_MMAP, 1, ENOMEM);
    enum vbuf_status status = cvec_shrink_to_fit(run->vector);
    fault_clear();
    size_t capacity = cvec_capacity(run->vector);
    STRESS_CHECK(status == VBUF_OK ? capacity >= len && capacity <= before
                                   : refuse && status == VBUF_NOMEM && capacity == before,
                 "shrink says %s, capacity %zu, before %zu, for %zu", vbuf_status_string(status),
                 capacity, before, len);
    STRESS_CHECK(sum_of(run, 0, len) == sum && cvec_get(run->vector, len) == NULL,
                 "shrinking changed what is there");
}

static void be_exclusive(struct all_run *run, struct check_rng *rng)
{
    vbuf_u32_store_relaxed(&run->plenty, 1);
    run->exclusive = true;
    push_exclusively(run, rng);
    if (!stress_chance(rng, 4))
        truncate_somewhere(run, rng);
    if (stress_chance(rng, 2))
        shrink(run, rng);
    push_exclusively(run, rng);
    check_books(run);
    run->exclusive = false;
}

/* ---- a round, a vector ---- */

static void begin_round(struct all_run *run, struct check_rng *rng, enum all_ending ending)
{
    run->ending = ending;
    run->start = cvec_claimed(run->vector);
    run->start_sum = sum_of(run, 0, run->start);
    run->close_at = run->start + (size_t)stress_below(rng, run->total + 1);
    vbuf_u32_store_relaxed(&run->closed, 0);
    vbuf_u32_store_relaxed(&run->writing, run->writers);
    vbuf_u32_store_relaxed(&run->plenty, stress_chance(rng, 4));
    if (!stress_chance(rng, 4))
        fault_fail_randomly(FAULT_MPROTECT, (uint32_t)stress_below(rng, 500000),
                            check_rng_next(rng), ENOMEM);
}

static void end_round(struct all_run *run)
{
    fault_clear();
    for (unsigned i = 0; i < run->threads; i++)
        run->acknowledged += run->added[i];
    if (!stress_failed())
        check_round(run);
}

static struct vbuf_growth some_growth(struct check_rng *rng)
{
    switch (stress_below(rng, 4)) {
    case 0:
        return (struct vbuf_growth){.numerator = 9, .denominator = 8};
    case 1:
        return (struct vbuf_growth){.numerator = 3, .denominator = 2};
    case 2:
        return (struct vbuf_growth){.linear = 1 + (size_t)stress_below(rng, 1000)};
    default:
        return (struct vbuf_growth){.linear = 0};
    }
}

static bool create(struct all_run *run, struct check_rng *rng, unsigned rounds, bool exactly)
{
    run->goal = 1 + stress_below(rng, stress_amount(50000, 2000));
    run->total = run->goal * run->writers;
    struct cvec_options options = {.element_size = all_element_size(run),
                                   .max_len = (size_t)run->total * (exactly ? 1 : rounds) +
                                              (exactly ? 0 : 4096),
                                   .initial_capacity = (size_t)stress_below(rng, 4),
                                   .growth = some_growth(rng),
                                   .header = stress_chance(rng, 2) ? 100 : 0,
                                   .destroy = destroy,
                                   .on_commit = ask,
                                   .on_decommit = hear,
                                   .context = run};
    if (options.initial_capacity > options.max_len)
        options.initial_capacity = options.max_len;
    vbuf_u32_store_relaxed(&run->plenty, 1);
    return STRESS_CHECK(cvec_create(&run->vector, &options) == VBUF_OK, "create");
}

static void end_vector(struct all_run *run)
{
    run->exclusive = true;
    run->destroyed_last = NULL;
    cvec_destroy(run->vector);
    if (stress_failed())
        return;
    uint64_t destroyed = vbuf_u64_load_relaxed(&run->destroyed);
    uint64_t discarded = vbuf_u64_load_relaxed(&run->discarded);
    STRESS_CHECK(destroyed == run->acknowledged + discarded,
                 "acknowledged %" PRIu64 ", discarded %" PRIu64 ", destroyed %" PRIu64,
                 run->acknowledged, discarded, destroyed);
    STRESS_CHECK(vbuf_u64_load_relaxed(&run->committed) == 0,
                 "%" PRId64 " bytes were not given back",
                 (int64_t)vbuf_u64_load_relaxed(&run->committed));
}

struct all_totals {
    uint64_t vectors, rounds, elements, growths, refusals, sleeps;
};

static void one_vector(struct check_rng *rng, unsigned threads, struct all_totals *totals)
{
    static struct all_run run;
    unsigned rounds = 1 + (unsigned)stress_below(rng, MOST_ROUNDS);
    enum all_ending last = (enum all_ending)stress_below(rng, ENDINGS);
    if (last == EXACTLY_FULL)
        rounds = 1;
    run = (struct all_run){.large = stress_chance(rng, 2), .threads = threads};
    run.seed = check_rng_next(rng);
    run.writers = all_count_writers(threads);
    if (!create(&run, rng, rounds, last == EXACTLY_FULL))
        return;
    for (unsigned round = 0; round < rounds && !stress_failed(); round++) {
        begin_round(&run, rng, round + 1 == rounds ? last : OPEN);
        stress_run(threads, all_take_part, &run);
        end_round(&run);
        struct cvec_report stats;
        cvec_stats(run.vector, &stats);
        totals->growths += stats.growths;
        totals->rounds++;
        if (!stress_failed())
            be_exclusive(&run, rng);
    }
    end_vector(&run);
    totals->vectors++;
    totals->elements += run.acknowledged;
    totals->refusals += vbuf_u64_load_relaxed(&run.refusals);
    totals->sleeps += vbuf_u64_load_relaxed(&run.sleeps);
}

void stress_cvec_all(void)
{
    struct check_rng rng = stress_stream(0);
    unsigned threads = stress_threads(13, ALL_LEAST_THREADS);
    struct all_totals totals = {0};
    fault_clear();
    do
        one_vector(&rng, threads, &totals);
    while (stress_going());
    stress_note("%" PRIu64 " vectors, %" PRIu64 " rounds, %.1f M elements, grown %" PRIu64
                " times, %" PRIu64 " refusals, %" PRIu64 " waits",
                totals.vectors, totals.rounds, (double)totals.elements / 1e6, totals.growths,
                totals.refusals, totals.sleeps);
}
