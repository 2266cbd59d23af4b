/*
 * slotmap_generation_test.c - S1 at its end: a slot whose generations are used up leaves service. Slots
 * start near the end, so that each lives once or a few times.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "slotmap/slotmap.h"
#include "team.h"

/* A map whose slots have `lives` lives left. */
static struct slotmap *make(uint32_t lives, size_t max_len, uint32_t max_threads)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {
        .value_size = 8,
        .max_len = max_len,
        .max_limbo = 10,
        .max_threads = max_threads,
        .first_generation = SLOTMAP_LAST_GENERATION - 1 - 8 * lives,
    };
    CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options));
    return map;
}

static struct slotmap_report stats_of(struct slotmap *map)
{
    struct slotmap_report stats;
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    return stats;
}

#define HANDLES 100000
static slotmap_handle handles[HANDLES];

/* Inserts and removes until insert says FULL; how many lives there were. */
static size_t use_up(struct slotmap *map)
{
    size_t count = 0;
    enum vbuf_status status = VBUF_OK;
    while (count < HANDLES) {
        uint64_t value = count;
        status = slotmap_insert(map, &value, &handles[count]);
        if (status != VBUF_OK)
            break;
        CHECK(slotmap_contains(map, handles[count]));
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[count], NULL));
        CHECK(!slotmap_contains(map, handles[count]));
        count++;
    }
    CHECK_STATUS(VBUF_FULL, status);
    return count;
}

static void check_no_handle_resolves(struct slotmap *map, size_t count)
{
    uint64_t value;
    for (size_t i = 0; i < count; i++) {
        REQUIRE(!slotmap_contains(map, handles[i]));
        REQUIRE(slotmap_read(map, handles[i], &value) == VBUF_STALE);
        REQUIRE(slotmap_remove(map, handles[i], NULL) == VBUF_STALE);
    }
}

/* Sorts by bits, so that equal handles, and lives of one slot, stand together. */
static int compare(const void *a, const void *b)
{
    uint64_t x = ((const slotmap_handle *)a)->bits, y = ((const slotmap_handle *)b)->bits;
    uint64_t kx = x << 32 | x >> 32, ky = y << 32 | y >> 32; /* index first */
    return (kx > ky) - (kx < ky);
}

static void check_each_life_once(size_t count, uint32_t lives)
{
    qsort(handles, count, sizeof *handles, compare);
    for (size_t i = 0; i < count; i++) {
        uint32_t generation = (uint32_t)(handles[i].bits >> 32);
        REQUIRE(generation % 8 == 1 && generation <= SLOTMAP_LAST_GENERATION);
        REQUIRE(generation > SLOTMAP_LAST_GENERATION - 8 * lives); /* never wraps */
        REQUIRE(i == 0 || handles[i].bits != handles[i - 1].bits);
    }
}

TEST(slotmap_generation, S1_each_slot_lives_its_lives_and_then_the_map_is_full)
{
    for (uint32_t lives = 1; lives <= 3; lives++) {
        struct slotmap *map = make(lives, 4, 1);
        size_t count = use_up(map);
        struct slotmap_report stats = stats_of(map);
        CHECK_EQ(count, stats.slots * lives); /* all slots there are, each for all its lives */
        CHECK_EQ(stats.exhausted, stats.slots);
        CHECK_EQ(stats.len, 0);
        CHECK_EQ(stats.limbo, 0);
        CHECK_EQ(stats.inserted, count);
        CHECK_EQ(stats.removed, count);
        CHECK_EQ(stats.destroyed, count);
        uint64_t value = 1;
        for (int i = 0; i < 100; i++)
            REQUIRE(CHECK_STATUS(VBUF_FULL, slotmap_insert(map, &value, NULL))); /* for good */
        CHECK_EQ(slotmap_collect(map), 0);
        check_no_handle_resolves(map, count);
        check_each_life_once(count, lives);
        struct slotmap_iter iter = slotmap_iter_begin(map);
        slotmap_pin(map);
        CHECK(slotmap_iter_next(&iter, NULL) == NULL);
        slotmap_unpin(map);
        slotmap_destroy(map);
    }
}

TEST(slotmap_generation, S1_a_value_in_its_last_life_lives_on)
{
    struct slotmap *map = make(1, 4, 1);
    uint64_t value = 42, copy = 0;
    slotmap_handle last;
    CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &last));
    CHECK_EQ(last.bits >> 32, SLOTMAP_LAST_GENERATION);
    size_t count = use_up(map);
    CHECK_STATUS(VBUF_OK, slotmap_read(map, last, &copy));
    CHECK_EQ(copy, 42);
    CHECK_EQ(stats_of(map).len, 1);
    CHECK_STATUS(VBUF_OK, slotmap_remove(map, last, NULL));
    CHECK_STATUS(VBUF_FULL, slotmap_insert(map, &value, NULL)); /* its slot does not come back */
    CHECK_EQ(stats_of(map).exhausted, count + 1);
    check_no_handle_resolves(map, count);
    slotmap_destroy(map);
}

