/*
 * slotmap_fault_test.c - the slot map when memory is refused, by the hook or by the system (V4): NOMEM,
 * nothing changed, and work goes on once memory is back.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "proc.h"
#include "slotmap/slotmap.h"
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

static struct slotmap *make(size_t max_len, struct tap *tap, uint32_t max_threads)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {.value_size = 8,
                                      .max_len = max_len,
                                      .max_threads = max_threads,
                                      .on_commit = ask_tap,
                                      .context = tap};
    fault_clear();
    CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options));
    return map;
}

static struct slotmap_report stats_of(struct slotmap *map)
{
    struct slotmap_report stats;
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    return stats;
}

#define MOST 50000

static slotmap_handle handles[MOST];

static void check_live(struct slotmap *map, size_t live, size_t looks)
{
    CHECK_EQ(slotmap_len(map), live);
    for (uint64_t i = 0; i < live && i < looks; i++) {
        uint64_t value = 0;
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_read(map, handles[i], &value)));
        REQUIRE(value == i);
    }
}

/* Inserts with memory refused until NOMEM, checks, allows, goes on, until max_len. */
static void refuse_every_growth(bool by_hook, uint32_t max_threads)
{
    struct tap tap = {{0}, {0}};
    struct slotmap *map = make(MOST, &tap, max_threads);
    size_t live = 0, refused = 0;
    while (live < MOST && check_failures() == 0) {
        uint64_t value = live;
        slotmap_handle handle = {77};
        if (by_hook)
            vbuf_u32_store_release(&tap.closed, 1);
        else
            fault_fail_from(FAULT_MPROTECT, 1, EAGAIN);
        struct slotmap_report before = stats_of(map);
        errno = 0;
        enum vbuf_status status = slotmap_insert(map, &value, &handle);
        if (status == VBUF_NOMEM) { /* until now there was room */
            refused++;
            CHECK_EQ(errno, by_hook ? ENOMEM : EAGAIN);
            CHECK_EQ(handle.bits, 77);
            struct slotmap_report after = stats_of(map);
            CHECK_EQ(after.len, live);
            CHECK_EQ(after.inserted, before.inserted);
            CHECK_EQ(after.capacity, before.capacity);
            check_live(map, live, 100);
        }
        vbuf_u32_store_release(&tap.closed, 0);
        fault_clear();
        if (status == VBUF_NOMEM)
            status = slotmap_insert(map, &value, &handle);
        CHECK_STATUS(VBUF_OK, status);
        handles[live++] = handle;
    }
    CHECK(refused >= 4);
    uint64_t value = 0;
    CHECK_STATUS(VBUF_FULL, slotmap_insert(map, &value, NULL));
    check_live(map, MOST, MOST);
    slotmap_destroy(map);
}

TEST(slotmap_fault, V4_nomem_by_the_hook_at_every_growth_changes_nothing)
{
    refuse_every_growth(true, 0);
}

TEST(slotmap_fault, V4_nomem_by_the_system_at_every_growth_changes_nothing)
{
    refuse_every_growth(false, 0);
}

static void refuse_on_another_thread(void *context, unsigned thread)
{
    (void)context;
    (void)thread;
    refuse_every_growth(true, 1); /* number 1 is the main thread's: this one has no lists */
}

TEST(slotmap_fault, V4_nomem_on_a_thread_without_lists_changes_nothing)
{
    struct ebr_domain *domain = NULL;
    CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, NULL));
    CHECK_STATUS(VBUF_OK, ebr_attach(domain)); /* takes number 1 */
    team_run_one(refuse_on_another_thread, NULL);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(slotmap_fault, what_is_removed_is_used_again_while_memory_is_refused)
{
    struct tap tap = {{0}, {0}};
    struct slotmap *map = make(MOST, &tap, 0);
    for (uint64_t i = 0; i < 1000; i++)
        CHECK_STATUS(VBUF_OK, slotmap_insert(map, &i, &handles[i]));
    vbuf_u32_store_release(&tap.closed, 1);
    for (uint64_t i = 0; i < 5000; i++) {
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[i % 1000], NULL)); /* cannot fail so */
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_insert(map, &i, &handles[i % 1000])));
    }
    CHECK_EQ(slotmap_len(map), 1000);
    slotmap_destroy(map);
}

