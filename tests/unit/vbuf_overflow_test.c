/*
 * vbuf_overflow_test.c - sizes and offsets near SIZE_MAX in every argument and option: the status that
 * the contract says, and nothing changed. Sums of such sizes wrap to small ones.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "vbuf/vbuf.h"
#include "vbuf_books.h"

struct triple {
    uint64_t words[3];
};

VBUF_DEFINE(octets, uint8_t)
VBUF_DEFINE(triples, struct triple)

#define EXTREMES 9

/* The i-th size that is too large for anything; `len` makes one that wraps to 0 when added to it. */
static size_t extreme(size_t i, size_t len)
{
    const size_t page = vmem_page_size();
    const size_t sizes[EXTREMES] = {SIZE_MAX,     SIZE_MAX - 1,    SIZE_MAX / 2 + 1,
                                    SIZE_MAX / 2, SIZE_MAX - page, SIZE_MAX - page + 1,
                                    0 - page - 1, SIZE_MAX - 63,   SIZE_MAX - len + (len != 0)};
    return sizes[i];
}

static bool is_as_before(const struct vbuf *b, const struct vbuf *before)
{
    return CHECK(b->data == before->data && b->max == before->max) &&
           CHECK_EQ(b->len, before->len) && CHECK_EQ(b->capacity, before->capacity) &&
           CHECK(b->used_ == before->used_ && b->limit_ == before->limit_) &&
           CHECK(b->low_ == before->low_ && b->promised_ == before->promised_) && is_sound(b) &&
           CHECK_EQ(first_other(b, 0, b->len, 0x5a), b->len);
}

/* Buffers that are empty, in part full, full, with and without a header; for each size. */
static void for_each_state(void (*body)(struct vbuf *b, size_t size))
{
    size_t page = vmem_page_size(), max = 5 * page + 10;
    const size_t headers[] = {0, 1, 5000};
    const size_t lens[] = {0, 1, page - 1, page, 2 * page + 7, max};
    for (size_t state = 0; state < 3 * 6; state++) {
        for (size_t i = 0; i < EXTREMES && check_failures() == 0; i++) {
            struct books books;
            struct vbuf b = make_vbuf(with_books(
                (struct vbuf_options){.max = max, .header = headers[state / 6]}, &books));
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, lens[state % 6]));
            memset(b.data, 0x5a, b.len);
            const struct vbuf before = b;
            unsigned asked = books.asked;
            body(&b, extreme(i, b.len));
            CHECK(is_as_before(&b, &before));
            CHECK_EQ(books.asked, asked);
            CHECK_EQ(books.told, 0);
            vbuf_destroy(&b);
        }
    }
}

static void call_with_a_length(struct vbuf *b, size_t size)
{
    CHECK_STATUS(VBUF_FULL, vbuf_reserve(b, size));
    CHECK_STATUS(VBUF_FULL, vbuf_reserve_exact(b, size));
    CHECK_STATUS(VBUF_FULL, vbuf_resize(b, size));
    CHECK_STATUS(VBUF_INVALID, vbuf_truncate(b, size));
    CHECK_STATUS(VBUF_INVALID, vbuf_rewind(b, size));
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to(b, size)); /* no smaller than what there is */
    CHECK_STATUS(VBUF_FULL, vbuf_append(b, "x", size));
    CHECK_STATUS(VBUF_INVALID, vbuf_append(b, NULL, size));
}

static void call_with_a_range(struct vbuf *b, size_t size)
{
    const size_t others[] = {0, 1, b->len, vmem_page_size(), size};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        size_t other = others[i];
        CHECK_STATUS(other <= b->len ? VBUF_FULL : VBUF_INVALID, vbuf_insert(b, other, "x", size));
        CHECK_STATUS(VBUF_INVALID, vbuf_insert(b, size, "x", other));
        CHECK_STATUS(VBUF_INVALID, vbuf_insert(b, 0, NULL, size));
        CHECK_STATUS(VBUF_INVALID, vbuf_remove(b, other, size));
        CHECK_STATUS(VBUF_INVALID, vbuf_remove(b, size, other));
        CHECK_STATUS(VBUF_INVALID, vbuf_commit(b, other, size));
        CHECK_STATUS(VBUF_INVALID, vbuf_commit(b, size, other));
        CHECK_STATUS(VBUF_INVALID, vbuf_commit_two(b, other, size, 0, 1));
        CHECK_STATUS(VBUF_INVALID, vbuf_commit_two(b, size, other, 0, 1));
        CHECK_STATUS(VBUF_INVALID, vbuf_commit_two(b, 0, 1, other, size));
        CHECK_STATUS(VBUF_INVALID, vbuf_commit_two(b, 0, 1, size, other));
        CHECK_STATUS(VBUF_INVALID, vbuf_decommit(b, other, size));
        CHECK_STATUS(VBUF_INVALID, vbuf_decommit(b, size, other));
        CHECK_STATUS(VBUF_INVALID, vbuf_decommit(b, b->capacity, size));
    }
}

