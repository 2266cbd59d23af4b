/*
 * cvec_test.c - the concurrent vector on one thread: create, push, extend, get, snapshot, reserve, stats.
 * The rest is beside it: layout and typed form, growth, claim, wait, close, cursor, appender, exclusive
 * calls, the raw form, refused memory (C5), threads, fork.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "cvec/cvec.h"

#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "proc.h"

/* A vector of uint64_t. */
static struct cvec *make(size_t max_len)
{
    struct cvec *v = NULL;
    CHECK_STATUS(VBUF_OK,
                 cvec_create(&v, &(struct cvec_options){.element_size = 8, .max_len = max_len}));
    return v;
}

static uint64_t value_at(const struct cvec *v, size_t index)
{
    const uint64_t *element = cvec_get(v, index);
    return CHECK(element != NULL) ? *element : UINT64_MAX;
}

static void push_from(struct cvec *v, uint64_t from, uint64_t to)
{
    for (uint64_t value = from; value < to; value++) {
        size_t index = SIZE_MAX;
        if (!CHECK_STATUS(VBUF_OK, cvec_push(v, &value, &index)) || !CHECK_EQ(index, value))
            return;
    }
}

TEST(cvec, create_and_destroy_leave_nothing)
{
    uint64_t before = proc_virtual_size();
    struct cvec *v = make(1000);
    CHECK_EQ(cvec_len(v), 0);
    CHECK_EQ(cvec_claimed(v), 0);
    CHECK_EQ(cvec_max_len(v), 1000);
    CHECK_EQ(cvec_capacity(v), 0);
    CHECK_EQ(cvec_snapshot(v).count, 0);
    CHECK(cvec_get(v, 0) == NULL);
    push_from(v, 0, 1000);
    cvec_destroy(v);
    cvec_destroy(NULL);
    if (BUILD_PLAIN)
        CHECK_EQ(proc_virtual_size(), before);
}

