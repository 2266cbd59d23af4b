/*
 * cvec_fault_test.c - C5: when memory is refused, by the hook or by the system, nothing is claimed and
 * nothing lost; once it is back, indices go on without a hole.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "fault.h"
#include "proc.h"
#include "team.h"

/* A hook that can be told to refuse. */
struct tap {
    struct vbuf_atomic_u32 closed;
    struct vbuf_atomic_u64 asked; /* bytes */
};

static bool ask_tap(void *context, size_t bytes)
{
    struct tap *tap = context;
    vbuf_u64_fetch_add_relaxed(&tap->asked, bytes);
    return vbuf_u32_load_acquire(&tap->closed) == 0;
}

static struct cvec *make(size_t max_len, struct tap *tap)
{
    struct cvec *v = NULL;
    struct cvec_options options = {
        .element_size = 8, .max_len = max_len, .on_commit = ask_tap, .context = tap};
    fault_clear();
    CHECK_STATUS(VBUF_OK, cvec_create(&v, &options));
    return v;
}

/* Everything that needs memory says NOMEM, and nothing else changes. */
static void check_refused(struct cvec *v, size_t len, int error)
{
    uint64_t values[64] = {0};
    size_t capacity = cvec_capacity(v), index = 1234567;
    for (int again = 0; again < 3; again++) {
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, cvec_push(v, values, &index));
        CHECK_EQ(errno, error);
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, cvec_extend(v, values, 64, &index));
        CHECK_EQ(errno, error);
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, cvec_reserve(v, capacity + 1));
        CHECK_EQ(errno, error);
        CHECK_STATUS(VBUF_OK, cvec_reserve(v, capacity));
        CHECK_STATUS(VBUF_FULL, cvec_reserve(v, cvec_max_len(v) + 1));
        CHECK_EQ(index, 1234567);
        CHECK_EQ(cvec_claimed(v), len);
        CHECK_EQ(cvec_len(v), len);
        CHECK_EQ(cvec_capacity(v), capacity);
        CHECK(cvec_get(v, len) == NULL);
    }
}

/* Pushes until the capacity is used up, so that the next push must grow. */
static size_t fill_capacity(struct cvec *v, size_t len)
{
    for (; len < cvec_capacity(v); len++) {
        uint64_t value = len;
        size_t index = SIZE_MAX;
        if (!CHECK_STATUS(VBUF_OK, cvec_push(v, &value, &index)) || !CHECK_EQ(index, len))
            break;
    }
    return len;
}

/* At every growth up to max_len: refuse, check, allow, go on. */
static void refuse_every_growth(bool by_hook)
{
    struct tap tap = {{0}, {0}};
    struct cvec *v = make(100000, &tap);
    size_t len = 0, growths = 0;
    while (len < 100000 && check_failures() == 0) {
        if (by_hook)
            vbuf_u32_store_release(&tap.closed, 1);
        else
            fault_fail_from(FAULT_MPROTECT, 1, EAGAIN);
        check_refused(v, len, by_hook ? ENOMEM : EAGAIN);
        vbuf_u32_store_release(&tap.closed, 0);
        fault_clear();
        uint64_t value = len;
        size_t index = SIZE_MAX;
        CHECK_STATUS(VBUF_OK, cvec_push(v, &value, &index));
        CHECK_EQ(index, len); /* no hole */
        len = fill_capacity(v, len + 1);
        growths++;
    }
    CHECK(growths >= 4);
    const uint64_t *all = cvec_snapshot(v).data;
    for (size_t i = 0; i < len; i++)
        REQUIRE(all[i] == i);
    cvec_destroy(v);
}

TEST(cvec_fault, C5_nomem_by_the_hook_at_every_growth_leaves_no_hole)
{
    refuse_every_growth(true);
}

TEST(cvec_fault, C5_nomem_by_the_system_at_every_growth_leaves_no_hole)
{
    refuse_every_growth(false);
}

