/*
 * vbuf_fault_test.c - the buffer when memory is refused, by the hook or by the system (V4): nothing is
 * lost, nothing half done, the hooks' books stay right, and work goes on once memory is back.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "proc.h"
#include "vbuf/vbuf.h"
#include "vbuf_books.h"

VBUF_DEFINE(words, uint64_t)

static struct vbuf make(size_t max, struct books *books)
{
    fault_clear();
    return make_vbuf(with_books((struct vbuf_options){.max = max}, books));
}

static void fill(struct vbuf *b, size_t len)
{
    CHECK_STATUS(VBUF_OK, vbuf_resize(b, len));
    memset(b->data, 0x3c, len);
}

/* Every call that needs memory returns NOMEM with this errno, and leaves all as it was. */
static void check_refused(struct vbuf *b, int error)
{
    const struct vbuf before = *b;
    size_t beyond = b->capacity - b->len + 1;
    unsigned char bytes[8193] = {1};
    REQUIRE(CHECK(beyond <= sizeof bytes));
    for (int call = 0; call < 9; call++) {
        enum vbuf_status status = VBUF_NOMEM;
        errno = 0;
        switch (call) {
        case 0:
            status = vbuf_reserve(b, b->capacity + 1);
            break;
        case 1:
            status = vbuf_reserve_exact(b, b->capacity + 1);
            break;
        case 2:
            status = vbuf_resize(b, b->len + beyond);
            break;
        case 3:
            status = vbuf_append(b, bytes, beyond);
            break;
        case 4:
            status = vbuf_insert(b, b->len / 2, bytes, beyond);
            break;
        case 5:
            CHECK(vbuf_alloc(b, beyond, 1) == NULL);
            break;
        case 6:
            CHECK(vbuf_alloc_zeroed(b, beyond, 1) == NULL);
            break;
        case 7:
            status = vbuf_commit(b, b->capacity, 1);
            break;
        default:
            status = vbuf_commit_two(b, 0, 1, b->capacity, 1);
        }
        CHECK_STATUS(VBUF_NOMEM, status);
        CHECK_EQ(errno, error);
        if (!CHECK(b->len == before.len && b->capacity == before.capacity && is_sound(b)))
            return;
    }
    CHECK_EQ(first_other(b, 0, b->len, 0x3c), b->len);
    CHECK(b->data == before.data);
}

TEST(vbuf_fault, V4_nomem_by_the_hook_leaves_everything)
{
    struct books books;
    struct vbuf b = make(MIB, &books);
    books.spare = 0;
    check_refused(&b, ENOMEM); /* empty */
    books.spare = MIB;
    fill(&b, 5000);
    books.spare = 0;
    check_refused(&b, ENOMEM);
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, b.capacity)); /* fits: nobody is asked */
    books.spare = MIB;
    fill(&b, MIB);
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
}

TEST(vbuf_fault, V4_nomem_by_the_system_leaves_everything)
{
    struct books books;
    struct vbuf b = make(MIB, &books);
    fault_fail_from(FAULT_MPROTECT, 1, EAGAIN);
    check_refused(&b, EAGAIN);
    fault_clear();
    fill(&b, 5000);
    fault_fail_from(FAULT_MPROTECT, 1, EAGAIN);
    check_refused(&b, EAGAIN);
    CHECK_EQ(books.told, books.asked - 1); /* what the hook allowed, it was told back */
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, b.capacity));
    fault_clear();
    fill(&b, MIB);
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
}

TEST(vbuf_fault, V4_typed_calls_pass_the_refusal_on)
{
    struct books books;
    struct words v;
    struct vbuf_options options = with_books((struct vbuf_options){.initial = 1}, &books);
    REQUIRE(CHECK_STATUS(VBUF_OK, words_init(&v, MIB, &options)));
    while (words_len(&v) < words_capacity(&v))
        CHECK_STATUS(VBUF_OK, words_push(&v, 7));
    size_t len = words_len(&v);
    books.spare = 0;
    CHECK_STATUS(VBUF_NOMEM, words_push(&v, 8));
    CHECK_EQ(errno, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, words_insert(&v, 0, 8));
    CHECK_STATUS(VBUF_NOMEM, words_extend(&v, words_data(&v), 1));
    CHECK_STATUS(VBUF_NOMEM, words_resize(&v, len + 1));
    CHECK_STATUS(VBUF_NOMEM, words_reserve(&v, len + 1));
    CHECK_STATUS(VBUF_NOMEM, words_reserve_exact(&v, len + 1));
    CHECK_EQ(words_len(&v), len);
    for (size_t i = 0; i < len; i++)
        REQUIRE(*words_at(&v, i) == 7);
    books.spare = vmem_page_size();
    CHECK_STATUS(VBUF_OK, words_push(&v, 8));
    CHECK_EQ(*words_last(&v), 8);
    words_destroy(&v);
    CHECK_EQ(books.balance, 0);
}

