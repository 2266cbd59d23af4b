/*
 * cvec_populate_test.c - memory that extending has the system back ahead of what is claimed: how much at
 * most, by which calls, and that nothing depends on it.
 *
 * It begins when threads extend at once, and then goes on until the vector grows; it goes on as well below a
 * length that the vector had before a truncate, and that is how most tests here begin it, alone.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "cvec_fixture.h"
#include "fault.h"
#include "proc.h"
#include "team.h"

#define RUN 512 /* bytes: less than a page */
#define LEAST ((size_t)1 << 20)
#define MOST ((size_t)256 << 10)

static unsigned char run[1 << 16];

static size_t bytes_resident(struct cvec *v, size_t from, size_t length)
{
    size_t bytes = 0;
    CHECK_STATUS(VBUF_OK, vmem_resident(&v->memory_.memory, from, length, &bytes));
    return bytes;
}

static size_t resident_elements(struct cvec *v)
{
    size_t base = (size_t)(v->elements - v->memory_.data);
    return bytes_resident(v, base, cvec_capacity(v) * v->element_size);
}

static size_t resident_readiness(struct cvec *v)
{
    size_t base = (size_t)(v->elements - v->memory_.data);
    return bytes_resident(v, base - cvec_capacity(v), cvec_capacity(v));
}

/* What is backed is at most a 64th more than what is claimed, in whole pages, and not past the capacity. */
static void check_bound(struct cvec *v)
{
    size_t page = vmem_page_size(), claimed = cvec_claimed(v), used = claimed * v->element_size;
    size_t ahead = used / 64 < MOST ? used / 64 : MOST;
    CHECK(resident_elements(v) <= vmem_align_up(used, page) + ahead + page);
    CHECK(resident_readiness(v) <=
          vmem_align_up(claimed, page) + ahead / v->element_size + 2 * page);
    CHECK(vbuf_u64_load_relaxed(&v->populated_) <= cvec_capacity(v));
}

static void extend_to(struct cvec *v, size_t bytes)
{
    while (cvec_claimed(v) * v->element_size < bytes)
        REQUIRE(cvec_extend(v, run, RUN / v->element_size, NULL) == VBUF_OK);
}

/*
 * A vector whose elements take `bytes`, in which the next extends go on populating, with room for `room`
 * bytes of elements. NULL: there are no huge pages.
 */
static struct cvec *make_going_on(size_t size, size_t bytes, size_t room, enum vmem_huge_pages huge)
{
    struct cvec *v = NULL;
    struct cvec_options options = {
        .element_size = size, .initial_capacity = room / size, .huge_pages = huge};
    if (cvec_create(&v, &options) != VBUF_OK)
        return NULL;
    while (cvec_claimed(v) * size < bytes + 4 * vmem_page_size())
        cvec_push(v, run, NULL);
    CHECK_STATUS(VBUF_OK, cvec_truncate(v, bytes / size));
    fault_clear();
    return v;
}

/* ---- how much ---- */

static void populate_within_bounds(size_t size, size_t to)
{
    struct cvec *v = make_going_on(size, LEAST + LEAST / 2, to, VMEM_HUGE_PAGES_DEFAULT);
    size_t most = 0, batches = 0;
    for (size_t bytes = LEAST + LEAST / 2 + 16384; bytes < to; bytes += 10000) {
        extend_to(v, bytes);
        check_bound(v);
        size_t ahead = resident_elements(v) - cvec_claimed(v) * size;
        most = ahead > most ? ahead : most;
        batches = (size_t)fault_count(FAULT_MADVISE);
    }
    CHECK(most >= to / 64 / 2 || most >= MOST / 2); /* it does populate, and not page by page */
    CHECK(batches > 10 && batches < (to - LEAST) / vmem_page_size() / 2);
    cvec_destroy(v);
}

TEST(cvec_populate, what_is_backed_ahead_is_a_64th_at_most)
{
    if (!vmem_caps().populate)
        SKIP("this system has no call for it");
    populate_within_bounds(8, 6 * LEAST);
    populate_within_bounds(1, 4 * LEAST);   /* as many readiness bytes */
    populate_within_bounds(64, 24 * LEAST); /* the window at its largest */
}

TEST(cvec_populate, small_vectors_ask_for_nothing)
{
    if (!vmem_caps().populate)
        SKIP("this system has no call for it");
    struct cvec *v = make_going_on(8, LEAST / 2, LEAST, VMEM_HUGE_PAGES_DEFAULT);
    extend_to(v, LEAST - 8192);
    CHECK_EQ(fault_count(FAULT_MADVISE), 0);
    cvec_destroy(v);
}

