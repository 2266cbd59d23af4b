/*
 * cvec_wait.c - no wake is lost: waiters against publishers, with the barrier, without, and with one that is refused.
 *
 * A waiter that nobody wakes sleeps for ever, which is a deadlock.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_fixture.h"
#include "system.h"

static struct cvec *vector;
static size_t timed_out;

static void set_up(void)
{
    vector = create_vector(sizeof(struct element), 4, 4);
}

static void push_one(void)
{
    EXPLORE(push_number(vector, 5, NULL) == VBUF_OK);
}

static void push_two(void)
{
    push_one();
    push_one();
}

static void extend_by_one(void)
{
    struct element run[1] = {{.thread = 2, .number = 5}};
    EXPLORE(cvec_extend(vector, run, 1, NULL) == VBUF_OK);
}

static void check_prefix(size_t count)
{
    EXPLORE(cvec_len(vector) >= count);
    for (size_t i = 0; i < count; i++) {
        const struct element *found = cvec_get(vector, i);
        EXPLORE(found != NULL && found->number == 5);
    }
}

static void wait_for(size_t count, int64_t timeout)
{
    enum vbuf_status status = cvec_wait(vector, count, timeout);
    if (status == VBUF_OK)
        check_prefix(count);
    else
        EXPLORE(status == VBUF_TIMEDOUT && timeout >= 0);
    if (status == VBUF_TIMEDOUT)
        timed_out++;
}

static void wait_for_one(void)
{
    wait_for(1, -1);
}

static void wait_for_two(void)
{
    wait_for(2, -1);
}

static void finish(void)
{
    check_quiet(vector, 2);
    EXPLORE(cvec_len(vector) == 2);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_wait_push = {
    .name = "cvec.wait",
    .checks = "wait",
    .set_up = set_up,
    .threads = {push_two, wait_for_two},
    .finish = finish,
};

/* ---- two publishers complete the prefix together ---- */

const struct explore_scenario cvec_wait_together = {
    .name = "cvec.wait-together",
    .checks = "wait",
    .set_up = set_up,
    .threads = {push_one, extend_by_one, wait_for_two},
    .finish = finish,
};

/* ---- several waiters, for different lengths ---- */

const struct explore_scenario cvec_wait_two = {
    .name = "cvec.wait-two",
    .checks = "wait",
    .set_up = set_up,
    .threads = {push_two, wait_for_two, wait_for_one},
    .finish = finish,
    .bounds = {.stale = 1},
};

/* ---- a shorter wish is not lost behind a longer one ---- */

static void wait_a_second(void)
{
    int64_t second = 1000000000;
    wait_for(2, second);
}

static void finish_shorter(void)
{
    check_quiet(vector, 1);
    EXPLORE(timed_out == 1);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_wait_shorter = {
    .name = "cvec.wait-shorter",
    .checks = "wait",
    .set_up = set_up,
    .threads = {push_one, wait_for_one, wait_a_second},
    .finish = finish_shorter,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1},
};

/* ---- time-outs ---- */

static void wait_for_what_never_comes(void)
{
    EXPLORE(cvec_wait(vector, 5, 0) == VBUF_FULL);
    EXPLORE(cvec_wait(vector, 3, 0) == VBUF_TIMEDOUT);
    EXPLORE(cvec_wait(vector, 3, 1000) == VBUF_TIMEDOUT);
}

const struct explore_scenario cvec_wait_time = {
    .name = "cvec.wait-time",
    .checks = "wait",
    .set_up = set_up,
    .threads = {push_two, wait_a_second, wait_for_what_never_comes},
    .finish = finish,
    .bounds = {.stale = 1},
};

/* A waiter whose time is up finds what was there in time. (With stale loads it might not: the clock orders nothing.) */

static int64_t whole_at = INT64_MAX, deadline;

static void push_two_and_look_at_clock(void)
{
    push_two();
    whole_at = vbuf_sys_now();
}

static void look_at_clock_and_wait(void)
{
    int64_t second = 1000000000;
    deadline = vbuf_sys_now() + second;
    wait_for(2, second);
}

static void finish_in_time(void)
{
    EXPLORE(timed_out == 0 || whole_at >= deadline);
    finish();
}

const struct explore_scenario cvec_wait_in_time = {
    .name = "cvec.wait-in-time",
    .checks = "wait",
    .set_up = set_up,
    .threads = {push_two_and_look_at_clock, look_at_clock_and_wait},
    .finish = finish_in_time,
    .bounds = {.stale = EXPLORE_NONE},
};

/* ---- no barrier, or one that is refused: waiters look again by themselves ---- */

const struct explore_scenario cvec_wait_refused = {
    .name = "cvec.wait-refused",
    .checks = "wait",
    .set_up = set_up,
    .threads = {push_two, wait_for_two},
    .finish = finish,
    .bounds = {.together = 4},
    .barriers_fail = true,
};

const struct explore_scenario cvec_wait_full_fence = {
    .name = "cvec.wait-full-fence",
    .checks = "wait",
    .set_up = set_up,
    .threads = {push_two, wait_for_two},
    .finish = finish,
    .full_fence = true,
};
