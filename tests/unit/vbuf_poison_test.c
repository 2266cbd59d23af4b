/*
 * vbuf_poison_test.c - under AddressSanitizer: bytes in use can be reached, the unused tail cannot, after
 * every call; nothing stays poisoned after destroy; an overrun by a byte is found; and what only a
 * buffer points to is no leak. In other builds there is nothing to see but the marks.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "vbuf/vbuf.h"
#include "vbuf_books.h"

#if BUILD_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>

static bool is_poisoned(const unsigned char *address)
{
    return __asan_address_is_poisoned(address) != 0;
}

static bool is_reachable(void *address, size_t size)
{
    return __asan_region_is_poisoned(address, size) == NULL;
}

static bool finds_leaks(void)
{
    return __lsan_do_recoverable_leak_check() != 0;
}
#else
/* So that one text compiles everywhere; never called. */
static bool is_poisoned(const unsigned char *address)
{
    return address == NULL;
}

static bool is_reachable(void *address, size_t size)
{
    return address != NULL && size != 0;
}

static bool finds_leaks(void)
{
    return false;
}
#endif

VBUF_DEFINE(words, uint64_t)

#define ONLY_UNDER_ADDRESS_SANITIZER()                                                             \
    do {                                                                                           \
        if (!BUILD_ADDRESS_SANITIZER)                                                              \
            SKIP("nothing is poisoned in this build");                                             \
    } while (0)

/* The bytes from data to the end of the last committed page. */
static size_t tail_end(const struct vbuf *b)
{
    return vmem_align_up(prefix_of(b) + b->capacity, vmem_page_size()) - prefix_of(b);
}

/* Every byte below len can be reached, and none from len to the end of what is committed. */
static bool is_poisoned_right(const struct vbuf *b)
{
    if (!CHECK(is_reachable(b->data, b->len)) ||
        !CHECK(b->header == 0 || is_reachable(vbuf_header(b), b->header)))
        return false;
    for (size_t i = b->len; i < tail_end(b); i += i < b->len + 24 ? 1 : 8) {
        if (!CHECK(is_poisoned(b->data + i))) {
            CHECK_EQ(i, b->len); /* says where */
            return false;
        }
    }
    return is_sound(b);
}

/* Byte by byte, for few. */
static bool is_poisoned_byte_by_byte(const struct vbuf *b)
{
    for (size_t i = 0; i < tail_end(b); i++) {
        if (!CHECK_EQ(is_poisoned(b->data + i), i >= b->len))
            return false;
    }
    return is_sound(b);
}

static struct vbuf make(size_t max, size_t header)
{
    return make_vbuf((struct vbuf_options){.max = max, .header = header, .keep = 1});
}

/*
 * The marks that the inlined calls go by. Whether the program runs under the sanitizer decides them,
 * not how it was compiled: so programs and libraries compiled with and without it mix.
 */
TEST(vbuf_poison, the_inlined_calls_keep_out_exactly_where_the_tail_is_poisoned)
{
    struct words v = {make(MIB, 0)};
    CHECK(is_sound(&v.bytes));
    CHECK_STATUS(VBUF_OK, words_resize(&v, 4000));
    for (int call = 0; call < 8; call++) {
        const struct vbuf *b = &v.bytes;
        CHECK_EQ(b->limit_, BUILD_ADDRESS_SANITIZER ? b->len : b->capacity);
        CHECK(BUILD_ADDRESS_SANITIZER ? b->low_ > b->len : b->low_ <= b->len);
        CHECK(is_sound(b));
        if (call % 2 == 0)
            CHECK_STATUS(VBUF_OK, words_push(&v, 1));
        else
            CHECK(words_pop(&v, NULL) && words_pop(&v, NULL));
    }
    words_destroy(&v);
}

/* ---- every len ---- */

