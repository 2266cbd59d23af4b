/*
 * vbuf_bench.c - pushing to a typed vector on a vbuf, one by one, from empty.
 *
 * Every lap starts with a container of its own. Warmed, it was filled once; in the timing it is
 * cleared and filled again, and again: that clear keeps the memory is part of what is measured. A
 * lap of its own also means pages of its own, and where they lie can cost a small array a fifth.
 * Fresh, it never held anything, and memory arrives while it is filled. That is mostly page faults,
 * and what one costs varies by a tenth with the loop around it.
 *
 * `raw` is an array that is large enough from the start, and a length in memory: a push is two
 * stores and no check. The second has to be asked for. Without it compilers see through a loop of
 * pushes, write the length once at the end and several elements at a time: that fills an array, it
 * does not push to one.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "baselines.h"
#include "bench.h"

#include <vbuf/vbuf.h>

VBUF_DEFINE(numbers, uint64_t)

#define MAX_LEN ((size_t)1 << 28) /* address space is free */

struct presized {
    uint64_t *data;
    struct vbuf_atomic_u64 len;
};

/* What a pushing implementation works on; each uses its own part. */
struct filling {
    uint64_t n;
    struct numbers vector BENCH_LINES;
    struct presized raw BENCH_LINES;
    struct plain_vec plain BENCH_LINES;
};

/* ---- fresh ---- */

static void *filling_create(const struct bench_shape *shape)
{
    struct filling *s = bench_alloc(sizeof *s);
    s->n = shape->n;
    return s;
}

/* Throws away what the last lap filled. */
static void filling_clear(struct filling *s)
{
    numbers_destroy(&s->vector);
    if (s->raw.data != NULL)
        pages_free(s->raw.data, s->n * sizeof(uint64_t));
    s->raw = (struct presized){0};
    free(s->plain.data);
    s->plain = (struct plain_vec){0};
}

static void filling_destroy(void *state)
{
    filling_clear(state);
    bench_free(state);
}

static void vbuf_fresh(void *state)
{
    struct filling *s = state;
    filling_clear(s);
    if (numbers_init(&s->vector, MAX_LEN, NULL) != VBUF_OK)
        bench_die("cannot make a vector");
}

static void raw_fresh(void *state)
{
    struct filling *s = state;
    filling_clear(s);
    s->raw.data = pages_alloc(s->n * sizeof(uint64_t));
}

static void plain_fresh(void *state)
{
    filling_clear(state);
}

/* ---- push ---- */

enum pusher { BY_VBUF, BY_RAW, BY_PLAIN };

static BENCH_INLINE void clear(struct filling *s, enum pusher by)
{
    if (by == BY_VBUF)
        numbers_clear(&s->vector);
    else if (by == BY_RAW)
        vbuf_u64_store_relaxed(&s->raw.len, 0); /* one thread */
    else
        s->plain.len = 0;
}

/* Pushes 0, 1, … below ops, clearing before every n of them; returns how many went in. */
static BENCH_INLINE uint64_t push_all(struct filling *s, uint64_t ops, enum pusher by)
{
    uint64_t *raw = s->raw.data;
    uint64_t n = s->n, value = 0;
    while (value < ops) {
        uint64_t len = 0; /* raw's */
        clear(s, by);
        for (uint64_t end = value + n; value < end; value++) {
            if (by == BY_VBUF) {
                if (VBUF_UNLIKELY(numbers_push(&s->vector, value) != VBUF_OK))
                    return value;
            } else if (by == BY_RAW) {
                raw[len] = value;
                vbuf_u64_store_relaxed(&s->raw.len, ++len); /* one thread */
            } else {
                plain_vec_push(&s->plain, value);
            }
        }
    }
    return value;
}

static uint64_t push_vbuf(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return push_all(state, ops, BY_VBUF);
}

static uint64_t push_raw(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return push_all(state, ops, BY_RAW);
}

static uint64_t push_plain(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return push_all(state, ops, BY_PLAIN);
}

/* The last n numbers are in, and nothing else. */
static bool push_check(void *state, uint64_t ops, uint64_t pushed)
{
    struct filling *s = state;
    const uint64_t *data = s->plain.data;
    size_t len = s->plain.len;
    if (s->vector.bytes.data != NULL) {
        data = numbers_data(&s->vector);
        len = numbers_len(&s->vector);
    } else if (s->raw.data != NULL) {
        data = s->raw.data;
        len = vbuf_u64_load_relaxed(&s->raw.len); /* one thread */
    }
    uint64_t first = ops - s->n;
    return pushed == ops && len == s->n &&
           sum_words(data, len) == s->n * first + s->n * (s->n - 1) / 2;
}

/* ---- warmed ---- */

static void vbuf_warmed(void *state)
{
    struct filling *s = state;
    vbuf_fresh(s);
    push_all(s, s->n, BY_VBUF);
}

static void raw_warmed(void *state)
{
    struct filling *s = state;
    raw_fresh(s);
    push_all(s, s->n, BY_RAW);
}

static void plain_warmed(void *state)
{
    struct filling *s = state;
    plain_fresh(s);
    push_all(s, s->n, BY_PLAIN);
}

const struct bench_case vbuf_cases[] = {
    {
        .name = "vbuf.push",
        .operation = "push of a u64, refilling after a clear",
        .unit = "ns",
        .memory = "warmed",
        .sizes = {1000, 1000000},
        .impls =
            {
                {"vbuf", 1, filling_create, filling_destroy, vbuf_warmed, NULL, push_vbuf, NULL,
                 push_check, NULL},
                {"raw", 1, filling_create, filling_destroy, raw_warmed, NULL, push_raw, NULL,
                 push_check, NULL},
                {"plain", 1, filling_create, filling_destroy, plain_warmed, NULL, push_plain, NULL,
                 push_check, NULL},
            },
    },
    {
        .name = "vbuf.push_fresh",
        .operation = "push of a u64, growing from nothing (raw: presized)",
        .unit = "ns",
        .memory = "fresh",
        .sizes = {1000000},
        .lap_is_n = true,
        .impls =
            {
                {"vbuf", 1, filling_create, filling_destroy, vbuf_fresh, NULL, push_vbuf, NULL,
                 push_check, NULL},
                {"raw", 1, filling_create, filling_destroy, raw_fresh, NULL, push_raw, NULL,
                 push_check, NULL},
                {"plain", 1, filling_create, filling_destroy, plain_fresh, NULL, push_plain, NULL,
                 push_check, NULL},
            },
    },
    {0},
};
