/*
 * vbuf_arena_test.c - the arena: alignment, size 0, errno when there is nothing to give, zeroed
 * memory, marks and scopes, and what is given back after a spike.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "check.h"
#include "fault.h"
#include "vbuf/vbuf.h"
#include "vbuf_books.h"

static struct vbuf make(size_t max)
{
    return make_vbuf((struct vbuf_options){.max = max, .huge_pages = VMEM_HUGE_PAGES_OFF});
}

/* ---- alloc ---- */

/* The least aligned address at the end; nothing between but padding. */
static unsigned char *alloc_checked(struct vbuf *b, size_t size, size_t align)
{
    uintptr_t end = (uintptr_t)b->data + b->len;
    uintptr_t place = (end + align - 1) / align * align;
    unsigned char *memory = vbuf_alloc(b, size, align);
    if (CHECK_EQ((uintptr_t)memory, place) && CHECK_EQ((uintptr_t)b->data + b->len, place + size))
        return memory;
    return NULL;
}

TEST(vbuf_arena, every_alignment_above_the_page_too)
{
    struct vbuf b = make(64 * MIB);
    for (size_t align = 1; align <= 2 * MIB; align *= 2) {
        for (size_t size = 0; size < 100; size += 11) {
            REQUIRE(alloc_checked(&b, 1, 1) != NULL); /* out of step */
            unsigned char *memory = alloc_checked(&b, size, align);
            REQUIRE(memory != NULL);
            memset(memory, 0xaa, size);
            REQUIRE(is_sound(&b));
            if (align > 64 * KIB)
                CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, 0));
        }
    }
    vbuf_destroy(&b);
}

TEST(vbuf_arena, alignment_is_of_the_address_not_of_the_offset)
{
    struct vbuf b = make_vbuf((struct vbuf_options){.max = MIB, .header = 1}); /* data is at 64 */
    for (size_t align = 1; align <= 4096; align *= 2) {
        REQUIRE(alloc_checked(&b, 3, 1) != NULL);
        REQUIRE(alloc_checked(&b, 3, align) != NULL);
    }
    vbuf_destroy(&b);
}

TEST(vbuf_arena, what_was_allocated_stays_where_it_is_and_is_not_shared)
{
    struct vbuf b = make(16 * MIB);
    unsigned char *memory[2000];
    struct check_rng rng = {check_seed()};
    size_t sizes[2000];
    for (size_t i = 0; i < 2000; i++) {
        sizes[i] = check_rng_next(&rng) % 4000;
        memory[i] = alloc_checked(&b, sizes[i], (size_t)1 << (check_rng_next(&rng) % 10));
        REQUIRE(memory[i] != NULL);
        memset(memory[i], (int)(i % 251), sizes[i]);
    }
    for (size_t i = 0; i < 2000; i++) {
        for (size_t k = 0; k < sizes[i]; k++)
            REQUIRE(memory[i][k] == i % 251);
    }
    vbuf_destroy(&b);
}

TEST(vbuf_arena, size_0_gives_an_aligned_address_without_bytes)
{
    struct vbuf b = make(4096 * 3);
    CHECK(vbuf_alloc(&b, 0, 1) == b.data);
    CHECK_EQ(b.len, 0);
    CHECK(vbuf_alloc(&b, 1, 1) == b.data);
    CHECK(vbuf_alloc(&b, 0, 64) == b.data + 64);
    CHECK(vbuf_alloc(&b, 0, 64) == b.data + 64);
    CHECK(vbuf_alloc_zeroed(&b, 0, 64) == b.data + 64);
    CHECK_EQ(b.len, 64);
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, b.max));
    CHECK(vbuf_alloc(&b, 0, 1) == b.data + b.max); /* full */
    CHECK(vbuf_alloc(&b, 0, 64) == b.data + b.max);
    vbuf_destroy(&b);
}

