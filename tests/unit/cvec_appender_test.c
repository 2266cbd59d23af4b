/*
 * cvec_appender_test.c - private blocks in front of cvec_extend: order, flushing on demand, when full and
 * at the end, and flushes that fail.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>
#include <stdlib.h>

#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "cvec_fixture.h"
#include "fault.h"
#include "team.h"

static void append_numbers(struct cvec_appender *a, uint64_t from, uint64_t to)
{
    for (uint64_t value = from; value < to; value++)
        CHECK_STATUS(VBUF_OK, cvec_appender_push(a, &value));
}

/* What is in the buffer: the numbers from `from` on. */
static void check_buffered(const struct cvec_appender *a, uint64_t from, size_t count)
{
    REQUIRE(CHECK_EQ(a->count, count));
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(((const uint64_t *)(const void *)a->elements)[i], from + i);
}

TEST(cvec_appender, elements_reach_the_vector_in_whole_blocks)
{
    for (size_t block = 1; block <= 9; block++) {
        struct words v = make_words(1000);
        struct cvec_appender untyped;
        struct words_appender typed;
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_appender_create(&untyped, v.vector, block)));
        CHECK_EQ(untyped.block, block);
        CHECK(untyped.vector == v.vector);
        for (uint64_t i = 0; i < 50; i++) {
            append_numbers(&untyped, i, i + 1);
            size_t flushed = (size_t)(i + 1) / block * block;
            REQUIRE(CHECK_EQ(words_claimed(&v), flushed)); /* not claimed, let alone seen */
            REQUIRE(CHECK_EQ(words_len(&v), flushed));
            check_buffered(&untyped, flushed, (size_t)(i + 1) % block);
        }
        CHECK_STATUS(VBUF_OK, cvec_appender_destroy(&untyped));
        REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&typed, &v, block)));
        for (uint64_t i = 50; i < 100; i++) {
            CHECK_STATUS(VBUF_OK, words_appender_push(&typed, i));
            REQUIRE(CHECK_EQ(words_claimed(&v), 50 + (size_t)(i + 1 - 50) / block * block));
        }
        CHECK_STATUS(VBUF_OK, words_appender_destroy(&typed));
        check_numbers(v.vector, 100);
        words_destroy(&v);
    }
}

TEST(cvec_appender, flush_appends_one_run_and_tells_where)
{
    struct words v = make_words(1000);
    struct words_appender a;
    size_t first = SIZE_MAX;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&a, &v, 100)));
    CHECK_STATUS(VBUF_OK, words_appender_flush(&a, &first)); /* of nothing */
    CHECK_EQ(first, 0);
    append_numbers(&a.appender, 0, 3);
    CHECK_STATUS(VBUF_OK, words_appender_flush(&a, &first));
    CHECK_EQ(first, 0);
    CHECK_EQ(a.appender.count, 0);
    check_numbers(v.vector, 3);
    push_numbers(v.vector, 3, 5); /* others' elements come in between runs, not into one */
    append_numbers(&a.appender, 5, 9);
    CHECK_STATUS(VBUF_OK, words_appender_flush(&a, &first));
    CHECK_EQ(first, 5);
    append_numbers(&a.appender, 9, 10);
    CHECK_STATUS(VBUF_OK, words_appender_flush(&a, NULL));
    CHECK_STATUS(VBUF_OK, words_appender_flush(&a, &first));
    CHECK_EQ(first, 10);
    check_numbers(v.vector, 10);
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a));
    words_destroy(&v);
}

TEST(cvec_appender, destroy_flushes_and_may_be_called_again)
{
    struct words v = make_words(100);
    struct words_appender a;
    struct cvec_appender zeroed = {.vector = NULL};
    CHECK_STATUS(VBUF_OK, cvec_appender_destroy(&zeroed));
    REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&a, &v, 100)));
    append_numbers(&a.appender, 0, 7);
    CHECK_EQ(words_len(&v), 0);
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a));
    check_numbers(v.vector, 7);
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a));
    check_numbers(v.vector, 7);
    words_destroy(&v);
}

TEST(cvec_appender, create_is_invalid_iff_null_or_more_than_max_len)
{
    struct words v = make_words(100);
    struct cvec_appender a = {.block = 77};
    const size_t bad[] = {101, 1000, SIZE_MAX / 8, SIZE_MAX - 1, SIZE_MAX};
    CHECK_STATUS(VBUF_INVALID, cvec_appender_create(NULL, v.vector, 1));
    CHECK_STATUS(VBUF_INVALID, cvec_appender_create(&a, NULL, 1));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_STATUS(VBUF_INVALID, cvec_appender_create(&a, v.vector, bad[i]));
    CHECK_EQ(a.block, 77); /* written on VBUF_OK only */
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_appender_create(&a, v.vector, 100)));
    append_numbers(&a, 0, 99);
    CHECK_EQ(words_len(&v), 0);
    append_numbers(&a, 99, 100);
    check_numbers(v.vector, 100); /* a block that is the whole vector */
    CHECK_STATUS(VBUF_OK, cvec_appender_destroy(&a));
    words_destroy(&v);
}

