/*
 * cvec_growth_test.c - how the capacity grows: exponentially or linearly, by whole pages, never past
 * max_len, in a bounded number of eras; reserve, reserve_exact, and many of them at once.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "cvec_fixture.h"
#include "fault.h"
#include "team.h"

/* Elements that fit the pages which `capacity` of them touch, as the header promises them. */
static size_t fill_pages(size_t capacity, size_t size, size_t max_len)
{
    size_t page = vmem_page_size();
    size_t fits = vmem_align_up(capacity * (size != 0 ? size : 1), page) / (size != 0 ? size : 1);
    return fits < max_len ? fits : max_len;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* What a capacity has to become at least when it grows. */
static size_t least_growth(const struct vbuf_growth *growth, size_t capacity, size_t max_len)
{
    size_t grown = capacity * 2;
    if (growth->linear != 0)
        grown = growth->linear < max_len ? capacity + growth->linear : max_len;
    else if (growth->denominator != 0)
        grown = (size_t)((double)capacity * growth->numerator / growth->denominator);
    grown = larger(larger(grown, capacity + capacity / 64), capacity + 1);
    return grown < max_len ? grown : max_len;
}

/* Pushes up to max_len; each growth is as large as the options say, and no page larger. */
static void grow_by_pushing(struct vbuf_growth growth, size_t size, size_t max_len, size_t initial)
{
    static const unsigned char element[10000];
    struct cvec *v = NULL;
    struct cvec_options options = {
        .element_size = size, .max_len = max_len, .initial_capacity = initial, .growth = growth};
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
    size_t capacity = cvec_capacity(v), growths = initial != 0;
    for (size_t i = 0; i < max_len; i++) {
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_push(v, element, NULL)));
        size_t now = cvec_capacity(v);
        REQUIRE(now > i && now <= max_len);
        if (now == capacity)
            continue;
        size_t least = least_growth(&growth, capacity, max_len);
        REQUIRE(now >= least);
        REQUIRE(now <= fill_pages(least + 1, size, max_len));
        capacity = now;
        growths++;
    }
    CHECK_EQ(report_of(v).growths, growths);
    CHECK_EQ(cvec_capacity(v), max_len);
    CHECK_STATUS(VBUF_FULL, cvec_push(v, element, NULL));
    cvec_destroy(v);
}

TEST(cvec_growth, pushing_grows_as_the_options_say)
{
    const struct vbuf_growth growths[] = {
        {0},
        {.numerator = 2, .denominator = 1},
        {.numerator = 3, .denominator = 2},
        {.numerator = 10, .denominator = 1},
        {.numerator = UINT32_MAX, .denominator = 1},
        {.numerator = UINT32_MAX, .denominator = UINT32_MAX - 1}, /* a 64th all the same */
        {.linear = 1},
        {.linear = 1000},
        {.linear = SIZE_MAX},
    };
    for (size_t i = 0; i < sizeof growths / sizeof *growths; i++) {
        grow_by_pushing(growths[i], 8, 100000, 0);
        grow_by_pushing(growths[i], 8, 30000, 1);
        grow_by_pushing(growths[i], 1, 30011, 0);
        grow_by_pushing(growths[i], 10000, 200, 0);
        grow_by_pushing(growths[i], 10000, 200, 100);
        grow_by_pushing(growths[i], 0, 30011, 0);
    }
}

TEST(cvec_growth, create_takes_a_ratio_above_1_or_linear_and_nothing_else)
{
    const struct vbuf_growth bad[] = {
        {.numerator = 1, .denominator = 1},
        {.numerator = 1, .denominator = 2},
        {.numerator = 0, .denominator = 1},
        {.numerator = 2, .denominator = 0},
        {.numerator = 2, .denominator = 1, .linear = 1},
        {.denominator = 1, .linear = 1},
        {.numerator = 1, .linear = 1},
        {.numerator = UINT32_MAX, .denominator = UINT32_MAX},
    };
    struct words v = {NULL, NULL};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cvec_options options = {.max_len = 10, .growth = bad[i]};
        CHECK_STATUS(VBUF_INVALID, words_create(&v, &options));
    }
    CHECK(v.vector == NULL);
}