TEST(cvec, create_is_invalid_iff_the_options_cannot_be)
{
    struct cvec *unset = (struct cvec *)(void *)&unset, *v = unset;
    const struct cvec_options bad[] = {
        {.element_size = CVEC_MAX_ELEMENT_SIZE + 1},
        {.element_size = SIZE_MAX},
        {.element_size = 12, .element_align = 3},
        {.element_size = 12, .element_align = 6},
        {.element_size = 12, .element_align = 24},
        {.element_size = 0, .element_align = 3},
        {.element_size = 0, .element_align = CVEC_MAX_ALIGNMENT * 2},
        {.element_size = 8, .element_align = CVEC_MAX_ALIGNMENT * 2},
        {.element_size = 8, .element_align = SIZE_MAX},
        {.element_size = 8, .max_len = 10, .initial_capacity = 11},
        {.element_size = 8, .initial_capacity = SIZE_MAX},
        {.element_size = 8, .max_len = SIZE_MAX},
        {.element_size = 8, .max_len = SIZE_MAX / 8},
        {.element_size = 0, .max_len = SIZE_MAX},
        {.element_size = 1, .max_len = ((size_t)1 << 48) - ((size_t)1 << 32) + 1},
        {.element_size = 0, .max_len = ((size_t)1 << 48) - ((size_t)1 << 32) + 1},
        {.element_size = (size_t)1 << 20, .max_len = (size_t)1 << 44},
        {.element_size = 8, .header = SIZE_MAX},
        {.element_size = 8, .huge_pages = (enum vmem_huge_pages)99},
        {.element_size = 8, .charge = (enum vmem_charge)99},
        {.element_size = 8, .name = ""},
        {.element_size = 8, .name = "no [brackets]"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (!CHECK_STATUS(VBUF_INVALID, cvec_create(&v, &bad[i])))
            CHECK_EQ(i, SIZE_MAX); /* says which */
    }
    CHECK_STATUS(VBUF_INVALID, cvec_create(&v, NULL));
    CHECK_STATUS(VBUF_INVALID, cvec_create(NULL, &(struct cvec_options){.element_size = 8}));
    CHECK(v == unset); /* outputs are written on VBUF_OK only */
}

TEST(cvec, create_takes_what_is_just_within_the_limits)
{
    const struct cvec_options good[] = {
        {.element_size = CVEC_MAX_ELEMENT_SIZE, .max_len = 2},
        {.element_size = CVEC_MAX_ELEMENT_SIZE, .element_align = CVEC_MAX_ELEMENT_SIZE},
        {.element_size = 0},
        {.element_size = 0, .element_align = CVEC_MAX_ALIGNMENT, .max_len = 10},
        {.element_size = 12, .element_align = CVEC_MAX_ALIGNMENT, .max_len = 10},
        {.element_size = 12, .element_align = 4},
        {.element_size = 12, .element_align = 1},
        {.element_size = 12, .element_align = 8}, /* need not divide it */
        {.element_size = 8, .max_len = 10, .initial_capacity = 10},
        {.element_size = 8, .header = 1 << 20, .max_len = 1},
        {.element_size = 8, .huge_pages = VMEM_HUGE_PAGES_OFF, .charge = VMEM_CHARGED},
        {.element_size = 8, .max_len = 10, .growth = {.numerator = 5, .denominator = 4}},
        {.element_size = 8, .max_len = 10, .growth = {.linear = 1}},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct cvec *v = NULL;
        if (CHECK_STATUS(VBUF_OK, cvec_create(&v, &good[i])))
            CHECK(cvec_capacity(v) >= good[i].initial_capacity);
        else
            CHECK_EQ(i, SIZE_MAX);
        cvec_destroy(v);
    }
}

/* Names and such are vmem's affair: what it does not support, a vector does not. */
TEST(cvec, create_is_unsupported_iff_vmem_reserve_is)
{
    const struct cvec_options rows[] = {
        {.element_size = 8, .max_len = 10, .name = "a vector"},
        {.element_size = 8, .max_len = 10, .huge_pages = VMEM_HUGE_PAGES_ON},
        {.element_size = 8, .max_len = 10, .charge = VMEM_UNCHARGED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vmem vm;
        struct cvec *v = NULL;
        struct vmem_options options = {
            .name = rows[i].name, .huge_pages = rows[i].huge_pages, .charge = rows[i].charge};
        enum vbuf_status expected = vmem_reserve(&vm, vmem_page_size(), &options);
        CHECK(expected == VBUF_OK || expected == VBUF_UNSUPPORTED);
        CHECK_STATUS(expected, cvec_create(&v, &rows[i]));
        CHECK((v != NULL) == (expected == VBUF_OK));
        cvec_destroy(v);
        if (expected == VBUF_OK)
            vmem_release(&vm);
    }
}

TEST(cvec, create_is_nomem_when_there_is_no_such_address_space)
{
    struct cvec *unset = (struct cvec *)(void *)&unset, *v = unset;
    struct cvec_options options = {.element_size = 1,
                                   .max_len = ((size_t)1 << 48) - ((size_t)1 << 32)};
    if (vmem_caps().address_bits <= 48)
        CHECK_STATUS(VBUF_NOMEM, cvec_create(&v, &options));
    CHECK(v == unset);
}

TEST(cvec, max_len_0_means_16_gib_of_address_space)
{
    const size_t sizes[] = {0, 1, 8, 24, (size_t)1 << 20};
    const size_t space = (size_t)16 << 30;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct cvec *v = NULL;
        uint64_t before = proc_virtual_size();
        struct cvec_options options = {.element_size = sizes[i]};
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
        uint64_t after = proc_virtual_size();
        CHECK(cvec_max_len(v) * (sizes[i] + 1) <= space);
        CHECK((cvec_max_len(v) + 1) * (sizes[i] + 1) >= space - space / 1024);
        if (BUILD_PLAIN)
            CHECK(after - before <= space + 64 * vmem_page_size());
        cvec_destroy(v);
    }
}

TEST(cvec, initial_capacity_is_committed_at_creation)
{
    struct cvec *v = NULL;
    struct cvec_options options = {.element_size = 8, .max_len = 5000, .initial_capacity = 3000};
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
    size_t capacity = cvec_capacity(v);
    CHECK(capacity >= 3000 && capacity <= 5000);
    CHECK_EQ(cvec_claimed(v), 0);
    push_from(v, 0, 3000);
    CHECK_EQ(cvec_capacity(v), capacity);
    cvec_destroy(v);
    options.initial_capacity = 5000; /* all of max_len */
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
    CHECK_EQ(cvec_capacity(v), 5000);
    push_from(v, 0, 5000);
    cvec_destroy(v);
}

TEST(cvec, C1_C4_push_is_found_at_once_and_never_moves)
{
    struct cvec *v = make(1000000);
    uint64_t first = 0, last = 0;
    CHECK_STATUS(VBUF_OK, cvec_push(v, &first, NULL));
    const uint64_t *base = cvec_get(v, 0);
    for (uint64_t value = 1; value < 300000; value++) {
        size_t index = SIZE_MAX;
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_push(v, &value, &index)));
        REQUIRE(index == value);
        REQUIRE(cvec_get(v, index) == base + index); /* one plain array */
        REQUIRE(base[index] == value);
        last = value;
    }
    struct cvec_slice all = cvec_snapshot(v);
    CHECK(all.data == base);
    CHECK_EQ(all.count, last + 1);
    for (uint64_t i = 0; i <= last; i++)
        REQUIRE(base[i] == i && cvec_get(v, i) == base + i);
    cvec_destroy(v);
}

