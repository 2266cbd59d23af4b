/*
 * cvec_exclusive_test.c - what needs a vector to itself: push_exclusive, truncate, clear, shrink_to_fit, and
 * the destructor's calls.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>

#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "cvec_fixture.h"
#include "fault.h"

/* ---- push_exclusive ---- */

TEST(cvec_exclusive, push_exclusive_is_a_push)
{
    struct words v = make_words(100000);
    size_t index = SIZE_MAX;
    for (uint64_t i = 0; i < 100000; i++) { /* all kinds of pushes in turn, growth by each */
        enum vbuf_status status = i % 3 == 0   ? words_push_exclusive(&v, i, &index)
                                  : i % 3 == 1 ? cvec_push_exclusive(v.vector, &i, &index)
                                               : words_push(&v, i, &index);
        REQUIRE(CHECK_STATUS(VBUF_OK, status));
        REQUIRE(index == i && *words_get(&v, i) == i);
    }
    check_numbers(v.vector, 100000);
    words_destroy(&v);
}

TEST(cvec_exclusive, push_exclusive_is_invalid_full_closed_iff_push_is)
{
    struct words v = make_words(10);
    uint64_t value = 9;
    size_t index = 77;
    CHECK_STATUS(VBUF_INVALID, cvec_push_exclusive(v.vector, NULL, &index));
    CHECK_EQ(words_claimed(&v), 0);
    push_numbers(v.vector, 0, 9);
    CHECK_STATUS(VBUF_OK, words_push_exclusive(&v, value, NULL));
    for (int again = 0; again < 3; again++) {
        CHECK_STATUS(VBUF_FULL, words_push_exclusive(&v, value, &index));
        CHECK_STATUS(VBUF_FULL, cvec_push_exclusive(v.vector, &value, &index));
        CHECK_STATUS(VBUF_FULL, words_push(&v, value, &index));
    }
    words_close(&v);
    CHECK_STATUS(VBUF_CLOSED, words_push_exclusive(&v, value, &index));
    CHECK_STATUS(VBUF_CLOSED, cvec_push_exclusive(v.vector, &value, &index));
    CHECK_EQ(index, 77);
    check_numbers(v.vector, 10);
    words_destroy(&v);
}

TEST(cvec_exclusive, C5_push_exclusive_is_nomem_iff_memory_is_refused)
{
    struct books books;
    struct words v = words_of(books_make(&books, 100000));
    uint64_t value = 0;
    size_t index = 77;
    push_numbers(v.vector, 0, 1);
    size_t len = words_capacity(&v);
    push_numbers(v.vector, 1, len);
    books_refuse(&books, true);
    for (int again = 0; again < 3; again++) {
        CHECK_STATUS(VBUF_NOMEM, words_push_exclusive(&v, value, &index));
        CHECK_STATUS(VBUF_NOMEM, cvec_push_exclusive(v.vector, &value, &index));
        CHECK_STATUS(VBUF_NOMEM, words_push(&v, value, &index));
    }
    CHECK_EQ(index, 77);
    check_numbers(v.vector, len);
    books_refuse(&books, false);
    value = len;
    CHECK_STATUS(VBUF_OK, words_push_exclusive(&v, value, &index));
    CHECK_EQ(index, len);
    check_numbers(v.vector, len + 1);
    words_destroy(&v);
}

/* ---- truncate and clear ---- */

TEST(cvec_exclusive, truncate_is_invalid_iff_fewer_were_claimed)
{
    struct books books;
    struct words v = words_of(books_make(&books, 1000));
    CHECK_STATUS(VBUF_INVALID, words_truncate(&v, 1));
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 0));
    push_numbers(v.vector, 0, 10);
    const size_t bad[] = {11, 511, 512, 1000, 1001, SIZE_MAX / 2, SIZE_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_STATUS(VBUF_INVALID, words_truncate(&v, bad[i]));
    check_numbers(v.vector, 10);
    CHECK_EQ(books.destroyed, 0);
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 10));
    check_numbers(v.vector, 10);
    size_t first;
    uint64_t *slots = NULL;
    CHECK_STATUS(VBUF_OK, words_claim(&v, 5, &first, &slots)); /* claimed is enough */
    CHECK_STATUS(VBUF_INVALID, words_truncate(&v, 16));
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 15));
    CHECK_EQ(words_claimed(&v), 15);
    words_destroy(&v);
}