/* ---- reserve ---- */

TEST(cvec_growth, reserve_grows_by_the_options_at_least)
{
    struct words v = make_words(1000000);
    CHECK_STATUS(VBUF_OK, words_reserve(&v, 10000));
    size_t capacity = words_capacity(&v);
    CHECK(capacity >= 10000);
    CHECK_STATUS(VBUF_OK, words_reserve(&v, capacity));
    CHECK_EQ(words_capacity(&v), capacity);
    CHECK_STATUS(VBUF_OK, words_reserve(&v, capacity + 1));
    CHECK(words_capacity(&v) >= 2 * capacity);
    CHECK_STATUS(VBUF_OK, words_reserve(&v, 900000));
    CHECK(words_capacity(&v) >= 900000);
    CHECK_EQ(words_claimed(&v), 0);
    CHECK_STATUS(VBUF_OK, words_reserve(&v, 5));
    CHECK_STATUS(VBUF_OK, words_reserve(&v, 0));
    capacity = words_capacity(&v);
    fault_clear();
    push_numbers(v.vector, 0, capacity); /* below it no commit is needed */
    CHECK_EQ(fault_count(FAULT_MPROTECT), 0);
    CHECK_EQ(words_capacity(&v), capacity);
    check_numbers(v.vector, capacity);
    words_destroy(&v);
}

TEST(cvec_growth, growing_by_more_than_there_can_be_grows_to_max_len)
{
    const struct vbuf_growth growths[] = {{.linear = SIZE_MAX},
                                          {.linear = SIZE_MAX - 511},
                                          {.linear = 99999},
                                          {.numerator = UINT32_MAX, .denominator = 1}};
    for (size_t i = 0; i < sizeof growths / sizeof *growths; i++) {
        struct cvec_options options = {.max_len = 100000, .growth = growths[i]};
        struct words v;
        REQUIRE(CHECK_STATUS(VBUF_OK, words_create(&v, &options)));
        CHECK_STATUS(VBUF_OK, words_reserve_exact(&v, 1));
        CHECK(words_capacity(&v) < 100000);
        CHECK_STATUS(VBUF_OK, words_reserve(&v, words_capacity(&v) + 1));
        CHECK_EQ(words_capacity(&v), 100000);
        words_destroy(&v);
    }
}

TEST(cvec_growth, reserve_exact_grows_to_whole_pages_or_a_64th)
{
    const size_t sizes[] = {1, 8, 24, 5000, 0};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct cvec *v = NULL;
        size_t max_len = sizes[s] == 5000 ? 3000 : 3000000;
        struct cvec_options options = {.element_size = sizes[s], .max_len = max_len};
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
        for (size_t wanted = 1; wanted < max_len; wanted += wanted / 3 + 1) {
            size_t before = cvec_capacity(v), least = larger(wanted, before + before / 64);
            CHECK_STATUS(VBUF_OK, cvec_reserve_exact(v, wanted));
            REQUIRE(cvec_capacity(v) >= wanted);
            REQUIRE(cvec_capacity(v) <= larger(before, fill_pages(least, sizes[s], max_len)));
        }
        CHECK_STATUS(VBUF_OK, cvec_reserve_exact(v, max_len));
        CHECK_EQ(cvec_capacity(v), max_len);
        cvec_destroy(v);
    }
}

TEST(cvec_growth, reserves_are_full_iff_above_max_len)
{
    struct words v = make_words(1000);
    const size_t bad[] = {1001, 1024, 4096, SIZE_MAX / 8, SIZE_MAX / 8 + 1, SIZE_MAX - 1, SIZE_MAX};
    for (int twice = 0; twice < 2; twice++) {
        size_t capacity = words_capacity(&v);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            CHECK_STATUS(VBUF_FULL, words_reserve(&v, bad[i]));
            CHECK_STATUS(VBUF_FULL, words_reserve_exact(&v, bad[i]));
        }
        CHECK_EQ(words_capacity(&v), capacity);
        CHECK_STATUS(VBUF_OK, words_reserve_exact(&v, 0));
        CHECK_EQ(words_capacity(&v), capacity);
        CHECK_STATUS(VBUF_OK, words_reserve_exact(&v, 1000));
        CHECK_EQ(words_capacity(&v), 1000);
    }
    words_destroy(&v);
}