TEST(vbuf_arena, arrays_and_objects)
{
    struct vbuf b = make(MIB);
    CHECK(vbuf_alloc(&b, 1, 1) == b.data);
    uint64_t *number = VBUF_NEW(&b, uint64_t);
    CHECK((unsigned char *)number == b.data + 8);
    CHECK_EQ(b.len, 16);
    uint32_t *numbers = vbuf_alloc_array(&b, 5, sizeof(uint32_t), 32);
    CHECK((unsigned char *)numbers == b.data + 32);
    CHECK_EQ(b.len, 52);
    CHECK(vbuf_alloc_array(&b, 0, SIZE_MAX, 1) == b.data + 52);
    CHECK(vbuf_alloc_array(&b, SIZE_MAX, 0, 1) == b.data + 52);
    errno = 0;
    CHECK(vbuf_alloc_array(&b, SIZE_MAX / 8 + 1, 8, 1) == NULL); /* wraps to 0 */
    CHECK_EQ(errno, ENOBUFS);
    errno = 0;
    CHECK(vbuf_alloc_array(&b, MIB / 8, 8, 8) == NULL);
    CHECK_EQ(errno, ENOBUFS);
    errno = 0;
    CHECK(vbuf_alloc_array(&b, 1, 1, 0) == NULL);
    CHECK_EQ(errno, EINVAL);
    CHECK_EQ(b.len, 52);
    CHECK(vbuf_alloc_array(&b, MIB / 8 - 7, 8, 8) == b.data + 56); /* to the last byte */
    CHECK_EQ(b.len, MIB);
    CHECK(VBUF_NEW(&b, char) == NULL);
    vbuf_destroy(&b);
}

/* ---- NULL ---- */

static void check_null(struct vbuf *b, size_t size, size_t align, int error)
{
    struct vbuf before = *b;
    errno = 0;
    CHECK(vbuf_alloc(b, size, align) == NULL);
    CHECK_EQ(errno, error);
    errno = 0;
    CHECK(vbuf_alloc_zeroed(b, size, align) == NULL);
    CHECK_EQ(errno, error);
    CHECK(b->len == before.len && b->capacity == before.capacity && is_sound(b));
}

TEST(vbuf_arena, null_and_EINVAL_iff_the_alignment_is_no_power_of_two)
{
    struct vbuf b = make(MIB);
    CHECK(vbuf_alloc(&b, 100, 1) != NULL);
    for (int round = 0; round < 2; round++) { /* without room, and with */
        for (size_t align = 0; align <= 4100; align++) {
            if (align != 0 && (align & (align - 1)) == 0)
                REQUIRE(vbuf_alloc(&b, 0, align) != NULL);
            else
                check_null(&b, align % 3, align, EINVAL);
        }
        check_null(&b, 1, SIZE_MAX, EINVAL);
        check_null(&b, SIZE_MAX, 3, EINVAL); /* neither fits: this is said first */
        check_null(&b, 0, SIZE_MAX / 2, EINVAL);
        CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, MIB));
    }
    vbuf_destroy(&b);
}

TEST(vbuf_arena, null_and_ENOBUFS_iff_it_does_not_fit_into_max)
{
    size_t page = vmem_page_size(), max = 4 * page + 100;
    struct vbuf b = make_vbuf((struct vbuf_options){.max = max, .alignment = 2 * MIB});
    for (int round = 0; round < 2; round++) {
        check_null(&b, max + 1, 1, ENOBUFS);
        check_null(&b, SIZE_MAX, 1, ENOBUFS);
        check_null(&b, SIZE_MAX, SIZE_MAX / 2 + 1, ENOBUFS);
        CHECK(vbuf_alloc(&b, 101, 1) != NULL);
        check_null(&b, max - 100, 1, ENOBUFS);
        check_null(&b, SIZE_MAX - 100, 1, ENOBUFS);           /* len + size wraps to 0 */
        check_null(&b, max - 127, 64, ENOBUFS);               /* by the padding alone */
        check_null(&b, 0, 2 * MIB, ENOBUFS);                  /* the padding itself does not fit */
        check_null(&b, 1, SIZE_MAX / 2 + 1, ENOBUFS);         /* padding and size wrap */
        CHECK(vbuf_alloc(&b, max - 128, 64) == b.data + 128); /* exactly */
        CHECK_EQ(b.len, max);
        check_null(&b, 1, 1, ENOBUFS);
        CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, 0));
        CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, max)); /* again, with room */
    }
    vbuf_destroy(&b);
}

TEST(vbuf_arena, null_and_why_iff_the_memory_is_refused)
{
    struct books books;
    size_t page = vmem_page_size();
    fault_clear();
    struct vbuf b =
        make_vbuf(with_books((struct vbuf_options){.max = MIB, .alignment = 8 * page}, &books));
    books.spare = 0;
    check_null(&b, 1, 1, ENOMEM);
    CHECK(vbuf_alloc(&b, 0, 64) == b.data); /* needs none */
    books.spare = page;
    CHECK(vbuf_alloc(&b, page, 1) == b.data);
    check_null(&b, 1, 1, ENOMEM);
    books.spare = SIZE_MAX;
    fault_fail_from(FAULT_MPROTECT, 1, EAGAIN);
    check_null(&b, 1, 1, EAGAIN);
    check_null(&b, 0, 8 * page, EAGAIN); /* the padding needs memory */
    fault_clear();
    CHECK(vbuf_alloc(&b, 1, 1) == b.data + page);
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
}

