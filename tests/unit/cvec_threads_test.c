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
#include "cvec_fixture.h"
#include "team.h"

#define THREADS 4
#define PUSHES BUILD_COUNT(100000u, 10000u)

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
static void push_own_numbers(void *context, unsigned thread)
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
    team_run(THREADS, push_own_numbers, &s);
    check_all_there(&s);
    words_destroy(&s.v);
}

TEST(cvec_threads, exactly_max_len_are_accepted_under_contention)
{
    const size_t lens[] = {1, 2, 100, 513, 20000};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct shared s;
        setup(&s, lens[i]);
        team_run(THREADS, push_own_numbers, &s);
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
        push_own_numbers(context, thread);
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

/* Every way to append at once, one a thread, while others wait, tail, reserve and look at the figures. */

enum { BY_PUSH, BY_EXTEND, BY_APPENDER, BY_CLAIM, WAYS };

static uint64_t named(unsigned way, uint64_t number)
{
    return (uint64_t)way << 32 | number;
}

static void append_in_blocks(struct shared *s)
{
    struct words_appender a;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&a, &s->v, 33)));
    for (uint64_t i = 0; i < PUSHES; i++)
        CHECK_STATUS(VBUF_OK, words_appender_push(&a, named(BY_APPENDER, i)));
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a));
}

static void append_in_runs(struct shared *s, unsigned way)
{
    for (uint64_t next = 0; next < PUSHES; next += 4) {
        uint64_t run[4], *slots = NULL;
        size_t first;
        for (uint64_t i = 0; i < 4; i++)
            run[i] = named(way, next + i);
        if (way == BY_EXTEND) {
            CHECK_STATUS(VBUF_OK, words_extend(&s->v, run, 4, NULL));
            continue;
        }
        REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(&s->v, 4, &first, &slots)));
        memcpy(slots, run, sizeof run);
        CHECK_STATUS(VBUF_OK, words_publish(&s->v, first + 2, 2));
        CHECK_STATUS(VBUF_OK, words_publish(&s->v, first, 2));
    }
}

static void tail(struct shared *s)
{
    struct cvec_cursor cursor = {s->v.vector, 0};
    struct words_slice slice = {NULL, 0};
    uint64_t next[WAYS] = {0};
    while (cursor.next < (size_t)WAYS * PUSHES) {
        REQUIRE(CHECK_STATUS(VBUF_OK, words_cursor_next(&cursor, 1000, A_LONG_TIME, &slice)));
        for (size_t i = 0; i < slice.count; i++) {
            REQUIRE(slice.data[i] >> 32 < WAYS);
            REQUIRE((slice.data[i] & UINT32_MAX) == next[slice.data[i] >> 32]++);
        }
    }
}

static void wait_reserve_and_look(struct shared *s)
{
    struct cvec_report before = {0};
    for (size_t count = 1; count < (size_t)WAYS * PUSHES; count += count / 9 + 1) {
        CHECK_STATUS(VBUF_OK, wait_for_wake(s->v.vector, count));
        CHECK_STATUS(VBUF_OK, words_reserve_exact(&s->v, count + 10));
        struct cvec_report now = report_of(s->v.vector);
        CHECK(now.len >= before.len && now.len >= count && now.claimed >= before.claimed);
        CHECK(now.capacity >= before.capacity && now.growths >= before.growths);
        CHECK(now.capacity <= now.max_len && now.waiters <= 2 && !now.closed);
        before = now;
    }
}

static void do_one_thing(void *context, unsigned thread)
{
    struct shared *s = context;
    switch (thread) {
    case BY_PUSH:
        for (uint64_t i = 0; i < PUSHES; i++)
            CHECK_STATUS(VBUF_OK, words_push(&s->v, named(BY_PUSH, i), NULL));
        break;
    case BY_EXTEND:
    case BY_CLAIM:
        append_in_runs(s, thread);
        break;
    case BY_APPENDER:
        append_in_blocks(s);
        break;
    case WAYS:
        tail(s);
        break;
    default:
        wait_reserve_and_look(s);
    }
}

TEST(cvec_threads, all_ways_to_append_and_to_read_at_once)
{
    struct shared s;
    setup(&s, (size_t)WAYS * PUSHES);
    team_run(WAYS + 2, do_one_thing, &s);
    for (unsigned way = 0; way < WAYS; way++)
        s.accepted[way] = PUSHES;
    check_all_there(&s);
    CHECK_EQ(report_of(s.v.vector).waiters, 0);
    words_destroy(&s.v);
}

/* Many vectors, each filled by all threads from nothing: the first growths are the contended ones. */
TEST(cvec_threads, C5_the_first_growth_is_raced_often)
{
    for (int round = 0; round < BUILD_COUNT(300, 50); round++) {
        struct shared s;
        setup(&s, 600);
        team_run(THREADS, push_own_numbers, &s);
        REQUIRE(CHECK_EQ(words_snapshot(&s.v).count, 600));
        check_all_there(&s);
        words_destroy(&s.v);
    }
}

/*
 * One thread is stopped in the middle of a commit, in the user's hook: the others push into what is
 * committed, and grow. Then its own commit is refused; there is room by now, so it goes on.
 */
struct stuck {
    struct words v;
    struct gate inside, leave;
    struct vbuf_atomic_u32 armed;
};

static __thread bool is_stuck_thread;

static bool get_stuck(void *context, size_t bytes)
{
    struct stuck *s = context;
    (void)bytes;
    if (!is_stuck_thread || vbuf_u32_load_acquire(&s->armed) == 0)
        return true;
    gate_open(&s->inside);
    gate_wait(&s->leave);
    return false;
}

static void grow_or_be_stuck(void *context, unsigned thread)
{
    struct stuck *s = context;
    size_t index = SIZE_MAX, len = words_len(&s->v);
    if (thread == 0) {
        is_stuck_thread = true;
        CHECK_STATUS(VBUF_OK, words_push(&s->v, 1, &index));
        CHECK(words_get(&s->v, index) != NULL);
        is_stuck_thread = false;
        return;
    }
    gate_wait(&s->inside);
    for (uint64_t i = len; i < 20000; i++)
        REQUIRE(CHECK_STATUS(VBUF_OK, words_push(&s->v, i, NULL)));
    CHECK_STATUS(VBUF_OK, words_reserve(&s->v, 100000));
    CHECK_EQ(words_len(&s->v), 20000); /* the stuck thread has claimed nothing */
    gate_open(&s->leave);
}

TEST(cvec_threads, C5_C6_a_thread_that_is_stuck_in_a_commit_stops_nobody)
{
    struct stuck s = {.v = {NULL, NULL}};
    struct cvec_options options = {.max_len = 200000, .on_commit = get_stuck, .context = &s};
    REQUIRE(CHECK_STATUS(VBUF_OK, words_create(&s.v, &options)));
    push_numbers(s.v.vector, 0, 1);
    push_numbers(s.v.vector, 1, words_capacity(&s.v)); /* the next one grows */
    vbuf_u32_store_release(&s.armed, 1);
    team_run(2, grow_or_be_stuck, &s);
    CHECK_EQ(words_len(&s.v), 20001);
    words_destroy(&s.v);
}
