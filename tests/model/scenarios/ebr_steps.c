/*
 * ebr_steps.c - two steps of the epoch by two threads: what the first has to tell the second.
 *
 * The first stopped before the run, past its heavy fence and its scan: only its CAS is left. An unlink comes
 * before that, a pin in the middle of the second step. (Written out, so that the runs are short, and may be odd.)
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_internal.h"
#include "ebr_objects.h"
#include "limbo.h"

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[1], removed;
static struct vbuf_atomic_u64 tag; /* of what was removed; 0: nothing yet */
static uint32_t reader;
static uint64_t first; /* the epoch that the first steps from */

static void set_up(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
    reader = attach_a_thread(domain);
    first = ebr_epoch(domain);
    EXPLORE(vbuf_fence_heavy());
}

/* The reader's number is above those that have a record, so that both steps find nobody. */
static void set_up_shared(void)
{
    struct ebr_options options = {.max_threads = 1};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    place_object(&places[0]);
    reader = 2;
    first = ebr_epoch(domain);
}

/* The reader comes in the run: it raises what scans cover. */
static void set_up_new(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
    reader = 0;
    first = ebr_epoch(domain);
}

static void finish(void)
{
    clear_and_destroy(domain, &removed, 1);
    be_thread(0);
}

/* The end of ebr_advance. */
static void end_step(void)
{
    struct ebr_domain_head_ *head = (struct ebr_domain_head_ *)domain;
    uint64_t epoch = first;
    vbuf_u64_cas_acq_rel(&head->epoch, &epoch, epoch + 2);
}

/* It leaves the rest to the last: relaxed, as all that is needed goes by the epoch. */
static void unlink_and_seal(void)
{
    vbuf_pointer_store_relaxed(&removed, unlink_object(&places[0]));
    vbuf_u64_store_relaxed(&tag, ebr_seal_tag(domain));
}

static void step_and_free(void)
{
    ebr_advance(domain, true);
    uint64_t sealed = vbuf_u64_load_relaxed(&tag);
    if (sealed == 0 || ebr_epoch(domain) < sealed + LIMBO_GRACE)
        return;
    explore_free(unlink_object(&removed));
}

static void look_once(void)
{
    be_thread(reader);
    look_pinned(domain, &places[0]);
}

static void wait_and_free(void)
{
    struct object *object = unlink_object(&places[0]);
    EXPLORE(ebr_synchronize(domain) == VBUF_OK);
    explore_free(object);
}

const struct explore_scenario ebr_steps_two = {
    .name = "ebr.steps-two",
    .checks = "E1",
    .set_up = set_up,
    .threads = {unlink_and_seal, end_step, step_and_free, look_once},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

const struct explore_scenario ebr_steps_barriers_fail = {
    .name = "ebr.steps-barriers-fail",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {unlink_and_seal, end_step, step_and_free, look_once},
    .finish = finish,
    .bounds = {.preemptions = 1, .reorders = EXPLORE_NONE},
    .barriers_fail = true,
};

const struct explore_scenario ebr_steps_full_fence = {
    .name = "ebr.steps-full-fence",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {unlink_and_seal, end_step, step_and_free, look_once},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
    .full_fence = true,
};

const struct explore_scenario ebr_steps_shared = {
    .name = "ebr.steps-shared",
    .checks = "E1",
    .set_up = set_up_shared,
    .threads = {unlink_and_seal, end_step, step_and_free, look_once},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

const struct explore_scenario ebr_steps_synchronize = {
    .name = "ebr.steps-synchronize",
    .checks = "E1",
    .set_up = set_up,
    .threads = {end_step, wait_and_free, look_once},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .reorders = EXPLORE_NONE, .together = 2},
};

const struct explore_scenario ebr_steps_new_reader = {
    .name = "ebr.steps-new-reader",
    .checks = "E1",
    .set_up = set_up_new,
    .threads = {look_once, unlink_and_seal, end_step, step_and_free},
    .finish = finish,
    .bounds = {.preemptions = EXPLORE_NONE,
               .stale = 4,
               .reorders = EXPLORE_NONE,
               .failures = EXPLORE_NONE,
               .together = 4},
};

/* ---- the tag of a batch comes after its last unlink: the first was long ago ---- */

static uint32_t remover;

static void set_up_batch(void)
{
    set_up();
    remover = attach_a_thread(domain);
    be_thread(remover);
    ebr_retire(domain, &make_object()->entry, free_object);
}

static void retire_second(void)
{
    be_thread(remover);
    unlink_and_retire(domain, &places[0]);
    ebr_collect(domain);
}

const struct explore_scenario ebr_steps_batch = {
    .name = "ebr.steps-batch",
    .checks = "E1",
    .set_up = set_up_batch,
    .threads = {end_step, look_once, retire_second},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .reorders = EXPLORE_NONE, .together = 2},
};

/* ---- a pin that is ahead of who tries a step does not hold it back: the epoch has moved ---- */

static void step_and_pin(void)
{
    be_thread(reader);
    end_step();
    ebr_pin(domain);
    explore_yield();
    ebr_unpin(domain);
}

static void step_once(void)
{
    EXPLORE(ebr_advance(domain, true) == EBR_ADVANCED);
}

static void finish_ahead(void)
{
    clear_and_destroy(domain, places, 1);
    be_thread(0);
}

const struct explore_scenario ebr_steps_ahead = {
    .name = "ebr.steps-ahead",
    .checks = "S9",
    .set_up = set_up,
    .threads = {step_and_pin, step_once},
    .finish = finish_ahead,
};