TEST(slotmap_generation, S1_the_first_generation_does_not_resolve_before_it_lives)
{
    struct slotmap *map = make(2, 100, 1);
    uint64_t value = 1;
    slotmap_handle handle;
    CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &handle));
    for (uint64_t index = 0; index < 300; index++) {
        for (uint64_t back = 0; back < 40; back++) {
            uint64_t bits = (uint64_t)(UINT32_MAX - back) << 32 | index;
            CHECK_EQ(slotmap_contains(map, (slotmap_handle){bits}), bits == handle.bits);
        }
    }
    slotmap_destroy(map);
}

static unsigned destroyed, destroyed_in_call, most_in_a_call;

static void count_destroyed(void *context, void *value)
{
    (void)context;
    (void)value;
    destroyed++;
    destroyed_in_call++;
}

static enum vbuf_status insert_counting(struct slotmap *map, slotmap_handle *handle)
{
    uint64_t value = 1;
    destroyed_in_call = 0;
    enum vbuf_status status = slotmap_insert(map, &value, handle);
    most_in_a_call = destroyed_in_call > most_in_a_call ? destroyed_in_call : most_in_a_call;
    return status;
}

/* 1,500 slots wait in their last life; then inserts look for one that is not used up. */
TEST(slotmap_generation, S6_an_insert_among_exhausted_slots_runs_at_most_128_destructors)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {
        .value_size = 8,
        .max_len = 2000,
        .max_limbo = 2000,
        .max_threads = 1,
        .first_generation = SLOTMAP_LAST_GENERATION - 9,
        .destroy = count_destroyed,
    };
    REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options)));
    unsigned inserted = 1500;
    destroyed = most_in_a_call = 0;
    slotmap_pin(map);
    for (unsigned i = 0; i < 1500; i++)
        CHECK_STATUS(VBUF_OK, insert_counting(map, &handles[i]));
    for (unsigned i = 0; i < 1500; i++)
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[i], NULL));
    CHECK_EQ(destroyed, 0);
    slotmap_unpin(map);
    for (enum vbuf_status status; (status = insert_counting(map, &handles[0])) != VBUF_FULL;) {
        REQUIRE(CHECK_STATUS(VBUF_OK, status));
        destroyed_in_call = 0;
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[0], NULL)));
        CHECK(destroyed_in_call <= 128);
        inserted++;
    }
    CHECK(most_in_a_call <= 128);
    slotmap_destroy(map);
    CHECK_EQ(destroyed, inserted);
}

/* Threads use the slots up together. */
struct together {
    struct slotmap *map;
    struct vbuf_atomic_u64 lives;
    slotmap_handle last[4];
};

static void use_up_together(void *context, unsigned thread)
{
    struct together *t = context;
    uint64_t busy = 0;
    for (;;) {
        uint64_t value = thread;
        slotmap_handle handle;
        enum vbuf_status status = slotmap_insert(t->map, &value, &handle);
        if (status == VBUF_FULL || (status == VBUF_BUSY && ++busy > 1000))
            return;
        if (status != VBUF_OK) {
            CHECK_STATUS(VBUF_BUSY, status); /* what others have removed and not yet reclaimed */
            team_sleep_us(10);
            continue;
        }
        busy = 0;
        vbuf_u64_fetch_add_relaxed(&t->lives, 1);
        CHECK(slotmap_contains(t->map, handle));
        CHECK_STATUS(VBUF_OK, slotmap_remove(t->map, handle, NULL));
        CHECK(!slotmap_contains(t->map, handle));
        CHECK(!slotmap_contains(t->map, t->last[thread]));
        t->last[thread] = handle;
    }
}

TEST(slotmap_generation, S1_threads_use_slots_up_together)
{
    for (uint32_t max_threads = 1; max_threads <= 5; max_threads += 2) {
        struct together t = {.map = make(3, 8, max_threads)};
        team_run(4, use_up_together, &t);
        struct slotmap_report stats = stats_of(t.map);
        uint64_t lives = vbuf_u64_load_relaxed(&t.lives);
        CHECK(lives <= (uint64_t)stats.slots * 3);
        CHECK_EQ(stats.inserted, lives);
        CHECK_EQ(stats.removed, lives);
        CHECK_EQ(stats.len, 0);
        /* What exited threads had left can still be used up by one thread alone. */
        lives += use_up(t.map);
        CHECK_EQ(lives, (uint64_t)stats_of(t.map).slots * 3);
        CHECK_EQ(stats_of(t.map).exhausted, stats_of(t.map).slots);
        slotmap_destroy(t.map);
    }
}
