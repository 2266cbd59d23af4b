/*
 * slotmap_test.c - the slot map on one thread: create, insert, get, contains, read, remove, iterate,
 * stats. Elsewhere: slotmap_layout (sizes, typed form), slotmap_generation (S1 at its end),
 * slotmap_capacity (S5), slotmap_destructor (S6), slotmap_fault (refused memory), slotmap_threads.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "slotmap/slotmap.h"

#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "proc.h"

/* A map of uint64_t. */
static struct slotmap *make(size_t max_len)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {.value_size = 8, .max_len = max_len};
    CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options));
    return map;
}

static slotmap_handle insert(struct slotmap *map, uint64_t value)
{
    slotmap_handle handle = {0};
    CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &handle));
    return handle;
}

/* The value under the handle, or UINT64_MAX. */
static uint64_t value_under(struct slotmap *map, slotmap_handle handle)
{
    slotmap_pin(map);
    const uint64_t *value = slotmap_get(map, handle);
    uint64_t copy = value == NULL ? UINT64_MAX : *value;
    slotmap_unpin(map);
    return copy;
}

/* Whether every call agrees that the handle names nothing. */
static bool is_stale(struct slotmap *map, slotmap_handle handle)
{
    uint64_t out = 77;
    void *value = &out;
    slotmap_pin(map);
    bool got = slotmap_get(map, handle) != NULL;
    slotmap_unpin(map);
    return !got && !slotmap_contains(map, handle) &&
           slotmap_read(map, handle, &out) == VBUF_STALE &&
           slotmap_remove(map, handle, &value) == VBUF_STALE && out == 77 && value == &out;
}

TEST(slotmap, create_and_destroy_leave_nothing)
{
    uint64_t before = proc_virtual_size();
    struct slotmap *map = make(1000);
    CHECK_EQ(slotmap_len(map), 0);
    for (uint64_t i = 0; i < 1000; i++)
        insert(map, i);
    slotmap_destroy(map);
    slotmap_destroy(NULL);
    if (BUILD_PLAIN)
        CHECK_EQ(proc_virtual_size(), before);
}

TEST(slotmap, create_is_invalid_iff_the_options_cannot_be)
{
    struct slotmap *unset = (struct slotmap *)(void *)&unset, *map = unset;
    const struct slotmap_options bad[] = {
        {.value_size = 0},
        {.value_size = ((size_t)1 << 20) + 1},
        {.value_size = SIZE_MAX},
        {.value_size = 12, .value_align = 3},
        {.value_size = 12, .value_align = 8}, /* not a multiple */
        {.value_size = 8192, .value_align = 2 * vmem_page_size()},
        {.value_size = 8, .max_threads = 4096},
        {.value_size = 8, .max_threads = UINT32_MAX},
        {.value_size = 8, .first_generation = 1},
        {.value_size = 8, .first_generation = SLOTMAP_LAST_GENERATION},
        {.value_size = 8, .first_generation = SLOTMAP_LAST_GENERATION - 1},
        {.value_size = 8, .first_generation = 4},
        {.value_size = 8, .first_generation = UINT32_MAX},
        {.value_size = 8, .max_len = UINT32_MAX},
        {.value_size = 8, .max_len = SIZE_MAX},
        {.value_size = 8, .max_limbo = UINT32_MAX},
        {.value_size = 8, .max_limbo = SIZE_MAX},
        {.value_size = 8, .max_len = 1, .max_limbo = SIZE_MAX}, /* a sum that wraps */
        {.value_size = 8, .max_len = (size_t)3 << 30, .max_limbo = (size_t)3 << 30},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (!CHECK_STATUS(VBUF_INVALID, slotmap_create(&map, &bad[i])))
            CHECK_EQ(i, SIZE_MAX); /* says which */
    }
    CHECK_STATUS(VBUF_INVALID, slotmap_create(&map, NULL));
    CHECK_STATUS(VBUF_INVALID, slotmap_create(NULL, &(struct slotmap_options){.value_size = 8}));
    CHECK(map == unset); /* outputs are written on VBUF_OK only */
}

