/*
 * cvec_appender.c - private blocks in front of a vector that may not grow: nothing is lost, nothing comes twice, and the order
 * stays.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_fixture.h"

#define MOST 6

static struct cvec *vector;
static size_t taken, pushed, discarded;
static bool alone;

static void count_destroyed(void *context, void *element)
{
    (void)context, (void)element;
    discarded++;
}

static void set_up(void)
{
    struct cvec_options options = {
        .element_size = sizeof(struct element), .max_len = MOST, .destroy = count_destroyed};
    EXPLORE(cvec_create(&vector, &options) == VBUF_OK);
}

static void append_with_block(size_t block, unsigned count)
{
    struct cvec_appender appender;
    if (cvec_appender_create(&appender, vector, block) != VBUF_OK)
        return;
    for (unsigned i = 0; i < count; i++) {
        struct element element = {.thread = 1, .number = taken};
        enum vbuf_status status = cvec_appender_push(&appender, &element);
        EXPLORE(status == VBUF_OK || status == VBUF_NOMEM);
        taken += status == VBUF_OK;
        EXPLORE(appender.count <= appender.block);
        if (alone && appender.count == appender.block) /* it was refused */
            EXPLORE(cvec_claimed(vector) == cvec_capacity(vector));
    }
    while (cvec_appender_destroy(&appender) != VBUF_OK)
        EXPLORE(appender.count != 0); /* kept, for another try */
    EXPLORE(cvec_appender_destroy(&appender) == VBUF_OK);
}

static void append_by_twos(void)
{
    append_with_block(2, 4);
}

static void append_by_ones(void)
{
    alone = true;
    append_with_block(1, 3);
}

static void push_one(void)
{
    pushed += push_number(vector, 100, NULL) == VBUF_OK;
}

/* The appender's elements are there once each, in order. */
static void finish(void)
{
    size_t next = 0, count = taken + pushed;
    check_quiet(vector, count);
    EXPLORE(cvec_len(vector) == count);
    for (size_t i = 0; i < count; i++) {
        const struct element *found = cvec_get(vector, i);
        if (found->thread == 1)
            EXPLORE(found->number == next++);
    }
    EXPLORE(next == taken);
    EXPLORE(discarded == 0);
    cvec_destroy(vector);
    EXPLORE(discarded == count);
}

const struct explore_scenario cvec_append = {
    .name = "cvec.appender",
    .checks = "C5",
    .set_up = set_up,
    .threads = {append_by_twos, push_one},
    .finish = finish,
    .bounds = {.failures = 2, .stale = 1},
};

const struct explore_scenario cvec_append_ones = {
    .name = "cvec.appender-one",
    .checks = "C5",
    .set_up = set_up,
    .threads = {append_by_ones},
    .finish = finish,
    .bounds = {.failures = 2, .stale = 1},
};
