/*
 * ebr_grace.c - the tag, two steps of grace, and the fences, taken apart: one thread unlinks and seals, as a
 * container with its own limbo does; others step the epoch; a reader pins.
 *
 * The reader is attached before the run begins, the others never are. So the runs are short, and may be odd.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_internal.h"
#include "ebr_objects.h"
#include "limbo.h"

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[1];
static struct object *kept;
static uint32_t reader;

static void set_up(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
    reader = attach_a_thread(domain);
}

static void finish(void)
{
    if (kept != NULL)
        explore_free(kept);
    clear_and_destroy(domain, places, 1);
    be_thread(reader);
}

static void look_once(void)
{
    be_thread(reader);
    look_pinned(domain, &places[0]);
}

/* A section without a pause. */
static void glance(void)
{
    be_thread(reader);
    ebr_pin(domain);
    const struct object *object = vbuf_pointer_load_relaxed(&places[0]);
    if (object != NULL)
        EXPLORE(object->value == OBJECT_VALUE);
    ebr_unpin(domain);
}

static void free_if_passed(struct object *object, uint64_t tag)
{
    if (ebr_epoch(domain) >= tag + LIMBO_GRACE)
        explore_free(object);
    else
        kept = object;
}

static void remove_own_way(void)
{
    struct object *object = unlink_object(&places[0]);
    uint64_t tag = ebr_seal_tag(domain);
    for (unsigned i = 0; i < TRIES && ebr_epoch(domain) < tag + LIMBO_GRACE; i++)
        explore_yield();
    free_if_passed(object, tag);
}

static void step_twice(void)
{
    ebr_advance(domain, true);
    explore_yield();
    ebr_advance(domain, true);
}

static void remove_and_step(void)
{
    struct object *object = unlink_object(&places[0]);
    uint64_t tag = ebr_seal_tag(domain);
    step_twice();
    free_if_passed(object, tag);
}

const struct explore_scenario ebr_grace_steps = {
    .name = "ebr.grace-steps",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_once, remove_own_way, step_twice},
    .finish = finish,
    .bounds = {.together = 3, .failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

const struct explore_scenario ebr_grace_full_fence = {
    .name = "ebr.grace-full-fence",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {look_once, remove_own_way, step_twice},
    .finish = finish,
    .bounds = {.together = 3, .failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
    .full_fence = true,
};

/* All by one thread, which is not attached: who is attached is not it. */
const struct explore_scenario ebr_grace_unattached = {
    .name = "ebr.grace-unattached",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_once, remove_and_step},
    .finish = finish,
    .bounds = {.together = 4},
};

const struct explore_scenario ebr_grace_glance = {
    .name = "ebr.grace-glance",
    .checks = "E1",
    .set_up = set_up,
    .threads = {glance, remove_own_way, step_twice},
    .finish = finish,
    .bounds = {.together = 3, .failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};
