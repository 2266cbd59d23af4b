/*
 * cvec_cursor_test.c - tail reading: every element is given once, in order, in plain arrays.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "cvec_fixture.h"
#include "team.h"

/* Takes all that is there in steps of `most`; returns the number of slices. */
static size_t drain(struct words *v, struct cvec_cursor *cursor, size_t most)
{
    size_t slices = 0;
    struct words_slice slice = {NULL, 0};
    for (size_t next = cursor->next;; slices++) {
        enum vbuf_status status = words_cursor_next(cursor, most, 0, &slice);
        if (status != VBUF_OK) {
            CHECK(status == VBUF_TIMEDOUT || status == VBUF_CLOSED || status == VBUF_FULL);
            CHECK_EQ(cursor->next, next);
            return slices;
        }
        if (!CHECK(slice.count >= 1 && (most == 0 || slice.count <= most)) ||
            !CHECK(slice.data == words_get(v, next)) || !CHECK_EQ(cursor->next, next + slice.count))
            return slices;
        for (size_t i = 0; i < slice.count; i++)
            CHECK_EQ(slice.data[i], next + i);
        next += slice.count;
    }
}

TEST(cvec_cursor, slices_cover_everything_once_and_in_order)
{
    const size_t mosts[] = {0, 1, 2, 7, 99, 100, 101, SIZE_MAX};
    for (size_t i = 0; i < sizeof mosts / sizeof *mosts; i++) {
        size_t most = mosts[i];
        struct words v = make_words(10000);
        struct cvec_cursor cursor = {v.vector, 0}, late = {v.vector, 150};
        CHECK_EQ(drain(&v, &cursor, most), 0);
        push_numbers(v.vector, 0, 100);
        CHECK_EQ(drain(&v, &cursor, most), most == 0 ? 1 : 99 / (most < 100 ? most : 100) + 1);
        CHECK_EQ(cursor.next, 100);
        CHECK_EQ(drain(&v, &late, most), 0); /* what it waits for is not there yet */
        push_numbers(v.vector, 100, 5000);
        drain(&v, &cursor, most);
        drain(&v, &late, most);
        CHECK_EQ(cursor.next, 5000);
        CHECK_EQ(late.next, 5000);
        words_destroy(&v);
    }
}

TEST(cvec_cursor, only_what_is_published_is_given)
{
    struct words v = make_words(100);
    struct cvec_cursor cursor = {v.vector, 0};
    struct cvec_slice slice = {NULL, 77};
    size_t first;
    uint64_t *slots = NULL;
    push_numbers(v.vector, 0, 3);
    REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(&v, 2, &first, &slots)));
    push_numbers(v.vector, 5, 9);
    CHECK_EQ(drain(&v, &cursor, 0), 1);
    CHECK_EQ(cursor.next, 3);
    CHECK_STATUS(VBUF_TIMEDOUT, cvec_cursor_next(&cursor, 0, 1000000, &slice));
    CHECK(slice.data == NULL && slice.count == 77); /* written on VBUF_OK only */
    slots[0] = 3;
    slots[1] = 4;
    CHECK_STATUS(VBUF_OK, words_publish(&v, first, 2));
    CHECK_STATUS(VBUF_OK, cvec_cursor_next(&cursor, 0, 0, &slice));
    CHECK(slice.data == words_get(&v, 3) && slice.count == 6);
    words_destroy(&v);
}

TEST(cvec_cursor, it_is_closed_iff_all_that_was_claimed_was_given)
{
    struct words v = make_words(100);
    struct cvec_cursor cursor = {v.vector, 0}, ahead = {v.vector, 12};
    struct words_slice slice = {NULL, 0};
    size_t first;
    uint64_t *slots = NULL;
    push_numbers(v.vector, 0, 5);
    REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(&v, 5, &first, &slots)));
    for (size_t i = 0; i < 5; i++)
        slots[i] = first + i;
    words_close(&v);
    CHECK_STATUS(VBUF_OK, words_cursor_next(&cursor, 3, -1, &slice));
    CHECK_STATUS(VBUF_OK, words_cursor_next(&cursor, 3, -1, &slice));
    CHECK_EQ(slice.count, 2);
    CHECK_STATUS(VBUF_TIMEDOUT, words_cursor_next(&cursor, 3, 0, &slice)); /* more is to come */
    CHECK_STATUS(VBUF_TIMEDOUT, words_cursor_next(&cursor, 3, 1000, &slice));
    CHECK_STATUS(VBUF_OK, words_publish(&v, 5, 5));
    drain(&v, &cursor, 2);
    for (int again = 0; again < 3; again++) {
        CHECK_STATUS(VBUF_CLOSED, words_cursor_next(&cursor, 0, -1, &slice));
        CHECK_STATUS(VBUF_CLOSED, words_cursor_next(&ahead, 0, -1, &slice));
        CHECK_EQ(cursor.next, 10);
    }
    words_destroy(&v);
}

