/*
 * ebr_stats.c - figures taken during churn: never more reclaimed than retired, and no pin that is not there.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_internal.h"
#include "ebr_objects.h"

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[1];
static uint32_t remover, collector;

static void set_up_for(uint32_t max_threads)
{
    struct ebr_options options = {.max_threads = max_threads};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    place_object(&places[0]);
}

static void set_up(void)
{
    set_up_for(2);
    remover = attach_a_thread(domain);
    collector = attach_a_thread(domain);
}

/* Neither has a record. */
static void set_up_shared(void)
{
    set_up_for(1);
    remover = 2;
    collector = 3;
}

/* The collector has one, when the others begin; the remover gets one in the middle. */
static void set_up_new(void)
{
    set_up_for(4);
    collector = attach_a_thread(domain);
    remover = 0;
}

static void finish(void)
{
    clear_and_destroy(domain, places, 1);
    be_thread(1);
}

static void remove_and_leave(void)
{
    be_thread(remover);
    unlink_and_retire(domain, &places[0]);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
}

static void collect(void)
{
    be_thread(collector);
    ebr_collect(domain);
}

static void take_figures(void)
{
    struct ebr_report report;
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK);
    EXPLORE(report.retired >= report.reclaimed);
    EXPLORE(report.stalled_thread == 0 && report.threads <= 2);
    EXPLORE(report.fence == VBUF_FENCE_PROCESS_WIDE);
}

const struct explore_scenario ebr_stats_churn = {
    .name = "ebr.stats-churn",
    .checks = "E4",
    .set_up = set_up,
    .threads = {remove_and_leave, collect, take_figures},
    .finish = finish,
    .bounds = {.together = 2, .failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

const struct explore_scenario ebr_stats_shared = {
    .name = "ebr.stats-shared",
    .checks = "E4",
    .set_up = set_up_shared,
    .threads = {remove_and_leave, collect, take_figures},
    .finish = finish,
    .bounds = {.together = 2, .failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

const struct explore_scenario ebr_stats_new = {
    .name = "ebr.stats-new",
    .checks = "E4",
    .set_up = set_up_new,
    .threads = {remove_and_leave, collect, take_figures},
    .finish = finish,
    .bounds = {.together = 2, .failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

/* ---- a step that was long under way does not make the epoch older than it is ---- */

#define STALL_LIMIT 1000000000 /* more than what a yield may take */

static struct ebr_reader *reader;

static void no_stall(void *context, const struct ebr_report *report)
{
    (void)context;
    (void)report;
    explore_fail("a stall, though the epoch has just moved");
}

static void set_up_steps(void)
{
    struct ebr_options options = {.on_stall = no_stall, .stall_limit = STALL_LIMIT};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    EXPLORE(ebr_reader_create(domain, &reader) == VBUF_OK);
    remover = attach_a_thread(domain);
    collector = attach_a_thread(domain);
}

static void step(void)
{
    be_thread(collector);
    ebr_collect(domain);
}

static void step_later_and_hold(void)
{
    be_thread(remover);
    explore_sleep(STALL_LIMIT);
    ebr_pin_on(domain, reader);
    ebr_collect(domain); /* one step, and one that the reader holds back */
    explore_yield();
    ebr_collect(domain);
    ebr_unpin_on(domain, reader);
}

static void finish_steps(void)
{
    EXPLORE(ebr_domain_destroy(domain) == VBUF_OK);
    be_thread(1);
}

const struct explore_scenario ebr_stats_stall = {
    .name = "ebr.stats-stall",
    .checks = "E4",
    .set_up = set_up_steps,
    .threads = {step, step_later_and_hold},
    .finish = finish_steps,
    .bounds = {.stale = EXPLORE_NONE},
};

/* ---- a pin that came in late, and fell behind at once, is named by its thread, however new that is ---- */

static struct vbuf_atomic_u32 pinned, named;

static bool is_set(const void *flag)
{
    return ((const struct vbuf_atomic_u32 *)flag)->raw != 0;
}

static void set_up_late(void)
{
    set_up_for(4);
    collector = attach_a_thread(domain);
}

static void pin_late(void)
{
    ebr_pin(domain);
    vbuf_u32_store_relaxed(&pinned, 1);
    explore_wait(is_set, &named);
    ebr_unpin(domain);
}

static void step_and_name(void)
{
    struct ebr_report report;
    be_thread(collector);
    ebr_advance(domain, true);
    explore_wait(is_set, &pinned);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK);
    EXPLORE(report.stalled_epoch == 0 || report.stalled_thread == 101); /* the first thread */
    vbuf_u32_store_relaxed(&named, 1);
}

const struct explore_scenario ebr_stats_late = {
    .name = "ebr.stats-late",
    .checks = "E4",
    .set_up = set_up_late,
    .threads = {pin_late, step_and_name},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};
