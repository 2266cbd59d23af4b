/*
 * cvec_close.c - closing against everything: what was claimed in all is told right, from the first moment on, and nothing
 * is claimed afterwards.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_fixture.h"

#define NOT_YET SIZE_MAX

static struct cvec *vector;
static size_t done[EXPLORE_MOST_THREADS + 1];
static size_t told_in_all[EXPLORE_MOST_THREADS + 1]; /* by cvec_claimed, after a close */
static struct vbuf_atomic_u32 closed;

static void set_up(void)
{
    vector = create_vector(sizeof(struct large), 8, 1);
    for (unsigned i = 0; i <= EXPLORE_MOST_THREADS; i++)
        told_in_all[i] = NOT_YET;
}

static void close_once(void)
{
    cvec_close(vector);
    EXPLORE(cvec_is_closed(vector));
    told_in_all[explore_self()] = cvec_claimed(vector);
    vbuf_u32_store_release(&closed, 1);
}

static void push_two(void)
{
    for (uint64_t i = 0; i < 2; i++) {
        bool was_closed = vbuf_u32_load_acquire(&closed);
        enum vbuf_status status = push_number(vector, i, NULL);
        EXPLORE(status == VBUF_OK || status == VBUF_CLOSED || status == VBUF_NOMEM);
        EXPLORE(!was_closed || status == VBUF_CLOSED);
        done[explore_self()] += status == VBUF_OK;
    }
}

static void push_one(void)
{
    enum vbuf_status status = push_number(vector, 0, NULL);
    EXPLORE(status == VBUF_OK || status == VBUF_CLOSED || status == VBUF_NOMEM);
    done[explore_self()] += status == VBUF_OK;
}

static void extend_and_reserve(void)
{
    struct large run[2] = {{.thread = 2}, {.thread = 2}};
    bool was_closed = vbuf_u32_load_acquire(&closed);
    enum vbuf_status status = cvec_extend(vector, run, 2, NULL);
    EXPLORE(status == VBUF_OK || status == VBUF_CLOSED || status == VBUF_NOMEM);
    EXPLORE(!was_closed || status == VBUF_CLOSED);
    done[explore_self()] += status == VBUF_OK ? 2 : 0;
    was_closed = vbuf_u32_load_acquire(&closed);
    status = cvec_reserve(vector, 4);
    EXPLORE(status == VBUF_OK || status == VBUF_CLOSED || status == VBUF_NOMEM);
    EXPLORE(status != VBUF_OK || cvec_capacity(vector) >= 4);
}

static void look_at_claimed(void)
{
    size_t claimed = cvec_claimed(vector);
    bool was_closed = cvec_is_closed(vector);
    size_t in_all = cvec_claimed(vector);
    EXPLORE(claimed <= in_all && in_all <= 8);
    if (was_closed)
        told_in_all[explore_self()] = in_all;
}

static void finish(void)
{
    size_t count = done[1] + done[2] + done[3];
    check_quiet(vector, count);
    EXPLORE(cvec_len(vector) == count);
    for (unsigned i = 1; i <= EXPLORE_MOST_THREADS; i++)
        EXPLORE(told_in_all[i] == count || told_in_all[i] == NOT_YET);
    EXPLORE(push_number(vector, 0, NULL) == VBUF_CLOSED);
    EXPLORE(cvec_reserve(vector, 8) == VBUF_CLOSED && cvec_reserve(vector, 9) == VBUF_FULL);
    struct cvec_report report;
    EXPLORE(cvec_stats(vector, &report) == VBUF_OK);
    EXPLORE(report.closed && report.claimed == count && report.capacity >= count);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_close_push = {
    .name = "cvec.close-push",
    .checks = "close C5",
    .set_up = set_up,
    .threads = {close_once, push_two, look_at_claimed},
    .finish = finish,
};

const struct explore_scenario cvec_close_twice = {
    .name = "cvec.close-twice",
    .checks = "close",
    .set_up = set_up,
    .threads = {close_once, push_two, close_once},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

const struct explore_scenario cvec_close_run = {
    .name = "cvec.close-run",
    .checks = "close C5",
    .set_up = set_up,
    .threads = {close_once, extend_and_reserve, push_one},
    .finish = finish,
};

/* ---- a fork has cut off a closer that had proposed; then the vector became shorter, and as long again ---- */

static void set_up_forked(void)
{
    set_up();
    for (uint64_t i = 0; i < 2; i++)
        EXPLORE(push_number(vector, i, NULL) == VBUF_OK);
    vbuf_u64_store_relaxed(&vector->final_, 2 + 1);
    EXPLORE(cvec_truncate(vector, 1) == VBUF_OK);
    done[3] = 1; /* what is left */
}

const struct explore_scenario cvec_close_forked = {
    .name = "cvec.close-forked",
    .checks = "close exclusive",
    .set_up = set_up_forked,
    .threads = {close_once, push_one, close_once},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- waiters return when nothing can come, and not before ---- */

static enum vbuf_status waited[EXPLORE_MOST_THREADS + 1];

static void wait_for_one(void)
{
    waited[explore_self()] = cvec_wait(vector, 1, -1);
}

/* Looks only; twice. */
static void poll_for_two(void)
{
    waited[explore_self()] = cvec_wait(vector, 2, 0);
    if (waited[explore_self()] == VBUF_TIMEDOUT)
        waited[explore_self()] = cvec_wait(vector, 2, 0);
}

static void finish_waiters(void)
{
    size_t count = done[1] + done[2];
    EXPLORE(waited[3] == (count >= 1 ? VBUF_OK : VBUF_CLOSED));
    finish();
}

const struct explore_scenario cvec_close_wait = {
    .name = "cvec.close-wait",
    .checks = "close wait",
    .set_up = set_up,
    .threads = {close_once, push_one, wait_for_one},
    .finish = finish_waiters,
};

static void finish_poll(void)
{
    size_t count = done[1] + done[2];
    EXPLORE(waited[3] != VBUF_CLOSED || count < 2);
    EXPLORE(waited[3] != VBUF_OK || count == 2);
    finish();
}

const struct explore_scenario cvec_close_poll = {
    .name = "cvec.close-poll",
    .checks = "close wait",
    .set_up = set_up,
    .threads = {close_once, push_two, poll_for_two},
    .finish = finish_poll,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- who finds it closed sees what was pushed before it was ---- */

static void push_and_close(void)
{
    push_one();
    cvec_close(vector);
}

static void drain(void)
{
    if (cvec_is_closed(vector))
        EXPLORE(cvec_len(vector) == done[1]);
}

const struct explore_scenario cvec_close_drain = {
    .name = "cvec.close-drain",
    .checks = "close",
    .set_up = set_up,
    .threads = {push_and_close, drain},
    .finish = finish,
};
