/*
 * ebr_collect.c - where nobody is pinned, one collect reclaims all there is: the caller's, and what exited
 * threads and threads without a record have left, paced or not.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_internal.h"
#include "ebr_objects.h"

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[3];
static uint32_t self, other;

static void finish(void)
{
    clear_and_destroy(domain, places, 3);
    be_thread(self);
}

static void set_up_for(uint32_t max_threads)
{
    struct ebr_options options = {.max_threads = max_threads};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    for (unsigned i = 0; i < 3; i++)
        place_object(&places[i]);
    self = attach_a_thread(domain);
}

/* Another is attached, and idle: each step costs a barrier, and does not wait for its pace. */
static void set_up_idle(void)
{
    set_up_for(2);
    other = attach_a_thread(domain);
}

static void collect_beside_idle(void)
{
    be_thread(self);
    unlink_and_retire(domain, &places[0]);
    EXPLORE(ebr_collect(domain) == 1);
    EXPLORE(explore_heavy_fences() == 2);
}

const struct explore_scenario ebr_collect_idle = {
    .name = "ebr.collect-idle",
    .checks = "E1 E2",
    .set_up = set_up_idle,
    .threads = {collect_beside_idle},
    .finish = finish,
};

/* An object whose thread has exited, and one of a thread without a record, sealed in record 0. */
static void set_up_left(void)
{
    set_up_for(2);
    other = attach_a_thread(domain);
    be_thread(other + 1); /* has no record */
    ebr_pin(domain);
    unlink_and_retire(domain, &places[0]);
    EXPLORE(ebr_collect(domain) == 0);
    ebr_unpin(domain);
    be_thread(other);
    unlink_and_retire(domain, &places[1]);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
}

static void collect_what_is_left(void)
{
    unsigned before = explore_heavy_fences();
    be_thread(self);
    unlink_and_retire(domain, &places[2]);
    EXPLORE(ebr_collect(domain) == 3);
    EXPLORE(explore_heavy_fences() == before);
}

const struct explore_scenario ebr_collect_left = {
    .name = "ebr.collect-left",
    .checks = "E1 E2 E3",
    .set_up = set_up_left,
    .threads = {collect_what_is_left},
    .finish = finish,
};

/* ---- alone ---- */

#define BATCH 64 /* as in ebr.c */

static unsigned reclaimed;

static void reclaim_counted(struct ebr_entry *entry)
{
    reclaimed++;
    free_object(entry);
}

static void retire_many(unsigned count)
{
    while (count-- > 0)
        ebr_retire(domain, &make_object()->entry, reclaim_counted);
}

/* A full batch is sealed, and the epoch steps, once; the second step reclaims the first batch. */
static void retire_and_collect(void)
{
    be_thread(self);
    retire_many(BATCH);
    EXPLORE(reclaimed == 0);
    retire_many(BATCH);
    EXPLORE(reclaimed == BATCH);
    EXPLORE(ebr_collect(domain) == BATCH && reclaimed == 2 * BATCH);
    EXPLORE(explore_heavy_fences() == 0);
}

static void retire_without_record(void)
{
    be_thread(3);
    retire_many(2 * BATCH);
    EXPLORE(reclaimed == BATCH);
    EXPLORE(ebr_collect(domain) == BATCH && reclaimed == 2 * BATCH);
    EXPLORE(explore_heavy_fences() == 0);
}

/* What waits in record 0 is looked after by those that have a record, when they fill batches. */
static void retire_beside_shared(void)
{
    be_thread(3);
    ebr_pin(domain);
    retire_many(1);
    EXPLORE(ebr_collect(domain) == 0);
    ebr_unpin(domain);
    be_thread(self);
    retire_many(2 * BATCH);
    EXPLORE(reclaimed == BATCH + 1);
    EXPLORE(ebr_collect(domain) == BATCH);
}

static void set_up_alone(void)
{
    set_up_for(2);
}

static void set_up_nobody(void)
{
    set_up_for(2);
    be_thread(self);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
}

const struct explore_scenario ebr_collect_alone = {
    .name = "ebr.collect-alone",
    .checks = "E1 E2",
    .set_up = set_up_alone,
    .threads = {retire_and_collect},
    .finish = finish,
};

const struct explore_scenario ebr_collect_shared_waits = {
    .name = "ebr.collect-shared-waits",
    .checks = "E1 E3",
    .set_up = set_up_alone,
    .threads = {retire_beside_shared},
    .finish = finish,
};

const struct explore_scenario ebr_collect_nobody = {
    .name = "ebr.collect-nobody",
    .checks = "E1 E2",
    .set_up = set_up_nobody,
    .threads = {retire_without_record},
    .finish = finish,
};

