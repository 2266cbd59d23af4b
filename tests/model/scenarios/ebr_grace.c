/*
 * ebr_grace.c - the tag, and two steps of grace, taken apart: one thread unlinks and seals, as a container
 * with its own limbo does; others step the epoch; a reader, attached before, pins.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_internal.h"
#include "ebr_objects.h"
#include "limbo.h"

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[2];
static struct object *kept;

static void set_up(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
}

static void finish(void)
{
    if (kept != NULL)
        explore_free(kept);
    clear_and_destroy(domain, places, 1);
}

static void attach_then_look(void)
{
    ebr_attach(domain);
    explore_yield();
    look_pinned(domain, &places[0]);
}

/* It never attaches. */
static void remove_own_way(void)
{
    struct object *object = unlink_object(&places[0]);
    uint64_t tag = ebr_seal_tag(domain);
    for (unsigned i = 0; i < TRIES; i++) {
        if (ebr_epoch(domain) >= tag + LIMBO_GRACE) {
            explore_free(object);
            return;
        }
        explore_yield();
    }
    kept = object;
}

static void step_once(void)
{
    ebr_advance(domain, true);
}

static void step_twice(void)
{
    ebr_advance(domain, true);
    explore_yield();
    ebr_advance(domain, true);
}

/* The same in one thread, which is not attached: who is attached is not it. */
static void remove_and_step(void)
{
    struct object *object = unlink_object(&places[0]);
    uint64_t tag = ebr_seal_tag(domain);
    ebr_advance(domain, true);
    explore_yield();
    ebr_advance(domain, true);
    if (ebr_epoch(domain) >= tag + LIMBO_GRACE)
        explore_free(object);
    else
        kept = object;
}

const struct explore_scenario ebr_grace_steps = {
    .name = "ebr.grace-steps",
    .checks = "E1",
    .set_up = set_up,
    .threads = {attach_then_look, remove_own_way, step_twice},
    .finish = finish,
    .bounds = {.together = 2},
};

const struct explore_scenario ebr_grace_steps_full_fence = {
    .name = "ebr.grace-steps-full-fence",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {attach_then_look, remove_own_way, step_twice},
    .finish = finish,
    .bounds = {.together = 2},
    .full_fence = true,
};

const struct explore_scenario ebr_grace_two_step = {
    .name = "ebr.grace-two-step",
    .checks = "E1",
    .set_up = set_up,
    .threads = {attach_then_look, remove_own_way, step_once, step_once},
    .finish = finish,
    .bounds = {.together = 4, .failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

const struct explore_scenario ebr_grace_unattached = {
    .name = "ebr.grace-unattached",
    .checks = "E1",
    .set_up = set_up,
    .threads = {attach_then_look, remove_and_step},
    .finish = finish,
};
