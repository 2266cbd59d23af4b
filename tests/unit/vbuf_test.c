/*
 * vbuf_test.c - the single-owner buffer: arguments, growth in place, limits, against a plain model.
 * Refusals of memory are in vbuf_fault_test.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vbuf.h"

#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "proc.h"
#include "team.h"

#define MIB ((size_t)1 << 20)

static struct vbuf make(size_t max)
{
    struct vbuf b;
    memset(&b, 0, sizeof b);
    CHECK_STATUS(VBUF_OK, vbuf_init(&b, &(struct vbuf_options){.max = max}));
    return b;
}

TEST(vbuf, init_reserves_and_commits_nothing)
{
    uint64_t before = proc_virtual_size();
    struct vbuf b = make(10 * MIB + 5);
    CHECK(b.data != NULL);
    CHECK_EQ((uintptr_t)b.data % vmem_page_size(), 0);
    CHECK_EQ(b.len, 0);
    CHECK_EQ(b.capacity, 0);
    CHECK_EQ(b.max, 10 * MIB + 5);
    CHECK(b.memory.size >= b.max);
    CHECK(!proc_is_readable(b.data));
    vbuf_destroy(&b);
    if (BUILD_PLAIN)
        CHECK_EQ(proc_virtual_size(), before);
}

TEST(vbuf, init_is_invalid_iff_an_argument_is)
{
    struct vbuf b = {.len = 77};
    struct vbuf_options options = {.max = MIB};
    CHECK_STATUS(VBUF_INVALID, vbuf_init(NULL, &options));
    CHECK_STATUS(VBUF_INVALID, vbuf_init(&b, NULL));
    CHECK_STATUS(VBUF_INVALID, vbuf_init(&b, &(struct vbuf_options){.max = 0}));
    CHECK_STATUS(VBUF_INVALID, vbuf_init(&b, &(struct vbuf_options){.max = 1, .alignment = 3}));
    CHECK_STATUS(VBUF_INVALID, vbuf_init(&b, &(struct vbuf_options){.max = 1, .alignment = 4097}));
    CHECK_STATUS(VBUF_NOMEM, vbuf_init(&b, &(struct vbuf_options){.max = SIZE_MAX / 4}));
    CHECK_EQ(b.len, 77);
    CHECK_STATUS(VBUF_OK, vbuf_init(&b, &(struct vbuf_options){.max = 1}));
    CHECK_EQ(b.len, 0);
    vbuf_destroy(&b);
}

TEST(vbuf, init_aligns_the_base)
{
    for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 4) {
        struct vbuf_options options = {.max = MIB, .alignment = alignment};
        struct vbuf b;
        REQUIRE(CHECK_STATUS(VBUF_OK, vbuf_init(&b, &options)));
        CHECK_EQ((uintptr_t)b.data % alignment, 0);
        CHECK_EQ((uintptr_t)b.data % vmem_page_size(), 0);
        vbuf_destroy(&b);
    }
}

TEST(vbuf, destroy_of_a_zeroed_struct_and_twice)
{
    struct vbuf b;
    memset(&b, 0, sizeof b);
    vbuf_destroy(&b);
    b = make(MIB);
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, "x", 1));
    vbuf_destroy(&b);
    CHECK(b.data == NULL);
    CHECK_EQ(b.len, 0);
    CHECK_EQ(b.capacity, 0);
    vbuf_destroy(&b);
}

TEST(vbuf, data_never_moves_and_content_stays)
{
    struct vbuf b = make(64 * MIB);
    unsigned char *data = b.data;
    unsigned char chunk[1000];
    size_t growths = 0, capacity = 0;
    for (size_t i = 0; b.len + sizeof chunk <= b.max; i++) {
        memset(chunk, (int)(i % 255), sizeof chunk);
        REQUIRE(CHECK_STATUS(VBUF_OK, vbuf_append(&b, chunk, sizeof chunk)));
        REQUIRE(b.data == data);
        growths += b.capacity != capacity;
        capacity = b.capacity;
    }
    CHECK(growths <= 32); /* at least doubling */
    for (size_t i = 0; i < b.len; i += 500)
        REQUIRE(data[i] == i / sizeof chunk % 255);
    vbuf_destroy(&b);
}

TEST(vbuf, reserve_is_full_iff_above_max)
{
    size_t max = 3 * vmem_page_size() + 100; /* a page has room for more */
    struct vbuf b = make(max);
    CHECK_STATUS(VBUF_FULL, vbuf_reserve(&b, max + 1));
    CHECK_STATUS(VBUF_FULL, vbuf_reserve(&b, SIZE_MAX));
    CHECK_EQ(b.capacity, 0);
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, 0));
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, 1));
    CHECK(b.capacity >= 1);
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, max));
    CHECK_EQ(b.capacity, max);                   /* never above max */
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, 10)); /* never shrinks */
    CHECK_EQ(b.capacity, max);
    CHECK_EQ(b.len, 0);
    CHECK_STATUS(VBUF_FULL, vbuf_reserve(&b, max + 1));
    vbuf_destroy(&b);
}

static size_t hook_calls;

static bool count_calls(void *context, size_t bytes)
{
    (void)context;
    (void)bytes;
    hook_calls++;
    return true;
}

