/*
 * vbuf_test.c - the single-owner buffer: init, growth in place, limits, commit and decommit, fork.
 *
 * The calls on bytes are in vbuf_bytes_test.c, options in vbuf_options_test.c, refusals of memory in
 * vbuf_fault_test.c, giving it back in vbuf_shrink_test.c, and every call against a plain model in
 * vbuf_model_test.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vbuf.h"

#include <errno.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "proc.h"
#include "team.h"
#include "vbuf_books.h"

static struct vbuf make(size_t max)
{
    return make_vbuf((struct vbuf_options){.max = max});
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
    if (running_plain())
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
    CHECK(growths <= 16); /* doubling, from a page */
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

TEST(vbuf, commit_two_is_invalid_iff_one_of_the_ranges_leaves)
{
    size_t page = vmem_page_size();
    struct books books;
    struct vbuf b = make_vbuf(with_books((struct vbuf_options){.max = 8 * page}, &books));
    size_t size = b.memory.size;
    const size_t offsets[] = {size + 1, size, SIZE_MAX, 1, 0};
    const size_t lengths[] = {0, 1, 1, SIZE_MAX, size + 1};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        CHECK_STATUS(VBUF_INVALID, vbuf_commit_two(&b, offsets[i], lengths[i], 0, page));
        CHECK_STATUS(VBUF_INVALID, vbuf_commit_two(&b, 0, page, offsets[i], lengths[i]));
    }
    CHECK_EQ(books.asked, 0);
    CHECK(!proc_is_readable(b.data)); /* not even the valid one */
    CHECK_STATUS(VBUF_OK, vbuf_commit_two(&b, size, 0, size, 0));
    CHECK_EQ(books.asked, 0); /* of no bytes */
    CHECK_STATUS(VBUF_OK, vbuf_commit_two(&b, page - 1, 2, 5 * page, 1));
    CHECK_EQ(books.asked, 1); /* once for both */
    CHECK_EQ(books.question, 3 * page);
    const unsigned char there[] = {1, 1, 0, 0, 0, 1, 0, 0};
    for (size_t i = 0; i < sizeof there; i++)
        CHECK_EQ(proc_is_readable(b.data + i * page), there[i]);
    CHECK_EQ(b.len + b.capacity, 0);
    books.balance = 0; /* destroy does not know of these */
    vbuf_destroy(&b);
}

TEST(vbuf, decommit_is_invalid_iff_the_range_leaves_or_begins_below_the_capacity)
{
    size_t page = vmem_page_size();
    struct books books;
    struct vbuf b =
        make_vbuf(with_books((struct vbuf_options){.max = 8 * page, .initial = page}, &books));
    CHECK_STATUS(VBUF_OK, vbuf_commit(&b, 2 * page, 4 * page));
    CHECK_STATUS(VBUF_INVALID, vbuf_decommit(&b, page - 1, page));
    CHECK_STATUS(VBUF_INVALID, vbuf_decommit(&b, 0, 0));
    CHECK_STATUS(VBUF_INVALID, vbuf_decommit(&b, page, 7 * page + 1));
    CHECK_STATUS(VBUF_INVALID, vbuf_decommit(&b, 8 * page + 1, 0));
    CHECK_STATUS(VBUF_INVALID, vbuf_decommit(&b, 2 * page, SIZE_MAX));
    CHECK_STATUS(VBUF_INVALID, vbuf_decommit(&b, SIZE_MAX, 2 * page));
    CHECK_STATUS(VBUF_OK, vbuf_decommit(&b, 8 * page, 0));
    CHECK_STATUS(VBUF_OK, vbuf_decommit(&b, 2 * page + 1, 2 * page - 2)); /* no whole page */
    CHECK_EQ(books.told, 0);
    CHECK_STATUS(VBUF_OK, vbuf_decommit(&b, 2 * page + 1, 3 * page - 1));
    CHECK_EQ(books.told, 1);
    CHECK_EQ(books.answer, 2 * page);
    const unsigned char there[] = {1, 0, 1, 0, 0, 1, 0, 0};
    for (size_t i = 0; i < sizeof there; i++)
        CHECK_EQ(proc_is_readable(b.data + i * page), there[i]);
    CHECK_STATUS(VBUF_OK, vbuf_decommit(&b, 2 * page, page));
    CHECK_STATUS(VBUF_OK, vbuf_decommit(&b, 5 * page, page));
    CHECK_EQ(books.balance, page);
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
}

/* ---- prefault ---- */

TEST(vbuf, prefault_backs_header_and_capacity)
{
    struct vbuf b = make_vbuf((struct vbuf_options){
        .max = 4 * MIB, .header = 5000, .initial = MIB, .huge_pages = VMEM_HUGE_PAGES_OFF});
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, "abc", 3));
    CHECK(resident_bytes(&b) <= vmem_page_size() || running_in_valgrind());
    CHECK_STATUS(VBUF_OK, vbuf_prefault(&b));
    CHECK(resident_bytes(&b) == pages_held(&b) || running_in_valgrind());
    CHECK(is_sound(&b) && b.len == 3 && memcmp(b.data, "abc", 3) == 0);
    long faults = proc_minor_faults();
    faults = proc_minor_faults(); /* twice: the first call may fault itself */
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
    memset(b.data, 1, MIB);
    memset(vbuf_header(&b), 1, 5000);
    if (running_plain())
        CHECK(proc_minor_faults() - faults <= 4);
    vbuf_destroy(&b);
}

TEST(vbuf, prefault_is_nomem_iff_the_system_has_no_memory)
{
    struct vbuf b = make(MIB);
    CHECK_STATUS(VBUF_OK, vbuf_prefault(&b)); /* nothing is committed */
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 10000));
    if (vmem_caps().populate) {
        fault_clear();
        fault_fail_at(FAULT_MADVISE, 1, ENOMEM);
        CHECK_STATUS(VBUF_NOMEM, vbuf_prefault(&b));
        CHECK_EQ(errno, ENOMEM);
        fault_clear();
    }
    CHECK_STATUS(VBUF_OK, vbuf_prefault(&b));
    are_all(&b, 0, 10000, 0);
    vbuf_destroy(&b);
}

/* ---- fork ---- */

static struct vbuf inherited;

static void use_inherited(void)
{
    are_all(&inherited, 0, 10000, 'p');
    memset(inherited.data, 'c', 10000);
    CHECK_STATUS(VBUF_OK, vbuf_resize(&inherited, MIB));
    memset(inherited.data, 'c', MIB);
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&inherited, 10));
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(&inherited));
    are_all(&inherited, 0, 10, 'c');
    vbuf_destroy(&inherited);
}

TEST(vbuf, after_fork_the_child_has_a_copy_of_its_own)
{
    inherited = make(MIB);
    CHECK_STATUS(VBUF_OK, vbuf_resize(&inherited, 10000));
    memset(inherited.data, 'p', 10000);
    size_t capacity = inherited.capacity;
    proc_in_child(use_inherited);
    CHECK_EQ(inherited.len, 10000);
    CHECK_EQ(inherited.capacity, capacity);
    are_all(&inherited, 0, 10000, 'p');
    CHECK_STATUS(VBUF_OK, vbuf_resize(&inherited, 50000));
    are_all(&inherited, 10000, 50000, 0);
    vbuf_destroy(&inherited);
}