/* Figures, where they cannot be anything else: a pin that is behind is named. */
static void count_and_name(void)
{
    struct ebr_report report;
    be_thread(other);
    ebr_pin(domain);
    EXPLORE(ebr_attach(domain) == VBUF_OK && ebr_detach(domain) == VBUF_BUSY);
    be_thread(self);
    unlink_and_retire(domain, &places[0]);
    EXPLORE(ebr_collect(domain) == 0);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK);
    EXPLORE(report.retired == 1 && report.reclaimed == 0 && report.threads == 2);
    EXPLORE(report.stalled_thread != 0 && report.stalled_epoch + 2 == report.epoch);
    EXPLORE(ebr_domain_destroy(domain) == VBUF_BUSY);
    be_thread(other + 1);
    ebr_pin(domain);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK && report.overflow_pins == 1);
    be_thread(other);
    vbuf_self_.shared_pins = 0; /* that is the other's */
    ebr_unpin(domain);
    EXPLORE(ebr_domain_destroy(domain) == VBUF_BUSY);
    be_thread(other + 1);
    vbuf_self_.shared_pins = 1;
    ebr_unpin(domain);
    be_thread(self);
    EXPLORE(ebr_collect(domain) == 1);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK && report.stalled_thread == 0);
    EXPLORE(report.reclaimed == 1 && report.overflow_pins == 0);
}

/* Who leaves, and comes again, is counted so. */
static void leave_and_come(void)
{
    struct ebr_report report;
    be_thread(other);
    EXPLORE(ebr_detach(domain) == VBUF_OK && ebr_detach(domain) == VBUF_OK);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK && report.threads == 1);
    ebr_pin(domain);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK && report.threads == 2);
    ebr_unpin(domain);
}

const struct explore_scenario ebr_collect_held = {
    .name = "ebr.collect-held",
    .checks = "E1 E4",
    .set_up = set_up_idle,
    .threads = {count_and_name},
    .finish = finish,
};

const struct explore_scenario ebr_collect_counts = {
    .name = "ebr.collect-counts",
    .checks = "E1 E4",
    .set_up = set_up_idle,
    .threads = {leave_and_come},
    .finish = finish,
};

/* ---- three tags: the oldest batch makes room for the newest, and is not lost ---- */

static void seal_two(void)
{
    be_thread(other);
    ebr_pin(domain);
    be_thread(self);
    unlink_and_retire(domain, &places[0]);
    EXPLORE(ebr_collect(domain) == 0); /* one step, then the pin is behind */
    unlink_and_retire(domain, &places[1]);
    EXPLORE(ebr_collect(domain) == 0);
    be_thread(other);
    ebr_unpin(domain);
}

static void seal_three(void)
{
    seal_two();
    EXPLORE(ebr_advance(domain, true) == EBR_ADVANCED);
    be_thread(self);
    unlink_and_retire(domain, &places[2]);
    EXPLORE(ebr_collect(domain) == 3);
}

const struct explore_scenario ebr_collect_three_tags = {
    .name = "ebr.collect-three-tags",
    .checks = "E1 E3",
    .set_up = set_up_idle,
    .threads = {seal_three},
    .finish = finish,
};

/* Both batches go to whoever is there when their thread leaves. */
static void seal_two_and_leave(void)
{
    seal_two();
    be_thread(self);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
    be_thread(other);
    EXPLORE(ebr_collect(domain) == 2);
}

const struct explore_scenario ebr_collect_two_left = {
    .name = "ebr.collect-two-left",
    .checks = "E1 E3",
    .set_up = set_up_idle,
    .threads = {seal_two_and_leave},
    .finish = finish,
};

/* ---- what an exited thread has left is anybody's, also after another has collected in vain, and sleeps ---- */

static void set_up_three(void)
{
    set_up_for(3);
    other = attach_a_thread(domain);
}

static void leave_to_anybody(void)
{
    uint32_t third = attach_a_thread(domain);
    be_thread(third);
    unlink_and_retire(domain, &places[0]);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
    be_thread(third);
    ebr_pin(domain);
    be_thread(other);
    EXPLORE(ebr_collect(domain) == 0);
    be_thread(third);
    ebr_unpin(domain);
    be_thread(self);
    EXPLORE(ebr_collect(domain) == 1);
}

const struct explore_scenario ebr_collect_anybody = {
    .name = "ebr.collect-anybody",
    .checks = "E3",
    .set_up = set_up_three,
    .threads = {leave_to_anybody},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- also after another has filled a batch, and sleeps ---- */

static uint64_t reclaimed_of_others(void)
{
    struct ebr_report report;
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK);
    return report.reclaimed - reclaimed;
}

static void leave_one(void)
{
    be_thread(self);
    unlink_and_retire(domain, &places[0]);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
    EXPLORE(ebr_attach(domain) == VBUF_OK);
}

static void collect_from_sleeper(void)
{
    leave_one();
    be_thread(other);
    retire_many(BATCH); /* and sleeps from here on */
    be_thread(self);
    EXPLORE(ebr_collect(domain) == 1 && reclaimed_of_others() == 1);
}

/* Where nobody collects, those that fill batches look after it. */
static void fill_batches(void)
{
    leave_one();
    retire_many(3 * BATCH);
    EXPLORE(reclaimed_of_others() == 1);
}

const struct explore_scenario ebr_collect_sleeper = {
    .name = "ebr.collect-sleeper",
    .checks = "E3",
    .set_up = set_up_idle,
    .threads = {collect_from_sleeper},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

const struct explore_scenario ebr_collect_unasked = {
    .name = "ebr.collect-unasked",
    .checks = "E3",
    .set_up = set_up_alone,
    .threads = {fill_batches},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};