TEST(vbuf_fault, the_hook_is_asked_before_the_system_and_told_the_bytes)
{
    struct books books;
    size_t page = vmem_page_size();
    struct vbuf b = make(MIB, &books);
    CHECK_EQ(books.asked, 0); /* init commits nothing */
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, page));
    CHECK_EQ(books.asked, 1);
    CHECK_EQ(books.question, b.capacity);
    size_t capacity = b.capacity;
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, capacity + 1));
    CHECK_EQ(books.question, b.capacity - capacity);
    unsigned asked = books.asked;
    CHECK_STATUS(VBUF_INVALID, vbuf_commit(&b, 0, MIB + page));
    CHECK_STATUS(VBUF_FULL, vbuf_reserve(&b, MIB + 1));
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, 1));
    CHECK_EQ(books.asked, asked); /* nothing to ask for */
    books.spare = 0;
    fault_clear();
    CHECK_STATUS(VBUF_NOMEM, vbuf_reserve(&b, MIB));
    CHECK_EQ(system_calls(), 0); /* refused by the hook, the system is not asked */
    books.spare = MIB;
    CHECK_STATUS(VBUF_OK, vbuf_commit(&b, MIB - 3 * page, 2 * page));
    CHECK_EQ(books.question, 2 * page);
    CHECK_STATUS(VBUF_OK, vbuf_decommit(&b, MIB - 3 * page, 2 * page));
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
}

TEST(vbuf_fault, growth_falls_back_to_what_is_needed)
{
    size_t page = vmem_page_size();
    struct books books;
    struct vbuf b = make(256 * page, &books);
    books.spare = 20 * page;
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, 16 * page));
    CHECK_EQ(b.capacity, 16 * page);
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, 16 * page + 1)); /* doubling is refused, a page is not */
    CHECK_EQ(b.capacity, 17 * page);
    CHECK_STATUS(VBUF_NOMEM, vbuf_reserve(&b, 21 * page));
    CHECK_EQ(b.capacity, 17 * page);
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, 20 * page)); /* to the last byte of the budget */
    CHECK_EQ(b.capacity, 20 * page);
    CHECK_STATUS(VBUF_NOMEM, vbuf_reserve(&b, 20 * page + 1));
    fill(&b, 20 * page);
    books.spare = SIZE_MAX;
    fault_clear();
    fault_fail_at(FAULT_MPROTECT, 1, ENOMEM); /* now by the system */
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, "x", 1));
    CHECK_EQ(b.capacity, 21 * page);
    CHECK_EQ(system_calls(), 2); /* at most */
    fault_clear();
    fault_fail_from(FAULT_MPROTECT, 1, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, vbuf_reserve(&b, 21 * page + 1));
    CHECK_EQ(system_calls(), 2);
    fault_clear();
    is_sound(&b);
    vbuf_destroy(&b);
}

/* ---- init ---- */

/* Nothing of a failed init is left, not in *buffer, not in the books, not in the address space. */
static void fail_init(struct vbuf_options options, struct books *books, int error)
{
    struct vbuf b = {.len = 77};
    uint64_t before = proc_virtual_size();
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vbuf_init(&b, &options));
    CHECK_EQ(errno, error);
    CHECK_EQ(b.len, 77);
    CHECK(b.data == NULL);
    CHECK_EQ(books->balance, 0);
    if (running_plain())
        CHECK_EQ(proc_virtual_size(), before);
}

TEST(vbuf_fault, V4_init_nomem_leaks_nothing)
{
    const struct vbuf_options all[] = {{.max = 64 * MIB, .initial = 1},
                                       {.max = 64 * MIB, .header = 1},
                                       {.max = 64 * MIB, .header = 5000, .alignment = 2 * MIB}};
    struct books books;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct vbuf_options options = with_books(all[i], &books);
        fault_clear();
        fault_fail_at(FAULT_MMAP, 1, ENOMEM);
        fail_init(options, &books, ENOMEM);
        CHECK_EQ(books.asked, 0);
        fault_fail_at(FAULT_MPROTECT, 1, EAGAIN);
        fail_init(options, &books, EAGAIN);
        CHECK_EQ(books.asked, 1);
        CHECK_EQ(books.told, 1);
        fault_clear();
        books.spare = 0;
        fail_init(options, &books, ENOMEM);
        CHECK_EQ(fault_count(FAULT_MPROTECT), 0);
        options.on_decommit = NULL;
        fault_fail_at(FAULT_MPROTECT, 1, EAGAIN);
        books.spare = SIZE_MAX;
        struct vbuf b;
        CHECK_STATUS(VBUF_NOMEM,
                     vbuf_init(&b, &options)); /* a hook that is not there is not told */
        fault_clear();
        CHECK_STATUS(VBUF_OK, vbuf_init(&b, &options));
        vbuf_destroy(&b);
    }
}

