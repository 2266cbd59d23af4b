/*
 * ebr_stall.c - pins that hold the epoch back: who is named, for how long, and who is told.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_domain.h"
#include "ebr_objects.h"

#define LIMIT 1000000
#define SLACK 1000 /* the clock goes a little forward at every look */

static struct ebr_domain *domain;
static struct ebr_reader *reader;
static uint32_t self, other;
static struct vbuf_atomic_u32 told;
static struct ebr_report report;

static void on_stall(void *context, const struct ebr_report *stats)
{
    EXPLORE(context == &domain);
    EXPLORE(stats->stalled_epoch != 0 && stats->stalled_ns >= LIMIT);
    vbuf_u32_fetch_add_relaxed(&told, 1);
}

static void set_up(void)
{
    struct ebr_options options = {
        .max_readers = 2, .on_stall = on_stall, .context = &domain, .stall_limit = LIMIT};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    self = attach_a_thread(domain);
    other = attach_a_thread(domain);
    EXPLORE(ebr_reader_create(domain, &reader) == VBUF_OK);
}

static void finish(void)
{
    be_thread(self);
    EXPLORE(ebr_domain_destroy(domain) == VBUF_OK);
}

/* A step is tried after so long; how often anybody was told of a stall by then. */
static uint32_t try_after(int64_t nanoseconds, enum ebr_advance expected)
{
    explore_sleep(nanoseconds);
    be_thread(self);
    EXPLORE(ebr_advance(domain, true) == expected);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK);
    EXPLORE(report.readers == 1 && report.threads == 2);
    return vbuf_u32_load_relaxed(&told);
}

static bool has_stood_for(int64_t nanoseconds)
{
    return report.stalled_epoch + 2 == report.epoch && report.stalled_ns >= nanoseconds &&
           report.stalled_ns < nanoseconds + SLACK;
}

static void stall(void)
{
    be_thread(other);
    ebr_pin(domain);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK && report.stalled_epoch == 0);
    EXPLORE(try_after(0, EBR_ADVANCED) == 0);
    ebr_pin_on(domain, reader);
    EXPLORE(try_after(SLACK, EBR_HELD) == 0);
    EXPLORE(report.stalled_thread != 0 && report.stalled_reader == NULL && has_stood_for(SLACK));
    EXPLORE(try_after(LIMIT - 2 * SLACK, EBR_HELD) == 0);
    EXPLORE(try_after(SLACK, EBR_HELD) == 1);
    EXPLORE(try_after(0, EBR_HELD) == 1);
    EXPLORE(try_after(LIMIT - SLACK, EBR_HELD) == 1);
    EXPLORE(try_after(SLACK, EBR_HELD) == 2);
    be_thread(other);
    ebr_unpin(domain);
    EXPLORE(try_after(0, EBR_ADVANCED) == 2);
    EXPLORE(try_after(SLACK, EBR_HELD) == 2);
    EXPLORE(report.stalled_thread == 0 && report.stalled_reader == reader && has_stood_for(SLACK));
    ebr_unpin_on(domain, reader);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK && report.stalled_epoch == 0);
    EXPLORE(report.stalled_ns == 0);
}

const struct explore_scenario ebr_stall_told = {
    .name = "ebr.stall-told",
    .checks = "E4",
    .set_up = set_up,
    .threads = {stall},
    .finish = finish,
};

/* ---- who is alone steps without a look at the clock: the first hold is where it begins ---- */

static void set_up_alone(void)
{
    struct ebr_options options = {.on_stall = on_stall, .context = &domain, .stall_limit = LIMIT};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    self = attach_a_thread(domain);
}

static uint32_t try_alone_after(int64_t nanoseconds, enum ebr_advance expected)
{
    explore_sleep(nanoseconds);
    EXPLORE(ebr_advance(domain, true) == expected);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK);
    return vbuf_u32_load_relaxed(&told);
}

static void stall_alone(void)
{
    be_thread(self);
    ebr_pin(domain);
    EXPLORE(try_alone_after(0, EBR_ADVANCED) == 0);
    EXPLORE(report.stalled_ns == 0); /* nobody has noted it */
    EXPLORE(try_alone_after(LIMIT, EBR_HELD) == 0);
    EXPLORE(try_alone_after(SLACK, EBR_HELD) == 0 && has_stood_for(SLACK));
    EXPLORE(try_alone_after(LIMIT, EBR_HELD) == 1);
    ebr_unpin(domain);
}

const struct explore_scenario ebr_stall_alone = {
    .name = "ebr.stall-alone",
    .checks = "E4",
    .set_up = set_up_alone,
    .threads = {stall_alone},
    .finish = finish,
};

/* ---- where the pace of the barriers holds it back, nobody is told ---- */

static void hold_by_pace(void)
{
    be_thread(self);
    vbuf_u64_store_relaxed(&domain->next_barrier, INT64_MAX);
    for (unsigned i = 0; i < 3; i++) {
        EXPLORE(ebr_advance(domain, false) == EBR_HELD);
        explore_sleep(LIMIT);
    }
    EXPLORE(vbuf_u32_load_relaxed(&told) == 0);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK && report.stalled_ns == 0);
}

const struct explore_scenario ebr_stall_of_nobody = {
    .name = "ebr.stall-of-nobody",
    .checks = "E4",
    .set_up = set_up,
    .threads = {hold_by_pace},
    .finish = finish,
};

/* ---- two find it at the same time, and one tells ---- */

static void set_up_stalled(void)
{
    set_up();
    be_thread(other);
    ebr_pin(domain);
    EXPLORE(try_after(0, EBR_ADVANCED) == 0);
    EXPLORE(try_after(0, EBR_HELD) == 0);
    explore_sleep(LIMIT);
    be_thread(0);
}

static void find_stall(void)
{
    EXPLORE(ebr_advance(domain, true) == EBR_HELD);
}

static void finish_stalled(void)
{
    EXPLORE(vbuf_u32_load_relaxed(&told) == 1);
    be_thread(other);
    ebr_unpin(domain);
    finish();
}

const struct explore_scenario ebr_stall_two = {
    .name = "ebr.stall-two",
    .checks = "E4",
    .set_up = set_up_stalled,
    .threads = {find_stall, find_stall},
    .finish = finish_stalled,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- a pin holds the epoch back, whether the system would have let us have the barrier or not ---- */

static void find_stall_by_collect(void)
{
    be_thread(self);
    ebr_collect(domain);
}

const struct explore_scenario ebr_stall_refused = {
    .name = "ebr.stall-refused",
    .checks = "E4",
    .set_up = set_up_stalled,
    .threads = {find_stall_by_collect},
    .finish = finish_stalled,
    .barriers_fail = true,
};
