/*
 * cvec_layout_test.c - element sizes and alignments, exact fits, and the typed form.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec/cvec.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

/* Every byte of element `index` differs from its neighbours and from those of other elements. */
static void make_element(unsigned char *bytes, size_t size, size_t index)
{
    for (size_t b = 0; b < size; b++)
        bytes[b] = (unsigned char)(index * 31 + b * 7 + (b >> 8));
}

static size_t natural_alignment(size_t size)
{
    size_t align = 1;
    while (align < 16 && size % (align * 2) == 0)
        align *= 2;
    return align;
}

/* Fills a vector of exactly max_len elements, by push and extend in turn, and reads it back. */
static void fill_exactly(size_t size, size_t align, size_t max_len)
{
    struct cvec *v = NULL;
    struct cvec_options options = {
        .element_size = size, .element_align = align, .max_len = max_len};
    unsigned char *bytes = malloc(size * 2);
    REQUIRE(bytes != NULL);
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
    for (size_t i = 0; i < max_len;) {
        size_t run = i % 3 == 2 && i + 2 <= max_len ? 2 : 1;
        size_t index = SIZE_MAX;
        make_element(bytes, size, i);
        if (run == 2)
            make_element(bytes + size, size, i + 1);
        enum vbuf_status status =
            run == 2 ? cvec_extend(v, bytes, 2, &index) : cvec_push(v, bytes, &index);
        REQUIRE(CHECK_STATUS(VBUF_OK, status));
        REQUIRE(CHECK_EQ(index, i));
        i += run;
        REQUIRE(cvec_capacity(v) >= i && cvec_capacity(v) <= max_len);
    }
    CHECK_STATUS(VBUF_FULL, cvec_push(v, bytes, NULL));
    struct cvec_slice all = cvec_snapshot(v);
    CHECK_EQ(all.count, max_len);
    size_t wanted = align != 0 ? align : natural_alignment(size);
    for (size_t i = 0; i < max_len; i++) {
        unsigned char *element = cvec_get(v, i);
        REQUIRE(element == (const unsigned char *)all.data + i * size);
        REQUIRE((uintptr_t)element % wanted == 0);
        make_element(bytes, size, i);
        REQUIRE(memcmp(element, bytes, size) == 0);
    }
    cvec_destroy(v);
    free(bytes);
}

TEST(cvec_layout, C1_every_element_size_and_exact_fit)
{
    const size_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 12, 16, 24, 32, 48, 100, 4095, 4096, 4097, 10000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t lens[] = {1, 2, 3, 4096 / sizes[i], 4096 / sizes[i] + 1, 5000 / sizes[i] + 9};
        for (size_t k = 0; k < sizeof lens / sizeof *lens; k++) {
            if (lens[k] != 0)
                fill_exactly(sizes[i], 0, lens[k]);
        }
    }
}

TEST(cvec_layout, the_largest_element)
{
    fill_exactly((size_t)1 << 20, 0, 5);
    fill_exactly((size_t)1 << 20, 4096, 3);
    fill_exactly(((size_t)1 << 20) - 1, 1, 3);
}

TEST(cvec_layout, every_alignment_up_to_the_page)
{
    for (size_t align = 1; align <= vmem_page_size(); align *= 2) {
        fill_exactly(align, align, 33);
        fill_exactly(3 * align, align, 17);
    }
}

TEST(cvec_layout, readiness_bytes_cross_pages_too)
{
    fill_exactly(1, 0, 3 * 4096 - 1); /* as many readiness bytes as element bytes */
    fill_exactly(1, 0, 3 * 4096);
    fill_exactly(1, 0, 3 * 4096 + 1);
    fill_exactly(2, 0, 20000);
}

struct record {
    uint32_t key;
    _Alignas(16) unsigned char bytes[40];
};

CVEC_DEFINE(ids, uint64_t)
CVEC_DEFINE(records, struct record)
CVEC_DEFINE(flags, uint8_t)

