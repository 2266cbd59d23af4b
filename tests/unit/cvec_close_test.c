/*
 * cvec_close_test.c - a closed vector takes nothing more, keeps what it has, and lets waiters go.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "cvec_fixture.h"
#include "team.h"

/* Every call that would add something says so, and adds nothing. */
static void check_takes_nothing(struct cvec *v)
{
    struct words typed = words_of(v);
    struct cvec_report before = report_of(v), after;
    uint64_t values[4] = {0}, *slots = NULL;
    size_t index = 77;
    CHECK_STATUS(VBUF_CLOSED, cvec_push(v, values, &index));
    CHECK_STATUS(VBUF_CLOSED, words_push(&typed, 0, &index));
    CHECK_STATUS(VBUF_CLOSED, cvec_extend(v, values, 1, &index));
    CHECK_STATUS(VBUF_CLOSED, cvec_extend(v, values, 4, &index));
    CHECK_STATUS(VBUF_CLOSED, words_claim(&typed, 1, &index, &slots));
    CHECK_STATUS(VBUF_CLOSED, cvec_push_exclusive(v, values, &index));
    CHECK_STATUS(VBUF_CLOSED, words_push_exclusive(&typed, 0, &index));
    CHECK(index == 77 && slots == NULL);
    for (size_t room = 1; before.capacity + room <= before.max_len; room *= 7) {
        CHECK_STATUS(VBUF_CLOSED, cvec_reserve(v, before.capacity + room));
        CHECK_STATUS(VBUF_CLOSED, cvec_reserve_exact(v, before.capacity + room));
    }
    CHECK_STATUS(VBUF_OK, cvec_reserve(v, before.capacity)); /* iff the capacity is smaller */
    CHECK_STATUS(VBUF_OK, cvec_reserve_exact(v, before.capacity));
    CHECK_STATUS(VBUF_OK, cvec_extend(v, NULL, 0, &index)); /* iff count is not 0 */
    CHECK_EQ(index, before.claimed);
    after = report_of(v);
    CHECK(after.len == before.len && after.claimed == before.claimed);
    CHECK(after.capacity == before.capacity && after.growths == before.growths);
    CHECK_EQ(after.committed_bytes, before.committed_bytes);
    CHECK(cvec_get(v, before.claimed) == NULL);
}

TEST(cvec_close, a_closed_vector_takes_nothing_and_keeps_everything)
{
    const size_t lens[] = {0, 1, 511, 512, 513, 5000, 9999, 10000};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct words v = make_words(10000);
        push_numbers(v.vector, 0, lens[i]);
        CHECK(!cvec_is_closed(v.vector));
        struct cvec_report open = report_of(v.vector);
        CHECK(!open.closed);
        for (int twice = 0; twice < 2; twice++) {
            words_close(&v);
            CHECK(cvec_is_closed(v.vector));
            struct cvec_report closed = report_of(v.vector);
            CHECK(closed.closed);
            CHECK(closed.len == lens[i] && closed.claimed == lens[i]);
            CHECK_EQ(closed.growths, open.growths);
            CHECK_EQ(closed.committed_bytes, open.committed_bytes);
            check_takes_nothing(v.vector);
            check_numbers(v.vector, lens[i]);
        }
        words_destroy(&v);
    }
}

TEST(cvec_close, what_was_claimed_is_published_after)
{
    struct words v = make_words(100);
    uint64_t *slots = NULL;
    size_t first = SIZE_MAX;
    push_numbers(v.vector, 0, 3);
    REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(&v, 5, &first, &slots)));
    words_close(&v);
    CHECK_EQ(words_claimed(&v), 8);
    CHECK_EQ(words_len(&v), 3);
    for (uint64_t i = 0; i < 5; i++)
        slots[i] = first + i;
    CHECK_STATUS(VBUF_OK, words_publish(&v, first + 1, 4));
    CHECK_EQ(words_len(&v), 3);
    CHECK_STATUS(VBUF_OK, words_wait(&v, 3, -1));
    CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, 8, 1000000)); /* they were claimed */
    CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, 8, 0));
    CHECK_STATUS(VBUF_CLOSED, words_wait(&v, 9, -1)); /* this was not */
    CHECK_STATUS(VBUF_CLOSED, words_wait(&v, 9, 0));
    CHECK_STATUS(VBUF_CLOSED, words_wait(&v, 100, -1));
    CHECK_STATUS(VBUF_FULL, words_wait(&v, 101, -1)); /* closed or not */
    CHECK_STATUS(VBUF_INVALID, words_publish(&v, first, 6));
    CHECK_STATUS(VBUF_OK, words_publish(&v, first, 1));
    CHECK_STATUS(VBUF_OK, words_wait(&v, 8, -1));
    check_numbers(v.vector, 8);
    words_destroy(&v);
}

