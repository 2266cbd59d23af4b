/*
 * ebr_exit.c - threads that end: what they retired, the pins they held, the numbers they give back.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <pthread.h>

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

static void look_at_first(void)
{
    look_pinned(domain, &places[0]);
}

/* The thread's end ends the pin, but for one through the shared word: no failures here. */
static void look_and_end_pinned(void)
{
    ebr_pin(domain);
    ebr_pin(domain);
    look(&places[0]);
}

static void look_and_detach(void)
{
    look_pinned(domain, &places[0]);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
    explore_yield();
    look_pinned(domain, &places[0]);
}

/* Ends with what it retired in its open batch, and, where the steps are refused, in a sealed one. */
static void remove_and_end(void)
{
    unlink_and_retire(domain, &places[0]);
}

static void remove_both_and_end(void)
{
    unlink_and_retire(domain, &places[1]);
    ebr_collect(domain);
    unlink_and_retire(domain, &places[0]);
}

static void remove_and_collect(void)
{
    unlink_and_retire(domain, &places[0]);
    ebr_collect(domain);
}

static void attach_and_end(void)
{
    ebr_attach(domain);
}

static void collect(void)
{
    ebr_attach(domain);
    ebr_collect(domain);
    explore_yield();
    ebr_collect(domain);
}

const struct explore_scenario ebr_exit_orphans = {
    .name = "ebr.exit-orphans",
    .checks = "E1 E3",
    .set_up = set_up,
    .threads = {look_at_first, remove_and_end, collect},
    .finish = finish,
    .bounds = {.together = 1},
};

const struct explore_scenario ebr_exit_two_orphans = {
    .name = "ebr.exit-two-orphans",
    .checks = "E1 E3",
    .set_up = set_up,
    .threads = {remove_both_and_end, collect, collect},
    .finish = finish,
    .bounds = {.together = 1},
};

const struct explore_scenario ebr_exit_pinned = {
    .name = "ebr.exit-pinned",
    .checks = "E1 E3",
    .set_up = set_up,
    .threads = {look_and_end_pinned, remove_and_collect},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

const struct explore_scenario ebr_exit_detach = {
    .name = "ebr.exit-detach",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_and_detach, remove_and_collect},
    .finish = finish,
    .bounds = {.together = 2},
};

/* The next holder of a number overwrites the last one's record while a scan is under way. */
const struct explore_scenario ebr_exit_number_reused = {
    .name = "ebr.exit-number-reused",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_at_first, remove_and_collect, attach_and_end},
    .finish = finish,
    .bounds = {.together = 2},
};

/* ---- a destructor that runs after the library's ---- */

static pthread_key_t key;

/* The thread's pin has ended with its record; it takes another number to retire with. */
static void retire_late(void *unused)
{
    (void)unused;
    EXPLORE(vbuf_self_.reclaiming == 0);
    ebr_unpin(domain);
    unlink_and_retire(domain, &places[0]);
}

static void set_up_destructor(void)
{
    set_up();
    ebr_attach(domain); /* the library's key is made, and comes first */
    ebr_detach(domain);
    EXPLORE(pthread_key_create(&key, retire_late) == 0);
}

static void end_with_destructor(void)
{
    ebr_pin(domain);
    if (pthread_setspecific(key, &key) != 0)
        ebr_unpin(domain);
    vbuf_self_.reclaiming = vbuf_self_.id != 0; /* as if it ended in a reclaim function */
}

const struct explore_scenario ebr_exit_destructor = {
    .name = "ebr.exit-destructor",
    .checks = "E1 E3",
    .set_up = set_up_destructor,
    .threads = {end_with_destructor, collect},
    .finish = finish,
    .bounds = {.together = 2},
};
