/*
 * cvec_raw_test.c - the vector without readiness bytes: zeroed elements that T publishes itself.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>

#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "cvec_fixture.h"
#include "fault.h"
#include "team.h"

struct cell {
    struct vbuf_atomic_u64 stamp; /* 0: not written yet; published with release */
    uint64_t value;
};

CVEC_RAW_DEFINE(cells, struct cell)
CVEC_RAW_DEFINE(names, char *)

static struct cells make_cells(size_t max_len)
{
    struct cells v = {NULL};
    CHECK_STATUS(VBUF_OK, cells_create(&v, &(struct cvec_options){.max_len = max_len}));
    return v;
}

static struct cell *claim_cells(struct cells *v, size_t count, size_t expected)
{
    size_t first = SIZE_MAX;
    struct cell *slots = NULL;
    CHECK_STATUS(VBUF_OK, cells_claim(v, count, &first, &slots));
    CHECK_EQ(first, expected);
    CHECK(count == 0 || slots == cells_get(v, first));
    return slots;
}

static void check_zero(const struct cells *v, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const struct cell *cell = cells_get(v, i);
        REQUIRE(cell != NULL);
        REQUIRE(vbuf_u64_load_relaxed(&cell->stamp) == 0 && cell->value == 0);
    }
}

static void fill(struct cells *v, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        struct cell *cell = cells_get(v, i);
        cell->value = ~(uint64_t)i;
        vbuf_u64_store_release(&cell->stamp, i + 1);
    }
}

TEST(cvec_raw, claimed_elements_are_zero_and_got_at_once)
{
    struct cells v = make_cells(100000);
    CHECK_EQ(cells_len(&v), 0);
    CHECK_EQ(cells_capacity(&v), 0);
    CHECK(cells_get(&v, 0) == NULL);
    for (size_t len = 0, count = 1; len + count <= 60000; len += count, count = count * 3 / 2 + 1) {
        claim_cells(&v, count, len);
        CHECK_EQ(cells_len(&v), len + count);
        check_zero(&v, len, len + count);
        fill(&v, len, len + count);
    }
    for (size_t i = 0; i < cells_len(&v); i++)
        REQUIRE(cells_get(&v, i) == cells_get(&v, 0) + i && cells_get(&v, i)->value == ~i);
    cells_destroy(&v);
    CHECK(v.raw == NULL);
    cells_destroy(&v);
    cvec_raw_destroy(NULL);
}

TEST(cvec_raw, get_is_null_iff_at_or_past_the_capacity)
{
    struct cells v = make_cells(1000);
    claim_cells(&v, 1, 0);
    size_t capacity = cells_capacity(&v);
    CHECK(capacity > 1 && capacity < 1000);
    check_zero(&v, 0, capacity); /* claimed or not */
    const size_t past[] = {capacity, capacity + 1, 999, 1000, SIZE_MAX / 16, SIZE_MAX};
    for (size_t i = 0; i < sizeof past / sizeof *past; i++)
        CHECK(cells_get(&v, past[i]) == NULL);
    CHECK_STATUS(VBUF_OK, cells_reserve(&v, 1000));
    CHECK_EQ(cells_capacity(&v), 1000);
    check_zero(&v, 0, 1000);
    CHECK(cells_get(&v, 1000) == NULL);
    CHECK_EQ(cells_len(&v), 1);
    cells_destroy(&v);
}

TEST(cvec_raw, an_element_costs_its_size_and_no_more)
{
    struct cells v = make_cells(1000000);
    struct cvec_report empty = report_of((struct cvec *)(void *)v.raw), full;
    CHECK_STATUS(VBUF_OK, cvec_raw_reserve_exact(v.raw, 500000));
    CHECK(cells_capacity(&v) >= 500000);
    full.committed_bytes = report_of((struct cvec *)(void *)v.raw).committed_bytes;
    CHECK_EQ(full.committed_bytes - empty.committed_bytes,
             vmem_align_up(500000 * sizeof(struct cell), vmem_page_size()));
    cells_destroy(&v);
}

