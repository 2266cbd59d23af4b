/*
 * ebr_nested.c - pins in pins, and repins: what the outermost pin protects, and for how long.
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

static void finish(void)
{
    clear_and_destroy(domain, places, 2);
}

static void remove_both(void)
{
    unlink_and_retire(domain, &places[0]);
    ebr_collect(domain);
    explore_yield();
    unlink_and_retire(domain, &places[1]);
    ebr_collect(domain);
}

/* The outer pin goes on after the inner one, and keeps its epoch: a repin in it does nothing. */
static void look_around_inner_pin(void)
{
    ebr_pin(domain);
    const struct object *object = vbuf_pointer_load_relaxed(&places[0]);
    explore_yield();
    ebr_pin(domain);
    ebr_repin(domain);
    ebr_unpin(domain);
    explore_yield();
    if (object != NULL)
        EXPLORE(object->value == OBJECT_VALUE);
    ebr_unpin(domain);
}

static void look_before_and_after_repin(void)
{
    ebr_repin(domain); /* neither attached … */
    ebr_pin(domain);
    look(&places[0]);
    ebr_repin(domain);
    look(&places[1]);
    ebr_unpin(domain);
    ebr_repin(domain); /* … nor pinned: nothing to do */
    EXPLORE(ebr_detach(domain) == VBUF_OK);
}

/* A pin lets the epoch go one step; a repin lets it go another, an inner one does not. */
static void step_by_repins(void)
{
    struct ebr_report stats;
    if (ebr_attach(domain) != VBUF_OK)
        return;
    ebr_pin(domain);
    ebr_collect(domain);
    ebr_pin(domain);
    ebr_repin(domain);
    ebr_unpin(domain);
    ebr_collect(domain);
    EXPLORE(ebr_stats(domain, &stats) == VBUF_OK && stats.advances == 1);
    ebr_repin(domain);
    ebr_collect(domain);
    EXPLORE(ebr_stats(domain, &stats) == VBUF_OK && stats.advances == 2);
    ebr_unpin(domain);
}

const struct explore_scenario ebr_nested_pins = {
    .name = "ebr.nested-pins",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_around_inner_pin, remove_both},
    .finish = finish,
    .bounds = {.together = 2},
};

const struct explore_scenario ebr_nested_repin = {
    .name = "ebr.nested-repin",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_before_and_after_repin, remove_both},
    .finish = finish,
    .bounds = {.together = 2},
};

const struct explore_scenario ebr_nested_pins_full_fence = {
    .name = "ebr.nested-pins-full-fence",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {look_around_inner_pin, remove_both},
    .finish = finish,
    .bounds = {.together = 2},
    .full_fence = true,
};

const struct explore_scenario ebr_nested_repin_full_fence = {
    .name = "ebr.nested-repin-full-fence",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {look_before_and_after_repin, remove_both},
    .finish = finish,
    .bounds = {.together = 2},
    .full_fence = true,
};

const struct explore_scenario ebr_nested_steps = {
    .name = "ebr.nested-steps",
    .checks = "E1",
    .set_up = set_up,
    .threads = {step_by_repins},
    .finish = finish,
};

const struct explore_scenario ebr_nested_steps_full_fence = {
    .name = "ebr.nested-steps-full-fence",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {step_by_repins},
    .finish = finish,
    .full_fence = true,
};

/* ---- as many unpins as pins end it ---- */

static void pin_thrice(void)
{
    for (unsigned i = 0; i < 3; i++)
        ebr_pin(domain);
    for (unsigned i = 0; i < 3; i++) {
        EXPLORE(ebr_detach(domain) == VBUF_BUSY);
        ebr_unpin(domain);
    }
    EXPLORE(ebr_detach(domain) == VBUF_OK);
}

const struct explore_scenario ebr_nested_ends = {
    .name = "ebr.nested-ends",
    .checks = "E1",
    .set_up = set_up,
    .threads = {pin_thrice},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};
