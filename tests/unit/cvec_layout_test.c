/*
 * cvec_layout_test.c - element sizes and alignments, exact fits, headers, elements of no bytes. The typed
 * form is in cvec_typed_test.c.
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
        REQUIRE((uintptr_t)element % wanted == 0 || (i != 0 && size % wanted != 0));
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

TEST(cvec_layout, every_alignment_up_to_the_largest_element)
{
    for (size_t align = 1; align <= CVEC_MAX_ELEMENT_SIZE; align *= 2) {
        fill_exactly(align, align, align < 65536 ? 33 : 5);
        if (align <= CVEC_MAX_ELEMENT_SIZE / 4)
            fill_exactly(3 * align, align, align < 65536 ? 17 : 3);
    }
}

/* Element 0 is aligned as asked, whatever the size; see the condition in fill_exactly. */
TEST(cvec_layout, alignments_that_do_not_divide_the_size)
{
    for (size_t align = 1; align <= CVEC_MAX_ALIGNMENT; align *= 2) {
        fill_exactly(1, align, 5000);
        fill_exactly(12, align, 1000);
        fill_exactly(5000, align, 7);
    }
    fill_exactly(CVEC_MAX_ELEMENT_SIZE, CVEC_MAX_ALIGNMENT, 3);
}

TEST(cvec_layout, readiness_bytes_cross_pages_too)
{
    fill_exactly(1, 0, 3 * 4096 - 1); /* as many readiness bytes as element bytes */
    fill_exactly(1, 0, 3 * 4096);
    fill_exactly(1, 0, 3 * 4096 + 1);
    fill_exactly(2, 0, 20000);
}

/* ---- elements of no bytes ---- */

static void count_nothings(size_t align)
{
    struct cvec *v = NULL;
    struct cvec_options options = {.element_align = align, .max_len = 20000};
    size_t index = SIZE_MAX;
    void *slots = NULL;
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
    CHECK(cvec_get(v, 0) == NULL);
    for (size_t i = 0; i < 10000; i++) {
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_push(v, "", &index)));
        REQUIRE(index == i && cvec_get(v, i) == v->elements && cvec_get(v, i + 1) == NULL);
    }
    CHECK_EQ((uintptr_t)v->elements % (align != 0 ? align : 1), 0);
    CHECK_STATUS(VBUF_INVALID, cvec_push(v, NULL, NULL));
    CHECK_STATUS(VBUF_OK, cvec_extend(v, "", 5000, &index));
    CHECK_EQ(index, 10000);
    CHECK_STATUS(VBUF_OK, cvec_claim(v, 5000, &index, &slots));
    CHECK_EQ(cvec_len(v), 15000);
    CHECK_STATUS(VBUF_OK, cvec_publish(v, index, 5000));
    CHECK_EQ(cvec_len(v), 20000);
    CHECK(cvec_snapshot(v).data == v->elements);
    CHECK_STATUS(VBUF_FULL, cvec_push(v, "", NULL));
    CHECK_STATUS(VBUF_FULL, cvec_extend(v, "", SIZE_MAX, NULL));
    CHECK_STATUS(VBUF_OK, cvec_truncate(v, 100));
    CHECK_EQ(cvec_len(v), 100);
    CHECK_STATUS(VBUF_OK, cvec_shrink_to_fit(v));
    CHECK_STATUS(VBUF_OK, cvec_push_exclusive(v, "", &index));
    CHECK_EQ(index, 100);
    cvec_destroy(v);
}

TEST(cvec_layout, elements_of_no_bytes_are_counted)
{
    count_nothings(0);
    for (size_t align = 1; align <= CVEC_MAX_ALIGNMENT; align *= 2)
        count_nothings(align);
}

/* ---- headers ---- */