TEST(cvec_growth, reserves_are_nomem_iff_memory_is_refused)
{
    struct books books;
    struct words v = words_of(books_make(&books, 100000));
    CHECK_STATUS(VBUF_OK, words_reserve(&v, 100));
    size_t capacity = words_capacity(&v);
    books_refuse(&books, true);
    for (int again = 0; again < 3; again++) {
        CHECK_STATUS(VBUF_NOMEM, words_reserve(&v, capacity + 1));
        CHECK_STATUS(VBUF_NOMEM, words_reserve_exact(&v, capacity + 1));
        CHECK_STATUS(VBUF_NOMEM, words_reserve(&v, 100000));
        CHECK_STATUS(VBUF_OK, words_reserve(&v, capacity));
        CHECK_STATUS(VBUF_OK, words_reserve_exact(&v, capacity));
        CHECK_EQ(words_capacity(&v), capacity);
    }
    books_refuse(&books, false);
    CHECK_STATUS(VBUF_OK, words_reserve_exact(&v, capacity + 1));
    CHECK(words_capacity(&v) > capacity);
    check_books(v.vector, &books);
    words_destroy(&v);
}

/* ---- eras do not run out ---- */

TEST(cvec_growth, a_million_small_reserves)
{
    const size_t sizes[] = {0, 1, 8, 100};
    size_t steps = BUILD_COUNT(1000000, 100000);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct cvec *v = NULL;
        struct cvec_options options = {
            .element_size = sizes[s], .max_len = steps, .growth = {.linear = 1}};
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
        for (size_t i = 1; i <= steps; i++) {
            REQUIRE(CHECK_STATUS(VBUF_OK, cvec_reserve_exact(v, i)));
            REQUIRE(cvec_capacity(v) >= i);
        }
        CHECK_EQ(cvec_capacity(v), steps);
        CHECK(report_of(v).growths < 1000);
        cvec_destroy(v);
    }
}

/* Without memory to pay for, all the way to the largest vector there can be. */
TEST(cvec_growth, the_longest_vector_has_eras_left)
{
    struct cvec_raw *raw = NULL;
    size_t most = ((size_t)1 << 48) - ((size_t)1 << 32), capacity;
    struct cvec_options options = {.max_len = most, .growth = {.linear = 1}};
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_raw_create(&raw, &options)));
    struct cvec *v = (struct cvec *)(void *)raw;
    while ((capacity = cvec_capacity(v)) < most && check_failures() == 0) {
        CHECK_STATUS(VBUF_OK, cvec_reserve_exact(v, capacity + 1));
        CHECK(cvec_capacity(v) > capacity);
        CHECK(cvec_capacity(v) <= larger(capacity + 1, capacity + capacity / 64));
    }
    CHECK(report_of(v).growths > 1500 && report_of(v).growths < 4096);
    size_t first;
    void *slots;
    CHECK_STATUS(VBUF_OK, cvec_raw_claim(raw, most - 1, &first, &slots));
    CHECK_STATUS(VBUF_FULL, cvec_raw_claim(raw, 2, &first, &slots));
    CHECK_STATUS(VBUF_OK, cvec_raw_claim(raw, 1, &first, &slots));
    CHECK_EQ(first, most - 1);
    CHECK_STATUS(VBUF_FULL, cvec_raw_claim(raw, 1, &first, &slots));
    cvec_raw_destroy(raw);
    options.max_len++;
    CHECK_STATUS(VBUF_INVALID, cvec_raw_create(&raw, &options));
}

