/*
 * ebr_shared.c - threads without a record: pins through the shared word, orphans, and record 0, which they
 * share by a try-lock.
 *
 * set_up takes number 1 and keeps it, so with max_threads 1 no other thread has a record. Where taking a number
 * would tell one thread of the other, they have theirs before the run.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_objects.h"

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[2];

static void set_up_for(uint32_t max_threads)
{
    struct ebr_options options = {.max_threads = max_threads};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    EXPLORE(ebr_attach(domain) == VBUF_OK);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
    place_object(&places[0]);
    place_object(&places[1]);
}

static void set_up(void)
{
    set_up_for(1);
}

static void set_up_with_one_record(void)
{
    set_up_for(2);
}

static void finish(void)
{
    clear_and_destroy(domain, places, 2);
}

static void look_nested(void)
{
    be_thread(2);
    EXPLORE(ebr_attach(domain) == VBUF_FULL);
    ebr_pin(domain);
    ebr_pin(domain);
    EXPLORE(ebr_detach(domain) == VBUF_BUSY && ebr_synchronize(domain) == VBUF_BUSY);
    ebr_unpin(domain);
    look(&places[0]);
    ebr_unpin(domain);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
}

static void remove_known(void)
{
    be_thread(3);
    unlink_and_retire(domain, &places[0]);
    ebr_collect(domain);
}

static void look_at_first(void)
{
    look_pinned(domain, &places[0]);
}

static void remove_first(void)
{
    unlink_and_retire(domain, &places[0]);
    ebr_collect(domain);
}

static void remove_second(void)
{
    unlink_and_retire(domain, &places[1]);
    ebr_collect(domain);
}

const struct explore_scenario ebr_shared_pin = {
    .name = "ebr.shared-pin",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_nested, remove_known},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

/* Two at record 0. */
const struct explore_scenario ebr_shared_removers = {
    .name = "ebr.shared-removers",
    .checks = "E1 E3",
    .set_up = set_up,
    .threads = {remove_first, remove_second},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

/* Who comes first has the record. */
const struct explore_scenario ebr_shared_one_record = {
    .name = "ebr.shared-one-record",
    .checks = "E1 E3",
    .set_up = set_up_with_one_record,
    .threads = {look_at_first, remove_first, remove_second},
    .finish = finish,
    .bounds = {.together = 1},
};

/* ---- a record that is refused at first ---- */

/* The second pin may find room for a record, but must end the way that the first began. */
static void look_refused(void)
{
    ebr_pin(domain);
    ebr_pin(domain);
    look(&places[0]);
    ebr_unpin(domain);
    ebr_unpin(domain);
    look_pinned(domain, &places[1]);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
    struct ebr_report report;
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK && report.overflow_pins == 0);
}

static void set_up_plain(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
    place_object(&places[1]);
}

const struct explore_scenario ebr_shared_refused = {
    .name = "ebr.shared-refused",
    .checks = "E1 E3",
    .set_up = set_up_plain,
    .threads = {look_refused, remove_first},
    .finish = finish,
    .bounds = {.preemptions = 1, .failures = 2, .together = 2},
};
