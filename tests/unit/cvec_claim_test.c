/*
 * cvec_claim_test.c - claim and publish: elements built in place, published in any order.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "cvec_fixture.h"
#include "team.h"

/* Claims `count` numbers and writes them, which are their indices. */
static size_t claim_numbers(struct cvec *v, size_t count)
{
    size_t first = SIZE_MAX;
    void *slots = NULL;
    if (!CHECK_STATUS(VBUF_OK, cvec_claim(v, count, &first, &slots)))
        return SIZE_MAX;
    for (size_t i = 0; i < count; i++)
        ((uint64_t *)slots)[i] = first + i;
    return first;
}

TEST(cvec_claim, a_claim_is_one_run_that_nobody_sees)
{
    struct words v = make_words(1000);
    push_numbers(v.vector, 0, 5);
    uint64_t *slots = NULL;
    size_t first = SIZE_MAX;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(&v, 7, &first, &slots)));
    CHECK_EQ(first, 5);
    CHECK(slots == words_snapshot(&v).data + 5); /* in place */
    CHECK_EQ(words_claimed(&v), 12);
    CHECK_EQ(words_len(&v), 5);
    for (size_t i = 5; i < 13; i++)
        CHECK(words_get(&v, i) == NULL);
    for (uint64_t i = 0; i < 7; i++)
        slots[i] = 5 + i;
    CHECK_STATUS(VBUF_OK, words_publish(&v, first, 7));
    check_numbers(v.vector, 12);
    words_destroy(&v);
}

TEST(cvec_claim, C3_the_prefix_ends_at_the_first_unpublished_whatever_the_order)
{
    struct check_rng rng = {check_seed()};
    for (int round = 0; round < 100; round++) {
        struct words v = make_words(100);
        size_t order[40], first = claim_numbers(v.vector, 40);
        bool published[41] = {false};
        for (size_t i = 0; i < 40; i++)
            order[i] = i;
        for (size_t i = 40; i-- > 1;) {
            size_t other = check_rng_next(&rng) % (i + 1), swap = order[i];
            order[i] = order[other];
            order[other] = swap;
        }
        for (size_t i = 0; i < 40; i++) {
            CHECK_STATUS(VBUF_OK, cvec_publish(v.vector, first + order[i], 1));
            published[order[i]] = true;
            size_t expected = 0;
            while (published[expected])
                expected++;
            REQUIRE(CHECK_EQ(words_len(&v), expected));
            for (size_t k = 0; k < 40; k++)
                REQUIRE((words_get(&v, k) != NULL) == published[k]);
        }
        check_numbers(v.vector, 40);
        words_destroy(&v);
    }
}

TEST(cvec_claim, claims_are_published_in_parts_and_together)
{
    struct words v = make_words(100);
    CHECK_EQ(claim_numbers(v.vector, 10), 0);
    CHECK_EQ(claim_numbers(v.vector, 10), 10);
    CHECK_STATUS(VBUF_OK, words_publish(&v, 8, 4)); /* the end of one, the start of the other */
    CHECK_EQ(words_len(&v), 0);
    CHECK_STATUS(VBUF_OK, words_publish(&v, 0, 8));
    CHECK_EQ(words_len(&v), 12);
    CHECK_STATUS(VBUF_OK, words_publish(&v, 12, 0));
    CHECK_EQ(words_len(&v), 12);
    CHECK_STATUS(VBUF_OK, words_publish(&v, 12, 8));
    check_numbers(v.vector, 20);
    words_destroy(&v);
}

TEST(cvec_claim, C6_others_push_past_a_claim_and_growth_included)
{
    struct words v = make_words(100000);
    CHECK_EQ(claim_numbers(v.vector, 3), 0);
    push_numbers(v.vector, 3, 20000);
    CHECK_EQ(words_len(&v), 0);
    CHECK_EQ(*words_get(&v, 19999), 19999);
    CHECK_EQ(claim_numbers(v.vector, 50000), 20000); /* a claim grows as well */
    CHECK_STATUS(VBUF_OK, words_publish(&v, 20000, 50000));
    CHECK_EQ(words_len(&v), 0);
    CHECK_STATUS(VBUF_OK, words_publish(&v, 0, 3));
    check_numbers(v.vector, 70000);
    words_destroy(&v);
}