TEST(cvec_populate, alone_it_ends_when_the_vector_grows)
{
    if (!vmem_caps().populate)
        SKIP("this system has no call for it");
    struct cvec *v = make_going_on(8, 2 * LEAST, 3 * LEAST, VMEM_HUGE_PAGES_DEFAULT);
    extend_to(v, 3 * LEAST);
    CHECK(fault_count(FAULT_MADVISE) > 10);
    check_bound(v);
    extend_to(v, 3 * LEAST + RUN);
    fault_clear();
    extend_to(v, 6 * LEAST);
    CHECK_EQ(fault_count(FAULT_MADVISE), 0);
    check_bound(v);
    cvec_destroy(v);
}

/* ---- by which calls ---- */

TEST(cvec_populate, push_claim_and_long_runs_ask_for_nothing)
{
    if (!vmem_caps().populate)
        SKIP("this system has no call for it");
    struct cvec *v = make_going_on(8, 2 * LEAST, 4 * LEAST, VMEM_HUGE_PAGES_DEFAULT);
    size_t first, page = vmem_page_size();
    void *slots;
    for (int round = 0; round < 100; round++) { /* less than four pages a round */
        CHECK_STATUS(VBUF_OK, cvec_push(v, run, NULL));
        CHECK_STATUS(VBUF_OK, cvec_claim(v, page / 8, &first, &slots));
        CHECK_STATUS(VBUF_OK, cvec_publish(v, first, page / 8));
        CHECK_STATUS(VBUF_OK, cvec_claim(v, RUN / 8, &first, &slots));
        CHECK_STATUS(VBUF_OK, cvec_publish(v, first, RUN / 8));
        CHECK_STATUS(VBUF_OK, cvec_extend(v, run, page / 8, NULL));
        CHECK_STATUS(VBUF_OK, cvec_truncate(v, 2 * LEAST / 8));
    }
    CHECK_EQ(fault_count(FAULT_MADVISE), 0);
    cvec_destroy(v);
}

TEST(cvec_populate, one_thread_from_the_start_asks_for_nothing)
{
    struct words v = make_words((size_t)1 << 22);
    fault_clear();
    extend_to(v.vector, 4 * LEAST);
    CHECK_EQ(fault_count(FAULT_MADVISE), 0);
    words_destroy(&v);
}

TEST(cvec_populate, with_huge_pages_nothing_is_asked_for)
{
    struct cvec *v = make_going_on(8, 2 * LEAST, 4 * LEAST, VMEM_HUGE_PAGES_ON);
    if (v == NULL)
        SKIP("no huge pages here");
    extend_to(v, 4 * LEAST);
    CHECK_EQ(fault_count(FAULT_MADVISE), 0);
    cvec_destroy(v);
}

/* ---- refusals ---- */

/* The numbers from `len` on, a short run at a time; every call succeeds and keeps errno. */
static void extend_numbers(struct cvec *v, uint64_t len, uint64_t to)
{
    while (len < to) {
        uint64_t numbers[RUN / 8];
        for (size_t i = 0; i < RUN / 8; i++)
            numbers[i] = len + i;
        size_t first = SIZE_MAX;
        errno = 4242;
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_extend(v, numbers, RUN / 8, &first)));
        REQUIRE(CHECK_EQ(first, len) && CHECK_EQ(errno, 4242));
        len += RUN / 8;
    }
}

/* The calls it took to extend by 2 MiB, each refused unless error is 0. */
static uint64_t count_calls(int error)
{
    size_t len = 2 * LEAST / 8;
    struct cvec *v = make_going_on(8, 0, 5 * LEAST, VMEM_HUGE_PAGES_DEFAULT);
    push_numbers(v, 0, len + 2048);
    CHECK_STATUS(VBUF_OK, cvec_truncate(v, len));
    fault_clear();
    if (error != 0)
        fault_fail_from(FAULT_MADVISE, 1, error);
    extend_numbers(v, len, 2 * len);
    uint64_t calls = fault_count(FAULT_MADVISE);
    fault_clear();
    if (error != 0) /* nothing was backed instead */
        CHECK(resident_elements(v) <= cvec_claimed(v) * 8 + vmem_page_size());
    check_numbers(v, 2 * len);
    cvec_destroy(v);
    return calls;
}

TEST(cvec_populate, a_refusal_is_ignored_and_not_tried_again)
{
    if (!vmem_caps().populate)
        SKIP("this system has no call for it");
    const int errors[] = {ENOMEM, EFAULT, EINVAL, EAGAIN, EINTR, EHWPOISON};
    uint64_t granted = count_calls(0);
    CHECK(granted > 10);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        CHECK_EQ(count_calls(errors[i]), granted);
}

/* ---- shrink, truncate, clear ---- */

