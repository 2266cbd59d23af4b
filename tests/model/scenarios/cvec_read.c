/*
 * cvec_read.c - readers against pushers: elements are whole, the prefix never shrinks, and what one reader
 * knows, the next one does.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_fixture.h"

CVEC_DEFINE(elements, struct element)

static struct cvec *vector;
static struct vbuf_atomic_u64 told;

static void set_up(void)
{
    vector = create_vector(sizeof(struct element), 1024, 4);
}

static void push_one(void)
{
    struct elements typed = elements_of(vector);
    struct element element = {.thread = explore_self(), .number = 5};
    size_t index;
    EXPLORE(elements_push(&typed, element, &index) == VBUF_OK);
    check_element(vector, index, explore_self(), 5);
}

static void extend_by_two(void)
{
    struct element run[2] = {{.thread = 1, .number = 5}, {.thread = 1, .number = 5}};
    EXPLORE(cvec_extend(vector, run, 2, NULL) == VBUF_OK);
}

static void check_slice(struct cvec_slice slice)
{
    const struct element *found = slice.data;
    for (size_t i = 0; i < slice.count; i++)
        EXPLORE(found[i].number == 5);
}

static void finish(void)
{
    size_t count = cvec_claimed(vector);
    check_quiet(vector, count);
    EXPLORE(cvec_len(vector) == count);
    cvec_destroy(vector);
}

/* ---- get ---- */

static void get_each(void)
{
    struct elements typed = elements_of(vector);
    bool were_there[3];
    for (size_t i = 0; i < 3; i++) {
        const struct element *found = cvec_get(vector, i);
        were_there[i] = found != NULL;
        EXPLORE(found == NULL || found->number == 5);
    }
    for (size_t i = 0; i < 3; i++) {
        const struct element *found = elements_get(&typed, i);
        EXPLORE(found != NULL || !were_there[i]);
        EXPLORE(found == NULL || found->number == 5);
    }
    EXPLORE(cvec_get(vector, 512) == NULL);
}

const struct explore_scenario cvec_get_pushed = {
    .name = "cvec.get",
    .checks = "C2",
    .set_up = set_up,
    .threads = {extend_by_two, push_one, get_each},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- snapshots, by one reader after another ---- */

static void snapshot_twice(void)
{
    struct cvec_slice slice = cvec_snapshot(vector);
    check_slice(slice);
    EXPLORE(slice.count <= 2);
    uint64_t watermark = vbuf_u64_load_relaxed(&vector->watermark_);
    EXPLORE(watermark >= slice.count);
    EXPLORE(cvec_len(vector) >= slice.count);
    EXPLORE(vbuf_u64_load_relaxed(&vector->watermark_) >= watermark); /* it only grows */
}

static void snapshot_and_tell(void)
{
    struct cvec_slice slice = cvec_snapshot(vector);
    vbuf_u64_store_release(&told, slice.count);
    check_slice(slice);
}

/* Reads what the other has told of, whatever it has seen itself. */
static void read_what_was_told(void)
{
    uint64_t count = vbuf_u64_load_acquire(&told);
    for (size_t i = 0; i < count; i++)
        EXPLORE(cvec_get(vector, i) != NULL);
    struct cvec_slice slice = cvec_snapshot(vector);
    EXPLORE(slice.count >= count);
    check_slice(slice);
}

const struct explore_scenario cvec_snapshot_grows = {
    .name = "cvec.snapshot",
    .checks = "C3",
    .set_up = set_up,
    .threads = {push_one, push_one, snapshot_twice, snapshot_twice},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1},
};

const struct explore_scenario cvec_snapshot_told = {
    .name = "cvec.snapshot-told",
    .checks = "C2 C3",
    .set_up = set_up,
    .threads = {extend_by_two, snapshot_and_tell, read_what_was_told},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- the watermark alone tells ---- */

/* Another reader moves the watermark; who reads below it needs no byte. */
static void get_below_watermark(void)
{
    struct elements typed = elements_of(vector);
    const struct element *found = elements_get(&typed, 0);
    EXPLORE(found == NULL || found->number == 5);
    found = cvec_get(vector, 0);
    EXPLORE(found == NULL || found->number == 5);
}

static void measure(void)
{
    EXPLORE(cvec_len(vector) <= 2);
}

const struct explore_scenario cvec_get_below = {
    .name = "cvec.get-below",
    .checks = "C2 C3",
    .set_up = set_up,
    .threads = {push_one, measure, get_below_watermark, push_one},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1},
};