TEST(cvec_raw, create_is_invalid_as_cvec_create_or_with_a_destructor)
{
    struct books books = {.destroyed = 0};
    struct cvec_options options = books_options(&books, 100);
    struct cvec_raw *unset = (struct cvec_raw *)(void *)&books, *v = unset;
    CHECK_STATUS(VBUF_INVALID, cvec_raw_create(&v, &options));
    options.destroy = NULL;
    CHECK_STATUS(VBUF_INVALID, cvec_raw_create(NULL, &options));
    CHECK_STATUS(VBUF_INVALID, cvec_raw_create(&v, NULL));
    const struct cvec_options bad[] = {
        {.element_size = CVEC_MAX_ELEMENT_SIZE + 1},
        {.element_size = 8, .element_align = 3},
        {.element_size = 8, .element_align = CVEC_MAX_ALIGNMENT * 2},
        {.element_size = 8, .max_len = 10, .initial_capacity = 11},
        {.element_size = 8, .max_len = SIZE_MAX},
        {.element_size = 0, .max_len = SIZE_MAX},
        {.element_size = 8, .growth = {.numerator = 1, .denominator = 1}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_STATUS(VBUF_INVALID, cvec_raw_create(&v, &bad[i]));
    CHECK(v == unset);
    books_refuse(&books, true);
    CHECK_STATUS(VBUF_NOMEM, cvec_raw_create(&v, &options));
    CHECK(v == unset);
    books_refuse(&books, false);
    CHECK_STATUS(VBUF_OK, cvec_raw_create(&v, &options));
    cvec_raw_destroy(v);
    CHECK_EQ(books_balance(&books), 0);
}

TEST(cvec_raw, claim_is_invalid_full_nomem_closed_iff_that_of_a_cvec_is)
{
    struct books books = {.destroyed = 0};
    struct cvec_options options = books_options(&books, 1000);
    struct cells v = {NULL};
    options.destroy = NULL;
    REQUIRE(CHECK_STATUS(VBUF_OK, cells_create(&v, &options)));
    size_t first = 77;
    void *slots = &first;
    CHECK_STATUS(VBUF_INVALID, cvec_raw_claim(v.raw, 1, NULL, &slots));
    CHECK_STATUS(VBUF_INVALID, cvec_raw_claim(v.raw, 1, &first, NULL));
    CHECK_STATUS(VBUF_FULL, cvec_raw_claim(v.raw, 1001, &first, &slots));
    CHECK_STATUS(VBUF_FULL, cvec_raw_claim(v.raw, SIZE_MAX, &first, &slots));
    books_refuse(&books, true);
    CHECK_STATUS(VBUF_NOMEM, cvec_raw_claim(v.raw, 1, &first, &slots));
    CHECK_STATUS(VBUF_NOMEM, cvec_raw_reserve(v.raw, 1));
    books_refuse(&books, false);
    claim_cells(&v, 999, 0);
    CHECK_STATUS(VBUF_FULL, cvec_raw_claim(v.raw, 2, &first, &slots));
    CHECK_STATUS(VBUF_FULL, cvec_raw_claim(v.raw, SIZE_MAX - 998, &first, &slots));
    CHECK_STATUS(VBUF_FULL, cells_reserve(&v, 1001));
    CHECK_STATUS(VBUF_FULL, cvec_raw_reserve_exact(v.raw, SIZE_MAX));
    claim_cells(&v, 1, 999);
    CHECK_STATUS(VBUF_FULL, cvec_raw_claim(v.raw, 1, &first, &slots));
    CHECK_EQ(cvec_raw_max_len(v.raw), 1000);
    cells_close(&v);
    CHECK_STATUS(VBUF_CLOSED, cvec_raw_claim(v.raw, 1, &first, &slots));
    CHECK(first == 77 && slots == &first);
    claim_cells(&v, 0, 1000);
    CHECK_EQ(cells_len(&v), 1000);
    cells_destroy(&v);
    CHECK_EQ(books_balance(&books), 0);
}

TEST(cvec_raw, what_is_claimed_again_is_zero_again)
{
    struct cells v = make_cells(100000);
    for (int round = 0; round < 4; round++) {
        size_t keep = round % 2 == 0 ? 100 : 0;
        claim_cells(&v, 20000 - cells_len(&v), cells_len(&v));
        fill(&v, 0, 20000);
        CHECK_STATUS(VBUF_INVALID, cells_truncate(&v, 20001));
        CHECK_STATUS(VBUF_INVALID, cells_truncate(&v, SIZE_MAX));
        CHECK_STATUS(VBUF_OK, cells_truncate(&v, keep));
        CHECK_EQ(cells_len(&v), keep);
        if (round >= 2) {
            CHECK_STATUS(VBUF_OK, cells_shrink_to_fit(&v));
            CHECK(cells_capacity(&v) < 1000);
        } else {
            CHECK(cells_capacity(&v) >= 20000); /* the memory stays */
        }
        for (size_t i = 0; i < keep; i++)
            REQUIRE(cells_get(&v, i)->value == ~i);
        claim_cells(&v, 20000 - keep, keep);
        check_zero(&v, keep, 20000);
        CHECK_STATUS(VBUF_OK, cells_truncate(&v, 0));
    }
    cells_destroy(&v);
}

TEST(cvec_raw, shrink_to_fit_is_nomem_iff_the_system_refuses)
{
    struct cells v = make_cells(100000);
    claim_cells(&v, 50000, 0);
    CHECK_STATUS(VBUF_OK, cells_truncate(&v, 10));
    size_t capacity = cells_capacity(&v);
    fault_clear();
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, cells_shrink_to_fit(&v));
    fault_clear();
    CHECK_EQ(cells_capacity(&v), capacity);
    check_zero(&v, 10, capacity);
    CHECK_STATUS(VBUF_OK, cells_shrink_to_fit(&v));
    CHECK(cells_capacity(&v) < 1000);
    cells_destroy(&v);
}

TEST(cvec_raw, header_and_initial_capacity)
{
    struct cells v = {NULL};
    struct cvec_options options = {.max_len = 1000, .header = 100, .initial_capacity = 500};
    REQUIRE(CHECK_STATUS(VBUF_OK, cells_create(&v, &options)));
    CHECK(cells_capacity(&v) >= 500);
    unsigned char *header = cvec_raw_header(v.raw);
    REQUIRE(header != NULL && (uintptr_t)header % 64 == 0);
    for (size_t i = 0; i < 100; i++)
        CHECK_EQ(header[i], 0);
    memset(header, 0xAB, 100);
    claim_cells(&v, 1000, 0);
    check_zero(&v, 0, 1000);
    fill(&v, 0, 1000);
    for (size_t i = 0; i < 100; i++)
        CHECK_EQ(header[i], 0xAB);
    cells_destroy(&v);
    REQUIRE(CHECK_STATUS(VBUF_OK, cells_create(&v, NULL)));
    CHECK(cvec_raw_header(v.raw) == NULL);
    cells_destroy(&v);
}

TEST(cvec_raw, typed_pointers)
{
    struct names v;
    size_t first = SIZE_MAX;
    char **slots = NULL, text[] = "text";
    REQUIRE(CHECK_STATUS(VBUF_OK, names_create(&v, NULL)));
    CHECK_STATUS(VBUF_OK, names_reserve(&v, 10));
    CHECK_STATUS(VBUF_OK, names_claim(&v, 2, &first, &slots));
    CHECK(slots[0] == NULL && slots[1] == NULL);
    slots[1] = text;
    CHECK(*names_get(&v, 1) == text);
    CHECK(*names_get(&v, 0) == NULL);
    CHECK_EQ(names_len(&v), 2);
    CHECK(names_capacity(&v) >= 10);
    CHECK_STATUS(VBUF_OK, names_truncate(&v, 1));
    CHECK_STATUS(VBUF_OK, names_claim(&v, 1, &first, &slots));
    CHECK(slots[0] == NULL);
    CHECK_STATUS(VBUF_OK, names_shrink_to_fit(&v));
    names_close(&v);
    CHECK_STATUS(VBUF_CLOSED, names_claim(&v, 1, &first, &slots));
    names_destroy(&v);
}

TEST(cvec_raw, elements_of_no_bytes_are_only_counted)
{
    struct cvec_raw *v = NULL;
    size_t first = SIZE_MAX;
    void *slots = NULL;
    struct cvec_options options = {.element_size = 0, .max_len = (size_t)1 << 40};
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_raw_create(&v, &options)));
    CHECK(cvec_raw_get(v, 0) == NULL);
    for (size_t i = 0; i < 100000; i++) {
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_raw_claim(v, 1, &first, &slots)));
        REQUIRE(first == i && slots != NULL && cvec_raw_get(v, i) == slots);
    }
    size_t most = (size_t)1 << 40;
    CHECK_STATUS(VBUF_FULL, cvec_raw_claim(v, most - 99999, &first, &slots));
    CHECK_STATUS(VBUF_OK, cvec_raw_claim(v, most - 100000, &first, &slots));
    CHECK_EQ(cvec_raw_len(v), most);
    CHECK_EQ(cvec_raw_capacity(v), most);
    CHECK_STATUS(VBUF_OK, cvec_raw_truncate(v, 5));
    CHECK_STATUS(VBUF_OK, cvec_raw_shrink_to_fit(v));
    CHECK_EQ(cvec_raw_capacity(v), 5);
    CHECK_STATUS(VBUF_OK, cvec_raw_claim(v, 3, &first, &slots));
    CHECK_EQ(first, 5);
    cvec_raw_destroy(v);
}

