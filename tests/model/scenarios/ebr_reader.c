/*
 * ebr_reader.c - pins through readers, that go from thread to thread, and come and go.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_objects.h"

static struct ebr_domain *domain;
static struct ebr_reader *reader;
static struct vbuf_atomic_pointer place;
static struct vbuf_atomic_u32 turn;
static struct object *held;

static void set_up(void)
{
    EXPLORE(ebr_domain_create(&domain, &(struct ebr_options){.max_readers = 4}) == VBUF_OK);
    EXPLORE(ebr_reader_create(domain, &reader) == VBUF_OK);
    place_object(&place);
}

static void finish(void)
{
    clear_and_destroy(domain, &place, 1);
}

static void remove_and_collect(void)
{
    unlink_and_retire(domain, &place);
    ebr_collect(domain);
    ebr_collect(domain);
}

static void look_on_reader(void)
{
    ebr_pin_on(domain, reader);
    ebr_pin_on(domain, reader);
    look(&place);
    ebr_unpin_on(domain, reader);
    look(&place);
    ebr_unpin_on(domain, reader);
}

const struct explore_scenario ebr_reader_pin = {
    .name = "ebr.reader-pin",
    .checks = "E1",
    .set_up = set_up,
    .threads = {look_on_reader, remove_and_collect},
    .finish = finish,
};

const struct explore_scenario ebr_reader_pin_full_fence = {
    .name = "ebr.reader-pin-full-fence",
    .checks = "E1 E2",
    .set_up = set_up,
    .threads = {look_on_reader, remove_and_collect},
    .finish = finish,
    .full_fence = true,
};

/* ---- pinned on one thread, unpinned on another ---- */

static void pin_and_hand_over(void)
{
    ebr_pin_on(domain, reader);
    held = vbuf_pointer_load_relaxed(&place);
    vbuf_u32_store_release(&turn, 1);
}

static void take_over_and_unpin(void)
{
    for (unsigned i = 0; i < TRIES && vbuf_u32_load_acquire(&turn) == 0; i++)
        explore_yield();
    if (vbuf_u32_load_acquire(&turn) == 0)
        return;
    EXPLORE(held == NULL || held->value == OBJECT_VALUE);
    ebr_unpin_on(domain, reader);
}

static void finish_handed_over(void)
{
    ebr_reader_destroy(domain, reader);
    finish();
}

const struct explore_scenario ebr_reader_migrates = {
    .name = "ebr.reader-migrates",
    .checks = "E1",
    .set_up = set_up,
    .threads = {pin_and_hand_over, take_over_and_unpin, remove_and_collect},
    .finish = finish_handed_over,
    .bounds = {.together = 2},
};

/* ---- made, used and destroyed, while another steps the epoch; the next takes the same ---- */

static void set_up_none(void)
{
    EXPLORE(ebr_domain_create(&domain, &(struct ebr_options){.max_readers = 2}) == VBUF_OK);
    place_object(&place);
}

static void use_briefly(void)
{
    struct ebr_reader *own = NULL;
    enum vbuf_status status = ebr_reader_create(domain, &own);
    EXPLORE(status == VBUF_OK || status == VBUF_FULL || status == VBUF_NOMEM);
    if (status != VBUF_OK)
        return;
    ebr_pin_on(domain, own);
    look(&place);
    ebr_reader_destroy(domain, own);
}

const struct explore_scenario ebr_reader_reused = {
    .name = "ebr.reader-reused",
    .checks = "E1",
    .set_up = set_up_none,
    .threads = {use_briefly, use_briefly, remove_and_collect},
    .finish = finish,
    .bounds = {.together = 2},
};

static void hold_one(void)
{
    struct ebr_reader *own = NULL;
    if (ebr_reader_create(domain, &own) == VBUF_OK)
        ebr_reader_destroy(domain, own);
}

