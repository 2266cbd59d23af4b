/*
 * slotmap_steps.c - claims that are published or cancelled, and values that are invalidated and released.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "explore.h"
#include "slotmap_internal.h"

static struct slotmap *map;
static slotmap_handle given;             /* in set_up */
static struct vbuf_atomic_u64 shared;    /* a handle from thread to thread, without order */
static struct vbuf_atomic_u32 won;       /* how many calls said VBUF_OK */
static struct vbuf_atomic_u32 destroyed; /* destructors run on any thread */
static unsigned expected;

static void destroy_value(void *context, void *value)
{
    (void)context;
    EXPLORE(*(uint64_t *)value == 7);
    explore_poison(value, sizeof(uint64_t));
    vbuf_u32_fetch_add_relaxed(&destroyed, 1);
}

static void create(size_t max_len)
{
    struct slotmap_options options = {.value_size = sizeof(uint64_t),
                                      .max_len = max_len,
                                      .max_limbo = 4,
                                      .max_threads = 5,
                                      .destroy = destroy_value};
    EXPLORE(slotmap_create(&map, &options) == VBUF_OK);
}

static slotmap_handle claim(void)
{
    slotmap_handle handle = {0};
    void *value;
    enum vbuf_status status = slotmap_claim(map, &handle, &value);
    EXPLORE(status == VBUF_OK || status == VBUF_NOMEM || status == VBUF_BUSY);
    if (status == VBUF_OK)
        *(uint64_t *)value = 7;
    return handle;
}

static void set_up_claimed(void)
{
    create(4);
    given = claim();
}

static void set_up_live(void)
{
    create(4);
    uint64_t value = 7;
    EXPLORE(slotmap_insert(map, &value, &given) == VBUF_OK);
    expected = 1;
}

static void count_win(enum vbuf_status status)
{
    EXPLORE(status == VBUF_OK || status == VBUF_STALE);
    vbuf_u32_fetch_add_relaxed(&won, status == VBUF_OK);
}

static void finish(void)
{
    struct slotmap_report stats;
    EXPLORE(slotmap_stats(map, &stats) == VBUF_OK);
    slotmap_collect(map);
    slotmap_collect(map);
    slotmap_destroy(map);
    EXPLORE(vbuf_u32_load_relaxed(&destroyed) == expected);
}

/* ---- a claim is seen from its publish on ---- */

static void claim_and_publish(void)
{
    slotmap_handle handle = claim();
    vbuf_u64_store_relaxed(&shared, handle.bits);
    if (handle.bits == 0)
        return;
    EXPLORE(slotmap_publish(map, handle) == VBUF_OK);
    expected++; /* nobody else writes it */
}

static void look(void)
{
    slotmap_handle handle = {vbuf_u64_load_relaxed(&shared)};
    slotmap_pin(map);
    const uint64_t *value = slotmap_get(map, handle);
    EXPLORE(value == NULL || *value == 7);
    slotmap_unpin(map);
}

static void set_up_empty(void)
{
    create(4);
}

const struct explore_scenario slotmap_steps_publish = {
    .name = "slotmap.steps-publish",
    .checks = "S3 S6",
    .set_up = set_up_empty,
    .threads = {claim_and_publish, look, look},
    .finish = finish,
};

/* ---- a claim ends once ---- */

static void publish_given(void)
{
    enum vbuf_status status = slotmap_publish(map, given);
    count_win(status);
    expected += status == VBUF_OK; /* nobody else writes it */
}

static void cancel_given(void)
{
    count_win(slotmap_cancel(map, given));
    slotmap_collect(map);
}

static void finish_once(void)
{
    EXPLORE(vbuf_u32_load_relaxed(&won) == 1);
    finish();
}

const struct explore_scenario slotmap_steps_once = {
    .name = "slotmap.steps-once",
    .checks = "S6",
    .set_up = set_up_claimed,
    .threads = {publish_given, cancel_given, cancel_given},
    .finish = finish_once,
    .bounds = {.together = 2},
};