TEST(slotmap_fault, any_single_failing_commit_is_survived)
{
    for (uint64_t nth = 1; nth <= 8; nth++) {
        struct tap tap = {{0}, {0}};
        struct slotmap *map = make(3000, &tap, 0);
        size_t live = 0;
        fault_fail_at(FAULT_MPROTECT, nth, ENOMEM);
        for (int attempt = 0; attempt < 10000 && live < 3000; attempt++) {
            uint64_t value = live;
            enum vbuf_status status = slotmap_insert(map, &value, &handles[live]);
            CHECK(status == VBUF_OK || status == VBUF_NOMEM);
            live += status == VBUF_OK;
        }
        fault_clear();
        check_live(map, 3000, 3000);
        slotmap_destroy(map);
    }
}

TEST(slotmap_fault, create_is_nomem_iff_memory_is_refused_and_leaks_nothing)
{
    struct tap tap = {{1}, {0}};
    struct slotmap *unset = (struct slotmap *)(void *)&tap, *map = unset;
    struct slotmap_options options = {.value_size = 8, .max_len = 100};
    uint64_t before = proc_virtual_size();
    for (uint64_t nth = 1; nth <= 2; nth++) { /* the map's space, then its domain's */
        fault_clear();
        fault_fail_at(FAULT_MMAP, nth, ENOMEM);
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, slotmap_create(&map, &options));
        CHECK_EQ(errno, ENOMEM);
        fault_clear();
        fault_fail_at(FAULT_MPROTECT, nth, EAGAIN);
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, slotmap_create(&map, &options));
        CHECK_EQ(errno, EAGAIN);
    }
    fault_clear();
    options.on_commit = ask_tap;
    options.context = &tap;
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, slotmap_create(&map, &options));
    CHECK_EQ(errno, ENOMEM);
    CHECK(map == unset);
    if (BUILD_PLAIN)
        CHECK_EQ(proc_virtual_size(), before);
    options.on_commit = NULL;
    options.value_size = (size_t)1 << 20;
    options.max_len = ((size_t)1 << 32) / 4;
    options.max_threads = 1;
    if (BUILD_PLAIN && vmem_caps().address_bits < 50) /* 2^50 bytes: no such range */
        CHECK_STATUS(VBUF_NOMEM, slotmap_create(&map, &options));
}

TEST(slotmap_fault, the_hook_is_asked_for_the_slots_that_are_committed)
{
    struct tap tap = {{0}, {0}};
    struct slotmap *map = make(MOST, &tap, 0);
    for (uint64_t i = 0; i < MOST; i++)
        REQUIRE(slotmap_insert(map, &i, NULL) == VBUF_OK);
    struct slotmap_report stats = stats_of(map);
    uint64_t asked = vbuf_u64_load_relaxed(&tap.asked);
    CHECK(asked >= stats.slots * 16);
    CHECK(asked <=
          stats.committed_bytes + 16 * vmem_page_size()); /* a page may be asked for again */
    CHECK(asked + 4 * vmem_page_size() >= stats.committed_bytes);
    slotmap_destroy(map);
}

/* A barrier that the system has begun to refuse frees nothing, and inserts go on while there is room. */
TEST(slotmap_fault, S3_a_refused_barrier_reclaims_nothing)
{
    if (vbuf_fence_kind() != VBUF_FENCE_PROCESS_WIDE)
        SKIP("no barrier to refuse");
    struct tap tap = {{0}, {0}};
    struct slotmap *map = make(1000, &tap, 4);
    struct pinner pinner;
    pinner_start(&pinner, slotmap_domain(map));
    pinner_unpin(&pinner); /* attached: the barrier cannot be skipped */
    fault_fail_from(FAULT_MEMBARRIER, 1, EPERM);
    for (uint64_t i = 0; i < 500; i++) {
        CHECK_STATUS(VBUF_OK, slotmap_insert(map, &i, &handles[0]));
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[0], NULL));
        CHECK_EQ(slotmap_collect(map), 0);
    }
    CHECK_EQ(stats_of(map).limbo, 500);
    CHECK(stats_of(map).domain.barriers_failed > 0);
    fault_clear();
    CHECK_EQ(slotmap_collect(map), 500);
    pinner_stop(&pinner);
    slotmap_destroy(map);
}

