/*
 * cvec_full.c - a vector that is full: pushes take void tickets, and give them back.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_fixture.h"

static struct cvec *vector;
static size_t pushed[EXPLORE_MOST_THREADS + 1], seen;

static void set_up(void)
{
    vector = create_vector(sizeof(struct large), 2, 1);
}

static void push_two(void)
{
    for (uint64_t i = 0; i < 2; i++) {
        size_t index;
        enum vbuf_status status = push_number(vector, i, &index);
        EXPLORE(status == VBUF_OK || status == VBUF_FULL);
        if (status != VBUF_OK) {
            EXPLORE(cvec_claimed(vector) == 2); /* it says so only when it is */
            continue;
        }
        check_element(vector, index, explore_self(), i);
        pushed[explore_self()]++;
    }
}

static void push_and_look(void)
{
    EXPLORE(cvec_claimed(vector) <= 2);
    EXPLORE(cvec_reserve(vector, 3) == VBUF_FULL);
    push_two();
    seen = cvec_claimed(vector);
    EXPLORE(seen == 2);
}

static void finish(void)
{
    EXPLORE(pushed[1] + pushed[2] == 2);
    check_quiet(vector, 2);
    EXPLORE(cvec_len(vector) == 2 && cvec_capacity(vector) == 2);
    EXPLORE(push_number(vector, 0, NULL) == VBUF_FULL);
    check_quiet(vector, 2);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_full_vector = {
    .name = "cvec.full",
    .checks = "C5",
    .set_up = set_up,
    .threads = {push_two, push_and_look},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};
