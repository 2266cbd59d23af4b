/*
 * cvec_bench.c - appending to a cvec: push one by one into warmed memory, extend by 64 and append
 * through a private block into fresh.
 *
 * Every lap starts with an empty container. Its content is checked afterwards.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "baselines.h"
#include "bench.h"
#include "random.h"
#include "tbb.h"

#define BLOCK 64
#define PRIVATE_BLOCK 512 /* what an appender has for u64 */

/* What an appending implementation works on; each uses its own part. */
struct append {
    struct bench_shape shape;
    struct words vector;
    uint64_t *pages; /* raw */
    void *tbb;
    uint64_t blocks[BENCH_MAX_THREADS][BLOCK]; /* what thread t extends by */
    struct words_appender appenders[BENCH_MAX_THREADS];
    struct vbuf_atomic_u64 claimed BENCH_LINES; /* raw */
    struct guard guard BENCH_LINES;
    struct plain_vec plain BENCH_LINES;
};

static void *append_create(const struct bench_shape *shape)
{
    struct append *s = bench_alloc(sizeof *s);
    s->shape = *shape;
    guard_init(&s->guard);
    for (unsigned t = 0; t < shape->threads; t++) {
        for (unsigned i = 0; i < BLOCK; i++)
            s->blocks[t][i] = t * BLOCK + i;
    }
    return s;
}

/* Throws away what the last lap appended to. */
static void append_clear(struct append *s)
{
    for (unsigned t = 0; t < s->shape.threads; t++)
        (void)words_appender_destroy(&s->appenders[t]); /* flushed already */
    words_destroy(&s->vector);
    if (s->pages != NULL)
        pages_free(s->pages, s->shape.n * sizeof(uint64_t));
    s->pages = NULL;
    free(s->plain.data);
    s->plain = (struct plain_vec){0};
#if defined(VBUF_BENCH_TBB)
    if (s->tbb != NULL)
        bench_tbb_destroy(s->tbb);
    s->tbb = NULL;
#endif
}

static void append_destroy(void *state)
{
    struct append *s = state;
    append_clear(s);
    guard_destroy(&s->guard);
    bench_free(s);
}

static void vbuf_fresh(void *state)
{
    struct append *s = state;
    append_clear(s);
    if (words_create(&s->vector, NULL) != VBUF_OK)
        bench_die("cannot create a vector");
}

static void huge_fresh(void *state)
{
    struct append *s = state;
    append_clear(s);
    struct cvec_options options = {.huge_pages = VMEM_HUGE_PAGES_ON};
    enum vbuf_status status = words_create(&s->vector, &options);
    if (status == VBUF_UNSUPPORTED)
        status = words_create(&s->vector, NULL); /* then it is the same as "vbuf" */
    if (status != VBUF_OK)
        bench_die("cannot create a vector");
}

static void vbuf_warmed(void *state)
{
    struct append *s = state;
    append_clear(s);
    struct cvec_options options = {.initial_capacity = s->shape.n};
    if (words_create(&s->vector, &options) != VBUF_OK)
        bench_die("cannot create a vector");
    pages_touch(s->vector.vector->elements, s->shape.n * sizeof(uint64_t));
    pages_touch(s->vector.vector->ready_ - s->shape.n, s->shape.n);
}

static void raw_fresh(void *state)
{
    struct append *s = state;
    append_clear(s);
    s->pages = pages_alloc(s->shape.n * sizeof(uint64_t));
    vbuf_u64_store_relaxed(&s->claimed, 0); /* threads start behind a barrier */
}

static void raw_warmed(void *state)
{
    struct append *s = state;
    raw_fresh(state);
    pages_touch(s->pages, s->shape.n * sizeof(uint64_t));
}

static void plain_fresh(void *state)
{
    append_clear(state);
}

static void plain_warmed(void *state)
{
    struct append *s = state;
    append_clear(s);
    plain_vec_grow(&s->plain, s->shape.n);
    pages_touch(s->plain.data, s->shape.n * sizeof(uint64_t));
}