TEST(slotmap, create_takes_every_option_at_its_limit)
{
    const struct slotmap_options good[] = {
        {.value_size = 1},
        {.value_size = (size_t)1 << 20, .max_len = 3, .max_threads = 2},
        {.value_size = 4096, .value_align = vmem_page_size(), .max_len = 3, .max_threads = 2},
        {.value_size = 8, .max_threads = 4095, .max_len = 10},
        {.value_size = 8, .max_threads = 1},
        {.value_size = 8, .max_len = 1, .max_limbo = 1, .max_threads = 1},
        {.value_size = 8, .first_generation = SLOTMAP_LAST_GENERATION - 9},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct slotmap *map = NULL;
        unsigned char *value = calloc(1, good[i].value_size);
        slotmap_handle handle;
        REQUIRE(value != NULL);
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_create(&map, &good[i])));
        CHECK_STATUS(VBUF_OK, slotmap_insert(map, value, &handle));
        CHECK(slotmap_contains(map, handle));
        slotmap_destroy(map);
        free(value);
    }
}

TEST(slotmap, defaults_are_as_documented)
{
    struct slotmap *map = make(0);
    struct slotmap_report stats;
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    CHECK_EQ(stats.max_len, (size_t)1 << 24);
    CHECK_EQ(stats.max_limbo, (size_t)1 << 23); /* half of max_len */
    slotmap_destroy(map);
    map = make(1000);
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    CHECK_EQ(stats.max_len, 1000);
    CHECK_EQ(stats.max_limbo, (size_t)1 << 17);
    slotmap_destroy(map);
    struct slotmap_options options = {.value_size = 8, .max_len = 5, .max_limbo = 7};
    CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options));
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    CHECK_EQ(stats.max_limbo, 7);
    slotmap_destroy(map);
}

TEST(slotmap, what_is_inserted_is_found_until_removed)
{
    struct slotmap *map = make(10000);
    static slotmap_handle handles[10000];
    for (uint64_t i = 0; i < 10000; i++) {
        handles[i] = insert(map, i * 3);
        CHECK(handles[i].bits != 0);
        REQUIRE(value_under(map, handles[i]) == i * 3);
    }
    CHECK_EQ(slotmap_len(map), 10000);
    for (uint64_t i = 0; i < 10000; i++) {
        uint64_t copy = 0;
        REQUIRE(slotmap_contains(map, handles[i]));
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_read(map, handles[i], &copy)));
        REQUIRE(copy == i * 3);
    }
    for (uint64_t i = 0; i < 10000; i += 2)
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[i], NULL)));
    CHECK_EQ(slotmap_len(map), 5000);
    for (uint64_t i = 0; i < 10000; i++)
        REQUIRE(i % 2 == 0 ? is_stale(map, handles[i]) : value_under(map, handles[i]) == i * 3);
    slotmap_destroy(map);
}

TEST(slotmap, values_do_not_move_and_may_be_changed_in_place)
{
    struct slotmap *map = make(100000);
    slotmap_handle first = insert(map, 1);
    slotmap_pin(map);
    uint64_t *value = slotmap_get(map, first);
    for (uint64_t i = 0; i < 50000; i++)
        insert(map, i);
    CHECK(slotmap_get(map, first) == value);
    *value = 2;
    CHECK_EQ(*(uint64_t *)slotmap_get(map, first), 2);
    slotmap_unpin(map);
    slotmap_destroy(map);
}

TEST(slotmap, insert_may_be_told_no_handle)
{
    struct slotmap *map = make(2);
    uint64_t value = 5;
    CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, NULL));
    CHECK_EQ(slotmap_len(map), 1);
    struct slotmap_iter iter = slotmap_iter_begin(map);
    slotmap_pin(map);
    uint64_t *found = slotmap_iter_next(&iter, NULL);
    CHECK(found != NULL && *found == 5);
    slotmap_unpin(map);
    slotmap_destroy(map);
}

TEST(slotmap, null_values_are_invalid)
{
    struct slotmap *map = make(2);
    slotmap_handle handle = {77};
    CHECK_STATUS(VBUF_INVALID, slotmap_insert(map, NULL, &handle));
    CHECK_EQ(handle.bits, 77);
    handle = insert(map, 1);
    CHECK_STATUS(VBUF_INVALID, slotmap_read(map, handle, NULL));
    CHECK_STATUS(VBUF_INVALID, slotmap_stats(map, NULL));
    CHECK_EQ(slotmap_len(map), 1);
    slotmap_destroy(map);
}

TEST(slotmap, S3_a_pinned_remover_may_read_the_value)
{
    struct slotmap *map = make(10);
    slotmap_handle handle = insert(map, 42);
    void *value = NULL;
    slotmap_pin(map);
    CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, &value));
    for (uint64_t i = 0; i < 9; i++)
        insert(map, i); /* none of them may take the slot */
    slotmap_collect(map);
    CHECK(value != NULL && *(uint64_t *)value == 42);
    slotmap_unpin(map);
    slotmap_destroy(map);
}

