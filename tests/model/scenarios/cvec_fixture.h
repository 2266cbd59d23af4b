/*
 * cvec_fixture.h - what the scenarios of cvec share: elements, and what must hold when nobody is in a call.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef CVEC_FIXTURE_H
#define CVEC_FIXTURE_H

#include "cvec_internal.h"
#include "explore.h"

/* Two of them fill a page. */
struct element {
    uint64_t thread, number, unused[14];
};

/* One of them fills a page. */
struct large {
    uint64_t thread, number, unused[30];
};

static inline struct cvec *create_vector(size_t element_size, size_t max_len, size_t capacity)
{
    struct cvec *vector;
    struct cvec_options options = {
        .element_size = element_size, .max_len = max_len, .initial_capacity = capacity};
    EXPLORE(cvec_create(&vector, &options) == VBUF_OK);
    return vector;
}

static inline enum vbuf_status push_number(struct cvec *vector, uint64_t number, size_t *index)
{
    struct large element = {.thread = explore_self(), .number = number};
    return cvec_push(vector, &element, index);
}

/* The element is there, and whole. */
static inline void check_element(const struct cvec *vector, size_t index, uint64_t thread,
                                 uint64_t number)
{
    const struct element *found = cvec_get(vector, index);
    EXPLORE(found != NULL);
    EXPLORE(found->thread == thread && found->number == number);
}

/* Nobody is in a call: no hole, no void ticket left, the capacity is that of the era. */
static inline void check_quiet(struct cvec *vector, size_t claimed)
{
    uint64_t len = vbuf_u64_load_relaxed(&vector->len_);
    EXPLORE(cvec_claimed(vector) == claimed);
    if (era_of(len) == CVEC_CLOSED_ERA) {
        EXPLORE(index_of(len) == CVEC_MOST_LEN);
        EXPLORE(cvec_capacity(vector) >= claimed);
        return;
    }
    EXPLORE(index_of(len) == claimed);
    EXPLORE(cvec_capacity(vector) == capacity_of_era(vector, era_of(len)));
    EXPLORE(vbuf_u32_load_relaxed(&vector->growing_) == 0);
    EXPLORE(vbuf_u32_load_relaxed(&vector->waiters_) == 0);
}

#endif