/* Every byte of the header is the user's: filling the vector changes none, and the other way round. */
static void use_header(size_t header_size, size_t size, size_t max_len)
{
    struct cvec *v = NULL;
    struct cvec_options options = {
        .element_size = size, .max_len = max_len, .header = header_size, .initial_capacity = 1};
    unsigned char element[64] = {0};
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
    unsigned char *header = cvec_header(v);
    REQUIRE(header != NULL && (uintptr_t)header % 64 == 0);
    for (size_t i = 0; i < header_size; i++)
        REQUIRE(header[i] == 0);
    memset(header, 0xAB, header_size);
    for (size_t i = 0; i < max_len; i++) {
        make_element(element, size, i);
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_push(v, element, NULL)));
    }
    CHECK(cvec_header(v) == header);
    for (size_t i = 0; i < header_size; i++)
        REQUIRE(header[i] == 0xAB);
    memset(header, 0xCD, header_size);
    CHECK_EQ(cvec_len(v), max_len); /* the vector's own words are elsewhere */
    CHECK_EQ(cvec_max_len(v), max_len);
    CHECK_STATUS(VBUF_FULL, cvec_push(v, element, NULL));
    for (size_t i = 0; i < max_len; i++) {
        make_element(element, size, i);
        REQUIRE(memcmp(cvec_get(v, i), element, size) == 0);
    }
    CHECK_STATUS(VBUF_OK, cvec_truncate(v, 1));
    CHECK_STATUS(VBUF_OK, cvec_shrink_to_fit(v));
    for (size_t i = 0; i < header_size; i++)
        REQUIRE(header[i] == 0xCD);
    CHECK_STATUS(VBUF_OK, cvec_reserve(v, max_len));
    CHECK_EQ(cvec_len(v), 1);
    cvec_destroy(v);
}

TEST(cvec_layout, headers_are_zeroed_aligned_and_the_users_own)
{
    const size_t sizes[] = {1, 7, 63, 64, 65, 1000, 4095, 4096, 4097, 12288, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        use_header(sizes[i], 1, 4096 * 3);
        use_header(sizes[i], 8, 1);
        use_header(sizes[i], 24, 10000);
        use_header(sizes[i], 64, 4096);
    }
}

TEST(cvec_layout, header_is_null_iff_there_is_none)
{
    struct cvec *v = NULL;
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &(struct cvec_options){.element_size = 8})));
    CHECK(cvec_header(v) == NULL);
    cvec_destroy(v);
    struct cvec_options options = {.element_size = 8, .header = 1};
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
    CHECK(cvec_header(v) != NULL);
    cvec_destroy(v);
}

/* A run of `count` elements of `size` bytes behind a lead of one; every byte and readiness is right. */
static void extend_by(size_t size, size_t count)
{
    struct cvec *v = NULL;
    struct cvec_options options = {.element_size = size, .max_len = count + 2};
    unsigned char *run = malloc((count + 1) * size);
    REQUIRE(run != NULL);
    for (size_t i = 0; i <= count; i++)
        make_element(run + i * size, size, i);
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
    size_t first = SIZE_MAX;
    CHECK_STATUS(VBUF_OK, cvec_push(v, run, NULL));
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_extend(v, run + size, count, &first)));
    CHECK_EQ(first, 1);
    for (size_t i = 0; i <= count; i++)
        REQUIRE(cvec_get(v, i) != NULL); /* by its own byte: the watermark has not moved */
    CHECK(cvec_get(v, count + 1) == NULL);
    struct cvec_slice all = cvec_snapshot(v);
    CHECK_EQ(all.count, count + 1);
    CHECK(memcmp(all.data, run, (count + 1) * size) == 0);
    cvec_destroy(v);
    free(run);
}

/* Runs are copied in pieces, and published eight elements at a time: no length may be special. */
TEST(cvec_layout, C2_runs_of_every_length_come_in_whole)
{
    const size_t sizes[] = {1, 3, 8, 24, 1000, 1023, 1024, 1025, 5000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t count = 1; count <= 40; count++)
            extend_by(sizes[s], count);
        for (size_t bytes = 1024; bytes <= (size_t)512 << 10; bytes *= 2) {
            extend_by(sizes[s], bytes / sizes[s]);
            extend_by(sizes[s], bytes / sizes[s] + 1);
        }
    }
}
