/*
 * vbuf_fault_test.c - the buffer when memory is refused, by the hook or by the system (V4): nothing is
 * lost, nothing half done, and work goes on once memory is back.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "check.h"
#include "fault.h"
#include "proc.h"
#include "vbuf/vbuf.h"

#define MIB ((size_t)1 << 20)

/* A budget: allows until it is used up; keeps what it was asked last. */
struct budget {
    size_t left;
    size_t asked;
    unsigned calls;
};

static bool spend(void *context, size_t bytes)
{
    struct budget *budget = context;
    budget->asked = bytes;
    budget->calls++;
    if (bytes > budget->left)
        return false;
    budget->left -= bytes;
    return true;
}

static struct vbuf make(size_t max, struct budget *budget)
{
    struct vbuf b;
    memset(&b, 0, sizeof b);
    fault_clear();
    struct vbuf_options options = {.max = max, .on_commit = spend, .context = budget};
    CHECK_STATUS(VBUF_OK, vbuf_init(&b, &options));
    return b;
}

/* Every call that needs memory returns NOMEM with this errno and leaves all as it was. */
static void check_refused(struct vbuf *b, int error)
{
    struct vbuf before = *b;
    size_t beyond = b->capacity + 1;
    unsigned char bytes[64] = {1};
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vbuf_reserve(b, beyond));
    CHECK_EQ(errno, error);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vbuf_resize(b, beyond));
    CHECK_EQ(errno, error);
    CHECK_STATUS(VBUF_OK, vbuf_resize(b, b->capacity)); /* fits: nobody is asked */
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vbuf_append(b, bytes, sizeof bytes));
    CHECK_EQ(errno, error);
    CHECK_STATUS(VBUF_OK, vbuf_resize(b, before.len));
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vbuf_commit(b, b->capacity, 1));
    CHECK_EQ(errno, error);
    CHECK_EQ(b->len, before.len);
    CHECK_EQ(b->capacity, before.capacity);
    CHECK(b->data == before.data);
}

static void fill(struct vbuf *b, size_t len)
{
    CHECK_STATUS(VBUF_OK, vbuf_resize(b, len));
    memset(b->data, 0x3c, len);
}

static void check_filled(const struct vbuf *b, size_t len)
{
    CHECK_EQ(b->len, len);
    for (size_t i = 0; i < len; i++) {
        if (!CHECK_EQ(b->data[i], 0x3c))
            return;
    }
}

TEST(vbuf_fault, V4_nomem_by_the_hook_leaves_everything)
{
    struct budget budget = {.left = SIZE_MAX};
    struct vbuf b = make(MIB, &budget);
    budget.left = 0;
    check_refused(&b, ENOMEM); /* empty */
    budget.left = MIB;
    fill(&b, 5000);
    budget.left = 0;
    check_refused(&b, ENOMEM);
    check_filled(&b, 5000);
    budget.left = MIB;
    fill(&b, MIB);
    vbuf_destroy(&b);
}

TEST(vbuf_fault, V4_nomem_by_the_system_leaves_everything)
{
    struct budget budget = {.left = SIZE_MAX};
    struct vbuf b = make(MIB, &budget);
    fill(&b, 5000);
    fault_fail_from(FAULT_MPROTECT, 1, EAGAIN);
    check_refused(&b, EAGAIN);
    check_filled(&b, 5000);
    fault_clear();
    fill(&b, MIB);
    vbuf_destroy(&b);
}

TEST(vbuf_fault, the_hook_is_asked_before_the_system_and_told_the_bytes)
{
    struct budget budget = {.left = SIZE_MAX};
    size_t page = vmem_page_size();
    struct vbuf b = make(MIB, &budget);
    CHECK_EQ(budget.calls, 0); /* init commits nothing */
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, page));
    CHECK_EQ(budget.calls, 1);
    CHECK_EQ(budget.asked, b.capacity);
    size_t capacity = b.capacity;
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, capacity + 1));
    CHECK_EQ(budget.asked, b.capacity - capacity);
    CHECK_STATUS(VBUF_OK, vbuf_commit(&b, 0, 3 * page));
    CHECK_EQ(budget.asked, 3 * page);
    unsigned calls = budget.calls;
    CHECK_STATUS(VBUF_INVALID, vbuf_commit(&b, 0, MIB + page));
    CHECK_STATUS(VBUF_FULL, vbuf_reserve(&b, MIB + 1));
    CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, 1));
    CHECK_EQ(budget.calls, calls); /* nothing to ask for */
    budget.left = 0;
    fault_clear();
    CHECK_STATUS(VBUF_NOMEM, vbuf_reserve(&b, MIB));
    CHECK_EQ(fault_count(FAULT_MPROTECT), 0); /* refused by the hook, the system is not asked */
    vbuf_destroy(&b);
}

TEST(vbuf_fault, growth_falls_back_to_what_is_needed)
{
    size_t page = vmem_page_size();
    struct budget budget = {.left = 20 * page};
    struct vbuf b = make(MIB, &budget);
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
    vbuf_destroy(&b);
}

TEST(vbuf_fault, V4_init_nomem_leaks_nothing)
{
    struct vbuf b = {.len = 77};
    fault_clear();
    fault_fail_at(FAULT_MMAP, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vbuf_init(&b, &(struct vbuf_options){.max = MIB}));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(b.len, 77);
}

TEST(vbuf_fault, every_commit_may_fail_and_the_bytes_still_come_out_right)
{
    struct budget budget = {.left = SIZE_MAX};
    struct vbuf b = make(4 * MIB, &budget);
    uint64_t seed = check_seed();
    fault_fail_randomly(FAULT_MPROTECT, 500000, seed, ENOMEM);
    unsigned refused = 0;
    for (uint32_t i = 0; i < MIB;) {
        enum vbuf_status status = vbuf_append(&b, &i, sizeof i);
        if (status == VBUF_OK)
            i++;
        else if (CHECK_STATUS(VBUF_NOMEM, status))
            refused++;
        else
            break;
    }
    fault_clear();
    CHECK_EQ(b.len, 4 * MIB);
    for (uint32_t i = 0; i < MIB; i++)
        REQUIRE(memcmp(b.data + (size_t)i * 4, &i, 4) == 0);
    CHECK(refused > 0 || fault_count(FAULT_MPROTECT) < 64);
    vbuf_destroy(&b);
}
