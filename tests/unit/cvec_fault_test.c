/*
 * cvec_fault_test.c - C5: when memory is refused, by the hook or by the system, nothing is claimed and
 * nothing lost; once it is back, indices go on without a hole. And the books, which on_commit and
 * on_decommit let the user keep, balance whatever happens.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "cvec_fixture.h"
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
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, cvec_reserve_exact(v, capacity + 1));
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

/* ---- the books: what on_commit granted less what on_decommit was told is what stats say ---- */

TEST(cvec_fault, books_balance_from_create_to_destroy)
{
    struct books books;
    struct cvec *v = books_make(&books, 1000000);
    check_books(v, &books);
    CHECK(books_balance(&books) > 0);
    for (size_t capacity = 1; capacity <= 1000000; capacity *= 10) {
        CHECK_STATUS(VBUF_OK, cvec_reserve(v, capacity));
        check_books(v, &books);
        CHECK(books_balance(&books) >= capacity * 9);
    }
    CHECK_EQ(vbuf_u64_load_relaxed(&books.told), 0);
    cvec_destroy(v);
    CHECK_EQ(books_balance(&books), 0);
}

TEST(cvec_fault, books_balance_when_create_fails)
{
    struct books books = {.destroyed = 0};
    struct cvec_options options = books_options(&books, 100000);
    struct cvec *v = NULL;
    options.initial_capacity = 50000;
    for (uint64_t nth = 1; nth <= 3; nth++) {
        fault_clear();
        fault_fail_from(FAULT_MPROTECT, nth, ENOMEM);
        CHECK_STATUS(VBUF_NOMEM, cvec_create(&v, &options));
        CHECK_EQ(books_balance(&books), 0);
    }
    fault_clear();
    fault_fail_at(FAULT_MMAP, 1, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, cvec_create(&v, &options));
    CHECK_EQ(books_balance(&books), 0);
    fault_clear();
}

/* One step of a random walk through everything that takes memory or gives it back. */
static void walk(struct cvec *v, struct check_rng *rng)
{
    static const uint64_t values[1000];
    size_t claimed = cvec_claimed(v), wanted = check_rng_next(rng) % 100000;
    enum vbuf_status status = VBUF_OK;
    switch (check_rng_next(rng) % 7) {
    case 0:
        status = cvec_reserve(v, wanted);
        break;
    case 1:
        status = cvec_reserve_exact(v, wanted);
        break;
    case 2:
        status = cvec_extend(v, values, wanted % 1000, NULL);
        break;
    case 3:
        status = cvec_push(v, values, NULL);
        break;
    case 4:
        status = cvec_push_exclusive(v, values, NULL);
        break;
    case 5:
        status = cvec_truncate(v, claimed != 0 ? wanted % claimed : 0);
        break;
    default:
        status = cvec_shrink_to_fit(v);
    }
    CHECK(status == VBUF_OK || status == VBUF_NOMEM);
}

static void walk_at_random(bool hook, bool commit, bool decommit)
{
    struct books books;
    struct check_rng rng = {check_seed()};
    fault_clear();
    struct cvec *v = books_make(&books, 1000000);
    v->destroy_ = NULL; /* the values are no indices */
    if (commit)
        fault_fail_randomly(FAULT_MPROTECT, 300000, check_seed(), ENOMEM);
    if (decommit)
        fault_fail_randomly(FAULT_MMAP, 500000, check_seed(), ENOMEM);
    for (int step = 0; step < BUILD_COUNT(5000, 1000) && check_failures() == 0; step++) {
        books_refuse(&books, hook && check_rng_next(&rng) % 3 == 0);
        walk(v, &rng);
        check_books(v, &books);
    }
    fault_clear();
    books_refuse(&books, false);
    CHECK_EQ(cvec_len(v), cvec_claimed(v)); /* C5: whatever was refused left no hole */
    cvec_clear(v);
    CHECK_STATUS(VBUF_OK, cvec_shrink_to_fit(v));
    check_books(v, &books);
    cvec_destroy(v);
    CHECK_EQ(books_balance(&books), 0);
}

TEST(cvec_fault, books_balance_whatever_is_refused)
{
    walk_at_random(false, false, false);
    walk_at_random(true, false, false);
    walk_at_random(false, true, false);
    walk_at_random(false, false, true);
    walk_at_random(true, true, true);
}

static void tell_and_fail(void *context, size_t bytes)
{
    (void)context, (void)bytes;
    errno = EBADF; /* as a hook may that writes to a file */
}

TEST(cvec_fault, hooks_do_not_change_the_reason)
{
    struct books books = {.destroyed = 0};
    struct cvec_options options = books_options(&books, 100000);
    struct cvec *v = NULL;
    options.on_decommit = tell_and_fail;
    fault_clear();
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&v, &options)));
    fault_fail_from(FAULT_MPROTECT, 1, EAGAIN);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, cvec_reserve(v, 1000));
    CHECK_EQ(errno, EAGAIN);
    cvec_destroy(v);
    fault_fail_from(FAULT_MPROTECT, 2, EAGAIN);
    options.initial_capacity = 1000;
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, cvec_create(&v, &options));
    CHECK_EQ(errno, EAGAIN);
    fault_clear();
}

/* A hook that refuses every third time, whoever asks. */
struct moody {
    struct books books;
    struct vbuf_atomic_u64 times;
};

static bool ask_moody(void *context, size_t bytes)
{
    struct moody *moody = context;
    return vbuf_u64_fetch_add_relaxed(&moody->times, 1) % 3 != 2 && books_ask(&moody->books, bytes);
}

static void tell_moody(void *context, size_t bytes)
{
    books_tell(&((struct moody *)context)->books, bytes);
}

static void race_to_grow(uint32_t failing)
{
    struct moody moody = {.times = {0}};
    struct faulty f = {.v = NULL};
    struct cvec_options options = books_options(&moody.books, 4 * FAULTY_VALUES);
    options.destroy = NULL;
    options.on_commit = ask_moody;
    options.on_decommit = tell_moody;
    options.context = &moody;
    options.growth.linear = 300; /* many growths, each raced for */
    fault_clear();
    REQUIRE(CHECK_STATUS(VBUF_OK, cvec_create(&f.v, &options)));
    fault_fail_randomly(FAULT_MPROTECT, failing, check_seed(), ENOMEM);
    team_run(4, push_through_faults, &f);
    fault_clear();
    CHECK_EQ(cvec_len(f.v), 4 * FAULTY_VALUES);
    check_books(f.v, &moody.books);
    cvec_destroy(f.v);
    CHECK_EQ(books_balance(&moody.books), 0);
}

TEST(cvec_fault, books_balance_when_growers_race)
{
    for (int round = 0; round < BUILD_COUNT(10, 3); round++) {
        race_to_grow(0);
        race_to_grow(300000);
    }
}
