/*
 * slotmap_steps_test.c - claim, publish, cancel; insert_many; invalidate, release.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "check.h"
#include "fault.h"
#include "slotmap/slotmap.h"

static unsigned destroyed;
static uint64_t destroyed_sum;

static void count_destroyed(void *context, void *value)
{
    (void)context;
    destroyed++;
    destroyed_sum += *(uint64_t *)value;
}

static struct slotmap *make(size_t max_len)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {
        .value_size = 8, .max_len = max_len, .max_threads = 4, .destroy = count_destroyed};
    CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options));
    destroyed = 0;
    destroyed_sum = 0;
    return map;
}

static struct slotmap_report stats_of(struct slotmap *map)
{
    struct slotmap_report stats;
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    return stats;
}

static slotmap_handle claim(struct slotmap *map, uint64_t value)
{
    slotmap_handle handle = {0};
    void *slot = NULL;
    if (CHECK_STATUS(VBUF_OK, slotmap_claim(map, &handle, &slot)))
        *(uint64_t *)slot = value;
    return handle;
}

static slotmap_handle insert(struct slotmap *map, uint64_t value)
{
    slotmap_handle handle = {0};
    CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &handle));
    return handle;
}

/* ---- claim ---- */

TEST(slotmap_steps, a_claim_resolves_from_its_publish_on)
{
    struct slotmap *map = make(10);
    slotmap_handle handle = claim(map, 7);
    uint64_t value = 0;
    CHECK(handle.bits != 0);
    CHECK(!slotmap_contains(map, handle));
    CHECK_STATUS(VBUF_STALE, slotmap_read(map, handle, &value));
    CHECK_STATUS(VBUF_STALE, slotmap_remove(map, handle, NULL));
    CHECK_STATUS(VBUF_STALE, slotmap_invalidate(map, handle));
    CHECK_EQ(slotmap_len(map), 1);
    CHECK_STATUS(VBUF_OK, slotmap_publish(map, handle));
    CHECK_STATUS(VBUF_OK, slotmap_read(map, handle, &value));
    CHECK_EQ(value, 7);
    CHECK_STATUS(VBUF_STALE, slotmap_publish(map, handle));
    CHECK_STATUS(VBUF_STALE, slotmap_cancel(map, handle));
    CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
    CHECK_STATUS(VBUF_STALE, slotmap_publish(map, handle));
    CHECK_STATUS(VBUF_INVALID, slotmap_claim(map, NULL, (void **)&handle));
    CHECK_STATUS(VBUF_INVALID, slotmap_claim(map, &handle, NULL));
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 1);
}

TEST(slotmap_steps, S6_what_is_cancelled_is_never_destroyed_and_never_resolves)
{
    struct slotmap *map = make(4);
    slotmap_handle handles[100];
    for (int i = 0; i < 100; i++) {
        handles[i] = claim(map, 1);
        CHECK_STATUS(VBUF_OK, slotmap_cancel(map, handles[i]));
        CHECK_STATUS(VBUF_STALE, slotmap_cancel(map, handles[i]));
        CHECK_STATUS(VBUF_STALE, slotmap_publish(map, handles[i]));
        CHECK_STATUS(VBUF_STALE, slotmap_release(map, handles[i]));
    }
    CHECK_EQ(slotmap_len(map), 0);
    slotmap_collect(map);
    CHECK_EQ(stats_of(map).limbo, 0);
    CHECK_EQ(destroyed, 0);
    for (int i = 0; i < 4; i++)
        insert(map, 5);
    for (int i = 0; i < 100; i++)
        CHECK(!slotmap_contains(map, handles[i]));
    slotmap_handle last;
    void *value;
    CHECK_STATUS(VBUF_FULL, slotmap_claim(map, &last, &value)); /* max_len is 4 */
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 4);
    CHECK_EQ(destroyed_sum, 20);
}

TEST(slotmap_steps, S6_claims_left_at_destroy_are_not_destroyed)
{
    struct slotmap *map = make(4);
    claim(map, 1);
    CHECK_STATUS(VBUF_OK, slotmap_cancel(map, claim(map, 1)));
    insert(map, 5);
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 1);
    CHECK_EQ(destroyed_sum, 5);
}

