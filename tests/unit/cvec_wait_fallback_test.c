/*
 * cvec_wait_fallback_test.c - waiting in a process that has no process-wide barrier: the library is told
 * so before it asks, and must never ask again. Waiters look every millisecond; pushers fence nothing.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec/cvec.h"

#include <errno.h>

#include "build_kind.h"
#include "check.h"
#include "cvec_fixture.h"
#include "fault.h"
#include "team.h"
#include "vbuf/fence.h"

/* Before the library's own constructor, which has no priority. */
__attribute__((constructor(101))) static void refuse_the_barrier(void)
{
    fault_fail_from(FAULT_MEMBARRIER, 1, ENOSYS);
}

TEST(cvec_wait_fallback, the_process_has_no_barrier)
{
    CHECK_EQ(vbuf_fence_kind(), VBUF_FENCE_FULL);
}

#define ROUNDS BUILD_COUNT(300u, 100u)

struct ping_pong {
    struct words turns[2];
};

static void take_turns(void *context, unsigned thread)
{
    struct ping_pong *p = context;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        if (thread == 0)
            REQUIRE(CHECK_STATUS(VBUF_OK, words_push(&p->turns[0], round, NULL)));
        size_t count = (size_t)round + 1;
        REQUIRE(CHECK_STATUS(VBUF_OK, wait_for_wake(p->turns[1 - thread].vector, count)));
        if (thread == 1)
            REQUIRE(CHECK_STATUS(VBUF_OK, words_push(&p->turns[1], round, NULL)));
    }
}

TEST(cvec_wait_fallback, waiters_are_woken)
{
    fault_clear();
    struct ping_pong p = {{make_words(1000), make_words(1000)}};
    team_run(2, take_turns, &p);
    for (int i = 0; i < 2; i++) {
        check_numbers(p.turns[i].vector, ROUNDS);
        CHECK_EQ(report_of(p.turns[i].vector).waiters, 0);
        words_destroy(&p.turns[i]);
    }
    CHECK_EQ(fault_count(FAULT_MEMBARRIER), 0);
}

/*
 * The publisher's look at the count of waiters may come too early here: it misses the waiter, and
 * does not signal. That is done on purpose: the byte is stored, and nobody is woken.
 */
static void wait_or_publish_silently(void *context, unsigned thread)
{
    struct words *v = context;
    if (thread == 0) {
        CHECK_STATUS(VBUF_OK, wait_for_wake(v->vector, 1));
        return;
    }
    while (report_of(v->vector).waiters == 0)
        team_sleep_us(50);
    team_sleep_us(5000); /* it sleeps by now */
    size_t first;
    uint64_t *slots = NULL;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(v, 1, &first, &slots)));
    *slots = 0;
    vbuf_u8_store_release(v->vector->ready_ - 1, 1);
}

TEST(cvec_wait_fallback, a_missed_waiter_finds_out_by_itself)
{
    struct words v = make_words(10);
    team_run(2, wait_or_publish_silently, &v);
    check_numbers(v.vector, 1);
    words_destroy(&v);
}

TEST(cvec_wait_fallback, time_outs_are_kept)
{
    struct words v = make_words(10);
    const int64_t timeouts[] = {0, 1, 1000, 500000, 5000000};
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++)
        CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, 1, timeouts[i]));
    words_close(&v);
    CHECK_STATUS(VBUF_CLOSED, words_wait(&v, 1, -1));
    CHECK_EQ(report_of(v.vector).waiters, 0);
    words_destroy(&v);
}