/* ---- zeroed ---- */

TEST(vbuf_arena, alloc_zeroed_is_zero_whatever_was_there)
{
    struct vbuf b = make(4 * MIB);
    struct check_rng rng = {check_seed()};
    for (int round = 0; round < 300; round++) {
        size_t mark = check_rng_next(&rng) % (b.len + 1);
        CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, mark));
        if (round % 7 == 0)
            CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(&b));
        for (int i = 0; i < 5; i++) {
            size_t size = check_rng_next(&rng) % (i == 0 ? 200000 : 3000);
            size_t align = (size_t)1 << (check_rng_next(&rng) % 13);
            unsigned char *memory = vbuf_alloc_zeroed(&b, size, align);
            if (memory == NULL && CHECK_EQ(errno, ENOBUFS)) {
                vbuf_clear(&b);
                continue;
            }
            CHECK_EQ((uintptr_t)memory % align, 0);
            REQUIRE(are_all(&b, b.len - size, b.len, 0));
            memset(memory, 0xff, size);
        }
    }
    vbuf_destroy(&b);
}

/* ---- marks ---- */

TEST(vbuf_arena, rewind_frees_what_came_after_the_mark)
{
    struct vbuf b = make(MIB);
    CHECK(vbuf_alloc(&b, 10, 1) != NULL);
    size_t outer = vbuf_mark(&b);
    unsigned char *first = vbuf_alloc(&b, 100, 8);
    size_t inner = vbuf_mark(&b);
    CHECK(vbuf_alloc(&b, 50000, 8) != NULL);
    CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, inner));
    CHECK_EQ(vbuf_mark(&b), inner);
    CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, inner)); /* nothing came after */
    CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, outer));
    CHECK_EQ(b.len, 10);
    CHECK(vbuf_alloc(&b, 100, 8) == first); /* the same again */
    vbuf_destroy(&b);
}

TEST(vbuf_arena, rewind_is_invalid_iff_the_buffer_is_before_the_mark)
{
    struct vbuf b = make(MIB);
    size_t outer = vbuf_mark(&b);
    CHECK(vbuf_alloc(&b, 100, 1) != NULL);
    size_t inner = vbuf_mark(&b);
    CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, outer));
    CHECK_STATUS(VBUF_INVALID, vbuf_rewind(&b, inner));
    CHECK_EQ(b.len, 0);
    CHECK(vbuf_alloc(&b, 99, 1) != NULL);
    CHECK_STATUS(VBUF_INVALID, vbuf_rewind(&b, inner));
    CHECK(vbuf_alloc(&b, 1, 1) != NULL);
    CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, inner));
    CHECK_EQ(b.len, 100);
    vbuf_destroy(&b);
}

/* ---- scopes ---- */

TEST(vbuf_arena, scopes_nest)
{
    struct vbuf b = make(4 * MIB);
    struct vbuf_scope scopes[8];
    size_t lens[8];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 8; i++) {
            lens[i] = b.len;
            vbuf_scope_begin(&b, &scopes[i]);
            CHECK_EQ(b.len, lens[i]);
            CHECK(vbuf_alloc(&b, 1000 * i, 8) != NULL);
        }
        for (size_t i = 8; i-- > 0;) {
            CHECK_STATUS(VBUF_OK, vbuf_scope_end(&b, &scopes[i]));
            CHECK_EQ(b.len, lens[i]);
            CHECK_STATUS(VBUF_INVALID, vbuf_scope_end(&b, &scopes[i])); /* it has ended */
            CHECK_EQ(b.len, lens[i]);
        }
    }
    vbuf_destroy(&b);
}

