/*
 * vbuf_bytes_test.c - what resize, append, insert, remove and truncate do to the bytes, when they are
 * refused for their arguments, and that what is new always reads as zero.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "vbuf/vbuf.h"
#include "vbuf_books.h"

static struct vbuf make(size_t max)
{
    return make_vbuf((struct vbuf_options){.max = max});
}

/* A buffer that holds the bytes of `text`. */
static struct vbuf make_text(const char *text)
{
    struct vbuf b = make(MIB);
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, text, strlen(text)));
    return b;
}

static bool holds_text(const struct vbuf *b, const char *text)
{
    return CHECK_EQ(b->len, strlen(text)) && CHECK(memcmp(b->data, text, b->len) == 0);
}

TEST(vbuf_bytes, resize_sets_len_and_zeroes_what_is_new)
{
    struct vbuf b = make(MIB);
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 10000));
    CHECK_EQ(b.len, 10000);
    for (size_t i = 0; i < 10000; i++)
        REQUIRE(b.data[i] == 0); /* never used before */
    memset(b.data, 9, 10000);
    size_t capacity = b.capacity;
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 100));
    CHECK_EQ(b.len, 100);
    CHECK_EQ(b.capacity, capacity); /* too little to give back */
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 20000));
    for (size_t i = 0; i < 20000; i++)
        REQUIRE(b.data[i] == (i < 100 ? 9 : 0));
    CHECK_STATUS(VBUF_FULL, vbuf_resize(&b, MIB + 1));
    CHECK_EQ(b.len, 20000);
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 0));
    CHECK_EQ(b.len, 0);
    vbuf_destroy(&b);
}

TEST(vbuf_bytes, append_is_invalid_iff_null_with_a_size)
{
    struct vbuf b = make(MIB);
    CHECK_STATUS(VBUF_INVALID, vbuf_append(&b, NULL, 1));
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, NULL, 0));
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, "x", 0));
    CHECK_EQ(b.len, 0);
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, "abc", 3));
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, NULL, 0));
    CHECK_EQ(b.len, 3);
    vbuf_destroy(&b);
}

TEST(vbuf_bytes, append_is_full_iff_it_does_not_fit)
{
    struct vbuf b = make(10);
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, "0123456", 7));
    CHECK_STATUS(VBUF_FULL, vbuf_append(&b, "abcd", 4));
    CHECK_STATUS(VBUF_FULL, vbuf_append(&b, "abcd", SIZE_MAX));
    CHECK_STATUS(VBUF_FULL, vbuf_append(&b, "abcd", SIZE_MAX - 6)); /* len + size wraps to 0 */
    CHECK_EQ(b.len, 7);
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, "789", 3)); /* exactly */
    CHECK_STATUS(VBUF_FULL, vbuf_append(&b, "x", 1));
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, NULL, 0));
    CHECK(memcmp(b.data, "0123456789", 10) == 0);
    vbuf_destroy(&b);
}

TEST(vbuf_bytes, append_takes_bytes_of_the_buffer_itself)
{
    struct vbuf b = make_text("abc");
    while (b.len <= 3 * vmem_page_size()) {
        size_t len = b.len;
        REQUIRE(CHECK_STATUS(VBUF_OK, vbuf_append(&b, b.data, len)));
        REQUIRE(CHECK_EQ(b.len, 2 * len));
    }
    for (size_t i = 0; i < b.len; i++)
        REQUIRE(b.data[i] == "abc"[i % 3]);
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, b.data + b.len - 1, 1)); /* the last one */
    CHECK_EQ(b.data[b.len - 1], 'c');
    vbuf_destroy(&b);
}

TEST(vbuf_bytes, insert_at_both_ends_and_in_the_middle)
{
    struct vbuf b = make_text("");
    CHECK_STATUS(VBUF_OK, vbuf_insert(&b, 0, "ad", 2));
    CHECK_STATUS(VBUF_OK, vbuf_insert(&b, 1, "bc", 2));
    CHECK_STATUS(VBUF_OK, vbuf_insert(&b, 4, "ef", 2));
    CHECK_STATUS(VBUF_OK, vbuf_insert(&b, 0, "01", 2));
    CHECK_STATUS(VBUF_OK, vbuf_insert(&b, 3, NULL, 0));
    CHECK_STATUS(VBUF_OK, vbuf_insert(&b, 8, "", 0));
    holds_text(&b, "01abcdef");
    size_t page = vmem_page_size();
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, page - 1));
    CHECK_STATUS(VBUF_OK, vbuf_insert(&b, 0, "xy", 2)); /* over the end of a page */
    CHECK_EQ(b.len, page + 1);
    CHECK(memcmp(b.data, "xy01abcdef", 10) == 0);
    are_all(&b, 10, b.len, 0);
    vbuf_destroy(&b);
}

