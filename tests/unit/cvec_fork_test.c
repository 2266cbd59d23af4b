/*
 * cvec_fork_test.c - in a fork's child everything works, whatever the parent's threads were in the middle of.
 * What they had claimed and not published stays unpublished there.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "cvec/cvec.h"

#include <unistd.h>

#include "build_kind.h"
#include "check.h"
#include "cvec_fixture.h"
#include "proc.h"
#include "team.h"

/* A sanitizer's child of a process with threads may not start new ones. */
#define CHILD_HAS_THREADS BUILD_PLAIN

static struct words v; /* proc_in_child's body takes no argument */

static void publish_after_a_while(void *context, unsigned thread)
{
    uint64_t value = *(uint64_t *)context;
    (void)thread;
    team_sleep_us(2000);
    CHECK_STATUS(VBUF_OK, words_push(&v, value, NULL));
}

static void wait_and_push(void *context, unsigned thread)
{
    if (thread == 0) {
        publish_after_a_while(context, thread);
        return;
    }
    CHECK_STATUS(VBUF_OK, wait_for_wake(v.vector, (size_t) * (uint64_t *)context + 1));
}

/* All the calls there are, on a vector of the numbers [0, len) of which all are published. */
static void use_everything(void)
{
    uint64_t len = words_len(&v);
    CHECK_EQ(words_claimed(&v), len);
    push_numbers(v.vector, len, len + 1000); /* grows */
    len += 1000;
    CHECK_STATUS(VBUF_OK, words_wait(&v, len, -1));
    CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, len + 1, 3000000));
    if (CHILD_HAS_THREADS) {
        team_run(2, wait_and_push, &len);
        len++;
    }
    struct words_appender a;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&a, &v, 10)));
    for (uint64_t i = 0; i < 25; i++)
        CHECK_STATUS(VBUF_OK, words_appender_push(&a, len + i));
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a));
    len += 25;
    CHECK_STATUS(VBUF_OK, words_reserve(&v, 500000));
    check_numbers(v.vector, len);
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 10));
    CHECK_STATUS(VBUF_OK, words_shrink_to_fit(&v));
    push_numbers(v.vector, 10, 5000);
    words_close(&v);
    CHECK_STATUS(VBUF_CLOSED, words_wait(&v, 5001, -1));
    check_numbers(v.vector, 5000);
    words_destroy(&v);
}

TEST(cvec_fork, the_child_has_a_copy_of_its_own)
{
    v = make_words(1000000);
    push_numbers(v.vector, 0, 2000);
    proc_in_child(use_everything);
    check_numbers(v.vector, 2000); /* the parent's is untouched */
    use_everything();
}

/* ---- a parent with threads ---- */

struct parent {
    struct gate stop;
    struct vbuf_atomic_u64 waiting;
};

/* Wherever the pushers were: the child goes on from what was claimed. */
static void use_what_is_left(void)
{
    size_t len = words_len(&v), claimed = words_claimed(&v);
    uint64_t own[3] = {1, 2, 3};
    CHECK(len <= claimed);
    for (size_t i = 0; i < claimed; i++) {
        const uint64_t *value = words_get(&v, i);
        REQUIRE(value == NULL || *value >> 32 == 7); /* whole, or not there */
        REQUIRE(i >= len || value != NULL);
    }
    for (size_t i = 0; i < 20000; i++) { /* grows, whoever was growing */
        size_t index = SIZE_MAX;
        REQUIRE(CHECK_STATUS(VBUF_OK, words_push(&v, own[0], &index)));
        REQUIRE(CHECK_EQ(index, claimed + i));
        REQUIRE(*words_get(&v, index) == own[0]);
    }
    size_t first = SIZE_MAX;
    CHECK_STATUS(VBUF_OK, words_extend(&v, own, 3, &first));
    CHECK_EQ(first, claimed + 20000);
    if (len == claimed) {
        CHECK_EQ(words_len(&v), claimed + 20003);
        CHECK_STATUS(VBUF_OK, words_wait(&v, claimed + 20003, -1));
    } else {
        CHECK(words_len(&v) < claimed); /* what others had claimed stays unpublished */
    }
    CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, claimed + 20004, 1000000));
    words_close(&v);
    CHECK_STATUS(VBUF_CLOSED, words_wait(&v, claimed + 20004, -1));
    CHECK_STATUS(VBUF_CLOSED, words_push(&v, 1, NULL));
    words_clear(&v);
    CHECK_STATUS(VBUF_OK, words_shrink_to_fit(&v));
    words_destroy(&v);
}

static void push_wait_or_fork(void *context, unsigned thread)
{
    struct parent *p = context;
    if (thread == 0) {
        for (int round = 0; round < BUILD_COUNT(60, 15); round++) {
            team_sleep_us(200 + round * 7);
            proc_in_child(use_what_is_left);
        }
        gate_open(&p->stop);
        words_close(&v); /* the waiter's end */
        return;
    }
    if (thread == 1) {
        CHECK_STATUS(VBUF_CLOSED, words_wait(&v, cvec_max_len(v.vector), -1));
        return;
    }
    for (uint64_t i = 0; !gate_is_open(&p->stop); i++) {
        uint64_t value = UINT64_C(7) << 32 | i;
        enum vbuf_status status = words_push(&v, value, NULL);
        if (status == VBUF_CLOSED)
            break;
        REQUIRE(CHECK_STATUS(VBUF_OK, status));
        if (i % 50 == 49)
            team_sleep_us(50);
    }
}

TEST(cvec_fork, the_child_of_a_parent_with_pushers_and_waiters)
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("ThreadSanitizer reports nothing in the child of a process with threads");
    struct cvec_options options = {.max_len = 100000000, .growth = {.linear = 500}};
    struct parent p = {.stop = {{0}}};
    REQUIRE(CHECK_STATUS(VBUF_OK, words_create(&v, &options)));
    team_run(4, push_wait_or_fork, &p);
    words_destroy(&v);
}

/* ---- what another thread had claimed ---- */

static struct gate claimed_gate, leave_gate;
static size_t others_first;

static void *claim_and_hold(void *unused)
{
    uint64_t *slots = NULL;
    (void)unused;
    CHECK_STATUS(VBUF_OK, words_claim(&v, 5, &others_first, &slots));
    for (size_t i = 0; i < 5; i++)
        slots[i] = others_first + i;
    gate_open(&claimed_gate);
    gate_wait(&leave_gate);
    CHECK_STATUS(VBUF_OK, words_publish(&v, others_first, 5));
    return NULL;
}

static void find_it_unpublished(void)
{
    push_numbers(v.vector, 15, 3000);
    CHECK_EQ(words_len(&v), 10);
    for (size_t i = 10; i < 15; i++)
        CHECK(words_get(&v, i) == NULL);
    CHECK_EQ(*words_get(&v, 2999), 2999);
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 10)); /* this is how to be rid of it */
    push_numbers(v.vector, 10, 3000);
    check_numbers(v.vector, 3000);
    words_destroy(&v);
}

TEST(cvec_fork, what_others_had_claimed_stays_unpublished_in_the_child)
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("ThreadSanitizer reports nothing in the child of a process with threads");
    pthread_t other;
    v = make_words(100000);
    push_numbers(v.vector, 0, 10);
    REQUIRE(pthread_create(&other, NULL, claim_and_hold, NULL) == 0);
    gate_wait(&claimed_gate);
    CHECK_EQ(others_first, 10);
    proc_in_child(find_it_unpublished);
    gate_open(&leave_gate);
    pthread_join(other, NULL);
    check_numbers(v.vector, 15);
    words_destroy(&v);
}