TEST(vbuf_poison, every_len_by_every_call)
{
    ONLY_UNDER_ADDRESS_SANITIZER();
    const size_t headers[] = {0, 1, 64, 5000};
    for (size_t h = 0; h < 4; h++) {
        struct vbuf b = make(MIB, headers[h]);
        REQUIRE(is_poisoned_byte_by_byte(&b));
        for (size_t len = 0; len <= 200; len++) {
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, len));
            REQUIRE(is_poisoned_byte_by_byte(&b));
            CHECK_STATUS(VBUF_OK, vbuf_append(&b, "0123456789abcdef", len % 17));
            REQUIRE(is_poisoned_right(&b));
            CHECK_STATUS(VBUF_OK, vbuf_insert(&b, len / 2, "0123456", len % 7));
            REQUIRE(is_poisoned_right(&b));
            CHECK_STATUS(VBUF_OK, vbuf_remove(&b, len / 3, len % 5));
            REQUIRE(is_poisoned_right(&b));
            CHECK(vbuf_alloc(&b, len % 31, (size_t)1 << (len % 8)) != NULL);
            REQUIRE(is_poisoned_right(&b));
            CHECK(vbuf_alloc_zeroed(&b, len % 29, (size_t)1 << (len % 6)) != NULL);
            REQUIRE(is_poisoned_right(&b));
            CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, len / 2));
            REQUIRE(is_poisoned_byte_by_byte(&b));
            vbuf_clear(&b);
            REQUIRE(is_poisoned_right(&b));
            if (len % 16 == 0)
                CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(&b));
            REQUIRE(is_poisoned_right(&b));
        }
        vbuf_destroy(&b);
    }
}

TEST(vbuf_poison, about_the_ends_of_pages_and_of_max)
{
    ONLY_UNDER_ADDRESS_SANITIZER();
    size_t page = vmem_page_size();
    for (size_t odd = 0; odd < 16; odd++) {
        for (size_t header = 0; header <= 100; header += 100) {
            struct vbuf b = make(5 * page + odd, header);
            for (size_t near = page; near <= 5 * page; near += page) {
                for (size_t len = near - 9; len <= near + 9 && len <= b.max; len++) {
                    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, len));
                    REQUIRE(is_poisoned_right(&b));
                }
                CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, near / 2));
                REQUIRE(is_poisoned_right(&b));
            }
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, b.max));
            REQUIRE(is_poisoned_right(&b));
            vbuf_destroy(&b);
        }
    }
}

TEST(vbuf_poison, push_and_pop)
{
    ONLY_UNDER_ADDRESS_SANITIZER();
    struct words v = {make(MIB, 0)};
    for (uint64_t i = 0; i < 1100; i++) {
        REQUIRE(CHECK_STATUS(VBUF_OK, words_push(&v, i)));
        REQUIRE(is_poisoned_right(&v.bytes));
    }
    CHECK_STATUS(VBUF_OK, words_swap_remove(&v, 0, NULL));
    CHECK(is_poisoned_right(&v.bytes));
    CHECK_STATUS(VBUF_OK, words_insert(&v, 0, 5));
    CHECK(is_poisoned_right(&v.bytes));
    CHECK(words_add(&v, 3) != NULL);
    CHECK(is_poisoned_right(&v.bytes));
    while (words_pop(&v, NULL))
        REQUIRE(is_poisoned_right(&v.bytes));
    words_destroy(&v);
}

/* ---- capacity ---- */