TEST(cvec, push_is_full_iff_max_len_are_there)
{
    const size_t lens[] = {1, 2, 3, 63, 64, 65, 100, 511, 512, 513, 4096, 5000};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct cvec *v = make(lens[i]);
        uint64_t value = 7;
        size_t index = 1234567;
        push_from(v, 0, lens[i]); /* fits exactly */
        for (int again = 0; again < 3; again++)
            CHECK_STATUS(VBUF_FULL, cvec_push(v, &value, &index));
        CHECK_STATUS(VBUF_FULL, cvec_extend(v, &value, 1, &index));
        CHECK_EQ(index, 1234567);
        CHECK_EQ(cvec_claimed(v), lens[i]);
        CHECK_EQ(cvec_len(v), lens[i]);
        CHECK_EQ(cvec_capacity(v), lens[i]); /* not above, though a page had room */
        CHECK(cvec_get(v, lens[i]) == NULL);
        CHECK_EQ(value_at(v, lens[i] - 1), lens[i] - 1);
        cvec_destroy(v);
    }
}

TEST(cvec, a_full_vector_stays_exact_however_often_it_is_pushed)
{
    struct cvec *v = make(10);
    uint64_t value = 1;
    push_from(v, 0, 10);
    for (int i = 0; i < 100000; i++)
        REQUIRE(CHECK_STATUS(VBUF_FULL, cvec_push(v, &value, NULL)));
    CHECK_EQ(cvec_claimed(v), 10);
    CHECK_EQ(cvec_snapshot(v).count, 10);
    /* Nor may what was refused add up: the index has 48 bits. */
    CHECK_EQ(vbuf_u64_load_relaxed(&v->len_) & CVEC_INDEX_MASK_, 10);
    CHECK_STATUS(VBUF_FULL, cvec_extend(v, &value, 1, NULL));
    CHECK_STATUS(VBUF_OK, cvec_extend(v, NULL, 0, NULL));
    cvec_destroy(v);
}

TEST(cvec, extend_appends_one_contiguous_run)
{
    struct cvec *v = make(100000);
    uint64_t values[1000];
    for (uint64_t i = 0; i < 1000; i++)
        values[i] = i;
    size_t first = SIZE_MAX;
    uint64_t expected = 0;
    for (size_t count = 1; count <= 250; count++, expected += count - 1) {
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_extend(v, values, count, &first)));
        REQUIRE(CHECK_EQ(first, expected));
        for (size_t i = 0; i < count; i++)
            REQUIRE(CHECK_EQ(value_at(v, first + i), i));
    }
    CHECK_EQ(cvec_len(v), expected);
    CHECK_STATUS(VBUF_OK, cvec_extend(v, values, 5, NULL)); /* who does not want the index */
    CHECK_EQ(cvec_len(v), expected + 5);
    cvec_destroy(v);
}