TEST(slotmap_steps, S1_any_bits_are_a_safe_argument_of_every_step)
{
    struct slotmap *map = make(10);
    slotmap_handle live = insert(map, 1), claimed = claim(map, 2), held = insert(map, 3);
    CHECK_STATUS(VBUF_OK, slotmap_invalidate(map, held));
    for (uint64_t index = 0; index < 200; index++) {
        for (uint64_t generation = 0; generation < 40; generation++) {
            slotmap_handle any = {generation << 32 | index};
            CHECK_EQ(slotmap_contains(map, any), any.bits == live.bits);
            if (any.bits == claimed.bits || any.bits == live.bits || any.bits == held.bits)
                continue;
            CHECK_STATUS(VBUF_STALE, slotmap_publish(map, any));
            CHECK_STATUS(VBUF_STALE, slotmap_cancel(map, any));
            CHECK_STATUS(VBUF_STALE, slotmap_invalidate(map, any));
            CHECK_STATUS(VBUF_STALE, slotmap_release(map, any));
            CHECK_STATUS(VBUF_STALE, slotmap_remove(map, any, NULL));
        }
    }
    slotmap_handle far = {live.bits | UINT32_MAX};
    CHECK_STATUS(VBUF_STALE, slotmap_publish(map, far));
    CHECK_STATUS(VBUF_STALE, slotmap_release(map, far));
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 2);
}

TEST(slotmap_steps, handle_of_knows_what_get_and_claim_give)
{
    struct slotmap *map = make(100);
    for (uint64_t i = 0; i < 100; i++) {
        slotmap_handle handle = {0};
        void *value = NULL;
        CHECK_STATUS(VBUF_OK, slotmap_claim(map, &handle, &value));
        CHECK_EQ(slotmap_handle_of(map, value).bits, handle.bits);
        CHECK_STATUS(VBUF_OK, slotmap_publish(map, handle));
        slotmap_pin(map);
        CHECK_EQ(slotmap_handle_of(map, slotmap_get(map, handle)).bits, handle.bits);
        slotmap_unpin(map);
    }
    slotmap_destroy(map);
}

/* ---- insert_many ---- */

TEST(slotmap_steps, insert_many_inserts_all_or_nothing)
{
    struct slotmap *map = make(200);
    uint64_t values[150];
    slotmap_handle handles[150];
    for (uint64_t i = 0; i < 150; i++)
        values[i] = 1000 + i;
    CHECK_STATUS(VBUF_OK, slotmap_insert_many(map, values, 150, handles));
    for (size_t i = 0; i < 150; i++) {
        uint64_t value = 0;
        CHECK_STATUS(VBUF_OK, slotmap_read(map, handles[i], &value));
        CHECK_EQ(value, 1000 + i);
    }
    struct slotmap_report stats;
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    uint64_t claimed =
        stats.inserted; /* what can never fit is refused before anything is claimed */
    CHECK_STATUS(VBUF_FULL, slotmap_insert_many(map, values, 201, NULL));
    CHECK_STATUS(VBUF_FULL, slotmap_insert_many(map, values, SIZE_MAX, NULL));
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    CHECK_EQ(stats.inserted, claimed);
    CHECK_STATUS(VBUF_FULL, slotmap_insert_many(map, values, 51, NULL));
    CHECK_EQ(slotmap_len(map), 150);
    CHECK_EQ(destroyed, 0);
    CHECK_STATUS(VBUF_OK, slotmap_insert_many(map, values, 50, NULL));
    CHECK_STATUS(VBUF_FULL, slotmap_insert_many(map, values, 1, NULL));
    CHECK_STATUS(VBUF_OK, slotmap_insert_many(map, NULL, 0, NULL));
    CHECK_STATUS(VBUF_INVALID, slotmap_insert_many(map, NULL, 1, NULL));
    CHECK_EQ(slotmap_len(map), 200);
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 200);
}

TEST(slotmap_steps, S6_an_insert_many_that_failed_destroys_nothing)
{
    struct slotmap *map = make(3);
    uint64_t values[4] = {1, 2, 3, 4};
    for (int i = 0; i < 50; i++)
        CHECK_STATUS(VBUF_FULL, slotmap_insert_many(map, values, 4, NULL));
    slotmap_collect(map);
    CHECK_EQ(destroyed, 0);
    CHECK_EQ(stats_of(map).limbo, 0);
    CHECK_STATUS(VBUF_OK, slotmap_insert_many(map, values, 3, NULL));
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 3);
}

/* ---- invalidate ---- */