/* A reader's next holder overwrites its record while a scan is under way. */
const struct explore_scenario ebr_reader_overwritten = {
    .name = "ebr.reader-overwritten",
    .checks = "E1",
    .set_up = set_up_none,
    .threads = {use_briefly, hold_one, remove_and_collect},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- there are never more than three, so none is refused ---- */

static struct ebr_reader *made[2];

static void set_up_three(void)
{
    EXPLORE(ebr_domain_create(&domain, &(struct ebr_options){.max_readers = 3}) == VBUF_OK);
    for (unsigned i = 0; i < 2; i++)
        EXPLORE(ebr_reader_create(domain, &made[i]) == VBUF_OK);
}

static void make_one(void)
{
    struct ebr_reader *own;
    EXPLORE(ebr_reader_create(domain, &own) == VBUF_OK);
}

static void make_two_anew(void)
{
    for (unsigned i = 0; i < 2; i++)
        ebr_reader_destroy(domain, made[i]);
    for (unsigned i = 0; i < 2; i++)
        EXPLORE(ebr_reader_create(domain, &made[i]) == VBUF_OK);
}

static void finish_three(void)
{
    struct ebr_reader *more;
    EXPLORE(ebr_reader_create(domain, &more) == VBUF_FULL);
    EXPLORE(ebr_domain_destroy(domain) == VBUF_OK);
}

const struct explore_scenario ebr_reader_full = {
    .name = "ebr.reader-full",
    .checks = "VBUF_FULL of readers",
    .set_up = set_up_three,
    .threads = {make_two_anew, make_one},
    .finish = finish_three,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- as many as there may be, and what the end of one ends ---- */

static void set_up_two(void)
{
    EXPLORE(ebr_domain_create(&domain, &(struct ebr_options){.max_readers = 3}) == VBUF_OK);
    EXPLORE(ebr_attach(domain) == VBUF_OK && ebr_detach(domain) == VBUF_OK);
    place_object(&place);
}

static void come_and_go(void)
{
    struct ebr_reader *readers[3], *none;
    struct ebr_report report;
    for (unsigned i = 0; i < 3; i++)
        EXPLORE(ebr_reader_create(domain, &readers[i]) == VBUF_OK);
    EXPLORE(ebr_reader_create(domain, &none) == VBUF_FULL);
    ebr_reader_destroy(domain, readers[0]);
    ebr_reader_destroy(domain, readers[1]);
    EXPLORE(ebr_reader_create(domain, &readers[0]) == VBUF_OK);
    EXPLORE(ebr_reader_create(domain, &readers[1]) == VBUF_OK);
    EXPLORE(ebr_reader_create(domain, &none) == VBUF_FULL);
    EXPLORE(readers[0] != readers[1] && readers[1] != readers[2] && readers[0] != readers[2]);
    ebr_pin_on(domain, readers[2]);
    ebr_pin_on(domain, readers[2]);
    unlink_and_retire(domain, &place);
    EXPLORE(ebr_collect(domain) == 0);
    EXPLORE(ebr_domain_destroy(domain) == VBUF_BUSY);
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK);
    EXPLORE(report.readers == 3 && report.threads == 1);
    for (unsigned i = 0; i < 3; i++)
        ebr_reader_destroy(domain, readers[i]);
    unsigned fences = explore_heavy_fences();
    EXPLORE(ebr_collect(domain) == 1);
    EXPLORE(explore_heavy_fences() == fences); /* alone again */
    EXPLORE(ebr_stats(domain, &report) == VBUF_OK && report.readers == 0 && report.threads == 1);
}

const struct explore_scenario ebr_reader_most = {
    .name = "ebr.reader-most",
    .checks = "E1 E2",
    .set_up = set_up_two,
    .threads = {come_and_go},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- one is made while another makes as many as need more memory ---- */

static void make_and_remove(void)
{
    struct ebr_reader *own;
    EXPLORE(ebr_reader_create(domain, &own) == VBUF_OK);
    unlink_and_retire(domain, &place);
    ebr_collect(domain);
}

static void look_on_last(void)
{
    struct ebr_reader *own[3];
    for (unsigned i = 0; i < 3; i++)
        EXPLORE(ebr_reader_create(domain, &own[i]) == VBUF_OK);
    ebr_reader_destroy(domain, own[0]);
    ebr_reader_destroy(domain, own[1]);
    ebr_pin_on(domain, own[2]);
    look(&place);
    ebr_unpin_on(domain, own[2]);
}

static void set_up_many(void)
{
    EXPLORE(ebr_domain_create(&domain, &(struct ebr_options){.max_readers = 4}) == VBUF_OK);
    place_object(&place);
}

const struct explore_scenario ebr_reader_grows = {
    .name = "ebr.reader-grows",
    .checks = "E1",
    .set_up = set_up_many,
    .threads = {make_and_remove, look_on_last},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};
