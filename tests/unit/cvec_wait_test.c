/*
 * cvec_wait_test.c - cvec_wait: who is there already, who is woken and by what, who runs out of time.
 * Closing is in cvec_close_test.c, cursors are in cvec_cursor_test.c, a process without the
 * process-wide barrier is in cvec_wait_fallback_test.c.
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

/* The event's count; the top bit is the sleepers'. */
static uint32_t signals(const struct cvec *v)
{
    return vbuf_u32_load_relaxed(&v->event_) & (UINT32_MAX >> 1);
}

static void await_waiters(struct cvec *v, size_t count)
{
    int64_t give_up = now_ns() + A_LONG_TIME;
    while (report_of(v).waiters != count && now_ns() < give_up)
        team_sleep_us(50);
    CHECK_EQ(report_of(v).waiters, count);
    team_sleep_us(2000); /* it sleeps by now, most likely; if not, the test is only weaker */
}

TEST(cvec_wait, what_is_there_needs_no_waiting)
{
    struct words v = make_words(100);
    const int64_t timeouts[] = {0, 1, 1000000, INT64_MAX, -1};
    push_numbers(v.vector, 0, 10);
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        for (size_t count = 0; count <= 10; count++)
            CHECK_STATUS(VBUF_OK, words_wait(&v, count, timeouts[i]));
    }
    CHECK_EQ(report_of(v.vector).waiters, 0);
    words_destroy(&v);
}

TEST(cvec_wait, timeout_0_only_looks)
{
    struct words v = make_words(100);
    push_numbers(v.vector, 0, 10);
    fault_clear();
    CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, 11, 0));
    CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, 100, 0));
    CHECK_EQ(fault_count(FAULT_MEMBARRIER), 0); /* and costs no barrier */
    CHECK_EQ(report_of(v.vector).waiters, 0);
    words_destroy(&v);
}

TEST(cvec_wait, it_times_out_iff_the_time_is_over)
{
    struct words v = make_words(100);
    const int64_t timeouts[] = {1, 1000, 100000, 3000000, 20000000};
    push_numbers(v.vector, 0, 10);
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        int64_t begin = now_ns();
        CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, 11, timeouts[i]));
        CHECK(now_ns() - begin >= timeouts[i]);
        CHECK_EQ(report_of(v.vector).waiters, 0);
    }
    push_numbers(v.vector, 10, 11);
    CHECK_STATUS(VBUF_OK, words_wait(&v, 11, 1));
    words_destroy(&v);
}

TEST(cvec_wait, it_is_full_iff_more_than_max_len)
{
    struct words v = make_words(100);
    const int64_t timeouts[] = {0, 1000000, INT64_MAX, -1};
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        CHECK_STATUS(VBUF_FULL, words_wait(&v, 101, timeouts[i]));
        CHECK_STATUS(VBUF_FULL, words_wait(&v, SIZE_MAX, timeouts[i]));
        CHECK_STATUS(VBUF_FULL, words_wait(&v, SIZE_MAX - 1, timeouts[i]));
    }
    CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, 100, 1000));
    push_numbers(v.vector, 0, 100);
    CHECK_STATUS(VBUF_OK, words_wait(&v, 100, -1));
    CHECK_STATUS(VBUF_FULL, words_wait(&v, 101, 0));
    words_destroy(&v);
}

/* ---- a waiter, and what wakes it ---- */

struct scene {
    struct words v;
    size_t count;    /* what the waiter waits for */
    int64_t timeout; /* 0: a long time */
    void (*act)(struct words *v);
    enum vbuf_status status;
};

static void act_push(struct words *v)
{
    push_numbers(v->vector, 0, 5);
}

static void act_typed_push(struct words *v)
{
    for (uint64_t i = 0; i < 5; i++)
        CHECK_STATUS(VBUF_OK, words_push(v, i, NULL));
}

static void act_extend(struct words *v)
{
    CHECK_STATUS(VBUF_OK, words_extend(v, (const uint64_t[]){0, 1, 2, 3, 4}, 5, NULL));
}