/* Growth commits twice, readiness bytes and elements: either may be the one that fails. */
TEST(cvec_fault, C5_any_single_failing_commit_is_survived)
{
    for (uint64_t nth = 1; nth <= 6; nth++) {
        struct tap tap = {{0}, {0}};
        struct cvec *v = make(5000, &tap);
        size_t len = 0;
        fault_fail_at(FAULT_MPROTECT, nth, ENOMEM);
        for (int attempt = 0; attempt < 20000 && len < 5000; attempt++) {
            uint64_t value = len;
            size_t index = SIZE_MAX;
            enum vbuf_status status = cvec_push(v, &value, &index);
            CHECK(status == VBUF_OK || status == VBUF_NOMEM);
            if (status == VBUF_OK)
                CHECK_EQ(index, len++);
        }
        fault_clear();
        CHECK_EQ(len, 5000);
        CHECK_EQ(cvec_snapshot(v).count, 5000);
        for (uint64_t i = 0; i < 5000; i++)
            REQUIRE(*(uint64_t *)cvec_get(v, i) == i);
        cvec_destroy(v);
    }
}

static size_t budget_left;

static bool spend(void *context, size_t bytes)
{
    (void)context;
    if (bytes > budget_left)
        return false;
    budget_left -= bytes;
    return true;
}

TEST(cvec_fault, growth_falls_back_to_little_when_much_is_refused)
{
    struct cvec *v = NULL;
    struct cvec_options options = {.element_size = 8, .max_len = 1000000, .on_commit = spend};
    budget_left = SIZE_MAX;
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
    CHECK_STATUS(VBUF_OK, cvec_reserve(v, 100000));
    size_t len = fill_capacity(v, 0), before = len;
    budget_left = 100000; /* not enough to double, enough for a tenth more */
    uint64_t value = len;
    CHECK_STATUS(VBUF_OK, cvec_push(v, &value, NULL));
    len = fill_capacity(v, len + 1);
    CHECK(len > before);
    CHECK_EQ(cvec_snapshot(v).count, len);
    cvec_destroy(v);
}

TEST(cvec_fault, create_is_nomem_iff_memory_is_refused_and_leaks_nothing)
{
    struct tap tap = {{1}, {0}};
    struct cvec *unset = (struct cvec *)(void *)&tap, *v = unset;
    struct cvec_options options = {.element_size = 8, .max_len = 5000, .initial_capacity = 100};
    uint64_t before = proc_virtual_size();
    fault_clear();
    fault_fail_at(FAULT_MMAP, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, cvec_create(&v, &options));
    CHECK_EQ(errno, ENOMEM);
    for (uint64_t nth = 1; nth <= 3; nth++) { /* the header; then the initial elements, twice */
        fault_clear();
        fault_fail_from(FAULT_MPROTECT, nth, EAGAIN);
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, cvec_create(&v, &options));
        CHECK_EQ(errno, EAGAIN);
    }
    fault_clear();
    options.on_commit = ask_tap;
    options.context = &tap;
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, cvec_create(&v, &options));
    CHECK_EQ(errno, ENOMEM);
    CHECK(v == unset);
    if (BUILD_PLAIN)
        CHECK_EQ(proc_virtual_size(), before);
    vbuf_u32_store_release(&tap.closed, 0);
    CHECK_STATUS(VBUF_OK, cvec_create(&v, &options));
    cvec_destroy(v);
}

TEST(cvec_fault, the_hook_is_asked_for_every_byte_committed)
{
    struct tap tap = {{0}, {0}};
    struct cvec *v = make(1000000, &tap);
    CHECK_STATUS(VBUF_OK, cvec_reserve(v, 500000));
    struct cvec_report stats;
    CHECK_STATUS(VBUF_OK, cvec_stats(v, &stats));
    uint64_t asked = vbuf_u64_load_relaxed(&tap.asked);
    CHECK(asked >= 500000 * 9);
    CHECK(asked <= stats.committed_bytes);
    CHECK(asked + 8 * vmem_page_size() >= stats.committed_bytes);
    cvec_destroy(v);
}