TEST(cvec_cursor, it_is_full_iff_max_len_was_given_and_it_is_not_closed)
{
    struct words v = make_words(10);
    struct cvec_cursor cursor = {v.vector, 0}, beyond = {v.vector, SIZE_MAX}, at = {v.vector, 10};
    struct words_slice slice = {NULL, 0};
    push_numbers(v.vector, 0, 9);
    drain(&v, &cursor, 4);
    CHECK_STATUS(VBUF_TIMEDOUT, words_cursor_next(&cursor, 0, 0, &slice));
    push_numbers(v.vector, 9, 10);
    drain(&v, &cursor, 4);
    CHECK_EQ(cursor.next, 10);
    CHECK_STATUS(VBUF_FULL, words_cursor_next(&cursor, 0, -1, &slice));
    CHECK_STATUS(VBUF_FULL, words_cursor_next(&at, SIZE_MAX, -1, &slice));
    CHECK_STATUS(VBUF_FULL, words_cursor_next(&beyond, SIZE_MAX, -1, &slice));
    CHECK_EQ(beyond.next, SIZE_MAX);
    words_close(&v);
    CHECK_STATUS(VBUF_CLOSED, words_cursor_next(&cursor, 0, -1, &slice));
    CHECK_STATUS(VBUF_CLOSED, words_cursor_next(&beyond, SIZE_MAX, -1, &slice));
    cursor.next = 0; /* what was not given yet comes first */
    CHECK_STATUS(VBUF_OK, words_cursor_next(&cursor, 0, -1, &slice));
    CHECK_EQ(slice.count, 10);
    words_destroy(&v);
}

TEST(cvec_cursor, it_never_goes_back_after_truncate)
{
    struct words v = make_words(100);
    struct cvec_cursor cursor = {v.vector, 0};
    struct words_slice slice = {NULL, 0};
    push_numbers(v.vector, 0, 10);
    drain(&v, &cursor, 0);
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 3));
    CHECK_STATUS(VBUF_TIMEDOUT, words_cursor_next(&cursor, 0, 0, &slice));
    push_numbers(v.vector, 3, 12);
    CHECK_STATUS(VBUF_OK, words_cursor_next(&cursor, 0, 0, &slice));
    CHECK(slice.data == words_get(&v, 10) && slice.count == 2);
    words_destroy(&v);
}

/* ---- a consumer that sleeps ---- */

#define CONSUMERS 3
#define PRODUCERS 2
#define VALUES BUILD_COUNT(30000u, 5000u)

struct feed {
    struct words v;
    struct vbuf_atomic_u64 working;
};

static void produce(struct feed *f, unsigned thread)
{
    struct words_appender a;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&a, &f->v, 5)));
    for (uint64_t i = 0; i < VALUES; i++) {
        uint64_t value = (uint64_t)thread << 32 | i;
        if (thread == 0)
            CHECK_STATUS(VBUF_OK, words_push(&f->v, value, NULL));
        else
            CHECK_STATUS(VBUF_OK, words_appender_push(&a, value));
        if (i % 1000 == 0)
            team_sleep_us(100); /* so that consumers go to sleep now and then */
    }
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a));
    if (vbuf_u64_fetch_add_acq_rel(&f->working, UINT64_MAX) == 1)
        words_close(&f->v);
}

static void consume(struct feed *f, unsigned thread)
{
    struct cvec_cursor cursor = {f->v.vector, 0};
    struct words_slice slice = {NULL, 0};
    uint64_t next[PRODUCERS] = {0};
    enum vbuf_status status;
    int64_t begin = now_ns();
    while ((status = words_cursor_next(&cursor, thread * 3, A_LONG_TIME, &slice)) == VBUF_OK) {
        REQUIRE(slice.count >= 1 && now_ns() - begin < A_LONG_TIME); /* no wake was lost */
        begin = now_ns();
        for (size_t i = 0; i < slice.count; i++) {
            uint64_t producer = slice.data[i] >> 32;
            REQUIRE(producer < PRODUCERS);
            REQUIRE((slice.data[i] & UINT32_MAX) == next[producer]++);
        }
    }
    CHECK_STATUS(VBUF_CLOSED, status);
    for (unsigned i = 0; i < PRODUCERS; i++)
        CHECK_EQ(next[i], VALUES);
}

static void produce_or_consume(void *context, unsigned thread)
{
    if (thread < PRODUCERS)
        produce(context, thread);
    else
        consume(context, thread - PRODUCERS);
}

TEST(cvec_cursor, sleeping_consumers_get_everything_until_it_is_closed)
{
    /* Never full, so closing is what ends it. */
    struct feed f = {.v = make_words((size_t)PRODUCERS * VALUES + 1), .working = {PRODUCERS}};
    team_run(PRODUCERS + CONSUMERS, produce_or_consume, &f);
    CHECK_EQ(words_len(&f.v), (size_t)PRODUCERS * VALUES);
    CHECK_EQ(report_of(f.v.vector).waiters, 0);
    words_destroy(&f.v);
}
