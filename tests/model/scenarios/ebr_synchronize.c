/*
 * ebr_synchronize.c - waiting for every pin there is: then the caller may destroy by itself.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_objects.h"

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[2];
static bool reclaimed;

static void set_up(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
    place_object(&places[1]);
}

static void finish(void)
{
    clear_and_destroy(domain, places, 2);
}

static void look_at_both(void)
{
    look_pinned(domain, &places[0]);
    look_pinned(domain, &places[1]);
}

static void look_at_first(void)
{
    look_pinned(domain, &places[0]);
}

static void reclaim_and_note(struct ebr_entry *entry)
{
    EXPLORE(ebr_synchronize(domain) == VBUF_BUSY && ebr_collect(domain) == 0);
    EXPLORE(ebr_detach(domain) != VBUF_OK);
    reclaimed = true;
    free_object(entry);
}

/* Unlinks, waits and frees. */
static void wait_and_free(void)
{
    struct object *object = unlink_object(&places[0]);
    EXPLORE(ebr_synchronize(domain) == VBUF_OK);
    explore_free(object);
}

/* What it has retired before is reclaimed then, too. */
static void retire_and_wait(void)
{
    ebr_pin(domain);
    EXPLORE(ebr_synchronize(domain) == VBUF_BUSY);
    ebr_unpin(domain);
    ebr_retire(domain, &unlink_object(&places[1])->entry, reclaim_and_note);
    EXPLORE(ebr_synchronize(domain) == VBUF_OK);
    EXPLORE(reclaimed);
}

/* BUSY iff the system has refused. */
static void wait_refused(void)
{
    struct ebr_report report;
    struct object *object = unlink_object(&places[0]);
    enum vbuf_status status = ebr_synchronize(domain);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK);
    EXPLORE((status == VBUF_BUSY) <= (report.barriers_failed != 0));
    EXPLORE(status == VBUF_OK || status == VBUF_BUSY);
    if (status == VBUF_OK)
        explore_free(object);
    else
        ebr_retire(domain, &object->entry, free_object);
}

const struct explore_scenario ebr_synchronize_free = {
    .name = "ebr.synchronize-free",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_at_first, wait_and_free},
    .finish = finish,
};

const struct explore_scenario ebr_synchronize_retired = {
    .name = "ebr.synchronize-retired",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_at_both, retire_and_wait},
    .finish = finish,
    .bounds = {.together = 2, .failures = EXPLORE_NONE},
};

const struct explore_scenario ebr_synchronize_refused = {
    .name = "ebr.synchronize-refused",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {look_at_first, wait_refused},
    .finish = finish,
    .bounds = {.together = 2},
    .barriers_fail = true,
};

/* Two wait for each other's pins, and for nothing else. */
static void look_and_wait(void)
{
    look_pinned(domain, &places[0]);
    EXPLORE(ebr_synchronize(domain) == VBUF_OK);
}

const struct explore_scenario ebr_synchronize_both = {
    .name = "ebr.synchronize-both",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_and_wait, retire_and_wait},
    .finish = finish,
    .bounds = {.together = 1, .failures = EXPLORE_NONE},
};