TEST(slotmap_steps, an_invalidated_value_is_destroyed_and_its_slot_kept)
{
    struct slotmap *map = make(2);
    slotmap_handle held = insert(map, 7);
    CHECK_STATUS(VBUF_OK, slotmap_invalidate(map, held));
    CHECK(!slotmap_contains(map, held));
    CHECK_STATUS(VBUF_STALE, slotmap_invalidate(map, held));
    CHECK_STATUS(VBUF_STALE, slotmap_remove(map, held, NULL));
    slotmap_collect(map);
    CHECK_EQ(destroyed, 1);
    CHECK_EQ(slotmap_len(map), 1); /* it keeps its room */
    for (int i = 0; i < 300; i++) {
        slotmap_handle other = insert(map, 1);
        CHECK(slotmap_handle_index(other) != slotmap_handle_index(held));
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, other, NULL));
    }
    slotmap_handle second = insert(map, 1);
    uint64_t value = 1;
    CHECK_STATUS(VBUF_FULL, slotmap_insert(map, &value, NULL));
    CHECK_STATUS(VBUF_OK, slotmap_release(map, held));
    CHECK_STATUS(VBUF_STALE, slotmap_release(map, held));
    insert(map, 1);
    CHECK_STATUS(VBUF_OK, slotmap_remove(map, second, NULL));
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 303);
    CHECK_EQ(destroyed_sum, 309);
}

TEST(slotmap_steps, a_release_before_the_grace_has_passed_makes_it_a_remove)
{
    struct slotmap *map = make(2);
    slotmap_handle held = insert(map, 7);
    slotmap_pin(map);
    const uint64_t *value = slotmap_get(map, held);
    CHECK_STATUS(VBUF_OK, slotmap_invalidate(map, held));
    CHECK_STATUS(VBUF_OK, slotmap_release(map, held));
    slotmap_collect(map);
    CHECK_EQ(destroyed, 0);
    CHECK_EQ(*value, 7);
    slotmap_unpin(map);
    slotmap_collect(map);
    CHECK_EQ(destroyed, 1);
    CHECK_EQ(slotmap_len(map), 0);
    CHECK_EQ(stats_of(map).limbo, 0);
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 1);
}

TEST(slotmap_steps, S6_invalidated_values_are_destroyed_once_with_the_map)
{
    struct slotmap *map = make(10);
    slotmap_handle waits = insert(map, 1), held = insert(map, 2), released = insert(map, 4);
    CHECK_STATUS(VBUF_OK, slotmap_invalidate(map, held));
    slotmap_collect(map);
    CHECK_EQ(destroyed, 1);
    CHECK_STATUS(VBUF_OK, slotmap_invalidate(map, waits));
    CHECK_STATUS(VBUF_OK, slotmap_invalidate(map, released));
    CHECK_STATUS(VBUF_OK, slotmap_release(map, released));
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 3);
    CHECK_EQ(destroyed_sum, 7);
}

TEST(slotmap_steps, slots_are_held_without_a_destructor_too)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {.value_size = 8, .max_len = 3, .max_threads = 1};
    REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options)));
    slotmap_handle held = insert(map, 7);
    CHECK_STATUS(VBUF_OK, slotmap_invalidate(map, held));
    for (int i = 0; i < 1000; i++) {
        slotmap_handle other = insert(map, 1);
        CHECK(slotmap_handle_index(other) != slotmap_handle_index(held));
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, other, NULL));
    }
    slotmap_collect(map);
    CHECK_STATUS(VBUF_OK, slotmap_release(map, held));
    slotmap_collect(map);
    CHECK_EQ(stats_of(map).limbo, 0);
    for (int i = 0; i < 3; i++)
        insert(map, 1);
    slotmap_destroy(map);
}

/* ---- revive ---- */

static struct slotmap *make_revivable(bool updatable)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {.value_size = 8,
                                      .max_len = 100,
                                      .max_threads = 2,
                                      .destroy = count_destroyed,
                                      .revivable = true,
                                      .updatable = updatable};
    CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options));
    destroyed = 0;
    destroyed_sum = 0;
    return map;
}