TEST(vbuf_arena, ending_an_outer_scope_ends_those_inside)
{
    struct vbuf b = make(MIB);
    struct vbuf_scope scopes[5];
    for (size_t i = 0; i < 5; i++) {
        vbuf_scope_begin(&b, &scopes[i]);
        CHECK(vbuf_alloc(&b, 10, 1) != NULL);
    }
    CHECK_STATUS(VBUF_OK, vbuf_scope_end(&b, &scopes[1]));
    CHECK_EQ(b.len, 10);
    for (size_t i = 1; i < 5; i++)
        CHECK_STATUS(VBUF_INVALID, vbuf_scope_end(&b, &scopes[i]));
    CHECK_EQ(b.len, 10);
    vbuf_scope_begin(&b, &scopes[3]); /* may begin anew, inside the first */
    CHECK(vbuf_alloc(&b, 10, 1) != NULL);
    CHECK_STATUS(VBUF_OK, vbuf_scope_end(&b, &scopes[3]));
    CHECK_EQ(b.len, 10);
    CHECK_STATUS(VBUF_OK, vbuf_scope_end(&b, &scopes[0]));
    CHECK_EQ(b.len, 0);
    CHECK_STATUS(VBUF_INVALID, vbuf_scope_end(&b, &scopes[0]));
    vbuf_destroy(&b);
}

TEST(vbuf_arena, scope_end_is_invalid_iff_it_is_not_open_there)
{
    struct vbuf b = make(MIB), other = make(MIB);
    struct vbuf_scope scope, stranger, never = {.outer = NULL};
    CHECK_STATUS(VBUF_INVALID, vbuf_scope_end(&b, &never));
    vbuf_scope_begin(&b, &scope);
    vbuf_scope_begin(&other, &stranger);
    CHECK(vbuf_alloc(&b, 10, 1) != NULL && vbuf_alloc(&other, 20, 1) != NULL);
    CHECK_STATUS(VBUF_INVALID, vbuf_scope_end(&b, &never));
    CHECK_STATUS(VBUF_INVALID, vbuf_scope_end(&b, &stranger));
    CHECK_STATUS(VBUF_INVALID, vbuf_scope_end(&other, &scope));
    CHECK_EQ(b.len, 10);
    CHECK_EQ(other.len, 20);
    CHECK_STATUS(VBUF_OK, vbuf_scope_end(&b, &scope));
    CHECK_STATUS(VBUF_OK, vbuf_scope_end(&other, &stranger));
    CHECK_EQ(b.len + other.len, 0);
    vbuf_destroy(&b);
    vbuf_destroy(&other);
}

TEST(vbuf_arena, a_scope_that_was_rewound_past_frees_nothing)
{
    struct vbuf b = make(MIB);
    struct vbuf_scope outer, inner;
    CHECK(vbuf_alloc(&b, 100, 1) != NULL);
    vbuf_scope_begin(&b, &outer);
    CHECK(vbuf_alloc(&b, 100, 1) != NULL);
    vbuf_scope_begin(&b, &inner);
    CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, 50));
    CHECK_STATUS(VBUF_OK, vbuf_scope_end(&b, &inner));
    CHECK_EQ(b.len, 50);
    CHECK(vbuf_alloc(&b, 100, 1) != NULL);
    CHECK_STATUS(VBUF_OK, vbuf_scope_end(&b, &outer));
    CHECK_EQ(b.len, 100);
    vbuf_destroy(&b);
}

/* ---- giving back ---- */

static void spike(struct vbuf *b, struct vbuf_scope *scope)
{
    vbuf_scope_begin(b, scope);
    for (int i = 0; i < 100; i++) {
        void *memory = vbuf_alloc(b, 100 * KIB, 16);
        REQUIRE(memory != NULL);
        memset(memory, 1, 100 * KIB);
    }
}

TEST(vbuf_arena, after_a_spike_only_keep_remains)
{
    const size_t keeps[] = {0, 1, 300 * KIB, 2 * MIB};
    for (size_t k = 0; k < 4; k++) {
        struct books books;
        struct vbuf b = make_vbuf(with_books(
            (struct vbuf_options){
                .max = 64 * MIB, .keep = keeps[k], .huge_pages = VMEM_HUGE_PAGES_OFF},
            &books));
        struct vbuf_scope scope;
        size_t keep = keeps[k] == 0 ? VBUF_KEEP : vmem_align_up(keeps[k], vmem_page_size());
        spike(&b, &scope);
        CHECK_STATUS(VBUF_OK, vbuf_scope_end(&b, &scope));
        CHECK_EQ(b.capacity, keep);
        CHECK(resident_bytes(&b) <= keep);
        size_t mark = vbuf_mark(&b);
        spike(&b, &scope);
        CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, mark));
        CHECK_EQ(b.capacity, keep);
        CHECK(is_sound(&b) && is_charged_right(&b));
        fault_clear(); /* below keep, rounds of work cost nothing */
        for (int i = 0; i < 100; i++) {
            CHECK(vbuf_alloc(&b, keep - 64, 16) != NULL);
            CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, 0));
        }
        CHECK_EQ(system_calls(), 0);
        vbuf_destroy(&b);
    }
}
