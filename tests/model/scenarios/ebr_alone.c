/*
 * ebr_alone.c - registration against a scan that believes itself alone, and issues no barrier.
 *
 * The remover is attached before the run. The reader has a number, but attaches in the run: so it is its
 * registration alone that tells it what the remover did before.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_objects.h"

static struct ebr_domain *domain;
static struct vbuf_atomic_pointer places[1];
static uint32_t reader, remover;

static void set_up(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
    remover = attach_a_thread(domain);
    reader = attach_a_thread(domain);
    be_thread(reader);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
}

static void finish(void)
{
    clear_and_destroy(domain, places, 1);
    be_thread(reader);
}

static void look_once(void)
{
    be_thread(reader);
    look_pinned(domain, &places[0]);
}

/* Comes, looks and goes: who comes after its going may be alone, and must have what it did before it. */
static void look_and_leave(void)
{
    be_thread(reader);
    look_pinned(domain, &places[0]);
    EXPLORE(ebr_detach(domain) == VBUF_OK);
}

static void remove_and_collect(void)
{
    be_thread(remover);
    unlink_and_retire(domain, &places[0]);
    ebr_collect(domain);
}

const struct explore_scenario ebr_alone_first_pin = {
    .name = "ebr.alone-first-pin",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_once, remove_and_collect},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

const struct explore_scenario ebr_alone_again = {
    .name = "ebr.alone-again",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_and_leave, remove_and_collect},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

/* ---- the same with all that belongs to a thread's first steps: numbers, the key, memory ---- */

static void set_up_new(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
}

static void finish_new(void)
{
    clear_and_destroy(domain, places, 1);
}

static void come_and_look(void)
{
    look_pinned(domain, &places[0]);
}

static void come_and_remove(void)
{
    ebr_attach(domain);
    explore_yield();
    unlink_and_retire(domain, &places[0]);
    ebr_collect(domain);
}

const struct explore_scenario ebr_alone_new = {
    .name = "ebr.alone-new",
    .checks = "E1",
    .set_up = set_up_new,
    .threads = {come_and_look, come_and_remove},
    .finish = finish_new,
    .bounds = {.failures = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};
