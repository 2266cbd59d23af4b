/*
 * wait_ck.c - the event count of Concurrency Kit.
 *
 * ck_ec keeps a count and, in its top bit, whether somebody may sleep: a signal is one atomic add, and a futex
 * call only if the bit was set. Its code is inline assembly, which ThreadSanitizer does not see; nothing
 * but sleeping and waking depends on it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _POSIX_C_SOURCE 200809L /* ck_ec.h wants struct timespec */
#include "wait.h"

#include <ck_ec.h>
#include <time.h>

#include "system.h"

_Static_assert(sizeof(struct ck_ec32) == sizeof(struct vbuf_atomic_u32), "an event is a ck_ec32");

static struct timespec timespec_of(int64_t time)
{
    return (struct timespec){.tv_sec = (time_t)(time / 1000000000),
                             .tv_nsec = (long)(time % 1000000000)};
}

static int get_time(const struct ck_ec_ops *ops, struct timespec *now)
{
    (void)ops;
    *now = timespec_of(vbuf_sys_now());
    return 0;
}

static void wait32(const struct ck_ec_wait_state *state, const uint32_t *word, uint32_t expected,
                   const struct timespec *deadline)
{
    (void)state;
    vbuf_sys_futex_wait(word, expected, deadline);
}

static void wake32(const struct ck_ec_ops *ops, const uint32_t *word)
{
    (void)ops;
    vbuf_sys_futex_wake(word);
}

static const struct ck_ec_ops ops = {.gettime = get_time, .wait32 = wait32, .wake32 = wake32};
static const struct ck_ec_mode mode = {.ops = &ops, .single_producer = false};

static struct ck_ec32 *count_of(const struct vbuf_atomic_u32 *event)
{
    return (struct ck_ec32 *)(uintptr_t)event;
}

uint32_t vbuf_event_value(const struct vbuf_atomic_u32 *event)
{
    return ck_ec32_value(count_of(event));
}

/* ck_ec sleeps in growing steps at first, past the deadline if that falls into one: this cuts them. */
static int cut_step(const struct ck_ec_wait_state *state, struct timespec *step)
{
    const struct timespec *until = state->data;
    if (step->tv_sec > until->tv_sec ||
        (step->tv_sec == until->tv_sec && step->tv_nsec > until->tv_nsec))
        *step = *until;
    return 0;
}

void vbuf_event_wait(struct vbuf_atomic_u32 *event, uint32_t value, int64_t deadline)
{
    struct timespec until = timespec_of(deadline);
    if (deadline == VBUF_NO_DEADLINE)
        ck_ec32_wait(count_of(event), &mode, value, NULL);
    else
        ck_ec32_wait_pred(count_of(event), &mode, value, cut_step, &until, &until);
}

void vbuf_event_signal(struct vbuf_atomic_u32 *event)
{
    ck_ec32_inc(count_of(event), &mode);
}