TEST(cvec_appender, block_0_is_as_many_as_fit_a_page_but_16_at_least)
{
    const struct {
        size_t size, max_len, block;
    } rows[] = {
        {1, 100000, 4096},       {8, 100000, 512}, {24, 100000, 170}, {256, 100000, 16},
        {300, 100000, 16},       {8, 100, 100}, /* no more than the vector holds */
        {(size_t)1 << 20, 3, 3}, {8, 1, 1},        {0, 100000, 4096},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct cvec *v = NULL;
        struct cvec_appender a;
        struct cvec_options options = {.element_size = rows[i].size, .max_len = rows[i].max_len};
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_appender_create(&a, v, 0)));
        CHECK_EQ(a.block, rows[i].block);
        CHECK_STATUS(VBUF_OK, cvec_appender_destroy(&a));
        cvec_destroy(v);
    }
}

TEST(cvec_appender, create_is_nomem_iff_memory_is_refused_and_destroy_gives_it_back)
{
    struct books books;
    struct cvec *v = books_make(&books, 100000);
    struct cvec_appender a = {.block = 77};
    uint64_t before = books_balance(&books);
    books_refuse(&books, true);
    CHECK_STATUS(VBUF_NOMEM, cvec_appender_create(&a, v, 1000));
    books_refuse(&books, false);
    fault_clear();
    fault_fail_at(FAULT_MMAP, 1, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, cvec_appender_create(&a, v, 1000));
    fault_fail_from(FAULT_MPROTECT, 1, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, cvec_appender_create(&a, v, 1000));
    fault_clear();
    CHECK_EQ(a.block, 77);
    CHECK_EQ(books_balance(&books), before);
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_appender_create(&a, v, 1000)));
    CHECK(books_balance(&books) >= before + 8000);
    CHECK_STATUS(VBUF_OK, cvec_appender_destroy(&a));
    CHECK_EQ(books_balance(&books), before);
    cvec_destroy(v);
    CHECK_EQ(books_balance(&books), 0);
}

TEST(cvec_appender, push_is_invalid_iff_element_is_null)
{
    struct words v = make_words(100);
    struct cvec_appender a;
    for (size_t block = 1; block <= 2; block++) {
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_appender_create(&a, v.vector, block)));
        CHECK_STATUS(VBUF_INVALID, cvec_appender_push(&a, NULL));
        CHECK_EQ(a.count, 0);
        CHECK_EQ(words_claimed(&v), 0);
        CHECK_STATUS(VBUF_OK, cvec_appender_destroy(&a));
    }
    words_destroy(&v);
}

/* ---- flushes that fail ---- */

/* Fills what is committed, so that the next run must grow; then memory is refused. */
static size_t fill_and_refuse(struct cvec *v, struct books *books)
{
    push_numbers(v, 0, 1);
    size_t len = cvec_capacity(v);
    push_numbers(v, 1, len);
    books_refuse(books, true);
    return len;
}

/* Typed and untyped pushes: they share the contract. */
static enum vbuf_status push_either(struct words_appender *a, uint64_t value, bool typed)
{
    return typed ? words_appender_push(a, value) : cvec_appender_push(&a->appender, &value);
}

static void fail_and_recover(size_t block, bool typed)
{
    struct books books;
    struct words v = words_of(books_make(&books, 100000));
    struct words_appender a;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&a, &v, block)));
    size_t len = fill_and_refuse(v.vector, &books), first = 77;
    for (uint64_t i = 0; i < block; i++) /* the last fills it: its flush fails, and is not told */
        CHECK_STATUS(VBUF_OK, push_either(&a, len + i, typed));
    for (int again = 0; again < 3; again++) {
        CHECK_STATUS(VBUF_NOMEM, push_either(&a, 12345, typed)); /* not taken */
        CHECK_STATUS(VBUF_NOMEM, words_appender_flush(&a, &first));
        CHECK_STATUS(VBUF_NOMEM, words_appender_destroy(&a));
        check_buffered(&a.appender, len, block); /* nothing is lost */
        CHECK_EQ(first, 77);
        CHECK_EQ(words_claimed(&v), len);
    }
    books_refuse(&books, false);
    for (uint64_t i = 0; i < block + 1; i++) /* the first of these flushes, and is taken */
        CHECK_STATUS(VBUF_OK, push_either(&a, len + block + i, typed));
    CHECK_EQ(a.appender.count, (block + 1) % block);
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a));
    check_numbers(v.vector, len + 2 * block + 1);
    words_destroy(&v);
    CHECK_EQ(books_balance(&books), 0);
}

TEST(cvec_appender, C5_a_flush_that_fails_keeps_everything_for_another_try)
{
    const size_t blocks[] = {1, 2, 3, 10, 600, 5000};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        fail_and_recover(blocks[i], false);
        fail_and_recover(blocks[i], true);
    }
}