/* Truncates 2,000 numbers to `len`, with the watermark at `seen`, and fills up again by a claim. */
static void truncate_and_refill(size_t len, size_t seen, bool with_destroy)
{
    struct books books;
    struct words v = words_of(books_make(&books, 100000));
    if (!with_destroy)
        v.vector->destroy_ = NULL;
    push_numbers(v.vector, 0, seen);
    words_snapshot(&v);
    push_numbers(v.vector, seen, 2000);
    size_t capacity = words_capacity(&v);
    CHECK_STATUS(VBUF_OK, words_truncate(&v, len));
    check_numbers(v.vector, len);
    CHECK_EQ(words_claimed(&v), len);
    CHECK_EQ(words_capacity(&v), capacity); /* the memory stays */
    for (size_t i = len; i < 2000; i++)
        REQUIRE(words_get(&v, i) == NULL);
    size_t first = SIZE_MAX;
    uint64_t *slots = NULL;
    CHECK_STATUS(VBUF_OK, words_claim(&v, 2000 - len, &first, &slots));
    CHECK_EQ(first, len); /* pushing starts there again */
    CHECK_EQ(words_len(&v), len);
    for (size_t i = len; i < 2000; i++) {
        REQUIRE(words_get(&v, i) == NULL); /* not published: no readiness is left over */
        slots[i - len] = i;
    }
    CHECK_STATUS(VBUF_OK, words_publish(&v, first, 2000 - len));
    check_numbers(v.vector, 2000);
    CHECK_EQ(books.destroyed, with_destroy ? 2000 - len : 0);
    words_destroy(&v);
}

TEST(cvec_exclusive, what_truncate_drops_is_not_visible_and_its_indices_are_fresh)
{
    const size_t lens[] = {0, 1, 511, 512, 513, 1000, 1999, 2000};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        for (size_t seen = 0; seen <= 2000; seen += 500) {
            truncate_and_refill(lens[i], seen, true);
            truncate_and_refill(lens[i], seen, false);
        }
    }
}

TEST(cvec_exclusive, truncate_after_refused_pushes)
{
    struct words v = make_words(100);
    push_numbers(v.vector, 0, 100);
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(VBUF_FULL, words_push(&v, 1, NULL));
    CHECK_STATUS(VBUF_INVALID, words_truncate(&v, 101));
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 100));
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 40));
    push_numbers(v.vector, 40, 100);
    CHECK_STATUS(VBUF_FULL, words_push(&v, 1, NULL));
    words_clear(&v);
    CHECK_EQ(words_claimed(&v), 0);
    push_numbers(v.vector, 0, 100);
    check_numbers(v.vector, 100);
    words_destroy(&v);
}

/* ---- destroy ---- */

TEST(cvec_exclusive, each_published_element_is_destroyed_once_and_in_order)
{
    struct books books;
    struct words v = words_of(books_make(&books, 100000));
    push_numbers(v.vector, 0, 3000);
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 2000));
    CHECK_EQ(books.destroyed, 1000);
    CHECK_EQ(books.last_destroyed, 2999);
    CHECK_STATUS(VBUF_OK, words_truncate(&v, 2000));
    CHECK_EQ(books.destroyed, 1000);
    books.in_sweep = 0;
    words_clear(&v);
    CHECK_EQ(books.destroyed, 3000);
    CHECK_EQ(books.last_destroyed, 1999);
    words_clear(&v);
    CHECK_STATUS(VBUF_OK, words_shrink_to_fit(&v));
    CHECK_EQ(books.destroyed, 3000);
    push_numbers(v.vector, 0, 500);
    books.destroyed = books.in_sweep = 0;
    words_destroy(&v);
    CHECK_EQ(books.destroyed, 500);
    CHECK_EQ(books.last_destroyed, 499);
    CHECK(!books.out_of_order);
}