TEST(cvec_growth, many_rounds_of_growing_and_shrinking)
{
    struct books books;
    struct words v = words_of(books_make(&books, 100000));
    for (size_t round = 0; round < 10000; round++) { /* more than twice as many as there are eras */
        size_t wanted = 600 + round % 5 * 1000;
        REQUIRE(CHECK_STATUS(VBUF_OK, words_reserve_exact(&v, wanted)));
        REQUIRE(CHECK_STATUS(VBUF_OK, words_push(&v, words_claimed(&v), NULL)));
        REQUIRE(words_claimed(&v) == round % 300 + 1);
        REQUIRE(words_capacity(&v) >= wanted);
        if (round % 300 == 299)
            words_clear(&v);
        REQUIRE(CHECK_STATUS(VBUF_OK, words_shrink_to_fit(&v)));
        REQUIRE(CHECK_EQ(words_capacity(&v), round % 300 == 299 ? 0 : vmem_page_size() / 8));
        CHECK_EQ(report_of(v.vector).growths, 0);
        check_books(v.vector, &books);
    }
    check_numbers(v.vector, 10000 % 300);
    words_destroy(&v);
    CHECK_EQ(books_balance(&books), 0);
}

/* ---- many at once ---- */

#define THREADS 4

struct racers {
    struct words v;
    struct vbuf_atomic_u64 pushed;
    unsigned round;
};

/* Each reserves more than the one before it, by itself or together with pushes, exactly or not. */
static void reserve_differently(void *context, unsigned thread)
{
    struct racers *r = context;
    for (size_t step = 1; step <= 30; step++) {
        size_t wanted = step * 997 * (thread + 1);
        bool exact = (step + thread + r->round) % 2 == 0;
        enum vbuf_status status =
            exact ? words_reserve_exact(&r->v, wanted) : words_reserve(&r->v, wanted);
        if (!CHECK_STATUS(VBUF_OK, status))
            return;
        CHECK(words_capacity(&r->v) >= wanted); /* whoever else reserves what */
        CHECK_STATUS(VBUF_OK, words_push(&r->v, thread, NULL));
        vbuf_u64_fetch_add_relaxed(&r->pushed, 1);
    }
}

TEST(cvec_growth, racing_reserves_each_get_what_they_were_promised)
{
    for (unsigned round = 0; round < 40; round++) {
        struct books books;
        struct racers r = {.v = words_of(books_make(&books, 1000000)), .round = round};
        r.v.vector->destroy_ = NULL; /* the values are no indices */
        team_run(THREADS, reserve_differently, &r);
        CHECK_EQ(words_len(&r.v), vbuf_u64_load_relaxed(&r.pushed));
        CHECK(words_capacity(&r.v) >= (size_t)30 * 997 * THREADS);
        check_books(r.v.vector, &books);
        words_destroy(&r.v);
        CHECK_EQ(books_balance(&books), 0);
    }
}

/* A grower that was stopped for ever, its courtesy flag up, keeps nobody from growing. */
TEST(cvec_growth, C6_a_stopped_grower_delays_nobody)
{
    struct words v = make_words(1000000);
    vbuf_u32_fetch_add_relaxed(&v.vector->growing_, 1);
    for (size_t capacity = 1; capacity <= 1000000; capacity *= 10)
        CHECK_STATUS(VBUF_OK, words_reserve_exact(&v, capacity));
    push_numbers(v.vector, 0, 100000);
    words_destroy(&v);
}

/*
 * A grower that was stopped with its growth half done: `opened`, the era is open and the capacity not
 * raised; else the next capacity is decided, and its era not open. Others finish it.
 */
static struct words stopped_half_way(bool opened)
{
    struct words half = make_words(1000000);
    CHECK_STATUS(VBUF_OK, words_reserve(&half, 1000));
    if (!opened)
        vbuf_u64_store_relaxed(&half.vector->len_, 0);
    vbuf_u64_store_relaxed(&half.vector->capacity_, 0);
    return half;
}

