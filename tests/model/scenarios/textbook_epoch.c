/*
 * textbook_epoch.c - epochs in forty lines, and each way to get them wrong.
 *
 *   pin       e = epoch, acquire; record = e; light fence.         unpin   record = none, release.
 *   retire    after the unlink: tag = epoch, by a read-modify-write.
 *   advance   heavy fence; unless somebody is pinned elsewhere: CAS epoch to epoch + 1.
 *   reclaim   once epoch >= tag + 2.
 *
 * One thread reads an object, one takes it away and frees it, one takes steps of the epoch meanwhile. Why each part
 * is needed: src/ebr.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "explore.h"
#include "vbuf/atomic.h"
#include "vbuf/fence.h"

#define NONE 0u

struct object {
    struct vbuf_atomic_u32 value;
};

static struct {
    bool no_heavy_fence, tag_early, tag_by_load, pin_relaxed, unpin_relaxed;
    uint32_t grace;
} variant;

static struct vbuf_atomic_u32 epoch, record;
static struct vbuf_atomic_pointer shared;
static struct object *retired;

static void set_up(void)
{
    variant.grace = 2;
    vbuf_u32_store_relaxed(&epoch, 1);
    struct object *object = explore_alloc(sizeof *object);
    vbuf_u32_store_relaxed(&object->value, 7);
    vbuf_pointer_store_release(&shared, object);
}

static void finish(void)
{
    if (retired != NULL)
        explore_free(retired);
    explore_outcome("fine");
}

/* ---- the scheme ---- */

static void pin(void)
{
    uint32_t now =
        variant.pin_relaxed ? vbuf_u32_load_relaxed(&epoch) : vbuf_u32_load_acquire(&epoch);
    vbuf_u32_store_relaxed(&record, now);
    vbuf_fence_light();
}

static void unpin(void)
{
    if (variant.unpin_relaxed)
        vbuf_u32_store_relaxed(&record, NONE);
    else
        vbuf_u32_store_release(&record, NONE);
}

static uint32_t take_tag(void)
{
    return variant.tag_by_load ? vbuf_u32_load_acquire(&epoch)
                               : vbuf_u32_fetch_add_acq_rel(&epoch, 0);
}

static void advance(void)
{
    uint32_t now = vbuf_u32_load_acquire(&epoch);
    if (!variant.no_heavy_fence)
        EXPLORE(vbuf_fence_heavy());
    uint32_t pinned = vbuf_u32_load_acquire(&record);
    if (pinned == NONE || pinned == now)
        vbuf_u32_cas_acq_rel(&epoch, &now, now + 1);
}

/* ---- the threads ---- */

static void read_object(void)
{
    pin();
    struct object *object = vbuf_pointer_load_acquire(&shared);
    if (object != NULL)
        EXPLORE(vbuf_u32_load_relaxed(&object->value) == 7);
    unpin();
}

static void remove_object(void)
{
    uint32_t tag = variant.tag_early ? take_tag() : 0;
    struct object *object = vbuf_pointer_exchange_acq_rel(&shared, NULL);
    if (!variant.tag_early)
        tag = take_tag();
    advance();
    advance();
    if (vbuf_u32_load_acquire(&epoch) >= tag + variant.grace)
        explore_free(object);
    else
        retired = object;
}

static void advance_twice(void)
{
    advance();
    advance();
}

#define THE_THREADS                                                                                \
    {                                                                                              \
        read_object, remove_object, advance_twice                                                  \
    }

const struct explore_scenario textbook_epoch = {
    .name = "textbook.epoch",
    .checks = "explorer",
    .set_up = set_up,
    .threads = THE_THREADS,
    .finish = finish,
    .outcomes = {"fine"},
};

/* ---- without one part ---- */

static void set_up_no_heavy_fence(void)
{
    set_up();
    variant.no_heavy_fence = true;
}

/* The pin is not seen. */
const struct explore_scenario textbook_epoch_no_heavy_fence = {
    .name = "textbook.epoch-no-heavy-fence",
    .checks = "explorer",
    .set_up = set_up_no_heavy_fence,
    .threads = THE_THREADS,
    .finish = finish,
    .must_fail = "data race: an atomic read by thread 1, and a plain write",
};

static void set_up_tag_early(void)
{
    set_up();
    variant.tag_early = true;
}

/* Who pins after the tag's two steps may still find the object. */
const struct explore_scenario textbook_epoch_tag_early = {
    .name = "textbook.epoch-tag-early",
    .checks = "explorer",
    .set_up = set_up_tag_early,
    .threads = THE_THREADS,
    .finish = finish,
    .must_fail = "data race: an atomic read by thread 1, and a plain write",
};

static void set_up_tag_by_load(void)
{
    set_up();
    variant.tag_by_load = true;
}

/* An older epoch may be read: as early as that. */
const struct explore_scenario textbook_epoch_tag_by_load = {
    .name = "textbook.epoch-tag-by-load",
    .checks = "explorer",
    .set_up = set_up_tag_by_load,
    .threads = THE_THREADS,
    .finish = finish,
    .must_fail = "data race: an atomic read by thread 1, and a plain write",
};

static void set_up_one_step(void)
{
    set_up();
    variant.grace = 1;
}

/* The step may have been under way, past its fence, when the object was unlinked. */
const struct explore_scenario textbook_epoch_one_step = {
    .name = "textbook.epoch-one-step",
    .checks = "explorer",
    .set_up = set_up_one_step,
    .threads = THE_THREADS,
    .finish = finish,
    .must_fail = "data race: an atomic read by thread 1, and a plain write",
};

static void set_up_pin_relaxed(void)
{
    set_up();
    variant.pin_relaxed = true;
}

/* The epoch is read, what made it is not known: the link may still be found. */
const struct explore_scenario textbook_epoch_pin_relaxed = {
    .name = "textbook.epoch-pin-relaxed",
    .checks = "explorer",
    .set_up = set_up_pin_relaxed,
    .threads = THE_THREADS,
    .finish = finish,
    .bounds = {.preemptions = 3, .together = 5},
    .must_fail = "data race: an atomic read by thread 1, and a plain write",
};

static void set_up_unpin_relaxed(void)
{
    set_up();
    variant.unpin_relaxed = true;
}

/* The reads may come after the unpinning. */
const struct explore_scenario textbook_epoch_unpin_relaxed = {
    .name = "textbook.epoch-unpin-relaxed",
    .checks = "explorer",
    .set_up = set_up_unpin_relaxed,
    .threads = THE_THREADS,
    .finish = finish,
    .must_fail = "data race: an atomic read by thread 1, and a plain write",
};