TEST(cvec_appender, a_full_vector_takes_no_part_of_a_block)
{
    struct words v = make_words(10);
    struct words_appender a;
    push_numbers(v.vector, 0, 8);
    REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&a, &v, 3)));
    append_numbers(&a.appender, 8, 11);
    CHECK_STATUS(VBUF_FULL, words_appender_flush(&a, NULL));
    CHECK_STATUS(VBUF_FULL, words_appender_push(&a, 11));
    CHECK_STATUS(VBUF_FULL, words_appender_destroy(&a));
    check_numbers(v.vector, 8);
    check_buffered(&a.appender, 8, 3);
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 7));
    push_numbers(v.vector, 7, 8);
    words_appender_discard(&a);
    append_numbers(&a.appender, 8, 10); /* what fits exactly */
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a));
    check_numbers(v.vector, 10);
    words_destroy(&v);
}

TEST(cvec_appender, a_closed_vector_keeps_the_block_out)
{
    struct words v = make_words(100);
    struct words_appender a;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&a, &v, 4)));
    append_numbers(&a.appender, 0, 2);
    words_close(&v);
    CHECK_STATUS(VBUF_CLOSED, words_appender_flush(&a, NULL));
    append_numbers(&a.appender, 2, 4);
    CHECK_STATUS(VBUF_CLOSED, words_appender_push(&a, 4));
    CHECK_STATUS(VBUF_CLOSED, words_appender_destroy(&a));
    check_buffered(&a.appender, 0, 4);
    words_appender_discard(&a);
    CHECK_STATUS(VBUF_OK, words_appender_flush(&a, NULL)); /* of nothing */
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a));
    CHECK_EQ(words_claimed(&v), 0);
    words_destroy(&v);
}

TEST(cvec_appender, discard_forgets_and_destroys_each_once)
{
    struct books books;
    struct words v = words_of(books_make(&books, 100));
    struct words_appender a;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&a, &v, 50)));
    words_appender_discard(&a); /* nothing */
    CHECK_EQ(books.destroyed, 0);
    append_numbers(&a.appender, 10, 30);
    words_appender_discard(&a);
    CHECK_EQ(books.destroyed, 20);
    CHECK_EQ(books.last_destroyed, 29);
    CHECK(!books.out_of_order);
    CHECK_EQ(a.appender.count, 0);
    CHECK_EQ(words_claimed(&v), 0);
    append_numbers(&a.appender, 30, 40);
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a)); /* flushes: they live on in the vector */
    CHECK_EQ(books.destroyed, 20);
    CHECK_EQ(words_len(&v), 10);
    words_destroy(&v);
    CHECK_EQ(books.destroyed, 30);
    CHECK(!books.out_of_order);
}

TEST(cvec_appender, every_element_size)
{
    const size_t sizes[] = {0, 1, 3, 100, 4097, (size_t)1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct cvec *v = NULL;
        struct cvec_appender a;
        struct cvec_options options = {.element_size = sizes[i], .max_len = 20};
        unsigned char *bytes = calloc(1, sizes[i] + 1);
        REQUIRE(bytes != NULL && CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_appender_create(&a, v, 3)));
        for (int k = 0; k < 8; k++) {
            memset(bytes, k + 1, sizes[i]);
            CHECK_STATUS(VBUF_OK, cvec_appender_push(&a, bytes));
        }
        CHECK_EQ(cvec_len(v), 6);
        CHECK_STATUS(VBUF_OK, cvec_appender_destroy(&a));
        CHECK_EQ(cvec_len(v), 8);
        for (size_t k = 0; k < 8; k++) {
            memset(bytes, (int)k + 1, sizes[i]);
            REQUIRE(cvec_get(v, k) != NULL && memcmp(cvec_get(v, k), bytes, sizes[i]) == 0);
        }
        cvec_destroy(v);
        free(bytes);
    }
}

/* ---- threads ---- */

#define THREADS 4
#define VALUES BUILD_COUNT(50000u, 5000u)

static void append_own_numbers(void *context, unsigned thread)
{
    struct words *v = context;
    struct words_appender a;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_appender_create(&a, v, thread * 37)));
    for (uint64_t i = 0; i < VALUES; i++) {
        uint64_t value = (uint64_t)thread << 32 | i;
        CHECK_STATUS(VBUF_OK, words_appender_push(&a, value));
        if (i % 1000 == 999) {
            size_t first = SIZE_MAX;
            CHECK_STATUS(VBUF_OK, words_appender_flush(&a, &first));
            CHECK(first <= words_claimed(v));
        }
    }
    CHECK_STATUS(VBUF_OK, words_appender_destroy(&a));
}

TEST(cvec_appender, C4_the_order_of_each_appender_is_kept)
{
    struct words v = make_words((size_t)THREADS * VALUES);
    uint64_t next[THREADS] = {0};
    team_run(THREADS, append_own_numbers, &v);
    struct words_slice all = words_snapshot(&v);
    CHECK_EQ(all.count, (size_t)THREADS * VALUES);
    for (size_t i = 0; i < all.count; i++) {
        uint64_t thread = all.data[i] >> 32;
        REQUIRE(thread < THREADS && (all.data[i] & UINT32_MAX) == next[thread]++);
    }
    words_destroy(&v);
}