static void act_publish(struct words *v)
{
    size_t first;
    uint64_t *slots = NULL;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(v, 5, &first, &slots)));
    for (size_t i = 0; i < 5; i++)
        slots[i] = i;
    const size_t order[] = {4, 1, 3, 0, 2};
    for (size_t i = 0; i < 5; i++) {
        team_sleep_us(300);
        CHECK_STATUS(VBUF_OK, words_publish(v, order[i], 1));
    }
}

static void act_appender(struct words *v)
{
    struct words_appender a;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&a, v, 3)));
    for (uint64_t i = 0; i < 5; i++)
        CHECK_STATUS(VBUF_OK, words_appender_push(&a, i));
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a));
}

static void wait_or_act(void *context, unsigned thread)
{
    struct scene *s = context;
    if (thread == 0) {
        s->status = s->timeout == 0 ? wait_for_wake(s->v.vector, s->count)
                                    : words_wait(&s->v, s->count, s->timeout);
        CHECK(words_len(&s->v) >= s->count);
        for (size_t i = 0; i < s->count; i++)
            CHECK(words_get(&s->v, i) != NULL && *words_get(&s->v, i) == i);
        return;
    }
    await_waiters(s->v.vector, 1);
    s->act(&s->v);
}

static void play(void (*act)(struct words *v))
{
    for (size_t count = 1; count <= 5; count++) {
        struct scene s = {.v = make_words(1000), .count = count, .act = act};
        team_run(2, wait_or_act, &s);
        CHECK_STATUS(VBUF_OK, s.status);
        check_numbers(s.v.vector, 5);
        CHECK_EQ(report_of(s.v.vector).waiters, 0);
        words_destroy(&s.v);
    }
}

TEST(cvec_wait, push_wakes)
{
    play(act_push);
    play(act_typed_push);
}

TEST(cvec_wait, the_longest_timeouts_are_long)
{
    const int64_t timeouts[] = {-1, INT64_MAX, INT64_MAX - 1, INT64_MAX / 2};
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        struct scene s = {
            .v = make_words(1000), .count = 5, .act = act_push, .timeout = timeouts[i]};
        team_run(2, wait_or_act, &s);
        CHECK_STATUS(VBUF_OK, s.status);
        words_destroy(&s.v);
    }
}

TEST(cvec_wait, extend_wakes)
{
    play(act_extend);
}

TEST(cvec_wait, publish_wakes_in_any_order)
{
    play(act_publish);
}

TEST(cvec_wait, an_appender_wakes)
{
    play(act_appender);
}

/* ---- many waiters ---- */

#define WAITERS 8
#define STEPS 40

struct crowd {
    struct words v;
    struct vbuf_atomic_u64 arrived;
};

static void wait_for_several_in_a_row(void *context, unsigned thread)
{
    struct crowd *c = context;
    if (thread < WAITERS) { /* thread t waits for t + 1, and for every fifth after it */
        for (size_t count = thread + 1; count <= STEPS; count += 5) {
            REQUIRE(CHECK_STATUS(VBUF_OK, wait_for_wake(c->v.vector, count)));
            CHECK(words_len(&c->v) >= count);
            CHECK(words_get(&c->v, count - 1) != NULL);
        }
        vbuf_u64_fetch_add_acq_rel(&c->arrived, 1);
        return;
    }
    await_waiters(c->v.vector, WAITERS);
    for (uint64_t i = 0; i < STEPS; i++) {
        push_numbers(c->v.vector, i, i + 1);
        if (i % 7 == 0)
            team_sleep_us(500);
        CHECK(i + 1 >= STEPS - 4 || vbuf_u64_load_acquire(&c->arrived) == 0); /* none too early */
    }
}

TEST(cvec_wait, many_waiters_with_different_counts)
{
    for (int round = 0; round < 5; round++) {
        struct crowd c = {.v = make_words(1000)};
        team_run(WAITERS + 1, wait_for_several_in_a_row, &c);
        CHECK_EQ(vbuf_u64_load_acquire(&c.arrived), WAITERS);
        CHECK_EQ(report_of(c.v.vector).waiters, 0);
        words_destroy(&c.v);
    }
}