/* ---- a cancelled slot is not a head of the chunks again within its grace ---- */

static void insert_and_remove(void)
{
    uint64_t value = 7;
    slotmap_handle handle;
    enum vbuf_status status = slotmap_insert(map, &value, &handle);
    EXPLORE(status == VBUF_OK || status == VBUF_NOMEM || status == VBUF_BUSY ||
            status == VBUF_FULL);
    if (status != VBUF_OK)
        return;
    slotmap_pin(map);
    const uint64_t *found = slotmap_get(map, handle);
    EXPLORE(found != NULL && *found == 7);
    explore_yield();
    EXPLORE(*found == 7);
    slotmap_unpin(map);
}

static void cancel_and_collect(void)
{
    slotmap_handle handle = claim();
    if (handle.bits == 0)
        return;
    EXPLORE(slotmap_cancel(map, handle) == VBUF_OK);
    slotmap_collect(map);
    EXPLORE(!slotmap_contains(map, handle));
}

/* Every value there is, is destroyed; nothing else. */
static void finish_live(void)
{
    expected = (unsigned)slotmap_len(map) + vbuf_u32_load_relaxed(&destroyed);
    finish();
}

/* Slots on the stack of chunks, for both to pop. */
static void set_up_chunks(void)
{
    create(2);
    slotmap_handle a = claim(), b = claim();
    EXPLORE(slotmap_cancel(map, a) == VBUF_OK && slotmap_cancel(map, b) == VBUF_OK);
    slotmap_collect(map);
    slotmap_collect(map);
}

const struct explore_scenario slotmap_steps_cancel = {
    .name = "slotmap.steps-cancel",
    .checks = "S3 S6",
    .set_up = set_up_chunks,
    .threads = {cancel_and_collect, insert_and_remove},
    .finish = finish_live,
    .bounds = {.together = 2},
};

/* ---- invalidate and release ---- */

static void invalidate_given(void)
{
    count_win(slotmap_invalidate(map, given));
    slotmap_collect(map);
}

static void release_given(void)
{
    for (unsigned i = 0; i < 2; i++) {
        if (slotmap_release(map, given) == VBUF_OK)
            vbuf_u32_fetch_add_relaxed(&won, 10);
        explore_yield();
    }
}

/* Its slot is nobody's before the release, and somebody's after it. */
static void release_and_insert(void)
{
    bool released = slotmap_release(map, given) == VBUF_OK;
    if (released)
        vbuf_u32_fetch_add_relaxed(&won, 10);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t value = 7;
        slotmap_handle handle;
        slotmap_collect(map);
        if (slotmap_insert(map, &value, &handle) != VBUF_OK)
            continue;
        EXPLORE(released || slotmap_handle_index(handle) != slotmap_handle_index(given));
        EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
        expected++;
    }
}

static void look_at_given(void)
{
    slotmap_pin(map);
    const uint64_t *value = slotmap_get(map, given);
    explore_yield();
    EXPLORE(value == NULL || *value == 7);
    slotmap_unpin(map);
}

static void finish_released(void)
{
    uint32_t wins = vbuf_u32_load_relaxed(&won);
    EXPLORE(wins == 1 || wins == 11); /* one invalidate, at most one release */
    EXPLORE(slotmap_len(map) == (wins == 1));
    if (wins == 1)
        EXPLORE(slotmap_release(map, given) == VBUF_OK);
    EXPLORE(slotmap_release(map, given) == VBUF_STALE);
    slotmap_collect(map);
    slotmap_collect(map);
    struct slotmap_report stats;
    EXPLORE(slotmap_stats(map, &stats) == VBUF_OK);
    EXPLORE(stats.len == 0 && stats.limbo == 0 && stats.destroyed == stats.removed);
    finish();
}