/* Removes 100 values, of which each is met again once, whatever lists and chunks their slots went through. */
static void revive_all(bool updatable)
{
    struct slotmap *map = make_revivable(updatable);
    slotmap_handle handles[100];
    for (uint64_t i = 0; i < 100; i++) {
        handles[i] = insert(map, 1);
        if (updatable && i % 2 == 0)
            CHECK_STATUS(VBUF_OK, slotmap_write(map, handles[i], &(uint64_t){1}));
    }
    for (uint64_t i = 0; i < 100; i++)
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[i], NULL));
    slotmap_collect(map);
    slotmap_collect(map);
    CHECK_EQ(destroyed, 0);
    uint64_t found = 0;
    for (uint64_t i = 0; i < 100; i++) {
        slotmap_handle handle;
        void *value;
        bool revived = false;
        CHECK_STATUS(VBUF_OK, slotmap_revive(map, &handle, &value, &revived));
        CHECK(!slotmap_contains(map, handle));
        if (revived) {
            CHECK_EQ(*(uint64_t *)value, 1);
            found++;
        }
        *(uint64_t *)value = 1000;
        CHECK_STATUS(VBUF_OK, slotmap_publish(map, handle));
        CHECK_EQ(slotmap_handle_of(map, value).bits, handle.bits);
    }
    CHECK(found >= 64);
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 100 + (100 - found)); /* once each: revived ones are new ones */
    CHECK_EQ(destroyed_sum, 100000 + (100 - found));
}

TEST(slotmap_steps, S6_a_revived_value_is_handed_over_not_destroyed)
{
    revive_all(false);
    revive_all(true);
}

TEST(slotmap_steps, S6_an_insert_destroys_what_a_revivable_slot_holds)
{
    struct slotmap *map = make_revivable(false);
    for (uint64_t i = 0; i < 1000; i++)
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, insert(map, 1), NULL));
    slotmap_collect(map);
    CHECK(destroyed >= 1000 - 200 && destroyed < 1000);
    uint64_t values[3] = {1, 1, 1};
    CHECK_STATUS(VBUF_OK, slotmap_insert_many(map, values, 3, NULL));
    CHECK_STATUS(VBUF_OK, slotmap_cancel(map, claim(map, 77)));
    slotmap_handle held = insert(map, 1);
    CHECK_STATUS(VBUF_OK, slotmap_invalidate(map, held));
    slotmap_collect(map);
    CHECK_STATUS(VBUF_OK, slotmap_release(map, held));
    slotmap_collect(map);
    slotmap_destroy(map);
    CHECK_EQ(destroyed, 1004);
    CHECK_EQ(destroyed_sum, 1004);
    bool revived;
    void *value;
    map = make(3);
    CHECK_STATUS(VBUF_INVALID, slotmap_revive(map, &held, &value, &revived));
    slotmap_destroy(map);
}

/* ---- tags and seeds ---- */

TEST(slotmap_steps, tags_come_out_of_the_index)
{
    struct slotmap *map = make(1000);
    unsigned bits = slotmap_tag_bits(map);
    CHECK(bits >= 8 && bits < 32);
    slotmap_handle handle = insert(map, 5);
    for (uint32_t tag = 1; tag != 0 && tag < UINT32_C(1) << bits; tag *= 2) {
        slotmap_handle tagged = slotmap_with_tag(map, handle, tag);
        CHECK_EQ(slotmap_tag(map, tagged), tag);
        CHECK_EQ(slotmap_without_tag(map, tagged).bits, handle.bits);
        CHECK(!slotmap_contains(map, tagged));
    }
    CHECK_EQ(slotmap_tag(map, handle), 0);
    CHECK_EQ(slotmap_without_tag(map, handle).bits, handle.bits);
    slotmap_destroy(map);
}

TEST(slotmap_steps, seeds_keep_the_handles_of_maps_apart)
{
    struct slotmap *maps[2] = {NULL, NULL};
    slotmap_handle handles[2][1000];
    for (uint32_t m = 0; m < 2; m++) {
        struct slotmap_options options = {
            .value_size = 8, .max_len = 1000, .max_threads = 1, .generation_seed = 77 + m};
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_create(&maps[m], &options)));
        for (uint64_t i = 0; i < 1000; i++)
            handles[m][i] = insert(maps[m], i);
    }
    for (uint64_t i = 0; i < 1000; i++) {
        CHECK(slotmap_contains(maps[0], handles[0][i]));
        CHECK(!slotmap_contains(maps[0], handles[1][i]));
        CHECK(!slotmap_contains(maps[1], handles[0][i]));
        CHECK(handles[0][i].bits >> 63 == 0); /* half the lives are left */
    }
    slotmap_destroy(maps[0]);
    slotmap_destroy(maps[1]);
    struct slotmap_options both = {.value_size = 8, .first_generation = 8, .generation_seed = 1};
    CHECK_STATUS(VBUF_INVALID, slotmap_create(&maps[0], &both));
}
