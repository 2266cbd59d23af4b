/*
 * cvec_exclusive.c - what exclusive calls make of whatever the concurrent ones leave behind.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_fixture.h"

CVEC_DEFINE(elements, struct element)

static struct cvec *vector;
static size_t pushed[EXPLORE_MOST_THREADS + 1], destroyed, in_use;
static bool published_late;

static void destroy(void *context, void *element)
{
    struct element *gone = element;
    (void)context;
    EXPLORE(gone->thread != 99); /* once each, and only what was published */
    gone->thread = 99;
    destroyed++;
}

static void set_up(void)
{
    struct cvec_options options = {
        .element_size = sizeof(struct element), .max_len = 8, .destroy = destroy};
    EXPLORE(cvec_create(&vector, &options) == VBUF_OK);
}

static void push_two(void)
{
    for (uint64_t i = 0; i < 2; i++)
        pushed[explore_self()] += push_number(vector, i, NULL) == VBUF_OK;
    (void)cvec_len(vector);
}

/* Claims, and publishes or not. */
static void claim_one(void)
{
    size_t first;
    void *slot;
    if (cvec_claim(vector, 1, &first, &slot) != VBUF_OK)
        return;
    pushed[explore_self()] = 1;
    published_late = explore_choose(2) == 1;
    struct element *element = slot;
    element->thread = published_late ? 2 : 99;
    if (published_late)
        EXPLORE(cvec_publish(vector, first, 1) == VBUF_OK);
}

static void push_exclusively(size_t from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct element element = {.thread = 3, .number = i};
        struct elements typed = elements_of(vector);
        size_t index;
        enum vbuf_status status = i % 2 == 0 ? cvec_push_exclusive(vector, &element, &index)
                                             : elements_push_exclusive(&typed, element, &index);
        EXPLORE(status == VBUF_OK);
        EXPLORE(index == from + i);
        check_element(vector, index, 3, i);
    }
}

static void check_empty(void)
{
    check_quiet(vector, 0);
    EXPLORE(cvec_len(vector) == 0);
    for (size_t i = 0; i < cvec_capacity(vector); i++)
        EXPLORE(cvec_get(vector, i) == NULL);
}

/* One element stays where it is, with its page; it grows again from there. */
static void shrink_around_one(void)
{
    struct cvec_report report;
    push_exclusively(0, 3);
    EXPLORE(cvec_truncate(vector, 1) == VBUF_OK);
    EXPLORE(cvec_shrink_to_fit(vector) == VBUF_OK && cvec_capacity(vector) == 2);
    check_quiet(vector, 1);
    check_element(vector, 0, 3, 0);
    EXPLORE(cvec_stats(vector, &report) == VBUF_OK);
    EXPLORE(report.growths == 0 && report.committed_bytes == explore_committed());
    push_exclusively(1, 4);
    check_quiet(vector, 5);
    EXPLORE(cvec_len(vector) == 5);
}

static void finish(void)
{
    size_t claimed = pushed[1] + pushed[2];
    size_t lacking = pushed[2] != 0 && !published_late;
    check_quiet(vector, claimed);
    push_exclusively(claimed, 2);
    check_quiet(vector, claimed + 2);
    EXPLORE(cvec_truncate(vector, claimed + 3) == VBUF_INVALID);
    EXPLORE(cvec_truncate(vector, claimed) == VBUF_OK && destroyed == 2);
    cvec_clear(vector);
    EXPLORE(destroyed == 2 + claimed - lacking);
    check_empty();
    EXPLORE(cvec_shrink_to_fit(vector) == VBUF_OK);
    EXPLORE(cvec_capacity(vector) == 0);
    check_empty();
    shrink_around_one();
    destroyed = 0;
    cvec_destroy(vector);
    EXPLORE(destroyed == 5 && explore_committed() == 0);
}

const struct explore_scenario cvec_exclusive_after = {
    .name = "cvec.exclusive",
    .checks = "exclusive",
    .set_up = set_up,
    .threads = {push_two, claim_one},
    .finish = finish,
};

/* ---- a closed vector ---- */

static void note_decommit(void *context, size_t bytes)
{
    (void)context;
    in_use -= bytes;
}

static bool note_commit(void *context, size_t bytes)
{
    (void)context;
    in_use += bytes;
    return true;
}

static void set_up_books(void)
{
    struct cvec_options options = {.element_size = sizeof(struct element),
                                   .max_len = 8,
                                   .on_commit = note_commit,
                                   .on_decommit = note_decommit};
    EXPLORE(cvec_create(&vector, &options) == VBUF_OK);
}

static void push_three(void)
{
    for (uint64_t i = 0; i < 3; i++)
        pushed[explore_self()] += push_number(vector, i, NULL) == VBUF_OK;
}

static void close_vector(void)
{
    cvec_close(vector);
}

static void finish_closed(void)
{
    size_t count = pushed[1];
    struct element element = {.thread = 3};
    check_quiet(vector, count);
    EXPLORE(cvec_push_exclusive(vector, &element, NULL) == VBUF_CLOSED);
    EXPLORE(cvec_truncate(vector, count / 2) == VBUF_OK);
    check_quiet(vector, count / 2);
    EXPLORE(cvec_len(vector) == count / 2);
    EXPLORE(cvec_shrink_to_fit(vector) == VBUF_OK);
    EXPLORE(cvec_capacity(vector) == (count / 2 + 1) / 2 * 2);
    EXPLORE(cvec_len(vector) == count / 2 && cvec_is_closed(vector));
    struct cvec_report report;
    EXPLORE(cvec_stats(vector, &report) == VBUF_OK);
    EXPLORE(report.committed_bytes == in_use);
    cvec_destroy(vector);
    EXPLORE(in_use == 0);
}

const struct explore_scenario cvec_exclusive_closed = {
    .name = "cvec.exclusive-closed",
    .checks = "exclusive close",
    .set_up = set_up_books,
    .threads = {push_three, close_vector},
    .finish = finish_closed,
    .bounds = {.failures = EXPLORE_NONE},
};