const struct explore_scenario slotmap_steps_release = {
    .name = "slotmap.steps-release",
    .checks = "S3 S6",
    .set_up = set_up_live,
    .threads = {invalidate_given, release_given, look_at_given},
    .finish = finish_released,
    .bounds = {.together = 2},
};

const struct explore_scenario slotmap_steps_held = {
    .name = "slotmap.steps-held",
    .checks = "S3 S6",
    .set_up = set_up_live,
    .threads = {invalidate_given, release_and_insert},
    .finish = finish_released,
    .bounds = {.together = 2},
};

/* The same without a destructor: then slots in limbo are looked at only because some are held. */
static void set_up_no_destructor(void)
{
    struct slotmap_options options = {
        .value_size = sizeof(uint64_t), .max_len = 4, .max_limbo = 4, .max_threads = 5};
    EXPLORE(slotmap_create(&map, &options) == VBUF_OK);
    uint64_t value = 7;
    EXPLORE(slotmap_insert(map, &value, &given) == VBUF_OK);
}

static void finish_no_destructor(void)
{
    expected = 0;
    finish_released();
}

const struct explore_scenario slotmap_steps_held_plain = {
    .name = "slotmap.steps-held-plain",
    .checks = "S6",
    .set_up = set_up_no_destructor,
    .threads = {invalidate_given, release_and_insert},
    .finish = finish_no_destructor,
    .bounds = {.together = 2},
};

const struct explore_scenario slotmap_steps_two_releases = {
    .name = "slotmap.steps-two-releases",
    .checks = "S6",
    .set_up = set_up_live,
    .threads = {invalidate_given, release_given, release_given},
    .finish = finish_released,
    .bounds = {.together = 2},
};

/* A revivable map: what was destroyed is not there to be revived, or destroyed again, when its release comes meanwhile. */
static void set_up_revivable(void)
{
    struct slotmap_options options = {.value_size = sizeof(uint64_t),
                                      .max_len = 4,
                                      .max_limbo = 4,
                                      .max_threads = 5,
                                      .revivable = true,
                                      .destroy = destroy_value};
    EXPLORE(slotmap_create(&map, &options) == VBUF_OK);
    uint64_t value = 7;
    EXPLORE(slotmap_insert(map, &value, &given) == VBUF_OK);
    expected = 1;
}

const struct explore_scenario slotmap_steps_release_revivable = {
    .name = "slotmap.steps-release-revivable",
    .checks = "S6",
    .set_up = set_up_revivable,
    .threads = {invalidate_given, release_given},
    .finish = finish_released,
    .bounds = {.together = 2},
};

/* ---- taken over, and collected, in the middle of the invalidate ---- */

static void invalidate_only(void)
{
    count_win(slotmap_invalidate(map, given));
}

static void collect_and_fill(void)
{
    slotmap_collect(map);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t value = 7;
        slotmap_handle handle;
        enum vbuf_status status = slotmap_insert(map, &value, &handle);
        EXPLORE(status != VBUF_OK || slotmap_handle_index(handle) != slotmap_handle_index(given));
    }
}

static void finish_filled(void)
{
    EXPLORE(slotmap_len(map) == 4 && slotmap_release(map, given) == VBUF_OK);
    slotmap_destroy(map);
}

const struct explore_scenario slotmap_steps_held_early = {
    .name = "slotmap.steps-held-early",
    .checks = "S6",
    .set_up = set_up_no_destructor,
    .threads = {invalidate_only, collect_and_fill},
    .finish = finish_filled,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- what belongs to a slot elsewhere: the releaser's until its release, then the next user's ---- */

static uint64_t beside[8];

static void use_beside(slotmap_handle handle)
{
    explore_write(&beside[slotmap_handle_index(handle)], sizeof *beside);
}

static void release_with_side(void)
{
    map_own_part(map_of(map)); /* here, as its being made orders much */
    use_beside(given);
    if (slotmap_release(map, given) == VBUF_OK)
        vbuf_u32_fetch_add_relaxed(&won, 10);
    else
        use_beside(given); /* ours still */
}

static void invalidate_and_reuse(void)
{
    count_win(slotmap_invalidate(map, given));
    for (unsigned i = 0; i < 3; i++) /* and no collect: its fences order much */
        slotmap_turn_over_(map, &map_own_part(map_of(map))->head);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t value = 7;
        slotmap_handle handle;
        if (slotmap_insert(map, &value, &handle) != VBUF_OK)
            continue;
        use_beside(handle);
        EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
        expected++;
    }
}