TEST(cvec, extend_of_nothing_tells_what_is_claimed)
{
    struct cvec *v = make(10);
    uint64_t values[10] = {0};
    size_t first = SIZE_MAX;
    CHECK_STATUS(VBUF_OK, cvec_extend(v, NULL, 0, &first));
    CHECK_EQ(first, 0);
    CHECK_STATUS(VBUF_OK, cvec_extend(v, values, 7, NULL));
    CHECK_STATUS(VBUF_OK, cvec_extend(v, values, 0, &first));
    CHECK_EQ(first, 7);
    CHECK_STATUS(VBUF_OK, cvec_extend(v, values, 3, NULL));
    CHECK_STATUS(VBUF_OK, cvec_extend(v, NULL, 0, &first)); /* a full vector has room for nothing */
    CHECK_EQ(first, 10);
    CHECK_EQ(cvec_claimed(v), 10);
    cvec_destroy(v);
}

TEST(cvec, extend_is_invalid_iff_null_with_a_count)
{
    struct cvec *v = make(10);
    size_t first = 77;
    CHECK_STATUS(VBUF_INVALID, cvec_extend(v, NULL, 1, &first));
    CHECK_STATUS(VBUF_INVALID, cvec_extend(v, NULL, SIZE_MAX, &first));
    CHECK_EQ(first, 77);
    CHECK_EQ(cvec_claimed(v), 0);
    cvec_destroy(v);
}

TEST(cvec, extend_is_full_iff_not_all_fit)
{
    struct cvec *v = make(100);
    uint64_t values[101] = {0};
    size_t first = 77;
    CHECK_STATUS(VBUF_FULL, cvec_extend(v, values, 101, &first));
    CHECK_STATUS(VBUF_FULL, cvec_extend(v, values, SIZE_MAX, &first));
    CHECK_EQ(cvec_claimed(v), 0);
    CHECK_STATUS(VBUF_OK, cvec_extend(v, values, 60, NULL));
    CHECK_STATUS(VBUF_FULL, cvec_extend(v, values, 41, &first)); /* all or nothing */
    CHECK_STATUS(VBUF_FULL,
                 cvec_extend(v, values, SIZE_MAX - 59, &first)); /* 60 + this wraps to 0 */
    CHECK_EQ(first, 77);
    CHECK_EQ(cvec_claimed(v), 60);
    CHECK_EQ(cvec_len(v), 60);
    CHECK_STATUS(VBUF_OK, cvec_extend(v, values, 40, &first)); /* exactly */
    CHECK_EQ(first, 60);
    CHECK_EQ(cvec_len(v), 100);
    cvec_destroy(v);
}

TEST(cvec, get_of_any_index_is_safe)
{
    struct cvec *v = make(1000);
    push_from(v, 0, 10);
    const size_t strange[] = {10,   11,   511,          512,          999,
                              1000, 1001, SIZE_MAX / 2, SIZE_MAX - 1, SIZE_MAX};
    for (int twice = 0; twice < 2; twice++) {
        for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
            CHECK(cvec_get(v, strange[i]) == NULL);
        cvec_snapshot(v); /* the same with the watermark moved */
    }
    struct check_rng rng = {check_seed()};
    for (int i = 0; i < 100000; i++) {
        size_t index = (size_t)(check_rng_next(&rng) >> (i % 60));
        REQUIRE((cvec_get(v, index) != NULL) == (index < 10));
    }
    cvec_destroy(v);
}