TEST(cvec_layout, typed_calls_are_the_untyped_ones)
{
    struct ids v;
    size_t index = SIZE_MAX;
    REQUIRE(CHECK_STATUS(VBUF_OK, ids_create(&v, NULL))); /* options may be NULL */
    CHECK_EQ(v.vector->element_size, sizeof(uint64_t));
    CHECK(ids_get(&v, 0) == NULL);
    for (uint64_t i = 0; i < 5000; i++) {
        REQUIRE(CHECK_STATUS(VBUF_OK, ids_push(&v, i * 3, &index)));
        REQUIRE(index == i);
        REQUIRE(*ids_get(&v, i) == i * 3);
    }
    const uint64_t more[] = {1, 2, 3};
    CHECK_STATUS(VBUF_OK, ids_extend(&v, more, 3, &index));
    CHECK_EQ(index, 5000);
    CHECK_STATUS(VBUF_OK, ids_push(&v, 9, NULL));
    CHECK_EQ(ids_len(&v), 5004);
    struct ids_slice all = ids_snapshot(&v);
    CHECK_EQ(all.count, 5004);
    CHECK_EQ(all.data[4999], 4999 * 3);
    CHECK_EQ(all.data[5002], 3);
    CHECK(ids_get(&v, 5003) == all.data + 5003); /* below the watermark */
    CHECK(ids_get(&v, 5004) == NULL);
    CHECK(ids_get(&v, SIZE_MAX) == NULL);
    CHECK_STATUS(VBUF_OK, ids_reserve(&v, 100000));
    CHECK(cvec_capacity(v.vector) >= 100000);
    ids_destroy(&v);
    CHECK(v.vector == NULL);
    ids_destroy(&v);
}

TEST(cvec_layout, typed_options_are_taken_but_for_size_and_alignment)
{
    struct records v;
    struct cvec_options options = {
        .element_size = 1, .element_align = 1, .max_len = 10, .initial_capacity = 4};
    REQUIRE(CHECK_STATUS(VBUF_OK, records_create(&v, &options)));
    CHECK_EQ(v.vector->element_size, sizeof(struct record));
    CHECK_EQ(cvec_max_len(v.vector), 10);
    CHECK(cvec_capacity(v.vector) >= 4);
    for (uint32_t i = 0; i < 10; i++) {
        struct record r = {.key = i};
        memset(r.bytes, (int)i, sizeof r.bytes);
        CHECK_STATUS(VBUF_OK, records_push(&v, r, NULL));
        CHECK_EQ((uintptr_t)records_get(&v, i) % _Alignof(struct record), 0);
    }
    CHECK_STATUS(VBUF_FULL, records_push(&v, (struct record){.key = 11}, NULL));
    CHECK_STATUS(VBUF_FULL, records_extend(&v, records_get(&v, 0), 1, NULL));
    CHECK_STATUS(VBUF_FULL, records_reserve(&v, 11));
    CHECK_EQ(records_len(&v), 10);
    CHECK(records_snapshot(&v).data == records_get(&v, 0));
    for (uint32_t i = 0; i < 10; i++) {
        CHECK_EQ(records_get(&v, i)->key, i);
        CHECK_EQ(records_get(&v, i)->bytes[39], i);
    }
    records_destroy(&v);
    CHECK_STATUS(VBUF_INVALID, records_create(&v, &(struct cvec_options){.max_len = SIZE_MAX}));
}

TEST(cvec_layout, a_got_element_may_be_changed_in_place)
{
    struct flags v;
    REQUIRE(CHECK_STATUS(VBUF_OK, flags_create(&v, NULL)));
    CHECK_STATUS(VBUF_OK, flags_reserve(&v, 3));
    CHECK_STATUS(VBUF_OK, flags_push(&v, 1, NULL));
    CHECK_STATUS(VBUF_OK, flags_extend(&v, (const uint8_t[]){2, 3}, 2, NULL));
    *flags_get(&v, 0) = 7;
    CHECK_EQ(*flags_get(&v, 0), 7);
    CHECK_EQ(flags_snapshot(&v).data[0], 7);
    CHECK_EQ(flags_len(&v), 3);
    flags_destroy(&v);
}