/* ---- two ranges, and the way back ---- */

TEST(vbuf_fault, commit_two_keeps_the_first_when_the_second_is_refused)
{
    size_t page = vmem_page_size();
    struct books books;
    struct vbuf b = make(64 * page, &books);
    fault_fail_at(FAULT_MPROTECT, 2, EAGAIN);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vbuf_commit_two(&b, 8 * page, page, page, 2 * page));
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(books.asked, 1);
    CHECK_EQ(books.question, 3 * page);
    CHECK_EQ(books.answer, 3 * page);
    CHECK(proc_is_readable(b.data + 8 * page));
    CHECK(!proc_is_readable(b.data + page));
    b.data[8 * page] = 5;
    CHECK_STATUS(VBUF_OK, vbuf_commit_two(&b, 8 * page, page, page, 2 * page));
    CHECK_EQ(books.question, 3 * page); /* for both again */
    CHECK_EQ(b.data[8 * page], 5);
    CHECK_EQ(b.data[3 * page - 1], 0);
    fault_clear();
    fault_fail_at(FAULT_MPROTECT, 1, EAGAIN);
    CHECK_STATUS(VBUF_NOMEM, vbuf_commit_two(&b, 9 * page, page, 10 * page, page));
    CHECK_EQ(fault_count(FAULT_MPROTECT), 1); /* the second is not tried */
    CHECK(!proc_is_readable(b.data + 10 * page));
    fault_clear();
    vbuf_destroy(&b);
}

TEST(vbuf_fault, decommit_refused_keeps_the_memory)
{
    size_t page = vmem_page_size();
    struct books books;
    struct vbuf b = make(64 * page, &books);
    CHECK_STATUS(VBUF_OK, vbuf_commit(&b, 8 * page, 4 * page));
    b.data[9 * page] = 5;
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vbuf_decommit(&b, 8 * page, 4 * page));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(books.told, 0);
    CHECK_EQ(b.data[9 * page], 5);
    fault_clear();
    CHECK_STATUS(VBUF_OK, vbuf_decommit(&b, 8 * page, 4 * page));
    CHECK_EQ(books.answer, 4 * page);
    CHECK(!proc_is_readable(b.data + 9 * page));
    vbuf_destroy(&b);
}

/* ---- at any point ---- */

TEST(vbuf_fault, every_commit_may_fail_and_the_bytes_still_come_out_right)
{
    struct books books;
    struct vbuf b = make(4 * MIB, &books);
    fault_fail_randomly(FAULT_MPROTECT, 500000, check_seed(), ENOMEM);
    unsigned refused = 0;
    for (uint32_t i = 0; i < MIB;) {
        enum vbuf_status status = vbuf_append(&b, &i, sizeof i);
        if (status == VBUF_OK)
            i++;
        else if (CHECK_STATUS(VBUF_NOMEM, status))
            refused++;
        else
            break;
        if (refused > 0 || i % 512 == 0)
            REQUIRE(is_sound(&b));
    }
    CHECK(refused > 0 || fault_count(FAULT_MPROTECT) < 64);
    fault_clear();
    CHECK_EQ(b.len, 4 * MIB);
    for (uint32_t i = 0; i < MIB; i++)
        REQUIRE(memcmp(b.data + (size_t)i * 4, &i, 4) == 0);
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
}

static void meet_data_limit(void)
{
    size_t max = 256 * MIB, chunk = 1000;
    unsigned char bytes[1000];
    memset(bytes, 0x3c, sizeof bytes);
    struct vbuf b = make_vbuf((struct vbuf_options){.max = max});
    REQUIRE(proc_limit_data(proc_data_size() + 24 * MIB));
    enum vbuf_status status;
    errno = 0;
    while ((status = vbuf_append(&b, bytes, chunk)) == VBUF_OK)
        ;
    CHECK_STATUS(VBUF_NOMEM, status);
    CHECK_EQ(errno, ENOMEM);
    CHECK(b.len > 23 * MIB && b.len <= 24 * MIB); /* doubling alone would have stopped at 16 */
    size_t len = b.len;
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, MIB)); /* given back: there is room for others */
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, len));
    REQUIRE(proc_limit_data(UINT64_MAX));
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, max));
    CHECK_EQ(first_other(&b, 0, max, 0x3c), MIB);
    vbuf_destroy(&b);
}

TEST(vbuf_fault, V4_the_systems_own_limit)
{
    if (!running_plain())
        SKIP("sanitizers need the memory");
    proc_in_child(meet_data_limit);
}