static void check_null(struct vbuf *b, size_t size, size_t align, int error)
{
    errno = 0;
    CHECK(vbuf_alloc(b, size, align) == NULL);
    CHECK_EQ(errno, error);
    errno = 0;
    CHECK(vbuf_alloc_zeroed(b, size, align) == NULL);
    CHECK_EQ(errno, error);
}

static void alloc_with_a_size(struct vbuf *b, size_t size)
{
    for (size_t align = 1; align != 0; align *= 2)
        check_null(b, size, align, ENOBUFS);
    CHECK(vbuf_alloc_array(b, size, 2, 1) == NULL);
    CHECK(vbuf_alloc_array(b, 2, size, 1) == NULL);
    CHECK(vbuf_alloc_array(b, size, size, 1) == NULL);
    CHECK_EQ(errno, ENOBUFS);
    errno = 0;
    CHECK(vbuf_alloc_array(b, size, 2, 3) == NULL);
    CHECK_EQ(errno, EINVAL);
    int error = (size & (size - 1)) == 0 ? ENOBUFS : EINVAL;
    check_null(b, 0, size, error);
    check_null(b, 1, size, error);
    check_null(b, size, size, error);
}

TEST(vbuf_overflow, lengths)
{
    for_each_state(call_with_a_length);
}

TEST(vbuf_overflow, offsets_and_ranges)
{
    for_each_state(call_with_a_range);
}

TEST(vbuf_overflow, arena_sizes_and_alignments)
{
    for_each_state(alloc_with_a_size);
}

/* ---- typed ---- */

static void call_octets(struct vbuf *b, size_t size)
{
    struct octets v = {*b};
    CHECK_STATUS(VBUF_FULL, octets_reserve(&v, size));
    CHECK_STATUS(VBUF_FULL, octets_reserve_exact(&v, size));
    CHECK_STATUS(VBUF_FULL, octets_resize(&v, size));
    CHECK_STATUS(VBUF_FULL, octets_extend(&v, b->data, size));
    CHECK_STATUS(VBUF_INVALID, octets_extend(&v, NULL, size));
    CHECK_STATUS(VBUF_INVALID, octets_truncate(&v, size));
    CHECK_STATUS(VBUF_INVALID, octets_insert(&v, size, 1));
    CHECK_STATUS(VBUF_INVALID, octets_remove(&v, size, NULL));
    CHECK_STATUS(VBUF_INVALID, octets_swap_remove(&v, size, NULL));
    CHECK(octets_at(&v, size) == NULL);
    CHECK(octets_add(&v, size) == NULL);
    *b = v.bytes;
}

/* Counts whose bytes are too many, or wrap to few. */
static void call_triples_with(struct triples *v, size_t count)
{
    CHECK_STATUS(VBUF_FULL, triples_reserve(v, count));
    CHECK_STATUS(VBUF_FULL, triples_reserve_exact(v, count));
    CHECK_STATUS(VBUF_FULL, triples_resize(v, count));
    CHECK_STATUS(VBUF_FULL, triples_extend(v, triples_data(v), count));
    CHECK_STATUS(VBUF_INVALID, triples_extend(v, NULL, count));
    CHECK_STATUS(VBUF_INVALID, triples_truncate(v, count));
    CHECK_STATUS(VBUF_INVALID, triples_insert(v, count, (struct triple){{1}}));
    CHECK_STATUS(VBUF_INVALID, triples_remove(v, count, NULL));
    CHECK_STATUS(VBUF_INVALID, triples_swap_remove(v, count, NULL));
    CHECK(triples_at(v, count) == NULL);
    errno = 0;
    CHECK(triples_add(v, count) == NULL);
    CHECK_EQ(errno, ENOBUFS);
}