TEST(vbuf_bytes, insert_is_invalid_iff_beyond_len_or_null_with_a_size)
{
    struct vbuf b = make_text("abc");
    CHECK_STATUS(VBUF_INVALID, vbuf_insert(&b, 4, "x", 1));
    CHECK_STATUS(VBUF_INVALID, vbuf_insert(&b, 4, "x", 0));
    CHECK_STATUS(VBUF_INVALID, vbuf_insert(&b, SIZE_MAX, "x", 1));
    CHECK_STATUS(VBUF_INVALID, vbuf_insert(&b, 0, NULL, 1));
    CHECK_STATUS(VBUF_INVALID, vbuf_insert(&b, 3, NULL, SIZE_MAX));
    holds_text(&b, "abc");
    CHECK_STATUS(VBUF_OK, vbuf_insert(&b, 3, "d", 1));
    holds_text(&b, "abcd");
    vbuf_destroy(&b);
}

TEST(vbuf_bytes, insert_is_full_iff_it_does_not_fit)
{
    struct vbuf b = make(8);
    CHECK_STATUS(VBUF_OK, vbuf_insert(&b, 0, "abcdef", 6));
    CHECK_STATUS(VBUF_FULL, vbuf_insert(&b, 0, "xyz", 3));
    CHECK_STATUS(VBUF_FULL, vbuf_insert(&b, 6, "xyz", SIZE_MAX - 5)); /* len + size wraps to 0 */
    holds_text(&b, "abcdef");
    CHECK_STATUS(VBUF_OK, vbuf_insert(&b, 0, "xy", 2));
    holds_text(&b, "xyabcdef");
    CHECK_STATUS(VBUF_FULL, vbuf_insert(&b, 0, "z", 1));
    CHECK_STATUS(VBUF_OK, vbuf_insert(&b, 0, "z", 0));
    vbuf_destroy(&b);
}

TEST(vbuf_bytes, remove_at_both_ends_and_in_the_middle)
{
    struct vbuf b = make_text("0123456789");
    CHECK_STATUS(VBUF_OK, vbuf_remove(&b, 0, 1));
    holds_text(&b, "123456789");
    CHECK_STATUS(VBUF_OK, vbuf_remove(&b, 3, 3));
    holds_text(&b, "123789");
    CHECK_STATUS(VBUF_OK, vbuf_remove(&b, 4, 2));
    holds_text(&b, "1237");
    CHECK_STATUS(VBUF_OK, vbuf_remove(&b, 4, 0));
    CHECK_STATUS(VBUF_OK, vbuf_remove(&b, 0, 0));
    holds_text(&b, "1237");
    CHECK_STATUS(VBUF_OK, vbuf_remove(&b, 0, 4));
    CHECK_EQ(b.len, 0);
    CHECK_STATUS(VBUF_OK, vbuf_remove(&b, 0, 0));
    vbuf_destroy(&b);
}

TEST(vbuf_bytes, remove_is_invalid_iff_the_range_leaves_len)
{
    struct vbuf b = make_text("abc");
    CHECK_STATUS(VBUF_INVALID, vbuf_remove(&b, 4, 0));
    CHECK_STATUS(VBUF_INVALID, vbuf_remove(&b, 3, 1));
    CHECK_STATUS(VBUF_INVALID, vbuf_remove(&b, 0, 4));
    CHECK_STATUS(VBUF_INVALID, vbuf_remove(&b, 1, SIZE_MAX));
    CHECK_STATUS(VBUF_INVALID, vbuf_remove(&b, SIZE_MAX, 1));
    holds_text(&b, "abc");
    CHECK_STATUS(VBUF_OK, vbuf_remove(&b, 1, 2));
    holds_text(&b, "a");
    vbuf_destroy(&b);
}

