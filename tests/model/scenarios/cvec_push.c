/*
 * cvec_push.c - pushes that race for the last place of an era, and growth that may be refused.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec/cvec.h"
#include "explore.h"

struct element {
    uint64_t thread, number, unused[14]; /* two of them fill a page */
};

static struct cvec *vector;
static unsigned pushed[EXPLORE_MOST_THREADS + 1];

static void set_up(void)
{
    struct cvec_options options = {.element_size = sizeof(struct element), .max_len = 64};
    EXPLORE(cvec_create(&vector, &options) == VBUF_OK);
}

static void push_two(void)
{
    for (uint64_t i = 0; i < 2; i++) {
        struct element element = {.thread = explore_self(), .number = i};
        size_t index;
        enum vbuf_status status = cvec_push(vector, &element, &index);
        if (status == VBUF_OK) {
            const struct element *found = cvec_get(vector, index);
            EXPLORE(found != NULL && found->thread == explore_self() && found->number == i);
            pushed[explore_self()]++;
        } else {
            EXPLORE(status == VBUF_NOMEM);
        }
    }
}

static void read_prefix(void)
{
    struct cvec_slice slice = cvec_snapshot(vector);
    const struct element *elements = slice.data;
    for (size_t i = 0; i < slice.count; i++)
        EXPLORE(elements[i].thread == 1 || elements[i].thread == 2);
}

static void finish(void)
{
    EXPLORE(cvec_len(vector) == cvec_claimed(vector)); /* no hole */
    EXPLORE(cvec_len(vector) == pushed[1] + pushed[2]);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_push_grow = {
    .name = "cvec.push-grow",
    .checks = "C2 C3 C4 C5",
    .set_up = set_up,
    .threads = {push_two, push_two, read_prefix},
    .finish = finish,
};
