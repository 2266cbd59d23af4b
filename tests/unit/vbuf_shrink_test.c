/*
 * vbuf_shrink_test.c - giving memory back by itself: when and how much, `keep`, and that going to and
 * fro costs nothing. What really goes, and refusals, are in vbuf_give_back_test.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "vbuf/vbuf.h"
#include "vbuf_books.h"

VBUF_DEFINE(words, uint64_t)

/* ---- when, and how much ---- */

typedef void drop_call(struct vbuf *b, size_t len);

static void drop_by_truncate(struct vbuf *b, size_t len)
{
    CHECK_STATUS(VBUF_OK, vbuf_truncate(b, len));
}

static void drop_by_resize(struct vbuf *b, size_t len)
{
    CHECK_STATUS(VBUF_OK, vbuf_resize(b, len));
}

static void drop_by_remove(struct vbuf *b, size_t len)
{
    CHECK_STATUS(VBUF_OK, vbuf_remove(b, len / 2, b->len - len));
}

static void drop_by_rewind(struct vbuf *b, size_t len)
{
    CHECK_STATUS(VBUF_OK, vbuf_rewind(b, len));
}

static void drop_by_scope_end(struct vbuf *b, size_t len)
{
    struct vbuf_scope scope;
    vbuf_scope_begin(b, &scope);
    scope.len = len; /* as if it had begun there */
    CHECK_STATUS(VBUF_OK, vbuf_scope_end(b, &scope));
}

static void drop_by_pop(struct vbuf *b, size_t len)
{
    struct words v = {*b};
    while (words_len(&v) * sizeof(uint64_t) > len)
        CHECK(words_pop(&v, NULL));
    *b = v.bytes;
}

static drop_call *const drops[] = {drop_by_truncate, drop_by_resize,    drop_by_remove,
                                   drop_by_rewind,   drop_by_scope_end, drop_by_pop};
#define DROPS (sizeof drops / sizeof *drops)

TEST(vbuf_shrink, at_a_quarter_of_the_capacity_down_to_half)
{
    for (size_t d = 0; d < DROPS; d++) {
        struct books books;
        struct vbuf b = make_vbuf(with_books((struct vbuf_options){.max = 2 * MIB}, &books));
        CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
        fault_clear();
        drops[d](&b, MIB / 4);
        CHECK_EQ(b.capacity, MIB);
        CHECK_EQ(system_calls(), 0);
        CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, MIB / 4)); /* not even now */
        CHECK_EQ(b.capacity, MIB);
        drops[d](&b, MIB / 4 - 8);
        CHECK_EQ(b.len, MIB / 4 - 8);
        CHECK_EQ(b.capacity, MIB / 2);
        CHECK_EQ(system_calls(), 1);
        CHECK_EQ(books.told, 1);
        CHECK_EQ(books.answer, MIB / 2);
        drops[d](&b, 1000); /* in one go: down to keep */
        CHECK_EQ(b.capacity, VBUF_KEEP);
        drops[d](&b, 0);
        CHECK_EQ(b.capacity, VBUF_KEEP);
        CHECK(is_sound(&b) && is_charged_right(&b));
        vbuf_destroy(&b);
        CHECK_EQ(books.balance, 0);
    }
}

TEST(vbuf_shrink, with_another_growth_at_half_of_what_it_leaves_in_use)
{
    const struct vbuf_growth growths[] = {{3, 2, 0}, {17, 16, 0}, {8, 1, 0}, {3, 1, 0}};
    for (size_t g = 0; g < sizeof growths / sizeof *growths; g++) {
        uint64_t up = growths[g].numerator, down = growths[g].denominator;
        size_t capacity = 3 * 17 * 8 * MIB / 64;
        struct vbuf b =
            make_vbuf((struct vbuf_options){.max = 2 * capacity, .growth = growths[g], .keep = 1});
        CHECK_STATUS(VBUF_OK, vbuf_resize(&b, capacity));
        size_t edge = (size_t)(capacity * down / up / 2);
        CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, edge + 8));
        CHECK_EQ(b.capacity, capacity);
        CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, edge - 8));
        CHECK_EQ(b.capacity, whole_pages(&b, (size_t)((edge - 8) * up / down)));
        vbuf_destroy(&b);
    }
}