TEST(cvec_growth, C4_C6_others_finish_a_growth)
{
    for (int opened = 0; opened < 2; opened++) {
        const uint64_t values[] = {0, 1, 2};
        size_t first = SIZE_MAX;
        uint64_t *slots = NULL;
        struct words v = stopped_half_way(opened);
        push_numbers(v.vector, 0, 1);
        check_numbers(v.vector, 1); /* found at once by who pushed it */
        words_destroy(&v);
        v = stopped_half_way(opened);
        CHECK_STATUS(VBUF_OK, words_extend(&v, values, 3, NULL));
        check_numbers(v.vector, 3);
        words_destroy(&v);
        v = stopped_half_way(opened);
        CHECK_STATUS(VBUF_OK, words_claim(&v, 1, &first, &slots));
        *slots = 0;
        CHECK_STATUS(VBUF_OK, words_publish(&v, first, 1));
        check_numbers(v.vector, 1);
        words_destroy(&v);
        v = stopped_half_way(opened);
        CHECK_STATUS(VBUF_OK, words_reserve_exact(&v, 1000));
        CHECK(words_capacity(&v) >= 1000 && report_of(v.vector).growths == 1);
        push_numbers(v.vector, 0, 5000);
        check_numbers(v.vector, 5000);
        words_destroy(&v);
    }
}

/* ---- huge pages ---- */

static void grow_by_huge_pages(size_t size, size_t max_len)
{
    static const unsigned char elements[700 * 1000];
    struct books books = {.destroyed = 0};
    struct cvec *v = NULL;
    struct cvec_options options = books_options(&books, max_len);
    options.destroy = NULL;
    options.element_size = size;
    options.huge_pages = VMEM_HUGE_PAGES_ON;
    options.header = 100;
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
    memset(cvec_header(v), 0xAB, 100);
    CHECK_EQ((uintptr_t)v->elements % vmem_caps().huge_page_size, 0);
    for (int round = 0; round < 2; round++) {
        for (size_t len = cvec_len(v), part; len < max_len; len += part) {
            part = max_len - len < 700 ? max_len - len : 700;
            REQUIRE(CHECK_STATUS(VBUF_OK, cvec_extend(v, elements, part, NULL)));
        }
        CHECK_STATUS(VBUF_FULL, cvec_push(v, elements, NULL));
        CHECK_EQ(cvec_claimed(v), max_len);
        CHECK(cvec_get(v, max_len - 1) != NULL);
        check_books(v, &books);
        CHECK_STATUS(VBUF_OK, cvec_truncate(v, 1));
        CHECK_STATUS(VBUF_OK, cvec_shrink_to_fit(v));
        check_books(v, &books);
        CHECK_EQ(((unsigned char *)cvec_header(v))[99], 0xAB);
        CHECK_EQ(cvec_len(v), 1);
        size_t committed = 0;
        const struct vmem *memory = &v->memory_.memory;
        if (vmem_committed(memory, 0, memory->size, &committed) == VBUF_OK)
            CHECK_EQ(committed, report_of(v).committed_bytes);
        cvec_clear(v);
    }
    cvec_destroy(v);
    CHECK_EQ(books_balance(&books), 0);
}

TEST(cvec_growth, huge_pages_fit_small_vectors_and_odd_ones)
{
    struct cvec *v = NULL;
    struct cvec_options options = {.element_size = 8, .huge_pages = VMEM_HUGE_PAGES_ON};
    enum vbuf_status status = cvec_create(&v, &options);
    if (status == VBUF_UNSUPPORTED)
        SKIP("no huge pages here");
    CHECK_STATUS(VBUF_OK, status);
    cvec_destroy(v);
    grow_by_huge_pages(8, 1);
    grow_by_huge_pages(8, 1000);
    grow_by_huge_pages(8, 300000); /* elements past a huge page, not at the end of one */
    if (BUILD_PLAIN)
        grow_by_huge_pages(1, 3000000); /* readiness bytes as well */
    grow_by_huge_pages(1000, 5000);
    grow_by_huge_pages(0, 5000);
}
