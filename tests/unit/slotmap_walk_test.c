/*
 * slotmap_walk_test.c - clear, retain, split iterations, reserve.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "fault.h"
#include "slotmap/slotmap.h"

static unsigned destroyed;

static void count_destroyed(void *context, void *value)
{
    (void)context;
    (void)value;
    destroyed++;
}

static struct slotmap *make(size_t count)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {
        .value_size = 8, .max_len = 100000, .max_threads = 4, .destroy = count_destroyed};
    CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options));
    destroyed = 0;
    for (uint64_t i = 0; i < count; i++)
        CHECK_STATUS(VBUF_OK, slotmap_insert(map, &i, NULL));
    return map;
}

TEST(slotmap_walk, clear_removes_all_and_says_how_many)
{
    struct slotmap *map = make(1000);
    CHECK_EQ(slotmap_clear(map), 1000);
    CHECK_EQ(slotmap_len(map), 0);
    CHECK_EQ(slotmap_clear(map), 0);
    slotmap_collect(map);
    CHECK_EQ(destroyed, 1000);
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 1000);
}

static bool keep_odd(void *context, slotmap_handle handle, void *value)
{
    CHECK(slotmap_contains(context, handle));
    return *(uint64_t *)value % 2 == 1;
}

TEST(slotmap_walk, retain_keeps_what_it_is_told_to)
{
    struct slotmap *map = make(1000);
    CHECK_EQ(slotmap_retain(map, keep_odd, map), 500);
    CHECK_EQ(slotmap_len(map), 500);
    CHECK_EQ(slotmap_retain(map, keep_odd, map), 0);
    slotmap_collect(map);
    CHECK_EQ(destroyed, 500);
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 1000);
}

/* Splits until nothing can be split, and walks every piece. */
static size_t walk_in_pieces(struct slotmap_iter iter, unsigned char *seen)
{
    struct slotmap_iter other;
    if (slotmap_iter_split(&iter, &other))
        return walk_in_pieces(iter, seen) + walk_in_pieces(other, seen);
    size_t count = 0;
    slotmap_handle handle;
    for (const uint64_t *value; (value = slotmap_iter_next(&iter, &handle)) != NULL; count++)
        CHECK_EQ(seen[*value]++, 0);
    return count;
}

TEST(slotmap_walk, S7_pieces_of_an_iteration_visit_everything_once)
{
    static unsigned char seen[1000];
    struct slotmap *map = make(1000);
    memset(seen, 0, sizeof seen);
    slotmap_pin(map);
    CHECK_EQ(walk_in_pieces(slotmap_iter_begin(map), seen), 1000);
    slotmap_unpin(map);
    struct slotmap_iter empty = slotmap_iter_begin(map), other;
    empty.index = empty.end;
    CHECK(!slotmap_iter_split(&empty, &other));
    slotmap_destroy(map);
}

TEST(slotmap_walk, reserve_lets_inserts_do_without_the_system)
{
    struct slotmap *map = make(0);
    CHECK_STATUS(VBUF_OK, slotmap_reserve(map, 5000, true));
    fault_clear();
    for (uint64_t i = 0; i < 5000; i++)
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_insert(map, &i, NULL)));
    CHECK_EQ(fault_count(FAULT_MPROTECT), 0);
    CHECK_EQ(fault_count(FAULT_MMAP), 0);
    CHECK_STATUS(VBUF_FULL, slotmap_reserve(map, 100001, false));
    CHECK_STATUS(VBUF_OK, slotmap_reserve(map, 100000, false)); /* all there can be */
    slotmap_destroy(map);
}

TEST(slotmap_walk, reserve_says_when_memory_is_refused)
{
    struct slotmap *map = make(1);
    size_t capacity = slotmap_capacity(map);
    fault_clear();
    fault_fail_from(FAULT_MPROTECT, 1, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, slotmap_reserve(map, 50000, false));
    fault_clear();
    CHECK_EQ(slotmap_capacity(map), capacity);
    CHECK_STATUS(VBUF_OK, slotmap_reserve(map, 50000, false));
    CHECK(slotmap_capacity(map) >= 50000);
    slotmap_destroy(map);
}