TEST(vbuf_poison, reserve_shrink_and_prefault)
{
    ONLY_UNDER_ADDRESS_SANITIZER();
    for (size_t header = 0; header <= 5000; header += 1000) {
        struct vbuf b = make_vbuf(
            (struct vbuf_options){.max = MIB, .header = header, .initial = header * 3, .keep = 1});
        REQUIRE(is_poisoned_right(&b));
        CHECK_STATUS(VBUF_OK, vbuf_append(&b, "abc", 3));
        CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, 100000));
        REQUIRE(is_poisoned_right(&b));
        CHECK_STATUS(VBUF_OK, vbuf_prefault(&b));
        REQUIRE(is_poisoned_right(&b));
        CHECK_STATUS(VBUF_OK, vbuf_reserve_exact(&b, 200000));
        REQUIRE(is_poisoned_right(&b));
        CHECK_STATUS(VBUF_OK, vbuf_shrink_to(&b, 50000));
        REQUIRE(is_poisoned_right(&b));
        CHECK(is_reachable(b.data + tail_end(&b), 150000)); /* gone */
        CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 200000));     /* and back */
        REQUIRE(is_poisoned_right(&b));
        CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 3)); /* gives back by itself */
        REQUIRE(is_poisoned_right(&b));
        CHECK(is_reachable(b.data + tail_end(&b), 100000));
        vbuf_destroy(&b);
    }
}

/* For one that keeps a layout of its own: the rest of the header's page is capacity, else poisoned. */
TEST(vbuf_poison, what_was_committed_by_hand_can_be_reached)
{
    const size_t headers[] = {0, 1, 100, 5000};
    for (size_t h = 0; h < 4; h++) {
        for (int two = 0; two <= 1; two++) {
            struct vbuf b = make(MIB, headers[h]);
            if (two)
                CHECK_STATUS(VBUF_OK, vbuf_commit_two(&b, 50000, 3000, 0, 10000));
            else
                CHECK_STATUS(VBUF_OK, vbuf_commit(&b, 0, 10000));
            memset(b.data, 1, 10000);
            if (two)
                memset(b.data + 50000, 1, 3000);
            CHECK_STATUS(VBUF_OK, vbuf_decommit(&b, b.capacity, 100000));
            vbuf_destroy(&b);
        }
    }
}

TEST(vbuf_poison, scopes)
{
    ONLY_UNDER_ADDRESS_SANITIZER();
    struct vbuf b = make(MIB, 0);
    struct vbuf_scope outer, inner;
    CHECK(vbuf_alloc(&b, 13, 1) != NULL);
    vbuf_scope_begin(&b, &outer);
    CHECK(vbuf_alloc(&b, 100000, 32) != NULL);
    vbuf_scope_begin(&b, &inner);
    CHECK(vbuf_alloc(&b, 11, 4096) != NULL);
    CHECK_STATUS(VBUF_OK, vbuf_scope_end(&b, &inner));
    CHECK(is_poisoned_right(&b));
    CHECK_STATUS(VBUF_OK, vbuf_scope_end(&b, &outer));
    CHECK(is_poisoned_right(&b));
    CHECK_EQ(b.len, 13);
    vbuf_destroy(&b);
}

TEST(vbuf_poison, refusals_leave_it_as_it_was)
{
    ONLY_UNDER_ADDRESS_SANITIZER();
    struct words v = {make(MIB, 100)};
    CHECK_STATUS(VBUF_OK, vbuf_resize(&v.bytes, v.bytes.capacity - 3));
    fault_clear();
    fault_fail_from(FAULT_MPROTECT, 1, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, words_push(&v, 1));
    REQUIRE(is_poisoned_right(&v.bytes));
    CHECK_STATUS(VBUF_NOMEM, vbuf_append(&v.bytes, "0123", 4));
    CHECK_STATUS(VBUF_NOMEM, vbuf_insert(&v.bytes, 0, "0123", 4));
    CHECK_STATUS(VBUF_NOMEM, vbuf_resize(&v.bytes, 10000));
    CHECK_STATUS(VBUF_NOMEM, vbuf_reserve(&v.bytes, 10000));
    CHECK(vbuf_alloc(&v.bytes, 4, 1) == NULL);
    REQUIRE(is_poisoned_right(&v.bytes));
    CHECK_STATUS(VBUF_FULL, vbuf_append(&v.bytes, "0123", MIB));
    CHECK_STATUS(VBUF_INVALID, vbuf_truncate(&v.bytes, MIB));
    CHECK_STATUS(VBUF_INVALID, vbuf_remove(&v.bytes, 0, MIB));
    CHECK_STATUS(VBUF_OK, vbuf_append(&v.bytes, "012", 3)); /* fits */
    REQUIRE(is_poisoned_right(&v.bytes));
    fault_clear();
    CHECK_STATUS(VBUF_OK, vbuf_resize(&v.bytes, MIB));
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&v.bytes, 77));
    REQUIRE(is_poisoned_right(&v.bytes));
    vbuf_clear(&v.bytes);
    CHECK_STATUS(VBUF_NOMEM, vbuf_shrink_to_fit(&v.bytes));
    REQUIRE(is_poisoned_right(&v.bytes));
    fault_clear();
    vbuf_destroy(&v.bytes);
}