TEST(slotmap, S1_a_removed_handle_stays_stale_when_its_slot_is_used_again)
{
    struct slotmap *map = make(1);
    static slotmap_handle old[5000];
    for (uint64_t i = 0; i < 5000; i++) {
        old[i] = insert(map, i);
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_remove(map, old[i], NULL)));
        slotmap_collect(map); /* so that slots do come back */
        REQUIRE(is_stale(map, old[i]));
    }
    slotmap_handle live = insert(map, 7);
    bool reused = false;
    for (int i = 0; i < 5000; i++) {
        REQUIRE(is_stale(map, old[i]));
        reused = reused || slotmap_handle_index(old[i]) == slotmap_handle_index(live);
    }
    CHECK(reused); /* or this test tests nothing */
    CHECK_EQ(value_under(map, live), 7);
    slotmap_destroy(map);
}

TEST(slotmap, S2_a_handle_is_removed_once)
{
    struct slotmap *map = make(10);
    slotmap_handle handle = insert(map, 1);
    CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(VBUF_STALE, slotmap_remove(map, handle, NULL));
    CHECK_EQ(slotmap_len(map), 0);
    slotmap_destroy(map);
}

TEST(slotmap, handles_are_numbers)
{
    struct slotmap *map = make(1000);
    bool used[1001] = {false};
    for (uint64_t i = 0; i < 1000; i++) {
        slotmap_handle handle = insert(map, i);
        CHECK_EQ(slotmap_handle_from_u64(slotmap_handle_to_u64(handle)).bits, handle.bits);
        uint32_t index = slotmap_handle_index(handle);
        REQUIRE(index >= 1 && index <= 1000); /* from 1 up: for side arrays */
        REQUIRE(!used[index]);                /* two live handles never share one */
        used[index] = true;
    }
    slotmap_destroy(map);
}

/* Bits that come near: even generations of live slots, near indices, one bit off; or anything. */
static uint64_t draw_bits(struct check_rng *rng, uint64_t live)
{
    uint64_t bits = check_rng_next(rng), other = check_rng_next(rng);
    switch (other % 4) {
    case 0:
        return (bits & UINT64_C(0xFFFFFFFE00000000)) | (uint32_t)live;
    case 1:
        return bits >> 32 << 32 | (other >> 32) % 2048;
    case 2:
        return live ^ UINT64_C(1) << bits % 64;
    default:
        return bits;
    }
}

TEST(slotmap, S1_any_bits_are_safe_and_only_live_handles_resolve)
{
    struct slotmap *map = make(1000);
    static uint64_t live[500], by_index[1001];
    for (uint64_t i = 0; i < 1000; i++) {
        slotmap_handle handle = insert(map, i);
        REQUIRE(slotmap_handle_index(handle) <= 1000);
        if (i % 2 == 0)
            by_index[slotmap_handle_index(handle)] = live[i / 2] = handle.bits;
        else
            slotmap_remove(map, handle, NULL);
    }
    CHECK(is_stale(map, (slotmap_handle){0}));
    CHECK(is_stale(map, (slotmap_handle){UINT64_MAX}));
    struct check_rng rng = {check_seed()};
    for (int i = 0; i < BUILD_COUNT(1000000, 100000); i++) {
        uint64_t bits = draw_bits(&rng, live[i % 500]);
        slotmap_handle handle = slotmap_handle_from_u64(bits);
        uint32_t index = slotmap_handle_index(handle);
        if (index <= 1000 && by_index[index] == bits && bits != 0)
            REQUIRE(slotmap_contains(map, handle));
        else
            REQUIRE(is_stale(map, handle));
    }
    CHECK_EQ(slotmap_len(map), 500);
    slotmap_destroy(map);
}