TEST(vbuf_overflow, typed_counts_and_indices)
{
    for_each_state(call_octets);
    for (size_t len = 0; len <= 400; len += 200) {
        struct triples v;
        REQUIRE(CHECK_STATUS(VBUF_OK, triples_init(&v, 400, NULL)));
        CHECK_STATUS(VBUF_OK, triples_resize(&v, len));
        memset(triples_data(&v), 0x5a, v.bytes.len);
        const struct vbuf before = v.bytes;
        for (size_t i = 0; i < EXTREMES; i++) {
            size_t size = extreme(i, len);
            call_triples_with(&v, size);
            call_triples_with(&v, size / sizeof(struct triple));
            call_triples_with(&v, size / sizeof(struct triple) + 1);
            call_triples_with(&v, size / sizeof(struct triple) + 2);
            REQUIRE(is_as_before(&v.bytes, &before));
        }
        triples_destroy(&v);
    }
}

/* ---- options ---- */

static void check_init(enum vbuf_status expected, struct vbuf_options options)
{
    struct vbuf b = {.len = 77};
    CHECK_STATUS(expected, vbuf_init(&b, &options));
    if (expected == VBUF_OK)
        vbuf_destroy(&b);
    else
        CHECK_EQ(b.len, 77);
}

/* No system has such a range; or, rounded up to pages, and with one to align it by, it wraps. */
static enum vbuf_status too_large(size_t size)
{
    return size > SIZE_MAX - 2 * vmem_page_size() ? VBUF_INVALID : VBUF_NOMEM;
}

TEST(vbuf_overflow, sizes_in_options)
{
    for (size_t i = 0; i < EXTREMES; i++) {
        size_t size = extreme(i, 4096);
        bool power = (size & (size - 1)) == 0;
        check_init(too_large(size), (struct vbuf_options){.max = size});
        check_init(too_large(size), (struct vbuf_options){.max = size, .min = size});
        check_init(too_large(size), (struct vbuf_options){.max = size, .initial = size});
        check_init(VBUF_INVALID, (struct vbuf_options){.max = size, .header = size});
        check_init(VBUF_INVALID, (struct vbuf_options){.max = SIZE_MAX - size + 1, .header = size});
        check_init(VBUF_INVALID, (struct vbuf_options){.max = MIB, .min = size});
        check_init(VBUF_INVALID, (struct vbuf_options){.max = MIB, .initial = size});
        check_init(size > SIZE_MAX - 2 * MIB ? VBUF_INVALID : VBUF_NOMEM,
                   (struct vbuf_options){.max = MIB, .header = size});
        check_init(power ? VBUF_NOMEM : VBUF_INVALID,
                   (struct vbuf_options){.max = MIB, .alignment = size});
        check_init(VBUF_INVALID, (struct vbuf_options){.max = size, .alignment = SIZE_MAX / 2 + 1});
        check_init(VBUF_INVALID,
                   (struct vbuf_options){.max = MIB, .header = 1, .alignment = SIZE_MAX / 2 + 1});
        check_init(VBUF_OK, (struct vbuf_options){.max = MIB, .keep = size});
        check_init(VBUF_OK, (struct vbuf_options){.max = MIB, .growth = {.linear = size}});
    }
}

TEST(vbuf_overflow, a_linear_growth_beyond_max_goes_to_max)
{
    for (size_t i = 0; i < EXTREMES; i++) {
        struct vbuf b =
            make_vbuf((struct vbuf_options){.max = MIB + 1, .growth = {.linear = extreme(i, MIB)}});
        for (size_t len = 1; len < 3; len++) {
            REQUIRE(CHECK_STATUS(VBUF_OK, vbuf_append(&b, "x", len)) && b.capacity == MIB + 1);
            CHECK_EQ(b.capacity, MIB + 1);
            CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 0));
        }
        vbuf_destroy(&b);
    }
}

TEST(vbuf_overflow, min_makes_the_best_of_a_max_that_no_system_has)
{
    if (!running_plain())
        SKIP("all of the address space is more than fits beside shadow memory");
    struct vbuf b;
    struct vbuf_options options = {.max = SIZE_MAX / 2 + 1, .min = MIB, .header = 1};
    REQUIRE(CHECK_STATUS(VBUF_OK, vbuf_init(&b, &options)));
    CHECK(b.max >= MIB && b.max <= SIZE_MAX / 2);
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, "x", 1));
    CHECK_STATUS(VBUF_FULL, vbuf_reserve(&b, SIZE_MAX / 2 + 1));
    vbuf_destroy(&b);
}