static void set_up_side(void)
{
    create(4);
    map_of(map)->chunk = 1; /* what is reclaimed is used at once */
    uint64_t value = 7;
    slotmap_handle other; /* leaves room, so that nobody looks for any */
    EXPLORE(slotmap_insert(map, &value, &given) == VBUF_OK);
    EXPLORE(slotmap_insert(map, &value, &other) == VBUF_OK);
    EXPLORE(slotmap_remove(map, other, NULL) == VBUF_OK);
    expected = 2;
    explore_end_thread(); /* the first to come goes on */
}

const struct explore_scenario slotmap_steps_side = {
    .name = "slotmap.steps-side",
    .checks = "S6",
    .set_up = set_up_side,
    .threads = {invalidate_and_reuse, release_with_side},
    .finish = finish_released,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- bits that are nobody's handle, or of another state ---- */

static uint32_t word_of_given(void)
{
    return slot_at(map_of(map), slotmap_handle_index(given))->generation.raw;
}

static void step_any_bits(void)
{
    uint64_t index = slotmap_handle_index(given), word = word_of_given();
    for (uint64_t state = 0; state <= SLOTMAP_STATE_; state++) {
        slotmap_handle handle = {((word & ~(uint64_t)SLOTMAP_STATE_) | state) << 32 | index};
        if (handle.bits == given.bits)
            continue;
        EXPLORE(slotmap_publish(map, handle) == VBUF_STALE);
        EXPLORE(slotmap_cancel(map, handle) == VBUF_STALE);
        EXPLORE(slotmap_release(map, handle) == VBUF_STALE);
    }
    const uint64_t others[] = {0, UINT64_MAX, UINT64_C(9) << 32 | UINT32_MAX, /* past all slots */
                               UINT64_C(9) << 32 | (slotmap_capacity(map) + 1)};
    for (unsigned i = 0; i < sizeof others / sizeof *others; i++) {
        EXPLORE(slotmap_publish(map, slotmap_handle_from_u64(others[i])) == VBUF_STALE);
        EXPLORE(slotmap_cancel(map, slotmap_handle_from_u64(others[i])) == VBUF_STALE);
        EXPLORE(slotmap_release(map, slotmap_handle_from_u64(others[i])) == VBUF_STALE);
    }
    EXPLORE(word_of_given() == word);
}

static void step_states(void)
{
    step_any_bits(); /* claimed */
    EXPLORE(slotmap_release(map, given) == VBUF_STALE);
    EXPLORE(slotmap_publish(map, given) == VBUF_OK);
    EXPLORE(slotmap_cancel(map, given) == VBUF_STALE && slotmap_release(map, given) == VBUF_STALE);
    step_any_bits(); /* live */
    EXPLORE(slotmap_invalidate(map, given) == VBUF_OK);
    EXPLORE(slotmap_publish(map, given) == VBUF_STALE && slotmap_cancel(map, given) == VBUF_STALE);
    step_any_bits(); /* invalidated */
    slotmap_collect(map);
    EXPLORE(slotmap_publish(map, given) == VBUF_STALE && slotmap_cancel(map, given) == VBUF_STALE);
    step_any_bits(); /* held */
    EXPLORE(slotmap_release(map, given) == VBUF_OK);
    expected = 1;
}

const struct explore_scenario slotmap_steps_any_bits = {
    .name = "slotmap.steps-any-bits",
    .checks = "S1",
    .set_up = set_up_claimed,
    .threads = {step_states},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};
