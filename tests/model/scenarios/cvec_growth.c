/*
 * cvec_growth.c - threads that make a vector grow at once: each gets what it asked for, nothing is lost, and the hooks'
 * books balance.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_fixture.h"

static struct cvec *vector;
static size_t committed[EXPLORE_MOST_THREADS + 1], decommitted[EXPLORE_MOST_THREADS + 1];
static size_t pushed;
static bool refuses_large;

static bool note_commit(void *context, size_t bytes)
{
    (void)context;
    if (refuses_large && bytes > 512)
        return false;
    committed[explore_self()] += bytes;
    return true;
}

static void note_decommit(void *context, size_t bytes)
{
    (void)context;
    decommitted[explore_self()] += bytes;
}

/* What the hooks were told is in use. */
static size_t in_use(void)
{
    size_t sum = 0;
    for (unsigned i = 0; i <= EXPLORE_MOST_THREADS; i++)
        sum += committed[i] - decommitted[i];
    return sum;
}

static void set_up_with(size_t element_size, size_t max_len)
{
    struct cvec_options options = {.element_size = element_size,
                                   .max_len = max_len,
                                   .on_commit = note_commit,
                                   .on_decommit = note_decommit};
    EXPLORE(cvec_create(&vector, &options) == VBUF_OK);
}

static void set_up(void)
{
    set_up_with(sizeof(struct element), 64);
}

static void end(void)
{
    struct cvec_report report;
    EXPLORE(cvec_stats(vector, &report) == VBUF_OK);
    EXPLORE(report.committed_bytes == in_use());
    cvec_destroy(vector);
    EXPLORE(in_use() == 0);
}

/* ---- different sizes ---- */

static void reserve_and_check(size_t capacity, bool exact)
{
    enum vbuf_status status =
        exact ? cvec_reserve_exact(vector, capacity) : cvec_reserve(vector, capacity);
    EXPLORE(status == VBUF_OK || status == VBUF_NOMEM);
    EXPLORE(status != VBUF_OK || cvec_capacity(vector) >= capacity);
}

static void reserve_three(void)
{
    reserve_and_check(3, false);
}

static void reserve_six(void)
{
    reserve_and_check(6, false);
}

static void push_one(void)
{
    size_t before = cvec_capacity(vector), index;
    if (push_number(vector, 7, &index) == VBUF_OK) {
        check_element(vector, index, explore_self(), 7);
        pushed++;
    }
    EXPLORE(cvec_capacity(vector) >= before);
}

static void finish(void)
{
    check_quiet(vector, pushed);
    end();
}

const struct explore_scenario cvec_reserve_both = {
    .name = "cvec.reserve",
    .checks = "C4 C5",
    .set_up = set_up,
    .threads = {reserve_six, reserve_three, push_one},
    .finish = finish,
};

/* ---- exact sizes ---- */

static void set_up_four(void)
{
    set_up();
    EXPLORE(cvec_reserve(vector, 4) == VBUF_OK);
}

static void reserve_exactly_five(void)
{
    reserve_and_check(5, true);
}

static void finish_exact(void)
{
    struct cvec_report report;
    EXPLORE(cvec_stats(vector, &report) == VBUF_OK);
    EXPLORE(report.capacity == 6 && report.growths == 2);
    check_quiet(vector, 0);
    end();
}

const struct explore_scenario cvec_reserve_exact_both = {
    .name = "cvec.reserve-exact",
    .checks = "growth",
    .set_up = set_up_four,
    .threads = {reserve_exactly_five, reserve_exactly_five},
    .finish = finish_exact,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- what the options ask for is refused, what is needed is not ---- */

static void set_up_large(void)
{
    set_up_with(sizeof(struct large), 64);
    EXPLORE(cvec_reserve(vector, 4) == VBUF_OK);
    for (uint64_t i = 0; i < 4; i++)
        EXPLORE(push_number(vector, i, NULL) == VBUF_OK);
    refuses_large = true; /* a page of elements, and one of readiness bytes, is all there is */
}

static void push_despite_refusal(void)
{
    size_t index;
    EXPLORE(push_number(vector, 7, &index) == VBUF_OK);
    check_element(vector, index, explore_self(), 7);
}

static void finish_large(void)
{
    check_quiet(vector, 6);
    EXPLORE(cvec_len(vector) == 6);
    end();
}

const struct explore_scenario cvec_grow_little = {
    .name = "cvec.grow-little",
    .checks = "C5",
    .set_up = set_up_large,
    .threads = {push_despite_refusal, push_despite_refusal},
    .finish = finish_large,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- who is refused goes by what another got meanwhile ---- */

static bool another_had_grown;

static bool refuse_second(void *context, size_t bytes)
{
    (void)context, (void)bytes;
    if (explore_self() != 2)
        return true;
    another_had_grown = vbuf_u64_load_acquire(&vector->capacity_) >= 1;
    return false;
}

static void set_up_refusing(void)
{
    struct cvec_options options = {
        .element_size = sizeof(struct large), .max_len = 64, .on_commit = refuse_second};
    EXPLORE(cvec_create(&vector, &options) == VBUF_OK);
}

static void reserve_one(void)
{
    EXPLORE(cvec_reserve(vector, 1) == VBUF_OK);
}

static void reserve_refused(void)
{
    enum vbuf_status status = cvec_reserve(vector, 1);
    EXPLORE(status == VBUF_OK || (status == VBUF_NOMEM && !another_had_grown));
}

static void finish_refusing(void)
{
    check_quiet(vector, 0);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_grow_refused = {
    .name = "cvec.grow-refused",
    .checks = "growth",
    .set_up = set_up_refusing,
    .threads = {reserve_one, reserve_refused},
    .finish = finish_refusing,
    .bounds = {.failures = EXPLORE_NONE},
};