TEST(vbuf_shrink, with_linear_growth_when_more_than_two_steps_are_unused_down_to_one)
{
    const size_t steps[] = {1, 64, 4096, 5000, 100000, 16 * MIB};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        size_t step = steps[i] > vmem_page_size() ? steps[i] : vmem_page_size();
        struct vbuf b = make_vbuf(
            (struct vbuf_options){.max = 4 * MIB, .growth = {.linear = steps[i]}, .keep = 1});
        CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 2 * MIB));
        while (b.len > 0) {
            size_t len = b.len < 500 ? 0 : b.len - 500;
            size_t expected = b.capacity;
            if (expected > len + 2 * step)
                expected = whole_pages(&b, len + step);
            CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, len));
            REQUIRE(CHECK_EQ(b.capacity, expected));
        }
        vbuf_destroy(&b);
    }
}

TEST(vbuf_shrink, keep_is_kept)
{
    size_t page = vmem_page_size();
    const size_t keeps[] = {0, 1, 5 * page, 5 * page + 1, 100 * page, MIB, 8 * MIB, SIZE_MAX};
    for (size_t k = 0; k < sizeof keeps / sizeof *keeps; k++) {
        for (size_t d = 0; d < DROPS; d++) {
            struct vbuf b = make_vbuf((struct vbuf_options){.max = MIB, .keep = keeps[k]});
            size_t keep = keeps[k] == 0 ? VBUF_KEEP : keeps[k] < MIB ? keeps[k] : MIB;
            CHECK_EQ(b.keep, keep);
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
            drops[d](&b, 0);
            if (b.capacity != 2 * page || keep >= page) /* two pages are too few to split */
                CHECK_EQ(b.capacity, whole_pages(&b, keep));
            CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(&b)); /* whatever keep says */
            CHECK_EQ(b.capacity, 0);
            CHECK(is_sound(&b));
            vbuf_destroy(&b);
        }
    }
}

/* ---- promises ---- */

static void promise_by_reserve(struct vbuf *b, size_t capacity)
{
    CHECK_STATUS(VBUF_OK, vbuf_reserve(b, capacity));
}

static void promise_by_reserve_exact(struct vbuf *b, size_t capacity)
{
    CHECK_STATUS(VBUF_OK, vbuf_reserve_exact(b, capacity));
}

/* What is there already is promised as well. */
static void promise_late(struct vbuf *b, size_t capacity)
{
    CHECK_STATUS(VBUF_OK, vbuf_resize(b, MIB));
    CHECK_STATUS(VBUF_OK, vbuf_reserve(b, capacity));
}

static void promise_by_clear(struct vbuf *b, size_t capacity)
{
    CHECK_STATUS(VBUF_OK, vbuf_resize(b, capacity));
    vbuf_clear(b);
}

static void promise_by_init(struct vbuf *b, size_t capacity)
{
    vbuf_destroy(b);
    *b = make_vbuf((struct vbuf_options){.max = 4 * MIB, .initial = capacity, .keep = 1});
}

TEST(vbuf_shrink, what_was_reserved_stays_until_shrink_to)
{
    void (*const promises[])(struct vbuf * b,
                             size_t capacity) = {promise_by_reserve, promise_by_reserve_exact,
                                                 promise_late, promise_by_clear, promise_by_init};
    size_t promised = 200 * KIB + 1;
    for (size_t p = 0; p < sizeof promises / sizeof *promises; p++) {
        for (size_t d = 0; d < DROPS; d++) {
            struct vbuf b = make_vbuf((struct vbuf_options){.max = 4 * MIB, .keep = 1});
            promises[p](&b, promised);
            for (int round = 0; round < 2; round++) {
                CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
                drops[d](&b, 8);
                CHECK_EQ(b.capacity, whole_pages(&b, promised)); /* and no more than that */
                fault_clear();
                CHECK_STATUS(VBUF_OK, vbuf_resize(&b, promised));
                drops[d](&b, 0);
                CHECK_EQ(system_calls(), 0);
            }
            CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, promised / 2)); /* less ends nothing */
            CHECK_STATUS(VBUF_FULL, vbuf_reserve(&b, SIZE_MAX));
            CHECK_STATUS(VBUF_OK, vbuf_shrink_to(&b, promised));
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
            drops[d](&b, 0);
            CHECK_EQ(b.capacity, whole_pages(&b, promised)); /* not beyond it */
            CHECK_STATUS(VBUF_OK, vbuf_shrink_to(&b, promised / 2));
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
            drops[d](&b, 0);
            CHECK_EQ(b.capacity, whole_pages(&b, promised / 2));
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
            CHECK_STATUS(VBUF_OK, vbuf_shrink_to(&b, 0)); /* without effect on the memory */
            drops[d](&b, 0);
            CHECK(b.capacity <= 2 * vmem_page_size());
            REQUIRE(is_sound(&b));
            vbuf_destroy(&b);
        }
    }
}

