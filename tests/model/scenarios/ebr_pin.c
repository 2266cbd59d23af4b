/*
 * ebr_pin.c - a reader under a pin, against who unlinks, retires and collects.
 *
 * Nobody is attached when the threads start, so the first pin, and the first retire, register as well.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_objects.h"

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[3];

static void set_up(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    for (unsigned i = 0; i < 3; i++)
        place_object(&places[i]);
}

static void finish(void)
{
    clear_and_destroy(domain, places, 3);
}

static void look_at_first(void)
{
    look_pinned(domain, &places[0]);
}

/* What the first pin leaves behind does not spare the second its fence. */
static void look_twice(void)
{
    look_pinned(domain, &places[1]);
    look_pinned(domain, &places[0]);
}

static void look_at_two(void)
{
    ebr_pin(domain);
    look(&places[0]);
    look(&places[1]);
    ebr_unpin(domain);
}

static void remove_first(void)
{
    unlink_and_retire(domain, &places[0]);
    ebr_collect(domain);
}

/* It works on the structure under a pin of its own, as an insert would. */
static void remove_second_pinned(void)
{
    ebr_pin(domain);
    unlink_and_retire(domain, &places[1]);
    ebr_collect(domain);
    ebr_unpin(domain);
    ebr_collect(domain);
}

/* Batches of different tags, and of the same: a pin holds the epoch for some of them. */
static void remove_one_by_one(void)
{
    for (unsigned i = 0; i < 3; i++) {
        unlink_and_retire(domain, &places[i]);
        ebr_collect(domain);
    }
}

const struct explore_scenario ebr_pin_remove = {
    .name = "ebr.pin-remove",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_at_first, remove_first},
    .finish = finish,
};

const struct explore_scenario ebr_pin_full_fence = {
    .name = "ebr.pin-full-fence",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {look_at_first, remove_first},
    .finish = finish,
    .full_fence = true,
};

const struct explore_scenario ebr_pin_full_fence_again = {
    .name = "ebr.pin-full-fence-again",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {look_twice, remove_first},
    .finish = finish,
    .full_fence = true,
};

const struct explore_scenario ebr_pin_barriers_fail = {
    .name = "ebr.pin-barriers-fail",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {look_at_first, remove_first},
    .finish = finish,
    .bounds = {.failures = 2},
    .barriers_fail = true,
};

const struct explore_scenario ebr_pin_bags = {
    .name = "ebr.pin-bags",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_at_first, remove_one_by_one},
    .finish = finish,
    .bounds = {.together = 2},
};

const struct explore_scenario ebr_pin_two_removers = {
    .name = "ebr.pin-two-removers",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_at_two, remove_first, remove_second_pinned},
    .finish = finish,
    .bounds = {.together = 1},
};