TEST(cvec_populate, memory_that_is_given_back_is_forgotten)
{
    if (!vmem_caps().populate)
        SKIP("this system has no call for it");
    struct cvec *v = make_going_on(8, 2 * LEAST, 4 * LEAST, VMEM_HUGE_PAGES_DEFAULT);
    extend_to(v, 4 * LEAST);
    CHECK(fault_count(FAULT_MADVISE) > 10);
    for (int round = 0; round < 3; round++) {
        CHECK_STATUS(VBUF_OK, cvec_truncate(v, LEAST / 8));
        CHECK_STATUS(VBUF_OK, cvec_shrink_to_fit(v));
        check_bound(v);
        fault_clear();
        extend_to(v, 5 * LEAST); /* alone, and past all that was ever asked for: it has ended */
        CHECK_EQ(fault_count(FAULT_MADVISE), 0);
        check_bound(v);
    }
    cvec_destroy(v);
}

TEST(cvec_populate, a_refill_costs_no_call_and_no_fault)
{
    if (!vmem_caps().populate)
        SKIP("this system has no call for it");
    struct cvec *v = make_going_on(8, 2 * LEAST, 4 * LEAST, VMEM_HUGE_PAGES_DEFAULT);
    extend_to(v, 4 * LEAST);
    for (int round = 0; round < 3; round++) {
        CHECK_STATUS(VBUF_OK, cvec_truncate(v, round == 1 ? LEAST / 8 : 0));
        fault_clear();
        long before = proc_minor_faults();
        before = proc_minor_faults(); /* twice: the first call may fault itself */
        extend_to(v, 4 * LEAST);
        long faults = proc_minor_faults() - before;
        CHECK_EQ(fault_count(FAULT_MADVISE), 0);
        CHECK_EQ(fault_count(FAULT_MPROTECT), 0);
        if (running_plain())
            CHECK(faults <= 4);
    }
    cvec_destroy(v);
}

/* ---- threads ---- */

#define EACH ((size_t)1 << 17) /* numbers a thread, 1 MiB */

/* Each thread's own numbers, in order, a short run at a time. */
static void extend_at_once(void *context, unsigned thread)
{
    struct words *v = context;
    uint64_t numbers[RUN / 8];
    for (uint64_t next = 0; next < EACH; next += RUN / 8) {
        for (size_t i = 0; i < RUN / 8; i++)
            numbers[i] = (uint64_t)thread << 32 | (next + i);
        if (!CHECK_STATUS(VBUF_OK, words_extend(v, numbers, RUN / 8, NULL)))
            return;
    }
}

static void check_two_threads(struct words *v, size_t from)
{
    struct words_slice all = words_snapshot(v);
    uint64_t next[2] = {0};
    REQUIRE(CHECK_EQ(all.count, from + 2 * EACH));
    for (size_t i = from; i < all.count; i++) {
        REQUIRE(all.data[i] >> 32 < 2);
        REQUIRE((all.data[i] & UINT32_MAX) == next[all.data[i] >> 32]++); /* C4: in its order */
    }
}

TEST(cvec_populate, C2_C4_threads_that_extend_at_once_populate_ahead)
{
    uint64_t calls = 0;
    for (int round = 0; round < 50 && (calls == 0 || round < 3); round++) {
        struct words v = make_words((size_t)1 << 22);
        for (size_t i = 0; i < 2 * LEAST / 8; i++)
            REQUIRE(words_push(&v, i, NULL) == VBUF_OK);
        fault_clear();
        if (round == 1) /* whether or not the system does it */
            fault_fail_randomly(FAULT_MADVISE, 500000, check_seed(), ENOMEM);
        team_run(2, extend_at_once, &v);
        calls += fault_has_call(FAULT_MADVISE) ? fault_count(FAULT_MADVISE) : 0;
        fault_clear();
        check_two_threads(&v, 2 * LEAST / 8);
        if (vmem_caps().populate)
            check_bound(v.vector);
        words_destroy(&v);
    }
    if (vmem_caps().populate && running_plain() && sysconf(_SC_NPROCESSORS_ONLN) > 1)
        CHECK(calls != 0);
}

TEST(cvec_populate, threads_that_refill_what_one_filled_ask_for_nothing)
{
    struct words v = make_words((size_t)1 << 22);
    for (size_t i = 0; i < 2 * EACH + 4 * MOST / 8; i++) /* by more than is asked for ahead */
        REQUIRE(words_push(&v, i, NULL) == VBUF_OK);
    for (int round = 0; round < 20; round++) {
        words_clear(&v);
        fault_clear();
        team_run(2, extend_at_once, &v);
        CHECK_EQ(fault_count(FAULT_MADVISE), 0);
        CHECK_EQ(fault_count(FAULT_MPROTECT), 0);
        check_two_threads(&v, 0);
    }
    words_destroy(&v);
}