TEST(vbuf_shrink, a_refused_reserve_promises_nothing)
{
    struct books books;
    struct vbuf b = make_vbuf(with_books((struct vbuf_options){.max = 4 * MIB, .keep = 1}, &books));
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
    books.spare = 0;
    CHECK_STATUS(VBUF_NOMEM, vbuf_reserve(&b, 2 * MIB));
    CHECK_STATUS(VBUF_NOMEM, vbuf_reserve_exact(&b, 2 * MIB));
    CHECK_STATUS(VBUF_FULL, vbuf_reserve(&b, 5 * MIB));
    CHECK_STATUS(VBUF_FULL, vbuf_reserve_exact(&b, 5 * MIB));
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 0));
    CHECK_EQ(b.capacity, vmem_page_size());
    vbuf_destroy(&b);
}

TEST(vbuf_shrink, what_does_not_make_len_smaller_gives_nothing_back)
{
    struct books books;
    struct vbuf_scope scope;
    struct vbuf b = make_vbuf(with_books((struct vbuf_options){.max = 4 * MIB, .keep = 1}, &books));
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
    fault_clear();
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 5000)); /* refused: far too much is left */
    fault_clear();
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 5000));
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 5000));
    CHECK_STATUS(VBUF_OK, vbuf_remove(&b, 100, 0));
    CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, vbuf_mark(&b)));
    vbuf_scope_begin(&b, &scope);
    CHECK_STATUS(VBUF_OK, vbuf_scope_end(&b, &scope));
    CHECK_EQ(system_calls(), 0);
    CHECK_EQ(b.capacity, MIB);
    vbuf_destroy(&b);
}

/* ---- at an edge ---- */

static const struct vbuf_growth edge_growths[] = {
    {0, 0, 0}, {3, 2, 0},  {17, 16, 0},  {10, 1, 0},   {UINT32_MAX, UINT32_MAX - 1, 0},
    {0, 0, 1}, {0, 0, 64}, {0, 0, 3000}, {0, 0, 4096}, {0, 0, 50000},
};
#define EDGE_GROWTHS (sizeof edge_growths / sizeof *edge_growths)

/* `step` bytes up and down, again and again: system calls are made the first time only. */
static bool to_and_fro(struct vbuf *b, size_t step)
{
    unsigned char bytes[16] = {0};
    size_t len = b->len;
    for (int round = 0; round < 8; round++) {
        CHECK_STATUS(VBUF_OK, vbuf_append(b, bytes, step));
        CHECK_STATUS(VBUF_OK, vbuf_truncate(b, len));
        if (round == 0)
            fault_clear();
    }
    for (int round = 0; round < 8 && len >= step; round++) {
        CHECK_STATUS(VBUF_OK, vbuf_truncate(b, len - step));
        CHECK_STATUS(VBUF_OK, vbuf_append(b, bytes, step));
        if (round == 0)
            fault_clear();
    }
    return CHECK_EQ(system_calls(), 0) && is_sound(b);
}

