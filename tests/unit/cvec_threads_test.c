/*
 * cvec_threads_test.c - many threads on one vector: indices are handed out once, order is kept, limits
 * hold. What TSan must see is in tests/tsan.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "team.h"

#define THREADS 4
#define PUSHES BUILD_COUNT(100000u, 10000u)

CVEC_DEFINE(words, uint64_t)

struct shared {
    struct words v;
    size_t max_len;
    uint64_t accepted[THREADS]; /* elements, by thread */
    struct gate stop;
};

static void setup(struct shared *s, size_t max_len)
{
    memset(s, 0, sizeof *s);
    s->max_len = max_len;
    CHECK_STATUS(VBUF_OK, words_create(&s->v, &(struct cvec_options){.max_len = max_len}));
    CHECK_STATUS(VBUF_OK, words_reserve(&s->v, 0));
}

/* Appends the run, or its first value only: typed and untyped pushes in turn. */
static enum vbuf_status append(struct shared *s, const uint64_t *run, size_t *count, size_t *index)
{
    if (*count > 1) {
        enum vbuf_status status = words_extend(&s->v, run, *count, index);
        if (status != VBUF_FULL)
            return status;
        *count = 1; /* fewer may still fit */
    }
    return run[0] % 2 == 0 ? words_push(&s->v, run[0], index) : cvec_push(s->v.vector, run, index);
}

/* Appends the numbers 0, 1, … of this thread until its share is done or the vector is full. */
static void push_numbers(void *context, unsigned thread)
{
    struct shared *s = context;
    uint64_t next = 0;
    size_t last_index = 0;
    while (next < PUSHES) {
        uint64_t run[7];
        size_t count = next % 11 == 0 ? 7 : 1, index = SIZE_MAX;
        for (size_t i = 0; i < 7; i++)
            run[i] = (uint64_t)thread << 32 | (next + i);
        enum vbuf_status status = append(s, run, &count, &index);
        if (status != VBUF_OK) {
            CHECK_STATUS(VBUF_FULL, status);
            break;
        }
        CHECK(next == 0 || index > last_index); /* a thread's indices rise */
        last_index = index;
        const uint64_t *mine = words_get(&s->v, index); /* C4: found at once */
        if (!CHECK(mine != NULL) || !CHECK_EQ(*mine, run[0]))
            return;
        next += count;
    }
    s->accepted[thread] = next;
}

/* Every value is there once, each thread's in its order, with no gap. */
static void check_all_there(struct shared *s)
{
    uint64_t next[THREADS] = {0};
    struct words_slice all = words_snapshot(&s->v);
    for (size_t i = 0; i < all.count; i++) {
        uint64_t thread = all.data[i] >> 32;
        REQUIRE(thread < THREADS);
        REQUIRE(CHECK_EQ(all.data[i] & UINT32_MAX, next[thread]));
        next[thread]++;
    }
    for (unsigned t = 0; t < THREADS; t++)
        CHECK_EQ(next[t], s->accepted[t]);
    CHECK_EQ(words_len(&s->v), cvec_claimed(s->v.vector));
}

TEST(cvec_threads, C4_C5_each_index_once_each_thread_in_order)
{
    struct shared s;
    setup(&s, (size_t)THREADS * (PUSHES + 7));
    team_run(THREADS, push_numbers, &s);
    check_all_there(&s);
    words_destroy(&s.v);
}

TEST(cvec_threads, exactly_max_len_are_accepted_under_contention)
{
    const size_t lens[] = {1, 2, 100, 513, 20000};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct shared s;
        setup(&s, lens[i]);
        team_run(THREADS, push_numbers, &s);
        CHECK_EQ(words_snapshot(&s.v).count, lens[i]);
        CHECK_EQ(cvec_capacity(s.v.vector), lens[i]);
        check_all_there(&s);
        words_destroy(&s.v);
    }
}

/* Half of the threads push; the others look: prefixes only grow and hold whole values. */
static void push_or_look(void *context, unsigned thread)
{
    struct shared *s = context;
    if (thread < 2) {
        push_numbers(context, thread);
        gate_open(&s->stop);
        return;
    }
    size_t before = 0;
    while (!gate_is_open(&s->stop)) {
        size_t claimed = cvec_claimed(s->v.vector);
        struct words_slice now = words_snapshot(&s->v);
        CHECK(now.count >= before);
        CHECK(cvec_capacity(s->v.vector) >= now.count);
        CHECK(cvec_claimed(s->v.vector) >= now.count && cvec_claimed(s->v.vector) >= claimed);
        if (now.count > 0) {
            const uint64_t *last = words_get(&s->v, now.count - 1);
            CHECK(last == now.data + now.count - 1 && *last >> 32 < 2);
        }
        before = now.count;
        const uint64_t *ahead = words_get(&s->v, now.count + thread);
        CHECK(ahead == NULL || *ahead >> 32 < 2);
    }
}

TEST(cvec_threads, C2_C3_readers_see_growing_prefixes_of_whole_elements)
{
    struct shared s;
    setup(&s, (size_t)2 * (PUSHES + 7));
    team_run(THREADS, push_or_look, &s);
    check_all_there(&s);
    words_destroy(&s.v);
}

/* Reserves of different sizes at once: each caller finds what it was promised. */
static void reserve_differently(void *context, unsigned thread)
{
    struct shared *s = context;
    for (size_t step = 1; step <= 40; step++) {
        size_t wanted = step * 997 * (thread + 1);
        if (!CHECK_STATUS(VBUF_OK, words_reserve(&s->v, wanted)))
            return;
        CHECK(cvec_capacity(s->v.vector) >= wanted);
        CHECK_STATUS(VBUF_OK,
                     words_push(&s->v, (uint64_t)thread << 32 | s->accepted[thread]++, NULL));
    }
}

TEST(cvec_threads, concurrent_reserves_each_get_what_they_were_promised)
{
    for (int round = 0; round < 50; round++) {
        struct shared s;
        setup(&s, 1000000);
        team_run(THREADS, reserve_differently, &s);
        check_all_there(&s);
        struct cvec_report stats;
        CHECK_STATUS(VBUF_OK, cvec_stats(s.v.vector, &stats));
        CHECK(stats.capacity >= (size_t)40 * 997 * THREADS);
        CHECK(stats.growths >= 1 && stats.growths <= 40 * THREADS);
        words_destroy(&s.v);
    }
}

/* Many vectors, each filled by all threads from nothing: the first growths are the contended ones. */
TEST(cvec_threads, C5_the_first_growth_is_raced_often)
{
    for (int round = 0; round < BUILD_COUNT(300, 50); round++) {
        struct shared s;
        setup(&s, 600);
        team_run(THREADS, push_numbers, &s);
        REQUIRE(CHECK_EQ(words_snapshot(&s.v).count, 600));
        check_all_there(&s);
        words_destroy(&s.v);
    }
}