/* Two threads hand a turn to and fro: one lost wake ends it. */
struct ping_pong {
    struct words turns[2];
    uint64_t rounds;
};

static void take_turns(void *context, unsigned thread)
{
    struct ping_pong *p = context;
    for (uint64_t round = 0; round < p->rounds; round++) {
        if (thread == 0)
            REQUIRE(CHECK_STATUS(VBUF_OK, words_push(&p->turns[0], round, NULL)));
        size_t count = (size_t)round + 1;
        REQUIRE(CHECK_STATUS(VBUF_OK, wait_for_wake(p->turns[1 - thread].vector, count)));
        REQUIRE(*words_get(&p->turns[1 - thread], round) == round);
        if (thread == 1)
            REQUIRE(CHECK_STATUS(VBUF_OK, words_push(&p->turns[1], round, NULL)));
    }
}

static void run_ping_pong(uint64_t rounds)
{
    struct ping_pong p = {{make_words(100000), make_words(100000)}, rounds};
    /* Thread 0 waits for turns[1], which thread 1 writes once it has seen turns[0]. */
    team_run(2, take_turns, &p);
    for (int i = 0; i < 2; i++) {
        check_numbers(p.turns[i].vector, (size_t)rounds);
        CHECK_EQ(report_of(p.turns[i].vector).waiters, 0);
        words_destroy(&p.turns[i]);
    }
}

TEST(cvec_wait, no_wake_is_lost_in_many_turns)
{
    run_ping_pong(BUILD_COUNT(20000, 2000));
}

/* The barrier is refused later than at the start, as a filter would: waiters poll, and still come. */
/*
 * Two publishers complete the prefix at once, neither before the other: one of them has to notice. They
 * meet by spinning, when the waiter has counted itself, so as to be as close as can be.
 */
struct finish {
    struct words v;
    uint64_t turns;
    struct vbuf_atomic_u64 turn, met;
};

static void meet(struct finish *f, uint64_t turn)
{
    vbuf_u64_fetch_add_acq_rel(&f->met, 1);
    for (unsigned spins = 1; vbuf_u64_load_acquire(&f->met) < turn * 2; spins++) {
        if (spins % 1024 == 0)
            sched_yield();
    }
}

static void wait_or_publish_at_once(void *context, unsigned thread)
{
    struct finish *f = context;
    struct check_rng rng = {check_seed() + thread};
    for (uint64_t turn = 1; turn <= f->turns; turn++) {
        size_t last = (size_t)turn * 2;
        if (thread == 2) {
            vbuf_u64_store_release(&f->turn, turn);
            if (!CHECK_STATUS(VBUF_OK, wait_for_wake(f->v.vector, last)))
                return;
            continue;
        }
        while (vbuf_u64_load_acquire(&f->turn) != turn ||
               vbuf_u32_load_relaxed(&f->v.vector->waiters_) == 0)
            sched_yield();
        meet(f, turn);
        for (uint64_t spins = check_rng_next(&rng) % 32; spins > 0; spins--)
            __asm__ volatile("" ::: "memory");
        CHECK_STATUS(VBUF_OK, words_publish(&f->v, last - 2 + thread, 1));
    }
}

TEST(cvec_wait, one_of_two_publishers_at_once_wakes)
{
    struct finish f = {.v = make_words(100000), .turns = BUILD_COUNT(10000, 1000)};
    size_t first;
    uint64_t *slots = NULL;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(&f.v, (size_t)f.turns * 2, &first, &slots)));
    for (size_t i = 0; i < f.turns * 2; i++)
        slots[i] = i;
    team_run(3, wait_or_publish_at_once, &f);
    check_numbers(f.v.vector, (size_t)f.turns * 2);
    words_destroy(&f.v);
}

/* Stores the byte and wakes nobody: so a publisher acts that missed the waiter, having no barrier. */
static void act_silently(struct words *v)
{
    size_t first;
    uint64_t *slots = NULL;
    team_sleep_us(3000);
    REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(v, 5, &first, &slots)));
    for (size_t i = 5; i-- > 0;) {
        slots[i] = i;
        vbuf_u8_store_release(v->vector->ready_ - 1 - (ptrdiff_t)i, 1);
    }
}