enum appender { BY_VBUF, BY_RAW, BY_PLAIN };

/* Pushes ops numbers that no other thread pushes; returns the sum of their indices. */
static BENCH_INLINE uint64_t push_all(struct append *s, unsigned thread, uint64_t ops,
                                      enum appender by, enum guard_kind guard)
{
    struct words vector = s->vector;
    uint64_t *pages = s->pages;
    uint64_t value = thread * ops, indices = 0;
    for (uint64_t end = value + ops; value < end; value++) {
        size_t index = 0;
        if (by == BY_VBUF) {
            if (VBUF_UNLIKELY(words_push(&vector, value, &index) != VBUF_OK))
                return UINT64_MAX;
        } else if (by == BY_RAW) {
            index = vbuf_u64_fetch_add_relaxed(&s->claimed, 1); /* all it does is count */
            pages[index] = value;
        } else {
            guard_write(&s->guard, guard);
            index = plain_vec_push(&s->plain, value);
            guard_write_end(&s->guard, guard);
        }
        indices += index;
    }
    return indices;
}

static uint64_t push_vbuf(void *state, unsigned thread, uint64_t ops)
{
    return push_all(state, thread, ops, BY_VBUF, GUARD_NONE);
}

static uint64_t push_raw(void *state, unsigned thread, uint64_t ops)
{
    return push_all(state, thread, ops, BY_RAW, GUARD_NONE);
}

static uint64_t push_plain(void *state, unsigned thread, uint64_t ops)
{
    return push_all(state, thread, ops, BY_PLAIN, GUARD_NONE);
}

static uint64_t push_mutex(void *state, unsigned thread, uint64_t ops)
{
    return push_all(state, thread, ops, BY_PLAIN, GUARD_MUTEX);
}

/* Appends a thread's block until ops elements are in; returns the sum of the first indices. */
static BENCH_INLINE uint64_t extend_all(struct append *s, unsigned thread, uint64_t ops,
                                        enum appender by, enum guard_kind guard)
{
    struct words vector = s->vector;
    uint64_t *pages = s->pages;
    const uint64_t *block = s->blocks[thread];
    uint64_t indices = 0;
    for (uint64_t done = 0; done < ops; done += BLOCK) {
        size_t first = 0;
        if (by == BY_VBUF) {
            if (VBUF_UNLIKELY(words_extend(&vector, block, BLOCK, &first) != VBUF_OK))
                return UINT64_MAX;
        } else if (by == BY_RAW) {
            first = vbuf_u64_fetch_add_relaxed(&s->claimed, BLOCK); /* all it does is count */
            memcpy(pages + first, block, BLOCK * sizeof *block);
        } else {
            guard_write(&s->guard, guard);
            first = plain_vec_extend(&s->plain, block, BLOCK);
            guard_write_end(&s->guard, guard);
        }
        indices += first;
    }
    return indices;
}

static uint64_t extend_vbuf(void *state, unsigned thread, uint64_t ops)
{
    return extend_all(state, thread, ops, BY_VBUF, GUARD_NONE);
}

static uint64_t extend_raw(void *state, unsigned thread, uint64_t ops)
{
    return extend_all(state, thread, ops, BY_RAW, GUARD_NONE);
}

static uint64_t extend_plain(void *state, unsigned thread, uint64_t ops)
{
    return extend_all(state, thread, ops, BY_PLAIN, GUARD_NONE);
}

static uint64_t extend_mutex(void *state, unsigned thread, uint64_t ops)
{
    return extend_all(state, thread, ops, BY_PLAIN, GUARD_MUTEX);
}

static void make_appender(void *state, unsigned thread)
{
    struct append *s = state;
    if (words_appender_create(&s->appenders[thread], &s->vector, PRIVATE_BLOCK) != VBUF_OK)
        bench_die("cannot create an appender");
}