TEST(cvec_claim, claim_is_invalid_iff_an_output_is_null)
{
    struct words v = make_words(10);
    size_t first = 77;
    void *slots = &first;
    uint64_t *typed = NULL, **volatile nowhere = NULL; /* gcc would warn where it sees the NULL */
    for (size_t count = 0; count < 3; count++) {
        CHECK_STATUS(VBUF_INVALID, cvec_claim(v.vector, count, NULL, &slots));
        CHECK_STATUS(VBUF_INVALID, cvec_claim(v.vector, count, &first, NULL));
        CHECK_STATUS(VBUF_INVALID, cvec_claim(v.vector, count, NULL, NULL));
        CHECK_STATUS(VBUF_INVALID, words_claim(&v, count, NULL, &typed));
        CHECK_STATUS(VBUF_INVALID, words_claim(&v, count, &first, nowhere));
    }
    CHECK(first == 77 && slots == &first && typed == NULL);
    CHECK_EQ(words_claimed(&v), 0);
    words_destroy(&v);
}

TEST(cvec_claim, claim_is_full_iff_not_all_fit)
{
    struct words v = make_words(100);
    size_t first = 77;
    void *slots = &first;
    CHECK_STATUS(VBUF_FULL, cvec_claim(v.vector, 101, &first, &slots));
    CHECK_STATUS(VBUF_FULL, cvec_claim(v.vector, SIZE_MAX, &first, &slots));
    CHECK_EQ(claim_numbers(v.vector, 60), 0);
    const size_t many[] = {41, 100, SIZE_MAX / 8, SIZE_MAX - 60, SIZE_MAX - 59, SIZE_MAX};
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        CHECK_STATUS(VBUF_FULL, cvec_claim(v.vector, many[i], &first, &slots));
    CHECK(first == 77 && slots == &first);
    CHECK_EQ(words_claimed(&v), 60);
    CHECK_EQ(claim_numbers(v.vector, 40), 60); /* exactly */
    CHECK_STATUS(VBUF_FULL, cvec_claim(v.vector, 1, &first, &slots));
    CHECK_STATUS(VBUF_OK, words_publish(&v, 0, 100));
    check_numbers(v.vector, 100);
    words_destroy(&v);
}

TEST(cvec_claim, claim_of_nothing_tells_what_is_claimed)
{
    struct words v = make_words(10);
    CHECK_EQ(claim_numbers(v.vector, 0), 0);
    CHECK_EQ(claim_numbers(v.vector, 4), 0);
    CHECK_EQ(claim_numbers(v.vector, 0), 4);
    CHECK_EQ(claim_numbers(v.vector, 6), 4);
    CHECK_EQ(claim_numbers(v.vector, 0), 10); /* a full vector has room for nothing */
    CHECK_EQ(words_claimed(&v), 10);
    words_close(&v);
    CHECK_EQ(claim_numbers(v.vector, 0), 10);
    words_destroy(&v);
}

TEST(cvec_claim, C5_claim_is_nomem_iff_memory_is_refused_and_claims_nothing)
{
    struct books books;
    struct cvec *v = books_make(&books, 100000);
    CHECK_EQ(claim_numbers(v, 100), 0);
    size_t first = 77;
    void *slots = &first;
    books_refuse(&books, true);
    size_t room = cvec_capacity(v) - 100;
    for (int again = 0; again < 3; again++)
        CHECK_STATUS(VBUF_NOMEM, cvec_claim(v, room + 1, &first, &slots));
    CHECK(first == 77 && slots == &first);
    CHECK_EQ(cvec_claimed(v), 100);
    CHECK_EQ(claim_numbers(v, room), 100); /* what is committed needs no asking */
    CHECK_STATUS(VBUF_NOMEM, cvec_claim(v, 1, &first, &slots));
    books_refuse(&books, false);
    CHECK_EQ(claim_numbers(v, 1), 100 + room);
    CHECK_STATUS(VBUF_OK, cvec_publish(v, 0, 101 + room));
    check_numbers(v, 101 + room);
    cvec_destroy(v);
}