TEST(cvec, C3_C6_an_unpublished_element_ends_the_prefix_and_delays_nobody)
{
    struct cvec *v = make(1000);
    push_from(v, 0, 3);
    size_t hole = SIZE_MAX;
    CHECK_STATUS(VBUF_OK, cvec_claim_one_(v, &hole)); /* a pusher that is stopped here */
    CHECK_EQ(hole, 3);
    push_from(v, 4, 600); /* others push past it, growths included */
    CHECK(cvec_get(v, hole) == NULL);
    CHECK_EQ(value_at(v, 4), 4);
    CHECK_EQ(value_at(v, 599), 599);
    CHECK_EQ(cvec_snapshot(v).count, 3);
    CHECK_EQ(cvec_len(v), 3);
    CHECK_EQ(cvec_claimed(v), 600);
    CHECK(cvec_get(v, hole) == NULL);
    uint64_t late = 3;
    memcpy(v->elements + hole * v->element_size, &late, sizeof late);
    cvec_publish_one_(v, hole);
    CHECK_EQ(value_at(v, hole), 3);
    CHECK_EQ(cvec_snapshot(v).count, 600);
    const uint64_t *all = cvec_snapshot(v).data;
    for (uint64_t i = 0; i < 600; i++)
        REQUIRE(all[i] == i);
    cvec_destroy(v);
}

TEST(cvec, C3_snapshots_never_shrink_and_stay_valid)
{
    struct cvec *v = make(100000);
    struct cvec_slice early = cvec_snapshot(v);
    CHECK_EQ(early.count, 0);
    size_t before = 0;
    for (uint64_t value = 0; value < 20000; value++) {
        CHECK_STATUS(VBUF_OK, cvec_push(v, &value, NULL));
        struct cvec_slice now = cvec_snapshot(v);
        REQUIRE(now.count == before + 1 && now.data == early.data);
        before = now.count;
        if (value == 100)
            early = now;
    }
    CHECK_EQ(early.count, 101);
    for (uint64_t i = 0; i < early.count; i++)
        CHECK_EQ(((const uint64_t *)early.data)[i], i);
    cvec_destroy(v);
}

TEST(cvec, stats_are_the_figures)
{
    struct cvec *v = make(100000);
    struct cvec_report stats;
    size_t hole;
    CHECK_STATUS(VBUF_INVALID, cvec_stats(v, NULL));
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_stats(v, &stats)));
    CHECK_EQ(stats.len, 0);
    CHECK_EQ(stats.claimed, 0);
    CHECK_EQ(stats.capacity, 0);
    CHECK_EQ(stats.max_len, 100000);
    CHECK_EQ(stats.growths, 0);
    push_from(v, 0, 20);
    cvec_claim_one_(v, &hole);
    push_from(v, 21, 30);
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_stats(v, &stats)));
    CHECK_EQ(stats.len, 20);
    CHECK_EQ(stats.claimed, 30);
    CHECK_EQ(stats.capacity, cvec_capacity(v));
    CHECK_EQ(stats.growths, 1);
    CHECK_STATUS(VBUF_OK, cvec_reserve(v, 50000));
    CHECK_STATUS(VBUF_OK, cvec_reserve(v, 60));
    CHECK_STATUS(VBUF_OK, cvec_stats(v, &stats));
    CHECK_EQ(stats.growths, 2);
    CHECK(stats.capacity >= 50000 && stats.capacity <= 100000);
    CHECK(!stats.closed);
    CHECK_EQ(stats.waiters, 0);
    cvec_destroy(v);
}

TEST(cvec, V1_stats_committed_bytes_is_what_the_system_charges)
{
    if (!BUILD_PLAIN)
        SKIP("sanitizers allocate on their own");
    uint64_t before = proc_data_size();
    before = proc_data_size(); /* stdio has its buffer now */
    struct cvec *v = make(10000000);
    for (size_t capacity = 1; capacity <= 1000000; capacity *= 10) {
        struct cvec_report stats;
        CHECK_STATUS(VBUF_OK, cvec_reserve(v, capacity));
        CHECK_STATUS(VBUF_OK, cvec_stats(v, &stats));
        CHECK(stats.committed_bytes >= stats.capacity * 9);
        CHECK_EQ(stats.committed_bytes, proc_data_size() - before);
    }
    cvec_destroy(v);
}

/* Last: a library that does not look would crash. */
TEST(cvec, null_elements_are_invalid)
{
    struct cvec *v = make(10);
    CHECK_STATUS(VBUF_INVALID, cvec_push(v, NULL, NULL));
    CHECK_EQ(cvec_claimed(v), 0);
    cvec_destroy(v);
}