TEST(cvec_exclusive, what_was_never_published_is_never_destroyed)
{
    struct books books;
    for (int way = 0; way < 3; way++) {
        struct words v = words_of(books_make(&books, 1000));
        size_t first;
        uint64_t *slots = NULL;
        push_numbers(v.vector, 0, 10);
        REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(&v, 10, &first, &slots)));
        for (size_t i = 0; i < 10; i++)
            slots[i] = first + i;
        CHECK_STATUS(VBUF_OK, words_publish(&v, 12, 3)); /* holes at 10, 11 and from 15 to 19 */
        push_numbers(v.vector, 20, 25);
        if (way == 1)
            CHECK_STATUS(VBUF_OK, words_truncate(&v, 5));
        if (way == 2)
            words_clear(&v);
        CHECK_EQ(books.destroyed, way == 0 ? 0 : way == 1 ? 13 : 18);
        books.in_sweep = 0;
        words_destroy(&v);
        CHECK_EQ(books.destroyed, 18);
        CHECK(!books.out_of_order);
    }
}

/* ---- shrink_to_fit ---- */

/* Everything between the front and the end of the reservation that the system has committed. */
static size_t committed_by_the_system(struct cvec *v)
{
    const struct vmem *memory = &v->memory_.memory;
    size_t bytes = 0;
    return vmem_committed(memory, 0, memory->size, &bytes) == VBUF_OK ? bytes : SIZE_MAX;
}

static size_t resident(struct cvec *v)
{
    const struct vmem *memory = &v->memory_.memory;
    size_t bytes = 0;
    return vmem_resident(memory, 0, memory->size, &bytes) == VBUF_OK ? bytes : SIZE_MAX;
}

#define FILLED BUILD_COUNT((size_t)200000, (size_t)20000)

/* Fills, keeps `len`, shrinks, and grows again. */
static void shrink_and_regrow(size_t len)
{
    struct books books;
    struct words v = words_of(books_make(&books, 1000000));
    size_t page = vmem_page_size();
    push_numbers(v.vector, 0, FILLED);
    size_t before = resident(v.vector);
    CHECK_STATUS(VBUF_OK, words_truncate(&v, len));
    CHECK_STATUS(VBUF_OK, words_shrink_to_fit(&v));
    CHECK(words_capacity(&v) >= len && words_capacity(&v) < len + page / 8);
    CHECK(len != 0 || words_capacity(&v) == 0);
    check_books(v.vector, &books);
    struct cvec_report report = report_of(v.vector);
    CHECK_EQ(report.growths, 0);
    CHECK(report.claimed == len && report.len == len);
    if (before != SIZE_MAX) {
        CHECK(before >= FILLED * 9);
        CHECK(resident(v.vector) + (FILLED - len) * 9 <= before + 2 * page);
        CHECK_EQ(committed_by_the_system(v.vector), report.committed_bytes);
    }
    check_numbers(v.vector, len);
    size_t first = SIZE_MAX;
    uint64_t *slots = NULL;
    CHECK_STATUS(VBUF_OK, words_reserve(&v, FILLED));
    for (size_t i = len; i < words_capacity(&v); i++)
        REQUIRE(words_get(&v, i) == NULL); /* no stale readiness */
    CHECK_STATUS(VBUF_OK, words_claim(&v, 10, &first, &slots));
    CHECK_EQ(words_len(&v), len);
    for (size_t i = 0; i < 10; i++)
        slots[i] = first + i;
    CHECK_STATUS(VBUF_OK, words_publish(&v, first, 10));
    push_numbers(v.vector, len + 10, 2 * FILLED);
    check_numbers(v.vector, 2 * FILLED);
    check_books(v.vector, &books);
    words_destroy(&v);
    CHECK_EQ(books_balance(&books), 0);
}

TEST(cvec_exclusive, shrink_to_fit_gives_memory_back_and_growth_goes_on)
{
    const size_t lens[] = {0, 1, 511, 512, 513, 4096, 4097, 15000, FILLED - 1};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
        shrink_and_regrow(lens[i]);
}