TEST(cvec_claim, publish_is_invalid_iff_part_was_never_claimed)
{
    struct words v = make_words(100);
    CHECK_STATUS(VBUF_INVALID, words_publish(&v, 0, 1));
    CHECK_STATUS(VBUF_OK, words_publish(&v, 0, 0));
    CHECK_EQ(claim_numbers(v.vector, 10), 0);
    const size_t bad[][2] = {
        {0, 11},
        {10, 1},
        {9, 2},
        {11, 1},
        {0, SIZE_MAX},
        {9, SIZE_MAX},
        {9, SIZE_MAX - 8}, /* the end wraps to 0 */
        {SIZE_MAX, 1},
        {SIZE_MAX, SIZE_MAX},
        {50, 1},
        {100, 1},
        {101, 1},
        {SIZE_MAX - 3, 5},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_STATUS(VBUF_INVALID, cvec_publish(v.vector, bad[i][0], bad[i][1]));
    CHECK_EQ(words_len(&v), 0); /* not even the part that was claimed */
    for (size_t i = 0; i < 100; i++)
        CHECK(words_get(&v, i) == NULL);
    CHECK_STATUS(VBUF_OK, words_publish(&v, 0, 10));
    check_numbers(v.vector, 10);
    words_destroy(&v);
}

/* Misuse that a debug build sees. */
TEST(cvec_claim, publishing_twice_is_caught)
{
#if !defined(VBUF_DEBUG)
    SKIP("not a debug build");
#endif
    struct words v = make_words(100);
    int status = 0;
    push_numbers(v.vector, 0, 3);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        fclose(stderr); /* it is meant to complain */
        signal(SIGABRT, SIG_DFL);
        cvec_publish(v.vector, 2, 1);
        _exit(0);
    }
    REQUIRE(CHECK_EQ(waitpid(child, &status, 0), child));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    words_destroy(&v);
}

TEST(cvec_claim, what_was_refused_was_not_claimed)
{
    struct words v = make_words(10);
    uint64_t value = 0;
    push_numbers(v.vector, 0, 10);
    for (int again = 0; again < 100; again++)
        CHECK_STATUS(VBUF_FULL, words_push(&v, value, NULL));
    CHECK_STATUS(VBUF_INVALID, words_publish(&v, 10, 1));
    words_close(&v);
    CHECK_STATUS(VBUF_CLOSED, words_push(&v, value, NULL));
    CHECK_STATUS(VBUF_INVALID, words_publish(&v, 10, 1));
    check_numbers(v.vector, 10);
    words_destroy(&v);
}

/* Threads claim runs of different lengths, and publish each when it has two more, back to front. */

#define THREADS 4
#define CLAIMS BUILD_COUNT(20000u, 2000u)
#define HELD 3
#define MOST 7

struct claimers {
    struct words v;
    struct gate stop;
    uint64_t claimed[THREADS];
};

static void publish_back_to_front(struct words *v, size_t first, size_t count)
{
    for (size_t i = count; i-- > 0;)
        CHECK_STATUS(VBUF_OK, words_publish(v, first + i, 1));
}

static void claim_and_publish_late(void *context, unsigned thread)
{
    struct claimers *c = context;
    size_t first[HELD], count[HELD] = {0};
    for (size_t round = 0; round < CLAIMS; round++) {
        size_t at = round % HELD;
        if (count[at] != 0)
            publish_back_to_front(&c->v, first[at], count[at]);
        count[at] = 1 + (round + thread) % MOST;
        uint64_t *slots = NULL;
        REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(&c->v, count[at], &first[at], &slots)));
        for (size_t i = 0; i < count[at]; i++) {
            REQUIRE(words_get(&c->v, first[at] + i) == NULL); /* ours alone so far */
            slots[i] = first[at] + i;
        }
        c->claimed[thread] += count[at];
    }
    for (size_t at = 0; at < HELD; at++)
        publish_back_to_front(&c->v, first[at], count[at]);
}

static void claim_or_read(void *context, unsigned thread)
{
    struct claimers *c = context;
    if (thread < THREADS) {
        claim_and_publish_late(context, thread);
        gate_open(&c->stop); /* the first who is done; the reader has seen enough then */
        return;
    }
    size_t before = 0;
    while (!gate_is_open(&c->stop)) {
        struct words_slice now = words_snapshot(&c->v);
        REQUIRE(now.count >= before);
        for (size_t i = before; i < now.count; i++)
            REQUIRE(now.data[i] == i);
        before = now.count;
    }
}

TEST(cvec_claim, C2_C3_late_publishers_leave_no_hole)
{
    struct claimers c = {.v = make_words((size_t)THREADS * CLAIMS * MOST)};
    team_run(THREADS + 1, claim_or_read, &c);
    uint64_t sum = 0;
    for (int i = 0; i < THREADS; i++)
        sum += c.claimed[i];
    CHECK_EQ(words_claimed(&c.v), sum);
    check_numbers(c.v.vector, (size_t)sum);
    words_destroy(&c.v);
}