TEST(slotmap, S7_iteration_visits_all_live_values_once)
{
    struct slotmap *map = make(3000);
    slotmap_handle handles[3000];
    unsigned char seen[3000];
    slotmap_handle handle;
    struct slotmap_iter iter = slotmap_iter_begin(map);
    slotmap_pin(map);
    CHECK(slotmap_iter_next(&iter, &handle) == NULL);
    for (uint64_t i = 0; i < 3000; i++) {
        handles[i] = insert(map, i);
        iter = slotmap_iter_begin(map); /* sees what this thread has just inserted */
        if (i % 500 == 0) {
            uint64_t count = 0;
            while (slotmap_iter_next(&iter, NULL) != NULL)
                count++;
            CHECK_EQ(count, i + 1);
        }
    }
    for (uint64_t i = 0; i < 3000; i += 3)
        slotmap_remove(map, handles[i], NULL);
    memset(seen, 0, sizeof seen);
    iter = slotmap_iter_begin(map);
    for (uint64_t *value; (value = slotmap_iter_next(&iter, &handle)) != NULL;) {
        REQUIRE(*value < 3000 && handles[*value].bits == handle.bits);
        REQUIRE(slotmap_get(map, handle) == value);
        seen[*value]++;
    }
    for (int i = 0; i < 3000; i++)
        REQUIRE(seen[i] == (i % 3 != 0));
    CHECK(slotmap_iter_next(&iter, &handle) == NULL); /* the end stays the end */
    slotmap_unpin(map);
    slotmap_destroy(map);
}

TEST(slotmap, stats_are_the_figures)
{
    struct slotmap *map = make(1000);
    struct slotmap_report stats;
    slotmap_handle handles[100];
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    CHECK_EQ(stats.len + stats.slots + stats.limbo + stats.exhausted, 0);
    CHECK_EQ(stats.inserted + stats.removed + stats.destroyed, 0);
    for (uint64_t i = 0; i < 100; i++)
        handles[i] = insert(map, i);
    slotmap_pin(map);
    for (int i = 0; i < 30; i++)
        slotmap_remove(map, handles[i], NULL);
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    CHECK_EQ(stats.len, 70);
    CHECK_EQ(slotmap_len(map), 70);
    CHECK_EQ(stats.max_len, 1000);
    CHECK_EQ(stats.capacity, slotmap_capacity(map));
    CHECK(stats.slots >= 100 && stats.slots <= stats.capacity);
    CHECK_EQ(stats.limbo, 30);
    CHECK_EQ(stats.inserted, 100);
    CHECK_EQ(stats.removed, 30);
    CHECK_EQ(stats.destroyed, 0);
    CHECK_EQ(stats.exhausted, 0);
    CHECK_EQ(stats.domain.threads, 1);
    CHECK_EQ(stats.domain.fence, vbuf_fence_kind());
    slotmap_unpin(map);
    CHECK_EQ(slotmap_collect(map), 30); /* how many */
    CHECK_EQ(slotmap_collect(map), 0);
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    CHECK_EQ(stats.limbo, 0);
    CHECK_EQ(stats.destroyed, 30);
    CHECK_EQ(stats.len, 70);
    slotmap_destroy(map);
}

TEST(slotmap, V1_stats_committed_bytes_is_what_the_system_charges)
{
    if (!BUILD_PLAIN)
        SKIP("sanitizers allocate on their own");
    struct ebr_domain *domain = NULL;
    CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, NULL));
    CHECK_STATUS(VBUF_OK, ebr_attach(domain));
    uint64_t before = proc_data_size();
    before = proc_data_size(); /* stdio has its buffer now */
    struct slotmap *map = NULL;
    struct slotmap_options options = {.value_size = 24, .max_len = 100000, .domain = domain};
    REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options)));
    uint64_t value[3] = {1, 2, 3};
    for (uint64_t i = 0; i < 100000; i++) {
        struct slotmap_report stats;
        REQUIRE(slotmap_insert(map, value, NULL) == VBUF_OK);
        if (i % 9973 == 0) {
            CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
            CHECK(stats.committed_bytes >= stats.slots * 32);
            CHECK_EQ(stats.committed_bytes, proc_data_size() - before);
        }
    }
    slotmap_destroy(map);
    CHECK_EQ(proc_data_size(), before);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(slotmap, the_domain_is_the_one_given_or_its_own)
{
    struct ebr_domain *domain = NULL;
    struct slotmap *map = NULL, *own = make(10);
    CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, NULL));
    struct slotmap_options options = {.value_size = 8, .max_len = 10, .domain = domain};
    REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options)));
    CHECK(slotmap_domain(map) == domain);
    CHECK(slotmap_domain(own) != NULL && slotmap_domain(own) != domain);
    slotmap_handle handle = insert(map, 1);
    ebr_pin(domain); /* pins the map */
    CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
    CHECK_EQ(slotmap_collect(map), 0);
    ebr_unpin(domain);
    CHECK_EQ(slotmap_collect(map), 1);
    slotmap_destroy(map);
    CHECK_STATUS(VBUF_OK, ebr_synchronize(domain)); /* outlives its map */
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    slotmap_destroy(own);
}