TEST(cvec_close, refused_pushes_never_add_up)
{
    struct words v = make_words(100);
    push_numbers(v.vector, 0, 7);
    words_close(&v);
    for (int i = 0; i < 100000; i++)
        REQUIRE(words_push(&v, 1, NULL) == VBUF_CLOSED);
    CHECK_EQ(words_claimed(&v), 7);
    CHECK(cvec_is_closed(v.vector));
    /* The index has 48 bits, and must not reach the era: what they hold is bounded by the threads. */
    uint64_t index = vbuf_u64_load_relaxed(&v.vector->len_) & CVEC_INDEX_MASK_;
    words_push(&v, 1, NULL);
    CHECK_EQ(vbuf_u64_load_relaxed(&v.vector->len_) & CVEC_INDEX_MASK_, index);
    check_numbers(v.vector, 7);
    words_destroy(&v);
}

TEST(cvec_close, exclusive_calls_leave_it_closed)
{
    struct books books;
    struct cvec *v = books_make(&books, 100000);
    push_numbers(v, 0, 50000);
    cvec_close(v);
    CHECK_STATUS(VBUF_INVALID, cvec_truncate(v, 50001));
    CHECK_STATUS(VBUF_OK, cvec_truncate(v, 40000));
    CHECK_EQ(books.destroyed, 10000);
    check_numbers(v, 40000);
    check_takes_nothing(v);
    CHECK_STATUS(VBUF_OK, cvec_truncate(v, 100));
    CHECK_STATUS(VBUF_OK, cvec_shrink_to_fit(v));
    CHECK(cvec_capacity(v) < 40000);
    check_books(v, &books);
    check_numbers(v, 100);
    check_takes_nothing(v);
    CHECK_STATUS(VBUF_CLOSED, cvec_wait(v, 101, -1));
    cvec_clear(v);
    check_takes_nothing(v);
    CHECK(report_of(v).closed);
    CHECK_EQ(books.destroyed, 50000);
    cvec_destroy(v);
    CHECK_EQ(books.destroyed, 50000);
    CHECK_EQ(books_balance(&books), 0);
}

TEST(cvec_close, destroy_destroys_what_was_published)
{
    struct books books;
    struct cvec *v = books_make(&books, 1000);
    size_t first;
    void *slots;
    push_numbers(v, 0, 10);
    CHECK_STATUS(VBUF_OK, cvec_claim(v, 5, &first, &slots)); /* never published */
    cvec_close(v);
    cvec_destroy(v);
    CHECK_EQ(books.destroyed, 10);
    CHECK(!books.out_of_order);
}

/*
 * A fork cut off a closer that had proposed 10, and then the vector became shorter. Another closer stops between
 * its looks and its proposal, while a third one closes: its proposal comes too late. (Its steps are played here.)
 */
TEST(cvec_close, truncate_forgets_what_was_proposed)
{
    struct words v = make_words(1000);
    push_numbers(v.vector, 0, 10);
    vbuf_u64_store_relaxed(&v.vector->final_, 10 + 1);
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 5));
    uint64_t proposed = vbuf_u64_load_acquire(&v.vector->final_), claimed = words_claimed(&v);
    push_numbers(v.vector, 5, 10);
    words_close(&v);
    CHECK(!vbuf_u64_cas_acq_rel(&v.vector->final_, &proposed, claimed + 1));
    CHECK_EQ(words_claimed(&v), 10);
    CHECK_STATUS(VBUF_CLOSED, words_wait(&v, 11, 0));
    check_numbers(v.vector, 10);
    words_destroy(&v);
}

/* ---- waiters ---- */

#define WAITERS 6

struct scene {
    struct words v;
    struct gate closed;
};

static void await_waiters(struct cvec *v, size_t count)
{
    for (int64_t give_up = now_ns() + A_LONG_TIME; now_ns() < give_up; team_sleep_us(50)) {
        if (report_of(v).waiters == count)
            break;
    }
    CHECK_EQ(report_of(v).waiters, count);
    team_sleep_us(2000); /* they sleep by now, most likely */
}

/* Ten are claimed. Who waits for more is let go; who waits for those sleeps until they come. */
static void wait_at_a_closed_door(void *context, unsigned thread)
{
    struct scene *s = context;
    if (thread < WAITERS) {
        size_t count = 8 + thread; /* 8, 9, 10; 11, 12, 13 */
        enum vbuf_status expected = count <= 10 ? VBUF_OK : VBUF_CLOSED;
        CHECK_STATUS(expected, wait_for_wake(s->v.vector, count));
        CHECK(cvec_is_closed(s->v.vector));
        return;
    }
    await_waiters(s->v.vector, WAITERS);
    words_close(&s->v);
    await_waiters(s->v.vector, 3); /* three are let go */
    CHECK_STATUS(VBUF_OK, words_publish(&s->v, 0, 10));
}

