/*
 * cvec_push.c - pushes that race for the last place of an era, and growth that may be refused.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_fixture.h"

static struct cvec *vector;
static size_t pushed[EXPLORE_MOST_THREADS + 1], seen;

static void push_some(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        size_t index;
        enum vbuf_status status = push_number(vector, i, &index);
        EXPLORE(status == VBUF_OK || status == VBUF_NOMEM);
        if (status != VBUF_OK)
            continue;
        check_element(vector, index, explore_self(), i);
        EXPLORE(cvec_claimed(vector) > index);
        pushed[explore_self()]++;
    }
}

static void push_one(void)
{
    push_some(1);
}

static void push_two(void)
{
    push_some(2);
}

static void look_at_claimed(void)
{
    seen = cvec_claimed(vector);
}

static void finish(void)
{
    size_t count = pushed[1] + pushed[2] + pushed[3];
    check_quiet(vector, count);
    EXPLORE(cvec_len(vector) == count); /* no hole */
    EXPLORE(seen <= count);             /* void tickets are nothing */
    cvec_destroy(vector);
}

/* ---- from nothing, with a reader ---- */

static void set_up_empty(void)
{
    vector = create_vector(sizeof(struct element), 64, 0);
}

static void read_prefix(void)
{
    struct cvec_slice slice = cvec_snapshot(vector);
    const struct element *elements = slice.data;
    for (size_t i = 0; i < slice.count; i++)
        EXPLORE(elements[i].thread == 1 || elements[i].thread == 2);
}

const struct explore_scenario cvec_push_grow = {
    .name = "cvec.push-grow",
    .checks = "C2 C3 C4 C5",
    .set_up = set_up_empty,
    .threads = {push_two, push_two, read_prefix},
    .finish = finish,
};

/* ---- three at the end of an era; growth is one page, tried once ---- */

static void set_up_page(void)
{
    vector = create_vector(sizeof(struct large), 64, 1);
}

const struct explore_scenario cvec_push_crowd = {
    .name = "cvec.push-crowd",
    .checks = "C4 C5",
    .set_up = set_up_page,
    .threads = {push_one, push_one, push_one},
    .finish = finish,
};

/* ---- growth that is refused ---- */

const struct explore_scenario cvec_push_refused = {
    .name = "cvec.push-refused",
    .checks = "C5",
    .set_up = set_up_page,
    .threads = {push_two, push_two, look_at_claimed},
    .finish = finish,
    .bounds = {.failures = 2, .stale = 1},
};

/* ---- who is told of an index finds the element ---- */

CVEC_DEFINE(elements, struct element)

static struct vbuf_atomic_u64 told;

static void push_and_tell(void)
{
    struct elements typed = elements_of(vector);
    size_t index = 0;
    for (uint64_t i = 0; i < 3; i++)
        EXPLORE(elements_push(&typed, (struct element){.thread = 1, .number = i}, &index) ==
                VBUF_OK);
    vbuf_u64_store_release(&told, index + 1);
}

static void get_what_was_told(void)
{
    struct elements typed = elements_of(vector);
    uint64_t index = vbuf_u64_load_acquire(&told);
    if (index == 0)
        return;
    const struct element *found = elements_get(&typed, index - 1);
    EXPLORE(found != NULL && found->thread == 1 && found->number == 2);
    EXPLORE(cvec_get(vector, index - 1) == found);
}

static void finish_told(void)
{
    check_quiet(vector, 4);
    EXPLORE(cvec_len(vector) == 4);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_push_told = {
    .name = "cvec.push-told",
    .checks = "C2 C4",
    .set_up = set_up_empty,
    .threads = {push_and_tell, push_one, get_what_was_told},
    .finish = finish_told,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1},
};