/* Threads churn while commits and barriers fail at random. */
struct churn {
    struct slotmap *map;
    struct vbuf_atomic_u64 refused;
};

static void churn_through_faults(void *context, unsigned thread)
{
    struct churn *c = context;
    struct check_rng rng = {check_seed() + thread};
    slotmap_handle held[500];
    uint64_t values[500];
    size_t count = 0;
    for (uint64_t i = 0; i < BUILD_COUNT(30000, 5000); i++) {
        uint64_t value = (uint64_t)thread << 32 | i, found = 0;
        if (count < 500 && check_rng_next(&rng) % 3 != 0) {
            enum vbuf_status status = slotmap_insert(c->map, &value, &held[count]);
            if (status == VBUF_OK)
                values[count++] = value;
            else if (CHECK(status == VBUF_NOMEM || status == VBUF_BUSY))
                vbuf_u64_fetch_add_relaxed(&c->refused, 1);
        } else if (count > 0) {
            count--;
            CHECK_STATUS(VBUF_OK, slotmap_read(c->map, held[count], &found));
            CHECK_EQ(found, values[count]);
            CHECK_STATUS(VBUF_OK, slotmap_remove(c->map, held[count], NULL));
            CHECK_STATUS(VBUF_STALE, slotmap_read(c->map, held[count], &found));
        }
    }
    while (count > 0)
        CHECK_STATUS(VBUF_OK, slotmap_remove(c->map, held[--count], NULL));
}

TEST(slotmap_fault, V4_random_failures_under_contention_lose_nothing)
{
    for (uint32_t max_threads = 1; max_threads <= 9; max_threads += 4) {
        struct tap tap = {{0}, {0}};
        struct churn c = {.map = make(2000, &tap, max_threads)};
        fault_fail_randomly(FAULT_MPROTECT, 800000, check_seed(), ENOMEM);
        fault_fail_randomly(FAULT_MEMBARRIER, 200000, check_seed() + 1, EPERM);
        team_run(4, churn_through_faults, &c);
        fault_clear();
        CHECK_EQ(slotmap_len(c.map), 0);
        slotmap_collect(c.map);
        struct slotmap_report stats = stats_of(c.map);
        CHECK_EQ(stats.limbo, 0);
        CHECK_EQ(stats.inserted, stats.destroyed);
        for (uint64_t i = 0; i < 2000; i++)
            REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_insert(c.map, &i, NULL))); /* S5 */
        slotmap_destroy(c.map);
    }
}

static void meet_data_limit(void)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {.value_size = 1000, .max_len = MOST};
    static unsigned char value[1000];
    REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options)));
    REQUIRE(proc_limit_data(proc_data_size() + ((size_t)8 << 20)));
    size_t live = 0;
    enum vbuf_status status;
    while ((status = slotmap_insert(map, value, &handles[live])) == VBUF_OK)
        live++;
    CHECK_STATUS(VBUF_NOMEM, status);
    CHECK_EQ(errno, ENOMEM);
    CHECK(live > 1000 && live < MOST);
    CHECK_EQ(slotmap_len(map), live);
    REQUIRE(proc_limit_data(UINT64_MAX));
    for (; live < MOST; live++)
        REQUIRE(slotmap_insert(map, value, &handles[live]) == VBUF_OK);
    CHECK_STATUS(VBUF_FULL, slotmap_insert(map, value, NULL));
    slotmap_destroy(map);
}

TEST(slotmap_fault, V4_the_systems_own_limit_changes_nothing)
{
    if (!BUILD_PLAIN)
        SKIP("sanitizers need the memory");
    proc_in_child(meet_data_limit);
}