/* The same numbers as push_all. */
static uint64_t append_vbuf(void *state, unsigned thread, uint64_t ops)
{
    struct append *s = state;
    struct words_appender *appender = &s->appenders[thread];
    uint64_t value = thread * ops;
    for (uint64_t end = value + ops; value < end; value++) {
        if (VBUF_UNLIKELY(words_appender_push(appender, value) != VBUF_OK))
            return UINT64_MAX;
    }
    return words_appender_flush(appender, NULL) == VBUF_OK ? 0 : UINT64_MAX;
}

/* The limit: a private block too, and memcpy to where a bare add says. */
static uint64_t append_raw(void *state, unsigned thread, uint64_t ops)
{
    struct append *s = state;
    uint64_t block[PRIVATE_BLOCK], value = thread * ops, end = value + ops;
    while (value < end) {
        uint64_t count = end - value < PRIVATE_BLOCK ? end - value : PRIVATE_BLOCK;
        for (uint64_t i = 0; i < count; i++)
            block[i] = value++;
        uint64_t first = vbuf_u64_fetch_add_relaxed(&s->claimed, count); /* all it does is count */
        memcpy(s->pages + first, block, count * sizeof *block);
    }
    return 0;
}

/* How many elements are in, and what they add up to. */
static void append_content(struct append *s, uint64_t ops, uint64_t *len, uint64_t *sum)
{
    const uint64_t *data = s->plain.data;
    *len = s->plain.len;
    if (s->vector.vector != NULL) {
        struct words_slice slice = words_snapshot(&s->vector);
        data = slice.data;
        *len = slice.count;
    } else if (s->pages != NULL) {
        data = s->pages;
        *len = vbuf_u64_load_acquire(&s->claimed); /* threads have stopped behind a barrier */
    }
#if defined(VBUF_BENCH_TBB)
    if (s->tbb != NULL) {
        *len = bench_tbb_len(s->tbb);
        *sum = bench_tbb_sum(s->tbb);
        return;
    }
#endif
    *sum = sum_words(data, *len < ops ? *len : ops);
}

/* The sum of 0, step, 2 * step, … below count. */
static uint64_t sum_below(uint64_t count, uint64_t step)
{
    uint64_t terms = count / step;
    return terms * (terms - 1) / 2 * step;
}

static bool push_check(void *state, uint64_t ops, uint64_t indices)
{
    uint64_t len, sum;
    append_content(state, ops, &len, &sum);
    return len == ops && sum == sum_below(ops, 1) && indices == sum_below(ops, 1);
}

static bool append_check(void *state, uint64_t ops, uint64_t unused)
{
    uint64_t len, sum;
    append_content(state, ops, &len, &sum);
    return unused != UINT64_MAX && len == ops && sum == sum_below(ops, 1);
}

/* Right whether or not a block came in as one run. */
static bool content_check(void *state, uint64_t ops, uint64_t indices)
{
    (void)indices;
    struct append *s = state;
    uint64_t len, sum;
    append_content(s, ops, &len, &sum);
    uint64_t each = ops / s->shape.threads / BLOCK; /* blocks a thread */
    return len == ops && sum == each * sum_below(s->shape.threads * BLOCK, 1);
}

static bool extend_check(void *state, uint64_t ops, uint64_t indices)
{
    return content_check(state, ops, indices) && indices == sum_below(ops, BLOCK);
}

#if defined(VBUF_BENCH_TBB)
static void tbb_fresh(void *state)
{
    struct append *s = state;
    append_clear(s);
    s->tbb = bench_tbb_create();
}

static void tbb_warmed(void *state)
{
    struct append *s = state;
    tbb_fresh(s);
    bench_tbb_warm(s->tbb, s->shape.n);
}

static uint64_t push_tbb(void *state, unsigned thread, uint64_t ops)
{
    struct append *s = state;
    return bench_tbb_push(s->tbb, thread * ops, ops);
}

static uint64_t extend_tbb(void *state, unsigned thread, uint64_t ops)
{
    struct append *s = state;
    return bench_tbb_push_blocks(s->tbb, s->blocks[thread], BLOCK, ops / BLOCK);
}