/* Threads claim and publish by the stamp; all look, at any index. */

#define THREADS 4
#define CLAIMS BUILD_COUNT(50000u, 5000u)

static void claim_stamp_and_look(void *context, unsigned thread)
{
    struct cells *v = context;
    struct check_rng rng = {check_seed() + thread};
    for (size_t round = 0; round < CLAIMS; round++) {
        size_t first, count = 1 + round % 3;
        struct cell *slots = NULL;
        REQUIRE(CHECK_STATUS(VBUF_OK, cells_claim(v, count, &first, &slots)));
        for (size_t i = 0; i < count; i++) {
            REQUIRE(vbuf_u64_load_relaxed(&slots[i].stamp) == 0);
            slots[i].value = ~(uint64_t)(first + i);
            vbuf_u64_store_release(&slots[i].stamp, first + i + 1);
        }
        size_t index = check_rng_next(&rng) % (first + 1000);
        const struct cell *cell = cells_get(v, index);
        uint64_t stamp = cell == NULL ? 0 : vbuf_u64_load_acquire(&cell->stamp);
        REQUIRE(stamp == 0 || (stamp == index + 1 && cell->value == ~(uint64_t)index));
    }
}

TEST(cvec_raw, C1_C5_threads_claim_each_index_once)
{
    struct cells v = make_cells((size_t)THREADS * CLAIMS * 3);
    team_run(THREADS, claim_stamp_and_look, &v);
    for (size_t i = 0; i < cells_len(&v); i++)
        REQUIRE(vbuf_u64_load_relaxed(&cells_get(&v, i)->stamp) == i + 1);
    CHECK(cells_len(&v) >= (size_t)THREADS * (CLAIMS - 1) * 2);
    cells_destroy(&v);
}
