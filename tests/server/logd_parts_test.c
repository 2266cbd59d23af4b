/*
 * logd_parts_test.c - two parts of logd by themselves: the account of memory, and the heap of
 * deadlines. They are compiled in: logd is a program, not a library.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../../examples/logd_deadline.c"
#include "../../examples/logd_memory.c"

#include "check.h"

/* ---- memory ---------------------------------------------------------------------------------- */

static void start_account(size_t limit)
{
    memset(&account, 0, sizeof(account));
    memory_set_limit(limit);
}

static uint64_t used(void)
{
    struct memory_report report = memory_figures();
    return report.used[MEMORY_STORED] + report.used[MEMORY_CLIENTS];
}

TEST(logd_parts, the_account_keeps_an_eighth_for_clients)
{
    start_account(8000);
    CHECK(memory_take(MEMORY_STORED, 7000));
    CHECK(!memory_take(MEMORY_STORED, 1));
    CHECK(memory_take(MEMORY_CLIENTS, 1000));
    CHECK(!memory_take(MEMORY_CLIENTS, 1));
    memory_give(MEMORY_STORED, 10);
    CHECK(memory_take(MEMORY_CLIENTS, 10)); /* clients may have what the store has not */
    CHECK(!memory_take(MEMORY_STORED, 1));
    CHECK_EQ(memory_figures().refused, 3);
    CHECK_EQ(memory_figures().used[MEMORY_STORED], 6990);
    CHECK_EQ(memory_figures().used[MEMORY_CLIENTS], 1010);
    CHECK(!memory_take(MEMORY_STORED, SIZE_MAX));
    CHECK(!memory_take(MEMORY_CLIENTS, SIZE_MAX));
    CHECK_EQ(used(), 8000);
}

TEST(logd_parts, without_a_limit_the_account_only_counts)
{
    start_account(0);
    CHECK(memory_take(MEMORY_STORED, (size_t)1 << 60));
    CHECK(memory_take(MEMORY_CLIENTS, (size_t)1 << 60));
    CHECK_EQ(used(), (uint64_t)2 << 60);
    memory_give(MEMORY_STORED, (size_t)1 << 60);
    memory_give(MEMORY_CLIENTS, (size_t)1 << 60);
    CHECK_EQ(used(), 0);
}

/* Small blocks are never refused; large ones that are stay as they were. */
TEST(logd_parts, blocks_are_counted_by_their_size)
{
    start_account(2 * MEMORY_SMALL);
    char *block = memory_resize(NULL, 0, MEMORY_SMALL);
    REQUIRE(block != NULL);
    block[0] = 'x';
    CHECK_EQ(used(), MEMORY_SMALL);
    CHECK(memory_take(MEMORY_CLIENTS, MEMORY_SMALL));
    CHECK(memory_resize(block, MEMORY_SMALL, MEMORY_SMALL + 1) == NULL);
    CHECK(block[0] == 'x');
    CHECK_EQ(used(), 2 * MEMORY_SMALL);
    char *small = memory_resize(NULL, 0, 100); /* there is no memory left at all */
    REQUIRE(small != NULL);
    small = memory_resize(small, 100, 50);
    REQUIRE(small != NULL);
    CHECK_EQ(used(), 2 * MEMORY_SMALL + 50);
    memory_free(small, 50);
    memory_free(block, MEMORY_SMALL);
    memory_free(NULL, 123);
    CHECK_EQ(used(), MEMORY_SMALL);
}

#define TAKERS 4
#define TAKES 50000

static void *take_and_give(void *argument)
{
    enum memory_use use = argument == NULL ? MEMORY_STORED : MEMORY_CLIENTS;
    struct check_rng rng = {check_seed() + (uintptr_t)&rng};
    for (int i = 0; i < TAKES; i++) {
        size_t bytes = check_rng_next(&rng) % 400;
        if (!memory_take(use, bytes))
            continue;
        if (vbuf_u64_load_relaxed(&account.all) > 1000)
            CHECK(false);
        if (vbuf_u64_load_relaxed(&account.stored) > 875)
            CHECK(false);
        memory_give(use, bytes);
    }
    return NULL;
}

TEST(logd_parts, the_limit_holds_at_every_moment)
{
    pthread_t threads[TAKERS];
    start_account(1000);
    for (int i = 0; i < TAKERS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, take_and_give, i % 2 == 0 ? NULL : threads) == 0);
    for (int i = 0; i < TAKERS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(used(), 0);
}

/* ---- the heap -------------------------------------------------------------------------------- */

#define PARKED 300
#define STEPS 20000

static struct parked parked[PARKED];

/* The invariant: no one is due before its parent, and everyone knows its place. */
static void check_heap(const struct parked_heap *heap, size_t count)
{
    struct parked **data = parked_heap_data(heap);
    CHECK_EQ(parked_heap_len(heap), count);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(data[i]->place, i);
        CHECK(i == 0 || data[(i - 1) / 2]->deadline <= data[i]->deadline);
    }
}

TEST(logd_parts, the_next_deadline_is_first)
{
    struct parked_heap heap;
    struct check_rng rng = {check_seed()};
    size_t count = 0;
    start_account(0);
    REQUIRE(deadlines_open(&heap, PARKED) == VBUF_OK);
    for (size_t i = 0; i < PARKED; i++)
        parked[i].place = NO_PLACE;
    for (int step = 0; step < STEPS && check_failures() == 0; step++) {
        struct parked *chosen = &parked[check_rng_next(&rng) % PARKED];
        if (chosen->place != NO_PLACE) {
            deadlines_remove(&heap, chosen);
            CHECK_EQ(chosen->place, NO_PLACE);
            deadlines_remove(&heap, chosen); /* again: does nothing */
            count--;
        } else {
            uint64_t random = check_rng_next(&rng);
            chosen->deadline = random % 8 == 0 ? NO_DEADLINE : (int64_t)(random % 1000);
            CHECK_STATUS(VBUF_OK, deadlines_add(&heap, chosen));
            count++;
        }
        check_heap(&heap, count);
    }
    int64_t last = 0;
    for (struct parked *next; (next = deadlines_next(&heap)) != NULL;) {
        CHECK(next->deadline >= last);
        last = next->deadline;
        deadlines_remove(&heap, next);
    }
    CHECK_EQ(parked_heap_len(&heap), 0);
    parked_heap_destroy(&heap);
    CHECK_EQ(used(), 0);
}