TEST(cvec_exclusive, shrink_to_fit_of_a_vector_that_fits_does_nothing)
{
    struct books books;
    struct words v = words_of(books_make(&books, 1000));
    fault_clear();
    CHECK_STATUS(VBUF_OK, words_shrink_to_fit(&v));
    push_numbers(v.vector, 0, 1000);
    CHECK_STATUS(VBUF_OK, words_shrink_to_fit(&v));
    CHECK_EQ(words_capacity(&v), 1000);
    CHECK_EQ(fault_count(FAULT_MMAP), 0);
    check_books(v.vector, &books);
    check_numbers(v.vector, 1000);
    words_destroy(&v);
}

TEST(cvec_exclusive, claimed_and_unpublished_elements_stay_when_it_shrinks)
{
    struct words v = make_words(100000);
    size_t first;
    uint64_t *slots = NULL;
    CHECK_STATUS(VBUF_OK, words_reserve(&v, 50000));
    push_numbers(v.vector, 0, 10);
    REQUIRE(CHECK_STATUS(VBUF_OK, words_claim(&v, 5000, &first, &slots)));
    CHECK_STATUS(VBUF_OK, words_shrink_to_fit(&v));
    CHECK(words_capacity(&v) >= 5010 && words_capacity(&v) < 50000);
    for (size_t i = 0; i < 5000; i++)
        slots[i] = first + i;
    CHECK_STATUS(VBUF_OK, words_publish(&v, first, 5000));
    check_numbers(v.vector, 5010);
    words_destroy(&v);
}

TEST(cvec_exclusive, shrink_to_fit_is_nomem_iff_the_system_refuses_and_changes_nothing)
{
    struct books books;
    struct words v = words_of(books_make(&books, 100000));
    CHECK_STATUS(VBUF_OK, words_reserve(&v, 60000));
    push_numbers(v.vector, 0, 2000);
    struct cvec_report before = report_of(v.vector);
    fault_clear();
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    for (int again = 0; again < 3; again++) {
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, words_shrink_to_fit(&v));
        CHECK_EQ(errno, ENOMEM);
        struct cvec_report after = report_of(v.vector);
        CHECK_EQ(after.capacity, before.capacity);
        CHECK_EQ(after.growths, before.growths);
        check_books(v.vector, &books);
    }
    fault_clear();
    check_numbers(v.vector, 2000);
    push_numbers(v.vector, 2000, before.capacity); /* and it needs no commit */
    CHECK_EQ(fault_count(FAULT_MPROTECT), 0);
    words_destroy(&v);
    CHECK_EQ(books_balance(&books), 0);
}

/* Both sides are given back. Whichever the system refuses, the books balance and nothing is stale. */
TEST(cvec_exclusive, shrink_to_fit_refused_in_part)
{
    for (uint64_t nth = 1; nth <= 4; nth++) {
        struct books books;
        struct words v = words_of(books_make(&books, 1000000));
        push_numbers(v.vector, 0, FILLED);
        CHECK_STATUS(VBUF_OK, words_truncate(&v, 10));
        fault_clear();
        fault_fail_from(FAULT_MMAP, nth, ENOMEM);
        enum vbuf_status status = words_shrink_to_fit(&v);
        fault_clear();
        CHECK(status == VBUF_OK || status == VBUF_NOMEM);
        CHECK((status == VBUF_NOMEM) == (words_capacity(&v) > 1000));
        check_books(v.vector, &books);
        check_numbers(v.vector, 10);
        CHECK_STATUS(VBUF_OK, words_reserve(&v, FILLED));
        for (size_t i = 10; i < words_capacity(&v); i++)
            REQUIRE(words_get(&v, i) == NULL);
        push_numbers(v.vector, 10, 2 * FILLED);
        check_numbers(v.vector, 2 * FILLED);
        CHECK_STATUS(VBUF_OK, words_truncate(&v, 10));
        CHECK_STATUS(VBUF_OK, words_shrink_to_fit(&v));
        check_books(v.vector, &books);
        if (committed_by_the_system(v.vector) != SIZE_MAX)
            CHECK_EQ(committed_by_the_system(v.vector), report_of(v.vector).committed_bytes);
        words_destroy(&v);
        CHECK_EQ(books_balance(&books), 0);
    }
}