TEST(vbuf_bytes, truncate_is_invalid_iff_beyond_len)
{
    struct vbuf b = make_text("abc");
    CHECK_STATUS(VBUF_INVALID, vbuf_truncate(&b, 4));
    CHECK_STATUS(VBUF_INVALID, vbuf_truncate(&b, SIZE_MAX));
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 3));
    holds_text(&b, "abc");
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 1));
    holds_text(&b, "a");
    CHECK_STATUS(VBUF_INVALID, vbuf_truncate(&b, 2)); /* though it was there before */
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 0));
    CHECK_STATUS(VBUF_INVALID, vbuf_truncate(&b, 1));
    vbuf_destroy(&b);
}

/* ---- what is new reads as zero ---- */

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
    CHECK_STATUS(VBUF_OK, vbuf_remove(b, len, b->len - len));
}

static void drop_by_clear(struct vbuf *b, size_t len)
{
    unsigned char *kept = malloc(len + 1);
    REQUIRE(kept != NULL);
    memcpy(kept, b->data, len);
    vbuf_clear(b);
    CHECK_EQ(b->len, 0);
    CHECK_STATUS(VBUF_OK, vbuf_append(b, kept, len));
    free(kept);
}

static void drop_and_shrink(struct vbuf *b, size_t len)
{
    drop_by_truncate(b, len);
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(b));
}

static void drop_and_alloc(struct vbuf *b, size_t len)
{
    drop_by_truncate(b, len / 2);
    size_t mark = vbuf_mark(b);
    unsigned char *memory = vbuf_alloc(b, len, 64);
    REQUIRE(memory != NULL);
    memset(memory, 0x77, len);
    CHECK_STATUS(VBUF_OK, vbuf_rewind(b, mark));
    memory = vbuf_alloc(b, len - len / 2, 1);
    REQUIRE(memory != NULL);
    memset(memory, 0xff, len - len / 2);
}

TEST(vbuf_bytes, resize_zeroes_all_that_is_new_and_only_that)
{
    drop_call *const drops[] = {drop_by_truncate, drop_by_resize,  drop_by_remove,
                                drop_by_clear,    drop_and_shrink, drop_and_alloc};
    const size_t lens[] = {0, 1, 7, 4095, 4096, 4097, 12288, 70000, 131072};
    for (size_t d = 0; d < sizeof drops / sizeof *drops; d++) {
        for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
            struct vbuf b = make(MIB);
            size_t full = 150000, len = lens[i];
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, full));
            are_all(&b, 0, full, 0);
            memset(b.data, 0xff, full);
            drops[d](&b, len);
            REQUIRE(CHECK_EQ(b.len, len));
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, len + 5)); /* in two steps */
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, full + 5000));
            REQUIRE(are_all(&b, 0, len, 0xff));
            REQUIRE(are_all(&b, len, b.len, 0));
            REQUIRE(is_sound(&b));
            vbuf_destroy(&b);
        }
    }
}

TEST(vbuf_bytes, what_was_never_used_is_not_touched_by_zeroing)
{
    size_t size = running_plain() ? 1024 * MIB : 64 * MIB;
    struct vbuf b =
        make_vbuf((struct vbuf_options){.max = 2 * size + 64, .huge_pages = VMEM_HUGE_PAGES_OFF});
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, "x", 1));
    enum vbuf_status status = vbuf_resize(&b, size);
    if (status == VBUF_NOMEM) {
        vbuf_destroy(&b);
        SKIP("the system has too little memory to commit");
    }
    CHECK_STATUS(VBUF_OK, status);
    CHECK(resident_bytes(&b) <= 2 * vmem_page_size());
    CHECK(vbuf_alloc_zeroed(&b, size, 64) != NULL);
    CHECK(resident_bytes(&b) <= 2 * vmem_page_size());
    CHECK_EQ(b.data[size - 1], 0);
    vbuf_destroy(&b);
}

TEST(vbuf_bytes, what_came_back_from_the_system_is_not_touched_by_zeroing)
{
    struct vbuf b = make_vbuf(
        (struct vbuf_options){.max = 16 * MIB, .keep = 1, .huge_pages = VMEM_HUGE_PAGES_OFF});
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 16 * MIB));
    memset(b.data, 1, 16 * MIB);
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 100));
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 16 * MIB));
    CHECK(resident_bytes(&b) <= 4 * vmem_page_size());
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 0));
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(&b));
    CHECK(vbuf_alloc_zeroed(&b, 16 * MIB, 64) != NULL);
    CHECK_EQ(resident_bytes(&b), 0);
    vbuf_destroy(&b);
}
