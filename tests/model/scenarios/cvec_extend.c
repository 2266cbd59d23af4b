/*
 * cvec_extend.c - runs over the end of an era, against pushes and void tickets; claims published late.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_fixture.h"

static struct cvec *vector;
static size_t done[EXPLORE_MOST_THREADS + 1];
static enum vbuf_status extended;

static void set_up(void)
{
    vector = create_vector(sizeof(struct element), 64, 2);
}

static void push_two(void)
{
    for (uint64_t i = 0; i < 2; i++) {
        size_t index;
        if (push_number(vector, i, &index) == VBUF_OK) {
            check_element(vector, index, explore_self(), i);
            done[explore_self()]++;
        }
    }
}

static void extend_by_three(void)
{
    struct element run[3];
    for (uint64_t i = 0; i < 3; i++)
        run[i] = (struct element){.thread = explore_self(), .number = i};
    size_t first;
    enum vbuf_status status = cvec_extend(vector, run, 3, &first);
    EXPLORE(status == VBUF_OK || status == VBUF_NOMEM);
    if (status != VBUF_OK)
        return;
    for (size_t i = 0; i < 3; i++)
        check_element(vector, first + i, explore_self(), i);
    done[explore_self()] = 3;
}

static void finish(void)
{
    size_t count = done[1] + done[2] + done[3];
    check_quiet(vector, count);
    EXPLORE(cvec_len(vector) == count);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_extend_grow = {
    .name = "cvec.extend-grow",
    .checks = "C4 C5",
    .set_up = set_up,
    .threads = {extend_by_three, push_two, extend_by_three},
    .finish = finish,
    .bounds = {.stale = 1},
};

/* ---- void tickets are not there for a run ---- */

static void set_up_page(void)
{
    vector = create_vector(sizeof(struct large), 3, 1);
    EXPLORE(push_number(vector, 0, NULL) == VBUF_OK);
}

static void push_one(void)
{
    if (push_number(vector, 1, NULL) == VBUF_OK)
        done[explore_self()] = 1;
}

static void extend_by_two(void)
{
    struct large run[2] = {{.thread = 2}, {.thread = 2}};
    extended = cvec_extend(vector, run, 2, NULL);
    done[explore_self()] = extended == VBUF_OK ? 2 : 0;
}

static void finish_page(void)
{
    size_t count = 1 + done[1] + done[2];
    check_quiet(vector, count);
    EXPLORE(cvec_len(vector) == count);
    EXPLORE(extended != VBUF_FULL || count + 2 > 3); /* nothing but elements takes room */
    cvec_destroy(vector);
}

const struct explore_scenario cvec_extend_void = {
    .name = "cvec.extend-void",
    .checks = "C5",
    .set_up = set_up_page,
    .threads = {push_one, extend_by_two},
    .finish = finish_page,
    .bounds = {.failures = 2, .together = 4},
};

/* ---- a run that fits makes nothing grow ---- */

static void set_up_empty(void)
{
    vector = create_vector(sizeof(struct large), 64, 1);
}

static void reserve_three(void)
{
    EXPLORE(cvec_reserve_exact(vector, 3) == VBUF_OK);
}

static void finish_fitting(void)
{
    check_quiet(vector, 2);
    EXPLORE(extended == VBUF_OK && cvec_capacity(vector) == 3);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_extend_fits = {
    .name = "cvec.extend-fits",
    .checks = "growth",
    .set_up = set_up_empty,
    .threads = {reserve_three, extend_by_two},
    .finish = finish_fitting,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- a long run is copied and published in pieces ---- */

static void set_up_long(void)
{
    vector = create_vector(sizeof(struct element), 64, 10);
}

static void extend_by_nine(void)
{
    struct element run[9];
    for (uint64_t i = 0; i < 9; i++)
        run[i] = (struct element){.thread = 1, .number = i};
    size_t first;
    EXPLORE(cvec_extend(vector, run, 9, &first) == VBUF_OK && first == 0);
    check_element(vector, 8, 1, 8);
}

static void read_pieces(void)
{
    struct cvec_slice slice = cvec_snapshot(vector);
    for (size_t i = 0; i < slice.count; i++)
        check_element(vector, i, 1, i);
    EXPLORE(cvec_wait(vector, 9, -1) == VBUF_OK);
    for (size_t i = 0; i < 9; i++)
        check_element(vector, i, 1, i);
}

static void finish_long(void)
{
    check_quiet(vector, 9);
    EXPLORE(cvec_len(vector) == 9);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_extend_pieces = {
    .name = "cvec.extend-pieces",
    .checks = "C2 C3 wait",
    .set_up = set_up_long,
    .threads = {extend_by_nine, read_pieces},
    .finish = finish_long,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1},
};

/* ---- what is claimed delays no push and no get of others; nor its publication ---- */

static struct vbuf_atomic_u32 progress;

static void claim_and_publish_backwards(void)
{
    size_t first;
    void *slots;
    EXPLORE(cvec_claim(vector, 2, &first, &slots) == VBUF_OK);
    struct element *elements = slots;
    vbuf_u32_store_release(&progress, 1);
    elements[1].thread = elements[0].thread = 1;
    elements[1].number = 1;
    EXPLORE(cvec_publish(vector, first + 1, 1) == VBUF_OK);
    check_element(vector, first + 1, 1, 1);
    vbuf_u32_store_release(&progress, 2);
    EXPLORE(cvec_get(vector, first) == NULL); /* not yet */
    elements[0].number = 0;
    EXPLORE(cvec_publish(vector, first, 1) == VBUF_OK);
    check_element(vector, first, 1, 0);
}

static void read_all(void)
{
    uint32_t began = vbuf_u32_load_acquire(&progress);
    struct cvec_slice slice = cvec_snapshot(vector);
    const struct element *elements = slice.data;
    for (size_t i = 0; i < slice.count; i++)
        EXPLORE(elements[i].thread == 1 || elements[i].thread == 2);
    if (began != 2)
        return;
    unsigned found = 0;
    for (size_t i = 0; i < 4; i++) {
        const struct element *element = cvec_get(vector, i);
        found += element != NULL && element->thread == 1 && element->number == 1;
    }
    EXPLORE(found == 1);
}

static void finish_claims(void)
{
    check_quiet(vector, 4);
    EXPLORE(cvec_len(vector) == 4);
    EXPLORE(cvec_publish(vector, 4, 1) == VBUF_INVALID);
    size_t first;
    void *slots;
    EXPLORE(cvec_claim(vector, SIZE_MAX, &first, &slots) == VBUF_FULL);
    check_quiet(vector, 4);
    cvec_destroy(vector);
}

const struct explore_scenario cvec_claim_late = {
    .name = "cvec.claim-late",
    .checks = "C2 C3 C4 C6",
    .set_up = set_up,
    .threads = {claim_and_publish_backwards, push_two, read_all},
    .finish = finish_claims,
    .bounds = {.failures = EXPLORE_NONE, .stale = 1},
};
