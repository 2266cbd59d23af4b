/*
 * ebr_domain_end.c - domains that come and go: with objects pending, while threads end, two at once.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_objects.h"

static struct ebr_domain *domain, *other;
static struct vbuf_atomic_pointer places[2];
static struct vbuf_atomic_u32 done;

static void set_up(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    place_object(&places[0]);
    place_object(&places[1]);
}

static void set_up_two(void)
{
    set_up();
    EXPLORE(ebr_domain_create(&other, NULL) == VBUF_OK);
}

static void finish(void)
{
    EXPLORE(ebr_domain_destroy(other) == VBUF_OK);
    clear_and_destroy(domain, places, 2);
}

static void nothing(void)
{
}

/* ---- destroyed while a thread, which no longer uses it, ends ---- */

static void free_next(struct ebr_entry *entry)
{
    free_object(entry);
    unlink_and_retire(domain, &places[1]);
}

static void use_and_end(void)
{
    ebr_pin(domain);
    ebr_retire(domain, &unlink_object(&places[0])->entry, free_next);
    ebr_unpin(domain);
    vbuf_u32_store_release(&done, 1);
}

static void destroy_when_done(void)
{
    while (vbuf_u32_load_acquire(&done) == 0)
        explore_yield();
    EXPLORE(ebr_domain_destroy(domain) == VBUF_OK);
}

const struct explore_scenario ebr_domain_exit = {
    .name = "ebr.domain-exit",
    .checks = "E1 E3",
    .set_up = set_up,
    .threads = {use_and_end, destroy_when_done},
    .finish = nothing,
};

/* ---- with all that may be pending: open, sealed, orphaned; of record 0, too ---- */

static struct vbuf_atomic_pointer many[4];

static void set_up_small(void)
{
    struct ebr_options options = {.max_threads = 1};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    for (unsigned i = 0; i < 4; i++)
        place_object(&many[i]);
}

static void remove_some(unsigned first)
{
    ebr_pin(domain);
    unlink_and_retire(domain, &many[first]);
    ebr_collect(domain);
    ebr_unpin(domain);
    unlink_and_retire(domain, &many[first + 1]);
}

static void remove_first_two(void)
{
    remove_some(0);
}

static void remove_last_two(void)
{
    remove_some(2);
}

static void finish_pending(void)
{
    clear_and_destroy(domain, many, 4);
}

const struct explore_scenario ebr_domain_pending = {
    .name = "ebr.domain-pending",
    .checks = "E1 E3",
    .set_up = set_up_small,
    .threads = {remove_first_two, remove_last_two},
    .finish = finish_pending,
    .bounds = {.together = 2},
};

/* ---- two: a pin of the one does not hold the other, and objects do not mix ---- */

static void look_in_first(void)
{
    ebr_pin(domain);
    look(&places[0]);
    EXPLORE(ebr_domain_destroy(domain) == VBUF_BUSY);
    ebr_unpin(domain);
}

static void remove_in_both(void)
{
    ebr_pin(other);
    unlink_and_retire(domain, &places[0]);
    unlink_and_retire(other, &places[1]);
    ebr_collect(domain);
    ebr_collect(other);
    ebr_unpin(other);
}

const struct explore_scenario ebr_domain_two = {
    .name = "ebr.domain-two",
    .checks = "E1 E3",
    .set_up = set_up_two,
    .threads = {look_in_first, remove_in_both},
    .finish = finish,
    .bounds = {.together = 2},
};

/* ---- each thread has its own, among those of others ---- */

static void come_and_go(void)
{
    struct ebr_domain *own;
    if (ebr_domain_create(&own, NULL) != VBUF_OK)
        return;
    ebr_retire(own, &make_object()->entry, free_object);
    EXPLORE(ebr_domain_destroy(own) == VBUF_OK);
}

static void attach_and_end(void)
{
    ebr_attach(domain);
}

static void finish_first(void)
{
    clear_and_destroy(domain, places, 2);
}

const struct explore_scenario ebr_domain_list = {
    .name = "ebr.domain-list",
    .checks = "E3",
    .set_up = set_up,
    .threads = {come_and_go, come_and_go, attach_and_end},
    .finish = finish_first,
    .bounds = {.together = 1},
};
