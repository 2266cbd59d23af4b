/*
 * ebr_stats.c - figures taken during churn: never more reclaimed than retired, and no pin that is not there.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_objects.h"

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[2];

static void set_up(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
    place_object(&places[1]);
}

static void set_up_shared(void)
{
    struct ebr_options options = {.max_threads = 1};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    EXPLORE(ebr_attach(domain) == VBUF_OK && ebr_detach(domain) == VBUF_OK);
    place_object(&places[0]);
    place_object(&places[1]);
}

static void finish(void)
{
    clear_and_destroy(domain, places, 2);
}

static void remove_and_end(void)
{
    unlink_and_retire(domain, &places[0]);
}

static void remove_and_collect(void)
{
    unlink_and_retire(domain, &places[1]);
    ebr_collect(domain);
    ebr_collect(domain);
}

static void take_figures(void)
{
    struct ebr_report report;
    for (unsigned i = 0; i < 2; i++) {
        EXPLORE(ebr_stats(domain, &report) == VBUF_OK);
        EXPLORE(report.retired >= report.reclaimed);
        EXPLORE(report.stalled_thread == 0 && report.threads <= 2);
        EXPLORE(report.fence == VBUF_FENCE_PROCESS_WIDE);
    }
}

const struct explore_scenario ebr_stats_churn = {
    .name = "ebr.stats-churn",
    .checks = "E4",
    .set_up = set_up,
    .threads = {remove_and_end, remove_and_collect, take_figures},
    .finish = finish,
    .bounds = {.together = 2, .failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

const struct explore_scenario ebr_stats_shared = {
    .name = "ebr.stats-shared",
    .checks = "E4",
    .set_up = set_up_shared,
    .threads = {remove_and_end, remove_and_collect, take_figures},
    .finish = finish,
    .bounds = {.together = 2, .failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};