TEST(cvec_wait, a_sleeper_has_issued_the_barrier)
{
    if (vbuf_fence_kind() != VBUF_FENCE_PROCESS_WIDE)
        SKIP("there is none");
    struct words v = make_words(10);
    fault_clear();
    CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, 1, 1000000));
    CHECK(fault_count(FAULT_MEMBARRIER) >= 1);
    words_destroy(&v);
}

TEST(cvec_wait, a_refused_barrier_delays_but_loses_nothing)
{
    fault_clear();
    fault_fail_from(FAULT_MEMBARRIER, 1, EPERM);
    run_ping_pong(200);
    play(act_push);
    play(act_publish);
    play(act_silently);
    struct words v = make_words(10);
    CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, 1, 5000000));
    words_destroy(&v);
    fault_clear();
    fault_fail_randomly(FAULT_MEMBARRIER, 500000, check_seed(), EPERM);
    run_ping_pong(500);
    fault_clear();
}

/* ---- what it costs others ---- */

TEST(cvec_wait, nobody_is_woken_when_nobody_waits)
{
    struct words v = make_words(1000);
    uint32_t before = signals(v.vector);
    act_push(&v);
    act_extend(&v);
    size_t first;
    uint64_t *slots = NULL;
    CHECK_STATUS(VBUF_OK, words_claim(&v, 5, &first, &slots));
    CHECK_STATUS(VBUF_OK, words_publish(&v, first, 5));
    act_appender(&v);
    CHECK_EQ(signals(v.vector), before);
    CHECK_STATUS(VBUF_TIMEDOUT, words_wait(&v, 1000, 1000));
    push_numbers(v.vector, 20, 500); /* who waited is gone */
    CHECK_EQ(signals(v.vector), before);
    words_destroy(&v);
}

/*
 * As long as the prefix is too short for all who wait, nobody is woken; but for once, because of what
 * who waited before may have left behind.
 */
static void push_too_few(struct words *v)
{
    uint32_t before = signals(v->vector);
    push_numbers(v->vector, words_len(v), 499);
    CHECK(signals(v->vector) - before <= 1);
    CHECK_EQ(report_of(v->vector).waiters, 1);
    push_numbers(v->vector, 499, 500);
}

static void push_one(struct words *v)
{
    push_numbers(v->vector, 0, 1);
}

TEST(cvec_wait, nobody_is_woken_too_early)
{
    for (int times_before = 0; times_before < 2; times_before++) {
        struct scene s = {.v = make_words(1000), .count = 1, .act = push_one};
        if (times_before == 1)
            team_run(2, wait_or_act, &s);
        s.count = 500;
        s.act = push_too_few;
        team_run(2, wait_or_act, &s);
        CHECK_STATUS(VBUF_OK, s.status);
        words_destroy(&s.v);
    }
}

/* Waiters whose time is up as the element comes: each gets one or the other answer, rightly. */
static void wait_briefly(void *context, unsigned thread)
{
    struct scene *s = context;
    if (thread == 0) {
        team_sleep_us(200);
        push_numbers(s->v.vector, 0, 1);
        return;
    }
    enum vbuf_status status = words_wait(&s->v, 1, 150000 + 20000 * (int64_t)thread);
    CHECK(status == VBUF_OK || status == VBUF_TIMEDOUT);
    if (status == VBUF_OK)
        CHECK(words_len(&s->v) == 1);
}

TEST(cvec_wait, time_outs_race_with_wakes)
{
    for (int round = 0; round < BUILD_COUNT(300, 50); round++) {
        struct scene s = {.v = make_words(10)};
        team_run(6, wait_briefly, &s);
        CHECK_EQ(report_of(s.v.vector).waiters, 0);
        CHECK_STATUS(VBUF_OK, words_wait(&s.v, 1, 0));
        words_destroy(&s.v);
    }
}