static bool to_and_fro_typed(struct words *v)
{
    for (int round = 0; round < 8; round++) {
        CHECK_STATUS(VBUF_OK, words_push(v, 1));
        CHECK(words_pop(v, NULL));
        CHECK(words_len(v) == 0 || words_pop(v, NULL));
        CHECK_STATUS(VBUF_OK, words_push(v, 1));
        if (round == 0)
            fault_clear();
    }
    return CHECK_EQ(system_calls(), 0) && is_sound(&v->bytes);
}

static void stay_at_edges(struct vbuf_growth growth, size_t header)
{
    struct vbuf_options options = {.max = MIB, .growth = growth, .keep = 1, .header = header};
    struct vbuf b = make_vbuf(options);
    size_t page = vmem_page_size(), most = 40 * page;
    for (int up = 1; up >= 0; up--) { /* once as the buffer grows, once as it shrinks */
        for (size_t i = 0; i <= most; i += 8) {
            size_t near = (i + header + 64) % page;
            if (near > 128 && near % 1000 > 8)
                continue; /* all lengths about the ends of pages, some between */
            size_t len = up ? i : most - i;
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, len));
            struct words v = {b};
            bool still = to_and_fro_typed(&v);
            b = v.bytes;
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, len)); /* from 0 it went to 8 */
            if (!still || !to_and_fro(&b, 1) || !to_and_fro(&b, 7) || !to_and_fro(&b, 16)) {
                CHECK_EQ(len, SIZE_MAX);                   /* says at which length, */
                CHECK_EQ(growth.numerator, growth.linear); /* and with which growth */
                return;
            }
        }
    }
    vbuf_destroy(&b);
}

TEST(vbuf_shrink, to_and_fro_over_any_edge_costs_no_system_calls)
{
    for (size_t g = 0; g < EDGE_GROWTHS; g++) {
        stay_at_edges(edge_growths[g], 0);
        stay_at_edges(edge_growths[g], 100);
    }
}

TEST(vbuf_shrink, less_than_a_page_too_much_costs_no_system_calls)
{
    struct words v = {make_vbuf((struct vbuf_options){.max = MIB, .keep = 1})};
    CHECK_STATUS(VBUF_OK, words_resize(&v, 512));
    CHECK_STATUS(VBUF_OK, words_shrink_to_fit(&v));
    fault_clear();
    for (size_t low = 500; low > 0; low /= 2) {
        while (words_len(&v) > low)
            words_pop(&v, NULL);
        CHECK_STATUS(VBUF_OK, words_resize(&v, 512));
    }
    CHECK_EQ(system_calls(), 0);
    words_destroy(&v);
}

/*
 * A walk of random steps. Where the capacity is C, a call to the system has to be paid for by a constant
 * share of C in bytes that came or went; each step pays its bytes against the larger capacity it saw.
 */
static void walk(struct vbuf_growth growth, uint64_t seed, size_t steps)
{
    struct vbuf b = make_vbuf(
        (struct vbuf_options){.max = 16 * MIB, .growth = growth, .keep = 1, .header = 10});
    struct check_rng rng = {seed};
    double paid = 0;
    uint64_t aim = 0, largest = 0;
    fault_clear();
    for (size_t i = 0; i < steps; i++) {
        if (i % 64 == 0) {
            aim = check_rng_next(&rng) % MIB;
            largest = UINT64_C(1) << (check_rng_next(&rng) % 16);
        }
        size_t step = check_rng_next(&rng) % largest + 1, before = b.capacity, len = b.len;
        if (check_rng_next(&rng) % 8 < (len < aim ? 5 : 3))
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, len + step));
        else
            CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, len - (step < len ? step : len)));
        size_t moved = b.len > len ? b.len - len : len - b.len;
        size_t capacity = before > b.capacity ? before : b.capacity;
        if (capacity != 0)
            paid += (double)moved / (double)capacity;
        REQUIRE(is_sound(&b));
    }
    CHECK((double)system_calls() <= 8 + 8 * paid);
    vbuf_destroy(&b);
}

TEST(vbuf_shrink, system_calls_are_paid_for_by_bytes)
{
    for (uint64_t round = 0; round < 8; round++)
        walk((struct vbuf_growth){round % 2 == 0 ? 2 : 3, round % 2 == 0 ? 1 : 2, 0},
             check_seed() + round, BUILD_COUNT(40000, 4000));
}