TEST(cvec_close, waiters_return_iff_what_they_wait_for_will_never_come)
{
    for (int round = 0; round < 20; round++) {
        struct scene s = {.v = make_words(1000)};
        size_t first;
        uint64_t *slots = NULL;
        REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(&s.v, 10, &first, &slots)));
        for (size_t i = 0; i < 10; i++)
            slots[i] = i;
        team_run(WAITERS + 1, wait_at_a_closed_door, &s);
        CHECK_EQ(report_of(s.v.vector).waiters, 0);
        check_numbers(s.v.vector, 10);
        words_destroy(&s.v);
    }
}

/* ---- races ---- */

#define PUSHERS 3
#define CLOSERS 2

struct race {
    struct words v;
    uint64_t accepted[PUSHERS];
    size_t at_close[CLOSERS];
    unsigned round;
};

/* Appends numbers, in the ways there are, until told that it is over. */
static void push_until_closed(struct race *r, unsigned thread)
{
    for (uint64_t next = 0;; next = r->accepted[thread]) {
        uint64_t run[3];
        for (uint64_t i = 0; i < 3; i++)
            run[i] = (uint64_t)thread << 32 | (next + i);
        size_t count = next % 3 == 1 ? 3 : 1, first;
        uint64_t *slots = NULL;
        enum vbuf_status status;
        if (next % 5 == 4) {
            count = 1;
            status = words_claim(&r->v, 1, &first, &slots);
            if (status == VBUF_OK) {
                slots[0] = run[0];
                CHECK_STATUS(VBUF_OK, words_publish(&r->v, first, 1)); /* also after closing */
            }
        } else {
            status = count == 3 ? words_extend(&r->v, run, 3, NULL) : words_push(&r->v, *run, NULL);
        }
        if (status != VBUF_OK) {
            CHECK_STATUS(VBUF_CLOSED, status);
            CHECK(cvec_is_closed(r->v.vector));
            CHECK_STATUS(VBUF_CLOSED, words_push(&r->v, 0, NULL)); /* and so it stays */
            return;
        }
        r->accepted[thread] = next + count;
    }
}

static void push_or_close(void *context, unsigned thread)
{
    struct race *r = context;
    if (thread < PUSHERS) {
        push_until_closed(r, thread);
    } else if (thread < PUSHERS + CLOSERS) {
        team_sleep_us((long)(r->round * 13 % 300));
        words_close(&r->v);
        r->at_close[thread - PUSHERS] = words_claimed(&r->v);
        CHECK_STATUS(VBUF_CLOSED, words_push(&r->v, 0, NULL));
    } else {
        enum vbuf_status status = wait_for_wake(r->v.vector, words_claimed(&r->v) + 1);
        CHECK(status == VBUF_OK || status == VBUF_CLOSED);
        CHECK_STATUS(VBUF_CLOSED, wait_for_wake(r->v.vector, cvec_max_len(r->v.vector)));
    }
}

/* Exactly what was acknowledged is there, each thread's in its order. */
static void check_race(struct race *r)
{
    uint64_t next[PUSHERS] = {0};
    struct words_slice all = words_snapshot(&r->v);
    for (size_t i = 0; i < all.count; i++) {
        uint64_t thread = all.data[i] >> 32;
        REQUIRE(thread < PUSHERS);
        REQUIRE(CHECK_EQ(all.data[i] & UINT32_MAX, next[thread]));
        next[thread]++;
    }
    for (unsigned t = 0; t < PUSHERS; t++)
        CHECK_EQ(next[t], r->accepted[t]);
    CHECK_EQ(words_claimed(&r->v), all.count);
    for (unsigned i = 0; i < CLOSERS; i++) /* from when close returned on, nothing was added */
        CHECK_EQ(r->at_close[i], all.count);
}

TEST(cvec_close, closing_races_with_pushers_growers_waiters_and_other_closers)
{
    for (unsigned round = 0; round < BUILD_COUNT(150u, 40u); round++) {
        struct race r = {.v = make_words(100000000), .round = round};
        team_run(PUSHERS + CLOSERS + 1, push_or_close, &r);
        check_race(&r);
        CHECK_EQ(report_of(r.v.vector).waiters, 0);
        words_destroy(&r.v);
    }
}