static uint64_t extend_tbb_grow(void *state, unsigned thread, uint64_t ops)
{
    struct append *s = state;
    return bench_tbb_grow_blocks(s->tbb, s->blocks[thread], BLOCK, ops / BLOCK);
}
#endif

const struct bench_case
    cvec_append_cases[] =
        {
            {
                .name = "cvec.push",
                .operation = "push of a u64",
                .unit = "ns",
                .memory = "warmed",
                .sizes = {250000},
                .lap_is_n = true,
                .grain = 1,
                .impls =
                    {
                        {"vbuf", 0, append_create, append_destroy, vbuf_warmed, NULL, push_vbuf,
                         NULL, push_check, NULL},
                        {"raw", 0, append_create, append_destroy, raw_warmed, NULL, push_raw, NULL,
                         push_check, NULL},
                        {"plain", 1, append_create, append_destroy, plain_warmed, NULL, push_plain,
                         NULL, push_check, NULL},
                        {"mutex", 0, append_create, append_destroy, plain_warmed, NULL, push_mutex,
                         NULL, push_check, NULL},
#if defined(VBUF_BENCH_TBB)
                        {"tbb", 0, append_create, append_destroy, tbb_warmed, NULL, push_tbb, NULL,
                         push_check, NULL},
#endif
                    },
            },
            {
                .name = "cvec.append",
                .operation = "u64, appended through blocks of 512 (tbb, mutex: one by one)",
                .unit = "ns",
                .memory = "fresh",
                .sizes = {1000000},
                .lap_is_n = true,
                .grain = 1,
                .impls =
                    {
                        {"vbuf", 0, append_create, append_destroy, vbuf_fresh, make_appender,
                         append_vbuf, NULL, append_check, NULL},
                        {"vbuf_huge", 0, append_create, append_destroy, huge_fresh, make_appender,
                         append_vbuf, NULL, append_check, NULL},
                        {"raw", 0, append_create, append_destroy, raw_fresh, NULL, append_raw, NULL,
                         append_check, NULL},
                        {"plain", 1, append_create, append_destroy, plain_fresh, NULL, push_plain,
                         NULL, push_check, NULL},
                        {"mutex", 0, append_create, append_destroy, plain_fresh, NULL, push_mutex,
                         NULL, push_check, NULL},
#if defined(VBUF_BENCH_TBB)
                        {"tbb", 0, append_create, append_destroy, tbb_fresh, NULL, push_tbb, NULL,
                         push_check, NULL},
#endif
                    },
            },
            {
                .name = "cvec.extend64",
                .operation = "u64, appended 64 a call (tbb: one by one)",
                .unit = "ns",
                .memory = "fresh",
                .sizes = {1000000},
                .lap_is_n = true,
                .grain = BLOCK,
                .impls =
                    {
                        {"vbuf", 0, append_create, append_destroy, vbuf_fresh, NULL, extend_vbuf,
                         NULL, extend_check, NULL},
                        {"vbuf_huge", 0, append_create, append_destroy, huge_fresh, NULL,
                         extend_vbuf, NULL, extend_check, NULL},
                        {"raw", 0, append_create, append_destroy, raw_fresh, NULL, extend_raw, NULL,
                         extend_check, NULL},
                        {"plain", 1, append_create, append_destroy, plain_fresh, NULL, extend_plain,
                         NULL, extend_check, NULL},
                        {"mutex", 0, append_create, append_destroy, plain_fresh, NULL, extend_mutex,
                         NULL, extend_check, NULL},
#if defined(VBUF_BENCH_TBB)
                        {"tbb", 0, append_create, append_destroy, tbb_fresh, NULL, extend_tbb, NULL,
                         content_check, NULL},
                        {"tbb_grow_by", 0, append_create, append_destroy, tbb_fresh, NULL,
                         extend_tbb_grow, NULL, extend_check, NULL},
#endif
                    },
            },
            {0},
};
