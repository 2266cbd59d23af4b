/*
 * cvec_read_bench.c - reading a cvec: get at random, and the sum of a snapshot.
 *
 * All implementations but tbb read the same elements: `raw` indexes the array that the snapshot
 * is, the locks stand around that. The index is drawn inside the loop, by all alike.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "baselines.h"
#include "bench.h"
#include "random.h"
#include "tbb.h"

/* Element i. */
static uint64_t word_at(uint64_t i)
{
    return i * 3 + 1;
}

/* What a cell's implementations share: made by the first, destroyed by the last. */
static struct library {
    unsigned users;
    struct words vector;
    struct words_slice slice;
    uint64_t n;
    uint64_t sum;
    void *tbb;
    struct guard guard;
} library;

static void *library_open(const struct bench_shape *shape)
{
    struct library *l = &library;
    if (l->users++ != 0)
        return l;
    struct cvec_options options = {.initial_capacity = shape->n};
    if (words_create(&l->vector, &options) != VBUF_OK)
        bench_die("cannot create a vector");
    for (uint64_t i = 0; i < shape->n; i++) {
        if (words_push(&l->vector, word_at(i), NULL) != VBUF_OK)
            bench_die("cannot fill a vector");
    }
    l->n = shape->n;
    l->slice = words_snapshot(&l->vector); /* from here on every get is below the watermark */
    l->sum = sum_words(l->slice.data, l->slice.count);
    guard_init(&l->guard);
#if defined(VBUF_BENCH_TBB)
    l->tbb = bench_tbb_create();
    bench_tbb_warm(l->tbb, shape->n);
    bench_tbb_grow_blocks(l->tbb, l->slice.data, shape->n, 1);
#endif
    return l;
}

static void library_close(void *state)
{
    struct library *l = state;
    if (--l->users != 0)
        return;
    words_destroy(&l->vector);
    guard_destroy(&l->guard);
#if defined(VBUF_BENCH_TBB)
    bench_tbb_destroy(l->tbb);
#endif
}

/* ---- get ---- */

enum reader { BY_VBUF, BY_RAW };

static BENCH_INLINE uint64_t get_all(struct library *l, unsigned thread, uint64_t ops,
                                     enum reader by, enum guard_kind guard)
{
    struct words vector = l->vector;
    const uint64_t *data = l->slice.data;
    uint64_t n = l->n, stream = bench_seed(thread), sum = 0;
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t index = bench_pick(&stream, n);
        if (by == BY_VBUF) {
            const uint64_t *word = words_get(&vector, index);
            if (word != NULL)
                sum += *word;
        } else {
            guard_read(&l->guard, guard);
            sum += data[index];
            guard_read_end(&l->guard, guard);
        }
    }
    return sum;
}

static uint64_t get_vbuf(void *state, unsigned thread, uint64_t ops)
{
    return get_all(state, thread, ops, BY_VBUF, GUARD_NONE);
}

static uint64_t get_raw(void *state, unsigned thread, uint64_t ops)
{
    return get_all(state, thread, ops, BY_RAW, GUARD_NONE);
}

static uint64_t get_mutex(void *state, unsigned thread, uint64_t ops)
{
    return get_all(state, thread, ops, BY_RAW, GUARD_MUTEX);
}

static uint64_t get_rwlock(void *state, unsigned thread, uint64_t ops)
{
    return get_all(state, thread, ops, BY_RAW, GUARD_RWLOCK);
}

static uint64_t get_expect(void *state, unsigned thread, uint64_t ops)
{
    const struct library *l = state;
    uint64_t stream = bench_seed(thread), sum = 0;
    for (uint64_t i = 0; i < ops; i++)
        sum += word_at(bench_pick(&stream, l->n));
    return sum;
}

/* ---- sum ---- */

/* As many sums of all elements as make ops; each takes its own look at the vector. */
static BENCH_INLINE uint64_t sum_all(struct library *l, uint64_t ops, enum reader by,
                                     enum guard_kind guard)
{
    struct words vector = l->vector;
    uint64_t sum = 0;
    for (uint64_t left = ops / l->n; left != 0; left--) {
        if (by == BY_VBUF) {
            struct words_slice slice = words_snapshot(&vector);
            sum += sum_words(slice.data, slice.count);
        } else {
            guard_read(&l->guard, guard);
            sum += sum_words(l->slice.data, l->slice.count);
            guard_read_end(&l->guard, guard);
        }
    }
    return sum;
}

static uint64_t sum_vbuf(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return sum_all(state, ops, BY_VBUF, GUARD_NONE);
}

static uint64_t sum_raw(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return sum_all(state, ops, BY_RAW, GUARD_NONE);
}

static uint64_t sum_rwlock(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return sum_all(state, ops, BY_RAW, GUARD_RWLOCK);
}

static uint64_t sum_expect(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    const struct library *l = state;
    return ops / l->n * l->sum;
}

#if defined(VBUF_BENCH_TBB)
static uint64_t get_tbb(void *state, unsigned thread, uint64_t ops)
{
    const struct library *l = state;
    return bench_tbb_get(l->tbb, bench_seed(thread), ops);
}

static uint64_t sum_tbb(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    const struct library *l = state;
    uint64_t sum = 0;
    for (uint64_t left = ops / l->n; left != 0; left--)
        sum += bench_tbb_sum(l->tbb);
    return sum;
}
#endif

const struct bench_case cvec_read_cases[] = {
    {
        .name = "cvec.get",
        .operation = "get of a random u64",
        .unit = "ns",
        .memory = "warmed",
        .sizes = {4000000},
        .grain = 1,
        .impls =
            {
                {"vbuf", 0, library_open, library_close, NULL, NULL, get_vbuf, get_expect, NULL,
                 NULL},
                {"raw", 0, library_open, library_close, NULL, NULL, get_raw, get_expect, NULL,
                 NULL},
                {"mutex", 0, library_open, library_close, NULL, NULL, get_mutex, get_expect, NULL,
                 NULL},
                {"rwlock", 0, library_open, library_close, NULL, NULL, get_rwlock, get_expect, NULL,
                 NULL},
#if defined(VBUF_BENCH_TBB)
                {"tbb", 0, library_open, library_close, NULL, NULL, get_tbb, get_expect, NULL,
                 NULL},
#endif
            },
    },
    {
        .name = "cvec.sum",
        .operation = "u64 of a sum over all of them",
        .unit = "ns",
        .memory = "warmed",
        .sizes = {1000000},
        .grain = 0,
        .impls =
            {
                {"vbuf", 0, library_open, library_close, NULL, NULL, sum_vbuf, sum_expect, NULL,
                 NULL},
                {"raw", 0, library_open, library_close, NULL, NULL, sum_raw, sum_expect, NULL,
                 NULL},
                {"rwlock", 0, library_open, library_close, NULL, NULL, sum_rwlock, sum_expect, NULL,
                 NULL},
#if defined(VBUF_BENCH_TBB)
                {"tbb", 0, library_open, library_close, NULL, NULL, sum_tbb, sum_expect, NULL,
                 NULL},
#endif
            },
    },
    {0},
};