/* A grower that is stopped for ever leaves the courtesy flag up: the others go ahead all the same. */
TEST(cvec_fault, C6_a_stopped_grower_delays_nobody)
{
    struct tap tap = {{0}, {0}};
    struct cvec *v = make(100000, &tap);
    vbuf_u32_fetch_add_relaxed(&v->growing_, 1);
    size_t len = 0;
    while (len < 100000) {
        uint64_t value = len;
        REQUIRE(CHECK_STATUS(VBUF_OK, cvec_push(v, &value, NULL)));
        len = fill_capacity(v, len + 1);
    }
    CHECK_EQ(cvec_snapshot(v).count, 100000);
    cvec_destroy(v);
}

/* Threads push and extend while commits fail at random; each value names its thread and number. */
struct faulty {
    struct cvec *v;
    uint64_t pushed[4];
    struct vbuf_atomic_u64 refused;
};

#define FAULTY_VALUES 20000

static void push_through_faults(void *context, unsigned thread)
{
    struct faulty *f = context;
    for (uint64_t next = 0; next < FAULTY_VALUES;) {
        uint64_t values[3];
        for (uint64_t i = 0; i < 3; i++)
            values[i] = (uint64_t)thread << 32 | (next + i);
        bool run = next % 5 == 0 && next + 3 <= FAULTY_VALUES;
        enum vbuf_status status =
            run ? cvec_extend(f->v, values, 3, NULL) : cvec_push(f->v, values, NULL);
        if (status == VBUF_OK)
            next += run ? 3 : 1;
        else if (CHECK_STATUS(VBUF_NOMEM, status))
            vbuf_u64_fetch_add_relaxed(&f->refused, 1);
        else
            return;
        f->pushed[thread] = next;
    }
}

TEST(cvec_fault, C5_random_failures_under_contention_leave_no_hole)
{
    struct tap tap = {{0}, {0}};
    struct faulty f = {.v = make(4 * FAULTY_VALUES, &tap)};
    fault_fail_randomly(FAULT_MPROTECT, 700000, check_seed(), ENOMEM);
    team_run(4, push_through_faults, &f);
    fault_clear();
    struct cvec_slice all = cvec_snapshot(f.v);
    CHECK_EQ(all.count, 4 * FAULTY_VALUES);
    CHECK_EQ(cvec_claimed(f.v), 4 * FAULTY_VALUES);
    uint64_t next[4] = {0};
    for (size_t i = 0; i < all.count; i++) {
        uint64_t value = ((const uint64_t *)all.data)[i];
        REQUIRE(value >> 32 < 4);
        REQUIRE((value & UINT32_MAX) == next[value >> 32]++); /* C4: each thread's in its order */
    }
    cvec_destroy(f.v);
}

static void meet_data_limit(void)
{
    struct cvec *v = NULL;
    size_t max_len = 4000000;
    REQUIRE(CHECK_STATUS(
        VBUF_OK, cvec_create(&v, &(struct cvec_options){.element_size = 8, .max_len = max_len})));
    REQUIRE(proc_limit_data(proc_data_size() + ((size_t)4 << 20)));
    uint64_t len = 0;
    enum vbuf_status status;
    while ((status = cvec_push(v, &len, NULL)) == VBUF_OK)
        len++;
    CHECK_STATUS(VBUF_NOMEM, status);
    CHECK_EQ(errno, ENOMEM);
    CHECK(len > 100000 && len < max_len);
    CHECK_EQ(cvec_claimed(v), len);
    REQUIRE(proc_limit_data(UINT64_MAX));
    for (; len < max_len; len++)
        REQUIRE(cvec_push(v, &len, NULL) == VBUF_OK);
    const uint64_t *all = cvec_snapshot(v).data;
    CHECK_EQ(cvec_len(v), max_len);
    for (uint64_t i = 0; i < max_len; i++)
        REQUIRE(all[i] == i);
    cvec_destroy(v);
}

TEST(cvec_fault, C5_the_systems_own_limit_leaves_no_hole)
{
    if (!BUILD_PLAIN)
        SKIP("sanitizers need the memory");
    proc_in_child(meet_data_limit);
}