/* ---- afterwards ---- */

TEST(vbuf_poison, after_destroy_nothing_stays_poisoned)
{
    ONLY_UNDER_ADDRESS_SANITIZER();
    const size_t headers[] = {0, 1, 5000};
    for (size_t h = 0; h < 3; h++) {
        struct vbuf b = make(MIB - 3, headers[h]);
        CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB / 2));
        CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 12345));
        CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, headers[h] == 1 ? MIB - 3 : MIB / 2));
        unsigned char *base = b.memory.base;
        size_t size = b.memory.size;
        vbuf_destroy(&b);
        CHECK(is_reachable(base, size));
        void *again = mmap(base, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(again != MAP_FAILED);
        memset(again, 1, size); /* at the same address, unless somebody else was quicker */
        munmap(again, size);
    }
}

/* ---- in children ---- */

static void be_silent(void)
{
    int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
}

/* The exit status of a child that ran the body; -1 when it was killed. */
static int exit_status_of(int (*body)(void))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        be_silent();
        _exit(body());
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define SURVIVED 42

static size_t overrun_len, overrun_at;

static int overrun(void)
{
    struct vbuf b = make(MIB, 0);
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 3 * vmem_page_size()));
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, overrun_len));
    volatile unsigned char *bytes = b.data;
    bytes[overrun_at] = 1;
    return SURVIVED;
}

TEST(vbuf_poison, an_overrun_by_a_byte_is_found)
{
    ONLY_UNDER_ADDRESS_SANITIZER();
    const size_t lens[] = {1, 7, 8, 100, 4095, 4096, 4097};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        overrun_len = lens[i];
        overrun_at = lens[i] - 1;
        CHECK_EQ(exit_status_of(overrun), SURVIVED);
        overrun_at = lens[i];
        CHECK(exit_status_of(overrun) != SURVIVED);
        overrun_at = lens[i] + 500;
        CHECK(exit_status_of(overrun) != SURVIVED);
    }
}

/* Blocks that only the buffer points to; none of the pointers is left on the stack. */
static __attribute__((noinline)) void keep_blocks(struct vbuf *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *block = malloc(100);
        CHECK_STATUS(VBUF_OK, vbuf_append(b, &block, sizeof block));
        block = NULL;
    }
}

static size_t blocks_to_forget;

/* Whether blocks are reported; those beyond what is forgotten are kept. */
static int look_for_leaks(void)
{
    static struct vbuf kept; /* reachable itself */
    kept = make(MIB, 64);
    keep_blocks(&kept, 1000);
    *(void **)vbuf_header(&kept) = malloc(50);
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&kept, kept.len - blocks_to_forget * sizeof(void *)));
    return finds_leaks();
}

TEST(vbuf_poison, what_only_a_buffer_points_to_is_no_leak)
{
    ONLY_UNDER_ADDRESS_SANITIZER();
    blocks_to_forget = 500;
    if (exit_status_of(look_for_leaks) != 1)
        SKIP("leaks are not looked for here");
    blocks_to_forget = 0;
    CHECK_EQ(exit_status_of(look_for_leaks), 0);
}