TEST(vbuf, reserve_spares_further_commits)
{
    struct vbuf b;
    struct vbuf_options options = {.max = 16 * MIB, .on_commit = count_calls};
    REQUIRE(CHECK_STATUS(VBUF_OK, vbuf_init(&b, &options)));
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, MIB + 1));
    CHECK(b.capacity >= MIB + 1);
    hook_calls = 0;
    for (size_t i = 0; i < MIB; i += 16)
        CHECK_STATUS(VBUF_OK, vbuf_append(&b, "0123456789abcdef", 16));
    CHECK_EQ(hook_calls, 0);
    vbuf_destroy(&b);
}

TEST(vbuf, resize_sets_len_and_zeroes_what_is_new)
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
    CHECK_EQ(b.capacity, capacity); /* shrinking gives no memory back */
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

TEST(vbuf, append_is_invalid_iff_null_with_a_size)
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

TEST(vbuf, append_is_full_iff_it_does_not_fit)
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

TEST(vbuf, commit_is_invalid_iff_the_range_leaves_the_reservation)
{
    struct vbuf b = make(5 * vmem_page_size() - 1);
    size_t size = b.memory.size;
    CHECK_STATUS(VBUF_INVALID, vbuf_commit(&b, 0, size + 1));
    CHECK_STATUS(VBUF_INVALID, vbuf_commit(&b, size, 1));
    CHECK_STATUS(VBUF_INVALID, vbuf_commit(&b, size + 1, 0));
    CHECK_STATUS(VBUF_INVALID, vbuf_commit(&b, SIZE_MAX, 1));
    CHECK_STATUS(VBUF_INVALID, vbuf_commit(&b, 1, SIZE_MAX));
    CHECK_STATUS(VBUF_OK, vbuf_commit(&b, size, 0));
    CHECK_STATUS(VBUF_OK, vbuf_commit(&b, size - 1, 1));
    CHECK_STATUS(VBUF_OK, vbuf_commit(&b, 0, size));
    memset(b.data, 5, size);
    CHECK_STATUS(VBUF_OK, vbuf_commit(&b, 0, size)); /* idempotent */
    CHECK_EQ(b.data[size - 1], 5);
    CHECK_EQ(b.len, 0);
    CHECK_EQ(b.capacity, 0);
    vbuf_destroy(&b);
}

static void commit_and_write(void *context, unsigned index)
{
    struct vbuf *b = context;
    size_t page = vmem_page_size();
    for (size_t p = 0; p < 128; p++) {
        CHECK_STATUS(VBUF_OK, vbuf_commit(b, p * page, (p % 5 + 1) * page));
        b->data[p * page + index] = (unsigned char)(index + 1);
    }
}

TEST(vbuf, commit_is_thread_safe_and_idempotent)
{
    struct vbuf b = make(256 * vmem_page_size());
    team_run(4, commit_and_write, &b);
    for (size_t p = 0; p < 128; p++) {
        for (size_t t = 0; t < 4; t++)
            REQUIRE(b.data[p * vmem_page_size() + t] == t + 1);
    }
    vbuf_destroy(&b);
}

/* The model: a malloced array as long as the buffer may become, and a length. */
struct model {
    struct vbuf buffer;
    unsigned char *bytes;
    size_t len;
    size_t max;
    struct check_rng rng;
};

static void append_some(struct model *m)
{
    unsigned char chunk[512];
    size_t size = check_rng_next(&m->rng) % sizeof chunk;
    for (size_t i = 0; i < size; i++)
        chunk[i] = (unsigned char)check_rng_next(&m->rng);
    bool fits = size <= m->max - m->len;
    CHECK_STATUS(fits ? VBUF_OK : VBUF_FULL, vbuf_append(&m->buffer, chunk, size));
    if (fits) {
        memcpy(m->bytes + m->len, chunk, size);
        m->len += size;
    }
}

static void resize_somewhere(struct model *m)
{
    uint64_t kind = check_rng_next(&m->rng) % 4;
    size_t to = kind == 0 ? check_rng_next(&m->rng) % (m->max + 2000) : m->len / 2;
    CHECK_STATUS(to <= m->max ? VBUF_OK : VBUF_FULL, vbuf_resize(&m->buffer, to));
    if (to > m->max)
        return;
    if (to > m->len)
        memset(m->bytes + m->len, 0, to - m->len);
    m->len = to;
}

static void reserve_somewhere(struct model *m)
{
    size_t capacity = check_rng_next(&m->rng) % (m->max + 2000);
    CHECK_STATUS(capacity <= m->max ? VBUF_OK : VBUF_FULL, vbuf_reserve(&m->buffer, capacity));
}

static void play(struct model *m, int operations)
{
    for (int i = 0; i < operations && check_failures() == 0; i++) {
        uint64_t kind = check_rng_next(&m->rng) % 100;
        if (kind < 90)
            append_some(m);
        else if (kind < 97)
            resize_somewhere(m);
        else
            reserve_somewhere(m);
        CHECK_EQ(m->buffer.len, m->len);
        CHECK(m->buffer.capacity >= m->len && m->buffer.capacity <= m->max);
        if (i % 64 == 0)
            CHECK(memcmp(m->buffer.data, m->bytes, m->len) == 0);
    }
}

TEST(vbuf, agrees_with_a_plain_model)
{
    struct model m = {.max = 100003, .rng = {check_seed()}};
    m.buffer = make(m.max);
    m.bytes = calloc(1, m.max);
    REQUIRE(m.bytes != NULL);
    play(&m, 100000);
    CHECK(memcmp(m.buffer.data, m.bytes, m.len) == 0);
    vbuf_destroy(&m.buffer);
    free(m.bytes);
}
