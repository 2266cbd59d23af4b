/*
 * ebr_alone.c - registration against a scan that believes itself alone, and issues no barrier.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_internal.h"
#include "ebr_objects.h"

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[1];

static void set_up(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
}

static void finish(void)
{
    clear_and_destroy(domain, places, 1);
}

static void look_once(void)
{
    look_pinned(domain, &places[0]);
}

static void look_attached(void)
{
    ebr_attach(domain);
    explore_yield();
    look_pinned(domain, &places[0]);
}

/* Comes, looks and goes, so that who comes after its going may be alone without knowing what it did. */
static void look_and_leave(void)
{
    look_pinned(domain, &places[0]);
    ebr_detach(domain);
}

static void remove_attached(void)
{
    unlink_and_retire(domain, &places[0]);
    ebr_advance(domain, true);
    explore_yield();
    ebr_collect(domain);
    ebr_collect(domain);
}

/* Attached before the other thread has a number: what that does reaches it by `registered` alone. */
static void attach_then_remove(void)
{
    ebr_attach(domain);
    explore_yield();
    unlink_and_retire(domain, &places[0]);
    ebr_collect(domain);
}

const struct explore_scenario ebr_alone_first_pin = {
    .name = "ebr.alone-first-pin",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_once, remove_attached},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

const struct explore_scenario ebr_alone_again = {
    .name = "ebr.alone-again",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_and_leave, attach_then_remove},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

const struct explore_scenario ebr_alone_not = {
    .name = "ebr.alone-not",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_attached, attach_then_remove},
    .finish = finish,
};
