/*
 * cvec_tail.c - a cursor follows pushers to the end: every element once, in order.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_fixture.h"

static struct cvec *vector;
static size_t pushed[EXPLORE_MOST_THREADS + 1], given;

static void set_up(void)
{
    vector = create_vector(sizeof(struct element), 64, 2);
}

static void push_two_and_close(void)
{
    for (uint64_t i = 0; i < 2; i++)
        pushed[explore_self()] += push_number(vector, 5, NULL) == VBUF_OK;
    cvec_close(vector);
}

static void push_one(void)
{
    pushed[explore_self()] += push_number(vector, 5, NULL) == VBUF_OK;
}

static void follow(void)
{
    struct cvec_cursor cursor = {.vector = vector};
    struct cvec_slice slice;
    enum vbuf_status status;
    while ((status = cvec_cursor_next(&cursor, 2, -1, &slice)) == VBUF_OK) {
        const struct element *found = slice.data;
        EXPLORE(slice.count == 1 || slice.count == 2);
        EXPLORE(found == (const struct element *)(const void *)vector->elements + given);
        for (size_t i = 0; i < slice.count; i++)
            EXPLORE(found[i].number == 5);
        given += slice.count;
        EXPLORE(cursor.next == given);
    }
    EXPLORE(status == VBUF_CLOSED);
}

static void finish(void)
{
    EXPLORE(given == pushed[1] + pushed[2]);
    check_quiet(vector, given);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_tail = {
    .name = "cvec.tail",
    .checks = "wait close",
    .set_up = set_up,
    .threads = {push_two_and_close, push_one, follow},
    .finish = finish,
    .bounds = {.stale = 1},
};

/* ---- to the end of what a vector holds ---- */

static void set_up_small(void)
{
    vector = create_vector(sizeof(struct element), 2, 2);
}

static void push_two(void)
{
    push_one();
    push_one();
}

static void follow_until_full(void)
{
    struct cvec_cursor cursor = {.vector = vector};
    struct cvec_slice slice;
    while (cursor.next < 2) {
        EXPLORE(cvec_cursor_next(&cursor, 1, -1, &slice) == VBUF_OK);
        EXPLORE(slice.count == 1);
        const struct element *found = slice.data;
        EXPLORE(found->number == 5);
        given++;
    }
    EXPLORE(cvec_cursor_next(&cursor, 1, -1, &slice) == VBUF_FULL);
}

static void finish_full(void)
{
    struct cvec_cursor cursor = {.vector = vector, .next = 2};
    struct cvec_slice slice;
    cvec_close(vector);
    EXPLORE(cvec_cursor_next(&cursor, 1, -1, &slice) == VBUF_CLOSED);
    finish();
}

const struct explore_scenario cvec_tail_full = {
    .name = "cvec.tail-full",
    .checks = "wait",
    .set_up = set_up_small,
    .threads = {push_two, follow_until_full},
    .finish = finish_full,
};
